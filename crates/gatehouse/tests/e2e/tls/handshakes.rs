//! Handshakes that go wrong, come too slowly, or come too many.

use std::io::Write as _;

use gatehouse_testkit::tls::{rustls, tls_error};
use gatehouse_testkit::{Authority, Raw, Request, TlsClient, client};

use super::{document, secure};
use crate::gateway;

const FAILURES: &str = "gatehouse_tls_handshake_failures_total";

#[test]
fn http_in_the_clear_is_told_so() {
    let authority = Authority::new();
    let gateway = secure(&[&authority.server(&["localhost"])], "", "").start();
    let answer = client::once(gateway.address(), &Request::post("/", vec![b'x'; 20_000]));
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("https://"), "{}", answer.text());
    gateway.wait_metric(FAILURES, &[("reason", "plain_http")], |n| n == 1.0);
}

#[test]
fn garbage_gets_an_alert_and_harms_nobody() {
    let authority = Authority::new();
    let gateway = secure(&[&authority.server(&["localhost"])], "", "").start();
    let client = TlsClient::trusting(&authority).build();
    let mut kept = client.client(gateway.address());
    let record = |kind: u8, body: &[u8]| {
        let len = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&[kind, 3, 1, len[0], len[1]], body].concat()
    };
    for bytes in [
        vec![0; 200],
        vec![0xff; 5000],
        // A record of nothing, a hello that is too short, one that claims to be endless, another sort of message.
        record(22, &[]),
        record(22, &[1, 0, 0, 2, 3, 3]),
        record(22, &[1, 255, 255, 255])
            .into_iter()
            .chain(record(22, &[0; 16_000]))
            .collect(),
        record(22, &[2, 0, 0, 2, 3, 3]),
        record(23, b"GET / HTTP/1.1\r\n\r\n"),
        record(21, &[2, 40]),
        [128, 46, 1, 3, 1].to_vec(),
    ] {
        let mut raw = Raw::connect(gateway.address());
        // It may be refused before it is sent.
        let _ = raw.try_send(&bytes);
        let _ = raw.reader.stream.flush();
        raw.half_close();
        raw.read_to_end();
        assert_eq!(kept.get("/").status, 200);
    }
    assert_eq!(client.client(gateway.address()).get("/").status, 200);
    gateway.wait_metric(FAILURES, &[], |n| n == 9.0);
}

#[test]
fn a_hello_may_come_byte_by_byte() {
    let authority = Authority::new();
    let gateway = secure(&[&authority.server(&["localhost"])], "", "").start();
    let raw = Raw::connect(gateway.address());
    let tcp = raw.tcp();
    let relay = ByteByByte::start(tcp);
    let mut raw = TlsClient::trusting(&authority).build().over(relay).unwrap();
    raw.send(Request::get("/").encode());
    assert_eq!(raw.response("GET").text(), "secure");
}

/// Passes on what it is sent one byte at a time, and everything the other way as it comes.
struct ByteByByte;

impl ByteByByte {
    fn start(gateway: std::net::TcpStream) -> std::net::TcpStream {
        use std::io::Read;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        let (mut back, mut to) = (theirs.try_clone().unwrap(), gateway.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut byte = [0];
            while theirs.read(&mut byte).is_ok_and(|n| n > 0) && to.write_all(&byte).is_ok() {}
        });
        std::thread::spawn(move || std::io::copy(&mut &gateway, &mut back));
        ours
    }
}

