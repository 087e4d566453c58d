//! Requests and answers.

use gatehouse_testkit::h3::Http3Request;
use gatehouse_testkit::{HttpBackend, Raw, Reply, TlsClient};

use super::{Setup, post};

#[test]
fn requests_are_answered() {
    let backend = HttpBackend::start();
    let setup = Setup::new(&backend, "");
    let mut client = setup.connect();
    let answer = client.get("/hello?x=1");
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{answer:?}");
    assert!(
        answer.headers.has("x-request-id") && answer.headers.has("date"),
        "{answer:?}"
    );
    assert_eq!(answer.headers.get("content-length"), Some("2"));
    let got = backend.last();
    assert_eq!((got.method.as_str(), got.target.as_str()), ("GET", "/hello?x=1"));
    assert_eq!(got.header("host"), Some("localhost"));
    assert_eq!(got.header("x-forwarded-proto"), Some("https"));
    // A request without a body stays one.
    assert!(
        !got.headers.has("transfer-encoding") && !got.headers.has("content-length"),
        "{got:?}"
    );

    assert_eq!(client.send(&post("/texts", "some text")).status, 200);
    assert_eq!(backend.last().text(), "some text");
    let answer = client.send(&Http3Request::new("HEAD", "/hello"));
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(answer.headers.get("content-length"), Some("2"));
    let answer = client.send(&Http3Request::new("OPTIONS", "/hello"));
    assert_eq!(answer.status, 200);
}

#[test]
fn failures_are_told_as_over_other_protocols() {
    let backend = HttpBackend::start();
    let setup = Setup::new(&backend, "");
    let yaml = Setup::yaml_with("reply: { body: own }", "/own");
    setup.gateway.reload(&yaml);
    let mut client = setup.connect();
    let answer = client.get("/none");
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.headers.get("content-type"),
        Some("application/problem+json")
    );
    assert!(answer.text().contains("route_not_found"), "{answer:?}");
    assert_eq!(client.get("/own").text(), "own");
    let head = client.send(&Http3Request::new("HEAD", "/own"));
    assert_eq!(
        (head.headers.get("content-length"), head.body.len()),
        (Some("3"), 0)
    );
}

#[test]
fn trailers_pass_both_ways() {
    let backend = HttpBackend::replying(Reply::ok("body").trailer("x-sum", "1"));
    let setup = Setup::new(&backend, "");
    let mut client = setup.connect();
    let request = post("/", "text").header("te", "trailers").trailer("x-check", "2");
    let answer = client.send(&request);
    assert_eq!(answer.trailers.get("x-sum"), Some("1"), "{answer:?}");
    assert_eq!(backend.last().text(), "text");
    let answer = client.send(&post("/", "text"));
    assert_eq!(answer.text(), "body");
    // A trailer that would frame or route is refused.
    let answer = client.send(&post("/", "text").trailer("content-length", "9"));
    assert_eq!(answer.status, 400, "{answer:?}");
}

#[test]
fn interim_responses_come_first() {
    let backend = HttpBackend::scripted(|call| {
        call.interim(103, &[("Link", "</style.css>; rel=preload")])?;
        call.reply(&Reply::ok("after hints"))
    });
    let setup = Setup::new(&backend, "");
    let mut client = setup.connect();
    let mut exchange = client.begin(&Http3Request::new("GET", "/"));
    exchange.finish();
    let mut head = exchange.head();
    if head.status == 103 {
        assert!(head.headers.has("link"));
        head = exchange.head();
    }
    assert_eq!(head.status, 200);
    assert_eq!(exchange.read().as_deref(), Some(&b"after hints"[..]));
}

#[test]
fn a_client_that_waits_is_told_to_go_on() {
    let backend = HttpBackend::start();
    let setup = Setup::new(&backend, "");
    let mut client = setup.connect();
    let request = Http3Request::new("POST", "/")
        .header("expect", "100-continue")
        .header("content-length", "4");
    let mut exchange = client.begin(&request);
    assert_eq!(exchange.head().status, 100);
    exchange.write(b"body");
    exchange.finish();
    assert_eq!(exchange.answer().status, 200);
    assert_eq!(backend.last().text(), "body");
}

