//! How requests and connections of HTTP/2 end: resets in both directions, early answers, timeouts, drain, reload.

use crate::{PLAIN, gateway, in_front_of, with};
use gatehouse_testkit::h2::frames::{DATA, Frames, GOAWAY, HEADERS, NO_ERROR, SETTINGS, WINDOW_UPDATE, get};
use gatehouse_testkit::h2::{Builder, Http2, Reason, request};
use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Feed, Gate, HttpBackend, Reply};

#[test]
fn a_request_that_is_taken_back_ends_at_the_upstream_too() {
    let backend = HttpBackend::start();
    backend.script("/hang", |call| {
        call.hang();
        Ok(())
    });
    backend.script("/stream", |call| {
        call.head(200, &[("Transfer-Encoding", "chunked")])?;
        call.chunk("some")?;
        call.hang();
        Ok(())
    });
    let gateway = in_front_of(&backend);
    let http2 = Http2::connect(gateway.address());
    // While its answer is waited for, while its body is sent, and while the answer is under way.
    let waiting = http2.send(request("GET", "/hang").body(()).unwrap(), true);
    let sending = http2.send(request("POST", "/hang").body(()).unwrap(), false);
    let mut reading = http2.send(request("GET", "/stream").body(()).unwrap(), true);
    reading.head();
    assert_eq!(reading.piece().unwrap().unwrap(), "some");
    backend.wait_requests(3);
    for stream in [waiting, sending, reading] {
        stream.reset();
    }
    backend.wait_ended(3);
    assert_eq!(http2.get("/").text(), "ok");
    let lines = gateway.access_log(4);
    let gone = lines.iter().filter(|line| line["code"] == "client_gone").count();
    assert_eq!(gone, 3, "{lines:?}");
}

#[test]
fn an_answer_that_breaks_is_reset_and_the_connection_goes_on() {
    let gate = Gate::new();
    let wait = gate.clone();
    let backend = HttpBackend::start();
    backend.script("/broken", move |call| {
        call.head(200, &[("Content-Length", "100")])?;
        call.send("half")?;
        call.wait(&wait)?;
        call.close();
        Ok(())
    });
    let gateway = in_front_of(&backend);
    let http2 = Http2::connect(gateway.address());
    let mut stream = http2.send(request("GET", "/broken").body(()).unwrap(), true);
    assert_eq!(stream.head().status(), 200);
    assert_eq!(stream.piece().unwrap().unwrap(), "half");
    gate.open();
    let error = stream.piece().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    assert_eq!(http2.get("/").text(), "ok");
}

#[test]
fn an_early_answer_ends_the_upload_without_an_error() {
    let backend = HttpBackend::start();
    backend.on("/upload", Reply::new(403).body("no").early().then_close());
    let gateway = in_front_of(&backend);
    let http2 = Http2::connect(gateway.address());
    let mut stream = http2.send(request("POST", "/upload").body(()).unwrap(), false);
    stream.write(b"first", false);
    let head = stream.head();
    assert_eq!(head.status(), 403);
    assert_eq!(stream.reset_by_gateway(), Reason::NO_ERROR);
    assert_eq!(stream.rest(&head).unwrap().text(), "no");
    assert_eq!(http2.get("/").text(), "ok");
}

#[test]
fn both_directions_flow_at_the_same_time() {
    let backend = HttpBackend::scripted(|call| {
        call.head(200, &[("Transfer-Encoding", "chunked")])?;
        while let Some(piece) = call.read_piece()? {
            call.chunk([b"echo ", piece.as_slice()].concat())?;
        }
        call.last_chunk(&[])
    });
    let gateway = in_front_of(&backend);
    let http2 = Http2::connect(gateway.address());
    let mut stream = http2.send(request("POST", "/").body(()).unwrap(), false);
    assert_eq!(stream.head().status(), 200);
    for word in ["one", "two", "three"] {
        stream.write(word.as_bytes(), false);
        assert_eq!(stream.piece().unwrap().unwrap(), format!("echo {word}"));
    }
    stream.write(b"", true);
    assert_eq!(stream.piece().unwrap(), None);
}

