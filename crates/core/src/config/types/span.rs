//! Lengths of time, such as `250ms`, `10s` or `1h30m`.

use super::text_type;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time: numbers with units, largest unit first, added up.
///
/// Units are `ms`, `s`, `m`, `h` and `d`; numbers are whole. The finest step is one millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(Duration);

/// Units with their milliseconds, largest first. `ms` stands before `m` and `s`, so that it is tried first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("ms", 1),
    ("m", 60_000),
    ("s", 1_000),
];

/// Longest span there may be: a hundred years. Adding it to a point in time never overflows.
const LONGEST: u64 = 100 * 365 * 86_400_000;

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// A span of so many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// A span of so many milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// The span as the standard library's type.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// True for a span of no time.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!("`{text}` {why}; expected a length of time such as `250ms`, `10s` or `1h30m`")
        };
        if text.is_empty() {
            return Err(wrong("is empty"));
        }
        let (mut rest, mut total, mut smallest) = (text, 0u64, u64::MAX);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            if number.is_empty() {
                return Err(wrong("is not a length of time"));
            }
            if tail.is_empty() {
                return Err(wrong("has no unit"));
            }
            let Some((unit, factor)) = UNITS.iter().find(|(unit, _)| tail.starts_with(unit)) else {
                return Err(wrong("is not a length of time"));
            };
            if *factor >= smallest {
                return Err(wrong("does not go from the largest unit to the smallest"));
            }
            smallest = *factor;
            total = number
                .parse::<u64>()
                .ok()
                .and_then(|number| number.checked_mul(*factor))
                .and_then(|part| total.checked_add(part))
                .filter(|total| *total <= LONGEST)
                .ok_or_else(|| format!("`{text}` is too long; the longest is 36500d"))?;
            rest = tail.strip_prefix(unit).unwrap_or_default();
        }
        Ok(Self::from_millis(total))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in [UNITS[0], UNITS[1], UNITS[3], UNITS[4], UNITS[2]] {
            if left >= factor {
                write!(f, "{}{unit}", left / factor)?;
                left %= factor;
            }
        }
        Ok(())
    }
}

text_type!(Span, "a length of time such as `250ms`, `10s` or `1h30m`", {
    "description": "A length of time: whole numbers with the units `d`, `h`, `m`, `s` and `ms`, such as `250ms` or `1h30m`.",
    "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
    "minLength": 2,
    "examples": ["250ms", "10s", "1h30m"],
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_units_and_prints_them_back() {
        let cases = [
            ("250ms", 250, "250ms"),
            ("10s", 10_000, "10s"),
            ("1m", 60_000, "1m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("90m", 5_400_000, "1h30m"),
            ("1500ms", 1_500, "1s500ms"),
            ("2d", 172_800_000, "2d"),
            ("0s", 0, "0s"),
            ("1m5ms", 60_005, "1m5ms"),
        ];
        for (text, milliseconds, printed) in cases {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.get().as_millis(), milliseconds, "{text}");
            assert_eq!(span.to_string(), printed, "{text}");
            assert_eq!(printed.parse::<Span>().unwrap(), span);
        }
    }

    #[test]
    fn refuses_with_a_reason() {
        let cases = [
            ("", "is empty"),
            ("10", "has no unit"),
            ("s", "is not a length of time"),
            ("10 s", "is not a length of time"),
            ("1.5s", "is not a length of time"),
            ("-1s", "is not a length of time"),
            ("10sec", "is not a length of time"),
            ("30m1h", "does not go from the largest"),
            ("1s1s", "does not go from the largest"),
            ("99999999999999999999s", "is too long"),
            ("36501d", "is too long"),
        ];
        for (text, reason) in cases {
            let error = text.parse::<Span>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
