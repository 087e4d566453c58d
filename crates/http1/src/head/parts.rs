//! Request heads that did not come as HTTP/1 text but in parts: from HTTP/2 (RFC 9113 8.3) or HTTP/3 (RFC 9114 4.3).
//!
//! The rules are those of text: the same targets, the same authority, the same limits, nothing repeated that may stand
//! once. What these protocols add is refused here too: fields that belong to an HTTP/1 connection, upper-case names,
//! whitespace around values. Limits count what the head would take as HTTP/1 text.

use super::method::Method;
use super::request::RequestHead;
use super::{HeadError, HeadLimits, Version};
use crate::framing;
use crate::headers::Headers;
use crate::known::Known;
use crate::{BodyError, byte, trailers};

/// The pseudo-fields of a request (RFC 9113 8.3.1).
#[derive(Clone, Copy, Debug)]
pub struct Pseudo<'a> {
    pub method: &'a str,
    /// None where the sender's is of no interest; else it must be `http` or `https`.
    pub scheme: Option<&'a str>,
    pub authority: Option<&'a str>,
    /// None for CONNECT.
    pub path: Option<&'a str>,
}

/// What a head in parts says about its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Declared {
    /// `Content-Length`.
    pub length: Option<u64>,
    /// The client waits for `100 Continue` before it sends the body (RFC 9110 10.1.1).
    pub expect_continue: bool,
}

/// A head that is being put together.
#[derive(Debug)]
pub struct Assembly<'a> {
    head: &'a mut RequestHead,
    limits: HeadLimits,
    bytes: usize,
    fields: usize,
    /// The cookie crumbs so far, once there are several (RFC 9113 8.2.3).
    crumbs: Vec<u8>,
}

impl<'a> Assembly<'a> {
    /// Begins with the pseudo-fields. `head` is cleared; what it holds is of no use unless [`Assembly::end`] succeeds.
    pub fn begin(
        head: &'a mut RequestHead,
        limits: &HeadLimits,
        version: Version,
        pseudo: &Pseudo<'_>,
    ) -> Result<Self, HeadError> {
        head.clear();
        head.version = version;
        let malformed = HeadError::Malformed("the method is no token of at most 64 bytes");
        head.method = Method::parse(pseudo.method).ok_or(malformed)?;
        let path = pseudo.path.unwrap_or_default();
        if path.len() > limits.target {
            return Err(HeadError::TargetTooLong {
                limit: limits.target,
                measured: path.len(),
            });
        }
        if pseudo.path.is_some() == (head.method == Method::Connect) {
            return Err(HeadError::Malformed(
                "a path for CONNECT, or none for another method",
            ));
        }
        if !byte::is_target(path.as_bytes()) {
            return Err(HeadError::Malformed("the target contains a byte that no URI has"));
        }
        head.load_target(pseudo.scheme, pseudo.authority, path)?;
        // As text: the request line, the empty line, and Host.
        let authority = pseudo.authority.map_or(0, |authority| authority.len() + 8);
        let assembly = Self {
            bytes: pseudo.method.len() + path.len() + 14 + authority,
            head,
            limits: *limits,
            fields: usize::from(pseudo.authority.is_some()),
            crumbs: Vec::new(),
        };
        assembly.check_size()?;
        Ok(assembly)
    }

