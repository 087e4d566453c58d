//! `external_auth` in gRPC: a service as Envoy's `ext_authz` knows it, on tonic, decides.
//!
//! The service reads and writes protobuf by the numbers of fields in Envoy's definitions, with nothing of ours between.
#![allow(clippy::float_cmp, reason = "counts are whole numbers")]

use std::io::Write as _;

use gatehouse_testkit::backend::tcp::TcpBackend;
use gatehouse_testkit::{Client, Gateway, HttpBackend, Request, client};

use crate::gateway;
use service::{AuthServer, Fields, bytes, number, text};

mod service;

/// `CheckResponse` that allows, with these fields of `OkHttpResponse`.
fn allow(ok: &[Vec<u8>]) -> Vec<u8> {
    [bytes(1, &[]), bytes(3, &ok.concat())].concat()
}

/// `CheckResponse` that refuses, with these fields of `DeniedHttpResponse`.
fn deny(denied: &[Vec<u8>]) -> Vec<u8> {
    [bytes(1, &number(1, 7)), bytes(2, &denied.concat())].concat()
}

/// A `HeaderValueOption`, with fields behind the header.
fn header(key: &str, value: &str, rest: &[u8]) -> Vec<u8> {
    [bytes(1, &[text(1, key), text(2, value)].concat()), rest.to_vec()].concat()
}

/// Lets `good` in and tells who that is; sends others away.
fn service() -> AuthServer {
    AuthServer::start(|check| {
        let http = check.message(1).message(4).message(2);
        Ok(match http.entry(3, "authorization").as_str() {
            "good" => allow(&[
                bytes(2, &header("X-User-Id", "ada", &[])),
                bytes(2, &header("x-list", "b", &bytes(2, &number(1, 1)))),
                bytes(2, &header("x-unlisted", "1", &[])),
                bytes(2, &header(":path", "/admin", &[])),
                bytes(2, &header("content-length", "3", &[])),
                text(5, "X-Hidden"),
                text(5, "host"),
                bytes(6, &header("x-seen", "1", &[])),
                bytes(6, &header("set-cookie", "a=1", &[])),
                bytes(7, &[text(1, "tenant"), text(2, "a&b=c")].concat()),
                text(8, "secret"),
            ]),
            "login" => deny(&[
                bytes(1, &number(1, 302)),
                bytes(2, &header("Location", "https://login.example/", &[])),
                bytes(2, &header("content-length", "1", &[])),
                text(3, "go there"),
            ]),
            "bare" => bytes(1, &number(1, 16)),
            "empty" => Vec::new(),
            "torn" => vec![0x0a, 0x10],
            "broken" => return Err(tonic::Status::internal("stack trace")),
            _ => deny(&[
                bytes(1, &number(1, 401)),
                bytes(2, &header("WWW-Authenticate", "Bearer realm=\"x\"", &[])),
            ]),
        })
    })
}

