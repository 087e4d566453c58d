//! Heads: the first line and the fields of a message (RFC 9112 2 to 5), parsed strictly or not at all.
//!
//! One pass from the front; the first byte that does not belong ends it, whether the head is complete or not. Parsing
//! starts over when more bytes have come: a head is small, and most come in one piece.

pub(crate) mod authority;
pub(crate) mod line;
pub(crate) mod method;
pub(crate) mod parts;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod target;

use crate::framing::Framing;

pub(crate) const LONE_LF: &str = "a line ends with a lone LF";

/// The protocol version of a message. Text is accepted as HTTP/1.0 or 1.1 only; the others are for heads that came in
/// parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
    Http3,
}

impl Version {
    /// The version as written in a start line, or as it would be.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
        }
    }
}

/// How large a head may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head, its empty line included; 4 GiB at most.
    pub bytes: usize,
    /// Field lines.
    pub fields: usize,
    /// Bytes of the request target.
    pub target: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            bytes: 16 * 1024,
            fields: 100,
            target: 8 * 1024,
        }
    }
}

/// What a complete head says about its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parsed {
    /// Bytes of the head, a skipped empty line included; the body begins here.
    pub len: usize,
    /// Where the body ends.
    pub framing: Framing,
    /// The sender keeps the connection open after this message (RFC 9112 9.3). False if the message's own framing
    /// gives reason not to trust what follows it.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body (RFC 9110 10.1.1); HTTP/1.1 requests with a body
    /// only.
    pub expect_continue: bool,
    /// `Content-Length` as written, also where it does not frame a body (HEAD, 304). Not for 1xx and 204, which must
    /// not carry it, and not for a 2xx to CONNECT.
    pub declared_length: Option<u64>,
}

/// Why a head is refused. The connection it came on is of no further use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeadError {
    /// Not HTTP/1.1, or ambiguous; 400.
    #[error("malformed head: {0}")]
    Malformed(&'static str),
    /// 431. `measured` is the head's size, or what is known of it while it is incomplete.
    #[error("the head is larger than {limit} bytes: {measured} or more")]
    HeadTooLarge { limit: usize, measured: usize },
    /// 431. `measured` counts the lines at hand.
    #[error("the head has more than {limit} fields: {measured} or more")]
    TooManyFields { limit: usize, measured: usize },
    /// 414.
    #[error("the request target is longer than {limit} bytes: {measured} or more")]
    TargetTooLong { limit: usize, measured: usize },
    /// A transfer coding that is not exactly `chunked`; 501.
    #[error("the transfer coding is not exactly \"chunked\"")]
    UnsupportedCoding,
    /// An HTTP version, but neither 1.0 nor 1.1; 505.
    #[error("the HTTP version is neither 1.0 nor 1.1")]
    UnsupportedVersion,
}

/// The bytes that can be part of an acceptable head.
pub(crate) fn window<'a>(bytes: &'a [u8], limits: &HeadLimits) -> &'a [u8] {
    // `Headers` keeps offsets of 32 bits.
    &bytes[..bytes.len().min(limits.bytes).min(u32::MAX as usize)]
}

/// A head that does not end within its window needs more bytes, or is too large.
pub(crate) fn check_partial(bytes: &[u8], limits: &HeadLimits) -> Result<(), HeadError> {
    if bytes.len() < limits.bytes {
        return Ok(());
    }
    let measured = match memchr::memmem::find(bytes, b"\r\n\r\n") {
        Some(at) => at + 4,
        // At least one byte is missing still.
        None => bytes.len().max(limits.bytes.saturating_add(1)),
    };
    Err(HeadError::HeadTooLarge {
        limit: limits.bytes,
        measured,
    })
}

/// Counts the lines at hand up to an empty one.
pub(crate) fn count_lines(bytes: &[u8]) -> usize {
    let head = memchr::memmem::find(bytes, b"\r\n\r\n").map_or(bytes, |at| &bytes[..at + 2]);
    memchr::memchr_iter(b'\n', head).count()
}
