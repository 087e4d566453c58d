//! Request targets in their four forms (RFC 9112 3.2), taken apart but not normalised.
//!
//! One string holds the target as received, the `Host` value after it, and behind them what replaces the path or the
//! query, so that a reused head allocates nothing. The caller normalises the path and matches and forwards the same
//! form.

use std::ops::Range;

use super::HeadError;
use super::authority::Authority;
use super::method::Method;
use crate::byte;

/// How a request target is written (RFC 9112 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TargetForm {
    /// `/path?query`.
    #[default]
    Origin,
    /// `http://host/path?query`.
    Absolute,
    /// `host:port`; CONNECT only.
    Authority,
    /// `*`; OPTIONS only.
    Asterisk,
}

/// A target and the parts it was found to have. All ranges lie within `text` on character boundaries, which is ASCII.
#[derive(Clone, Default, Debug)]
pub(crate) struct Target {
    text: String,
    raw: usize,
    path: Range<usize>,
    query: Option<Range<usize>>,
    authority: Range<usize>,
    scheme: Option<&'static str>,
    form: TargetForm,
}

impl Target {
    pub(crate) fn clear(&mut self) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        *self = Self {
            text,
            ..Self::default()
        };
    }

    /// Takes a target apart, of which `line::target` has looked at the bytes; `self` is clear.
    pub(crate) fn load(&mut self, raw: &str, method: &Method) -> Result<(), HeadError> {
        self.text.push_str(raw);
        self.raw = raw.len();
        if *method == Method::Connect {
            return self.load_authority(raw);
        }
        if raw.starts_with('/') {
            self.form = TargetForm::Origin;
            return self.load_path(0);
        }
        if raw == "*" {
            if *method != Method::Options {
                return Err(HeadError::Malformed("the target * is for OPTIONS only"));
            }
            self.form = TargetForm::Asterisk;
            self.path = 0..1;
            return Ok(());
        }
        self.load_absolute(raw, method)
    }

    fn load_authority(&mut self, raw: &str) -> Result<(), HeadError> {
        if Authority::parse(raw).is_none_or(|authority| authority.port.is_none()) {
            return Err(HeadError::Malformed("the target of CONNECT is no host and port"));
        }
        self.form = TargetForm::Authority;
        self.authority = 0..raw.len();
        Ok(())
    }

    fn load_absolute(&mut self, raw: &str, method: &Method) -> Result<(), HeadError> {
        let Some((scheme, rest)) = raw.split_once("://") else {
            return Err(HeadError::Malformed("the target is neither a path nor a URI"));
        };
        self.form = TargetForm::Absolute;
        self.scheme = Some(if scheme.eq_ignore_ascii_case("http") {
            "http"
        } else if scheme.eq_ignore_ascii_case("https") {
            "https"
        } else {
            return Err(HeadError::Malformed(
                "the target's scheme is neither http nor https",
            ));
        });
        let start = raw.len() - rest.len();
        let end = rest.find(['/', '?']).map_or(raw.len(), |at| start + at);
        if Authority::parse(&raw[start..end]).is_none() {
            return Err(HeadError::Malformed("the target's host or port is invalid"));
        }
        self.authority = start..end;
        self.load_path(end)?;
        if self.path.is_empty() {
            // RFC 9112 3.2.4: OPTIONS of a URI with neither path nor query is about the server as a whole.
            let whole_server = *method == Method::Options && self.query.is_none();
            self.path = self.push(if whole_server { "*" } else { "/" });
        }
        Ok(())
    }

    /// Finds path and query from `start` to the end.
    fn load_path(&mut self, start: usize) -> Result<(), HeadError> {
        let bytes = &self.text.as_bytes()[start..];
        let path_len = byte::find(b'?', bytes).unwrap_or(bytes.len());
        if !byte::has_whole_percents(&bytes[..path_len]) {
            return Err(HeadError::Malformed(
                "a percent sign in the path is not followed by two hex digits",
            ));
        }
        let end = start + path_len;
        self.path = start..end;
        self.query = (path_len < bytes.len()).then_some(end + 1..self.text.len());
        Ok(())
    }

    /// Takes the `Host` value, which must name the same as the target, if that names a host.
    pub(crate) fn load_host(&mut self, value: &[u8]) -> Result<(), HeadError> {
        let host = std::str::from_utf8(value)
            .ok()
            .and_then(|text| Some((text, Authority::parse(text)?)));
        let Some((text, host)) = host else {
            return Err(HeadError::Malformed("Host is empty or invalid"));
        };
        if let Some(authority) = Authority::parse(self.authority()) {
            let default = match self.scheme {
                Some("http") => 80,
                Some(_) => 443,
                None => authority.port.unwrap_or_default(),
            };
            if !authority.is_same(host, default) {
                return Err(HeadError::Malformed("Host contradicts the target"));
            }
        } else {
            self.authority = self.push(text);
        }
        Ok(())
    }

    pub(crate) fn form(&self) -> TargetForm {
        self.form
    }

    pub(crate) fn scheme(&self) -> Option<&'static str> {
        self.scheme
    }

    pub(crate) fn raw(&self) -> &str {
        self.part(0..self.raw)
    }

    pub(crate) fn authority(&self) -> &str {
        self.part(self.authority.clone())
    }

    pub(crate) fn path(&self) -> &str {
        self.part(self.path.clone())
    }

    pub(crate) fn query(&self) -> Option<&str> {
        self.query.clone().map(|range| self.part(range))
    }

    /// Takes `n` bytes off the beginning of the path; a path that would not begin with `/` stays.
    pub(crate) fn strip_path(&mut self, n: usize) {
        let start = self.path.start + n;
        if start < self.path.end && self.text.as_bytes()[start] == b'/' {
            self.path.start = start;
        }
    }

    /// Where the path is now.
    pub(crate) fn mark(&self) -> Range<usize> {
        self.path.clone()
    }

    /// The path as it was at a mark.
    pub(crate) fn at(&self, mark: &Range<usize>) -> &str {
        self.text.get(mark.clone()).unwrap_or_default()
    }

    pub(crate) fn set_path(&mut self, path: &str) {
        let start = self.text.len();
        if !path.starts_with('/') && path != "*" {
            self.text.push('/');
        }
        self.push(&byte::target_part(path, false));
        self.path = start..self.text.len();
    }

    pub(crate) fn set_query(&mut self, query: Option<&str>) {
        self.query = query.map(|query| self.push(&byte::target_part(query, true)));
    }

    fn push(&mut self, part: &str) -> Range<usize> {
        let start = self.text.len();
        self.text.push_str(part);
        start..self.text.len()
    }

    fn part(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
