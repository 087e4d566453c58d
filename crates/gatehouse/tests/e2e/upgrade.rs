//! Requests that want to switch protocols: which are refused, which ignored, which granted.

use std::io::{Read, Write};

use gatehouse_testkit::backend::tcp::TcpBackend;
use gatehouse_testkit::websocket::{EchoBackend, KEY, handshake};
use gatehouse_testkit::wire::Reader;
use gatehouse_testkit::{Client, HttpBackend, Raw, Reply, Request, client};

use crate::{gateway, in_front_of};

const YAML: &str = r#"
listeners: { main: { address: "127.0.0.1:0" } }
routes:
  never: { match: { path: /never }, forward: { upstream: api, upgrades: [] } }
  own: { match: { path: /own }, reply: { body: own } }
  chat: { match: { path: /chat }, forward: { upstream: api, upgrades: [chat/1, websocket] } }
  all: { match: { path: /** }, forward: { upstream: api } }
upstreams: { api: { endpoints: ["${api}"] } }
"#;

#[test]
fn handshakes_that_break_the_rules_are_refused() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let with = |changes: &[(&str, Option<&str>)], method: &str| {
        let mut request = Request::new(method, "/");
        let fields = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
        ];
        for (name, value) in fields {
            match changes.iter().find(|(changed, _)| *changed == name) {
                Some((_, None)) => {}
                Some((_, Some(other))) => request = request.header(name, other),
                None => request = request.header(name, value),
            }
        }
        request
    };
    let long = "A".repeat(30) + "==";
    let wrong = [
        with(&[], "POST"),
        with(&[], "OPTIONS"),
        with(&[("Connection", Some("keep-alive"))], "GET"),
        with(&[("Sec-WebSocket-Version", None)], "GET"),
        with(&[("Sec-WebSocket-Version", Some("8"))], "GET"),
        with(&[("Sec-WebSocket-Version", Some("13, 8"))], "GET"),
        with(&[], "GET").header("Sec-WebSocket-Version", "13"),
        with(&[("Sec-WebSocket-Key", None)], "GET"),
        with(&[("Sec-WebSocket-Key", Some("short"))], "GET"),
        with(&[("Sec-WebSocket-Key", Some(&long))], "GET"),
        with(&[], "GET").header("Sec-WebSocket-Key", KEY),
        with(&[], "GET").body("a body"),
        with(&[], "GET").chunked(&[b"a body"]),
    ];
    for request in wrong {
        let mut client = Client::connect(gateway.address());
        let response = client.send(&request);
        assert_eq!(
            (response.status, response.code().as_str()),
            (400, "bad_request"),
            "{request:?}"
        );
        // Whatever comes behind is no request.
        client.raw.expect_closed();
        if request.headers.get("sec-websocket-version") == Some("8") {
            assert_eq!(response.header("sec-websocket-version"), Some("13"));
        }
    }
    assert_eq!(backend.count(), 0, "none of them reached the endpoint");
}

#[test]
fn a_route_that_does_not_allow_it_refuses() {
    let backend = HttpBackend::start();
    let gateway = gateway(YAML).bind("api", backend.url()).start();
    let chat = Request::get("/")
        .header("Connection", "upgrade")
        .header("Upgrade", "chat/1");
    for request in [handshake("/never"), chat.clone()] {
        let mut client = Client::connect(gateway.address());
        let response = client.send(&request);
        assert_eq!(
            (response.status, response.code().as_str()),
            (403, "upgrade_refused")
        );
        client.raw.expect_closed();
    }
    assert_eq!(backend.count(), 0);
    // What the gateway answers by itself is answered.
    assert_eq!(client::once(gateway.address(), &handshake("/own")).text(), "own");
}

/// Clients ask for these in passing and take an ordinary answer as well (RFC 9110 7.8).
#[test]
fn other_versions_of_http_are_never_switched_to() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let plain = |upgrade: &str, connection: &str| {
        Request::get("/")
            .header("Upgrade", upgrade)
            .header("Connection", connection)
    };
    let ignored = [
        plain("h2c", "Upgrade, HTTP2-Settings").header("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
        plain("TLS/1.2, HTTP/2.0", "upgrade"),
        // Not for us: it is about somebody else's connection.
        plain("chat/1", "keep-alive"),
        plain("", "upgrade"),
        handshake("/").version("HTTP/1.0").host("a.test"),
    ];
    for (index, request) in ignored.iter().enumerate() {
        let response = client::once(gateway.address(), request);
        assert_eq!(response.status, 200, "{request:?}");
        let seen = backend.wait_requests(index + 1).pop().unwrap();
        for gone in ["upgrade", "http2-settings"] {
            assert_eq!(seen.header(gone), None, "{request:?}");
        }
    }
}

/// Bytes that come before the answer may be of the protocol that was asked for. Without the switch nobody may take them
/// for a request.
#[test]
fn what_came_too_early_is_no_request() {
    let backend = HttpBackend::start();
    backend.on("/ws", Reply::new(401));
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    let early = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    raw.send([handshake("/ws").encode(), early.into()].concat());
    assert_eq!(raw.response("GET").status, 401);
    raw.expect_closed();
    assert_eq!(backend.count(), 1);
}

#[test]
fn a_connect_is_not_served() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n");
    assert_eq!(raw.response("GET").status, 501);
    raw.expect_closed();
    assert_eq!(backend.count(), 0);
}

const TUNNELS: &str = r#"
listeners: { main: { address: "127.0.0.1:0" } }
routes:
  database:
    match: { hosts: [db.test], methods: [CONNECT] }
    forward: { upstream: api, upgrades: [connect], tunnel: { idle: 1m } }
  fixed: { match: { hosts: [fixed.test] }, reply: { body: fixed } }
  other: { match: { hosts: [other.test] }, forward: { upstream: api } }
upstreams: { api: { endpoints: ["${api}"] } }
"#;

#[test]
fn a_connect_reaches_an_endpoint_where_its_route_allows_it() {
    let backend = TcpBackend::start(|mut stream, _| {
        stream.write_all(b"welcome\n")?;
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes)?;
        stream.write_all(&bytes)
    });
    let gateway = gateway(TUNNELS).bind("api", backend.url()).start();
    let connect = |to: &str| {
        let mut raw = Raw::connect(gateway.address());
        raw.send(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\nhello"));
        raw
    };
    let answer = connect("db.test:5432").read_to_end();
    let answer = String::from_utf8(answer).unwrap();
    let (head, bytes) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.contains("x-request-id: "),
        "{head}"
    );
    for field in ["content-length", "transfer-encoding", "upgrade", "connection"] {
        assert!(!head.to_lowercase().contains(&format!("\r\n{field}:")), "{head}");
    }
    assert_eq!(bytes, "welcome\nhello");
    gateway.wait_metric("gatehouse_tunnels_opened_total", &[("upstream", "api")], |n| {
        n >= 1.0
    });
    let line = gateway.access_log(1).remove(0);
    assert_eq!(
        (line["status"].as_u64(), line["method"].as_str()),
        (Some(200), Some("CONNECT")),
        "{line}"
    );
    assert_eq!(
        (line["bytes_in"].as_u64(), line["bytes_out"].as_u64()),
        (Some(5), Some(13)),
        "{line}"
    );
    // Nobody gets anywhere else, and what follows a refusal is not read as a request.
    for (to, status) in [
        ("other.test:443", 501),
        ("fixed.test:443", 403),
        ("evil.test:443", 404),
    ] {
        let mut raw = connect(to);
        assert_eq!(raw.response("GET").status, status, "{to}");
        raw.expect_closed();
    }
    let mut raw = Raw::connect(gateway.address());
    raw.send("CONNECT db.test:5432 HTTP/1.0\r\nHost: db.test:5432\r\n\r\n");
    assert_eq!(raw.response("GET").status, 501);
    // The word is no protocol that a field could ask for.
    let request = Request::get("/")
        .host("db.test")
        .header("Connection", "upgrade")
        .header("Upgrade", "connect");
    assert_eq!(client::once(gateway.address(), &request).status, 405);
    assert_eq!(backend.connections(), 1);
}

#[test]
fn any_protocol_passes_where_its_route_names_it() {
    let backend = TcpBackend::start(|mut stream, _| {
        let mut reader = Reader::new(stream.try_clone()?);
        let head = reader.read_head()?.unwrap_or_default();
        assert_eq!(head.headers.get("upgrade"), Some("Chat/1"));
        stream
            .write_all(b"HTTP/1.1 101 x\r\nConnection: keep-alive, upgrade\r\nUpgrade: chat/1\r\n\r\n> ")?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n\r\n") {
            let piece = reader.read_some(100)?;
            line.extend(piece);
        }
        stream.write_all(&line)?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest)?;
        stream.write_all(b"bye")
    });
    let gateway = gateway(YAML).bind("api", backend.url()).start();
    let mut raw = Raw::connect(gateway.address());
    let ask = Request::get("/chat")
        .header("Connection", "upgrade")
        .header("Upgrade", "h2c, Chat/1");
    // A line end alone is not skipped here, as it would be between two requests.
    raw.send([ask.encode(), b"\r\n".to_vec()].concat());
    let head = raw.reader.read_head().unwrap().unwrap();
    assert!(head.start.starts_with("HTTP/1.1 101 "));
    assert_eq!(head.headers.get("upgrade"), Some("Chat/1"));
    raw.send(b"\r\n");
    assert_eq!(raw.read_until(b"\r\n\r\n"), b"> \r\n\r\n");
    raw.half_close();
    assert_eq!(raw.read_to_end(), b"bye");
}

#[test]
fn policies_see_a_handshake_like_any_request() {
    let backend = EchoBackend::start();
    let yaml = YAML.replace(
        "routes:",
        "policies: [ { rate_limit: { limit: 1, window: 1h, key: client_ip } } ]\nroutes:",
    );
    let gateway = match gateway(&yaml).bind("api", backend.url()).try_start() {
        Ok(gateway) => gateway,
        Err(error) => panic!("{error}"),
    };
    let mut socket = gatehouse_testkit::WebSocket::open(gateway.address(), "/");
    assert_eq!(client::once(gateway.address(), &handshake("/")).status, 429);
    socket.echo("hello");
}
