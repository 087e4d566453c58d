//! Wall-clock timestamps for log lines: RFC 3339, UTC, milliseconds.
//!
//! Dates cost a few divisions, so the text of the current second is kept and only milliseconds are written
//! each time. Each worker has its own clock; there is nothing to share.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::telemetry::json;

/// Formats points in time.
#[derive(Debug, Clone)]
pub struct Clock {
    second: u64,
    text: [u8; 19],
}

/// `2026-01-31T23:59:59.999Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp([u8; 24]);

impl Clock {
    /// A clock that has formatted nothing yet.
    pub fn new() -> Self {
        Clock {
            second: 0,
            text: *b"1970-01-01T00:00:00",
        }
    }

    /// The text of a point in time.
    pub fn stamp(&mut self, now: SystemTime) -> Stamp {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if since.as_secs() != self.second {
            self.turn(since.as_secs());
        }
        let mut stamp = *b"0000-00-00T00:00:00.000Z";
        stamp[..19].copy_from_slice(&self.text);
        stamp[20..23].copy_from_slice(&json::three_digits(since.subsec_millis()));
        Stamp(stamp)
    }

    #[cold]
    fn turn(&mut self, second: u64) {
        self.second = second;
        let date = i64::try_from(second)
            .ok()
            .and_then(|second| jiff::Timestamp::from_second(second).ok());
        let Some(date) = date else { return };
        // `2026-01-31T23:59:59Z`; jiff's range ends before years have five digits.
        if let Some(text) = date.to_string().as_bytes().first_chunk() {
            self.text = *text;
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new()
    }
}

impl Stamp {
    /// The text; plain ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn stamps_are_rfc_3339() {
        let mut clock = Clock::new();
        let cases: [(u64, &str); 7] = [
            (0, "1970-01-01T00:00:00.000Z"),
            (7, "1970-01-01T00:00:00.007Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (951_782_400_999, "2000-02-29T00:00:00.999Z"),
            (1_767_225_599_001, "2025-12-31T23:59:59.001Z"),
            (1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
            (253_402_207_199_000, "9999-12-30T21:59:59.000Z"),
        ];
        for (milliseconds, expected) in cases {
            let stamp = clock.stamp(UNIX_EPOCH + Duration::from_millis(milliseconds));
            assert_eq!(str::from_utf8(stamp.as_bytes()), Ok(expected));
        }
        // A clock set to before 1970, or to the far future, must not take the gateway down.
        assert!(
            clock
                .stamp(UNIX_EPOCH - Duration::from_secs(1))
                .as_bytes()
                .starts_with(b"1970")
        );
        clock.stamp(UNIX_EPOCH + Duration::from_secs(1 << 50));
    }
}
