//! A WebSocket through the gateway: what passes, and in which order.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use gatehouse_testkit::backend::tcp::TcpBackend;
use gatehouse_testkit::wait::join;
use gatehouse_testkit::websocket::{
    self, BINARY, CLOSE, CONTINUATION, EchoBackend, Frame, PING, PONG, TEXT, WebSocket, handshake,
};
use gatehouse_testkit::wire::Reader;
use gatehouse_testkit::{Client, Gate, Gateway, HttpBackend, Raw, Reply, client};

use crate::{PLAIN, gateway, with_upstream};

fn before(backend: &EchoBackend) -> Gateway {
    gateway(PLAIN).bind("api", backend.url()).start()
}

#[test]
fn messages_of_every_sort_pass_both_ways() {
    let backend = EchoBackend::start();
    let gateway = before(&backend);
    let mut socket = WebSocket::open(gateway.address(), "/chat?room=1");
    socket.echo("hello");
    for len in [0, 1, 125, 126, 127, 65_535, 65_536] {
        let frame = Frame::new(BINARY, vec![7; len]);
        socket.send(frame.clone());
        assert_eq!(socket.read(), frame);
    }
    let parts = [
        Frame::new(TEXT, "in ").unfinished(),
        Frame::new(PING, "are you there"),
        Frame::new(CONTINUATION, "parts"),
    ];
    for part in parts.clone() {
        socket.send(part);
    }
    assert_eq!(socket.read(), parts[0]);
    assert_eq!(socket.read(), Frame::new(PONG, "are you there"));
    assert_eq!(socket.read(), parts[2]);
    socket.send(Frame::close(1000));
    assert_eq!(socket.read().code(), Some(1000));
    socket.raw.expect_closed();

    let seen = backend.seen();
    assert_eq!(seen.heads[0].start, "GET /chat?room=1 HTTP/1.1");
    assert_eq!(seen.heads[0].headers.get("upgrade"), Some("websocket"));
    assert_eq!(seen.heads[0].headers.get("connection"), Some("Upgrade"));
    assert_eq!(seen.heads[0].headers.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.closed, [Some(1000)]);
}

#[test]
fn the_log_and_the_metrics_know_a_tunnel() {
    let backend = EchoBackend::start();
    let gateway = before(&backend);
    let api = [("upstream", "api")];
    let mut socket = WebSocket::open(gateway.address(), "/");
    assert!(socket.head.headers.has("x-request-id") && socket.head.headers.has("date"));
    socket.echo("hello");
    gateway.wait_metric("gatehouse_tunnels", &api, |n| n > 0.0);
    socket.send(Frame::close(1000)).read();
    drop(socket);
    gateway.wait_metric("gatehouse_tunnels", &api, |n| n < 1.0);
    let line = gateway.access_log(1).remove(0);
    assert_eq!(
        (line["status"].as_u64(), line["upstream"].as_str()),
        (Some(101), Some("api"))
    );
    // Masked: 2 + 4 + 5 and 2 + 4 + 2; back without the masks.
    assert_eq!(
        (line["bytes_in"].as_u64(), line["bytes_out"].as_u64()),
        (Some(19), Some(11))
    );
    assert!(line["code"].is_null(), "{line}");
    let metrics = gateway.metrics();
    assert!(metrics.sum("gatehouse_tunnels_opened_total", &api) > 0.0);
    assert!(metrics.sum("gatehouse_requests_total", &[("status", "101")]) > 0.0);
}

#[test]
fn the_subprotocol_is_agreed_on_end_to_end() {
    let backend = EchoBackend::start();
    let gateway = before(&backend);
    let request = handshake("/").header("Sec-WebSocket-Protocol", "chat.v2, chat.v1");
    let mut socket = WebSocket::open_on(Raw::connect(gateway.address()), &request);
    assert_eq!(socket.head.headers.get("sec-websocket-protocol"), Some("chat.v2"));
    socket.echo("hello");
}

#[test]
fn a_big_message_passes_at_the_pace_of_whoever_reads() {
    const SIZE: usize = 10 << 20;
    let backend = EchoBackend::start();
    let gateway = before(&backend);
    let mut socket = WebSocket::open(gateway.address(), "/");
    let big = Frame::new(BINARY, vec![0xa5; SIZE]);
    let mut writer = socket.raw.writer();
    let bytes = big.clone().masked().encode();
    let writing = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
    assert_eq!(socket.read(), big);
    join("the writer", writing);
    // Buffers were lent, not grown.
    socket.echo("still there");
    assert_eq!(backend.seen().bytes, SIZE as u64 + 11);
}