#[test]
fn a_handshake_that_takes_too_long_is_ended() {
    let authority = Authority::new();
    let timeouts = "client: { timeouts: { handshake: 200ms } }";
    let gateway = secure(&[&authority.server(&["localhost"])], "", timeouts).start();
    // One says nothing, one begins and goes silent.
    let (mut silent, mut slow) = (Raw::connect(gateway.address()), Raw::connect(gateway.address()));
    slow.send([22, 3, 1]);
    silent.expect_closed();
    slow.expect_closed();
    gateway.wait_metric(FAILURES, &[("reason", "timeout")], |n| n == 2.0);
    gateway.wait_metric("gatehouse_timeouts_total", &[("phase", "tls_handshake")], |n| {
        n == 2.0
    });
    // Who is through has all the time the other timeouts give.
    let mut client = TlsClient::trusting(&authority).build().client(gateway.address());
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn there_are_only_so_many_at_a_time() {
    let authority = Authority::new();
    let sections =
        "process: { workers: 1 }\nclient: { limits: { handshakes: 2 }, timeouts: { handshake: 1m } }";
    let gateway = secure(&[&authority.server(&["localhost"])], "", sections).start();
    let client = TlsClient::trusting(&authority).build();
    let mut kept = client.client(gateway.address());
    // Those that say nothing do not count.
    let _silent: Vec<_> = (0..5).map(|_| Raw::connect(gateway.address())).collect();
    let mut begun: Vec<_> = (0..2).map(|_| Raw::connect(gateway.address())).collect();
    for raw in &mut begun {
        raw.send([22, 3, 1]);
    }
    // They count when the gateway has read that, which nothing tells but a refusal.
    let error = loop {
        match client.try_connect(gateway.address()) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(
        tls_error(&error),
        Some(&rustls::Error::AlertReceived(
            rustls::AlertDescription::InternalError
        )),
        "{error}"
    );
    gateway.wait_metric(FAILURES, &[("reason", "too_many")], |n| n == 1.0);
    gateway.wait_metric(
        "gatehouse_limits_hit_total",
        &[("setting", "client.limits.handshakes")],
        |n| n == 1.0,
    );
    assert_eq!(kept.get("/").status, 200);
    // One gives up: there is room again.
    drop(begun);
    gateway.wait_metric(FAILURES, &[("reason", "gone")], |n| n >= 2.0);
    assert_eq!(client.client(gateway.address()).get("/").status, 200);
}

#[test]
fn a_flood_of_handshakes_keeps_nobody_waiting_for_ever() {
    let authority = Authority::new();
    let sections = "process: { workers: 1 }";
    let gateway = secure(&[&authority.server(&["localhost"])], "", sections).start();
    let client = TlsClient::trusting(&authority).build();
    let mut kept = client.client(gateway.address());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // A client of its own each time has no ticket.
                for _ in 0..15 {
                    let mut one = TlsClient::trusting(&authority).build().client(gateway.address());
                    assert_eq!(one.get("/").status, 200);
                }
            });
        }
        for _ in 0..60 {
            assert_eq!(kept.get("/").text(), "secure");
        }
    });
    gateway.wait_metric("gatehouse_tls_handshakes_total", &[], |n| n == 61.0);
}

#[test]
fn the_handshake_comes_behind_a_proxy_header() {
    let authority = Authority::new();
    let leaf = authority.server(&["localhost"]);
    let yaml = document(1, "", "").replace(
        "address: \"127.0.0.1:0\"",
        "address: \"127.0.0.1:0\", proxy_protocol: { from: [127.0.0.1] }",
    );
    let gateway = gateway(&yaml)
        .file("tls/0.pem", &leaf.cert)
        .file("tls/0.key", &leaf.key)
        .start();
    let client = TlsClient::trusting(&authority).build();
    let header = "PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n";
    // In a packet of its own, and together with the hello.
    let mut tcp = Raw::connect(gateway.address()).tcp();
    tcp.write_all(header.as_bytes()).unwrap();
    let mut raw = client.over(tcp).unwrap();
    raw.send(Request::get("/").encode());
    assert_eq!(raw.response("GET").status, 200);

    let tcp = Raw::connect(gateway.address()).tcp();
    let mut session = client.begin(tcp.try_clone().unwrap());
    let mut first = header.as_bytes().to_vec();
    session.conn.write_tls(&mut first).unwrap();
    (&tcp).write_all(&first).unwrap();
    let mut raw = TlsClient::finish(session).unwrap();
    raw.send(Request::get("/").encode());
    assert_eq!(raw.response("GET").status, 200);
    for line in gateway.access_log(2) {
        assert_eq!(line["client_ip"], "192.0.2.7", "{line}");
    }
}
