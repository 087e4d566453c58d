//! Points in time, such as `2027-01-31T12:00:00Z`.

use super::text_type;
use std::fmt;
use std::str::FromStr;

/// A point in time as RFC 3339 writes it, or a date, which means its first moment in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// Seconds since 1970; negative before.
    pub fn unix_seconds(self) -> i64 {
        self.0.as_second()
    }
}

impl FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let date = || {
            let date = text.parse::<jiff::civil::Date>().ok()?;
            Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
        };
        text.parse().ok().or_else(date).map(Timestamp).ok_or_else(|| {
            format!(
                "`{text}` is not a point in time; expected such as `2027-01-31T12:00:00Z` or `2027-01-31`"
            )
        })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_type!(Timestamp, "a point in time such as `2027-01-31T12:00:00Z`", {
    "description": "A point in time (RFC 3339), such as `2027-01-31T12:00:00Z`; or a date, which means its first moment in UTC.",
    "examples": ["2027-01-31T12:00:00Z", "2027-01-31"],
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_and_dates() {
        let seconds = |text: &str| text.parse::<Timestamp>().map(Timestamp::unix_seconds);
        assert_eq!(seconds("1970-01-02"), Ok(86_400));
        assert_eq!(seconds("1970-01-01T01:00:00+01:00"), Ok(0));
        for wrong in ["", "tomorrow", "2027-02-30", "12:00", "1700000000"] {
            assert!(
                seconds(wrong).unwrap_err().contains("is not a point in time"),
                "{wrong}"
            );
        }
    }
}