    /// Adds a field. Nothing may be added after a refusal.
    pub fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        let known = Known::of(name);
        if name == b"cookie" && self.head.headers.contains(Known::Cookie) {
            return self.crumb(value);
        }
        self.bytes += name.len() + value.len() + 4;
        self.fields += 1;
        self.check_size()?;
        match known {
            Some(
                Known::Connection
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::TransferEncoding
                | Known::Upgrade,
            ) => {
                return Err(HeadError::Malformed(
                    "a field that belongs to a connection of HTTP/1",
                ));
            }
            Some(Known::Te) if value != b"trailers" => {
                return Err(HeadError::Malformed("TE is other than \"trailers\""));
            }
            Some(Known::Host) if self.head.headers.contains(Known::Host) => {
                return Err(HeadError::Malformed("Host is repeated"));
            }
            Some(Known::ContentLength) if self.head.headers.contains(Known::ContentLength) => {
                return Err(HeadError::Malformed("Content-Length is repeated"));
            }
            _ => {}
        }
        push(&mut self.head.headers, known, name, value).map_err(HeadError::Malformed)
    }

    /// Ends the fields: what they say together must hold.
    pub fn end(self) -> Result<Declared, HeadError> {
        let Self { head, crumbs, .. } = self;
        if !crumbs.is_empty() {
            head.headers.set(Known::Cookie, &crumbs);
        }
        head.check_authority()?;
        let declared = framing::declared(&head.headers, head.version, 0)?;
        let is_known = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
        Ok(Declared {
            length: declared.length,
            expect_continue: head.headers.contains(Known::Expect)
                && declared.length != Some(0)
                && head.headers.list(Known::Expect).any(is_known),
        })
    }

    /// A further piece of the cookie, which becomes one field again (RFC 9113 8.2.3).
    fn crumb(&mut self, value: &[u8]) -> Result<(), HeadError> {
        self.bytes += value.len() + 2;
        self.check_size()?;
        check_value(value).map_err(HeadError::Malformed)?;
        if self.crumbs.is_empty() {
            let first = self.head.headers.get(Known::Cookie).unwrap_or_default();
            self.crumbs.extend_from_slice(first);
        }
        self.crumbs.extend_from_slice(b"; ");
        self.crumbs.extend_from_slice(value);
        Ok(())
    }

    fn check_size(&self) -> Result<(), HeadError> {
        if self.bytes > self.limits.bytes {
            return Err(HeadError::HeadTooLarge {
                limit: self.limits.bytes,
                measured: self.bytes,
            });
        }
        if self.fields > self.limits.fields {
            return Err(HeadError::TooManyFields {
                limit: self.limits.fields,
                measured: self.fields,
            });
        }
        Ok(())
    }
}

/// Takes trailer fields that came in parts, as strictly as those of a chunked body.
pub fn collect_trailers<'f>(
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    limits: &HeadLimits,
) -> Result<Headers, BodyError> {
    let mut trailers = TrailerAssembly::new(limits);
    for (name, value) in fields {
        trailers.field(name, value)?;
    }
    Ok(trailers.end())
}

/// Trailers that are being put together.
#[derive(Debug)]
pub struct TrailerAssembly {
    headers: Headers,
    limits: HeadLimits,
    bytes: usize,
}

impl TrailerAssembly {
    /// Begins with none.
    pub fn new(limits: &HeadLimits) -> Self {
        Self {
            headers: Headers::new(),
            limits: *limits,
            bytes: 2,
        }
    }

    /// Adds a field. Nothing may be added after a refusal.
    pub fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), BodyError> {
        self.bytes += name.len() + value.len() + 4;
        if self.bytes > self.limits.bytes || self.headers.len() >= self.limits.fields {
            return Err(BodyError::TrailersTooLarge);
        }
        let known = Known::of(name);
        if trailers::is_forbidden(known, name) {
            return Err(BodyError::BadTrailer(
                "a field that frames, routes, authenticates or controls a message",
            ));
        }
        push(&mut self.headers, known, name, value).map_err(BodyError::BadTrailer)
    }

    /// The fields.
    pub fn end(self) -> Headers {
        self.headers
    }
}

/// Adds a field if its name and its value are as they must be.
fn push(headers: &mut Headers, known: Option<Known>, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
    check_value(value)?;
    // RFC 9113 8.2.1: a name with upper-case letters is malformed.
    if name.iter().any(u8::is_ascii_uppercase) {
        return Err("a field name has upper-case letters");
    }
    if headers.append_checked(known, name, value) {
        Ok(())
    } else {
        Err("a field name is no token")
    }
}

fn check_value(value: &[u8]) -> Result<(), &'static str> {
    if !byte::is_text(value) {
        return Err("a control byte in a field value");
    }
    // RFC 9113 8.2.1 again.
    if let [b' ' | b'\t', ..] | [.., b' ' | b'\t'] = value {
        return Err("a field value begins or ends with whitespace");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
