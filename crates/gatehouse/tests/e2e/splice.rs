//! Long bodies of known length go from socket to socket through a pipe; nobody may notice but by the cost.

use std::io::{ErrorKind, Write};
use std::sync::Arc;

use gatehouse_testkit::digest::{Digest, Noise};
use gatehouse_testkit::wait::join;
use gatehouse_testkit::wire::Framing;
use gatehouse_testkit::{Client, Feed, Gate, Gateway, HttpBackend, Raw, Reply, Request, client};

use crate::{gateway, in_front_of, with};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A number of bytes as metrics have it.
fn bytes(n: usize) -> f64 {
    u32::try_from(n).expect("less than 4 GiB").into()
}

/// Around what is read at once, what is worth a pipe, and what a pipe holds.
const SIZES: [usize; 16] = [
    16 * KIB,
    64 * KIB - 1,
    64 * KIB,
    64 * KIB + 1,
    80 * KIB - 400,
    80 * KIB,
    80 * KIB + 1,
    128 * KIB - 1,
    128 * KIB,
    128 * KIB + 1,
    200 * KIB,
    MIB - 1,
    MIB,
    MIB + 1,
    MIB + 64 * KIB,
    3 * MIB + 7,
];

fn spliced(gateway: &Gateway) -> f64 {
    gateway.metrics().sum("gatehouse_spliced_bytes_total", &[])
}

/// Reads what is left of a body that is to end too soon; `None` if it did not.
fn cut_off(raw: &mut Raw, framing: Framing) -> Option<Vec<u8>> {
    let mut seen = Vec::new();
    let end = raw
        .reader
        .read_body(framing, &mut |piece| seen.extend_from_slice(piece));
    let error = end.err()?;
    let waited = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    (!waited).then_some(seen)
}

fn post_head(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n")
}

#[test]
fn every_length_passes_both_ways_on_one_connection() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let mut client = Client::connect(gateway.address());
    for (i, size) in SIZES.into_iter().enumerate() {
        let body = Noise::bytes(size as u64, size);
        backend
            .on("/down", Reply::ok(&body))
            .on("/up", Reply::ok("thanks"));
        let response = client.send(&Request::get("/down"));
        assert!(
            response.body == body,
            "{size} bytes came as {}",
            response.body.len()
        );
        assert_eq!(client.send(&Request::new("HEAD", "/down")).body.len(), 0);
        assert_eq!(client.send(&Request::post("/up", &body)).text(), "thanks");
        assert_eq!(backend.last().digest, Digest::of(&body), "{size} bytes up");
        let lines = gateway.access_log(3 * (i + 1));
        let [.., down, _, up] = lines.as_slice() else {
            panic!("{lines:?}")
        };
        assert_eq!(
            (&down["bytes_out"], &up["bytes_in"]),
            (&size.into(), &size.into()),
            "{down} {up}"
        );
    }
    assert_eq!(backend.connections(), 1, "the endpoint's connection was not kept");
    let longest = bytes(2 * (3 * MIB - 128 * KIB));
    assert!(
        spliced(&gateway) > longest,
        "only {} bytes were spliced",
        spliced(&gateway)
    );
}

#[test]
fn chunked_bodies_are_not_spliced() {
    let body = Noise::bytes(1, 2 * MIB);
    let backend = HttpBackend::replying(Reply::ok(&body).chunked());
    let gateway = in_front_of(&backend);
    let mut client = Client::connect(gateway.address());
    let request = Request::new("POST", "/").chunked(&[&body[..MIB], &body[MIB..]]);
    assert!(client.send(&request).body == body);
    assert_eq!(backend.last().digest, Digest::of(&body));
    assert!(spliced(&gateway) < 1.0);
}

#[test]
fn what_follows_on_the_wire_stays_another_message() {
    let body = Noise::bytes(2, 700 * KIB);
    let backend = HttpBackend::start();
    backend.on("/down", Reply::ok(&body)).on("/up", Reply::ok("up"));
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    // Sent by another thread: the gateway need not take in so much before it is read from.
    let mut all = Vec::new();
    for _ in 0..3 {
        all.extend(Request::post("/up", &body).encode());
        all.extend(Request::get("/down").encode());
    }
    let mut writer = raw.writer();
    let sending = std::thread::spawn(move || writer.write_all(&all));
    for _ in 0..3 {
        assert_eq!(raw.response("POST").text(), "up");
        assert!(raw.response("GET").body == body);
    }
    join("the requests", sending).unwrap();
    let digest = Digest::of(&body);
    assert!(
        backend
            .requests()
            .iter()
            .all(|r| r.path() == "/down" || r.digest == digest)
    );
    assert!(spliced(&gateway) > bytes(MIB));
}