#[test]
fn phases_have_their_timeouts_for_each_request() {
    let backend = HttpBackend::start();
    backend.script("/slow", |call| {
        call.hang();
        Ok(())
    });
    let yaml = format!("{PLAIN}client: {{ timeouts: {{ body_idle: 100ms, write_idle: 100ms }} }}\n");
    let yaml = yaml.replace(r#"["${api}"]"#, r#"["${api}"], timeouts: { first_byte: 100ms }"#);
    let gateway = gateway(&yaml).bind("api", backend.url()).start();
    let http2 = Http2::connect(gateway.address());
    let answer = http2.get("/slow");
    assert_eq!((answer.status, answer.code().as_str()), (504, "upstream_timeout"));
    let mut stream = http2.send(request("POST", "/").body(()).unwrap(), false);
    stream.write(b"and then nothing", false);
    let answer = stream.answer();
    assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));
    // A client that does not read loses this answer only.
    backend.on("/large", Reply::ok(vec![b'x'; 1 << 20]));
    let mut stream = http2.send(request("GET", "/large").body(()).unwrap(), true);
    stream.head();
    assert_eq!(stream.reset_by_gateway(), Reason::CANCEL);
    drop(stream);
    assert_eq!(http2.get("/").text(), "ok");
}

#[test]
fn idle_connections_are_told_to_go() {
    let backend = HttpBackend::start();
    let gateway = with(
        &backend,
        "client: { timeouts: { keep_alive: 100ms, head: 200ms } }\n",
    );
    let http2 = Http2::connect(gateway.address());
    assert_eq!(http2.get("/").status, 200);
    assert_eq!(http2.wait_ended(), Ok(()));
    // Also those that never asked for anything, whatever they ping.
    let mut frames = Frames::connect(gateway.address());
    frames.sync();
    assert_eq!(frames.until_goaway(), NO_ERROR);
}

#[test]
fn a_connection_has_a_number_of_requests() {
    let backend = HttpBackend::start();
    let gateway = with(&backend, "client: { limits: { requests_per_connection: 3 } }\n");
    let http2 = Http2::connect(gateway.address());
    for _ in 0..3 {
        assert_eq!(http2.get("/").status, 200);
    }
    http2.wait_going();
    assert_eq!(http2.wait_ended(), Ok(()));
}

#[test]
fn a_drain_finishes_what_is_under_way() {
    let (gate, feed) = (Gate::new(), Feed::new());
    let (wait, pieces) = (gate.clone(), feed.clone());
    let backend = HttpBackend::start();
    backend.script("/slow", move |call| {
        call.wait(&wait)?;
        call.reply(&Reply::ok("finished"))
    });
    backend.script("/stream", move |call| {
        call.head(200, &[("Transfer-Encoding", "chunked")])?;
        call.chunks_from(&pieces)
    });
    let mut gateway = in_front_of(&backend);
    let (busy, idle) = (
        Http2::connect(gateway.address()),
        Http2::connect(gateway.address()),
    );
    assert_eq!(idle.get("/").status, 200);
    let slow = busy.send(request("GET", "/slow").body(()).unwrap(), true);
    let mut stream = busy.send(request("GET", "/stream").body(()).unwrap(), true);
    stream.head();
    backend.wait_requests(3);

    gateway.signal("TERM");
    assert_eq!(idle.wait_ended(), Ok(()));
    busy.wait_going();
    feed.push("still here");
    assert_eq!(stream.piece().unwrap().unwrap(), "still here");
    gate.open();
    assert_eq!(slow.answer().text(), "finished");
    feed.end();
    assert_eq!(stream.piece().unwrap(), None);
    assert_eq!(busy.wait_ended(), Ok(()));
    drop((busy, idle));
    assert!(gateway.wait_exit().success());
}

