//! Server-sent events reach the client one by one, as the upstream sends them.

use gatehouse_testkit::{Feed, HttpBackend, Raw, Request};

use crate::in_front_of;

#[test]
fn each_event_arrives_before_the_next_is_sent() {
    let feed = Feed::new();
    let events = feed.clone();
    let backend = HttpBackend::scripted(move |call| {
        call.head(
            200,
            &[
                ("Content-Type", "text/event-stream"),
                ("Transfer-Encoding", "chunked"),
            ],
        )?;
        call.chunks_from(&events)
    });
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(
        Request::get("/events")
            .header("Accept", "text/event-stream")
            .encode(),
    );
    let (head, _) = raw.response_head("GET");
    assert_eq!(
        (head.status, head.header("content-type")),
        (200, Some("text/event-stream"))
    );
    for n in 0..20 {
        let event = format!("data: {n}\n\n");
        feed.push(&event);
        assert_eq!(raw.chunk().as_deref(), Some(event.as_bytes()));
    }
    feed.end();
    assert_eq!(raw.chunk(), None);
}

#[test]
fn the_head_arrives_before_the_first_event() {
    let feed = Feed::new();
    let events = feed.clone();
    let backend = HttpBackend::scripted(move |call| {
        call.head(200, &[("Content-Type", "text/event-stream")])?;
        while let Some(event) = events.next() {
            call.send(event)?;
        }
        call.close();
        Ok(())
    });
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/events").encode());
    assert_eq!(raw.response_head("GET").0.status, 200);
    feed.push("data: without length or chunks\n\n");
    assert_eq!(raw.chunk().unwrap(), b"data: without length or chunks\n\n");
    feed.end();
    assert_eq!(raw.chunk(), None);
}

#[test]
fn half_an_event_is_not_held_back() {
    let feed = Feed::new();
    let events = feed.clone();
    let backend = HttpBackend::scripted(move |call| {
        call.head(
            200,
            &[
                ("Content-Type", "text/event-stream"),
                ("Transfer-Encoding", "chunked"),
            ],
        )?;
        while let Some(piece) = events.next() {
            // Raw bytes: the test decides where chunks begin and end.
            call.send(piece)?;
        }
        Ok(())
    });
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/events").encode());
    raw.response_head("GET");
    // A chunk of ten bytes of which only the first four have come.
    feed.push("a\r\ndata");
    let mut seen = raw.chunk().unwrap();
    feed.push(": now\n\r\n0\r\n\r\n");
    while let Some(more) = raw.chunk() {
        seen.extend_from_slice(&more);
    }
    assert_eq!(seen, b"data: now\n");
    feed.end();
}

#[test]
fn a_reader_that_leaves_ends_the_stream_upstream() {
    let feed = Feed::new();
    let events = feed.clone();
    let backend = HttpBackend::scripted(move |call| {
        call.head(
            200,
            &[
                ("Content-Type", "text/event-stream"),
                ("Transfer-Encoding", "chunked"),
            ],
        )?;
        while let Some(event) = events.next() {
            call.chunk(event)?;
        }
        // Silent from here on: only the gateway can end this.
        call.hang();
        Ok(())
    });
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/events").encode());
    raw.response_head("GET");
    feed.push("data: 1\n\n");
    assert!(raw.chunk().is_some());
    feed.end();
    // An orderly end could also be a client that only has no more to say; a reset leaves no doubt.
    raw.reset();
    backend.wait_ended(1);
}
