//! Request heads (RFC 9112 3): the request line, the fields, and what they say of the body and the connection.

use std::mem::MaybeUninit;

use super::method::Method;
use super::target::{Target, TargetForm};
use super::{FieldArray, HeadError, HeadLimits, MAX_FIELDS, Parsed, Version, check_complete, check_partial};
use crate::framing::{self, Framing};
use crate::headers::Headers;
use crate::known::Known;

/// The head of a request; reused from one to the next, it keeps its capacity.
#[derive(Clone, Default, Debug)]
pub struct RequestHead {
    pub method: Method,
    pub version: Version,
    pub headers: Headers,
    target: Target,
}

impl RequestHead {
    /// An empty head: GET, HTTP/1.1, no target.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes it an empty head again and keeps the capacity.
    pub fn clear(&mut self) {
        self.method = Method::Get;
        self.version = Version::Http11;
        self.headers.clear();
        self.target.clear();
    }

    /// The form the target was written in.
    pub fn form(&self) -> TargetForm {
        self.target.form()
    }

    /// The path, as received or as set: begins with `/`, or is `*` for an OPTIONS about the whole server, or is empty
    /// for CONNECT, whose target has none.
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// The query without its `?`; some but empty if the target ends in `?`.
    pub fn query(&self) -> Option<&str> {
        self.target.query()
    }

    /// Replaces the path. A missing first `/` is added; bytes that cannot stand in a path are percent-encoded.
    pub fn set_path(&mut self, path: &str) {
        self.target.set_path(path);
    }

    /// Replaces or removes the query. Bytes that cannot stand in a query are percent-encoded.
    pub fn set_query(&mut self, query: Option<&str>) {
        self.target.set_query(query);
    }

    /// `http` or `https` for the absolute form, none for the others.
    pub fn scheme(&self) -> Option<&str> {
        self.target.scheme()
    }

    /// The host and port the request is for, as sent: of the target if it names them, else of `Host`. Validated
    /// (host name of unreserved characters, or address; port a number) but not normalised. Empty for an HTTP/1.0
    /// request without either. Edits of `Host` do not change it.
    pub fn authority(&self) -> &str {
        self.target.authority()
    }

    /// The target as received, for logs.
    pub fn raw_target(&self) -> &str {
        self.target.raw()
    }
}

/// Parses the head of a request from the beginning of `bytes`. `head` is cleared first; what it holds is of no use
/// unless the result is `Ok(Some)`.
///
/// `Ok(None)`: so far so good, more bytes are needed. One empty line before the request line is skipped (RFC 9112
/// 2.2) and counted in `Parsed::len`.
pub fn parse_request(
    bytes: &[u8],
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Result<Option<Parsed>, HeadError> {
    head.clear();
    let skipped = match bytes {
        [] | [b'\r'] | [b'\r', b'\n'] => return Ok(None),
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    };
    let bytes = &bytes[skipped..];
    // httparse would skip any number of empty lines, LF alone included.
    if let [b'\r' | b'\n', ..] = bytes {
        return Err(HeadError::Malformed(
            "an empty line or lone CR or LF where a request should begin",
        ));
    }
    let mut fields: FieldArray<'_> = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let window = super::window(bytes, limits);
    // `max_fields` is at most the length of `fields`.
    let len = match request.parse_with_uninit_headers(window, &mut fields[..limits.max_fields()]) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => {
            let method_len = request.method.map_or(bytes.len(), str::len);
            check_target(measure_target(bytes, method_len), limits)?;
            check_partial(bytes, limits)?;
            return Ok(None);
        }
        Err(error) => return Err(super::explain(error, window, limits)),
    };
    let raw = request.path.unwrap_or_default();
    check_target(raw.len(), limits)?;
    check_complete(bytes, len, limits)?;
    head.method = Method::parse(request.method.unwrap_or_default())
        .ok_or(HeadError::Malformed("the method is longer than 64 bytes"))?;
    head.version = Version::of_minor(request.version);
    let repeated = head.headers.load(&bytes[..len], request.headers)?;
    head.target.load(raw, &head.method)?;
    check_host(head, repeated)?;

    let declared = framing::declared(&head.headers, head.version, repeated)?;
    Ok(Some(Parsed {
        len: skipped + len,
        framing: match declared.length {
            _ if declared.chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::None,
        },
        keep_alive: framing::keep_alive(&head.headers, head.version),
        expect_continue: head.version == Version::Http11
            && head.headers.contains(Known::Expect)
            && head
                .headers
                .list(Known::Expect)
                .any(|value| value.eq_ignore_ascii_case(b"100-continue")),
        declared_length: declared.length,
    }))
}

/// RFC 9112 3.2: exactly one valid `Host`, and HTTP/1.0 alone may do without.
fn check_host(head: &mut RequestHead, repeated: u64) -> Result<(), HeadError> {
    if repeated & Known::Host.bit() != 0 {
        return Err(HeadError::Malformed("Host is repeated"));
    }
    match head.headers.get(Known::Host) {
        Some(value) => head.target.load_host(value),
        None if head.version == Version::Http10 => Ok(()),
        None => Err(HeadError::Malformed("Host is missing")),
    }
}

fn check_target(measured: usize, limits: &HeadLimits) -> Result<(), HeadError> {
    let limit = limits.target;
    if measured > limit {
        Err(HeadError::TargetTooLong { limit, measured })
    } else {
        Ok(())
    }
}

/// The length of the target in an incomplete head, as far as it has come.
fn measure_target(bytes: &[u8], method_len: usize) -> usize {
    let target = bytes.get(method_len + 1..).unwrap_or_default();
    memchr::memchr(b' ', target).unwrap_or(target.len())
}

#[cfg(test)]
mod tests;