fn asking(auth: &str, api: &HttpBackend, settings: &str) -> Gateway {
    let config = format!(
        r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
routes:
  all: {{ match: {{ path: /api/** }}, policies: [ {{ external_auth: {{ url: "{auth}", protocol: grpc, {settings} }} }} ], forward: {{ upstream: api }} }}
  open: {{ match: {{ path: /open }}, forward: {{ upstream: api }} }}
upstreams: {{ api: {{ endpoints: ["{}"] }} }}
"#,
        api.url()
    );
    gateway(&config).start()
}

fn get(path: &str, token: &str) -> Request {
    Request::new("GET", path).header("Authorization", token)
}

#[test]
fn the_service_learns_what_envoy_would_tell_it() {
    let (auth, api) = (service(), HttpBackend::start());
    let gateway = asking(&auth.url(), &api, "context: { tier: gold }, timeout: 20s");
    let request = get("/api/a%20b?x=1&y", "good")
        .header("X-Two", "1")
        .header("X-Two", "2")
        .header("Cookie", "c=1");
    assert_eq!(client::once(gateway.address(), &request).status, 200);
    let asked = auth.last();
    assert_eq!(asked.path, "/envoy.service.auth.v3.Authorization/Check");
    assert_eq!(asked.timeout.as_deref(), Some("20000m"));
    let context = asked.message.message(1);
    let address = |peer: Fields| peer.message(1).message(1);
    let (source, destination) = (address(context.message(1)), address(context.message(2)));
    assert_eq!(
        (source.text(2).as_str(), destination.text(2).as_str()),
        ("127.0.0.1", "127.0.0.1")
    );
    assert_ne!(source.number(3), 0);
    assert_eq!(destination.number(3), u64::from(gateway.address().port()));
    assert_eq!(context.entry(10, "tier"), "gold");
    assert!(context.message(4).message(1).number(1) > 1_700_000_000, "a time");
    let http = context.message(4).message(2);
    assert!(!http.text(1).is_empty(), "an id");
    let texts: Vec<String> = [2, 4, 5, 6, 10].iter().map(|n| http.text(*n)).collect();
    assert_eq!(
        texts,
        ["GET", "/api/a%20b?x=1&y", "gateway.test", "http", "HTTP/1.1"]
    );
    assert_eq!(http.number(9), 0);
    for (name, value) in [
        ("x-two", "1,2"),
        ("cookie", "c=1"),
        (":method", "GET"),
        (":path", "/api/a%20b?x=1&y"),
    ] {
        assert_eq!(http.entry(3, name), value, "{name}");
    }
}

#[test]
fn the_service_decides_names_the_caller_and_changes_no_more_than_it_may() {
    let (auth, api) = (service(), HttpBackend::start());
    let settings = "accept: [X-User-Id, X-List], accept_response: [X-Seen], subject: x-user-id";
    let gateway = asking(&auth.url(), &api, settings);
    let to = gateway.address();
    let request = get("/api/orders?tenant=1&a=2&secr%65t=3", "good")
        .header("X-User-Id", "root")
        .header("X-Hidden", "1");
    let answer = client::once(to, &request);
    assert_eq!((answer.status, answer.header("x-seen")), (200, Some("1")));
    assert_eq!(answer.header("set-cookie"), None);
    let seen = api.last();
    assert_eq!(seen.target, "/api/orders?a=2&tenant=a%26b%3Dc");
    for (name, value) in [
        ("x-user-id", Some("ada")),
        ("x-list", Some("b")),
        ("x-unlisted", None),
        ("x-hidden", None),
        ("content-length", None),
        ("authorization", Some("good")),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
    assert_eq!(seen.headers.count("x-user-id"), 1);
    assert_eq!(gateway.access_log(1)[0]["consumer"], "ada");

    // What the service says of callers cannot be said by callers, also where nobody asks.
    let request = Request::new("GET", "/open")
        .header("x_user_id", "root")
        .header("X-User-ID", "root");
    let answer = client::once(to, &request);
    if answer.status == 200 {
        assert_eq!(
            (api.last().header("x-user-id"), api.last().header("x_user_id")),
            (None, None)
        );
    }
    let refused = client::once(to, &get("/api/orders", "bad"));
    assert_eq!(
        (refused.status, refused.header("www-authenticate")),
        (401, Some("Bearer realm=\"x\""))
    );
    for token in ["login", "bare"] {
        assert_eq!(
            client::once(to, &get("/api/orders", token)).status,
            403,
            "{token}"
        );
    }
    // No status is the status 0, as Envoy reads it.
    assert_eq!(client::once(to, &get("/api/orders", "empty")).status, 200);
    assert_eq!(api.last().header("x-user-id"), None);
}

#[test]
fn its_own_refusal_reaches_the_client_if_it_may() {
    let (auth, api) = (service(), HttpBackend::start());
    let gateway = asking(&auth.url(), &api, "relay: true");
    let answer = client::once(gateway.address(), &get("/api/", "login"));
    assert_eq!((answer.status, answer.text().as_str()), (302, "go there"));
    assert_eq!(answer.header("location"), Some("https://login.example/"));
    assert_eq!(api.count(), 0);
}

#[test]
fn a_call_that_fails_closes_the_door_unless_told_otherwise() {
    let api = HttpBackend::start();
    let (auth, silent) = (service(), TcpBackend::silent());
    let plain =
        TcpBackend::start(|mut stream, _| stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    let gone = {
        let gone = HttpBackend::start();
        gone.url()
    };
    let cases = [
        (auth.url(), "broken"),
        (auth.url(), "torn"),
        (silent.url(), "good"),
        (plain.url(), "good"),
        (gone, "good"),
    ];
    for (i, (url, token)) in cases.iter().enumerate() {
        let timeout = if *token == "good" {
            "timeout: 200ms"
        } else {
            "timeout: 20s"
        };
        let closed = asking(url, &api, timeout);
        let answer = client::once(closed.address(), &get("/api/", token));
        assert_eq!(answer.status, 500, "{i}");
        assert!(answer.text().contains("policy_failed"), "{}", answer.text());
        assert!(!answer.text().contains("stack"), "{}", answer.text());
        let open = asking(url, &api, &format!("{timeout}, on_failure: open"));
        assert_eq!(
            client::once(open.address(), &get("/api/", token)).status,
            200,
            "{i}"
        );
        let labels = [("outcome", "failed_open")];
        assert_eq!(open.metrics().sum("gatehouse_external_auth_total", &labels), 1.0);
    }
    assert_eq!(api.count(), 5);
}

#[test]
fn a_service_that_comes_back_is_asked_again() {
    let (mut auth, api) = (service(), HttpBackend::start());
    let gateway = asking(&auth.url(), &api, "timeout: 20s");
    let mut client = Client::connect(gateway.address());
    assert_eq!(client.send(&get("/api/", "good")).status, 200);
    auth.restart();
    assert_eq!(client.send(&get("/api/", "good")).status, 200);
    assert_eq!(client.send(&get("/api/", "bad")).status, 401);
}

#[test]
fn the_body_goes_along_whole_or_its_beginning() {
    let (auth, api) = (service(), HttpBackend::start());
    let post = |body: &str| {
        Request::new("POST", "/api/")
            .header("Authorization", "good")
            .body(body)
    };
    let http = |auth: &AuthServer| auth.last().message.message(1).message(4).message(2);

    let whole = asking(&auth.url(), &api, "body: 10");
    let mut client = Client::connect(whole.address());
    assert_eq!(client.send(&post("0123456789")).status, 200);
    let seen = http(&auth);
    assert_eq!((seen.text(11).as_str(), seen.number(9)), ("0123456789", 10));
    assert_eq!(seen.entry(3, "x-envoy-auth-partial-body"), "false");
    assert_eq!(api.last().text(), "0123456789");
    assert_eq!(client::once(whole.address(), &post("0123456789a")).status, 413);

    let partial = asking(&auth.url(), &api, "body: 10, allow_partial: true");
    let mut client = Client::connect(partial.address());
    let long = "0123456789".repeat(20_000);
    for request in [
        post(&long),
        post("").chunked(&[b"01234", b"567890", b"abc"]),
        post("0123456789"),
    ] {
        assert_eq!(client.send(&request).status, 200);
        let seen = http(&auth);
        assert_eq!(seen.text(11), "0123456789");
        let is_partial = api.last().text().len() > 10;
        assert_eq!(seen.entry(3, "x-envoy-auth-partial-body"), is_partial.to_string());
    }
    assert_eq!(api.count(), 4);
    let raw = Request::new("POST", "/api/")
        .header("Authorization", "good")
        .body([0xff_u8, 1].as_slice());
    assert_eq!(client.send(&raw).status, 200);
    assert_eq!(http(&auth).field(12), [0xff, 1]);
}
