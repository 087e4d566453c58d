//! Looks at the frames of a stream before the h3 crate does (RFC 9114 7.1).
//!
//! The crate collects a frame until it is whole, however long it says it is; it takes an empty DATA frame for the end
//! of a body, and a stream that ends within a DATA frame as well. So nothing reaches it that was not bounded here:
//! field sections come whole and within their limit, unknown frames are dropped as they arrive, empty DATA frames
//! too, and a frame that is cut short is an error. What passes is written anew; payloads are not copied.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

const DATA: u64 = 0x0;
const HEADERS: u64 = 0x1;
const CANCEL_PUSH: u64 = 0x3;
const SETTINGS: u64 = 0x4;
const PUSH_PROMISE: u64 = 0x5;
const GOAWAY: u64 = 0x7;
const MAX_PUSH_ID: u64 = 0xd;

/// The stream type of a control stream (RFC 9114 6.2.1).
const CONTROL: u64 = 0x0;

/// Bytes of any frame but DATA and HEADERS: settings and ids are short.
const SMALL_FRAME: u64 = 4096;

/// What stops a stream, and its connection with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The stream ended within a frame: `H3_FRAME_ERROR`.
    Truncated,
    /// A frame that collects is larger than any sense: `H3_EXCESSIVE_LOAD`.
    TooLarge,
}

/// Which stream it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    /// A request.
    Request,
    /// A unidirectional stream whose type has not come.
    Unknown,
    /// The client's control stream.
    Control,
    /// Another unidirectional stream: none of our business.
    Other,
}

/// Where in a stream we are.
#[derive(Debug)]
enum State {
    /// In a frame's type and length, or a stream's type: what there is of it.
    Start([u8; 16], usize),
    /// In a payload that passes.
    Passing(u64),
    /// In a payload that nobody wants.
    Skipping(u64),
    /// In a field section: its length.
    Section(u64),
}

const START: State = State::Start([0; 16], 0);

/// A field section longer than it may be: its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Oversized(pub u64);

/// The frames of one stream.
#[derive(Debug)]
pub(super) struct Frames {
    stream: Stream,
    state: State,
    /// The section being collected.
    section: Vec<u8>,
    longest_section: u64,
    out: VecDeque<Bytes>,
    /// Frames seen that are neither DATA nor HEADERS.
    pub others: u64,
}

/// What [`Frames::push`] found worth a look.
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// A whole field section: [`Frames::section`]. It passes with [`Frames::emit_section`] only.
    Section,
    /// A field section that is too long to be collected. Nothing of it passes.
    Oversized(Oversized),
}

impl Frames {
    /// The frames of a request, with field sections of at most so many bytes.
    pub fn of_request(longest_section: usize) -> Self {
        Self::new(Stream::Request, longest_section as u64)
    }

    /// The frames of a stream that goes one way.
    pub fn of_unidirectional() -> Self {
        Self::new(Stream::Unknown, 0)
    }

    fn new(stream: Stream, longest_section: u64) -> Self {
        Self {
            stream,
            state: START,
            section: Vec::new(),
            longest_section,
            out: VecDeque::new(),
            others: 0,
        }
    }

