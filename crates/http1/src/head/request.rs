//! Request heads (RFC 9112 3): the request line, the fields, and what they say of the body and the connection.

use super::method::Method;
use super::target::{Target, TargetForm};
use super::{HeadError, HeadLimits, Parsed, Version, line};
use crate::byte;
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

/// A path that a head had; see [`RequestHead::mark_path`].
#[derive(Clone, Debug)]
pub struct PathMark(std::ops::Range<usize>);

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

    /// Takes `n` bytes off the beginning of the path, without copying. A path that would then not begin with `/`
    /// stays as it is.
    pub fn strip_path(&mut self, n: usize) {
        self.target.strip_path(n);
    }

    /// Remembers the path, so that it can be read again after it was replaced. Costs nothing.
    pub fn mark_path(&self) -> PathMark {
        PathMark(self.target.mark())
    }

    /// The path as it was when it was marked, in this head.
    pub fn marked_path(&self, mark: &PathMark) -> &str {
        self.target.at(&mark.0)
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

    /// The authority, and the fields to be changed by what it says.
    pub fn authority_and_headers(&mut self) -> (&str, &mut Headers) {
        (self.target.authority(), &mut self.headers)
    }

    /// Takes a target that came in parts, of which the bytes were looked at; the method is set already.
    pub(crate) fn load_target(
        &mut self,
        scheme: Option<&str>,
        authority: Option<&str>,
        path: &str,
    ) -> Result<(), HeadError> {
        self.target.load_parts(&self.method, scheme, authority, path)
    }

    /// RFC 9113 8.3.1: an authority, or `Host`, or both if they agree. `Host` then stands among the fields.
    pub(crate) fn check_authority(&mut self) -> Result<(), HeadError> {
        match self.headers.get(Known::Host) {
            Some(value) => self.target.load_host(value),
            None if self.target.authority().is_empty() => {
                Err(HeadError::Malformed("neither an authority nor Host"))
            }
            None => {
                self.headers
                    .append(Known::Host, self.target.authority().as_bytes());
                Ok(())
            }
        }
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
    if let [b'\r' | b'\n', ..] = bytes {
        return Err(HeadError::Malformed(
            "an empty line or lone CR or LF where a request should begin",
        ));
    }
    let window = super::window(bytes, limits);
    let Some(start) = parse_line(bytes, window, limits, head)? else {
        super::check_partial(bytes, limits)?;
        return Ok(None);
    };
    let Some(section) = head.headers.parse(window, start, limits.fields)? else {
        super::check_partial(bytes, limits)?;
        return Ok(None);
    };
    let repeated = section.repeated;
    check_host(head, repeated)?;

    let declared = framing::declared(&head.headers, head.version, repeated)?;
    Ok(Some(Parsed {
        len: skipped + section.end,
        framing: match declared.length {
            _ if declared.chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::None,
        },
        keep_alive: framing::keep_alive(&head.headers, head.version),
        expect_continue: head.version == Version::Http11
            // RFC 9110 10.1.1: without content there is nothing to wait for.
            && (declared.chunked || declared.length.is_some_and(|length| length > 0))
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

/// The request line at the beginning of `window`: its length. `all` is what has arrived, to measure the target.
fn parse_line(
    all: &[u8],
    window: &[u8],
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Result<Option<usize>, HeadError> {
    let Some(method_len) = line::method(window)? else {
        return Ok(None);
    };
    let start = method_len + 1;
    // `line::method` saw the space after the method.
    let target_len = line::target(&window[start..])?;
    let measured = target_len.unwrap_or(window.len() - start);
    if measured > limits.target {
        let measured = byte::target_len(&all[start..]);
        return Err(HeadError::TargetTooLong {
            limit: limits.target,
            measured,
        });
    }
    let Some(target_len) = target_len else {
        return Ok(None);
    };
    // Likewise for the target.
    let after = &window[start + target_len + 1..];
    let Some(version) = line::version(after)? else {
        return Ok(None);
    };
    let Some(()) = line::end(&after[8..])? else {
        return Ok(None);
    };

    let malformed = HeadError::Malformed("the request line is not ASCII");
    let text = std::str::from_utf8(&window[..start + target_len]).map_err(|_| malformed)?;
    head.method = Method::parse(&text[..method_len]).ok_or(malformed)?;
    head.version = version;
    head.target.load(&text[start..], &head.method)?;
    Ok(Some(start + target_len + 1 + 8 + 2))
}

#[cfg(test)]
mod tests;