#[test]
fn each_request_leaves_its_line_and_its_counts() {
    let backend = HttpBackend::replying(Reply::new(201).body("made"));
    let setup = Setup::new(&backend, "");
    let mut client = setup.connect();
    let answer = client.send(&post("/orders?secret=1", "12345").header("user-agent", "kit"));
    let line = setup.gateway.access_log(1).remove(0);
    for (key, value) in [
        ("method", "POST".into()),
        ("path", "/orders".into()),
        ("status", 201.into()),
        ("protocol", "HTTP/3".into()),
        ("host", "localhost".into()),
        ("user_agent", "kit".into()),
        ("client_ip", "127.0.0.1".into()),
        ("listener", "main".into()),
        ("bytes_in", 5.into()),
        ("bytes_out", 4.into()),
        ("code", serde_json::Value::Null),
    ] {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    assert_eq!(line["request_id"].as_str(), answer.headers.get("x-request-id"));
    let gateway = &setup.gateway;
    let listener = [("listener", "main")];
    gateway.wait_metric("gatehouse_connections_accepted_total", &listener, |n| n >= 1.0);
    gateway.wait_metric("gatehouse_tls_handshakes_total", &listener, |n| n >= 1.0);
}

#[test]
fn others_are_told_where_it_is() {
    let backend = HttpBackend::start();
    let setup = Setup::new(&backend, "");
    let port = setup.address().port();
    let tcp = TlsClient::trusting(&setup.authority).build();
    let response = tcp.client(setup.address()).get("/");
    let expected = format!("h3=\":{port}\"; ma=86400");
    assert_eq!(response.header("alt-svc"), Some(expected.as_str()));
    // Who is there already is not told.
    assert!(!setup.connect().get("/").headers.has("alt-svc"));

    let other = Setup::listening(&backend, "alt_svc: { max_age: 1m, port: 443 }", "");
    let tcp = TlsClient::trusting(&other.authority).build();
    let response = tcp.client(other.address()).get("/");
    assert_eq!(response.header("alt-svc"), Some("h3=\":443\"; ma=60"));

    let silent = Setup::listening(&backend, "alt_svc: { max_age: 0s }", "");
    let tcp = TlsClient::trusting(&silent.authority).build();
    assert_eq!(tcp.client(silent.address()).get("/").header("alt-svc"), None);
}

#[test]
fn without_it_datagrams_are_not_even_received() {
    let backend = HttpBackend::start();
    let setup = Setup::with_protocols(&backend, "[http1]");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    // The port is free.
    assert!(std::net::UdpSocket::bind(setup.address()).is_ok());
    drop(socket);
    let raw: Raw = TlsClient::trusting(&setup.authority)
        .build()
        .connect(setup.address());
    drop(raw);
}

/// What only the gateway may say of the caller is taken off heads and trailers.
#[test]
fn reserved_fields_are_taken_off_heads_and_trailers() {
    let backend = HttpBackend::start();
    let setup = Setup::new(&backend, "named_policies: { keys: { key_auth: {} } }\n");
    let mut client = setup.connect();
    let request = post("/", "text")
        .header("x-consumer", "root")
        .header("x_scopes", "root")
        .trailer("x-check", "2")
        .trailer("x-consumer", "root")
        .trailer("x_scopes", "root");
    assert_eq!(client.send(&request).status, 200);
    let seen = backend.last();
    assert_eq!(seen.trailers.get("x-check"), Some("2"), "{seen:?}");
    for name in ["x-consumer", "x_scopes", "x-scopes"] {
        assert_eq!(
            (seen.header(name), seen.trailers.get(name)),
            (None, None),
            "{name}"
        );
    }
}
