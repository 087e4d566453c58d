//! A kept connection that turns out dead: one free second try, and never for what may have been done already.

use gatehouse_testkit::client::chunk;
use gatehouse_testkit::{Client, Gateway, HttpBackend, Raw, Reply, Request};

use crate::with_upstream;

/// Reads the second request on its first connection and closes without an answer; later connections are fine.
fn dies_at_second() -> HttpBackend {
    HttpBackend::scripted(|call| {
        call.read_body()?;
        if call.request().connection == 0 && call.request().nth == 1 {
            call.close();
            return Ok(());
        }
        call.reply(&Reply::ok(format!("connection {}", call.request().connection)))
    })
}

/// One worker and one request done: the pool holds exactly one connection.
fn primed(backend: &HttpBackend) -> (Gateway, Client) {
    let gateway = with_upstream(&backend.url(), "");
    let mut client = Client::connect(gateway.address());
    assert_eq!(client.get("/first").text(), "connection 0");
    (gateway, client)
}

#[test]
fn a_get_on_a_stale_connection_is_sent_once_more() {
    let backend = dies_at_second();
    let (gateway, mut client) = primed(&backend);
    assert_eq!(client.get("/second").text(), "connection 1");
    let targets: Vec<String> = backend.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(targets, ["/first", "/second", "/second"]);
    gateway.wait_metric("gatehouse_upstream_retries_total", &[], |n| (n - 1.0).abs() < 0.1);
}

#[test]
fn a_post_that_may_have_been_done_is_not_sent_again() {
    let backend = dies_at_second();
    let (_gateway, mut client) = primed(&backend);
    let response = client.send(&Request::post("/second", "pay"));
    assert_eq!(
        (response.status, response.code().as_str()),
        (502, "upstream_reset")
    );
    assert_eq!(
        backend
            .requests()
            .iter()
            .filter(|r| r.target == "/second")
            .count(),
        1
    );
    assert_eq!(client.get("/third").status, 200);
}

#[test]
fn put_and_delete_may_be_sent_again_without_or_with_a_small_body() {
    for request in [
        Request::new("DELETE", "/second"),
        Request::new("PUT", "/second").body("small"),
    ] {
        let backend = dies_at_second();
        let (_gateway, mut client) = primed(&backend);
        let response = client.send(&request);
        // A body that is no longer at hand cannot be sent again: then the failure is told.
        assert!(response.status == 200 || response.status == 502, "{response:?}");
        let sent = backend
            .requests()
            .iter()
            .filter(|r| r.target == "/second")
            .count();
        assert_eq!(sent, if response.status == 200 { 2 } else { 1 });
        if response.status == 200 {
            assert_eq!(
                backend.requests()[1].digest,
                backend.last().digest,
                "the body is the same"
            );
        }
    }
}

#[test]
fn a_streaming_body_is_never_sent_again() {
    let backend = dies_at_second();
    let (gateway, _client) = primed(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send("PUT /second HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    backend.wait_requests(2);
    raw.send(chunk(b"part")).send("0\r\n\r\n");
    let response = raw.response("PUT");
    assert!(matches!(response.status, 200 | 502), "{response:?}");
    let sent = backend
        .requests()
        .iter()
        .filter(|r| r.target == "/second" && r.complete)
        .count();
    assert!(sent <= 2);
}

/// It never goes on and on: the second try is the last one.
#[test]
fn never_a_third_time() {
    let backend = HttpBackend::scripted(|call| {
        call.read_body()?;
        if call.request().target == "/dies" {
            call.close();
            return Ok(());
        }
        call.reply(&Reply::ok("fine"))
    });
    let gateway = with_upstream(&backend.url(), "");
    let mut client = Client::connect(gateway.address());
    assert_eq!(client.get("/first").text(), "fine");
    let response = client.get("/dies");
    assert_eq!(
        (response.status, response.code().as_str()),
        (502, "upstream_reset")
    );
    assert_eq!(
        backend.requests().iter().filter(|r| r.target == "/dies").count(),
        2
    );
}

/// Only a kept connection can be stale. One that was just made and breaks is the upstream's failure.
#[test]
fn a_new_connection_that_dies_is_not_tried_again() {
    let backend = HttpBackend::scripted(|call| {
        call.read_body()?;
        call.close();
        Ok(())
    });
    let gateway = with_upstream(&backend.url(), "");
    let response = Client::connect(gateway.address()).get("/");
    assert_eq!(
        (response.status, response.code().as_str()),
        (502, "upstream_reset")
    );
    assert_eq!(backend.count(), 1);
}

/// Once a byte of the response has come, the request was certainly read.
#[test]
fn after_the_first_byte_there_is_no_second_try() {
    let backend = HttpBackend::scripted(|call| {
        call.read_body()?;
        if call.request().nth == 1 {
            call.send("HTTP/1.1 2")?;
            call.close();
            return Ok(());
        }
        call.reply(&Reply::ok("connection 0"))
    });
    let (_gateway, mut client) = primed(&backend);
    let response = client.get("/second");
    assert_eq!(
        (response.status, response.code().as_str()),
        (502, "upstream_reset")
    );
    assert_eq!(backend.count(), 2);
}

/// A connection that ended while it waited is noticed before it is used, for every method.
#[test]
fn connections_that_ended_while_idle_are_not_used() {
    let backend = HttpBackend::start();
    let gateway = with_upstream(&backend.url(), "");
    let mut client = Client::connect(gateway.address());
    for round in 0..5 {
        assert_eq!(
            client.send(&Request::post("/", "pay")).status,
            200,
            "round {round}"
        );
        backend.drop_connections();
        backend.wait_ended(round + 1);
    }
    assert_eq!(backend.count(), 5);
}

/// `Connection: close` from the upstream ends a connection before anybody could meet it dead.
#[test]
fn connections_the_upstream_gave_notice_of_are_not_kept() {
    let backend = HttpBackend::replying(Reply::ok("bye").header("Connection", "close").then_close());
    let gateway = with_upstream(&backend.url(), "");
    let mut client = Client::connect(gateway.address());
    for _ in 0..5 {
        assert_eq!(client.send(&Request::post("/", "pay")).text(), "bye");
    }
    assert_eq!((backend.count(), backend.connections()), (5, 5));
}
