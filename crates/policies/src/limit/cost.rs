//! What a request costs: a number, or what a text with variables says.

use std::borrow::Cow;
use std::fmt;

use gatehouse_core::config::{Diagnostic, Template};
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::policy::Compile;
use gatehouse_http1 as http1;
use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Unexpected, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

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

/// What a request is found to have cost once it is answered. It takes the place of `cost`, which is what a request has to
/// have left to be let in: more is counted even beyond the limit, so that the next ones are refused; less is given back, but
/// not to a window that is over. What the answer itself says of the limit is from before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FinalCost {
    /// A field of the service's answer that says it: a whole number. It is taken off the answer.
    pub header: Option<String>,
    /// What an answer without that field costs, by its status: `404` or `5xx`. Others cost what `cost` says.
    pub status: IndexMap<String, u64>,
}

impl FinalCost {
    /// Makes what the settings say.
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    pub fn compile(self, cx: &Compile<'_>) -> Result<Settlement, Diagnostic> {
        if let Some(name) = self
            .header
            .as_ref()
            .filter(|name| !http1::is_token(name.as_bytes()))
        {
            let message = format!("`{name}` cannot be the name of a header field");
            return Err(cx.error("final_cost.header", message));
        }
        if self.header.is_none() && self.status.is_empty() {
            let message = "nothing says what was used; write `header`, `status` or both";
            return Err(cx.error("final_cost", message));
        }
        let mut by_status = Vec::with_capacity(self.status.len());
        for (written, cost) in &self.status {
            let range = match written.strip_suffix("xx") {
                Some(class) => class
                    .parse()
                    .ok()
                    .map(|class: u16| (class.saturating_mul(100), 99)),
                None => written.parse().ok().map(|status| (status, 0)),
            };
            let range = range.filter(|(first, _)| (100..600).contains(first));
            let Some((first, more)) = range else {
                let message = format!("`{written}` is no status; expected such as `404` or `5xx`");
                return Err(cx.error(&format!("final_cost.status.{written}"), message));
            };
            by_status.push((first, first + more, *cost));
        }
        // One status says more than a hundred of them.
        by_status.sort_by_key(|(first, last, _)| last - first);
        Ok(Settlement {
            header: self.header.map(String::into_boxed_str),
            by_status: by_status.into(),
        })
    }
}

/// Finds out what a request has cost.
pub struct Settlement {
    header: Option<Box<str>>,
    by_status: Box<[(u16, u16, u64)]>,
}

impl Settlement {
    /// The cost by the answer, if it says any.
    pub fn of(&self, response: &mut Response) -> Option<u64> {
        let status = response.head.status;
        let said = self.header.as_ref().and_then(|name| {
            let fields = response.headers_mut();
            let said = fields.find(name.as_bytes()).and_then(|value| {
                let text = str::from_utf8(value).ok()?.trim();
                let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                is_number.then(|| text.parse().unwrap_or(u64::MAX))
            });
            fields.remove_name(name.as_bytes());
            said
        });
        said.or_else(|| {
            let mut known = self.by_status.iter();
            let found = known.find(|(first, last, _)| (*first..=*last).contains(&status));
            found.map(|(_, _, cost)| *cost)
        })
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
