//! Heads and frames that must not pass, written byte by byte.

use gatehouse_testkit::HttpBackend;
use gatehouse_testkit::h3::{FrameClient, Http3Request, Outcome, code, frame, headers_frame, varint};

use super::{Setup, post};

const HEAD: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/"),
];

/// True if the request was refused: answered with this status, or its stream reset as malformed.
fn is_refused(outcome: &Outcome, status: &str) -> bool {
    match outcome {
        Outcome::Ended(bytes) => String::from_utf8_lossy(bytes).contains(&format!("\"status\":{status}")),
        Outcome::Reset(reset) => *reset == code::MESSAGE_ERROR,
        Outcome::Closed(_) => false,
    }
}

fn send(client: &FrameClient, fields: &[(&str, &str)], behind: &[u8]) -> Outcome {
    client.request(&[&headers_frame(fields), behind].concat(), true)
}

#[test]
fn heads_that_could_mean_two_things_are_refused() {
    let backend = HttpBackend::start();
    let setup = Setup::new(&backend, "");
    let client = setup.client().frames(setup.address());
    let with = |more: &[(&'static str, &'static str)]| [&HEAD[..], more].concat();
    let without = |name: &str| -> Vec<_> { HEAD.iter().filter(|f| f.0 != name).copied().collect() };
    let replaced = |name: &'static str, value: &'static str| -> Vec<_> {
        HEAD.iter()
            .map(|f| if f.0 == name { (name, value) } else { *f })
            .collect()
    };
    let behind: Vec<_> = [("x-a", "1")].into_iter().chain(HEAD).collect();
    for fields in [
        with(&[(":path", "/other")]),
        with(&[(":method", "POST")]),
        with(&[(":authority", "other")]),
        with(&[(":status", "200")]),
        with(&[(":unknown", "x")]),
        behind,
        without(":method"),
        without(":scheme"),
        without(":path"),
        without(":authority"),
        replaced(":path", ""),
        replaced(":path", "no-slash"),
        replaced(":authority", "user@localhost"),
        replaced(":scheme", "ftp"),
        replaced(":method", "GE T"),
        with(&[("host", "other.test")]),
        with(&[("host", "localhost"), ("host", "localhost")]),
        with(&[("connection", "close")]),
        with(&[("keep-alive", "1")]),
        with(&[("proxy-connection", "close")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "websocket")]),
        with(&[("te", "gzip")]),
        with(&[("X-Upper", "1")]),
        with(&[("x a", "1")]),
        with(&[("x-a", " padded")]),
        with(&[("x-a", "line\r\nbreak")]),
        with(&[("x-a", "nul\0")]),
        with(&[("content-length", "1"), ("content-length", "1")]),
        with(&[("content-length", "1x")]),
        with(&[("content_length", "1")]),
    ] {
        let outcome = send(&client, &fields, b"");
        assert!(is_refused(&outcome, "400"), "{fields:?}: {outcome:?}");
    }
    assert_eq!(backend.count(), 0, "nothing of it was forwarded");
    // The connection is as good as before.
    assert!(matches!(send(&client, &HEAD, b""), Outcome::Ended(_)));
    let same_host = with(&[
        ("host", "localhost"),
        ("te", "trailers"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
    ]);
    assert!(matches!(send(&client, &same_host, b""), Outcome::Ended(_)));
    assert_eq!(backend.last().header("cookie"), Some("a=1; b=2"));
    assert_eq!(backend.count(), 2);
}

#[test]
fn a_length_that_the_frames_contradict_is_refused() {
    let backend = HttpBackend::start();
    let setup = Setup::new(&backend, "");
    let client = setup.client().frames(setup.address());
    let head = [&HEAD[1..], &[(":method", "POST"), ("content-length", "4")]].concat();
    let head: Vec<_> = head.iter().rev().copied().collect();
    let mut head: Vec<_> = head.into_iter().filter(|f| f.0 != "content-length").collect();
    head.push(("content-length", "4"));
    for body in [&b""[..], b"123", b"12345"] {
        let data = if body.is_empty() {
            Vec::new()
        } else {
            frame(0, body)
        };
        let outcome = send(&client, &head, &data);
        assert!(is_refused(&outcome, "400"), "{body:?}: {outcome:?}");
    }
    head.pop();
    head.push(("content-length", "0"));
    let outcome = send(&client, &head, &frame(0, b"x"));
    assert!(is_refused(&outcome, "400"), "{outcome:?}");
    // In pieces, with empty frames and unknown ones between, it is still the same body.
    head.pop();
    head.push(("content-length", "4"));
    let data = [
        frame(0, b"1"),
        frame(0, b""),
        frame(0x21, b"grease"),
        frame(0, b"234"),
        frame(0, b""),
    ];
    let outcome = send(&client, &head, &data.concat());
    assert!(matches!(outcome, Outcome::Ended(_)), "{outcome:?}");
    let got = backend.requests().pop().unwrap();
    assert_eq!((got.text().as_str(), got.complete), ("1234", true));
}

