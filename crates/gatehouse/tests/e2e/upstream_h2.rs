//! HTTP/2 towards endpoints: many requests on few connections, bodies both ways, and their bounds.

use gatehouse_testkit::client::chunk;
use gatehouse_testkit::digest::Noise;
use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Client, Gate, Gateway, H2Backend, H2Settings, HttpBackend, Raw, Request};

use crate::with_upstream;

/// One worker, HTTP/2 by prior knowledge.
pub(crate) fn over_h2(backend: &H2Backend, settings: &str) -> Gateway {
    with_upstream(&backend.url(), &format!("protocol: http2, {settings}"))
}

pub(crate) fn get(gateway: &Gateway) -> gatehouse_testkit::Response {
    Client::connect(gateway.address()).get("/")
}

/// Many clients, each with one request under way.
pub(crate) fn begin(gateway: &Gateway, n: usize) -> Vec<Raw> {
    let mut clients: Vec<Raw> = (0..n).map(|_| Raw::connect(gateway.address())).collect();
    for client in &mut clients {
        client.send(Request::get("/").encode());
    }
    clients
}

#[test]
fn a_request_arrives_as_it_was_sent() {
    let backend = H2Backend::start();
    let gateway = over_h2(&backend, "");
    let request = Request::post("/a/b?c=d", "the body")
        .header("X-Thing", "one")
        .header("Connection", "X-Hop")
        .header("X-Hop", "gone")
        .header("TE", "trailers");
    let response = Client::connect(gateway.address()).send(&request);
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    let seen = backend.last();
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str(), seen.scheme.as_str()),
        ("POST", "/a/b?c=d", "http")
    );
    assert_eq!(seen.authority, "gateway.test");
    assert_eq!(seen.headers.get("x-thing"), Some("one"));
    assert_eq!(seen.headers.get("content-length"), Some("8"));
    assert_eq!(seen.headers.get("te"), Some("trailers"));
    assert_eq!(seen.headers.get("via"), Some("1.1 gatehouse"));
    assert!(seen.headers.has("x-request-id") && seen.headers.has("x-forwarded-for"));
    for hop in ["host", "connection", "x-hop", "transfer-encoding", "keep-alive"] {
        assert!(!seen.headers.has(hop), "{hop}");
    }
}

#[test]
fn requests_at_once_share_a_connection() {
    let gate = Gate::new();
    let wait = gate.clone();
    let backend = H2Backend::scripted(move |mut call| {
        let wait = wait.clone();
        async move {
            call.wait(&wait).await;
            call.reply(200, b"ok").await;
        }
    });
    let gateway = over_h2(&backend, "");
    let mut clients = begin(&gateway, 20);
    backend.wait_requests(20);
    assert_eq!(backend.connections(), 1);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response("GET").text(), "ok");
    }
    gateway.wait_metric("gatehouse_upstream_connections_idle", &[], |n| {
        (n - 1.0).abs() < 0.1
    });
    gateway.wait_metric("gatehouse_upstream_requests_in_flight", &[], |n| n == 0.0);
}

#[test]
fn more_than_fit_have_more_connections() {
    let gate = Gate::new();
    let wait = gate.clone();
    let settings = H2Settings {
        max_streams: Some(2),
        ..H2Settings::default()
    };
    let backend = H2Backend::with(settings, move |mut call| {
        let wait = wait.clone();
        async move {
            call.wait(&wait).await;
            call.reply(200, b"ok").await;
        }
    });
    let gateway = over_h2(&backend, "");
    let mut clients = begin(&gateway, 9);
    backend.wait_requests(9);
    assert!(
        (5..=9).contains(&backend.connections()),
        "{}",
        backend.connections()
    );
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response("GET").status, 200);
    }
}

#[test]
fn bodies_and_trailers_pass_both_ways() {
    let backend = H2Backend::scripted(|mut call| async move {
        let body = call.read_body().await;
        let sum = call.received().trailers.get("x-sum").unwrap_or("none").to_owned();
        call.head(200, &[("content-type", "text/plain")], false);
        call.send(&body).await;
        call.trailers(&[("x-sum", &sum)]);
    });
    let gateway = over_h2(&backend, "");
    let request = Request::new("POST", "/")
        .header("TE", "trailers")
        .header("Connection", "TE")
        .chunked(&[b"one ", b"two"])
        .trailer("X-Sum", "7");
    let response = Client::connect(gateway.address()).send(&request);
    assert_eq!((response.status, response.text().as_str()), (200, "one two"));
    assert_eq!(response.trailers.get("x-sum"), Some("7"));
}

