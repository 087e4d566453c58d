//! A side that does not read makes the other side wait; the gateway keeps little in between.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gatehouse_testkit::digest::{Digest, Noise};
use gatehouse_testkit::wait::join;
use gatehouse_testkit::{Gate, HttpBackend, Raw, Reply, Request};

use crate::{in_front_of, with};

const MIB: usize = 1 << 20;
const BODY: usize = 64 * MIB;

/// What may be under way: system buffers on two connections, far more than they hold, and far less than the body.
const UNDER_WAY: u64 = 40 * MIB as u64;

/// What the gateway may grow by meanwhile.
const GROWTH_KIB: u64 = 24 * 1024;

/// Writes the body until the reader makes it wait, tells how much went, and goes on until all is sent.
fn write_noise(to: &mut impl Write, seed: u64, written: &AtomicU64, stuck: &Gate) -> std::io::Result<()> {
    let mut noise = Noise::new(seed);
    let mut piece = vec![0; MIB];
    for _ in 0..BODY / MIB {
        noise.fill(&mut piece);
        let mut rest = piece.as_slice();
        while !rest.is_empty() {
            match to.write(rest) {
                Ok(n) => {
                    written.fetch_add(n as u64, Ordering::SeqCst);
                    rest = &rest[n..];
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => stuck.open(),
                Err(e) => return Err(e),
            }
        }
    }
    stuck.open();
    Ok(())
}

fn digest(seed: u64) -> (u64, u64) {
    let mut noise = Noise::new(seed);
    let (mut piece, mut digest) = (vec![0; MIB], Digest::new());
    for _ in 0..BODY / MIB {
        noise.fill(&mut piece);
        digest.update(&piece);
    }
    digest.value()
}

#[test]
fn a_client_that_does_not_read_makes_the_upstream_wait() {
    let (written, stuck) = (Arc::new(AtomicU64::new(0)), Gate::new());
    let (count, tell) = (written.clone(), stuck.clone());
    let backend = HttpBackend::scripted(move |call| {
        call.head(200, &[("Content-Length", &BODY.to_string())])?;
        let mut socket = call.socket()?;
        // A write that takes this long is one that waits for the gateway.
        socket.set_write_timeout(Some(Duration::from_millis(500)))?;
        write_noise(&mut socket, 1, &count, &tell)
    });
    let gateway = in_front_of(&backend);
    let before = gateway.peak_kib();
    let mut raw = Raw::connect_with_window(gateway.address(), 64 * 1024);
    raw.send(Request::get("/").encode());
    assert!(stuck.wait(), "the upstream never had to wait");
    let under_way = written.load(Ordering::SeqCst);
    assert!(
        under_way < UNDER_WAY,
        "{under_way} bytes taken for a client that reads nothing"
    );
    if let (Some(before), Some(after)) = (before, gateway.peak_kib()) {
        assert!(after < before + GROWTH_KIB, "grew from {before} to {after} KiB");
    }
    // And nothing was lost by waiting.
    let (_, framing) = raw.response_head("GET");
    let mut seen = Digest::new();
    raw.reader
        .read_body(framing, &mut |piece| seen.update(piece))
        .unwrap();
    assert_eq!(seen.value(), digest(1));
}

#[test]
fn an_upstream_that_does_not_read_makes_the_client_wait() {
    let gate = Gate::new();
    let wait = gate.clone();
    let backend = HttpBackend::scripted(move |call| {
        call.wait(&wait)?;
        call.read_body()?;
        call.reply(&Reply::ok("at last"))
    });
    let gateway = with(&backend, "client: { limits: { body: 1GiB } }\n");
    let before = gateway.peak_kib();
    let mut raw = Raw::connect(gateway.address());
    raw.send(format!(
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {BODY}\r\n\r\n"
    ));
    let (written, stuck) = (Arc::new(AtomicU64::new(0)), Gate::new());
    let (count, tell) = (written.clone(), stuck.clone());
    let mut writer = raw.tcp();
    writer
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let sending = std::thread::spawn(move || write_noise(&mut writer, 2, &count, &tell));
    assert!(stuck.wait(), "the client never had to wait");
    let under_way = written.load(Ordering::SeqCst);
    assert!(
        under_way < UNDER_WAY,
        "{under_way} bytes taken for an upstream that reads nothing"
    );
    if let (Some(before), Some(after)) = (before, gateway.peak_kib()) {
        assert!(after < before + GROWTH_KIB, "grew from {before} to {after} KiB");
    }
    gate.open();
    while !sending.is_finished() {
        let so_far = written.load(Ordering::SeqCst);
        gatehouse_testkit::wait::until("the upload to go on", || {
            sending.is_finished() || written.load(Ordering::SeqCst) > so_far
        });
    }
    join("the upload", sending).unwrap();
    assert_eq!(raw.response("POST").text(), "at last");
    assert_eq!(backend.last().digest, digest(2));
}
