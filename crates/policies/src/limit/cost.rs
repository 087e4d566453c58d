//! What a request costs: a number, or what a text with variables says.

use std::borrow::Cow;
use std::fmt;

use gatehouse_core::config::Template;
use gatehouse_core::exchange::Exchange;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};

/// What a request uses of a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cost {
    /// Always the same.
    Number(u64),
    /// What a text says; 1 if it does not say a whole number, and more than any limit if that is too large to count.
    Text(Template),
}

impl Default for Cost {
    fn default() -> Self {
        Self::Number(1)
    }
}

impl Cost {
    /// The cost of this request.
    pub fn of(&self, ex: &Exchange) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Text(text) => match digits(text, ex) {
                Some(digits) => digits.parse().unwrap_or(u64::MAX),
                None => 1,
            },
        }
    }
}

/// The whole number that a text says for this request, if it says one.
pub(super) fn number(text: &Template, ex: &Exchange) -> Option<u64> {
    digits(text, ex)?.parse().ok()
}

/// The digits of a whole number, of any size. `parse` would take a sign, which nobody means here.
fn digits(text: &Template, ex: &Exchange) -> Option<String> {
    let mut out = Vec::with_capacity(20);
    text.render(&mut out, &mut |variable, out| ex.variable(variable, out));
    let text = str::from_utf8(&out).ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.to_owned())
}

impl Serialize for Cost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Text(text) => text.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Cost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;

        impl Visitor<'_> for NumberOrText {
            type Value = Cost;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a whole number from 1, or a text with variables such as `${request.header.X-Cost}`",
                )
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Cost, E> {
                match number {
                    0 => Err(E::invalid_value(Unexpected::Unsigned(0), &self)),
                    number => Ok(Cost::Number(number)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Cost, E> {
                text.parse().map(Cost::Text).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(NumberOrText)
    }
}

impl JsonSchema for Cost {
    fn schema_name() -> Cow<'static, str> {
        "Cost".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let text = generator.subschema_for::<Template>();
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": 1 }, text] })
    }
}
