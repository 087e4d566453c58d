//! Frames of HTTP/2 by hand: for what no library would send.

use std::net::SocketAddr;

use crate::client::HOST;
use crate::raw::Raw;

/// What a client begins with (RFC 9113 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Error codes (RFC 9113 7).
pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of `RST_STREAM`, or of `GOAWAY`.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// A header block, each field a literal that is not indexed (RFC 7541 6.2.2), neither compressed nor checked.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            integer(&mut out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

/// An integer with a prefix of seven bits (RFC 7541 5.1).
fn integer(out: &mut Vec<u8>, n: usize) {
    let byte = |n: usize| u8::try_from(n).expect("seven bits and one more");
    if n < 127 {
        out.push(byte(n));
        return;
    }
    out.push(127);
    let mut rest = n - 127;
    while rest >= 128 {
        out.push(byte(rest % 128 + 128));
        rest /= 128;
    }
    out.push(byte(rest));
}

/// The pseudo-fields of a GET of a path.
pub fn get(path: &str) -> Vec<(&str, &str)> {
    vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", HOST),
        (":path", path),
    ]
}

/// A connection on which anything can be sent.
#[derive(Debug)]
pub struct Frames {
    pub raw: Raw,
}

impl Frames {
    /// Connects, and sends preface and settings.
    #[track_caller]
    pub fn connect(to: SocketAddr) -> Self {
        Self::over(Raw::connect(to))
    }

    /// The same on a connection that is there.
    #[track_caller]
    pub fn over(mut raw: Raw) -> Self {
        raw.send([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
        Self { raw }
    }

    #[track_caller]
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> &mut Self {
        self.raw.send(frame(kind, flags, stream, payload));
        self
    }

    /// A whole head; the request ends with it if `end`.
    #[track_caller]
    pub fn head(&mut self, stream: u32, fields: &[(&str, &str)], end: bool) -> &mut Self {
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.send(HEADERS, flags, stream, &block(fields))
    }

    /// The next frame; none at the end of the connection, be it by a reset.
    #[track_caller]
    pub fn read(&mut self) -> Option<Frame> {
        let head = self.exactly(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap()) & 0x7fff_ffff;
        let payload = self.exactly(u64::from(length))?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream,
            payload,
        })
    }

    #[track_caller]
    fn exactly(&mut self, n: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self
            .raw
            .reader
            .read_exactly(n, &mut |piece| bytes.extend_from_slice(piece));
        match read {
            Ok(()) => Some(bytes),
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                panic!("no frame came: {e}")
            }
            Err(_) => None,
        }
    }

    /// Reads until a frame fits, and gives it.
    #[track_caller]
    pub fn until(&mut self, what: &str, fits: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self
                .read()
                .unwrap_or_else(|| panic!("the connection ended before {what}"));
            if fits(&frame) {
                return frame;
            }
        }
    }

    /// Waits for `RST_STREAM` and gives its code.
    #[track_caller]
    pub fn until_reset(&mut self, stream: u32) -> u32 {
        self.until("RST_STREAM", |f| f.kind == RST_STREAM && f.stream == stream)
            .code()
    }

    /// Waits for `GOAWAY` and gives its code.
    #[track_caller]
    pub fn until_goaway(&mut self) -> u32 {
        self.until("GOAWAY", |f| f.kind == GOAWAY).code()
    }

    /// Waits until everything sent so far was looked at; gives what came meanwhile.
    #[track_caller]
    pub fn sync(&mut self) -> Vec<Frame> {
        self.send(PING, 0, 0, b"sync-all");
        let mut seen = Vec::new();
        loop {
            let frame = self.read().expect("an answer to PING");
            if frame.kind == PING && frame.flags & ACK != 0 {
                return seen;
            }
            seen.push(frame);
        }
    }
}
