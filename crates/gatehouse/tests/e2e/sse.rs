//! Server-sent events reach the client one by one, as the upstream sends them.

use std::io;

use gatehouse_testkit::backend::call::Call;
use gatehouse_testkit::{Feed, Gateway, HttpBackend, Raw, Request};

use crate::in_front_of;

/// A client that has asked for events, and the feed that makes them.
struct Listening {
    feed: Feed,
    raw: Raw,
    backend: HttpBackend,
    _gateway: Gateway,
}

/// The upstream sends a head, in chunks or up to the end of the connection, and then does what the script says.
fn listen(
    chunked: bool,
    script: impl Fn(&mut Call<'_>, &Feed) -> io::Result<()> + Send + Sync + 'static,
) -> Listening {
    let feed = Feed::new();
    let events = feed.clone();
    let backend = HttpBackend::scripted(move |call| {
        let fields = [
            ("Content-Type", "text/event-stream"),
            ("Transfer-Encoding", "chunked"),
        ];
        call.head(200, if chunked { &fields } else { &fields[..1] })?;
        script(call, &events)
    });
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(
        Request::get("/events")
            .header("Accept", "text/event-stream")
            .encode(),
    );
    // Before the first event.
    let (head, _) = raw.response_head("GET");
    assert_eq!(
        (head.status, head.header("content-type")),
        (200, Some("text/event-stream"))
    );
    Listening {
        feed,
        raw,
        backend,
        _gateway: gateway,
    }
}

#[test]
#[allow(
    clippy::redundant_closure_for_method_calls,
    clippy::redundant_closure,
    reason = "the method is for one lifetime only"
)]
fn each_event_arrives_before_the_next_is_sent() {
    let mut stream = listen(true, |call, events| call.chunks_from(events));
    for n in 0..20 {
        let event = format!("data: {n}\n\n");
        stream.feed.push(&event);
        assert_eq!(stream.raw.chunk().as_deref(), Some(event.as_bytes()));
    }
    stream.feed.end();
    assert_eq!(stream.raw.chunk(), None);
}

#[test]
fn the_head_arrives_before_the_first_event() {
    let mut stream = listen(false, |call, events| {
        while let Some(event) = events.next() {
            call.send(event)?;
        }
        call.close();
        Ok(())
    });
    stream.feed.push("data: without length or chunks\n\n");
    assert_eq!(stream.raw.chunk().unwrap(), b"data: without length or chunks\n\n");
    stream.feed.end();
    assert_eq!(stream.raw.chunk(), None);
}

#[test]
fn half_an_event_is_not_held_back() {
    let mut stream = listen(true, |call, events| {
        while let Some(piece) = events.next() {
            // Raw bytes: the test decides where chunks begin and end.
            call.send(piece)?;
        }
        Ok(())
    });
    // A chunk of ten bytes of which only the first four have come.
    stream.feed.push("a\r\ndata");
    let mut seen = stream.raw.chunk().unwrap();
    stream.feed.push(": now\n\r\n0\r\n\r\n");
    while let Some(more) = stream.raw.chunk() {
        seen.extend_from_slice(&more);
    }
    assert_eq!(seen, b"data: now\n");
    stream.feed.end();
}

#[test]
fn a_reader_that_leaves_ends_the_stream_upstream() {
    let mut stream = listen(true, |call, events| {
        while let Some(event) = events.next() {
            call.chunk(event)?;
        }
        // Silent from here on: only the gateway can end this.
        call.hang();
        Ok(())
    });
    stream.feed.push("data: 1\n\n");
    assert!(stream.raw.chunk().is_some());
    stream.feed.end();
    // An orderly end could also be a client that only has no more to say; a reset leaves no doubt.
    stream.raw.reset();
    stream.backend.wait_ended(1);
}
