//! Bodies of every framing and size, both ways, byte for byte and in bounded memory.

use std::io::Write;

use gatehouse_testkit::client::chunk;
use gatehouse_testkit::digest::{Digest, Noise};
use gatehouse_testkit::wait::join;
use gatehouse_testkit::wire::Framing;
use gatehouse_testkit::{Client, Gate, HttpBackend, Raw, Reply, Request};

use crate::{in_front_of, with};

const MIB: usize = 1 << 20;

#[test]
fn lengths_and_chunks_pass_both_ways() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let mut client = Client::connect(gateway.address());
    for size in [0, 1, 2, 4095, 4096, 4097, 16_383, 65_535, 65_536, 65_537, 300_000] {
        let body = Noise::bytes(size as u64, size);
        backend
            .on("/length", Reply::ok(&body))
            .on("/chunked", Reply::ok(&body).chunked());
        let pieces: Vec<&[u8]> = body.chunks(1000).collect();
        for (target, request) in [
            ("/length", Request::post("/length", &body)),
            ("/chunked", Request::new("POST", "/chunked").chunked(&pieces)),
        ] {
            let response = client.send(&request);
            assert!(
                response.body == body,
                "{target}, {size} bytes came back as {}",
                response.body.len()
            );
            let seen = backend.last();
            assert_eq!(seen.digest, Digest::of(&body), "{target}, {size}");
            assert_eq!(seen.headers.has("transfer-encoding"), target == "/chunked");
        }
    }
}

#[test]
fn twenty_mebibytes_in_either_direction() {
    let body = Noise::bytes(1, 20 * MIB);
    let backend = HttpBackend::start();
    backend
        .on("/length", Reply::ok(&body))
        .on("/chunked", Reply::ok(&body).chunked());
    let gateway = in_front_of(&backend);
    let mut client = Client::connect(gateway.address());
    for target in ["/length", "/chunked"] {
        assert!(client.get(target).body == body, "{target}");
    }
    backend.otherwise(Reply::ok("thanks"));
    let pieces: Vec<&[u8]> = body.chunks(100_000).collect();
    for request in [
        Request::post("/up", &body),
        Request::new("POST", "/up").chunked(&pieces),
    ] {
        assert_eq!(client.send(&request).text(), "thanks");
        assert_eq!(backend.last().digest, Digest::of(&body));
    }
}

#[test]
fn trailers_pass_both_ways() {
    const WHOLE: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                         3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n";
    let backend = HttpBackend::start();
    let gate = Gate::new();
    let wait = gate.clone();
    // All at once, and the end only when the client has what comes before it.
    backend.script("/once", |call| {
        call.read_body()?;
        call.send(WHOLE)
    });
    backend.script("/late", move |call| {
        call.read_body()?;
        let (first, last) = WHOLE.split_at(WHOLE.len() - 14);
        call.send(first)?;
        call.wait(&wait)?;
        call.send(last)
    });
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    for target in ["/once", "/late"] {
        let request = Request::new("POST", target)
            .header("TE", "trailers")
            .header("Connection", "TE");
        raw.send(request.chunked(&[b"abc"]).trailer("X-Up", "2").encode());
        let (_, framing) = raw.response_head("POST");
        assert_eq!(framing, Framing::Chunked, "{target}: trailers need chunks");
        assert_eq!(raw.chunk().unwrap(), b"abc");
        gate.open();
        assert_eq!(raw.chunk(), None);
        let trailers = raw.reader.read_fields(&mut Vec::new()).unwrap();
        assert_eq!(trailers.get("x-sum"), Some("1"), "{target}");
        assert_eq!(backend.last().trailers.get("x-up"), Some("2"), "{target}");
    }
}

/// RFC 9110 6.5.1: who did not say that it takes trailers does not get any.
#[test]
fn trailers_are_left_out_for_clients_that_did_not_ask() {
    let backend = HttpBackend::replying(Reply::ok("abc").trailer("X-Sum", "1"));
    let gateway = in_front_of(&backend);
    let mut client = Client::connect(gateway.address());
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!((response.text().as_str(), response.trailers.0.len()), ("abc", 0));
    }
}