    /// The next piece that may pass.
    pub fn pop(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    /// The field section that was found.
    pub fn section(&self) -> &[u8] {
        &self.section
    }

    /// Lets a field section pass: the one that was found, or another in its place.
    pub fn emit_section(&mut self, other: Option<Vec<u8>>) {
        let found = std::mem::take(&mut self.section);
        let section = other.unwrap_or(found);
        let mut start = Vec::with_capacity(9);
        write_varint(&mut start, HEADERS);
        write_varint(&mut start, section.len() as u64);
        self.out.push_back(start.into());
        if !section.is_empty() {
            self.out.push_back(section.into());
        }
    }

    /// Takes in what has arrived, `bytes`, up to the end of a field section. Call it until `bytes` is empty.
    pub fn push(&mut self, bytes: &mut Bytes) -> Result<Found, Fault> {
        while !bytes.is_empty() {
            if self.stream == Stream::Other {
                self.out.push_back(bytes.split_to(bytes.len()));
                break;
            }
            match &mut self.state {
                State::Start(start, len) => {
                    if let Some(slot) = start.get_mut(*len) {
                        *slot = bytes.get_u8();
                        *len += 1;
                    }
                    let head = *start;
                    let read = head.get(..*len).unwrap_or_default();
                    if let Some(oversized) = self.start(&head, read.len())? {
                        return Ok(Found::Oversized(oversized));
                    }
                }
                State::Passing(left) => {
                    let piece = bytes.split_to(at_most(*left, bytes.len()));
                    *left -= piece.len() as u64;
                    if *left == 0 {
                        self.state = START;
                    }
                    self.out.push_back(piece);
                }
                State::Skipping(left) => {
                    let n = at_most(*left, bytes.len());
                    bytes.advance(n);
                    *left -= n as u64;
                    if *left == 0 {
                        self.state = START;
                    }
                }
                State::Section(len) => {
                    let n = at_most(*len - self.section.len() as u64, bytes.len());
                    self.section.extend_from_slice(&bytes.split_to(n));
                    if self.section.len() as u64 == *len {
                        self.state = START;
                        return Ok(Found::Section);
                    }
                }
            }
        }
        Ok(Found::Nothing)
    }

    /// Looks whether the start of a frame, or of the stream, is complete.
    fn start(&mut self, head: &[u8; 16], len: usize) -> Result<Option<Oversized>, Fault> {
        let read = head.get(..len).unwrap_or_default();
        let Some((first, used)) = varint(read) else {
            return Ok(None);
        };
        if self.stream == Stream::Unknown {
            self.stream = if first == CONTROL {
                Stream::Control
            } else {
                Stream::Other
            };
            self.out.push_back(Bytes::copy_from_slice(read));
            self.state = START;
            return Ok(None);
        }
        let Some((length, more)) = read.get(used..).and_then(varint) else {
            return Ok(None);
        };
        debug_assert_eq!(used + more, len, "the bytes come one by one");
        self.state = match first {
            DATA if self.stream == Stream::Request => {
                if length > 0 {
                    self.out.push_back(Bytes::copy_from_slice(read));
                }
                State::Passing(length)
            }
            HEADERS if self.stream == Stream::Request => {
                self.section.clear();
                if length > self.longest_section {
                    self.state = State::Skipping(length);
                    return Ok(Some(Oversized(length)));
                }
                State::Section(length)
            }
            // What should not be here is for the crate to refuse; it needs all of it.
            DATA | HEADERS | CANCEL_PUSH | SETTINGS | PUSH_PROMISE | GOAWAY | MAX_PUSH_ID | 0x2 | 0x6
            | 0x8 | 0x9 => {
                self.others += 1;
                if length > SMALL_FRAME {
                    return Err(Fault::TooLarge);
                }
                self.out.push_back(Bytes::copy_from_slice(read));
                State::Passing(length)
            }
            _ => {
                self.others += 1;
                State::Skipping(length)
            }
        };
        match self.state {
            State::Passing(0) | State::Skipping(0) => self.state = START,
            // An empty section lacks everything; the prefix alone is two bytes. Let the crate say so.
            State::Section(0) => {
                self.emit_section(None);
                self.state = START;
            }
            _ => {}
        }
        Ok(None)
    }

    /// The stream has ended.
    pub fn end(&self) -> Result<(), Fault> {
        match (&self.state, self.stream) {
            (State::Start(_, 0), _) | (_, Stream::Unknown | Stream::Other) => Ok(()),
            _ => Err(Fault::Truncated),
        }
    }
}

fn at_most(left: u64, here: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(here)
}

/// A variable-length integer (RFC 9000 16) and its length.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let len = 1 << (first >> 6);
    let rest = bytes.get(1..len)?;
    let value = rest.iter().fold(u64::from(first & 0x3f), |value, byte| {
        value << 8 | u64::from(*byte)
    });
    Some((value, len))
}

fn write_varint(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_be_bytes();
    let (tag, len) = match value {
        0..=0x3f => (0x00, 1),
        0x40..=0x3fff => (0x40, 2),
        0x4000..=0x3fff_ffff => (0x80, 4),
        _ => (0xc0, 8),
    };
    let at = out.len();
    out.extend_from_slice(bytes.get(8 - len..).unwrap_or_default());
    if let Some(first) = out.get_mut(at) {
        *first |= tag;
    }
}

#[cfg(test)]
mod tests;
