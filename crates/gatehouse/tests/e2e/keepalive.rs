//! Connections that serve one request after another, and how they end.

use gatehouse_testkit::{Client, HttpBackend, Raw, Reply, Request};

use crate::{gateway, in_front_of, with, with_upstream};

#[test]
fn many_requests_on_one_connection_use_one_upstream_connection() {
    let backend = HttpBackend::start();
    let gateway = with_upstream(&backend.url(), "");
    let mut client = Client::connect(gateway.address());
    for n in 0..50 {
        let response = client.send(&Request::post(&format!("/{n}"), n.to_string()));
        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    }
    let seen = backend.wait_complete(50);
    for (n, request) in seen.iter().enumerate() {
        assert_eq!(
            (request.target.clone(), request.text()),
            (format!("/{n}"), n.to_string())
        );
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn connection_close_is_honoured_on_either_side() {
    let backend = HttpBackend::start();
    backend.on(
        "/last",
        Reply::ok("bye").header("Connection", "close").then_close(),
    );
    let gateway = in_front_of(&backend);

    let mut client = Client::connect(gateway.address());
    let response = client.send(&Request::get("/").header("Connection", "close"));
    assert!(response.headers.lists("connection", "close"), "{response:?}");
    client.raw.expect_closed();

    // The upstream's `close` is about its own connection, not about the client's.
    let mut client = Client::connect(gateway.address());
    for _ in 0..3 {
        let response = client.get("/last");
        assert!(response.text() == "bye" && response.keeps_alive(), "{response:?}");
    }
}

#[test]
fn a_connection_ends_after_its_share_of_requests() {
    let backend = HttpBackend::start();
    let gateway = with(&backend, "client: { limits: { requests_per_connection: 3 } }\n");
    let mut client = Client::connect(gateway.address());
    let closing: Vec<bool> = (0..3).map(|_| !client.get("/").keeps_alive()).collect();
    assert_eq!(closing, [false, false, true]);
    client.raw.expect_closed();
}

#[test]
fn a_body_without_length_from_upstream_is_chunked_for_the_client() {
    let backend = HttpBackend::start();
    backend.on("/old", Reply::ok("until the end").until_close());
    let gateway = in_front_of(&backend);
    let mut client = Client::connect(gateway.address());
    for _ in 0..3 {
        let response = client.get("/old");
        assert_eq!(
            (response.text().as_str(), response.chunked),
            ("until the end", true)
        );
        assert_eq!(client.get("/").text(), "ok");
    }
}

#[test]
fn a_body_that_nobody_reads_does_not_become_a_request() {
    let gateway = gateway(
        r#"
listeners: { main: { address: "127.0.0.1:0" } }
routes: { own: { match: { path: /own }, reply: { body: own } }, evil: { match: { path: /evil }, reply: { body: evil } } }
"#,
    )
    .start();
    let mut raw = Raw::connect(gateway.address());
    let inner = "GET /evil HTTP/1.1\r\nHost: a.test\r\n\r\n";
    raw.send(Request::post("/own", inner).encode());
    assert_eq!(raw.response("POST").text(), "own");
    // The gateway either read the body to its end or closes; it never answers what is inside of it.
    let more = raw.try_send(Request::get("/own").header("Connection", "close").encode());
    let rest = String::from_utf8_lossy(&raw.read_to_end()).into_owned();
    assert!(!rest.contains("evil"), "{rest}");
    assert!(
        rest.is_empty() || (more.is_ok() && rest.ends_with("own")),
        "{rest}"
    );
}

#[test]
fn responses_to_head_and_statuses_without_body_leave_the_connection_usable() {
    let backend = HttpBackend::start();
    backend
        .on("/204", Reply::new(204))
        .on("/304", Reply::new(304).header("Etag", "\"x\""));
    let gateway = in_front_of(&backend);
    let mut client = Client::connect(gateway.address());
    for _ in 0..3 {
        let head = client.send(&Request::new("HEAD", "/"));
        assert_eq!(
            (head.status, head.header("content-length"), head.body.len()),
            (200, Some("2"), 0)
        );
        assert_eq!(client.get("/204").status, 204);
        let not_modified = client.send(&Request::get("/304").header("If-None-Match", "\"x\""));
        assert_eq!(
            (not_modified.status, not_modified.header("etag")),
            (304, Some("\"x\""))
        );
        assert_eq!(client.get("/").text(), "ok");
    }
    assert_eq!(client.get("/204").header("content-length"), None);
}

#[test]
fn http_1_0_connections_end_unless_asked_to_stay() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
    assert_eq!(raw.response("GET").text(), "ok");
    raw.expect_closed();

    let mut raw = Raw::connect(gateway.address());
    for _ in 0..3 {
        raw.send("GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n");
        let response = raw.response("GET");
        assert!(response.headers.lists("connection", "keep-alive"), "{response:?}");
    }
}

#[test]
fn a_failure_of_the_upstream_does_not_cost_the_client_its_connection() {
    let backend = HttpBackend::start();
    backend.on("/bad", Reply::raw("nonsense\r\n\r\n"));
    let gateway = in_front_of(&backend);
    let mut client = Client::connect(gateway.address());
    for _ in 0..3 {
        assert_eq!(client.get("/bad").status, 502);
        assert_eq!(client.get("/").status, 200);
    }
}

/// RFC 9112 2.2: some clients send an empty line behind a body; it is no beginning of a request that never came.
#[test]
fn a_stray_line_end_before_an_idle_close_is_answered_by_nothing() {
    let backend = HttpBackend::start();
    let gateway = with(
        &backend,
        "client: { timeouts: { keep_alive: 200ms, head: 200ms } }\n",
    );
    for stray in ["\r\n", "\r"] {
        let mut raw = Raw::connect(gateway.address());
        raw.send(Request::post("/", "body").encode());
        assert_eq!(raw.response("POST").status, 200);
        raw.send(stray);
        raw.expect_closed();
    }
    assert_eq!(backend.count(), 2);
}

/// An HTTP/1.0 client takes the end of the connection for the end of the body: a plain end would pass off a part as
/// the whole.
#[test]
fn a_body_cut_short_ends_with_a_reset_where_its_end_is_the_end_of_the_connection() {
    let backend = HttpBackend::scripted(|call| {
        call.head(200, &[("Transfer-Encoding", "chunked")])?;
        call.chunk("a part")?;
        call.reset();
        Ok(())
    });
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/").version("HTTP/1.0").encode());
    let error = std::io::copy(&mut raw.tcp(), &mut std::io::sink()).expect_err("not a plain end");
    assert!(gatehouse_testkit::raw::is_reset(&error), "{error}");
}
