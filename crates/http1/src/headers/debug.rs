//! How fields are shown to people: names and values, but never secrets.

use std::fmt;

use super::{Field, Headers};
use crate::known::Known;

/// Names and values, but not the values that are secrets.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|field| (Lossy(field.name), Shown(field))))
            .finish()
    }
}

struct Lossy<'a>(&'a [u8]);

impl fmt::Debug for Lossy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

struct Shown<'a>(Field<'a>);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.known {
            Some(
                Known::Authorization
                | Known::ProxyAuthorization
                | Known::Cookie
                | Known::SetCookie
                | Known::XApiKey,
            ) => f.write_str("(secret)"),
            _ => Lossy(self.0.value).fmt(f),
        }
    }
}
