//! Policies as written: one key, which is the kind, and the settings below it.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;

/// One policy in a list: of a kind with its settings, or one of `named_policies` by name.
#[derive(Debug, Clone, PartialEq)]
pub enum PolicyEntry {
    /// `- use: NAME`
    Use(String),
    /// `- KIND: { … }`
    Inline {
        /// The kind, as written. Whether it exists is known when the plan is compiled.
        kind: String,
        /// The settings, as written. Nothing at all reads as `{}`.
        settings: Value,
    },
}

impl PolicyEntry {
    /// The word that is the one key: the kind, or `use`.
    pub fn key(&self) -> &str {
        match self {
            Self::Use(_) => "use",
            Self::Inline { kind, .. } => kind,
        }
    }
}

impl<'de> Deserialize<'de> for PolicyEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneKey;

        impl<'de> Visitor<'de> for OneKey {
            type Value = PolicyEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a policy such as `rate_limit: { … }` or `use: NAME`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PolicyEntry, A::Error> {
                let Some(key) = map.next_key::<String>()? else {
                    return Err(A::Error::custom(
                        "the policy has no kind; expected such as `rate_limit: { … }` or `use: NAME`",
                    ));
                };
                let entry = if key == "use" {
                    PolicyEntry::Use(map.next_value()?)
                } else {
                    let settings = match map.next_value::<Value>()? {
                        Value::Null => Value::Object(serde_json::Map::new()),
                        settings => settings,
                    };
                    PolicyEntry::Inline { kind: key, settings }
                };
                if let Some(second) = map.next_key::<String>()? {
                    return Err(A::Error::custom(format!(
                        "the policy has two kinds, `{}` and `{second}`; begin each with its own `-`, and indent settings below the kind",
                        entry.key()
                    )));
                }
                Ok(entry)
            }
        }

        deserializer.deserialize_map(OneKey)
    }
}

impl Serialize for PolicyEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Use(name) => map.serialize_entry("use", name)?,
            Self::Inline { kind, settings } => map.serialize_entry(kind, settings)?,
        }
        map.end()
    }
}

impl JsonSchema for PolicyEntry {
    fn schema_name() -> Cow<'static, str> {
        "PolicyEntry".into()
    }

    /// Any kind, since the engine knows none; the schema of the document puts the known ones in its place.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "description": "A policy: one key, which is its kind, and its settings; or `use` and the name of one in `named_policies`.",
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_one_key() {
        let read = |value| serde_json::from_value::<PolicyEntry>(value);
        assert_eq!(read(json!({ "use": "x" })).unwrap(), PolicyEntry::Use("x".into()));
        let inline = |settings| PolicyEntry::Inline {
            kind: "cors".into(),
            settings,
        };
        assert_eq!(
            read(json!({ "cors": { "a": 1 } })).unwrap(),
            inline(json!({ "a": 1 }))
        );
        assert_eq!(read(json!({ "cors": null })).unwrap(), inline(json!({})));
        assert!(read(json!({})).unwrap_err().to_string().contains("has no kind"));
        assert!(
            read(json!({ "a": {}, "b": {} }))
                .unwrap_err()
                .to_string()
                .contains("two kinds, `a` and `b`")
        );
        assert!(
            read(json!("cors"))
                .unwrap_err()
                .to_string()
                .contains("a policy such as")
        );
    }
}
