//! `WebSocket` over HTTP/3 (RFC 9220): a stream for each, an endpoint of HTTP/1.1 behind it.

use std::io::{Read as _, Write as _};

use gatehouse_testkit::backend::tcp::TcpBackend;
use gatehouse_testkit::h3::{FrameClient, FrameStream, Outcome, code, frame, headers_frame};
use gatehouse_testkit::websocket::{BINARY, CLOSE, EchoBackend, Frame, TEXT};
use gatehouse_testkit::wire::Reader;
use gatehouse_testkit::{HttpBackend, Reply};

use super::{Setup, yaml};

/// `:status: 200` of the static table (RFC 9204 A), which a response begins with.
const OK: u8 = 0xd9;

/// What asks for a tunnel.
fn ask(protocol: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let head = [
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", path),
    ];
    headers_frame(&[&head[..], more].concat())
}

fn websocket(path: &str) -> Vec<u8> {
    ask("websocket", path, &[("sec-websocket-version", "13")])
}

/// A WebSocket over a stream.
struct Socket(Reader<FrameStream>);

impl Socket {
    fn open(client: &FrameClient, head: &[u8]) -> Self {
        let mut stream = client.begin(head);
        let section = stream.head().expect("a head");
        assert_eq!(section.get(2), Some(&OK), "{section:?}");
        Self(Reader::new(stream))
    }

    fn send(&mut self, frame: Frame) {
        self.0.stream.write(&frame.masked().encode());
    }

    fn read(&mut self) -> Option<Frame> {
        Frame::read(&mut self.0).unwrap()
    }

    fn echo(&mut self, text: &str) {
        self.send(Frame::new(TEXT, text));
        assert_eq!(self.read(), Some(Frame::new(TEXT, text)));
    }
}

fn echoing(sections: &str) -> (EchoBackend, Setup, FrameClient) {
    let backend = EchoBackend::start();
    let setup = Setup::over(&backend.url(), &yaml("", sections, "[http1, http3]"));
    let client = setup.client().frames(setup.address());
    (backend, setup, client)
}

#[test]
fn many_share_a_connection() {
    let (backend, setup, client) = echoing("");
    assert!(
        client.settings().contains(&(0x8, 1)),
        "clients are told that they may ask"
    );
    let mut sockets: Vec<_> = (0..3)
        .map(|i| Socket::open(&client, &websocket(&format!("/chat?room={i}"))))
        .collect();
    for socket in &mut sockets {
        socket.echo("hello");
        let big = Frame::new(BINARY, vec![7; 300_000]);
        socket.send(big.clone());
        assert_eq!(socket.read(), Some(big));
    }
    for mut socket in sockets {
        socket.send(Frame::close(1000));
        assert_eq!(socket.read().and_then(|frame| frame.code()), Some(1000));
        assert_eq!(socket.read(), None, "the stream ends in good order");
    }
    let seen = backend.seen();
    let mut starts: Vec<_> = seen.heads.iter().map(|head| head.start.clone()).collect();
    starts.sort();
    assert_eq!(starts[0], "GET /chat?room=0 HTTP/1.1");
    assert_eq!(seen.heads[0].headers.get("upgrade"), Some("websocket"));
    assert!(seen.heads[0].headers.has("sec-websocket-key"));
    let lines = setup.gateway.access_log(3);
    for line in &lines {
        let (status, code) = (&line["status"], &line["code"]);
        assert!(*status == 200 && code.is_null(), "{line}");
        assert_eq!(line["protocol"], "HTTP/3", "{line}");
    }
}

#[test]
fn the_word_may_be_in_the_huffman_code() {
    let (_backend, _setup, client) = echoing("");
    let plain = websocket("/");
    // The frame without its type and length, the word without the length in front of it.
    let (at, word) = (plain.windows(9).position(|w| w == b"websocket").unwrap(), 9);
    let coded = [0x87, 0xf0, 0x58, 0xd0, 0x72, 0x75, 0x2a, 0x7f];
    let start = plain.len() - section_len(&plain);
    let section = [&plain[start..at - 1], &coded, &plain[at + word..]].concat();
    Socket::open(&client, &frame(1, &section)).echo("hello");
}

