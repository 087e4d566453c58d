//! The kit tested against itself: its client talks to its backends with nothing in between.

use gatehouse_testkit::backend::tcp::{Blackhole, Refusing, TcpBackend};
use gatehouse_testkit::digest::{Digest, Noise};
use gatehouse_testkit::raw::is_reset;
use gatehouse_testkit::wire::Framing;
use gatehouse_testkit::{Client, Feed, Gate, HttpBackend, Raw, Reply, Request, client};

#[test]
fn requests_are_answered_and_remembered() {
    let backend = HttpBackend::start();
    backend.on("/a", Reply::new(201).header("X-B", "c").body("made"));
    let mut client = Client::connect(backend.address());
    let response = client.send(&Request::post("/a?q=1", "body").header("x-MiXed", "v"));
    assert_eq!(
        (response.status, response.header("x-b"), response.text().as_str()),
        (201, Some("c"), "made")
    );
    let response = client.send(
        &Request::new("PUT", "/other")
            .chunked(&[b"ab", b"cd"])
            .trailer("T", "1"),
    );
    assert_eq!(response.text(), "ok");

    let seen = backend.wait_complete(2);
    assert_eq!(
        (
            seen[0].method.as_str(),
            seen[0].target.as_str(),
            seen[0].text().as_str()
        ),
        ("POST", "/a?q=1", "body")
    );
    assert_eq!(seen[0].headers.names(), ["Host", "x-MiXed", "Content-Length"]);
    assert_eq!(
        (seen[1].connection, seen[1].nth, seen[1].text().as_str()),
        (0, 1, "abcd")
    );
    assert_eq!(
        (seen[1].trailers.get("t"), seen[1].digest),
        (Some("1"), Digest::of(b"abcd"))
    );
    assert_eq!((backend.connections(), backend.count()), (1, 2));
}

#[test]
fn bodies_come_in_every_framing() {
    let backend = HttpBackend::start();
    backend.on("/chunked", Reply::ok("abc").trailer("X-T", "t"));
    backend.on("/close", Reply::ok("abc").until_close());
    backend.on("/none", Reply::new(204));
    let mut client = Client::connect(backend.address());
    let chunked = client.get("/chunked");
    assert_eq!(
        (
            chunked.text().as_str(),
            chunked.trailers.get("x-t"),
            chunked.chunked
        ),
        ("abc", Some("t"), true)
    );
    assert_eq!(client.get("/none").status, 204);
    let head = client.send(&Request::new("HEAD", "/close2"));
    assert_eq!((head.header("content-length"), head.body.len()), (Some("2"), 0));
    assert_eq!(client.get("/close").text(), "abc");
    client.raw.expect_closed();
}

#[test]
fn gates_and_feeds_decide_when_it_goes_on() {
    let (gate, feed) = (Gate::new(), Feed::new());
    let (waits, streams) = (gate.clone(), feed.clone());
    let backend = HttpBackend::start();
    backend.script("/gate", move |call| {
        call.wait(&waits)?;
        call.reply(&Reply::ok("through"))
    });
    backend.script("/feed", move |call| {
        call.head(200, &[("Transfer-Encoding", "chunked")])?;
        call.chunks_from(&streams)
    });
    let mut waiting = Raw::connect(backend.address());
    waiting.send(Request::get("/gate").encode());
    backend.wait_requests(1);
    gate.open();
    assert_eq!(waiting.response("GET").text(), "through");

    let mut streaming = Raw::connect(backend.address());
    streaming.send(Request::get("/feed").encode());
    assert_eq!(streaming.response_head("GET").1, Framing::Chunked);
    for piece in ["one", "two"] {
        feed.push(piece);
        assert_eq!(streaming.chunk().as_deref(), Some(piece.as_bytes()));
    }
    feed.end();
    assert_eq!(streaming.chunk(), None);
}

#[test]
fn interim_responses_and_expectations() {
    let backend = HttpBackend::scripted(|call| {
        call.interim(103, &[("Link", "</x>")])?;
        call.read_body()?;
        call.reply(&Reply::ok("got it"))
    });
    let mut raw = Raw::connect(backend.address());
    let request = Request::post("/", "abc").header("Expect", "100-continue");
    raw.send(request.encode_head());
    raw.interim(103);
    raw.interim(100);
    raw.send("abc");
    assert_eq!(raw.response("POST").text(), "got it");
    assert_eq!(backend.last().text(), "abc");
}

#[test]
fn servers_that_misbehave() {
    let backend = HttpBackend::start();
    backend.on("/lie", Reply::ok("short").claim_length(100));
    backend.on("/raw", Reply::raw("HTTP/1.1 200 OK\nbare: lf\n\n"));
    backend.on("/reset", Reply::raw("").then_reset());
    backend.on("/early", Reply::new(403).early());
    for target in ["/lie", "/raw", "/reset"] {
        let mut raw = Raw::connect(backend.address());
        raw.send(Request::get(target).encode());
        let error = raw.reader.read_response("GET").unwrap_err();
        assert_eq!(is_reset(&error), target == "/reset", "{target}: {error}");
    }
    let mut raw = Raw::connect(backend.address());
    raw.send(Request::new("POST", "/early").body("abc").encode_head());
    assert_eq!(raw.response("POST").status, 403);
    raw.send("abc");
    assert_eq!(backend.wait_complete(4).len(), 4);

    let refusing = Refusing::new();
    assert!(Raw::try_connect(refusing.address()).is_err());
    let silent = TcpBackend::silent();
    Raw::connect(silent.address())
        .send("hello")
        .half_close()
        .expect_closed();
    assert!(Blackhole::new().url().starts_with("http://127.0.0.1:"));
}

#[test]
fn a_malformed_request_is_remembered() {
    let backend = HttpBackend::start();
    let mut raw = Raw::connect(backend.address());
    raw.send("GET / HTTP/1.1\nHost: x\n\n").expect_closed();
    backend.wait_ended(1);
    assert_eq!(
        (backend.count(), backend.malformed().len(), backend.bytes()),
        (0, 1, 24)
    );
    // Dropping the backend would fail this test: that is the point of it.
    std::mem::forget(backend);
}

#[test]
fn large_bodies_are_compared_by_digest() {
    let backend = HttpBackend::start();
    let body = Noise::bytes(7, 3 << 20);
    assert_eq!(
        client::once(backend.address(), &Request::post("/", &body)).status,
        200
    );
    let seen = backend.last();
    assert_eq!((seen.digest, seen.body.len()), (Digest::of(&body), 256 * 1024));
}
