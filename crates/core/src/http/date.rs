//! The `Date` field's value (RFC 9110 6.6.1), made once a second.

use std::time::{Duration, UNIX_EPOCH};

/// An IMF-fixdate, inline.
#[derive(Clone, Copy, Default)]
pub struct HttpDate {
    text: [u8; 29],
    second: u64,
}

impl HttpDate {
    /// Makes it the date of a second since 1970, if it is not already.
    pub fn update(&mut self, second: u64) {
        if self.second == second {
            return;
        }
        let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
        if let Ok(text) = text.into_bytes().try_into() {
            *self = Self { text, second };
        }
    }

    /// The value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }
}
