//! Limits on requests at the same time: places are given back once, however a request ends.

use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Client, EchoBackend, Gate, Gateway, HttpBackend, Raw, Reply, Request, WebSocket};

use crate::gateway;

fn limited(policy: &str, backend: &str, forward: &str) -> Gateway {
    let yaml = format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
admin: {{ address: "127.0.0.1:0" }}
routes:
  all:
    match: {{ path: /** }}
    policies: [ {{ concurrency: {policy} }} ]
    forward: {{ upstream: api, {forward} }}
upstreams: {{ api: {{ endpoints: ["${{api}}"] }} }}
"#
    );
    gateway(&yaml).bind("api", backend).start()
}

fn waiting_backend(gate: &Gate) -> HttpBackend {
    let gate = gate.clone();
    HttpBackend::scripted(move |call| {
        call.read_body()?;
        if call.request().target == "/slow" {
            call.wait(&gate)?;
        }
        call.reply(&Reply::ok("done"))
    })
}

fn active(gateway: &Gateway, wanted: u32) {
    gateway.wait_metric("gatehouse_concurrency_active", &[], |value| {
        value.to_string() == wanted.to_string()
    });
}

#[test]
fn those_past_the_limit_are_refused_until_one_has_its_answer() {
    let gate = Gate::new();
    let backend = waiting_backend(&gate);
    let gateway = limited("{ limit: 2, key: \"header:X-App\" }", &backend.url(), "");
    let ask = |app: &str| Request::get("/slow").header("X-App", app).encode();
    let mut waiting = [(); 2].map(|()| Raw::connect(gateway.address()));
    for raw in &mut waiting {
        raw.send(ask("a"));
    }
    backend.wait_requests(2);
    active(&gateway, 2);
    let mut client = Client::connect(gateway.address());
    let mut quick = |app: &str| client.send(&Request::get("/quick").header("X-App", app));
    let refused = quick("a");
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    assert_eq!(refused.headers.get("retry-after"), Some("1"));
    assert_eq!(quick("b").status, 200, "others are not concerned");
    gate.open();
    for raw in &mut waiting {
        assert_eq!(raw.response("GET").status, 200);
    }
    active(&gateway, 0);
    assert_eq!(quick("a").status, 200);
    let refused = gateway
        .metrics()
        .sum("gatehouse_concurrency_total", &[("outcome", "refused")]);
    assert_eq!(refused.to_string(), "1");
}

#[test]
fn who_leaves_gives_the_place_back() {
    let gate = Gate::new();
    let backend = waiting_backend(&gate);
    let gateway = limited(
        "{ limit: 1, key: global, answer: unavailable }",
        &backend.url(),
        "",
    );
    for _ in 0..3 {
        let mut raw = Raw::connect(gateway.address());
        raw.send(Request::get("/slow").encode());
        active(&gateway, 1);
        let refused = gatehouse_testkit::client::get(gateway.address(), "/quick");
        assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
        // Only a reset says for certain that nobody waits any more.
        raw.reset();
        active(&gateway, 0);
    }
    until("a place", || {
        gatehouse_testkit::client::get(gateway.address(), "/quick").status == 200
    });
    active(&gateway, 0);
}

#[test]
fn a_tunnel_keeps_its_place_until_it_ends() {
    let backend = EchoBackend::start();
    let gateway = limited(
        "{ limit: 1, key: global }",
        &backend.url(),
        "upgrades: [websocket]",
    );
    let tunnel = WebSocket::open(gateway.address(), "/");
    active(&gateway, 1);
    assert_eq!(gatehouse_testkit::client::get(gateway.address(), "/").status, 429);
    drop(tunnel);
    active(&gateway, 0);
}

#[test]
fn shadow_lets_through() {
    let gate = Gate::new();
    let backend = waiting_backend(&gate);
    let gateway = limited("{ limit: 1, key: global, shadow: true }", &backend.url(), "");
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/slow").encode());
    active(&gateway, 1);
    assert_eq!(
        gatehouse_testkit::client::get(gateway.address(), "/quick").status,
        200
    );
    gate.open();
    assert_eq!(raw.response("GET").status, 200);
    active(&gateway, 0);
    let shadow = gateway
        .metrics()
        .sum("gatehouse_concurrency_total", &[("outcome", "shadow")]);
    assert_eq!(shadow.to_string(), "1");
}