#[test]
fn both_directions_at_once() {
    const SIZE: usize = 4 * MIB;
    let backend = HttpBackend::scripted(|call| {
        call.head(200, &[("Content-Length", &SIZE.to_string())])?;
        while let Some(piece) = call.read_piece()? {
            call.send(&piece)?;
        }
        Ok(())
    });
    let gateway = in_front_of(&backend);
    let body = Noise::bytes(3, SIZE);
    let mut raw = Raw::connect(gateway.address());
    for _ in 0..2 {
        raw.send(post_head("/", SIZE));
        let (mut writer, copy) = (raw.writer(), body.clone());
        let sending = std::thread::spawn(move || writer.write_all(&copy));
        assert!(raw.response("POST").body == body);
        join("the upload", sending).unwrap();
    }
    assert!(spliced(&gateway) > bytes(SIZE));
}

#[test]
fn over_a_unix_socket() {
    let body = Noise::bytes(4, 2 * MIB);
    let backend = HttpBackend::replying(Reply::ok(&body));
    let yaml = r#"
listeners: { main: { address: "unix:${dir}/gatehouse.sock" } }
routes: { all: { match: { path: /** }, forward: { upstream: api } } }
upstreams: { api: { endpoints: ["${api}"] } }
"#;
    let gateway = gateway(yaml).bind("api", backend.url()).start();
    let mut client = Client::unix(&gateway.unix_of("main"));
    for _ in 0..3 {
        assert!(client.send(&Request::post("/", &body)).body == body);
        assert_eq!(backend.last().digest, Digest::of(&body));
    }
    assert!(spliced(&gateway) > bytes(MIB));
}

#[test]
fn an_endpoint_that_sends_bit_by_bit() {
    let body = Noise::bytes(5, 300 * KIB);
    let feed = Feed::new();
    let (pieces, length) = (feed.clone(), body.len().to_string());
    let backend = HttpBackend::scripted(move |call| {
        call.head(200, &[("Content-Length", &length)])?;
        while let Some(piece) = pieces.next() {
            call.send(&piece)?;
        }
        Ok(())
    });
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/").encode());
    raw.response_head("GET");
    // Each piece must come through before the next is sent.
    for piece in body.chunks(10_000) {
        feed.push(piece);
        let mut seen = Vec::new();
        raw.reader
            .read_exactly(piece.len() as u64, &mut |bytes| seen.extend_from_slice(bytes))
            .unwrap();
        assert!(seen == piece);
    }
    feed.end();
}

#[test]
fn a_response_cut_short_is_cut_short_for_the_client() {
    let sent = Noise::bytes(6, 500 * KIB);
    let cut = Reply::ok(&sent).claim_length(4 * MIB as u64);
    let backend = HttpBackend::start();
    backend.on("/end", cut).on("/well", Reply::ok("well"));
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/end").encode());
    let (head, framing) = raw.response_head("GET");
    assert_eq!((head.status, framing), (200, Framing::Length(4 * MIB as u64)));
    assert!(cut_off(&mut raw, framing).unwrap() == sent);
    let line = gateway.access_log(1).remove(0);
    assert_eq!(
        (&line["code"], &line["bytes_out"]),
        (&"upstream_reset".into(), &sent.len().into())
    );
    assert_eq!(client::get(gateway.address(), "/well").text(), "well");
}

#[test]
fn an_endpoint_that_stalls_ends_the_response() {
    let sent = Noise::bytes(7, 500 * KIB);
    let backend = HttpBackend::replying(Reply::ok(&sent).claim_length(4 * MIB as u64).then_hang());
    let gateway = crate::with_upstream(&backend.url(), "timeouts: { idle: 200ms }");
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/").encode());
    let (_, framing) = raw.response_head("GET");
    assert!(cut_off(&mut raw, framing).unwrap() == sent);
    backend.wait_ended(1);
    assert_eq!(gateway.access_log(1)[0]["code"], "upstream_timeout");
}

#[test]
fn a_client_that_stalls_is_told_so() {
    let backend = HttpBackend::start();
    let gateway = with(&backend, "client: { timeouts: { body_idle: 200ms } }\n");
    let mut raw = Raw::connect(gateway.address());
    raw.send(post_head("/", 4 * MIB)).send(Noise::bytes(8, 500 * KIB));
    let response = raw.response("POST");
    assert_eq!(
        (response.status, response.code().as_str()),
        (408, "request_timeout")
    );
    backend.wait_ended(1);
    assert!(!backend.requests()[0].complete);
    assert!(spliced(&gateway) > 0.0);
}

/// Endless, so that only the gateway can end it.
fn endless(backend: &HttpBackend) {
    backend.script("/endless", |call| {
        call.head(200, &[("Content-Length", "1000000000000")])?;
        let piece = Noise::bytes(9, MIB);
        loop {
            call.send(&piece)?;
        }
    });
}

#[test]
fn a_client_that_does_not_read_is_left_in_time() {
    let backend = HttpBackend::start();
    endless(&backend);
    let gateway = with(&backend, "client: { timeouts: { write_idle: 200ms } }\n");
    let mut raw = Raw::connect_with_window(gateway.address(), 64 * KIB);
    raw.send(Request::get("/endless").encode());
    backend.wait_ended(1);
    assert_eq!(gateway.access_log(1)[0]["code"], "client_gone");
    assert!(spliced(&gateway) > 0.0);
}

#[test]
fn a_client_that_leaves_ends_either_direction() {
    let backend = HttpBackend::start();
    endless(&backend);
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/endless").encode());
    raw.response_head("GET");
    raw.reader.read_exactly(3 * MIB as u64, &mut |_| {}).unwrap();
    drop(raw);
    backend.wait_ended(1);
    let mut raw = Raw::connect(gateway.address());
    raw.send(post_head("/up", 4 * MIB))
        .send(Noise::bytes(10, 500 * KIB));
    backend.wait_body(1, 500 * KIB as u64);
    drop(raw);
    backend.wait_ended(2);
    assert!(!backend.requests()[1].complete);
}

#[test]
fn a_body_as_long_as_the_limit_allows_and_no_longer() {
    let backend = HttpBackend::start();
    let gateway = with(&backend, "client: { limits: { body: 512KiB } }\n");
    let body = Noise::bytes(11, 512 * KIB + 1);
    let mut client = Client::connect(gateway.address());
    assert_eq!(client.send(&Request::post("/", &body[1..])).status, 200);
    assert_eq!(backend.last().digest, Digest::of(&body[1..]));
    assert!(spliced(&gateway) > 0.0);
    let mut raw = Raw::connect(gateway.address());
    raw.send(post_head("/", body.len()));
    assert_eq!(raw.response("POST").status, 413);
    assert_eq!(backend.count(), 1);
}

#[test]
fn a_reload_and_a_drain_in_the_middle_lose_nothing() {
    let (gate, body) = (Gate::new(), Noise::bytes(12, 4 * MIB));
    let (wait, copy) = (gate.clone(), body.clone());
    let backend = HttpBackend::scripted(move |call| {
        call.head(200, &[("Content-Length", &copy.len().to_string())])?;
        let (first, rest) = copy.split_at(MIB);
        call.send(first)?;
        call.wait(&wait)?;
        call.send(rest)
    });
    let mut gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/").encode());
    let (_, framing) = raw.response_head("GET");
    let mut seen = Digest::new();
    raw.reader
        .read_exactly(MIB as u64, &mut |piece| seen.update(piece))
        .unwrap();
    gateway.reload(
        "listeners: { main: { address: \"127.0.0.1:0\" } }\nroutes: { none: { match: {}, reply: { body: other } } }\n",
    );
    gateway.signal("TERM");
    gate.open();
    let Framing::Length(length) = framing else {
        panic!("{framing:?}")
    };
    let mut rest = 0;
    raw.reader
        .read_exactly(length - MIB as u64, &mut |piece| {
            rest += piece.len();
            seen.update(piece);
        })
        .unwrap();
    assert_eq!((rest, seen.value()), (3 * MIB, Digest::of(&body)));
    raw.expect_closed();
    assert!(gateway.wait_exit().success());
}

/// More at once than there are pipes; the last ones to come are copied.
#[test]
fn many_at_once() {
    const MANY: usize = 150;
    let body = Arc::new(Noise::bytes(13, 600 * KIB));
    let backend = HttpBackend::replying(Reply::ok(&*body));
    let gateway = with(&backend, "process: { workers: 1 }\n");
    let before = gateway.peak_kib();
    let address = gateway.address();
    let mut readers: Vec<_> = (0..MANY)
        .map(|_| Raw::connect_with_window(address, 16 * KIB))
        .collect();
    for raw in &mut readers {
        raw.send(Request::get("/").encode());
    }
    backend.wait_requests(MANY);
    let uploads: Vec<_> = (0..8)
        .map(|_| {
            let body = body.clone();
            std::thread::spawn(move || client::once(address, &Request::post("/", &*body)).body == *body)
        })
        .collect();
    for upload in uploads {
        assert!(join("an upload", upload));
    }
    for raw in &mut readers {
        assert!(raw.response("GET").body == *body);
    }
    if let (Some(before), Some(after)) = (before, gateway.peak_kib()) {
        assert!(
            after < before + 48 * KIB as u64,
            "grew from {before} to {after} KiB"
        );
    }
}
