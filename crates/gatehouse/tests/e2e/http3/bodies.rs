//! Bodies in both directions, large and many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gatehouse_testkit::digest::{Digest, Noise};
use gatehouse_testkit::h3::{Broken, Http3Request, code};
use gatehouse_testkit::{Feed, Gate, HttpBackend, Reply};

use super::{Setup, post};

const MIB: usize = 1 << 20;

#[test]
fn large_bodies_arrive_whole() {
    let down = Noise::bytes(1, MIB);
    let backend = HttpBackend::replying(Reply::ok(&down));
    let setup = Setup::new(&backend, "");
    let mut client = setup.connect();
    let up = Noise::bytes(2, MIB);
    let answer = client.send(&post("/", &up));
    assert_eq!(Digest::of(&answer.body), Digest::of(&down));
    assert_eq!(backend.last().digest, Digest::of(&up));
    // With a length as well.
    let answer = client.send(&post("/", &up).header("content-length", &up.len().to_string()));
    assert_eq!(answer.status, 200);
    let got = backend.last();
    assert_eq!(got.digest, Digest::of(&up));
    assert!(got.headers.has("content-length"), "{got:?}");
}

#[test]
fn an_upstream_that_does_not_read_makes_the_client_wait() {
    let gate = Gate::new();
    let wait = gate.clone();
    let backend = HttpBackend::scripted(move |call| {
        call.wait(&wait)?;
        call.read_body()?;
        call.reply(&Reply::ok("at last"))
    });
    let setup = Setup::new(&backend, "client: { limits: { body: 1GiB } }\n");
    let mut client = setup.connect();
    let mut exchange = client.begin(&Http3Request::new("POST", "/"));
    let piece = Noise::bytes(3, 64 * 1024);
    let mut stuck_at = None;
    for n in 0..1024 {
        exchange.write_or(&piece, || {
            stuck_at = Some(n * piece.len());
            gate.open();
        });
        if stuck_at.is_some() {
            break;
        }
    }
    let written = stuck_at.expect("the client never had to wait");
    assert!(
        written < 40 * MIB,
        "{written} bytes taken for an upstream that reads nothing"
    );
    exchange.finish();
    assert_eq!(exchange.answer().text(), "at last");
}

#[test]
fn a_client_that_does_not_read_makes_the_upstream_wait() {
    let (written, stuck) = (Arc::new(AtomicU64::new(0)), Gate::new());
    let (count, tell) = (written.clone(), stuck.clone());
    let backend = HttpBackend::scripted(move |call| {
        call.head(200, &[("Content-Length", &(64 * MIB).to_string())])?;
        let mut socket = call.socket()?;
        socket.set_write_timeout(Some(Duration::from_millis(500)))?;
        let piece = vec![7; MIB];
        for _ in 0..64 {
            let mut rest = piece.as_slice();
            while !rest.is_empty() {
                match std::io::Write::write(&mut socket, rest) {
                    Ok(n) => {
                        count.fetch_add(n as u64, Ordering::SeqCst);
                        rest = &rest[n..];
                    }
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => tell.open(),
                    Err(e) => return Err(e),
                }
            }
        }
        tell.open();
        Ok(())
    });
    let setup = Setup::new(&backend, "");
    let mut client = setup.connect();
    let mut exchange = client.begin(&Http3Request::new("GET", "/"));
    exchange.finish();
    assert_eq!(exchange.head().status, 200);
    assert!(stuck.wait(), "the upstream never had to wait");
    let under_way = written.load(Ordering::SeqCst);
    assert!(
        under_way < 40 * MIB as u64,
        "{under_way} bytes for a client that reads nothing"
    );
    // Whoever gives up frees the upstream.
    exchange.cancel();
    backend.wait_ended(1);
}

#[test]
fn pieces_pass_as_they_come() {
    let feed = Feed::new();
    let pieces = feed.clone();
    let backend = HttpBackend::scripted(move |call| {
        call.head(200, &[("Transfer-Encoding", "chunked")])?;
        call.chunks_from(&pieces)
    });
    let setup = Setup::new(&backend, "");
    let mut client = setup.connect();
    let mut exchange = client.begin(&Http3Request::new("GET", "/"));
    exchange.finish();
    assert_eq!(exchange.head().status, 200);
    for piece in ["one", "two", "three"] {
        feed.push(piece);
        assert_eq!(exchange.read().as_deref(), Some(piece.as_bytes()));
    }
    feed.end();
    assert_eq!(exchange.read(), None);
}

#[test]
fn a_hundred_requests_at_a_time() {
    let gate = Gate::new();
    let wait = gate.clone();
    let backend = HttpBackend::scripted(move |call| {
        call.read_body()?;
        call.wait(&wait)?;
        let path = call.request().target.clone();
        call.reply(&Reply::ok(path))
    });
    let setup = Setup::new(&backend, "");
    let mut client = setup.connect();
    let mut exchanges: Vec<_> = (0..100)
        .map(|i| {
            let mut exchange = client.begin(&Http3Request::new("GET", &format!("/{i}")));
            exchange.finish();
            exchange
        })
        .collect();
    backend.wait_requests(100);
    gate.open();
    for (i, exchange) in exchanges.iter_mut().enumerate() {
        assert_eq!(exchange.answer().text(), format!("/{i}"));
    }
}

#[test]
fn a_request_that_is_given_up_ends_at_the_upstream_too() {
    let backend = HttpBackend::start();
    backend.script("/hang", |call| {
        call.hang();
        Ok(())
    });
    let setup = Setup::new(&backend, "");
    let mut client = setup.connect();
    let mut exchange = client.begin(&Http3Request::new("GET", "/hang"));
    exchange.finish();
    backend.wait_requests(1);
    exchange.cancel();
    backend.wait_ended(1);
    assert_eq!(setup.gateway.access_log(1)[0]["code"], "client_gone");
    // The connection is as good as before.
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn a_body_that_is_broken_off_resets_the_response() {
    let backend = HttpBackend::start();
    backend.on("/cut", Reply::ok("only a part").claim_length(1000));
    let setup = Setup::new(&backend, "");
    let mut client = setup.connect();
    let cut = client.try_send(&Http3Request::new("GET", "/cut"));
    assert!(matches!(cut, Err(Broken::Reset(_))), "{cut:?}");
    assert_eq!(client.get("/").status, 200);
    // And the other way round: half a request is no request.
    let mut exchange = client.begin(&Http3Request::new("POST", "/").header("content-length", "9"));
    exchange.write(b"1234");
    exchange.finish();
    let outcome = exchange.try_answer();
    match outcome {
        Ok(answer) => assert_eq!(answer.status, 400),
        Err(broken) => assert_eq!(broken, Broken::Reset(code::MESSAGE_ERROR)),
    }
    assert_eq!(client.get("/").status, 200);
}
