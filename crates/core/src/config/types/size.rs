//! Amounts of bytes, such as `16KiB`, and shares, such as `10%`.

use super::text_type;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// An amount of bytes: a whole number, with a unit or without.
///
/// `KiB`, `MiB` and `GiB` are powers of 1024; `KB`, `MB` and `GB` powers of 1000; `B` or nothing is bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(u64);

const UNITS: [(&str, u64); 6] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
];

impl Size {
    /// So many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many times 1024 bytes.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// So many times 1024 * 1024 bytes.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes, as far as this machine can address them.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a size; expected a number of bytes such as `100`, `16KiB` or `1MB`");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = match unit {
            "" | "B" => 1,
            _ => UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1,
        };
        if number.is_empty() {
            return Err(wrong());
        }
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is too large; the largest is 17179869183GiB"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The first unit that divides it is the shortest way to write it; thousands only when exact.
        match UNITS
            .iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
        {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

const SIZE_EXPECTED: &str = "a number of bytes such as `100`, `16KiB` or `1MB`";

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(SIZE_EXPECTED)
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Bytes)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes, alone or with a unit: `KiB`, `MiB`, `GiB` (powers of 1024) or `KB`, `MB`, `GB` (powers of 1000).",
            "type": ["string", "integer"],
            "pattern": "^[0-9]+(B|KiB|MiB|GiB|KB|MB|GB)?$",
            "minimum": 0,
            "examples": ["16KiB", "1MiB", 1000],
        })
    }
}

/// A share of a whole, from `0%` to `100%`, in steps of a ten-thousandth of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Percent(u32);

impl Percent {
    /// Everything.
    pub const ALL: Self = Self(Self::WHOLE);

    /// How many millionths make a whole.
    pub const WHOLE: u32 = 1_000_000;

    /// The share in millionths of the whole, at most [`Percent::WHOLE`].
    pub const fn millionths(self) -> u32 {
        self.0
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a share; expected a percentage such as `10%` or `0.5%`");
        let number = text.strip_suffix('%').ok_or_else(wrong)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !all_digits(whole) || !all_digits(fraction) || whole.len() > 9 {
            return Err(wrong());
        }
        if fraction.len() > 4 {
            return Err(format!("`{text}` is too fine; at most four decimals count"));
        }
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        let fraction: u64 = format!("{fraction:0<4}").parse().map_err(|_| wrong())?;
        match u32::try_from(whole * 10_000 + fraction) {
            Ok(share) if share <= Self::WHOLE => Ok(Self(share)),
            _ => Err(format!(
                "`{text}` is more than the whole; expected at most `100%`"
            )),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / 10_000, self.0 % 10_000);
        if fraction == 0 {
            return write!(f, "{whole}%");
        }
        let digits = format!("{fraction:04}");
        write!(f, "{whole}.{}%", digits.trim_end_matches('0'))
    }
}

text_type!(Percent, "a percentage such as `10%` or `0.5%`", {
    "description": "A share of the whole, from `0%` to `100%`, with at most four decimals.",
    "pattern": "^[0-9]+([.][0-9]{1,4})?%$",
    "examples": ["10%", "0.5%"],
});

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sizes_read_and_print() {
        let cases = [
            ("100", 100, "100"),
            ("100B", 100, "100"),
            ("16KiB", 16_384, "16KiB"),
            ("1MiB", 1_048_576, "1MiB"),
            ("2GiB", 2_147_483_648, "2GiB"),
            ("1KB", 1_000, "1KB"),
            ("5MB", 5_000_000, "5MB"),
            ("1GB", 1_000_000_000, "1GB"),
            ("0", 0, "0"),
        ];
        for (text, bytes, printed) in cases {
            let size: Size = text.parse().unwrap();
            assert_eq!(
                (size.get(), size.to_string().as_str()),
                (bytes, printed),
                "{text}"
            );
        }
        assert_eq!(serde_json::from_value::<Size>(json!(4096)).unwrap(), Size::kib(4));
        for text in [
            "",
            "KiB",
            "1kb",
            "1 KiB",
            "-1",
            "1.5MiB",
            "18446744073709551616",
            "99999999999GiB",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn percents_read_and_print() {
        let cases = [
            ("0%", 0),
            ("10%", 100_000),
            ("0.5%", 5_000),
            ("99.9999%", 999_999),
            ("100%", 1_000_000),
        ];
        for (text, millionths) in cases {
            let percent: Percent = text.parse().unwrap();
            assert_eq!(
                (percent.millionths(), percent.to_string().as_str()),
                (millionths, text),
                "{text}"
            );
        }
        for text in [
            "",
            "%",
            "10",
            "101%",
            "-1%",
            "1.%",
            "0.00001%",
            "100.0001%",
            "1e2%",
        ] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }
}
