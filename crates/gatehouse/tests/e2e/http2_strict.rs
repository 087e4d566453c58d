//! Heads of HTTP/2 that are none, by hand: a stream error, nothing at the upstream, and the connection goes on.

use gatehouse_testkit::HttpBackend;
use gatehouse_testkit::h2::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_SIZE_ERROR, Frames, GOAWAY, HEADERS, PING, PRIORITY,
    PROTOCOL_ERROR, RST_STREAM, SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, block, get,
};

use crate::in_front_of;

type Fields = Vec<(&'static str, &'static str)>;

/// A request with a field more.
fn and(name: &'static str, value: &'static str) -> Fields {
    [get("/"), vec![(name, value)]].concat()
}

/// A request in which a pseudo-field has another value.
fn but(name: &'static str, value: &'static str) -> Fields {
    get("/")
        .into_iter()
        .map(|field| if field.0 == name { (name, value) } else { field })
        .collect()
}

/// A request without a pseudo-field.
fn without(name: &'static str) -> Fields {
    get("/").into_iter().filter(|field| field.0 != name).collect()
}

fn malformed() -> Vec<(&'static str, Fields)> {
    let (first, last) = (vec![("x", "1")], get("/"));
    vec![
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no path", without(":path")),
        ("no authority and no host", without(":authority")),
        ("two methods", and(":method", "GET")),
        ("two paths", and(":path", "/")),
        ("two authorities", and(":authority", "gateway.test")),
        ("two schemes", and(":scheme", "http")),
        ("a pseudo-field of a response", and(":status", "200")),
        ("an unknown pseudo-field", and(":other", "1")),
        ("an extension that was not offered", and(":protocol", "websocket")),
        ("a pseudo-field after a field", [first, last].concat()),
        ("a method that is no token", but(":method", "GE T")),
        ("an empty method", but(":method", "")),
        ("an empty path", but(":path", "")),
        ("a path without a slash", but(":path", "a")),
        ("a URI for a path", but(":path", "http://other.test/")),
        ("an asterisk", but(":path", "*")),
        ("a space in the path", but(":path", "/a b")),
        ("a line end in the path", but(":path", "/ HTTP/1.1\r\nx: y")),
        ("a broken percent-encoding", but(":path", "/%4")),
        ("a backslash", but(":path", "/a\\b")),
        ("a byte outside of ASCII", but(":path", "/\u{e9}")),
        ("an empty authority", but(":authority", "")),
        ("a user name", but(":authority", "me@gateway.test")),
        ("a port that is none", but(":authority", "gateway.test:99999")),
        ("an authority with a path", but(":authority", "gateway.test/x")),
        ("a scheme that is none", but(":scheme", "ftp")),
        ("another host", and("host", "other.test")),
        (
            "two hosts",
            [
                without(":authority"),
                vec![("host", "a.test"), ("host", "a.test")],
            ]
            .concat(),
        ),
        (
            "an invalid host",
            [without(":authority"), vec![("host", "a,b")]].concat(),
        ),
        ("connection", and("connection", "close")),
        ("keep-alive", and("keep-alive", "timeout=1")),
        ("proxy-connection", and("proxy-connection", "x")),
        ("transfer-encoding", and("transfer-encoding", "chunked")),
        ("upgrade", and("upgrade", "h2c")),
        ("te", and("te", "gzip")),
        ("te with more", and("te", "trailers, gzip")),
        ("an upper-case name", and("X-Upper", "1")),
        ("an empty name", and("", "1")),
        ("a space in a name", and("a b", "1")),
        ("a colon in a name", and("a:b", "1")),
        ("a line end in a name", and("a\r\nb", "1")),
        ("a line end in a value", and("a", "1\r\nb: 2")),
        ("a lone line feed in a value", and("a", "1\nb: 2")),
        ("a zero in a value", and("a", "\0")),
        ("a value that begins with a space", and("a", " 1")),
        ("a value that ends with a tab", and("a", "1\t")),
        ("a length that is none", and("content-length", "1x")),
        ("a negative length", and("content-length", "-1")),
        ("a length without a body", and("content-length", "1")),
        (
            "two lengths",
            [and("content-length", "0"), vec![("content-length", "0")]].concat(),
        ),
        ("CONNECT with a path", but(":method", "CONNECT")),
        (
            "an extended CONNECT without a path",
            [but(":method", "CONNECT"), vec![(":protocol", "websocket")]]
                .concat()
                .into_iter()
                .filter(|field| field.0 != ":path")
                .collect(),
        ),
    ]
}

