//! `WebSocket` over HTTP/2 (RFC 8441): a stream for each, an endpoint of HTTP/1.1 behind it.

use std::collections::VecDeque;
use std::io::{self, Read, Write as _};

use gatehouse_testkit::backend::tcp::TcpBackend;
use gatehouse_testkit::h2::{Http2, Stream};
use gatehouse_testkit::websocket::{BINARY, CLOSE, EchoBackend, Frame, TEXT};
use gatehouse_testkit::wire::Reader;
use gatehouse_testkit::{HttpBackend, Reply};

use crate::{PLAIN, gateway, in_front_of};

const VERSION: (&str, &str) = ("sec-websocket-version", "13");

/// A stream whose bytes are read as they come.
struct Bytes {
    stream: Stream,
    arrived: VecDeque<u8>,
}

impl Read for Bytes {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.arrived.is_empty() {
            match self.stream.piece().map_err(io::Error::other)? {
                Some(piece) => self.arrived.extend(piece),
                None => return Ok(0),
            }
        }
        self.arrived.read(out)
    }
}

/// A WebSocket over a stream.
struct Socket(Reader<Bytes>);

impl Socket {
    fn over(mut stream: Stream) -> Self {
        let head = stream.head();
        assert_eq!(head.status(), 200, "{head:?}");
        Self(Reader::new(Bytes {
            stream,
            arrived: VecDeque::new(),
        }))
    }

    fn send(&mut self, frame: Frame) {
        let bytes = frame.masked().encode();
        self.0.stream.stream.write(&bytes, false);
    }

    fn read(&mut self) -> Option<Frame> {
        Frame::read(&mut self.0).unwrap()
    }

    fn echo(&mut self, text: &str) {
        self.send(Frame::new(TEXT, text));
        assert_eq!(self.read(), Some(Frame::new(TEXT, text)));
    }
}

#[test]
fn many_share_a_connection_with_requests() {
    let backend = EchoBackend::start();
    let gateway = gateway(PLAIN).bind("api", backend.url()).start();
    let http2 = Http2::connect(gateway.address());
    let mut sockets: Vec<_> = (0..3)
        .map(|i| Socket::over(http2.connect_to("websocket", &format!("/chat?room={i}"), &[VERSION])))
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
    assert_eq!(seen.heads[0].headers.get("via"), Some("2 gatehouse"));
    let lines = gateway.access_log(3);
    assert!(
        lines
            .iter()
            .all(|line| line["status"] == 200 && line["code"].is_null()),
        "{lines:?}"
    );
    assert!(lines.iter().all(|line| line["protocol"] == "HTTP/2"), "{lines:?}");
}