/// An endpoint that speaks as long as nobody reads must be held up, and go on when somebody does.
#[test]
fn nobody_buffers_what_is_not_read() {
    const SIZE: usize = 24 << 20;
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = sent.clone();
    let backend = TcpBackend::start(move |mut stream, _| {
        let head = Reader::new(stream.try_clone()?).read_head()?.unwrap_or_default();
        websocket::accept(&stream, &head)?;
        let bytes = Frame::new(BINARY, vec![1; SIZE]).encode();
        for piece in bytes.chunks(64 * 1024) {
            stream.write_all(piece)?;
            count.fetch_add(piece.len(), std::sync::atomic::Ordering::SeqCst);
        }
        stream.shutdown(Shutdown::Write)
    });
    let gateway = with_upstream(&backend.url(), "");
    let before = gateway.resident_kib().unwrap();
    let raw = Raw::connect_with_window(gateway.address(), 16 * 1024);
    let mut socket = WebSocket::open_on(raw, &handshake("/"));
    let seen = || sent.load(std::sync::atomic::Ordering::SeqCst);
    let mut last = 0;
    // Until it stands still: the system's buffers are full.
    gatehouse_testkit::wait::until("the endpoint is held up", || {
        std::thread::park_timeout(std::time::Duration::from_millis(100));
        std::mem::replace(&mut last, seen()) == seen() && seen() > 0
    });
    assert!(seen() < SIZE, "all of it went somewhere");
    assert!(
        gateway.resident_kib().unwrap() < before + 4096,
        "the gateway keeps it"
    );
    assert_eq!(socket.read().payload.len(), SIZE);
    assert_eq!(socket.try_read(), None);
}

#[test]
fn one_direction_may_end_before_the_other() {
    let backend = TcpBackend::start(|mut stream, _| {
        let mut reader = Reader::new(stream.try_clone()?);
        let head = reader.read_head()?.unwrap_or_default();
        websocket::accept(&stream, &head)?;
        let mut got = Vec::new();
        while let Some(frame) = Frame::read(&mut reader)? {
            got.extend(frame.payload);
        }
        stream.write_all(&Frame::new(TEXT, got).encode())
    });
    let gateway = with_upstream(&backend.url(), "");
    let mut socket = WebSocket::open(gateway.address(), "/");
    socket.text("a").text("b").raw.half_close();
    assert_eq!(socket.read(), Frame::new(TEXT, "ab"));
    socket.raw.expect_closed();
}

#[test]
fn bytes_around_the_switch_are_neither_early_nor_lost() {
    let gate = Gate::new();
    let (opened, hold) = (gate.clone(), gate);
    let backend = TcpBackend::start(move |mut stream, _| {
        let mut reader = Reader::new(stream.try_clone()?);
        let head = reader.read_head()?.unwrap_or_default();
        hold.wait();
        // The client has long sent its frame; none of it may be here before the switch.
        assert!(reader.buffered().is_empty());
        stream.set_nonblocking(true)?;
        assert!(stream.peek(&mut [0]).is_err(), "bytes before the 101");
        stream.set_nonblocking(false)?;
        let mut out = Vec::new();
        out.extend_from_slice(
            format!(
                "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
                websocket::ACCEPT
            )
            .as_bytes(),
        );
        out.extend(Frame::new(TEXT, "welcome").encode());
        stream.write_all(&out)?;
        let frame = Frame::read(&mut reader)?.unwrap();
        stream.write_all(&Frame::new(TEXT, frame.payload).encode())?;
        assert!(head.headers.has("sec-websocket-key"));
        Ok(())
    });
    let gateway = with_upstream(&backend.url(), "");
    // In one write with the head, and in one of its own.
    for apart in [false, true] {
        let mut raw = Raw::connect(gateway.address());
        let frame = Frame::new(TEXT, "early").masked().encode();
        let mut bytes = handshake("/").encode();
        if apart {
            raw.send(&bytes).send(&frame);
        } else {
            bytes.extend(&frame);
            raw.send(&bytes);
        }
        opened.open();
        let mut socket = WebSocket::granted(raw);
        assert_eq!(socket.read(), Frame::new(TEXT, "welcome"));
        assert_eq!(socket.read(), Frame::new(TEXT, "early"));
        assert_eq!(socket.try_read(), None);
    }
}

