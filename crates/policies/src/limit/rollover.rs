//! How much of a period's allowance goes on into the next: a number, or a share of the limit.

use std::borrow::Cow;
use std::fmt;

use gatehouse_core::config::Percent;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// What of a period may be used in the next, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollover {
    /// So much. 0 is nothing.
    Number(u64),
    /// That share of the limit.
    Share(Percent),
}

impl Default for Rollover {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl Rollover {
    /// How much that is of a limit; of a share whole uses only.
    pub fn of(self, limit: u64) -> u64 {
        match self {
            Self::Number(number) => number,
            Self::Share(share) => {
                let part = u128::from(limit) * u128::from(share.millionths()) / u128::from(Percent::WHOLE);
                // A share is at most the whole.
                u64::try_from(part).unwrap_or(limit)
            }
        }
    }
}

impl Serialize for Rollover {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Share(share) => share.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Rollover {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrShare;

        impl Visitor<'_> for NumberOrShare {
            type Value = Rollover;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, or a share of the limit such as `50%`")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Rollover, E> {
                Ok(Rollover::Number(number))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Rollover, E> {
                text.parse().map(Rollover::Share).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(NumberOrShare)
    }
}

impl JsonSchema for Rollover {
    fn schema_name() -> Cow<'static, str> {
        "Rollover".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let share = generator.subschema_for::<Percent>();
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": 0 }, share] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_down() {
        let of = |text: &str, limit| serde_json::from_str::<Rollover>(text).unwrap().of(limit);
        assert_eq!((of("500", 10), of("0", 10)), (500, 0));
        assert_eq!((of("\"50%\"", 11), of("\"100%\"", u64::MAX)), (5, u64::MAX));
    }
}
