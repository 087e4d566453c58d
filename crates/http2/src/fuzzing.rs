//! What must hold for any bytes at all: the checks behind the fuzz targets in `fuzz/` and the tests of their seeds.
//!
//! Each function panics if its property does not hold. Not part of the interface of this crate.

use std::time::Instant;

use gatehouse_http1::{HeadLimits, Known, RequestHead};

use crate::frame::{HEADER, Header, MAX_PAYLOAD, PREFACE};
use crate::hpack::{Broken, Decoder, Encoder};
use crate::{Breach, Connection, Event, Reason, Room, Settings, Step};

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Broken> {
    let mut fields = Fields::new();
    decoder.decode(block, |name, value| fields.push((name.to_vec(), value.to_vec())))?;
    Ok(fields)
}

/// Any bytes as blocks, one after the other (the first byte says how long each is). What is read can be written, and is
/// read as the same again.
pub fn hpack(data: &[u8]) {
    let Some((step, data)) = data.split_first() else {
        return;
    };
    let (mut decoder, mut encoder, mut other) = (Decoder::default(), Encoder::default(), Decoder::default());
    for block in data.chunks(usize::from(*step).max(1)) {
        let Ok(fields) = decode(&mut decoder, block) else {
            return;
        };
        written_and_read(&mut encoder, &mut other, &fields);
    }
}

/// Any fields, a line each; blocks end with empty lines, and a line of digits changes the size of the table. They are
/// read as they were written.
pub fn hpack_fields(data: &[u8]) {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let mut fields = Fields::new();
    for line in data.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            written_and_read(&mut encoder, &mut decoder, &fields);
            fields.clear();
        } else if let Some(size) = std::str::from_utf8(line).ok().and_then(|line| line.parse().ok()) {
            encoder.allow(size);
        } else {
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let (name, value) = line.split_at(colon);
            fields.push((name.to_vec(), value.to_vec()));
        }
    }
    written_and_read(&mut encoder, &mut decoder, &fields);
}

fn written_and_read(encoder: &mut Encoder, decoder: &mut Decoder, fields: &Fields) {
    let mut block = Vec::new();
    encoder.begin(&mut block);
    for (name, value) in fields {
        encoder.field(&mut block, Known::of(name), name, value);
    }
    let lower: Fields = fields
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .collect();
    assert_eq!(decode(decoder, &block).as_ref(), Ok(&lower));
}

/// Any bytes behind a preface. What comes of them must not depend on how they arrive (the first byte says how), what is
/// sent are frames, and no more is taken than the windows allow.
pub fn connection(data: &[u8]) {
    let Some((step, data)) = data.split_first() else {
        return;
    };
    let bytes = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0], data].concat();
    let now = Instant::now();
    let whole = run(&bytes, bytes.len(), now);
    assert_eq!(whole, run(&bytes, usize::from(*step).max(1), now));
    let mut rest = &whole.1[..];
    while let Some(frame) = Header::read(rest) {
        assert!(frame.length <= MAX_PAYLOAD && rest.len() >= HEADER + frame.length);
        rest = rest.get(HEADER + frame.length..).unwrap_or_default();
    }
    assert!(rest.is_empty());
}

/// What has happened, and what was sent.
fn run(bytes: &[u8], step: usize, now: Instant) -> (Vec<String>, Vec<u8>) {
    let settings = Settings {
        max_streams: 4,
        stream_window: 100,
        connection_window: 70_000,
        head: HeadLimits {
            bytes: 512,
            fields: 16,
            target: 128,
        },
        max_resets: 8,
        max_control: 16,
        max_malformed: 4,
        ..Settings::default()
    };
    let mut connection = Connection::<Vec<u8>>::new(settings, now);
    let (mut events, mut head, mut at) = (Vec::new(), RequestHead::new(), 0);
    let mut end = 0;
    while end < bytes.len() {
        end = (end + step).min(bytes.len());
        loop {
            let some = bytes.get(at..end).unwrap_or_default();
            match connection.receive(some, now, &mut head) {
                Ok(Step::Took(n, event)) => {
                    assert!(n <= some.len());
                    events.push(format!("{event:?}"));
                    answer(&mut connection, some, event, &head);
                    at += n;
                }
                Ok(Step::Needs(n)) => {
                    assert!(n > some.len() && n <= HEADER + MAX_PAYLOAD);
                    break;
                }
                Err(breach) => return over(connection, events, breach),
            }
        }
    }
    connection.leave();
    (events, connection.unsent().to_vec())
}

fn over(
    mut connection: Connection<Vec<u8>>,
    mut events: Vec<String>,
    breach: Breach,
) -> (Vec<String>, Vec<u8>) {
    events.push(format!("{breach:?}"));
    connection.fail(breach);
    assert!(
        connection
            .receive(b"more", Instant::now(), &mut RequestHead::new())
            .is_err()
    );
    (events, connection.unsent().to_vec())
}

/// Echoes bodies, as far as there is room.
fn answer(connection: &mut Connection<Vec<u8>>, bytes: &[u8], event: Event, head: &RequestHead) {
    match event {
        Event::Request(opening) => {
            let key = opening.key;
            if opening.head.is_ok() {
                assert!(head.path().starts_with('/') || head.path() == "*" || opening.is_connect);
                connection.head(key, 200, false, |fields| fields.add_length(7));
            }
            if opening.is_whole {
                connection.finish(key);
                connection.release(key);
            }
        }
        Event::Data { key, data, is_last } => {
            let data = bytes.get(data).unwrap_or_default();
            let held = connection.data(key).map_or(0, |held| {
                held.extend_from_slice(data);
                held.len()
            });
            assert!(held <= 65_535);
            if let Room::Bytes(room) = connection.room(key) {
                let held = connection.data(key).map(std::mem::take).unwrap_or_default();
                let n = held.len().min(room);
                assert!(connection.send(key, held.get(..n).unwrap_or_default()));
                connection.consumed(key, u32::try_from(held.len()).unwrap_or_default());
            }
            if is_last {
                connection.finish(key);
                connection.release(key);
            }
        }
        Event::Trailers { key, trailers } => {
            match trailers {
                Ok(_) => drop(connection.trailers_out(key, |_| {})),
                Err(_) => connection.reset(key, Reason::CANCEL),
            }
            connection.release(key);
        }
        Event::Closed(key) => drop(connection.release(key)),
        Event::Nothing | Event::Room(_) | Event::RoomOnAll => {}
    }
}
