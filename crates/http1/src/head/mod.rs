//! Heads: the first line and the fields of a message (RFC 9112 2 to 5), parsed strictly or not at all.
//!
//! httparse finds the parts in one pass; what it lets through and we do not (lone LFs, blank lines before the first
//! line, bytes beyond the target's grammar) is checked on top. Parsing starts over when more bytes have come: a head is
//! small, and most come in one piece.

pub(crate) mod authority;
pub(crate) mod method;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod target;

use std::mem::MaybeUninit;

use crate::framing::Framing;

/// The most fields a head can have, whatever the limits say: they are found in an array of this size.
pub const MAX_FIELDS: usize = 256;

pub(crate) const LONE_LF: &str = "a line ends with a lone LF";

/// Where httparse puts the fields; left uninitialised until it does.
pub(crate) type FieldArray<'a> = [MaybeUninit<httparse::Header<'a>>; MAX_FIELDS];

/// The protocol version of a message; no other is accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Version {
    Http10,
    #[default]
    Http11,
}

impl Version {
    fn of_minor(minor: Option<u8>) -> Self {
        if minor == Some(0) {
            Self::Http10
        } else {
            Self::Http11
        }
    }

    /// The version as written in a start line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

/// How large a head may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head, its empty line included.
    pub bytes: usize,
    /// Field lines; more than `MAX_FIELDS` counts as `MAX_FIELDS`.
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

impl HeadLimits {
    pub(crate) fn max_fields(&self) -> usize {
        self.fields.min(MAX_FIELDS)
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
    /// The client waits for `100 Continue` before it sends the body (RFC 9110 10.1.1); HTTP/1.1 requests only.
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

/// The bytes that can still be part of an acceptable head: one beyond the limit tells that it is too large.
pub(crate) fn window<'a>(bytes: &'a [u8], limits: &HeadLimits) -> &'a [u8] {
    &bytes[..bytes.len().min(limits.bytes.saturating_add(1))]
}

/// Checks the end of a complete head, the first `len` bytes: its size, and that its last two lines end in CR LF.
pub(crate) fn check_complete(bytes: &[u8], len: usize, limits: &HeadLimits) -> Result<(), HeadError> {
    if len > limits.bytes {
        return Err(HeadError::HeadTooLarge {
            limit: limits.bytes,
            measured: len,
        });
    }
    // With no field lines this is the start line's end; `Headers::load` looks at the other lines.
    if bytes[..len].ends_with(b"\r\n\r\n") {
        Ok(())
    } else {
        Err(HeadError::Malformed(LONE_LF))
    }
}

/// Checks a head that does not end within the window: whether it can still become an acceptable one.
pub(crate) fn check_partial(bytes: &[u8], limits: &HeadLimits) -> Result<(), HeadError> {
    let lines = count_lines(window(bytes, limits))?;
    check_fields(lines.saturating_sub(1), limits)?;
    if bytes.len() >= limits.bytes {
        let measured = match memchr::memmem::find(bytes, b"\r\n\r\n") {
            Some(at) => at + 4,
            // At least one byte is missing still.
            None => bytes.len().max(limits.bytes + 1),
        };
        return Err(HeadError::HeadTooLarge {
            limit: limits.bytes,
            measured,
        });
    }
    Ok(())
}

pub(crate) fn check_fields(measured: usize, limits: &HeadLimits) -> Result<(), HeadError> {
    let limit = limits.max_fields();
    if measured > limit {
        Err(HeadError::TooManyFields { limit, measured })
    } else {
        Ok(())
    }
}

/// Counts the lines of a head up to its empty line, which is not counted; refuses a lone LF.
fn count_lines(head: &[u8]) -> Result<usize, HeadError> {
    let mut lines = 0;
    let mut start = 0;
    for at in memchr::memchr_iter(b'\n', head) {
        if !head[..at].ends_with(b"\r") {
            return Err(HeadError::Malformed(LONE_LF));
        }
        if at == start + 1 {
            break;
        }
        lines += 1;
        start = at + 1;
    }
    Ok(lines)
}

/// Says what httparse means, in our terms.
pub(crate) fn explain(error: httparse::Error, head: &[u8], limits: &HeadLimits) -> HeadError {
    HeadError::Malformed(match error {
        httparse::Error::TooManyHeaders => {
            let measured = count_lines(head).unwrap_or(0).saturating_sub(1);
            return HeadError::TooManyFields {
                limit: limits.max_fields(),
                measured,
            };
        }
        httparse::Error::Version => return version_error(head),
        httparse::Error::HeaderName => "a field name is no token, or whitespace precedes or follows it",
        httparse::Error::HeaderValue => "a field value contains a control byte",
        httparse::Error::NewLine => "a line does not end in CR LF",
        httparse::Error::Status => "the status code is no three digits, or a control byte is in the reason",
        httparse::Error::Token => "the request line is no method, target and version",
    })
}

/// Tells another version of HTTP from something that is none.
fn version_error(head: &[u8]) -> HeadError {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|&byte| byte == b' ');
    // A status line begins with the version, a request line has it third and last.
    let version = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(first), ..) if first.starts_with(b"HTTP/") => first,
        (_, _, Some(third), None) => third,
        _ => b"",
    };
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => HeadError::Malformed("the start line has one part too many or too few"),
        [b'H', b'T', b'T', b'P', b'/', b'1'..=b'9', b'.', b'0'..=b'9'] => HeadError::UnsupportedVersion,
        _ => HeadError::Malformed("the HTTP version is malformed"),
    }
}