#[test]
fn big_bodies_pass_both_ways() {
    let backend = H2Backend::scripted(|mut call| async move {
        call.head(200, &[], false);
        while let Some(piece) = call.piece().await {
            if !call.send(&piece).await {
                return;
            }
        }
        call.end();
    });
    let gateway = over_h2(&backend, "");
    let body = Noise::bytes(1, 8 << 20);
    let response = Client::connect(gateway.address()).send(&Request::post("/", &body));
    assert_eq!(response.status, 200);
    assert!(response.body == body, "{} bytes came back", response.body.len());
    assert_eq!(backend.last().body, body.len() as u64);
}

#[test]
fn both_directions_flow_at_once() {
    let backend = H2Backend::scripted(|mut call| async move {
        call.head(200, &[], false);
        while let Some(piece) = call.piece().await {
            call.send(&piece).await;
        }
        call.end();
    });
    let gateway = over_h2(&backend, "");
    let mut raw = Raw::connect(gateway.address());
    raw.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    raw.response_head("POST");
    for word in ["one", "two", "three"] {
        raw.send(chunk(word.as_bytes()));
        assert_eq!(raw.chunk().as_deref(), Some(word.as_bytes()));
    }
    raw.send("0\r\n\r\n");
    assert_eq!(raw.chunk(), None);
}

#[test]
fn a_client_that_leaves_has_its_stream_reset_and_nothing_else() {
    let backend = H2Backend::scripted(|mut call| async move {
        if call.path() == "/" {
            call.reply(200, b"ok").await;
            return;
        }
        call.head(200, &[], false);
        call.send(b"begun").await;
        call.wait_reset().await;
    });
    let gateway = over_h2(&backend, "");
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/forever").encode());
    raw.response_head("GET");
    assert_eq!(raw.chunk().as_deref(), Some(&b"begun"[..]));
    raw.reset();
    until("the reset", || backend.requests()[0].reset == Some(8));
    assert_eq!(get(&gateway).text(), "ok");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_client_that_leaves_before_the_answer_has_its_stream_reset() {
    let backend = H2Backend::scripted(|mut call| async move {
        call.wait_reset().await;
    });
    let gateway = over_h2(&backend, "");
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/").encode());
    backend.wait_requests(1);
    raw.reset();
    until("the reset", || backend.requests()[0].reset == Some(8));
}

/// The server never reads: no more of the body is taken from the client than the windows have room for.
#[test]
fn a_server_that_does_not_read_stops_the_client() {
    let gate = Gate::new();
    let wait = gate.clone();
    let settings = H2Settings {
        window: Some(65_535),
        ..H2Settings::default()
    };
    let backend = H2Backend::with(settings, move |mut call| {
        let wait = wait.clone();
        async move {
            call.wait(&wait).await;
            let body = call.read_body().await;
            call.reply(200, body.len().to_string().as_bytes()).await;
        }
    });
    let gateway = over_h2(&backend, "");
    let before = gateway.resident_kib();
    let body = vec![b'x'; 32 << 20];
    let address = gateway.address();
    let sender = std::thread::spawn(move || Client::connect(address).send(&Request::post("/", &body)).text());
    backend.wait_requests(1);
    // The client's socket is full once nobody takes anything from it any more.
    gateway.wait_metric("gatehouse_requests_in_flight", &[], |n| n >= 1.0);
    if let (Some(before), Some(now)) = (before, gateway.peak_kib()) {
        assert!(now < before + 16 * 1024, "{before} KiB, then {now} KiB");
    }
    gate.open();
    assert_eq!(sender.join().unwrap(), (32 << 20).to_string());
}

/// A client that does not read holds up its own stream only.
#[test]
fn a_slow_client_holds_up_no_other() {
    let backend = H2Backend::scripted(|mut call| async move {
        if call.path() == "/" {
            call.reply(200, b"ok").await;
            return;
        }
        call.head(200, &[], false);
        let piece = vec![b'x'; 64 << 10];
        while call.send(&piece).await {}
    });
    let gateway = over_h2(&backend, "");
    let mut slow: Vec<Raw> = (0..5)
        .map(|_| {
            let mut raw = Raw::connect_with_window(gateway.address(), 4096);
            raw.send(Request::get("/endless").encode());
            raw.response_head("GET");
            raw
        })
        .collect();
    let mut client = Client::connect(gateway.address());
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "ok");
    }
    assert_eq!(backend.connections(), 1);
    slow.clear();
}

#[test]
fn interim_responses_pass() {
    let backend = H2Backend::scripted(|mut call| async move {
        call.interim(103, &[("link", "</style.css>")]);
        call.reply(200, b"ok").await;
    });
    let gateway = over_h2(&backend, "");
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/").encode());
    raw.interim(103);
    assert_eq!(raw.response("GET").text(), "ok");
}

