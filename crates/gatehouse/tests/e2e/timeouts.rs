//! Each phase on the client side has its own limit in time: what runs out, and how the client is told.

use gatehouse_testkit::client::chunk;
use gatehouse_testkit::{HttpBackend, Raw, Reply, Request, client};

use crate::{gateway, with};

const HEAD: &str = "POST / HTTP/1.1\r\nHost: a.test\r\n";

#[test]
fn a_head_that_does_not_come_to_its_end_is_408() {
    let backend = HttpBackend::start();
    let gateway = with(&backend, "client: { timeouts: { head: 200ms } }\n");
    for part in [
        "G",
        "GET / HTTP/1.1\r\nHost: a",
        "GET / HTTP/1.1\r\nHost: a.test\r\n",
    ] {
        let mut raw = Raw::connect(gateway.address());
        raw.send(part);
        let response = raw.response("GET");
        assert_eq!(
            (response.status, response.code().as_str()),
            (408, "request_timeout"),
            "{part:?}"
        );
        assert!(!response.keeps_alive());
        raw.expect_closed();
    }
    assert_eq!(backend.count(), 0);
    gateway.wait_metric("gatehouse_failures_total", &[("code", "request_timeout")], |n| {
        n >= 3.0
    });
}

/// A connection that never said anything is no request: it is closed without an answer.
#[test]
fn a_silent_connection_is_closed() {
    let backend = HttpBackend::start();
    let gateway = with(&backend, "client: { timeouts: { head: 200ms } }\n");
    Raw::connect(gateway.address()).expect_closed();
}

/// Slowloris: a byte now and then must not move the limit.
#[test]
fn dripping_a_head_does_not_help() {
    let backend = HttpBackend::start();
    let gateway = with(&backend, "client: { timeouts: { head: 500ms } }\n");
    let mut raw = Raw::connect(gateway.address());
    raw.send("GET / HTTP/1.1\r\nHost: a.test\r\n");
    let mut writer = raw.writer();
    let dripping = std::thread::spawn(move || {
        while std::io::Write::write_all(&mut writer, b"X: y\r\n").is_ok() {
            std::thread::park_timeout(std::time::Duration::from_millis(50));
        }
    });
    assert!(matches!(raw.response("GET").status, 408 | 431));
    drop(raw);
    gatehouse_testkit::wait::join("the dripping to end", dripping);
}

#[test]
fn a_body_that_stops_coming_is_408() {
    let backend = HttpBackend::start();
    let gateway = with(&backend, "client: { timeouts: { body_idle: 200ms } }\n");
    for (framing, part) in [
        ("Content-Length: 10\r\n\r\n", b"abc".to_vec()),
        ("Transfer-Encoding: chunked\r\n\r\n", chunk(b"abc")),
        ("Content-Length: 10\r\n\r\n", Vec::new()),
    ] {
        let mut raw = Raw::connect(gateway.address());
        raw.send(format!("{HEAD}{framing}")).send(part);
        let response = raw.response("POST");
        assert_eq!(
            (response.status, response.code().as_str()),
            (408, "request_timeout")
        );
        raw.expect_closed();
    }
    assert!(backend.requests().iter().all(|request| !request.complete));
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let backend = HttpBackend::start();
    let gateway = with(&backend, "client: { timeouts: { keep_alive: 200ms } }\n");
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/").encode());
    assert_eq!(raw.response("GET").status, 200);
    raw.expect_closed();
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let big = vec![b'x'; 32 << 20];
    let backend = HttpBackend::replying(Reply::ok(&big));
    let gateway = with(&backend, "client: { timeouts: { write_idle: 200ms } }\n");
    let mut raw = Raw::connect_with_window(gateway.address(), 16 * 1024);
    raw.send(Request::get("/").encode());
    // The gateway ends both sides while the client still reads nothing.
    backend.wait_ended(1);
    let rest = raw.read_to_end();
    assert!(rest.len() < big.len(), "all {} bytes came", rest.len());
    gateway.wait_metric("gatehouse_timeouts_total", &[], |n| n >= 1.0);
}

#[test]
fn a_whole_exchange_has_a_limit() {
    let backend = HttpBackend::scripted(|call| {
        call.hang();
        Ok(())
    });
    let gateway = with(&backend, "client: { timeouts: { total: 300ms } }\n");
    let response = client::get(gateway.address(), "/");
    assert_eq!(
        (response.status, response.code().as_str()),
        (504, "deadline_exceeded")
    );
}

#[test]
fn a_route_has_its_own_limit() {
    let backend = HttpBackend::scripted(|call| {
        call.hang();
        Ok(())
    });
    let yaml = r#"
listeners: { main: { address: "127.0.0.1:0" } }
routes: { all: { match: { path: /** }, timeout: 300ms, forward: { upstream: api } } }
upstreams: { api: { endpoints: ["${api}"] } }
"#;
    let gateway = gateway(yaml).bind("api", backend.url()).start();
    let response = client::get(gateway.address(), "/");
    assert_eq!(
        (response.status, response.code().as_str()),
        (504, "deadline_exceeded")
    );
}

#[test]
fn a_body_below_the_least_rate_is_408() {
    let backend = HttpBackend::start();
    // A million bytes a second; the client sends one byte whenever it is let.
    let gateway = with(
        &backend,
        "client: { limits: { min_rate: 1MB }, timeouts: { body_idle: 200ms } }\n",
    );
    let mut raw = Raw::connect(gateway.address());
    raw.send(format!("{HEAD}Content-Length: 1000000\r\n\r\n"));
    let mut writer = raw.writer();
    let dripping = std::thread::spawn(move || {
        while std::io::Write::write_all(&mut writer, b"x").is_ok() {
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
    });
    let response = raw.response("POST");
    assert_eq!(
        (response.status, response.code().as_str()),
        (408, "request_timeout")
    );
    drop(raw);
    gatehouse_testkit::wait::join("the dripping to end", dripping);
}

#[test]
fn a_refused_client_that_goes_on_sending_is_cut_off() {
    let backend = HttpBackend::start();
    let gateway = with(
        &backend,
        "client: { limits: { body: 10 }, timeouts: { linger: 200ms } }\n",
    );
    let mut raw = Raw::connect(gateway.address());
    raw.send(format!("{HEAD}Content-Length: 1000000000\r\n\r\n"));
    assert_eq!(raw.response("POST").status, 413);
    // Writing goes on until the gateway has really closed.
    let piece = vec![b'x'; 64 * 1024];
    gatehouse_testkit::wait::until("the gateway to close", || raw.try_send(&piece).is_err());
    assert_eq!(backend.count(), 0);
}

/// What a policy waits for is part of the exchange: the route's time bounds it.
#[test]
fn a_policy_waits_no_longer_than_the_route_may_take() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let backend = HttpBackend::start();
    let gateway = gateway(&format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
routes:
  all:
    match: {{}}
    timeout: 300ms
    policies: [ {{ external_auth: {{ url: "http://{}/", timeout: 1m }} }} ]
    forward: {{ upstream: api }}
upstreams: {{ api: {{ endpoints: ["{}"] }} }}
"#,
        silent.local_addr().unwrap(),
        backend.url()
    ))
    .start();
    let answer = client::once(gateway.address(), &Request::get("/"));
    assert_eq!(answer.status, 504);
    assert_eq!(answer.json()["code"], "deadline_exceeded");
    assert_eq!(backend.count(), 0);
}
