//! Bodies, whatever frames them, and the chunked coding above all (RFC 9112 6 and 7).
//!
//! The decoder remembers where it is between calls, so the caller drops what was consumed and never keeps half a line.
//! Chunk extensions are bounded and dropped; trailers are collected, bounded and parsed as strictly as a head.

use std::ops::Range;

use crate::byte;
use crate::framing::Framing;
use crate::head::{HeadError, HeadLimits, LONE_LF};
use crate::headers::Headers;
use crate::trailers;

/// The most digits of a chunk size, leading zeros included; so many always fit a `u64`.
const SIZE_DIGITS: u8 = 16;
/// The most bytes of extensions on one chunk line, whitespace and semicolons included.
const EXTENSION: u16 = 256;
/// The most bytes of extensions in one body: they cost the sender little and carry nothing.
const EXTENSIONS: usize = 16 * 1024;

/// Why a body is refused. The connection it came on is of no further use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BodyError {
    /// The chunked coding is broken.
    #[error("malformed chunk: {0}")]
    BadChunk(&'static str),
    /// A trailer is malformed or must not be one (RFC 9110 6.5.1).
    #[error("bad trailer: {0}")]
    BadTrailer(&'static str),
    /// The trailers exceed the limits of a head.
    #[error("the trailers are larger than the limits of a head")]
    TrailersTooLarge,
    /// The connection ended before the body did.
    #[error("the connection ended before the body did")]
    Truncated,
}

/// What one call found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// Where in the buffer the body's bytes are now.
    pub data: Range<usize>,
    /// How many bytes of the buffer were used up, the data's among them; the caller drops them.
    pub consumed: usize,
    /// The body is complete; bytes beyond `consumed` are not part of it.
    pub done: bool,
}

/// Takes a body out of the bytes of its connection.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes to come of the body, or of the chunk.
    left: u64,
    /// Bytes of extensions so far.
    extensions: usize,
    limits: HeadLimits,
    /// The trailer section as far as it has come.
    section: Vec<u8>,
    trailers: Option<Box<Headers>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Done,
    Length,
    UntilClose,
    /// In a chunk size of so many digits so far.
    Size(u8),
    /// In whitespace between a size and the extension it must be followed by.
    BeforeExtension(u16),
    /// In an extension; so many bytes so far on this line.
    Extension(u16),
    /// Before the LF of a chunk line.
    SizeEnd,
    Data,
    /// Before the CR after a chunk's data.
    DataEnd,
    /// Before the LF after a chunk's data.
    DataEndLf,
    Trailers,
}

impl Decoder {
    /// A decoder for a body framed like this. Trailers may be as large as a head by `limits`.
    pub fn new(framing: Framing, limits: &HeadLimits) -> Self {
        let (state, left) = match framing {
            Framing::None | Framing::Length(0) => (State::Done, 0),
            Framing::Length(length) => (State::Length, length),
            Framing::Chunked => (State::Size(0), 0),
            Framing::UntilClose => (State::UntilClose, 0),
        };
        Self {
            state,
            left,
            extensions: 0,
            limits: *limits,
            section: Vec::new(),
            trailers: None,
        }
    }

    /// Looks at the bytes at hand, which follow those consumed before. The data of several chunks is moved together
    /// within `buf` so that it is one run. Bytes not consumed belong to what follows the body.
    pub fn decode(&mut self, buf: &mut [u8]) -> Result<Decoded, BodyError> {
        let run = match self.state {
            State::Done => 0,
            State::UntilClose => buf.len(),
            State::Length => self.take(buf.len()),
            _ => return self.decode_chunks(buf),
        };
        if self.state == State::Length && self.left == 0 {
            self.state = State::Done;
        }
        Ok(Decoded {
            data: 0..run,
            consumed: run,
            done: self.is_done(),
        })
    }

    /// Counts off `n` bytes of a body with a declared length that went another way, unseen: at most those still to
    /// come, and only when all bytes before them were decoded.
    pub fn pass(&mut self, n: u64) {
        if self.state == State::Length {
            self.left = self.left.saturating_sub(n);
            if self.left == 0 {
                self.state = State::Done;
            }
        }
    }

    /// The connection has ended: fine if the body is complete or lasts until then.
    pub fn finish(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Done | State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(BodyError::Truncated),
        }
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many bytes are to come, where the length was declared.
    pub fn remaining_hint(&self) -> Option<u64> {
        (self.state == State::Length).then_some(self.left)
    }

    /// The trailers, once the body is complete and if there were any.
    pub fn trailers(&self) -> Option<&Headers> {
        self.trailers.as_deref()
    }

    /// The same, to be changed.
    pub fn trailers_mut(&mut self) -> Option<&mut Headers> {
        self.trailers.as_deref_mut()
    }

