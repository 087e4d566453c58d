#![allow(
    clippy::too_many_lines,
    clippy::large_stack_arrays,
    reason = "tables of cases, and pieces as large as frames"
)]

use super::*;
use crate::Reason;
use crate::frame::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADER, HEADERS, Header, PADDED, PING, PREFACE,
    PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};
use gatehouse_http1::{Known, RequestHead};

mod bounds;

const WHOLE: u8 = END_HEADERS | END_STREAM;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::header(&mut out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
    out
}

/// Fields as literals that are neither indexed nor encoded.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            out.push(u8::try_from(text.len()).unwrap());
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "a"),
    (":path", "/"),
];

fn get() -> Vec<u8> {
    block(&GET)
}

/// A connection as its client sees it.
struct Peer {
    connection: Connection<()>,
    head: RequestHead,
    now: Instant,
}

impl Peer {
    fn new(settings: Settings) -> Self {
        let now = Instant::now();
        let mut peer = Self {
            connection: Connection::new(settings, now),
            head: RequestHead::new(),
            now,
        };
        peer.give(PREFACE).unwrap();
        peer.give(&frame(SETTINGS, 0, 0, &[])).unwrap();
        peer.sent();
        peer
    }

    fn usual() -> Self {
        Self::new(Settings::default())
    }

    /// Gives it whole frames; the last event.
    fn give(&mut self, mut bytes: &[u8]) -> Result<Event, Breach> {
        let mut last = Event::Nothing;
        while !bytes.is_empty() {
            match self.connection.receive(bytes, self.now, &mut self.head)? {
                Step::Took(n, event) => (bytes, last) = (&bytes[n..], event),
                Step::Needs(n) => panic!("{n} bytes, not {}", bytes.len()),
            }
        }
        Ok(last)
    }

    #[track_caller]
    fn request(&mut self, stream: u32, flags: u8) -> Opening {
        match self.give(&frame(HEADERS, flags, stream, &get())) {
            Ok(Event::Request(opening)) => opening,
            other => panic!("{other:?}"),
        }
    }

    /// The frames sent since this was last asked: type, flags, stream, payload.
    fn sent(&mut self) -> Vec<(u8, u8, u32, Vec<u8>)> {
        let bytes = self.connection.unsent().to_vec();
        self.connection.sent(bytes.len());
        let (mut rest, mut frames) = (&bytes[..], Vec::new());
        while let Some(found) = Header::read(rest) {
            let payload = rest[HEADER..HEADER + found.length].to_vec();
            frames.push((found.kind, found.flags, found.stream, payload));
            rest = &rest[HEADER + found.length..];
        }
        assert!(rest.is_empty());
        frames
    }

    #[track_caller]
    fn was_reset(&mut self, stream: u32, reason: Reason) {
        let expected = (RST_STREAM, 0, stream, reason.0.to_be_bytes().to_vec());
        assert!(self.sent().contains(&expected), "{reason}");
    }
}

#[test]
fn a_request_is_answered_in_one_run_of_bytes() {
    let mut peer = Peer::usual();
    let opening = peer.request(1, WHOLE);
    assert!(opening.is_whole && opening.head.is_ok() && peer.head.path() == "/");
    assert_eq!(peer.head.headers.get(Known::Host), Some(&b"a"[..]));
    assert!(
        peer.connection
            .head(opening.key, 200, false, |fields| fields.add_length(2))
    );
    assert!(matches!(peer.connection.room(opening.key), Room::Bytes(60_000..)));
    assert!(peer.connection.send(opening.key, b"ok") && peer.connection.finish(opening.key));
    peer.connection.release(opening.key);
    let sent = peer.sent();
    assert_eq!(sent[0], (HEADERS, END_HEADERS, 1, vec![0x88, 0x0f, 13, 1, b'2']));
    assert_eq!(sent[1..], [(DATA, END_STREAM, 1, b"ok".to_vec())]);
    // What is out already is ended by a frame of its own.
    let opening = peer.request(3, WHOLE);
    peer.connection.head(opening.key, 200, false, |_| {});
    peer.connection.send(opening.key, b"ok");
    peer.sent();
    peer.connection.finish(opening.key);
    assert_eq!(peer.sent(), [(DATA, END_STREAM, 3, vec![])]);
}