#[test]
fn malformed_requests_go_nowhere() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    for (what, fields) in malformed() {
        let mut frames = Frames::connect(gateway.address());
        frames.head(1, &fields, true);
        // Of the stream alone: whatever is in a head, the connection goes on.
        let answer = frames.until(what, |f| f.kind == GOAWAY || f.stream == 1);
        assert_eq!(
            (answer.kind, answer.code()),
            (RST_STREAM, PROTOCOL_ERROR),
            "{what}"
        );
        assert_eq!(backend.count(), 0, "{what}");
        frames.sync();
    }
}

#[test]
fn a_malformed_request_leaves_the_others_alone() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let mut frames = Frames::connect(gateway.address());
    let some = [
        without(":path"),
        and("connection", "close"),
        and("host", "other.test"),
        and("content-length", "1"),
        and("a", " 1"),
        but(":path", "a"),
    ];
    for (stream, fields) in (1..).step_by(4).zip(some) {
        frames.head(stream, &fields, true);
        frames.head(stream + 2, &get("/"), true);
        assert_eq!(frames.until_reset(stream), PROTOCOL_ERROR, "{fields:?}");
    }
    backend.wait_requests(6);
    frames.sync();
    assert_eq!(backend.count(), 6);
}

#[test]
fn bodies_must_be_as_long_as_they_say() {
    let backend = HttpBackend::scripted(|call| {
        call.read_body()?;
        call.reply(&gatehouse_testkit::Reply::ok("whole"))
    });
    let gateway = in_front_of(&backend);
    let mut frames = Frames::connect(gateway.address());
    let post = [but(":method", "POST"), vec![("content-length", "5")]].concat();
    for (stream, data) in [(1, "123"), (3, "1234567")] {
        frames.head(stream, &post, false);
        frames.send(DATA, END_STREAM, stream, data.as_bytes());
        assert_eq!(frames.until_reset(stream), PROTOCOL_ERROR, "{data}");
    }
    frames.head(5, &post, false);
    frames.send(DATA, 0, 5, b"123");
    frames.head(5, &[("x-trailer", "1")], true);
    assert_eq!(frames.until_reset(5), PROTOCOL_ERROR, "trailers before the end");
    frames.head(7, &post, false);
    frames.send(DATA, END_STREAM, 7, b"12345");
    frames.until("an answer", |f| f.kind == HEADERS && f.stream == 7);
    frames.head(9, &post, false);
    frames.send(DATA, 0, 9, b"12345");
    frames.head(9, &[(":path", "/")], true);
    assert_eq!(
        frames.until_reset(9),
        PROTOCOL_ERROR,
        "a pseudo-field in trailers"
    );
    assert!(backend.requests().iter().filter(|r| r.complete).count() <= 1);
}

#[test]
fn odd_but_right_requests_are_answered() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let mut frames = Frames::connect(gateway.address());
    let right = [
        and("te", "trailers"),
        and("host", "GATEWAY.test:80"),
        and("a", ""),
        and("content-length", "0"),
        but(":scheme", "https"),
        but(":path", "/?"),
        [without(":authority"), vec![("host", "a.test")]].concat(),
        [but(":method", "OPTIONS"), vec![]]
            .concat()
            .into_iter()
            .map(|f| if f.0 == ":path" { (":path", "*") } else { f })
            .collect(),
    ];
    let mut stream = 1;
    for fields in right {
        frames.head(stream, &fields, true);
        frames.until(&format!("an answer to {fields:?}"), |f| {
            f.kind == HEADERS && f.stream == stream
        });
        stream += 2;
    }
    // A head in pieces, the last of them alone.
    let head = block(&get("/"));
    let (now, then) = head.split_at(10);
    frames.send(HEADERS, END_STREAM, stream, now);
    frames.send(CONTINUATION, 0, stream, then);
    frames.send(CONTINUATION, END_HEADERS, stream, b"");
    frames.until("an answer", |f| f.kind == HEADERS && f.stream == stream);
}