#[test]
fn a_reload_touches_no_request() {
    let feeds = [Feed::new(), Feed::new()];
    let backend = HttpBackend::start();
    for (path, feed) in ["/0", "/1"].into_iter().zip(feeds.clone()) {
        backend.script(path, move |call| {
            call.head(200, &[("Transfer-Encoding", "chunked")])?;
            call.chunks_from(&feed)
        });
    }
    let both = r#"
listeners: { main: { address: "127.0.0.1:0" }, extra: { address: "127.0.0.1:0" } }
routes: { all: { match: { path: /** }, forward: { upstream: api } } }
upstreams: { api: { endpoints: ["${api}"] } }
"#;
    let one = r#"
listeners: { main: { address: "127.0.0.1:0" } }
routes: { all: { match: { path: /** }, reply: { body: new } } }
"#;
    let gateway = gateway(both).bind("api", backend.url()).start();
    let clients = ["main", "extra"].map(|name| Http2::connect(gateway.address_of(name)));
    let mut streams: Vec<_> = clients
        .iter()
        .zip(["/0", "/1"])
        .map(|(http2, path)| http2.send(request("GET", path).body(()).unwrap(), true))
        .collect();
    for (stream, feed) in streams.iter_mut().zip(&feeds) {
        stream.head();
        feed.push("before");
        assert_eq!(stream.piece().unwrap().unwrap(), "before");
    }
    // One listener stays, the other goes.
    gateway.reload(one);
    clients[1].wait_going();
    assert_eq!(
        clients[0].get("/").text(),
        "new",
        "the same connection, the new configuration"
    );
    for (stream, feed) in streams.iter_mut().zip(&feeds) {
        feed.push("after");
        assert_eq!(stream.piece().unwrap().unwrap(), "after");
        feed.end();
        assert_eq!(stream.piece().unwrap(), None);
    }
    assert_eq!(clients[1].wait_ended(), Ok(()));
    assert_eq!(clients[0].get("/").text(), "new");
}

#[test]
fn requests_on_their_way_when_the_end_is_announced_are_answered() {
    let backend = HttpBackend::start();
    let mut gateway = in_front_of(&backend);
    let mut frames = Frames::connect(gateway.address());
    frames.head(1, &get("/1"), true);
    frames.until("an answer", |f| f.kind == HEADERS && f.stream == 1);
    gateway.signal("TERM");
    // The first announcement leaves room for what is on its way (RFC 9113 6.8).
    let goaway = frames.until("GOAWAY", |f| f.kind == GOAWAY);
    assert_eq!(
        (goaway.code(), &goaway.payload[..4]),
        (NO_ERROR, &[0x7f, 255, 255, 255][..])
    );
    frames.head(3, &get("/3"), true);
    frames.until("an answer", |f| f.kind == HEADERS && f.stream == 3);
    drop(frames);
    assert!(gateway.wait_exit().success());
}

#[test]
fn a_later_head_has_no_more_time_than_the_first() {
    let backend = HttpBackend::start();
    let gateway = with(
        &backend,
        "client: { timeouts: { head: 300ms, keep_alive: 1h, linger: 300ms } }\n",
    );
    for half in [
        &[0, 0, 9, HEADERS, 0][..],
        &[0, 0, 9, HEADERS, 0, 0, 0, 0, 3, 0x82],
    ] {
        let mut frames = Frames::connect(gateway.address());
        frames.head(1, &get("/"), true);
        frames.until("the answer", |frame| frame.stream == 1 && frame.flags & 1 != 0);
        frames.raw.send(half);
        assert_eq!(frames.until_goaway(), NO_ERROR);
        while frames.read().is_some() {}
    }
    gateway.wait_metric("gatehouse_timeouts_total", &[("phase", "client_head")], |n| {
        n >= 2.0
    });
}

/// What goes on in one direction is no excuse for what stands still in the other.
#[test]
fn a_client_that_sends_and_reads_nothing_is_let_go() {
    let backend = HttpBackend::scripted(|call| {
        call.head(200, &[("Transfer-Encoding", "chunked")])?;
        loop {
            call.chunk("x".repeat(16 * 1024))?;
        }
    });
    let gateway = with(&backend, "client: { timeouts: { write_idle: 1s } }\n");
    let mut builder = Builder::new();
    builder.initial_window_size(1024);
    let http2 = Http2::connect_with(gateway.address(), &builder);
    let mut stream = http2.send(request("POST", "/").body(()).unwrap(), false);
    assert_eq!(stream.head().status(), 200);
    until("the request to end", || stream.try_write(b"x", false).is_err());
    let line = gateway.access_log(1).remove(0);
    assert_eq!(line["code"], "client_gone");
    assert!(line["bytes_in"].as_u64() > Some(0), "{line}");
    gateway.wait_metric("gatehouse_timeouts_total", &[("phase", "client_write")], |n| {
        n >= 1.0
    });
}

/// Nothing but the room in the socket wakes the gateway.
#[test]
fn a_client_that_only_reads_gets_all_of_a_long_answer() {
    const LENGTH: usize = 20 << 20;
    let backend = HttpBackend::start();
    backend.on("/long", Reply::new(200).body(vec![b'x'; LENGTH]));
    let gateway = in_front_of(&backend);
    let mut client = Frames::connect(gateway.address());
    let most = 0x7fff_0000_u32.to_be_bytes();
    client.send(SETTINGS, 0, 0, &[&[0, 4], &most[..]].concat());
    client.send(WINDOW_UPDATE, 0, 0, &most);
    client.head(1, &get("/long"), true);
    let mut got = 0;
    while got < LENGTH {
        let frame = client.read().expect("more of the answer");
        if frame.kind == DATA {
            got += frame.payload.len();
        }
    }
    assert_eq!(got, LENGTH);
}