#[test]
fn a_body_waits_for_100_continue() {
    let backend = H2Backend::scripted(|mut call| async move {
        if call.path() == "/no" {
            call.reply(403, b"no").await;
            return;
        }
        call.interim(100, &[]);
        let body = call.read_body().await;
        call.reply(200, &body).await;
    });
    let gateway = over_h2(&backend, "timeouts: { expect_continue: 20s }");
    let head = |path: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    };
    let mut raw = Raw::connect(gateway.address());
    raw.send(head("/yes"));
    raw.interim(100);
    raw.send("body");
    assert_eq!(raw.response("POST").text(), "body");
    let mut raw = Raw::connect(gateway.address());
    raw.send(head("/no"));
    assert_eq!(raw.response("POST").status, 403);
}

#[test]
fn heads_without_a_body_stay_so() {
    let backend = H2Backend::scripted(|mut call| async move {
        match call.path().as_str() {
            "/204" => call.head(204, &[], true),
            "/304" => call.head(304, &[("content-length", "7")], true),
            _ => call.head(200, &[("content-length", "7")], true),
        }
    });
    let gateway = over_h2(&backend, "");
    let mut client = Client::connect(gateway.address());
    let response = client.send(&Request::new("HEAD", "/"));
    assert_eq!(
        (response.status, response.headers.get("content-length")),
        (200, Some("7"))
    );
    assert_eq!(client.get("/204").status, 204);
    assert_eq!(client.get("/304").status, 304);
    assert_eq!(client.get("/after-the-others").status, 502);
}

#[test]
fn times_are_bounded() {
    for (settings, path) in [
        ("timeouts: { first_byte: 100ms }", "/silent"),
        ("timeouts: { idle: 100ms }", "/stalls"),
        ("timeout: 100ms", "/silent"),
    ] {
        let backend = H2Backend::scripted(|mut call| async move {
            if call.path() == "/stalls" {
                call.head(200, &[], false);
                call.send(b"a part").await;
            }
            call.wait_reset().await;
        });
        let gateway = over_h2(&backend, settings);
        let mut raw = Raw::connect(gateway.address());
        raw.send(Request::get(path).encode());
        if path == "/stalls" {
            assert!(!raw.read_to_end().ends_with(b"0\r\n\r\n"));
        } else {
            let response = raw.response("GET");
            assert_eq!(
                (response.status, response.code().as_str()),
                (504, "upstream_timeout")
            );
        }
        until("the reset", || backend.requests()[0].reset == Some(8));
    }
}

#[test]
fn an_endpoint_that_speaks_http1_is_a_failure() {
    let backend = gatehouse_testkit::backend::tcp::TcpBackend::start(|mut stream, _| {
        use std::io::Write;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    });
    let gateway = with_upstream(&backend.url(), "protocol: http2");
    let response = get(&gateway);
    assert_eq!(response.status, 502, "{}", response.text());
}

#[test]
fn a_reload_that_changes_the_protocol_changes_the_connections() {
    let (h1, backend) = (HttpBackend::start(), H2Backend::start());
    let yaml = |protocol: &str, url: &str| {
        format!(
            r#"
listeners: {{ main: {{ address: "127.0.0.1:0" }} }}
process: {{ workers: 1 }}
routes: {{ all: {{ match: {{ path: /** }}, forward: {{ upstream: api }} }} }}
upstreams: {{ api: {{ endpoints: ["{url}"], protocol: {protocol} }} }}
"#
        )
    };
    let gateway = crate::gateway(&yaml("http2", &backend.url())).start();
    let mut client = Client::connect(gateway.address());
    assert_eq!(client.get("/").status, 200);
    gateway.reload(&yaml("http1", &h1.url()));
    assert_eq!(client.get("/").status, 200);
    assert_eq!((backend.requests().len(), h1.count()), (1, 1));
    backend.wait_ended(1);
}

#[test]
fn failures_of_grpc_requests_are_told_in_its_way() {
    let refusing = gatehouse_testkit::backend::tcp::Refusing::new();
    let gateway = with_upstream(&refusing.url(), "protocol: http2");
    let request = Request::post("/a.B/C", "").header("Content-Type", "application/grpc+proto");
    let response = Client::connect(gateway.address()).send(&request);
    assert_eq!((response.status, response.body.len()), (200, 0));
    assert_eq!(
        response.headers.get("content-type"),
        Some("application/grpc+proto")
    );
    assert_eq!(response.headers.get("grpc-status"), Some("14"));
    assert_eq!(
        response.headers.get("grpc-message"),
        Some("could not connect to the upstream")
    );
}