/// Frames: their type, flags, stream and payload.
type Sent<'a> = Vec<(u8, u8, u32, &'a [u8])>;

#[test]
fn frames_that_cannot_be_end_the_connection_as_the_protocol_says() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let whole = END_HEADERS | END_STREAM;
    let head = block(&get("/"));
    let cases: Vec<(&str, Sent<'_>, u32)> = vec![
        (
            "a ping of seven bytes",
            vec![(PING, 0, 0, &[0; 7])],
            FRAME_SIZE_ERROR,
        ),
        (
            "settings of seven bytes",
            vec![(SETTINGS, 0, 0, &[0; 7])],
            FRAME_SIZE_ERROR,
        ),
        (
            "a reset of five bytes",
            vec![(HEADERS, 4, 1, &head), (RST_STREAM, 0, 1, &[0; 5])],
            FRAME_SIZE_ERROR,
        ),
        (
            "a window of three bytes",
            vec![(WINDOW_UPDATE, 0, 0, &[0; 3])],
            FRAME_SIZE_ERROR,
        ),
        (
            "a priority of four bytes",
            vec![(PRIORITY, 0, 1, &[0; 4])],
            FRAME_SIZE_ERROR,
        ),
        (
            "data after the end",
            vec![(HEADERS, whole, 1, &head), (DATA, 0, 1, b"x")],
            STREAM_CLOSED,
        ),
        (
            "another head after the end",
            vec![(HEADERS, whole, 1, &head), (HEADERS, whole, 1, &head)],
            STREAM_CLOSED,
        ),
        (
            "a head on an even stream",
            vec![(HEADERS, whole, 2, &head)],
            PROTOCOL_ERROR,
        ),
        ("data on no stream", vec![(DATA, 0, 0, b"x")], PROTOCOL_ERROR),
        (
            "data on a stream that never was",
            vec![(DATA, 0, 1, b"x")],
            PROTOCOL_ERROR,
        ),
        (
            "a head that something interrupts",
            vec![(HEADERS, 0, 1, &head), (PING, 0, 0, &[0; 8])],
            PROTOCOL_ERROR,
        ),
        (
            "a continuation of nothing",
            vec![(CONTINUATION, 4, 1, b"")],
            PROTOCOL_ERROR,
        ),
    ];
    for (what, sent, code) in cases {
        let mut frames = Frames::connect(gateway.address());
        for (kind, flags, stream, payload) in sent {
            frames.send(kind, flags, stream, payload);
        }
        assert_eq!(frames.until_goaway(), code, "{what}");
        while frames.read().is_some() {}
    }
    gateway.wait_metric(
        "gatehouse_http2_connections_closed_total",
        &[("reason", "frame_size")],
        |n| n >= 5.0,
    );
    gateway.wait_metric(
        "gatehouse_http2_connections_closed_total",
        &[("reason", "protocol")],
        |n| n >= 4.0,
    );
}

#[test]
fn malformed_requests_are_counted_and_logged() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let mut frames = Frames::connect(gateway.address());
    frames.head(1, &and("host", "other.test"), true);
    assert_eq!(frames.until_reset(1), PROTOCOL_ERROR);
    let line = &gateway.access_log(1)[0];
    assert_eq!(
        (line["status"].as_u64(), line["code"].as_str()),
        (Some(400), Some("bad_request"))
    );
    assert_eq!(line["protocol"], "HTTP/2");
}
