//! What a header, query parameter or cookie must be like for a route to match.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::borrow::Cow;
use std::fmt;

/// A condition on one value: a text it must equal, or one of the tests below, perhaps inverted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ValueMatch {
    /// What is tested.
    pub test: ValueTest,
    /// Turns the answer around.
    pub invert: bool,
}

/// One test of a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ValueTest {
    /// The value is this text, letter for letter.
    Exact(String),
    /// This regular expression is found in the value.
    Regex(String),
    /// The value begins with this text.
    Prefix(String),
    /// There is a value, whatever it is.
    Present,
    /// There is no value.
    Absent,
}

/// The written form of a test that is more than a text to equal.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
struct Written {
    /// The value is this text, letter for letter.
    exact: Option<String>,
    /// This regular expression is found in the value; use `^` and `$` for all of it.
    regex: Option<String>,
    /// The value begins with this text.
    prefix: Option<String>,
    /// There is a value, whatever it is.
    present: bool,
    /// There is no value.
    absent: bool,
    /// Turns the answer around.
    invert: bool,
}

impl Written {
    fn check(self) -> Result<ValueMatch, &'static str> {
        let tests = [
            self.exact.map(ValueTest::Exact),
            self.regex.map(ValueTest::Regex),
            self.prefix.map(ValueTest::Prefix),
            self.present.then_some(ValueTest::Present),
            self.absent.then_some(ValueTest::Absent),
        ];
        let mut tests = tests.into_iter().flatten();
        match (tests.next(), tests.next()) {
            (Some(test), None) => Ok(ValueMatch {
                test,
                invert: self.invert,
            }),
            (None, _) => {
                Err("nothing is tested; give one of `exact`, `regex`, `prefix`, `present` or `absent`")
            }
            (Some(_), Some(_)) => Err(
                "more than one test is given; keep one of `exact`, `regex`, `prefix`, `present` or `absent`",
            ),
        }
    }
}

impl<'de> Deserialize<'de> for ValueMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrTest;

        impl<'de> Visitor<'de> for TextOrTest {
            type Value = ValueMatch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text to equal (in quotes if it looks like a number) or a test such as `{ regex: ^v[0-9]$ }`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ValueMatch, E> {
                Ok(ValueMatch {
                    test: ValueTest::Exact(text.to_owned()),
                    invert: false,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ValueMatch, A::Error> {
                Written::deserialize(MapAccessDeserializer::new(map))?
                    .check()
                    .map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_any(TextOrTest)
    }
}

impl Serialize for ValueMatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let (ValueTest::Exact(text), false) = (&self.test, self.invert) {
            return serializer.serialize_str(text);
        }
        let mut map = serializer.serialize_map(None)?;
        match &self.test {
            ValueTest::Exact(text) => map.serialize_entry("exact", text)?,
            ValueTest::Regex(text) => map.serialize_entry("regex", text)?,
            ValueTest::Prefix(text) => map.serialize_entry("prefix", text)?,
            ValueTest::Present => map.serialize_entry("present", &true)?,
            ValueTest::Absent => map.serialize_entry("absent", &true)?,
        }
        if self.invert {
            map.serialize_entry("invert", &true)?;
        }
        map.end()
    }
}

impl JsonSchema for ValueMatch {
    fn schema_name() -> Cow<'static, str> {
        "ValueMatch".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let test = generator.subschema_for::<Written>();
        schemars::json_schema!({
            "description": "A text the value must equal, or one test.",
            "anyOf": [{ "type": "string" }, test],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn reads_a_text_or_one_test() {
        let cases = [
            (json!("v2"), ValueTest::Exact("v2".into()), false),
            (
                json!({ "exact": "v2", "invert": true }),
                ValueTest::Exact("v2".into()),
                true,
            ),
            (json!({ "regex": "^a" }), ValueTest::Regex("^a".into()), false),
            (json!({ "prefix": "a" }), ValueTest::Prefix("a".into()), false),
            (json!({ "present": true }), ValueTest::Present, false),
            (json!({ "absent": true }), ValueTest::Absent, false),
        ];
        for (written, test, invert) in cases {
            let read: ValueMatch = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(read, ValueMatch { test, invert });
            assert_eq!(serde_json::to_value(&read).unwrap(), written);
        }
    }

    #[test]
    fn refuses_none_and_two() {
        let error = |written: Value| {
            serde_json::from_value::<ValueMatch>(written)
                .unwrap_err()
                .to_string()
        };
        assert!(error(json!({})).contains("nothing is tested"));
        assert!(error(json!({ "present": false })).contains("nothing is tested"));
        assert!(error(json!({ "exact": "a", "prefix": "b" })).contains("more than one test"));
        assert!(error(json!(2)).contains("in quotes"));
        assert!(error(json!({ "exakt": "a" })).contains("unknown field `exakt`"));
    }
}
