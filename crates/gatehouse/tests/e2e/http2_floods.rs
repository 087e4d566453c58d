//! What a client of HTTP/2 may not do too often, and that others do not notice it.

use gatehouse_testkit::digest::Noise;
use gatehouse_testkit::h2::Http2;
use gatehouse_testkit::h2::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frames, GOAWAY, HEADERS, PING, PREFACE,
    PRIORITY, REFUSED_STREAM, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, get,
};
use gatehouse_testkit::wait::until;
use gatehouse_testkit::{Gateway, HttpBackend, Raw};

use crate::{in_front_of, with};

/// Small bounds, so that the floods are short.
const BOUNDS: &str = "client: { http2: { max_concurrent_streams: 10, max_resets: 20, max_control_frames: 100, max_malformed: 20 } }\n";

/// Sends bytes again and again until the gateway says to calm down.
#[track_caller]
fn flood(gateway: &Gateway, first: &[u8], again: impl Fn(u32) -> Vec<u8>) {
    let mut frames = Frames::connect(gateway.address());
    let _ = frames.raw.try_send(first);
    let mut writer = frames.raw.writer();
    let bytes: Vec<Vec<u8>> = (0..400).map(again).collect();
    let sending = std::thread::spawn(move || {
        let _ = bytes
            .iter()
            .try_for_each(|bytes| std::io::Write::write_all(&mut writer, bytes));
    });
    assert_eq!(frames.until_goaway(), ENHANCE_YOUR_CALM);
    while frames.read().is_some() {}
    drop(frames);
    gatehouse_testkit::wait::join("the flood", sending);
}

#[track_caller]
fn counted(gateway: &Gateway, reason: &str, setting: &str) {
    let family = "gatehouse_http2_connections_closed_total";
    gateway.wait_metric(family, &[("reason", reason)], |n| n >= 1.0);
    gateway.wait_metric("gatehouse_limits_hit_total", &[("setting", setting)], |n| {
        n >= 1.0
    });
}

#[test]
fn floods_of_frames_end_the_connection() {
    let backend = HttpBackend::start();
    let gateway = with(&backend, BOUNDS);
    let other = Http2::connect(gateway.address());
    let open = frame(HEADERS, END_HEADERS, 1, &block(&get("/")));
    flood(&gateway, b"", |_| frame(PING, 0, 0, &[1; 8]));
    flood(&gateway, b"", |_| frame(PING, 1, 0, &[1; 8]));
    flood(&gateway, b"", |_| frame(SETTINGS, 0, 0, &[]));
    flood(&gateway, b"", |_| {
        frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])
    });
    flood(&gateway, b"", |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]));
    flood(&gateway, b"", |_| frame(200, 0, 0, b"unknown"));
    flood(&gateway, b"", |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
    flood(&gateway, &open, |_| frame(DATA, 0, 1, b""));
    counted(&gateway, "control_frames", "client.http2.max_control_frames");
    assert_eq!(other.get("/").text(), "ok");
}

#[test]
fn requests_taken_back_too_often_end_the_connection() {
    let backend = HttpBackend::start();
    let gateway = with(&backend, BOUNDS);
    let other = Http2::connect(gateway.address());
    flood(&gateway, b"", |i| {
        let stream = 1 + 2 * i;
        let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&get("/")));
        [head, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    });
    counted(&gateway, "resets", "client.http2.max_resets");
    // Most of it never reached the upstream.
    assert!(backend.count() <= 25, "{}", backend.count());
    assert_eq!(other.get("/").text(), "ok");
}

#[test]
fn malformed_requests_too_often_end_the_connection() {
    let backend = HttpBackend::start();
    let gateway = with(&backend, BOUNDS);
    // What HTTP/2 forbids, and what HTTP does.
    for field in [("connection", "close"), ("host", "other.test")] {
        let head = block(&[get("/"), vec![field]].concat());
        flood(&gateway, b"", |i| {
            frame(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * i, &head)
        });
    }
    counted(&gateway, "malformed", "client.http2.max_malformed");
    assert_eq!(backend.count(), 0);
}

#[test]
fn endless_heads_end_the_connection() {
    let backend = HttpBackend::start();
    let gateway = with(&backend, BOUNDS);
    let begin = frame(HEADERS, END_STREAM, 1, &block(&get("/")));
    // Empty pieces, and pieces full of fields.
    flood(&gateway, &begin, |_| frame(CONTINUATION, 0, 1, b""));
    let fields = block(&[("x", "y".repeat(1000).as_str())]);
    flood(&gateway, &begin, |_| frame(CONTINUATION, 0, 1, &fields));
    let large = block(&[("x", "y".repeat(15_000).as_str())]);
    flood(&gateway, &begin, |_| frame(CONTINUATION, 0, 1, &large));
    assert_eq!(backend.count(), 0);
}

