//! Response heads (RFC 9112 4): the status line, the fields, and what they say of the body and the connection.

use super::{HeadError, HeadLimits, Parsed, Version, line};
use crate::byte;
use crate::framing::{self, Declared, Framing};
use crate::headers::Headers;

/// The head of a response; reused from one to the next, it keeps its capacity.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// 100 to 599.
    pub status: u16,
    pub version: Version,
    pub headers: Headers,
    reason: Vec<u8>,
}

/// What of a request decides how its response is framed (RFC 9112 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestKind {
    /// Its response has no body.
    Head,
    /// Its 2xx response has no body: the connection becomes a tunnel.
    Connect,
    Other,
}

impl Default for ResponseHead {
    fn default() -> Self {
        Self {
            status: 200,
            version: Version::Http11,
            headers: Headers::new(),
            reason: Vec::new(),
        }
    }
}

impl ResponseHead {
    /// An empty head: 200, HTTP/1.1, no reason.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes it an empty head again and keeps the capacity.
    pub fn clear(&mut self) {
        self.status = 200;
        self.version = Version::Http11;
        self.headers.clear();
        self.reason.clear();
    }

    /// The reason phrase as received or set; often empty.
    pub fn reason(&self) -> &[u8] {
        &self.reason
    }

    /// Replaces the reason phrase; control bytes but HTAB become spaces.
    pub fn set_reason(&mut self, reason: &[u8]) {
        self.reason.clear();
        self.reason.extend_from_slice(&byte::clean(reason));
    }
}

/// Parses the head of a response to a request of kind `to` from the beginning of `bytes`. `head` is cleared first;
/// what it holds is of no use unless the result is `Ok(Some)`. `Ok(None)`: so far so good, more bytes are needed.
///
/// A status line without the space before an absent reason is accepted: many servers send it, and it means one thing.
pub fn parse_response(
    bytes: &[u8],
    limits: &HeadLimits,
    to: RequestKind,
    head: &mut ResponseHead,
) -> Result<Option<Parsed>, HeadError> {
    head.clear();
    let window = super::window(bytes, limits);
    let Some(start) = parse_line(window, head)? else {
        super::check_partial(bytes, limits)?;
        return Ok(None);
    };
    let Some(section) = head.headers.parse(window, start, limits.fields)? else {
        super::check_partial(bytes, limits)?;
        return Ok(None);
    };
    let status = head.status;

    let declared = framing::declared(&head.headers, head.version, section.repeated)?;
    let framing = frame(status, to, declared)?;
    Ok(Some(Parsed {
        len: section.end,
        framing,
        keep_alive: framing != Framing::UntilClose
            && !contradicts(status, declared)
            && framing::keep_alive(&head.headers, head.version),
        expect_continue: false,
        declared_length: declared.length.filter(|_| !forbids_length(status, to)),
    }))
}

/// Where the body of a response ends (RFC 9112 6.3).
fn frame(status: u16, to: RequestKind, declared: Declared) -> Result<Framing, HeadError> {
    if status < 200 && declared.chunked {
        return Err(HeadError::Malformed("Transfer-Encoding in an interim response"));
    }
    let bodiless = status == 304 || to == RequestKind::Head || forbids_length(status, to);
    Ok(match declared.length {
        _ if bodiless => Framing::None,
        _ if declared.chunked => Framing::Chunked,
        Some(length) => Framing::Length(length),
        None => Framing::UntilClose,
    })
}

/// Whether `Content-Length` must be ignored here (RFC 9110 8.6, 9.3.6).
fn forbids_length(status: u16, to: RequestKind) -> bool {
    status < 200 || status == 204 || (to == RequestKind::Connect && status < 300)
}

/// Whether a 204 announces a body that it must not have: whatever follows on the connection may be that body.
fn contradicts(status: u16, declared: Declared) -> bool {
    status == 204 && (declared.chunked || declared.length.is_some_and(|length| length > 0))
}

/// The status line at the beginning of the bytes: its length.
fn parse_line(bytes: &[u8], head: &mut ResponseHead) -> Result<Option<usize>, HeadError> {
    let malformed = |what| Err(HeadError::Malformed(what));
    let Some(version) = line::version(bytes)? else {
        return Ok(None);
    };
    // `HTTP/1.1 200`, then the end of the line or a space and the reason.
    let status = match &bytes[8..] {
        [b' ', hundreds @ b'1'..=b'5', tens, ones, ..] if tens.is_ascii_digit() && ones.is_ascii_digit() => {
            [hundreds, tens, ones]
                .iter()
                .fold(0, |status, &digit| status * 10 + u16::from(digit - b'0'))
        }
        [] | [b' '] => return Ok(None),
        [b' ', digits @ ..] if digits.len() < 3 && digits.iter().all(u8::is_ascii_digit) => return Ok(None),
        [b' ', ..] => return malformed("the status code is not between 100 and 599"),
        _ => return malformed("no space after the version"),
    };
    let after = &bytes[12..];
    let reason_len = byte::text_len(after);
    if !matches!(after, [] | [b' ' | b'\r' | b'\n', ..]) {
        return malformed("no space after the status code");
    }
    let Some(()) = line::end(&after[reason_len..])? else {
        return Ok(None);
    };
    head.version = version;
    head.status = status;
    head.reason.extend_from_slice(byte::trim(&after[..reason_len]));
    Ok(Some(12 + reason_len + 2))
}

#[cfg(test)]
mod tests;