#[test]
fn heads_too_long_for_a_frame_go_on_in_others() {
    let mut peer = Peer::usual();
    let opening = peer.request(1, WHOLE);
    let long = vec![b'x'; 40_000];
    peer.connection.head(opening.key, 200, true, |fields| {
        fields.add_known(Known::Server, &long);
    });
    let sent = peer.sent();
    let kinds: Vec<_> = sent.iter().map(|(kind, flags, ..)| (*kind, *flags)).collect();
    assert_eq!(
        kinds,
        [
            (HEADERS, END_STREAM),
            (CONTINUATION, 0),
            (CONTINUATION, END_HEADERS)
        ]
    );
    let block: Vec<u8> = sent.into_iter().flat_map(|frame| frame.3).collect();
    let mut values = Vec::new();
    Decoder::default()
        .decode(&block, |_, value| values.push(value.to_vec()))
        .unwrap();
    assert_eq!(values, [b"200".to_vec(), long]);
}

#[test]
fn breaches_are_those_of_the_protocol() {
    let open = frame(HEADERS, END_HEADERS, 1, &get());
    let whole = frame(HEADERS, WHOLE, 1, &get());
    let with = |first: &[u8], then: Vec<u8>| [first, &then].concat();
    let window = |n: u32| n.to_be_bytes();
    let setting = |name: u8, value: u32| [&[0, name], &value.to_be_bytes()[..]].concat();
    for (what, bytes, breach) in [
        (
            "a ping of seven bytes",
            frame(PING, 0, 0, &[0; 7]),
            Breach::FrameSize,
        ),
        (
            "settings of seven bytes",
            frame(SETTINGS, 0, 0, &[0; 7]),
            Breach::FrameSize,
        ),
        (
            "an echo of settings with some",
            frame(SETTINGS, ACK, 0, &[0; 6]),
            Breach::FrameSize,
        ),
        (
            "a reset of five bytes",
            with(&open, frame(RST_STREAM, 0, 1, &[0; 5])),
            Breach::FrameSize,
        ),
        (
            "a window of three bytes",
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
            Breach::FrameSize,
        ),
        (
            "a priority of four bytes",
            frame(PRIORITY, 0, 1, &[0; 4]),
            Breach::FrameSize,
        ),
        ("a short goaway", frame(GOAWAY, 0, 0, &[0; 7]), Breach::FrameSize),
        (
            "a frame that is too long",
            frame(DATA, 0, 1, &[0; 16_385]),
            Breach::FrameSize,
        ),
        ("data on no stream", frame(DATA, 0, 0, b"x"), Breach::Protocol),
        (
            "data on an idle stream",
            frame(DATA, 0, 1, b"x"),
            Breach::Protocol,
        ),
        (
            "a reset of an idle stream",
            frame(RST_STREAM, 0, 1, &[0; 4]),
            Breach::Protocol,
        ),
        (
            "a window of an idle stream",
            frame(WINDOW_UPDATE, 0, 1, &window(1)),
            Breach::Protocol,
        ),
        (
            "a head on an even stream",
            frame(HEADERS, WHOLE, 2, &get()),
            Breach::Protocol,
        ),
        ("a ping on a stream", frame(PING, 0, 1, &[0; 8]), Breach::Protocol),
        (
            "settings on a stream",
            frame(SETTINGS, 0, 1, &[]),
            Breach::Protocol,
        ),
        (
            "a promise",
            frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2]),
            Breach::Protocol,
        ),
        (
            "a continuation of nothing",
            frame(CONTINUATION, 4, 1, b""),
            Breach::Protocol,
        ),
        (
            "too much padding",
            with(&open, frame(DATA, PADDED, 1, &[1])),
            Breach::Protocol,
        ),
        (
            "no window at all",
            frame(WINDOW_UPDATE, 0, 0, &window(0)),
            Breach::Protocol,
        ),
        (
            "too large a window",
            frame(WINDOW_UPDATE, 0, 0, &window(0x7fff_ffff)),
            Breach::FlowControl,
        ),
        (
            "too large a first window",
            frame(SETTINGS, 0, 0, &setting(4, 1 << 31)),
            Breach::FlowControl,
        ),
        (
            "a push of two",
            frame(SETTINGS, 0, 0, &setting(2, 2)),
            Breach::Protocol,
        ),
        (
            "frames of 16383",
            frame(SETTINGS, 0, 0, &setting(5, 16_383)),
            Breach::Protocol,
        ),
        (
            "frames of 2^24",
            frame(SETTINGS, 0, 0, &setting(5, 1 << 24)),
            Breach::Protocol,
        ),
        (
            "an index of zero",
            frame(HEADERS, WHOLE, 1, &[0x80]),
            Breach::Compression,
        ),
        (
            "a head after the end",
            with(&whole, whole.clone()),
            Breach::StreamClosed,
        ),
        (
            "data after the end",
            with(&whole, frame(DATA, 0, 1, b"x")),
            Breach::StreamClosed,
        ),
        (
            "data after a reset",
            with(
                &open,
                [frame(RST_STREAM, 0, 1, &[0; 4]), frame(DATA, 0, 1, b"x")].concat(),
            ),
            Breach::StreamClosed,
        ),
        (
            "a head on a stream left out",
            with(
                &frame(HEADERS, WHOLE, 5, &get()),
                frame(HEADERS, WHOLE, 3, &get()),
            ),
            Breach::Protocol,
        ),
        (
            "a head that something interrupts",
            with(&frame(HEADERS, 0, 1, &get()), frame(PING, 0, 0, &[0; 8])),
            Breach::Protocol,
        ),
        (
            "another's continuation",
            with(&frame(HEADERS, 0, 1, &get()), frame(CONTINUATION, 4, 3, b"")),
            Breach::Protocol,
        ),
    ] {
        assert_eq!(Peer::usual().give(&bytes).unwrap_err(), breach, "{what}");
    }
    // The client's settings come first, and they are not an echo.
    for first in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, ACK, 0, &[])] {
        let now = Instant::now();
        let mut connection = Connection::<()>::new(Settings::default(), now);
        let step = connection.receive(PREFACE, now, &mut RequestHead::new());
        assert!(matches!(step, Ok(Step::Took(24, Event::Nothing))));
        let step = connection.receive(&first, now, &mut RequestHead::new());
        assert_eq!(step.unwrap_err(), Breach::Protocol);
    }
}