#[test]
fn frames_that_break_the_rules_end_the_connection() {
    let backend = HttpBackend::start();
    let setup = Setup::new(&backend, "");
    let head = headers_frame(&HEAD);
    let cut = [head.clone(), vec![0], varint(10), b"12345".to_vec()].concat();
    let cases: [(&str, Vec<u8>, u64); 6] = [
        ("data before the head", frame(0, b"x"), code::FRAME_UNEXPECTED),
        ("settings on a request", frame(4, b""), code::FRAME_UNEXPECTED),
        ("a frame of HTTP/2", frame(6, &[0; 8]), code::FRAME_UNEXPECTED),
        ("a frame cut short", cut, code::FRAME_ERROR),
        ("no field section", frame(1, b""), code::DECOMPRESSION_FAILED),
        (
            "a dynamic reference",
            frame(1, &[0, 0, 0x80]),
            code::DECOMPRESSION_FAILED,
        ),
    ];
    for (what, bytes, expected) in cases {
        let client = setup.client().frames(setup.address());
        // The stream may end before its connection does, but without an answer.
        let outcome = client.request(&bytes, true);
        assert!(
            !matches!(&outcome, Outcome::Ended(bytes) if !bytes.is_empty()),
            "{what}: {outcome:?}"
        );
        assert_eq!(client.closed(), Some(expected), "{what}");
    }
    // Others never noticed.
    assert_eq!(setup.connect().get("/").status, 200);
}

#[test]
fn limits_hold() {
    let backend = HttpBackend::start();
    let limits = "client: { limits: { head: 4KiB, fields: 20, target: 256B, body: 1KiB } }\n";
    let setup = Setup::new(&backend, limits);
    let mut client = setup.connect();
    let long = "x".repeat(300);
    assert_eq!(client.get(&format!("/{long}")).status, 414);
    assert_eq!(client.send(&post("/", "x".repeat(1025))).status, 413);
    let declared = post("/", "x".repeat(1025)).header("content-length", "1025");
    assert_eq!(client.send(&declared).status, 413);
    // A little too large, far too large, and in too many fields.
    let large = |len: usize| Http3Request::new("GET", "/").header("x-large", &"y".repeat(len));
    assert_eq!(client.send(&large(4096)).status, 431);
    let mut many = Http3Request::new("GET", "/");
    for i in 0..25 {
        many = many.header(&format!("x-{i}"), "1");
    }
    assert_eq!(client.send(&many).status, 431);
    assert_eq!(client.get("/").status, 200);
    for setting in [
        "client.limits.head",
        "client.limits.fields",
        "client.limits.target",
        "client.limits.body",
    ] {
        let labels = [("setting", setting)];
        setup
            .gateway
            .wait_metric("gatehouse_limits_hit_total", &labels, |n| n >= 1.0);
    }
    // Written by hand, since a good client does not send what it was told is too large.
    let client = setup.client().frames(setup.address());
    let huge = "z".repeat(100_000);
    let fields = [&HEAD[..], &[("x-huge", huge.as_str())]].concat();
    let outcome = send(&client, &fields, b"");
    assert!(matches!(outcome, Outcome::Ended(_)), "{outcome:?}");
    let lines: Vec<_> = (0..5000).map(|_| ("a", "")).collect();
    let fields = [&HEAD[..], &lines].concat();
    let outcome = send(&client, &fields, b"");
    assert!(matches!(outcome, Outcome::Ended(_)), "{outcome:?}");
    assert_eq!(backend.count(), 1, "only the good one was forwarded");
    let statuses: Vec<_> = setup
        .gateway
        .access_log(8)
        .iter()
        .map(|l| l["status"].clone())
        .collect();
    assert_eq!(statuses.iter().filter(|s| **s == 431).count(), 4, "{statuses:?}");
}

#[test]
fn a_frame_of_any_length_does_not_fill_the_memory() {
    let backend = HttpBackend::start();
    let setup = Setup::new(&backend, "");
    let before = setup.gateway.peak_kib();
    let client = setup.client().frames(setup.address());
    // A field section of 2^60 bytes is refused at once; an unknown frame of as many is read, and dropped.
    for (kind, len) in [(1, 1 << 16), (0x21, 12 << 20)] {
        let mut bytes = varint(kind);
        bytes.extend(varint(1 << 60));
        bytes.extend(vec![0; len]);
        let _ = client.request(&bytes, true);
    }
    assert_eq!(setup.connect().get("/").status, 200);
    if let (Some(before), Some(after)) = (before, setup.gateway.peak_kib()) {
        assert!(after < before + 10 * 1024, "grew from {before} to {after} KiB");
    }
}

#[test]
fn frames_that_ask_for_nothing_are_counted() {
    let backend = HttpBackend::start();
    let setup = Setup::new(&backend, "");
    let client = setup.client().frames(setup.address());
    let noise = frame(0x21, b"").repeat(10_000);
    let control = [vec![0], frame(4, b""), noise].concat();
    let _open = client.one_way(&control);
    assert_eq!(client.closed(), Some(code::EXCESSIVE_LOAD));
    assert_eq!(setup.connect().get("/").status, 200);
}
