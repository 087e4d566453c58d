//! HTTP/2 in the clear: requests, answers, bodies and trailers in both directions, many at a time.

use gatehouse_testkit::digest::{Digest, Noise};
use gatehouse_testkit::h2::frames::{Frames, HEADERS, PREFACE};
use gatehouse_testkit::h2::{Builder, Head, Http2, Stream, request};
use gatehouse_testkit::{Authority, Client, Gate, HttpBackend, Raw, Reply, TlsClient, client};

use crate::{PLAIN, gateway, in_front_of, with};

#[test]
fn a_request_becomes_one_of_http1_and_its_answer_one_of_http2() {
    let backend = HttpBackend::start();
    backend.on(
        "/a/b",
        Reply::new(201)
            .header("X-Mixed-Case", "kept")
            .header("Connection", "x-hop")
            .header("X-Hop", "1")
            .header("Keep-Alive", "timeout=5")
            .body("made"),
    );
    let gateway = with(&backend, "forwarded: { rfc7239: true }\n");
    let http2 = Http2::connect(gateway.address());
    let head = request("PUT", "/a/b?c=d")
        .header("te", "trailers")
        .header("cookie", "a=1")
        .header("cookie", "b=2");
    let mut stream = http2.send(head.body(()).unwrap(), false);
    stream.write(b"body", true);
    let answer = stream.answer();
    assert_eq!((answer.status, answer.text().as_str()), (201, "made"));
    assert_eq!(answer.header("x-mixed-case"), Some("kept"));
    assert_eq!(answer.header("content-length"), Some("4"));
    for gone in ["connection", "keep-alive", "x-hop", "transfer-encoding"] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
    let seen = backend.last();
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str(), seen.version.as_str()),
        ("PUT", "/a/b?c=d", "HTTP/1.1")
    );
    assert_eq!(seen.text(), "body");
    for (name, value) in [
        ("host", "gateway.test"),
        ("via", "2 gatehouse"),
        ("cookie", "a=1; b=2"),
        ("x-forwarded-proto", "http"),
        ("forwarded", "for=127.0.0.1;host=gateway.test;proto=http"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    assert_eq!(seen.headers.count("host") + seen.headers.count("cookie"), 2);
    let id = answer.header("x-request-id").unwrap();
    assert_eq!(seen.header("x-request-id"), Some(id));

    let line = &gateway.access_log(1)[0];
    assert_eq!(
        (line["protocol"].as_str(), line["status"].as_u64()),
        (Some("HTTP/2"), Some(201))
    );
    assert_eq!(
        (line["bytes_in"].as_u64(), line["bytes_out"].as_u64()),
        (Some(4), Some(4))
    );
    gateway.wait_metric(
        "gatehouse_protocol_requests_total",
        &[("protocol", "HTTP/2")],
        |n| n >= 1.0,
    );
}

#[test]
fn the_preface_is_recognised_however_it_arrives() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    for step in [1, 3, 14, 16, 18, 23] {
        let mut raw = Raw::connect(gateway.address());
        for part in PREFACE.chunks(step) {
            raw.send(part);
        }
        // The gateway's own settings come first.
        let head = raw.reader.read_some(9).unwrap();
        assert_eq!(head.get(3), Some(&4), "in steps of {step}: {head:?}");
    }
    // Almost a preface is nothing that HTTP/1 knows.
    for (bytes, status) in [
        (&b"PRI * HTTP/2.0\r\nX"[..], 505),
        (b"PRI / HTTP/2.0\r\n\r\n", 505),
        (b"PRI * HTTP/2.", 400),
    ] {
        let mut raw = Raw::connect(gateway.address());
        raw.send(bytes).half_close();
        assert_eq!(raw.response("PRI").status, status);
    }
    // Nor is a preface after a request.
    let mut client = Client::connect(gateway.address());
    assert_eq!(client.get("/").status, 200);
    client.raw.send(PREFACE);
    assert_eq!(client.raw.response("PRI").status, 505);
}

