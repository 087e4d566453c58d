//! Each phase on the upstream side has its own limit in time.

use gatehouse_testkit::backend::tcp::{Blackhole, Refusing, TcpBackend};
use gatehouse_testkit::{Client, Gate, HttpBackend, Raw, Request, client};

use crate::with_upstream;

#[test]
fn a_refused_connection_is_502() {
    let gone = Refusing::new();
    let gateway = with_upstream(&gone.url(), "");
    let response = client::get(gateway.address(), "/");
    assert_eq!(
        (response.status, response.code().as_str()),
        (502, "connect_failed")
    );
    assert!(
        gateway
            .metrics()
            .sum("gatehouse_upstream_failures_total", &[("code", "connect_failed")])
            >= 1.0
    );
}

#[test]
fn a_connection_that_is_not_made_in_time_is_502() {
    let hole = Blackhole::new();
    let gateway = with_upstream(&hole.url(), "timeouts: { connect: 200ms }");
    let response = client::get(gateway.address(), "/");
    assert_eq!(
        (response.status, response.code().as_str()),
        (502, "connect_failed")
    );
}

#[test]
fn no_first_byte_in_time_is_504() {
    let silent = TcpBackend::silent();
    let gateway = with_upstream(&silent.url(), "timeouts: { first_byte: 200ms }");
    let mut client = Client::connect(gateway.address());
    for request in [Request::get("/"), Request::post("/", "x")] {
        let response = client.send(&request);
        assert_eq!(
            (response.status, response.code().as_str()),
            (504, "upstream_timeout")
        );
    }
    // A timed-out request is never sent a second time, and its connection is never used again.
    assert_eq!(silent.connections(), 2);
}

/// The clock of the first byte starts when the request is complete, not before.
#[test]
fn a_slow_upload_is_no_slow_answer() {
    let backend = HttpBackend::start();
    let gateway = with_upstream(&backend.url(), "timeouts: { first_byte: 300ms }");
    let mut raw = Raw::connect(gateway.address());
    raw.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\nabc");
    backend.wait_body(0, 3);
    // Another request runs out of time meanwhile: so much time has certainly passed.
    let silent = TcpBackend::silent();
    let other = with_upstream(&silent.url(), "timeouts: { first_byte: 600ms }");
    assert_eq!(client::get(other.address(), "/").status, 504);
    raw.send("def");
    assert_eq!(raw.response("POST").status, 200);
    assert_eq!(backend.last().text(), "abcdef");
}

#[test]
fn half_a_head_is_504() {
    let backend = HttpBackend::scripted(|call| {
        call.send("HTTP/1.1 200 OK\r\nContent-")?;
        call.hang();
        Ok(())
    });
    let gateway = with_upstream(&backend.url(), "timeouts: { first_byte: 200ms, idle: 200ms }");
    let response = client::get(gateway.address(), "/");
    assert_eq!(
        (response.status, response.code().as_str()),
        (504, "upstream_timeout")
    );
}

#[test]
fn a_body_that_stops_ends_the_response() {
    let backend = HttpBackend::scripted(|call| {
        call.head(200, &[("Content-Length", "100")])?;
        call.send("some")?;
        call.hang();
        Ok(())
    });
    let gateway = with_upstream(&backend.url(), "timeouts: { idle: 200ms }");
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/").encode());
    let (head, framing) = raw.response_head("GET");
    assert_eq!(head.status, 200);
    let mut seen = Vec::new();
    let error = raw
        .reader
        .read_body(framing, &mut |piece| seen.extend_from_slice(piece))
        .unwrap_err();
    assert!(
        !matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        ),
        "{error}"
    );
    assert_eq!(seen, b"some");
}

#[test]
fn a_whole_attempt_has_a_limit() {
    let gate = Gate::new();
    let wait = gate.clone();
    let backend = HttpBackend::scripted(move |call| {
        call.head(200, &[("Transfer-Encoding", "chunked")])?;
        // Never idle, never done.
        while !call.peer_left()? {
            call.chunk("x")?;
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        wait.open();
        Ok(())
    });
    let gateway = with_upstream(&backend.url(), "timeout: 300ms");
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/").encode());
    let (head, framing) = raw.response_head("GET");
    assert_eq!(head.status, 200);
    let error = raw.reader.read_body(framing, &mut |_| {}).unwrap_err();
    assert!(
        !matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        ),
        "{error}"
    );
    backend.wait_ended(1);
}

#[test]
fn the_total_limit_before_the_head_is_504() {
    let silent = TcpBackend::silent();
    let gateway = with_upstream(&silent.url(), "timeout: 200ms");
    let response = client::get(gateway.address(), "/");
    assert_eq!(response.status, 504);
    assert_eq!(response.code(), "upstream_timeout");
}