#[test]
fn what_is_not_granted_is_refused() {
    let backend = HttpBackend::start();
    backend.on("/plain", Reply::new(200).body("no WebSocket here"));
    backend.on("/auth", Reply::new(401).body("who are you"));
    let gateway = in_front_of(&backend);
    let http2 = Http2::connect(gateway.address());
    let ask = |protocol, path: &str, fields: &[(&'static str, &str)]| {
        let mut stream = http2.connect_to(protocol, path, fields);
        let head = stream.head();
        (head.status().as_u16(), stream.rest(&head).unwrap().text())
    };
    // A 200 of an endpoint that has not switched must not look like a grant.
    let (status, text) = ask("websocket", "/plain", &[VERSION]);
    assert!(
        status == 403 && text.contains("upgrade_refused"),
        "{status} {text}"
    );
    assert_eq!(
        ask("websocket", "/auth", &[VERSION]),
        (401, "who are you".to_owned())
    );
    assert_eq!(ask("websocket", "/", &[]).0, 400, "no version");
    assert_eq!(ask("websocket", "/", &[("sec-websocket-version", "8")]).0, 400);
    assert_eq!(ask("connect-udp", "/", &[]).0, 403);
    assert_eq!(ask("h2c", "/", &[]).0, 403, "nothing is ignored");
    assert_eq!(http2.get("/plain").text(), "no WebSocket here");
    assert_eq!(backend.count(), 3, "the rest reached nobody");
}

#[test]
fn the_end_of_one_side_reaches_the_other() {
    let backend = EchoBackend::start();
    let gateway = gateway(PLAIN).bind("api", backend.url()).start();
    let http2 = Http2::connect(gateway.address());
    let api = [("upstream", "api")];
    // Taken back by the client.
    let mut socket = Socket::over(http2.connect_to("websocket", "/", &[VERSION]));
    socket.echo("hello");
    gateway.wait_metric("gatehouse_tunnels", &api, |n| n > 0.0);
    drop(socket);
    gateway.wait_metric("gatehouse_tunnels", &api, |n| n < 1.0);
    // The connection goes on, and ends with the client.
    let mut socket = Socket::over(http2.connect_to("websocket", "/", &[VERSION]));
    socket.echo("again");
    drop(http2);
    gateway.wait_metric("gatehouse_tunnels", &api, |n| n < 1.0);
    let ended = |reason| {
        gateway
            .metrics()
            .sum("gatehouse_tunnels_closed_total", &[("reason", reason)])
    };
    assert!(
        ended("client_broke") > 1.5 && ended("drain") < 0.5,
        "nothing drains"
    );
}

/// What waits in a tunnel whose endpoint does not read is that tunnel's matter.
#[test]
fn small_messages_to_a_stalled_endpoint_leave_the_others_alone() {
    let stalled = TcpBackend::start(|mut stream, _| {
        // The head of the request, and nothing of what follows.
        while stream.read(&mut [0; 1])? > 0 && stream.peek(&mut [0; 1])? > 0 {}
        Ok(())
    });
    let backend = EchoBackend::start();
    let yaml = r#"
listeners: { main: { address: "127.0.0.1:0" } }
process: { workers: 1 }
routes:
  stalled: { match: { path: /stalled }, forward: { upstream: stalled } }
  all: { match: { path: /** }, forward: { upstream: api } }
upstreams: { api: { endpoints: ["${api}"] }, stalled: { endpoints: ["${stalled}"] } }
"#;
    let gateway = gateway(yaml)
        .bind("api", backend.url())
        .bind("stalled", stalled.url())
        .start();
    let http2 = Http2::connect(gateway.address());
    let mut good = Socket::over(http2.connect_to("websocket", "/", &[VERSION]));
    let mut waiting = http2.connect_to("websocket", "/stalled", &[VERSION]);
    let frame = Frame::new(TEXT, "x").masked().encode();
    for _ in 0..5_000 {
        waiting.write(&frame, false);
    }
    good.echo("still there");
}

#[test]
fn a_plain_connect_is_a_tunnel_too() {
    let backend = TcpBackend::start(|mut stream, _| {
        stream.write_all(b"welcome\n")?;
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes)?;
        stream.write_all(&bytes)
    });
    let gateway = gateway(&PLAIN.replace("upstream: api }", "upstream: api, upgrades: [connect] }"))
        .bind("api", backend.url())
        .start();
    let http2 = Http2::connect(gateway.address());
    let connect = http::Request::connect("db.test:5432").body(()).unwrap();
    let mut stream = http2.send(connect, false);
    let head = stream.head();
    assert_eq!(head.status(), 200);
    stream.write(b"hello", true);
    assert_eq!(stream.rest(&head).unwrap().text(), "welcome\nhello");
}

#[test]
fn a_drain_says_goodbye() {
    let backend = EchoBackend::start();
    let mut gateway = gateway(&format!(
        "{PLAIN}process: {{ drain: {{ delay: 0s, timeout: 4s }} }}\n"
    ))
    .bind("api", backend.url())
    .start();
    let http2 = Http2::connect(gateway.address());
    let mut socket = Socket::over(http2.connect_to("websocket", "/", &[VERSION]));
    socket.echo("hello");
    gateway.signal("TERM");
    let frame = socket.read().expect("a goodbye");
    assert_eq!((frame.opcode, frame.code()), (CLOSE, Some(1001)));
    socket.send(Frame::close(1001));
    assert_eq!(socket.read(), None);
    assert!(gateway.wait_exit().success());
}
