//! The vocabulary of the document: values that are written as one string and mean something precise.
//!
//! Each type is parsed once, when the document is read, and afterwards holds only legal values. A text
//! that is refused is answered with a message in two halves, `what is wrong; what to write instead`:
//! diagnostics show the second half under the caret. Every type prints as it may be written.

mod host;
mod net;
mod password;
mod path;
mod secret;
mod sha256;
mod size;
mod span;
mod timestamp;
mod value;

pub use host::HostPattern;
pub use net::{Address, Cidr, DnsServer, EndpointHost, EndpointUrl, FileMode, Scheme, SyslogTarget};
pub use password::{HashMethod, PasswordHash};
pub use path::{PathForm, PathPattern, Segment};
pub use secret::{Secret, SecretFile};
pub use sha256::Sha256;
pub use size::{Percent, Size};
pub use span::Span;
pub use timestamp::Timestamp;
pub use value::{ValueMatch, ValueTest};

use serde::de::{Deserializer, Error, Visitor};
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

/// Reads a value that is written as a string, through its `FromStr`.
pub(crate) fn from_text<'de, T, D>(deserializer: D, expected: &'static str) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    struct Text<T> {
        expected: &'static str,
        to: PhantomData<T>,
    }

    impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.expected)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Text {
        expected,
        to: PhantomData,
    })
}

/// Gives a type that is written as one string its serde and schema implementations.
///
/// The type needs `FromStr<Err = String>` and `Display`; the description in the schema is its own doc.
macro_rules! text_type {
    ($type:ident, $expected:literal, { $($schema:tt)* }) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::config::types::from_text(deserializer, $expected)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", $($schema)* })
            }
        }
    };
}
pub(crate) use text_type;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_number_where_a_text_belongs_names_what_was_expected() {
        let error = serde_json::from_value::<Span>(json!(10)).unwrap_err().to_string();
        assert_eq!(
            error,
            "invalid type: integer `10`, expected a length of time such as `250ms`, `10s` or `1h30m`"
        );
    }

    #[test]
    fn schemas_describe_the_text() {
        let schema = schemars::schema_for!(Span);
        assert_eq!(schema.get("type"), Some(&json!("string")));
        assert!(schema.get("pattern").is_some() && schema.get("description").is_some());
    }
}
