//! `idempotency`: what is sent again is answered as the first time, and done once.
#![allow(clippy::float_cmp, reason = "counts are whole numbers")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gatehouse_testkit::gateway::Builder;
use gatehouse_testkit::{Client, Gate, HttpBackend, Raw, Reply, Request, client};

use crate::gateway;

fn in_front_of(backend: &HttpBackend, settings: &str) -> Builder {
    let config = format!(
        "
listeners: {{ main: {{ address: \"127.0.0.1:0\" }} }}
forwarded: {{ trusted: [127.0.0.1] }}
routes:
  pay: {{ match: {{ path: /pay }}, policies: [ {{ idempotency: {{ {settings} }} }} ], forward: {{ upstream: api }} }}
  other: {{ match: {{ path: /other }}, policies: [ {{ idempotency: {{ {settings} }} }} ], forward: {{ upstream: api }} }}
upstreams: {{ api: {{ endpoints: [\"{}\"] }} }}
",
        backend.url()
    );
    gateway(&config)
}

fn pay(key: &str, body: &str) -> Request {
    Request::new("POST", "/pay")
        .header("Idempotency-Key", key)
        .body(body)
}

/// Numbers its answers.
fn counting() -> HttpBackend {
    let calls = AtomicUsize::new(0);
    HttpBackend::scripted(move |call| {
        call.read_body()?;
        let n = calls.fetch_add(1, Ordering::SeqCst) + 1;
        call.reply(
            &Reply::new(201)
                .header("X-Number", &n.to_string())
                .body(format!("done {n}")),
        )
    })
}

#[test]
fn the_first_answer_is_given_again() {
    let backend = counting();
    let gateway = in_front_of(&backend, "").start();
    let mut client = Client::connect(gateway.address());
    let first = client.send(&pay("k1", "10 EUR"));
    assert_eq!((first.status, first.text().as_str()), (201, "done 1"));
    assert_eq!(first.header("idempotency-replayed"), None);
    assert_eq!(backend.last().text(), "10 EUR");
    let again = client.send(&pay("k1", "10 EUR"));
    assert_eq!((again.status, again.text().as_str()), (201, "done 1"));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.header("x-number"), Some("1"));
    assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
    // In chunks it is the same body.
    let chunked = Request::new("POST", "/pay")
        .header("Idempotency-Key", "k1")
        .chunked(&[b"10 ", b"EUR"]);
    assert_eq!(client.send(&chunked).text(), "done 1");

    let reused = client.send(&pay("k1", "1000 EUR"));
    assert_eq!(reused.status, 422);
    assert!(
        reused.text().contains("idempotency_key_reused"),
        "{}",
        reused.text()
    );
    assert_eq!(client.send(&pay("k2", "10 EUR")).text(), "done 2");
    // Other routes, callers, and requests without a key or of another method have nothing to do with it.
    let other = Request::new("POST", "/other")
        .header("Idempotency-Key", "k1")
        .body("10 EUR");
    assert_eq!(client.send(&other).text(), "done 3");
    assert_eq!(
        client
            .send(&pay("k1", "10 EUR").header("X-Forwarded-For", "192.0.2.1"))
            .text(),
        "done 4"
    );
    assert_eq!(
        client.send(&Request::new("POST", "/pay").body("10 EUR")).text(),
        "done 5"
    );
    assert_eq!(
        client
            .send(&Request::new("PUT", "/pay").header("Idempotency-Key", "k1"))
            .text(),
        "done 6"
    );
    let sum = |outcome| {
        gateway
            .metrics()
            .sum("gatehouse_idempotency_total", &[("outcome", outcome)])
    };
    assert_eq!((sum("first"), sum("replayed"), sum("conflict")), (4.0, 2.0, 1.0));
}

#[test]
fn those_who_come_meanwhile_wait_for_the_first() {
    let gate = Arc::new(Gate::new());
    let calls = Arc::new(AtomicUsize::new(0));
    let (held, counted) = (gate.clone(), calls.clone());
    let backend = HttpBackend::scripted(move |call| {
        call.read_body()?;
        counted.fetch_add(1, Ordering::SeqCst);
        call.wait(&held)?;
        call.reply(&Reply::ok("paid").header("X-A", "1"))
    });
    let gateway = in_front_of(&backend, "").start();
    let to = gateway.address();
    let first = std::thread::spawn(move || client::once(to, &pay("k", "x")));
    backend.wait_requests(1);
    let others: Vec<_> = (0..5)
        .map(|_| std::thread::spawn(move || client::once(to, &pay("k", "x"))))
        .collect();
    gateway.wait_metric("gatehouse_requests_in_flight", &[], |n| n == 6.0);
    // Another request with the key is not kept waiting.
    assert_eq!(client::once(to, &pay("k", "y")).status, 422);
    gate.open();
    assert_eq!(first.join().unwrap().header("idempotency-replayed"), None);
    for other in others {
        let answer = other.join().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "paid"));
        assert_eq!(answer.header("idempotency-replayed"), Some("true"));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn what_failed_may_be_tried_again() {
    let calls = AtomicUsize::new(0);
    let backend = HttpBackend::scripted(move |call| {
        call.read_body()?;
        let reply = match calls.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::new(503),
            1 => Reply::new(429),
            2 => Reply::ok("x".repeat(200)),
            3 => Reply::ok("y".repeat(200)).chunked(),
            _ => Reply::new(402).body("no"),
        };
        call.reply(&reply)
    });
    let gateway = in_front_of(&backend, "max_response: 100").start();
    let mut client = Client::connect(gateway.address());
    let mut send = || client.send(&pay("k", "x"));
    assert_eq!((send().status, send().status), (503, 429));
    // Too long to be stored: passed on whole.
    assert_eq!((send().text(), send().text()), ("x".repeat(200), "y".repeat(200)));
    assert_eq!((send().status, send().status), (402, 402));
    assert_eq!(send().header("idempotency-replayed"), Some("true"));
    assert_eq!(backend.count(), 5);
}

#[test]
fn keys_and_bodies_have_bounds() {
    let backend = counting();
    let gateway = in_front_of(&backend, "required: true, max_request: 10").start();
    let to = gateway.address();
    let missing = client::once(to, &Request::new("POST", "/pay").body("x"));
    assert_eq!(missing.status, 400);
    assert!(missing.text().contains("idempotency-key"), "{}", missing.text());
    assert_eq!(client::once(to, &pay(&"k".repeat(256), "x")).status, 400);
    assert_eq!(client::once(to, &pay("k", "01234567890")).status, 413);
    assert_eq!(client::once(to, &Request::new("GET", "/pay")).status, 201);
    assert_eq!(client::once(to, &pay("k", "0123456789")).status, 201);
}

#[test]
fn a_body_that_does_not_come_is_waited_for_as_long_as_any() {
    let backend = counting();
    let config = format!(
        "
listeners: {{ main: {{ address: \"127.0.0.1:0\" }} }}
client: {{ timeouts: {{ body_idle: 200ms }} }}
routes: {{ pay: {{ match: {{}}, policies: [ {{ idempotency: {{}} }} ], forward: {{ upstream: api }} }} }}
upstreams: {{ api: {{ endpoints: [\"{}\"] }} }}
",
        backend.url()
    );
    let gateway = gateway(&config).start();
    let mut slow = Raw::connect(gateway.address());
    slow.send("POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Length: 10\r\n\r\n01234");
    assert_eq!(slow.response("POST").status, 408);
    assert_eq!(backend.count(), 0);
    // The key is free, and a connection goes on after a body that was read whole.
    let mut client = Client::connect(gateway.address());
    for n in 1..=2 {
        let request = Request::new("POST", "/")
            .header("Idempotency-Key", "k")
            .body("0123456789");
        let answer = client.send(&request);
        assert_eq!((answer.status, answer.text().as_str()), (201, "done 1"), "{n}");
    }
    assert_eq!(
        gateway
            .metrics()
            .sum("gatehouse_connections_accepted_total", &[("listener", "main")]),
        2.0
    );
}

#[test]
fn keys_that_are_odd_are_refused() {
    let backend = counting();
    let gateway = in_front_of(&backend, "").start();
    let to = gateway.address();
    let twice = pay("k", "x").header("Idempotency-Key", "k");
    let other = pay("k", "x").header("idempotency-key", "other");
    for odd in [twice, other, pay("", "x"), pay("a\tb", "x"), pay("k\u{e9}y", "x")] {
        assert_eq!(client::once(to, &odd).status, 400, "{odd:?}");
    }
    assert_eq!(backend.count(), 0);
}

#[test]
fn another_type_of_the_same_body_is_another_request() {
    let backend = counting();
    let gateway = in_front_of(&backend, "").start();
    let to = gateway.address();
    let typed = |name: &str, value: &str| client::once(to, &pay("k", "{}").header(name, value)).status;
    assert_eq!(typed("Content-Type", "application/json"), 201);
    assert_eq!(typed("Content-Type", "application/json"), 201);
    assert_eq!(typed("Content-Type", "application/xml"), 422);
    assert_eq!(typed("X-Other", "application/json"), 422);
    assert_eq!(backend.count(), 1);
}

#[test]
fn consumers_never_see_each_others_answers() {
    let backend = counting();
    let config = format!(
        "
listeners: {{ main: {{ address: \"127.0.0.1:0\" }} }}
consumers:
  one: {{ credentials: {{ keys: [ {{ id: a, sha256: f6bf68c2c3dc6363fa532b42d824c34b880ca1447c42ea0ebdcd07a683db1186 }} ] }} }}
  guest: {{}}
routes:
  pay: {{ match: {{}}, policies: [ {{ key_auth: {{ anonymous: guest }} }}, {{ idempotency: {{}} }} ], forward: {{ upstream: api }} }}
upstreams: {{ api: {{ endpoints: [\"{}\"] }} }}
",
        backend.url()
    );
    let gateway = gateway(&config).start();
    let to = gateway.address();
    let ours = || pay("k", "x").header("X-API-Key", "plain-old-key");
    assert_eq!(client::once(to, &ours()).text(), "done 1");
    assert_eq!(client::once(to, &pay("k", "x")).text(), "done 2");
    let cookie = pay("k", "x").header("Cookie", "session=1");
    assert_eq!(client::once(to, &cookie).text(), "done 3");
    assert_eq!(client::once(to, &ours()).text(), "done 1");
}

#[test]
fn a_stream_of_events_is_passed_on_as_it_comes() {
    let gate = Arc::new(Gate::new());
    let held = gate.clone();
    let backend = HttpBackend::scripted(move |call| {
        call.read_body()?;
        call.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")?;
        call.wait(&held)?;
        call.send("0\r\n\r\n")
    });
    let gateway = in_front_of(&backend, "").start();
    let mut raw = Raw::connect(gateway.address());
    raw.send("POST /pay HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Length: 0\r\n\r\n");
    raw.read_until(b"data: 1");
    gate.open();
}

#[test]
fn what_somebody_known_got_is_not_given_to_those_who_show_nothing() {
    let backend = counting();
    let config = format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
consumers: {{ alice: {{ credentials: {{ keys: [ {{ id: one, sha256: 6d6c1651432ee7fad77543199832067ab0e10fa617134e5cdce726427ff3e26f }} ] }} }} }}
policies: [ idempotency: {{}} ]
routes:
  pay: {{ match: {{ path: /pay }}, policies: [ key_auth: {{}} ], forward: {{ upstream: api }} }}
upstreams: {{ api: {{ endpoints: ["{}"] }} }}
"#,
        backend.url()
    );
    let gateway = gateway(&config).start();
    let mut client = Client::connect(gateway.address());
    let known = pay("k1", "10 EUR").header("X-API-Key", "alices-key-0123456789");
    assert_eq!(client.send(&known).status, 201);
    assert_eq!(client.send(&pay("k1", "10 EUR")).status, 401);
    assert_eq!(backend.count(), 1);
}