#[test]
fn a_listener_speaks_what_it_is_told() {
    let yaml = r#"
listeners:
  old: { address: "127.0.0.1:0", protocols: [http1] }
  new: { address: "127.0.0.1:0", protocols: [http2] }
routes: { all: { match: { path: /** }, reply: { body: ok } } }
"#;
    let gateway = gateway(yaml).start();
    let mut raw = Raw::connect(gateway.address_of("old"));
    raw.send(PREFACE);
    assert_eq!(raw.response("PRI").status, 505);
    assert_eq!(client::get(gateway.address_of("old"), "/").text(), "ok");
    assert_eq!(Http2::connect(gateway.address_of("new")).get("/").text(), "ok");
    let mut raw = Raw::connect(gateway.address_of("new"));
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let rest = raw.read_to_end();
    assert!(!rest.starts_with(b"HTTP/1.1"), "{rest:?}");
}

#[test]
fn a_hundred_requests_at_a_time_do_not_mix() {
    let gate = Gate::new();
    let wait = gate.clone();
    let backend = HttpBackend::scripted(move |call| {
        call.read_body()?;
        call.wait(&wait)?;
        let echo = [call.request().target.as_bytes(), b" ", &call.request().body].concat();
        call.reply(&Reply::ok(echo))
    });
    let gateway = in_front_of(&backend);
    let http2 = Http2::connect(gateway.address());
    let mut streams: Vec<_> = (0..100)
        .map(|i| http2.send(request("POST", &format!("/{i}")).body(()).unwrap(), false))
        .collect();
    // Piece by piece, across all of them.
    for round in 0..3 {
        for (i, stream) in streams.iter_mut().enumerate() {
            stream.write(format!("{i}-{round};").as_bytes(), round == 2);
        }
    }
    backend.wait_complete(100);
    gate.open();
    for (i, stream) in streams.into_iter().enumerate() {
        assert_eq!(stream.answer().text(), format!("/{i} {i}-0;{i}-1;{i}-2;"));
    }
}

#[test]
fn a_slow_reader_holds_up_nobody_else() {
    const LARGE: usize = 4 << 20;
    let backend = HttpBackend::start();
    backend.on("/large", Reply::ok(Noise::bytes(7, LARGE)));
    let gateway = in_front_of(&backend);
    let mut settings = Builder::new();
    settings.initial_connection_window_size(8 << 20);
    let http2 = Http2::connect_with(gateway.address(), &settings);
    let mut slow: Vec<_> = (0..3)
        .map(|_| http2.send(request("GET", "/large").body(()).unwrap(), true))
        .collect();
    let heads: Vec<_> = slow.iter_mut().map(Stream::head).collect();
    for _ in 0..50 {
        assert_eq!(http2.get("/").text(), "ok");
    }
    for (stream, head) in slow.iter_mut().zip(heads) {
        let answer = stream.rest(&head).unwrap();
        assert_eq!(Digest::of(&answer.body), Digest::of(&Noise::bytes(7, LARGE)));
    }
}

#[test]
fn an_upload_waits_for_an_upstream_that_does_not_read() {
    const BODY: usize = 24 << 20;
    let gate = Gate::new();
    let wait = gate.clone();
    let backend = HttpBackend::scripted(move |call| {
        call.wait(&wait)?;
        call.read_body()?;
        call.reply(&Reply::ok("at last"))
    });
    let gateway = with(
        &backend,
        "client: { http2: { stream_window: 64KiB, connection_window: 64KiB } }\n",
    );
    let before = gateway.peak_kib();
    let http2 = Http2::connect(gateway.address());
    let mut stream = http2.send(
        request("POST", "/")
            .header("content-length", BODY)
            .body(())
            .unwrap(),
        false,
    );
    let body = Noise::bytes(3, BODY);
    backend.wait_requests(1);
    // As long as anything moves, more may go; a round trip without is the end of what fits anywhere.
    let (mut sent, mut still) = (0, 0);
    while still < 50 && sent < BODY {
        let end = (sent + 65536).min(BODY);
        match stream.write_some(&body[sent..end]) {
            0 => {
                still += 1;
                assert_eq!(client::ask_admin(gateway.admin(), "/livez").status, 200);
            }
            n => (sent, still) = (sent + n, 0),
        }
    }
    assert!(
        sent < BODY,
        "everything was taken for an upstream that reads nothing"
    );
    if let (Some(before), Some(after)) = (before, gateway.peak_kib()) {
        assert!(after < before + 16 * 1024, "grew from {before} to {after} KiB");
    }
    gate.open();
    stream.write(&body[sent..], true);
    assert_eq!(stream.answer().text(), "at last");
    assert_eq!(backend.last().digest, Digest::of(&body));
}

#[test]
fn trailers_go_both_ways() {
    let backend = HttpBackend::start();
    backend.script("/", |call| {
        call.read_body()?;
        call.head(200, &[("Transfer-Encoding", "chunked")])?;
        call.chunk("data")?;
        call.last_chunk(&[("Grpc-Status", "0"), ("X-Sum", "abc")])
    });
    let gateway = in_front_of(&backend);
    let http2 = Http2::connect(gateway.address());
    let mut stream = http2.send(request("POST", "/").body(()).unwrap(), false);
    stream.write(b"up", false);
    stream.write_trailers(&[("x-up", "1")]);
    let answer = stream.answer();
    assert_eq!(answer.text(), "data");
    assert_eq!(answer.trailers["grpc-status"], "0");
    assert_eq!(answer.trailers["x-sum"], "abc");
    let seen = backend.last();
    assert_eq!(
        (seen.text().as_str(), seen.trailers.get("x-up")),
        ("up", Some("1"))
    );

    // What would frame or authenticate a message is no trailer.
    let mut stream = http2.send(request("POST", "/").body(()).unwrap(), false);
    stream.write(b"up", false);
    stream.write_trailers(&[("authorization", "x")]);
    assert_eq!(stream.answer().status, 400);
}

#[test]
fn answers_without_a_body_have_none() {
    let backend = HttpBackend::start();
    backend.on("/head", Reply::ok("12345"));
    backend.on("/none", Reply::new(204));
    backend.on("/same", Reply::new(304).header("ETag", "\"a\""));
    let gateway = in_front_of(&backend);
    let http2 = Http2::connect(gateway.address());
    let get = |method, path| http2.send(request(method, path).body(()).unwrap(), true).answer();
    let answer = get("HEAD", "/head");
    assert_eq!(
        (answer.status, answer.header("content-length"), answer.body.len()),
        (200, Some("5"), 0)
    );
    let answer = get("GET", "/none");
    assert_eq!(
        (answer.status, answer.header("content-length"), answer.body.len()),
        (204, None, 0)
    );
    assert_eq!(
        (get("GET", "/same").status, get("OPTIONS", "/head").status),
        (304, 200)
    );
    let answer = get("GET", "/head");
    assert_eq!(answer.text(), "12345");
}

#[test]
fn interim_answers_reach_the_client() {
    let backend = HttpBackend::start();
    backend.script("/hints", |call| {
        call.interim(103, &[("Link", "</a.css>")])?;
        call.reply(&Reply::ok("page"))
    });
    let gateway = in_front_of(&backend);
    let http2 = Http2::connect(gateway.address());
    let mut stream = http2.send(request("GET", "/hints").body(()).unwrap(), true);
    let hints = stream.interim().expect("hints");
    assert_eq!(
        (hints.status().as_u16(), &hints.headers()["link"]),
        (103, &"</a.css>".parse().unwrap())
    );
    assert_eq!(stream.answer().text(), "page");

    let head = request("POST", "/")
        .header("expect", "100-continue")
        .header("content-length", 4);
    let mut stream = http2.send(head.body(()).unwrap(), false);
    assert_eq!(stream.interim().expect("the go-ahead").status(), 100);
    stream.write(b"body", true);
    assert_eq!(stream.answer().status, 200);
    assert_eq!(backend.last().text(), "body");
}

#[test]
fn limits_have_answers_that_say_why() {
    let settings = "client: { limits: { head: 2KiB, fields: 20, target: 256B, body: 1KiB } }\n";
    let backend = HttpBackend::start();
    let gateway = with(&backend, settings);
    let http2 = Http2::connect(gateway.address());
    let get = |head: Head| http2.send(head.body(()).unwrap(), true).answer();
    let answer = get(request("GET", "/").header("x", "y".repeat(2100)));
    assert_eq!((answer.status, answer.code().as_str()), (431, "header_too_large"));
    let many = (0..20).fold(request("GET", "/"), |head, i| head.header(format!("x-{i}"), "y"));
    assert_eq!(get(many).status, 431);
    let answer = get(request("GET", &format!("/{}", "a".repeat(256))));
    assert_eq!((answer.status, answer.code().as_str()), (414, "uri_too_long"));
    let answer = http2.post("/", &[b'x'; 1025]);
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    // Without a declared length it shows only on the way.
    let mut stream = http2.send(request("POST", "/").body(()).unwrap(), false);
    stream.write(&[b'x'; 1025], false);
    assert_eq!(stream.answer().status, 413);
    assert_eq!(http2.post("/", &[b'x'; 1024]).status, 200);
    gateway.wait_metric(
        "gatehouse_limits_hit_total",
        &[("setting", "client.limits.head")],
        |n| n >= 1.0,
    );
}

#[test]
fn a_body_of_any_size_arrives_whole() {
    let backend = HttpBackend::scripted(|call| {
        call.read_body()?;
        let n = call.request().body.len();
        let (half, rest) = call.request().body.split_at(n / 2);
        let (half, rest) = (half.to_vec(), rest.to_vec());
        call.head(200, &[("Transfer-Encoding", "chunked")])?;
        for piece in [half, rest] {
            if !piece.is_empty() {
                call.chunk(piece)?;
            }
        }
        call.last_chunk(&[])
    });
    let gateway = in_front_of(&backend);
    let http2 = Http2::connect(gateway.address());
    for size in [0, 1, 255, 256, 16383, 16384, 16385, 65535, 65536, 200_000] {
        let body = Noise::bytes(size as u64, size);
        let answer = http2.post("/", &body);
        assert_eq!((answer.status, answer.body.len()), (200, size));
        assert!(answer.body == body, "{size}");
    }
}

#[test]
fn the_end_of_a_client_is_the_end_of_its_requests() {
    let backend = HttpBackend::scripted(|call| {
        call.hang();
        Ok(())
    });
    let gateway = in_front_of(&backend);
    let http2 = Http2::connect(gateway.address());
    let streams: Vec<_> = (0..5)
        .map(|_| http2.send(request("GET", "/").body(()).unwrap(), true))
        .collect();
    backend.wait_requests(5);
    drop((streams, http2));
    backend.wait_ended(5);
    gateway.wait_metric("gatehouse_requests_in_flight", &[], |n| n == 0.0);
    gateway.wait_metric("gatehouse_failures_total", &[("code", "client_gone")], |n| {
        n >= 5.0
    });
}

#[test]
fn over_tls_it_is_agreed_on_in_the_handshake() {
    let authority = Authority::new();
    let leaf = authority.server(&["localhost"]);
    let backend = HttpBackend::start();
    let gateway = gateway(&PLAIN.replace(
        r#"main: { address: "127.0.0.1:0" }"#,
        r#"main: { address: "127.0.0.1:0", tls: { certificates: [ { cert: leaf.pem, key: leaf.key } ] } }"#,
    ))
    .bind("api", backend.url())
    .file("leaf.pem", &leaf.cert)
    .file("leaf.key", &leaf.key)
    .start();
    let client = |protocols: &[&str]| TlsClient::trusting(&authority).alpn(protocols).build();
    let raw = client(&["http/1.1", "h2"]).connect(gateway.address());
    let mut frames = Frames::over(raw);
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/"),
    ];
    frames.head(1, &fields, true);
    frames.until("an answer", |f| f.kind == HEADERS && f.stream == 1);
    assert_eq!(backend.last().header("x-forwarded-proto"), Some("https"));
    // Who does not ask for it gets HTTP/1, and cannot begin with anything else.
    assert_eq!(
        client(&["http/1.1"]).client(gateway.address()).get("/").status,
        200
    );
    let mut raw = client(&[]).connect(gateway.address());
    raw.send(PREFACE);
    assert_eq!(raw.response("PRI").status, 505);
}
