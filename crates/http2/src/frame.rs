//! Frames as they stand on the wire (RFC 9113 4 and 6).

use crate::Reason;

/// Bytes of a frame's header.
pub const HEADER: usize = 9;
/// The client's connection preface (RFC 9113 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes that a payload may have unless the receiver allows more; this side never does.
pub const MAX_PAYLOAD: usize = 16_384;
/// The largest window there can be (RFC 9113 6.9.1).
pub const MAX_WINDOW: i64 = (1 << 31) - 1;
/// The window of everything at first (RFC 9113 6.9.2).
pub const FIRST_WINDOW: i64 = 65_535;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const PRIORITIZED: u8 = 0x20;

/// Numbers of settings (RFC 9113 6.5.2, RFC 8441 3).
pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// What stands before each payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Bytes of the payload.
    pub length: usize,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

impl Header {
    /// Reads the header of the frame at the beginning of `bytes`; none if there is not all of it.
    #[inline]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, kind, flags, e, f, g, h] = bytes.first_chunk()?;
        Some(Self {
            length: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
            kind,
            flags,
            // The highest bit means nothing (RFC 9113 4.1).
            stream: u32::from_be_bytes([e & 0x7f, f, g, h]),
        })
    }

    /// Whether a flag is set.
    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Writes a frame's header; `length` below 2^24.
#[inline]
pub fn header(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    let [.., a, b, c] = (length as u32).to_be_bytes();
    let [e, f, g, h] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, e, f, g, h]);
}

/// Sets the length of a frame whose header begins at `at` and that goes on to the end of `out`.
pub(crate) fn set_length(out: &mut [u8], at: usize) {
    let length = out.len().saturating_sub(at + HEADER);
    let [.., a, b, c] = (length as u32).to_be_bytes();
    if let Some(place) = out.get_mut(at..at + 3) {
        place.copy_from_slice(&[a, b, c]);
    }
}

/// Writes a frame that ends a stream (RFC 9113 6.4).
pub fn reset(out: &mut Vec<u8>, stream: u32, reason: Reason) {
    header(out, 4, RST_STREAM, 0, stream);
    out.extend_from_slice(&reason.0.to_be_bytes());
}

/// Writes a frame that says that no stream above `last` will be served (RFC 9113 6.8).
pub fn goaway(out: &mut Vec<u8>, last: u32, reason: Reason) {
    header(out, 8, GOAWAY, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&reason.0.to_be_bytes());
}

/// Writes a frame that gives room for so many bytes more, 1 to 2^31-1 (RFC 9113 6.9).
pub fn window_update(out: &mut Vec<u8>, stream: u32, bytes: u32) {
    header(out, 4, WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&bytes.to_be_bytes());
}

/// Writes a ping, or its echo (RFC 9113 6.7).
pub fn ping(out: &mut Vec<u8>, is_ack: bool, payload: [u8; 8]) {
    header(out, 8, PING, if is_ack { ACK } else { 0 }, 0);
    out.extend_from_slice(&payload);
}

/// Writes settings (RFC 9113 6.5).
pub fn settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    header(out, settings.len() * 6, SETTINGS, 0, 0);
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Says that the other side's settings were taken in.
pub fn settings_ack(out: &mut Vec<u8>) {
    header(out, 0, SETTINGS, ACK, 0);
}

/// The settings in a payload of whole ones.
pub(crate) fn read_settings(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    let (settings, _) = payload.as_chunks();
    settings
        .iter()
        .map(|&[a, b, c, d, e, f]| (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f])))
}

/// Four bytes of a payload as a number.
pub(crate) fn number(payload: &[u8]) -> Option<u32> {
    payload.first_chunk().map(|four| u32::from_be_bytes(*four))
}

/// Where in a payload what it is about stands: without the padding (RFC 9113 6.1). None if there is more padding than
/// payload.
pub(crate) fn unpadded(frame: Header, payload: &[u8]) -> Option<&[u8]> {
    if !frame.has(PADDED) {
        return Some(payload);
    }
    let (&padding, rest) = payload.split_first()?;
    rest.get(..rest.len().checked_sub(usize::from(padding))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut out = Vec::new();
        header(&mut out, 0x01_02_03, 7, 0xa5, 0x7fff_fffe);
        let read = Header::read(&out).unwrap();
        assert_eq!(
            (read.length, read.kind, read.flags, read.stream),
            (0x01_02_03, 7, 0xa5, 0x7fff_fffe)
        );
        assert_eq!(Header::read(&out[..8]), None);
        out[5] |= 0x80;
        assert_eq!(Header::read(&out), Some(read), "the reserved bit");
        let mut out = Vec::new();
        settings(&mut out, &[(3, 100), (4, 7)]);
        assert_eq!(
            read_settings(&out[HEADER..]).collect::<Vec<_>>(),
            [(3, 100), (4, 7)]
        );
    }

    #[test]
    fn padding_is_within_the_payload() {
        let frame = |flags| Header {
            length: 0,
            kind: DATA,
            flags,
            stream: 1,
        };
        assert_eq!(unpadded(frame(0), b"\x01abc"), Some(&b"\x01abc"[..]));
        assert_eq!(unpadded(frame(PADDED), b"\x01abc"), Some(&b"ab"[..]));
        assert_eq!(unpadded(frame(PADDED), b"\x03abc"), Some(&b""[..]));
        assert_eq!(unpadded(frame(PADDED), b"\x04abc"), None);
        assert_eq!(unpadded(frame(PADDED), b""), None);
    }
}