#[test]
fn requests_beyond_the_number_at_a_time_are_refused() {
    let backend = HttpBackend::scripted(|call| {
        call.hang();
        Ok(())
    });
    let gateway = with(&backend, BOUNDS);
    let mut frames = Frames::connect(gateway.address());
    // Until the client has seen the bound it may be above it (RFC 9113 5.1.2).
    frames.until("settings", |f| f.kind == SETTINGS && f.flags == 0);
    frames.send(SETTINGS, 1, 0, &[]).sync();
    for i in 0..11 {
        frames.head(1 + 2 * i, &get("/"), true);
    }
    assert_eq!(frames.until_reset(21), REFUSED_STREAM);
    backend.wait_requests(10);
    assert_eq!(backend.count(), 10);
    gateway.wait_metric(
        "gatehouse_limits_hit_total",
        &[("setting", "client.http2.max_concurrent_streams")],
        |n| n >= 1.0,
    );
    // A place that gets free can be taken again.
    frames.send(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    frames.sync();
    frames.head(23, &get("/"), true);
    backend.wait_requests(11);
}

#[test]
fn usual_traffic_is_no_flood() {
    let backend = HttpBackend::start();
    backend.on("/large", gatehouse_testkit::Reply::ok(vec![b'x'; 1 << 20]));
    let gateway = with(&backend, BOUNDS);
    let http2 = Http2::connect(gateway.address());
    // Each answer needs windows; together far more than the bound.
    for _ in 0..20 {
        assert_eq!(http2.get("/large").body.len(), 1 << 20);
    }
    for _ in 0..200 {
        assert_eq!(http2.get("/").status, 200);
    }
}

/// The bounds are on what comes in a while, not on the life of a connection.
#[test]
fn empty_pieces_are_explained_by_requests() {
    let backend = HttpBackend::start();
    let gateway = with(&backend, BOUNDS);
    let mut frames = Frames::connect(gateway.address());
    for i in 0..150 {
        let stream = 1 + 2 * i;
        frames.head(stream, &get("/"), false);
        frames
            .send(DATA, 0, stream, b"")
            .send(DATA, END_STREAM, stream, b"");
        frames.until("the answer", |f| f.stream == stream && f.flags & END_STREAM != 0);
    }
    assert_eq!(backend.count(), 150);
}

/// A small random number generator, the same for the same seed.
struct Dice(Noise);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % n as u64).unwrap()
    }
}

/// Requests of some sorts, as bytes.
fn exchange(dice: &mut Dice) -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    out.extend(frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]));
    for i in 0..=dice.below(4) {
        let stream = u32::try_from(1 + 2 * i).unwrap();
        match dice.below(4) {
            0 => out.extend(frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                stream,
                &block(&get("/")),
            )),
            1 => {
                let mut fields = get("/post");
                fields[0].1 = "POST";
                out.extend(frame(HEADERS, END_HEADERS, stream, &block(&fields)));
                out.extend(frame(DATA, 0, stream, b"some data"));
                out.extend(frame(DATA, END_STREAM, stream, b""));
            }
            2 => {
                let head = block(&get("/in/pieces"));
                let (now, then) = head.split_at(dice.below(head.len()));
                out.extend(frame(HEADERS, END_STREAM, stream, now));
                out.extend(frame(CONTINUATION, END_HEADERS, stream, then));
            }
            _ => {
                out.extend(frame(HEADERS, END_HEADERS, stream, &block(&get("/reset"))));
                out.extend(frame(WINDOW_UPDATE, 0, stream, &[0, 0, 1, 0]));
                out.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
            }
        }
    }
    out.extend(frame(PING, 0, 0, b"the end."));
    out.extend(frame(GOAWAY, 0, 0, &[0; 8]));
    out
}

/// Changes some bytes behind the preface.
fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>) {
    for _ in 0..=dice.below(6) {
        let room = bytes.len() - PREFACE.len();
        let at = PREFACE.len() + dice.below(room.max(1)).min(room.saturating_sub(1));
        match dice.below(5) {
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes[at] = u8::try_from(dice.below(256)).unwrap(),
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, u8::try_from(dice.below(256)).unwrap()),
            _ => {
                let run = bytes[at..]
                    .iter()
                    .take(dice.below(40))
                    .copied()
                    .collect::<Vec<_>>();
                let to = PREFACE.len() + dice.below(room.max(1)).min(room.saturating_sub(1));
                bytes.splice(to..to, run);
            }
        }
        if bytes.len() <= PREFACE.len() + 1 {
            return;
        }
    }
}

/// `GATEHOUSE_MUTATIONS` sets how many connections there are, `GATEHOUSE_SEED` which ones.
#[test]
fn mutated_frames_crash_nothing_and_harm_nobody() {
    let number = |name: &str, usual: u64| std::env::var(name).map_or(usual, |n| n.parse().unwrap());
    let (count, seed) = (number("GATEHOUSE_MUTATIONS", 2000), number("GATEHOUSE_SEED", 1));
    let backend = HttpBackend::start();
    let gateway = in_front_of(&backend);
    let other = Http2::connect(gateway.address());
    assert_eq!(other.get("/").text(), "ok");
    let before = gateway.resident_kib();
    let mut dice = Dice(Noise::new(seed));
    for i in 0..count {
        let mut bytes = exchange(&mut dice);
        mutate(&mut dice, &mut bytes);
        let mut raw = Raw::connect(gateway.address());
        let _ = raw.try_send(&bytes);
        // Some leave at once, some read on until the gateway ends it.
        if dice.below(4) > 0 {
            raw.half_close();
            raw.read_to_end();
        }
        if i % 100 == 0 {
            assert_eq!(other.get("/").text(), "ok", "after {i} of seed {seed}");
        }
    }
    until("the connections to end", || {
        gateway.metrics().sum("gatehouse_connections_active", &[]) <= 1.0
    });
    assert_eq!(other.get("/").text(), "ok");
    if let (Some(before), Some(after)) = (before, gateway.resident_kib()) {
        assert!(after < before + 32 * 1024, "grew from {before} to {after} KiB");
    }
    assert!(!gateway.log().contains("panic"), "{}", gateway.log());
}
