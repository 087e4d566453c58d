//! Response heads (RFC 9112 4): the status line, the fields, and what they say of the body and the connection.

use std::mem::MaybeUninit;

use super::{FieldArray, HeadError, HeadLimits, MAX_FIELDS, Parsed, Version, check_complete, check_partial};
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
    // httparse would skip empty lines.
    if let [b'\r' | b'\n', ..] = bytes {
        return Err(HeadError::Malformed(
            "an empty line where a response should begin",
        ));
    }
    let mut fields: FieldArray<'_> = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let window = super::window(bytes, limits);
    // `max_fields` is at most the length of `fields`.
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        window,
        &mut fields[..limits.max_fields()],
    );
    let len = match parsed {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => {
            check_partial(bytes, limits)?;
            return Ok(None);
        }
        Err(error) => return Err(super::explain(error, window, limits)),
    };
    check_complete(bytes, len, limits)?;
    let status = response.code.unwrap_or_default();
    if !(100..=599).contains(&status) {
        return Err(HeadError::Malformed("the status code is not between 100 and 599"));
    }
    head.status = status;
    head.version = Version::of_minor(response.version);
    let repeated = head.headers.load(&bytes[..len], response.headers)?;
    head.reason.extend_from_slice(reason(&bytes[..len]));

    let declared = framing::declared(&head.headers, head.version, repeated)?;
    let framing = frame(status, to, declared)?;
    Ok(Some(Parsed {
        len,
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

/// The reason phrase, which httparse does not give if it contains bytes above 127.
fn reason(head: &[u8]) -> &[u8] {
    let line_len = memchr::memchr(b'\r', head).unwrap_or(head.len());
    // `HTTP/1.1 200 ` is 13 bytes.
    head.get(13..line_len).map_or(&[], byte::trim)
}

#[cfg(test)]
mod tests;