#[test]
fn an_endpoint_that_refuses_answers_like_any_other() {
    let backend = HttpBackend::start();
    backend.on("/no", Reply::new(403).body("not you"));
    let gateway = crate::in_front_of(&backend);
    let mut client = Client::connect(gateway.address());
    for _ in 0..2 {
        let response = client.send(&handshake("/no"));
        assert_eq!((response.status, response.text().as_str()), (403, "not you"));
        assert!(response.keeps_alive());
    }
    assert_eq!(client.get("/").status, 200);
    assert_eq!(
        backend.connections(),
        1,
        "the endpoint's connection stayed an ordinary one"
    );
}

#[test]
fn an_upstream_of_http2_only_is_not_asked() {
    let backend = HttpBackend::start();
    let gateway = with_upstream(&backend.url(), "protocol: http2");
    let response = websocket::refused(gateway.address(), &handshake("/"));
    assert_eq!(
        (response.status, response.code().as_str()),
        (403, "upgrade_refused")
    );
    assert_eq!(backend.count(), 0);
}

#[test]
fn an_answer_that_does_not_fit_is_a_502() {
    let ok = format!("Sec-WebSocket-Accept: {}\r\n", websocket::ACCEPT);
    let both = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let wrong = [
        both.to_owned(),
        format!("{both}Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n"),
        format!("{both}{ok}{ok}"),
        format!("Upgrade: websocket\r\n{ok}"),
        format!("Connection: Upgrade\r\n{ok}"),
        format!("Upgrade: chat\r\nConnection: Upgrade\r\n{ok}"),
        format!("Upgrade: websocket, chat\r\nConnection: Upgrade\r\n{ok}"),
        format!("{both}{ok}Sec-WebSocket-Protocol: mqtt\r\n"),
        format!("{both}{ok}Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: chat\r\n"),
        format!("{both}{ok}Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        format!("{both}{ok}Transfer-Encoding: chunked\r\n"),
    ];
    let backend = HttpBackend::start();
    let gateway = crate::in_front_of(&backend);
    for (index, fields) in wrong.iter().enumerate() {
        let path = format!("/{index}");
        let reply = format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\nsecret");
        backend.script(&path, move |call| call.send(&reply));
        let request = handshake(&path).header("Sec-WebSocket-Protocol", "chat");
        let response = client::once(gateway.address(), &request);
        assert_eq!(
            (response.status, response.code().as_str()),
            (502, "upstream_protocol"),
            "{fields}"
        );
        assert!(!response.text().contains("secret"));
    }
}

#[test]
fn whoever_dies_takes_the_other_side_along() {
    let backend = EchoBackend::start();
    let gateway = before(&backend);
    let mut socket = WebSocket::open(gateway.address(), "/");
    socket.echo("hello");
    socket.raw.reset();
    backend.wait_ended(1);
    let reasons = |reason| [("upstream", "api"), ("reason", reason)];
    gateway.wait_metric("gatehouse_tunnels_closed_total", &reasons("client_broke"), |n| {
        n > 0.0
    });

    let dying = TcpBackend::start(|stream, _| {
        let mut reader = Reader::new(stream.try_clone()?);
        let head = reader.read_head()?.unwrap_or_default();
        websocket::accept(&stream, &head)?;
        Frame::read(&mut reader)?;
        reset(&stream);
        Ok(())
    });
    let gateway = with_upstream(&dying.url(), "");
    let mut socket = WebSocket::open(gateway.address(), "/");
    socket.text("die").raw.expect_closed();
    drop(socket);
    gateway.wait_metric(
        "gatehouse_tunnels_closed_total",
        &reasons("endpoint_broke"),
        |n| n > 0.0,
    );
    assert_eq!(gateway.access_log(1)[0]["code"], "upstream_reset");
}

fn reset(stream: &TcpStream) {
    websocket::reset_on_drop(stream);
}

#[test]
fn a_websocket_over_a_unix_socket_is_one_too() {
    let backend = EchoBackend::start();
    let yaml = PLAIN.replace("127.0.0.1:0", "unix:${dir}/gatehouse.sock");
    let gateway = gateway(&yaml).bind("api", backend.url()).start();
    let mut socket = WebSocket::open_on(Raw::unix(&gateway.unix_of("main")), &handshake("/"));
    socket.echo("hello");
    socket.send(Frame::close(1000));
    assert_eq!(socket.read().opcode, CLOSE);
    socket.raw.expect_closed();
}