/// The length that a HEADERS frame says.
fn section_len(frame: &[u8]) -> usize {
    match frame[1] >> 6 {
        0 => frame[1].into(),
        1 => usize::from(frame[1] & 0x3f) << 8 | usize::from(frame[2]),
        _ => unreachable!("heads of tests are short"),
    }
}

#[test]
fn what_is_not_granted_is_refused() {
    let backend = HttpBackend::start();
    backend.on("/plain", Reply::new(200).body("no WebSocket here"));
    backend.on("/auth", Reply::new(401).body("who are you"));
    let setup = Setup::new(&backend, "");
    let client = setup.client().frames(setup.address());
    let version = [("sec-websocket-version", "13")];
    let outcome = |head: &[u8]| match client.request(head, false) {
        Outcome::Ended(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        other => panic!("{other:?}"),
    };
    // A 200 of an endpoint that has not switched must not look like a grant.
    assert!(outcome(&websocket("/plain")).contains("upgrade_refused"));
    assert!(outcome(&websocket("/auth")).contains("who are you"));
    assert!(
        outcome(&ask("websocket", "/", &[])).contains("\"status\":400"),
        "no version"
    );
    assert!(outcome(&ask("chat", "/", &version)).contains("\"status\":403"));
    let is_malformed = |head: &[u8]| match client.request(head, false) {
        Outcome::Ended(bytes) => String::from_utf8_lossy(&bytes).contains("\"status\":400"),
        outcome => outcome == Outcome::Reset(code::MESSAGE_ERROR),
    };
    assert!(is_malformed(&ask("no token", "/", &version)));
    assert!(is_malformed(&ask(
        "websocket",
        "/",
        &[(":protocol", "websocket")]
    )));
    assert!(is_malformed(&headers_frame(&[
        (":method", "GET"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/"),
    ])));
    assert_eq!(backend.count(), 2, "the rest reached nobody");
}

#[test]
fn the_end_of_one_side_reaches_the_other() {
    let (_backend, setup, client) = echoing("");
    let api = [("upstream", "api")];
    // Taken back by the client.
    let mut socket = Socket::open(&client, &websocket("/"));
    socket.echo("hello");
    setup.gateway.wait_metric("gatehouse_tunnels", &api, |n| n > 0.0);
    socket.0.stream.cancel();
    setup.gateway.wait_metric("gatehouse_tunnels", &api, |n| n < 1.0);
    // The connection goes on, and ends with the client.
    let mut socket = Socket::open(&client, &websocket("/"));
    socket.echo("again");
    client.quic.close(0_u32.into(), b"");
    setup.gateway.wait_metric("gatehouse_tunnels", &api, |n| n < 1.0);
    drop(socket);
}

#[test]
fn a_plain_connect_is_a_tunnel_too() {
    let backend = TcpBackend::start(|mut stream, _| {
        stream.write_all(b"welcome\n")?;
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes)?;
        stream.write_all(&bytes)
    });
    let yaml =
        yaml("", "", "[http1, http3]").replace("upstream: api }", "upstream: api, upgrades: [connect] }");
    let setup = Setup::over(&backend.url(), &yaml);
    let client = setup.client().frames(setup.address());
    let head = [(":method", "CONNECT"), (":authority", "db.test:5432")];
    let mut stream = client.begin(&headers_frame(&head));
    assert_eq!(stream.head().unwrap().get(2), Some(&OK));
    stream.write(b"hello");
    stream.finish();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all, "welcome\nhello");
}

#[test]
fn a_drain_says_goodbye() {
    let drain = "process: { drain: { delay: 0s, timeout: 4s } }\n";
    let (_backend, mut setup, client) = echoing(drain);
    let mut socket = Socket::open(&client, &websocket("/"));
    socket.echo("hello");
    setup.gateway.signal("TERM");
    let goodbye = socket.read().expect("a goodbye");
    assert_eq!((goodbye.opcode, goodbye.code()), (CLOSE, Some(1001)));
    socket.send(Frame::close(1001));
    assert_eq!(socket.read(), None);
    assert!(setup.gateway.wait_exit().success());
}