#[test]
fn what_is_wrong_with_a_stream_ends_the_stream() {
    let mut peer = Peer::usual();
    peer.request(1, END_HEADERS);
    peer.give(&frame(WINDOW_UPDATE, 0, 1, &[0; 4])).unwrap();
    peer.was_reset(1, Reason::PROTOCOL_ERROR);
    peer.request(3, END_HEADERS);
    peer.give(&frame(WINDOW_UPDATE, 0, 3, &[0x7f, 255, 255, 255]))
        .unwrap();
    peer.was_reset(3, Reason::FLOW_CONTROL_ERROR);
    let opening = peer.request(5, END_HEADERS);
    let event = peer.give(&frame(HEADERS, WHOLE, 5, &block(&[(":path", "/")])));
    assert!(matches!(event, Ok(Event::Closed(key)) if key == opening.key));
    peer.was_reset(5, Reason::PROTOCOL_ERROR);
    peer.request(7, END_HEADERS);
    peer.give(&frame(HEADERS, END_HEADERS, 7, &block(&[("x", "y")])))
        .unwrap();
    peer.was_reset(7, Reason::PROTOCOL_ERROR);
    let malformed = block(&[&GET[..], &[("a b", "1")]].concat());
    let event = peer.give(&frame(HEADERS, WHOLE, 9, &malformed));
    assert!(matches!(event, Ok(Event::Request(Opening { head: Err(_), .. }))));
    peer.was_reset(9, Reason::PROTOCOL_ERROR);
    assert!(peer.request(11, WHOLE).head.is_ok(), "the others are left alone");
}
