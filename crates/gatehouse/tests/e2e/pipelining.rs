//! Several requests sent before the first is answered: answered all, in order, each with its own response.

use gatehouse_testkit::{Gate, HttpBackend, Raw, Reply, Request};

use crate::in_front_of;

/// A backend that answers with the target it was asked for.
fn echo() -> HttpBackend {
    HttpBackend::scripted(|call| {
        call.read_body()?;
        let body = format!("{} {}", call.request().target, call.request().text());
        call.reply(&Reply::ok(body))
    })
}

#[test]
fn all_at_once_are_answered_in_order() {
    let backend = echo();
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    let bytes: Vec<u8> = (0..30)
        .flat_map(|n| match n % 3 {
            0 => Request::get(&format!("/{n}")).encode(),
            1 => Request::post(&format!("/{n}"), format!("body {n}")).encode(),
            _ => Request::new("PUT", &format!("/{n}"))
                .chunked(&[b"body ", n.to_string().as_bytes()])
                .encode(),
        })
        .collect();
    raw.send(bytes);
    for n in 0..30 {
        let body = if n % 3 == 0 {
            String::new()
        } else {
            format!("body {n}")
        };
        assert_eq!(raw.response("GET").text(), format!("/{n} {body}"));
    }
}

#[test]
fn a_slow_response_holds_back_those_after_it() {
    let gate = Gate::new();
    let backend = echo();
    let wait = gate.clone();
    backend.script("/slow", move |call| {
        call.wait(&wait)?;
        call.reply(&Reply::ok("slow"))
    });
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send([Request::get("/slow").encode(), Request::get("/fast").encode()].concat());
    backend.wait_requests(1);
    gate.open();
    assert_eq!(raw.response("GET").text(), "slow");
    assert_eq!(raw.response("GET").text(), "/fast ");
}

#[test]
fn requests_may_come_byte_by_byte() {
    let backend = echo();
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    let request = Request::new("POST", "/bytes")
        .chunked(&[b"ab", b"cdef"])
        .trailer("X-T", "1")
        .encode();
    for _ in 0..2 {
        for byte in &request {
            raw.send([*byte]);
        }
        assert_eq!(raw.response("POST").text(), "/bytes abcdef");
    }
}

#[test]
fn what_is_sent_in_a_body_is_no_request() {
    let backend = echo();
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    let inner = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let chunked = Request::new("POST", "/two")
        .chunked(&[b"0\r\n\r\n", inner.as_bytes()])
        .encode();
    raw.send(
        [
            Request::post("/one", inner).encode(),
            chunked,
            Request::get("/three").encode(),
        ]
        .concat(),
    );
    assert_eq!(raw.response("POST").text(), format!("/one {inner}"));
    assert_eq!(raw.response("POST").text(), format!("/two 0\r\n\r\n{inner}"));
    assert_eq!(raw.response("GET").text(), "/three ");
    let targets: Vec<String> = backend.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(targets, ["/one", "/two", "/three"]);
}

#[test]
fn a_malformed_request_after_good_ones_ends_the_connection() {
    let backend = echo();
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    let bad = b"GET /bad HTTP/1.1\r\nHost: a.test\r\nX : y\r\n\r\n".to_vec();
    raw.send([Request::get("/one").encode(), bad, Request::get("/two").encode()].concat());
    assert_eq!(raw.response("GET").text(), "/one ");
    assert_eq!(raw.response("GET").status, 400);
    raw.expect_closed();
    assert_eq!(backend.count(), 1);
}

#[test]
fn nothing_is_answered_after_a_request_that_closes() {
    let backend = echo();
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    let last = Request::get("/last").header("Connection", "close").encode();
    raw.send([last, Request::get("/after").encode()].concat());
    assert_eq!(raw.response("GET").text(), "/last ");
    raw.expect_closed();
    assert_eq!(backend.count(), 1);
}

#[test]
fn a_client_that_half_closes_still_gets_its_answers() {
    let backend = echo();
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send([Request::get("/one").encode(), Request::post("/two", "x").encode()].concat())
        .half_close();
    assert_eq!(raw.response("GET").text(), "/one ");
    assert_eq!(raw.response("POST").text(), "/two x");
    raw.expect_closed();
}
