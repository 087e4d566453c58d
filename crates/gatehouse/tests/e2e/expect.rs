//! `Expect: 100-continue`: forwarded or answered, and never a client that waits for ever.

use gatehouse_testkit::{Client, Gate, HttpBackend, Raw, Reply, Request};

use crate::{gateway, in_front_of, with_upstream};

fn expecting(target: &str, body: &str) -> Request {
    Request::post(target, body).header("Expect", "100-continue")
}

#[test]
fn the_upstreams_go_ahead_reaches_the_client() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    for _ in 0..2 {
        raw.send(expecting("/", "the body").encode_head());
        raw.interim(100);
        raw.send("the body");
        assert_eq!(raw.response("POST").status, 200);
        assert_eq!(backend.last().text(), "the body");
    }
}

#[test]
fn a_final_answer_instead_of_the_go_ahead_spares_the_body() {
    let backend = HttpBackend::start();
    backend.on("/no", Reply::new(401).body("who are you").early());
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(expecting("/no", "secret").encode_head());
    let response = raw.response("POST");
    assert_eq!(
        (response.status, response.interim.len(), response.text().as_str()),
        (401, 0, "who are you")
    );
    // Whether the connection goes on is the gateway's choice, but the choice must be a clear one.
    if response.keeps_alive() {
        raw.send("secret").send(Request::get("/").encode());
        assert_eq!(raw.response("GET").status, 200);
    } else {
        raw.expect_closed();
    }
}

#[test]
fn an_upstream_that_says_nothing_gets_the_body_after_a_while() {
    let backend = HttpBackend::start();
    backend.script("/old", |call| {
        // An old server: it knows no expectations and simply reads.
        call.continued();
        call.read_body()?;
        call.reply(&Reply::ok("read"))
    });
    let gateway = with_upstream(&backend.url(), "timeouts: { expect_continue: 50ms }");
    let mut raw = Raw::connect(gateway.address());
    raw.send(expecting("/old", "the body").encode_head());
    raw.interim(100);
    raw.send("the body");
    assert_eq!(raw.response("POST").text(), "read");
    assert_eq!(backend.last().text(), "the body");
}

#[test]
fn a_client_that_does_not_wait_is_fine() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let mut client = Client::connect(gateway.address());
    for _ in 0..3 {
        assert_eq!(client.send(&expecting("/", "at once")).status, 200);
        assert_eq!(backend.last().text(), "at once");
    }
}

#[test]
fn without_an_upstream_the_gateway_answers_by_itself() {
    let yaml = r#"
listeners: { main: { address: "127.0.0.1:0" } }
client: { limits: { body: 100 } }
routes: { own: { match: { path: /own }, reply: { body: own } } }
"#;
    let gateway = gateway(yaml).start();
    for (target, length, status) in [("/own", 5, 200), ("/none", 5, 404), ("/own", 101, 413)] {
        let mut raw = Raw::connect(gateway.address());
        raw.send(expecting(target, &"x".repeat(length)).encode_head());
        assert_eq!(raw.response("POST").status, status, "{target}");
    }
}

#[test]
fn expectations_of_http_1_0_are_ignored() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send("POST / HTTP/1.0\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc");
    let response = raw.response("POST");
    assert_eq!((response.status, response.interim.len()), (200, 0));
}

#[test]
fn other_interim_responses_pass() {
    let backend = HttpBackend::scripted(|call| {
        call.read_body()?;
        call.interim(103, &[("Link", "</style.css>; rel=preload")])?;
        call.interim(102, &[])?;
        call.reply(&Reply::ok("final"))
    });
    let gateway = in_front_of(&backend);
    let response = Client::connect(gateway.address()).get("/");
    assert_eq!(response.text(), "final");
    let links: Vec<_> = response
        .interim
        .iter()
        .filter_map(|head| head.headers.get("link"))
        .collect();
    assert_eq!(links, ["</style.css>; rel=preload"]);

    // HTTP/1.0 has none (RFC 9110 15.2).
    let mut raw = Raw::connect(gateway.address());
    raw.send("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
    let response = raw.response("GET");
    assert_eq!((response.interim.len(), response.text().as_str()), (0, "final"));
}

/// An endpoint that answers without asking for the body still waits for it: whatever came next on its connection
/// would be taken for that body, and its tail for a request of the attacker's making.
#[test]
fn an_endpoint_that_still_waits_for_a_body_gets_no_other_request() {
    let backend = HttpBackend::start();
    let gate = Gate::new();
    let rest = gate.clone();
    backend.script("/early", move |call| {
        call.head(200, &[("Content-Length", "10")])?;
        call.send("first")?;
        call.wait(&rest)?;
        call.send("secnd")?;
        call.read_body().map(drop)
    });
    let gateway = in_front_of(&backend);
    let mut attacker = Raw::connect(gateway.address());
    attacker
        .send("POST /early HTTP/1.1\r\nHost: a.test\r\nContent-Length: 59\r\nExpect: 100-continue\r\n\r\n");
    backend.wait_requests(1);
    gate.open();
    let response = attacker.response("POST");
    assert_eq!(
        (response.interim.len(), response.text().as_str()),
        (0, "firstsecnd")
    );
    assert!(
        !response.keeps_alive(),
        "the client must know that its body is not wanted"
    );
    attacker.expect_closed();
    let mut victim = Client::connect(gateway.address());
    assert_eq!(victim.get("/victim").text(), "ok");
    assert_eq!(backend.requests()[1].target, "/victim");
    assert_eq!(backend.connections(), 2);
}