    fn decode_chunks(&mut self, buf: &mut [u8]) -> Result<Decoded, BodyError> {
        let mut data = 0..0;
        let mut at = 0;
        while at < buf.len() && self.state != State::Done {
            match self.state {
                State::Data => {
                    let run = self.take(buf.len() - at);
                    if data.is_empty() {
                        data = at..at + run;
                    } else {
                        buf.copy_within(at..at + run, data.end);
                        data.end += run;
                    }
                    at += run;
                    if self.left == 0 {
                        self.state = State::DataEnd;
                    }
                }
                State::Trailers => at += self.collect_trailers(&buf[at..])?,
                _ => {
                    self.state = self.step(buf[at])?;
                    at += 1;
                }
            }
        }
        Ok(Decoded {
            data,
            consumed: at,
            done: self.is_done(),
        })
    }

    /// How many of `available` bytes belong to the run at hand; they are counted off.
    fn take(&mut self, available: usize) -> usize {
        let run = usize::try_from(self.left).map_or(available, |left| left.min(available));
        self.left -= run as u64;
        run
    }

    /// One byte outside of data and trailers (RFC 9112 7.1, 7.1.1).
    fn step(&mut self, byte: u8) -> Result<State, BodyError> {
        let bad = |what| Err(BodyError::BadChunk(what));
        match (self.state, byte) {
            (State::Size(digits), _) => {
                if let Some(digit) = byte::hex_value(byte) {
                    if digits == SIZE_DIGITS {
                        return bad("the size has more than 16 digits");
                    }
                    self.left = self.left << 4 | u64::from(digit);
                    return Ok(State::Size(digits + 1));
                }
                match byte {
                    _ if digits == 0 => bad("the size is missing"),
                    b'\r' => Ok(State::SizeEnd),
                    b';' => Ok(State::Extension(1)),
                    b' ' | b'\t' => Ok(State::BeforeExtension(1)),
                    _ => bad("the size is no hexadecimal number"),
                }
            }
            (State::BeforeExtension(len), b' ' | b'\t') if len < EXTENSION => {
                Ok(State::BeforeExtension(len + 1))
            }
            (State::BeforeExtension(len), b';') => Ok(State::Extension(len + 1)),
            (State::BeforeExtension(_), _) => bad("whitespace after the size"),
            (State::Extension(_), b'\r') => Ok(State::SizeEnd),
            (State::Extension(len), b'\t' | b' '..=b'~') => {
                self.extensions += 1;
                if len >= EXTENSION || self.extensions > EXTENSIONS {
                    return bad("the extensions are too long");
                }
                Ok(State::Extension(len + 1))
            }
            (State::Extension(_), _) => bad("an extension contains a byte that is not printable"),
            (State::SizeEnd, b'\n') => Ok(if self.left == 0 {
                State::Trailers
            } else {
                State::Data
            }),
            (State::DataEnd, b'\r') => Ok(State::DataEndLf),
            (State::DataEndLf, b'\n') => Ok(State::Size(0)),
            (State::SizeEnd, _) => bad("the line of the size ends with a lone CR"),
            _ => bad("the data does not end where the size says"),
        }
    }

    /// Collects the trailer section up to its empty line; gives how many bytes belong to it.
    fn collect_trailers(&mut self, bytes: &[u8]) -> Result<usize, BodyError> {
        let mut taken = 0;
        while self.state == State::Trailers {
            let rest = &bytes[taken..];
            let line_end = memchr::memchr(b'\n', rest).map(|at| at + 1);
            let part = line_end.unwrap_or(rest.len());
            if self.section.len() + part > self.limits.bytes {
                return Err(BodyError::TrailersTooLarge);
            }
            self.section.extend_from_slice(&rest[..part]);
            taken += part;
            if line_end.is_none() {
                break;
            }
            if !self.section.ends_with(b"\r\n") {
                return Err(BodyError::BadTrailer(LONE_LF));
            }
            if self.section.len() == 2 {
                self.state = State::Done;
            } else if self.section.ends_with(b"\r\n\r\n") {
                self.trailers = Some(Box::new(self.parse_trailers()?));
                self.state = State::Done;
            }
        }
        Ok(taken)
    }

    fn parse_trailers(&self) -> Result<Headers, BodyError> {
        let mut trailers = Headers::new();
        match trailers.parse(&self.section, 0, self.limits.fields) {
            Ok(Some(section)) if section.end == self.section.len() => {}
            Ok(_) => return Err(BodyError::BadTrailer("the section does not end where it should")),
            Err(HeadError::Malformed(what)) => return Err(BodyError::BadTrailer(what)),
            Err(_) => return Err(BodyError::TrailersTooLarge),
        }
        if trailers
            .iter()
            .any(|field| trailers::is_forbidden(field.known, field.name))
        {
            return Err(BodyError::BadTrailer(
                "a field that frames, routes, authenticates or controls a message",
            ));
        }
        Ok(trailers)
    }
}

#[cfg(test)]
mod tests;
