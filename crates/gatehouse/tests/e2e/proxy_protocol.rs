//! The PROXY protocol, versions 1 and 2: believed from the senders named, refused when broken.

use std::net::SocketAddr;

use gatehouse_testkit::proxy_protocol::{v1, v1_unknown, v2, v2_local, v2_raw};
use gatehouse_testkit::{Gateway, HttpBackend, Raw, Request};

use crate::gateway;

fn start(backend: &HttpBackend, proxy_protocol: &str) -> Gateway {
    let yaml = format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0", proxy_protocol: {proxy_protocol} }} }}
routes: {{ all: {{ match: {{ path: /** }}, forward: {{ upstream: api }} }} }}
upstreams: {{ api: {{ endpoints: ["${{api}}"] }} }}
"#
    );
    gateway(&yaml).bind("api", backend.url()).start()
}

const TRUSTED: &str = "{ from: [127.0.0.0/8] }";

fn addresses() -> (SocketAddr, SocketAddr, SocketAddr, SocketAddr) {
    let parse = |text: &str| text.parse().unwrap();
    (
        parse("192.0.2.7:4567"),
        parse("198.51.100.1:80"),
        parse("[2001:db8::7]:4567"),
        parse("[2001:db8::1]:80"),
    )
}

/// The client address the upstream is told, for a connection that begins with this.
fn told(gateway: &Gateway, backend: &HttpBackend, header: &[u8]) -> Option<String> {
    let mut raw = Raw::connect(gateway.address());
    raw.send([header, &Request::get("/").encode()].concat());
    assert_eq!(raw.response("GET").status, 200, "{header:?}");
    backend.last().header("x-forwarded-for").map(str::to_owned)
}

#[test]
fn both_versions_tell_the_client() {
    let backend = HttpBackend::start();
    let gateway = start(&backend, TRUSTED);
    let (from4, to4, from6, to6) = addresses();
    let told = |header: Vec<u8>| told(&gateway, &backend, &header).unwrap();
    assert_eq!(told(v1(from4, to4)), "192.0.2.7");
    assert_eq!(told(v1(from6, to6)), "2001:db8::7");
    assert_eq!(told(v2(from4, to4, &[])), "192.0.2.7");
    assert_eq!(told(v2(from6, to6, &[])), "2001:db8::7");
    // Fields after the addresses are read over: ALPN, a unique id, an unknown one.
    assert_eq!(
        told(v2(from4, to4, &[(0x01, b"h2"), (0x05, b"id"), (0xE0, &[0; 300])])),
        "192.0.2.7"
    );
    // The sender's own connections, a health check's for example.
    assert_eq!(told(v1_unknown()), "127.0.0.1");
    assert_eq!(told(v2_local()), "127.0.0.1");
}

#[test]
fn a_header_may_come_byte_by_byte_and_with_the_request() {
    let backend = HttpBackend::start();
    let gateway = start(&backend, TRUSTED);
    let (from, to, ..) = addresses();
    for header in [v1(from, to), v2(from, to, &[])] {
        let mut raw = Raw::connect(gateway.address());
        for byte in [header, Request::get("/").encode()].concat() {
            raw.send([byte]);
        }
        assert_eq!(raw.response("GET").status, 200);
        assert_eq!(backend.last().header("x-forwarded-for"), Some("192.0.2.7"));
        // It is read once: the next request on the connection has none.
        raw.send(Request::get("/").encode());
        assert_eq!(raw.response("GET").status, 200);
        assert_eq!(backend.last().header("x-forwarded-for"), Some("192.0.2.7"));
    }
}

#[test]
fn broken_headers_end_the_connection() {
    let backend = HttpBackend::start();
    let gateway = start(&backend, TRUSTED);
    let (from, to, ..) = addresses();
    let good = v2(from, to, &[]);
    let mut wrong_signature = good.clone();
    wrong_signature[4] = b'X';
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("no header", Vec::new()),
        ("no family", b"PROXY\r\n".to_vec()),
        (
            "an unknown family",
            b"PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n".to_vec(),
        ),
        (
            "a name for an address",
            b"PROXY TCP4 localhost 1.2.3.4 1 1\r\n".to_vec(),
        ),
        (
            "the other family's address",
            b"PROXY TCP4 ::1 ::1 1 1\r\n".to_vec(),
        ),
        (
            "a port too large",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n".to_vec(),
        ),
        ("a part missing", b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n".to_vec()),
        ("two spaces", b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n".to_vec()),
        ("lower case", b"proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n".to_vec()),
        ("LF alone", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n".to_vec()),
        ("no end", [b"PROXY TCP4 ", [b'1'; 200].as_slice()].concat()),
        ("a wrong signature", wrong_signature),
        ("version 3", v2_raw(0x31, 0x11, &good[16..])),
        ("an unknown command", v2_raw(0x2F, 0x11, &good[16..])),
        ("a block too short", v2_raw(0x21, 0x11, &good[16..20])),
    ];
    for (name, header) in table {
        let mut raw = Raw::connect(gateway.address());
        let _ = raw.try_send([header, Request::get("/").encode()].concat());
        let rest = raw.read_to_end();
        assert!(
            rest.is_empty() || rest.starts_with(b"HTTP/1.1 400 "),
            "{name}: {}",
            String::from_utf8_lossy(&rest)
        );
    }
    assert_eq!(backend.count(), 0);
}

#[test]
fn an_optional_header_may_be_missing() {
    let backend = HttpBackend::start();
    let gateway = start(&backend, "{ from: [127.0.0.0/8], required: false }");
    let (from, to, ..) = addresses();
    assert_eq!(told(&gateway, &backend, b"").as_deref(), Some("127.0.0.1"));
    assert_eq!(
        told(&gateway, &backend, &v1(from, to)).as_deref(),
        Some("192.0.2.7")
    );
    assert_eq!(
        told(&gateway, &backend, &v2(from, to, &[])).as_deref(),
        Some("192.0.2.7")
    );
}

#[test]
fn others_cannot_send_one() {
    let backend = HttpBackend::start();
    let gateway = start(&backend, "{ from: [192.0.2.0/24] }");
    let (from, to, ..) = addresses();
    for header in [v1(from, to), v2(from, to, &[])] {
        let mut raw = Raw::connect(gateway.address());
        let _ = raw.try_send([header, Request::get("/").encode()].concat());
        let answer = raw.read_to_end();
        assert!(
            answer.starts_with(b"HTTP/1.1 400 "),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert_eq!(backend.count(), 0);
    // As plain clients they are served.
    assert_eq!(told(&gateway, &backend, b"").as_deref(), Some("127.0.0.1"));
}

#[test]
fn a_sender_that_stays_silent_is_not_waited_for_for_ever() {
    let backend = HttpBackend::start();
    let yaml = r#"
listeners: { main: { address: "127.0.0.1:0", proxy_protocol: { from: [127.0.0.1] } } }
client: { timeouts: { head: 200ms } }
routes: { all: { match: {}, reply: { body: ok } } }
"#;
    let gateway = gateway(yaml).bind("api", backend.url()).start();
    Raw::connect(gateway.address()).send("PROXY TC").expect_closed();
}
