//! Kept upstream connections: how many, how long, how often.

use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Client, Gate, HttpBackend, Raw, Reply, Request};

use crate::with_upstream;

#[test]
fn a_connection_serves_its_share_and_no_more() {
    let backend = HttpBackend::start();
    let gateway = with_upstream(&backend.url(), "pool: { max_requests: 3 }");
    let mut client = Client::connect(gateway.address());
    for _ in 0..9 {
        assert_eq!(client.get("/").status, 200);
    }
    let connections: Vec<usize> = backend.requests().iter().map(|r| r.connection).collect();
    assert_eq!(connections, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
}

#[test]
fn with_no_idle_ones_allowed_each_request_has_its_own() {
    let backend = HttpBackend::start();
    let gateway = with_upstream(&backend.url(), "pool: { max_idle: 0 }");
    let mut client = Client::connect(gateway.address());
    for _ in 0..4 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(backend.connections(), 4);
    backend.wait_ended(4);
}

#[test]
fn idle_connections_are_closed_in_time() {
    let backend = HttpBackend::start();
    let gateway = with_upstream(&backend.url(), "pool: { idle_timeout: 200ms }");
    let mut client = Client::connect(gateway.address());
    assert_eq!(client.get("/").status, 200);
    // The gateway ends it by itself, without another request.
    backend.wait_ended(1);
    gateway.wait_metric("gatehouse_upstream_connections_idle", &[], |n| n == 0.0);
    assert_eq!(client.get("/").status, 200);
    assert_eq!(backend.connections(), 2);
}

#[test]
fn old_connections_are_not_used_again() {
    let backend = HttpBackend::start();
    let gateway = with_upstream(&backend.url(), "pool: { max_age: 100ms }");
    let mut client = Client::connect(gateway.address());
    until("a second connection", || {
        assert_eq!(client.get("/").status, 200);
        backend.connections() >= 2
    });
}

#[test]
fn at_most_so_many_are_kept() {
    let gate = Gate::new();
    let wait = gate.clone();
    let backend = HttpBackend::scripted(move |call| {
        call.wait(&wait)?;
        call.reply(&Reply::ok("ok"))
    });
    let gateway = with_upstream(&backend.url(), "pool: { max_idle: 2 }");
    let mut clients: Vec<Raw> = (0..6).map(|_| Raw::connect(gateway.address())).collect();
    for client in &mut clients {
        client.send(Request::get("/").encode());
    }
    backend.wait_requests(6);
    assert_eq!(backend.connections(), 6);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response("GET").status, 200);
    }
    backend.wait_ended(4);
    gateway.wait_metric("gatehouse_upstream_connections_idle", &[], |n| {
        (n - 2.0).abs() < 0.1
    });
}

#[test]
fn a_response_cut_short_by_the_client_does_not_spoil_a_connection() {
    let body = vec![b'x'; 4 << 20];
    let backend = HttpBackend::start();
    backend.on("/big", Reply::ok(&body));
    let gateway = with_upstream(&backend.url(), "");
    for _ in 0..5 {
        let mut raw = Raw::connect(gateway.address());
        raw.send(Request::get("/big").encode());
        raw.response_head("GET");
        drop(raw);
        // Whatever connection this one gets, its response is its own.
        assert_eq!(Client::connect(gateway.address()).get("/small").text(), "ok");
    }
}

#[test]
fn metrics_tell_opened_and_reused() {
    let backend = HttpBackend::start();
    let gateway = with_upstream(&backend.url(), "");
    let mut client = Client::connect(gateway.address());
    for _ in 0..5 {
        client.get("/");
    }
    gateway.wait_metric(
        "gatehouse_upstream_connections_opened_total",
        &[("upstream", "api")],
        |n| (n - 1.0).abs() < 0.1,
    );
    gateway.wait_metric(
        "gatehouse_upstream_connections_reused_total",
        &[("upstream", "api")],
        |n| (n - 4.0).abs() < 0.1,
    );
}

/// What comes behind the answer to a `HEAD`, or a 304, would be the answer to somebody else's request.
#[test]
fn a_body_that_should_not_be_there_is_nobody_elses_answer() {
    for head in [true, false] {
        let (late, sent) = (Gate::new(), Gate::new());
        let (wait, done) = (late.clone(), sent.clone());
        let backend = HttpBackend::start();
        backend.script("/first", move |call| {
            // As if a body followed: a client may be told how long it would be.
            call.head(if head { 200 } else { 304 }, &[("Content-Length", "5")])?;
            call.wait(&wait)?;
            call.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale")?;
            done.open();
            Ok(())
        });
        backend.on("/second", Reply::ok("fresh"));
        let gateway = with_upstream(&backend.url(), "");
        let mut client = Client::connect(gateway.address());
        let request = if head {
            Request::new("HEAD", "/first")
        } else {
            Request::get("/first").header("If-None-Match", "\"a\"")
        };
        assert_eq!(client.send(&request).status, if head { 200 } else { 304 });
        // The connection idles in the pool when the surplus comes.
        gateway.wait_metric("gatehouse_upstream_connections_idle", &[], |n| n >= 1.0);
        late.open();
        assert!(sent.wait());
        let response = client.get("/second");
        assert_eq!((response.status, response.text().as_str()), (200, "fresh"));
        assert_eq!(backend.connections(), 2);
    }
}
