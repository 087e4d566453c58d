//! What requests are counted together by: one selector, or several together.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use gatehouse_core::config::{Diagnostic, Selector};
use gatehouse_core::exchange::Exchange;
use gatehouse_core::policy::Compile;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// Parts that one key may have.
const MOST: usize = 8;

/// What requests are counted together by: one selector, or a list of which all have to be the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys(Vec<Selector>);

impl Default for Keys {
    fn default() -> Self {
        Self(vec![Selector::default()])
    }
}

impl Keys {
    /// Requests of one consumer.
    pub fn consumer() -> Self {
        Self(vec![Selector::Consumer])
    }

    /// Refuses lists that mean nothing.
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    pub fn check(&self, cx: &Compile<'_>) -> Result<(), Diagnostic> {
        match self.0.len() {
            0 => Err(cx.error(
                "key",
                "an empty list selects nothing; write `global` to count all requests together",
            )),
            1..=MOST => Ok(()),
            _ => Err(cx.error("key", format!("a key has at most {MOST} parts"))),
        }
    }

    /// Appends the key of a request. IPv6 clients are taken together by the first `ipv6_prefix` bits of their address.
    pub fn render(&self, ex: &Exchange, ipv6_prefix: u8, out: &mut Vec<u8>) {
        if let [only] = self.0.as_slice() {
            return select(ex, only, ipv6_prefix, out);
        }
        for part in &self.0 {
            // Each part behind its length, so that no two lists of parts give the same key.
            let at = out.len();
            out.extend_from_slice(&[0; 4]);
            select(ex, part, ipv6_prefix, out);
            let len = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
            if let Some(place) = out.get_mut(at..at + 4) {
                place.copy_from_slice(&len.to_be_bytes());
            }
        }
    }
}

fn select(ex: &Exchange, selector: &Selector, ipv6_prefix: u8, out: &mut Vec<u8>) {
    match (selector, ex.client.ip) {
        (Selector::ClientIp, IpAddr::V6(ip)) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(ipv6_prefix.min(128)))
                .unwrap_or(0);
            out.extend_from_slice(&(ip.to_bits() & mask).to_be_bytes());
        }
        _ => ex.select(selector, out),
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.0.iter().enumerate() {
            write!(f, "{}{part}", if i > 0 { " + " } else { "" })?;
        }
        Ok(())
    }
}

impl Serialize for Keys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [only] => only.serialize(serializer),
            all => all.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a selector such as `client_ip`, or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Keys, E> {
                let only = text.parse().map_err(E::custom)?;
                Ok(Keys(vec![only]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Keys, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element()? {
                    all.push(item);
                }
                Ok(Keys(all))
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

impl JsonSchema for Keys {
    fn schema_name() -> Cow<'static, str> {
        "Keys".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<Selector>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1, "maxItems": MOST }] })
    }
}