#[test]
fn forbidden_trailers_of_the_upstream_do_not_reach_the_client() {
    let backend = HttpBackend::start();
    for name in [
        "Content-Length",
        "Transfer-Encoding",
        "Set-Cookie",
        "Authorization",
        "Host",
    ] {
        let path = format!("/{name}");
        backend.on(&path, Reply::ok("abc").trailer(name, "1"));
        let gateway = in_front_of(&backend);
        let mut raw = Raw::connect(gateway.address());
        raw.send(Request::get(&path).encode());
        // Left out, or the response broken off: the body is sent as it comes, so its end is too late for a 502.
        if let Ok(response) = raw.reader.read_response("GET") {
            assert!(
                response.status == 502 || !response.trailers.has(name),
                "{name}: {response:?}"
            );
        }
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_body_ends_the_request_upstream() {
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    for (head, end) in [
        ("Content-Length: 100", false),
        ("Transfer-Encoding: chunked", true),
    ] {
        let ended = backend.connections();
        let mut raw = Raw::connect(gateway.address());
        raw.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\n{head}\r\n\r\n"));
        raw.send(if end { chunk(b"some") } else { b"some".to_vec() });
        backend.wait_requests(ended + 1);
        backend.wait_body(ended, 4);
        if end {
            raw.half_close();
        } else {
            drop(raw);
        }
        backend.wait_ended(ended + 1);
        assert!(
            !backend.requests()[ended].complete,
            "a request cut short must not look complete"
        );
    }
}

#[test]
fn a_client_that_leaves_ends_the_response_upstream() {
    let backend = HttpBackend::scripted(|call| {
        call.head(200, &[("Transfer-Encoding", "chunked")])?;
        let piece = Noise::bytes(3, 64 * 1024);
        // Ends with an error when the gateway goes away; a gateway that reads on would keep it here for ever.
        loop {
            call.chunk(&piece)?;
        }
    });
    let gateway = in_front_of(&backend);
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/").encode());
    raw.response_head("GET");
    assert!(raw.chunk().is_some());
    drop(raw);
    backend.wait_ended(1);
}

/// Large enough that a gateway which kept the body would be seen at once.
const HUGE: usize = 64 * MIB;

/// What the gateway may grow by while such a body goes through.
const GROWTH_KIB: u64 = 24 * 1024;

#[test]
fn memory_is_bounded_while_a_huge_body_comes_down() {
    let backend = HttpBackend::scripted(|call| {
        call.head(200, &[("Content-Length", &HUGE.to_string())])?;
        let mut noise = Noise::new(5);
        let mut piece = vec![0; MIB];
        for _ in 0..HUGE / MIB {
            noise.fill(&mut piece);
            call.send(&piece)?;
        }
        Ok(())
    });
    let gateway = in_front_of(&backend);
    let Some(before) = gateway.peak_kib() else { return };
    let mut raw = Raw::connect(gateway.address());
    raw.send(Request::get("/").encode());
    let (_, framing) = raw.response_head("GET");
    let mut seen = Digest::new();
    raw.reader
        .read_body(framing, &mut |piece| seen.update(piece))
        .unwrap();
    assert_eq!(seen.value(), huge_digest(5));
    let after = gateway.peak_kib().unwrap();
    assert!(after < before + GROWTH_KIB, "grew from {before} to {after} KiB");
}

#[test]
fn memory_is_bounded_while_a_huge_body_goes_up() {
    let backend = HttpBackend::start();
    let gateway = with(&backend, "client: { limits: { body: 1GiB } }\n");
    let Some(before) = gateway.peak_kib() else { return };
    let mut raw = Raw::connect(gateway.address());
    raw.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut writer = raw.writer();
    let sending = std::thread::spawn(move || {
        let mut noise = Noise::new(6);
        let mut piece = vec![0; MIB];
        for _ in 0..HUGE / MIB {
            noise.fill(&mut piece);
            writer.write_all(&chunk(&piece))?;
        }
        writer.write_all(b"0\r\n\r\n")
    });
    // Reading a quarter of a gigabyte may take longer than one wait allows on a loaded machine; each read has its own.
    while !sending.is_finished() {
        let so_far = backend.requests().first().map_or(0, |r| r.digest.0);
        gatehouse_testkit::wait::until("the body to advance", || {
            sending.is_finished() || backend.requests().first().map_or(0, |r| r.digest.0) > so_far
        });
    }
    join("the upload", sending).unwrap();
    assert_eq!(raw.response("POST").status, 200);
    assert_eq!(backend.last().digest, huge_digest(6));
    let after = gateway.peak_kib().unwrap();
    assert!(after < before + GROWTH_KIB, "grew from {before} to {after} KiB");
}

fn huge_digest(seed: u64) -> (u64, u64) {
    let mut noise = Noise::new(seed);
    let mut piece = vec![0; MIB];
    let mut digest = Digest::new();
    for _ in 0..HUGE / MIB {
        noise.fill(&mut piece);
        digest.update(&piece);
    }
    digest.value()
}
