//! Who calls, as an authentication found out.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::consumer::Consumer;

/// Who calls. Three words wide: what took work to find out is shared with other requests that showed the same.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The kind of policy that found out, such as `jwt`.
    pub method: &'static str,
    /// What was shown.
    pub proof: Arc<Proof>,
    /// The consumer whose proof it is, if it is one's.
    pub consumer: Option<Arc<Consumer>>,
}

/// What was shown, and what it says. Holds no secret: it may be logged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Proof {
    /// The name that the proof gives: a subject, a user name; empty for an anonymous caller.
    pub subject: Box<str>,
    /// What logs call the credential: an id, never the credential.
    pub credential: Option<Box<str>>,
    /// What it may be used for.
    pub scopes: Box<[Box<str>]>,
    /// What else it says: the claims of a token, and what stands for them elsewhere.
    pub claims: Map<String, Value>,
}

impl Identity {
    /// The consumer's name, else what the proof calls the caller.
    pub fn name(&self) -> &str {
        self.consumer
            .as_ref()
            .map_or(&self.proof.subject, |consumer| &consumer.name)
    }

    /// A claim by its path: names with dots between (`realm_access.roles`). A claim whose own name has dots
    /// comes first.
    pub fn claim(&self, path: &str) -> Option<&Value> {
        claim(&self.proof.claims, path)
    }

    /// Whether it may be used for that.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.proof.scopes.iter().any(|known| **known == *scope)
    }
}

/// A value by its path in a map; see [`Identity::claim`].
pub fn claim<'v>(claims: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let mut rest = path;
    let mut claims = claims;
    while let Some((first, after)) = rest.split_once('.') {
        claims = claims.get(first)?.as_object()?;
        if let Some(value) = claims.get(after) {
            return Some(value);
        }
        rest = after;
    }
    None
}

/// Appends a claim as text: a list with commas between, an object not at all.
pub fn claim_text(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => out.extend_from_slice(text.as_bytes()),
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::Bool(is) => out.extend_from_slice(if *is { b"true" } else { b"false" }),
        Value::Array(items) => {
            for (i, item) in items.iter().filter(|item| !item.is_array()).enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                claim_text(item, out);
            }
        }
        Value::Null | Value::Object(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn claims_are_found_by_path() {
        let claims = json!({ "a": { "b": { "c": 1 } }, "a.b": "dotted", "https://x.y/z": [1, "two", true, { "no": 1 }] });
        let claims = claims.as_object().unwrap();
        let text = |path: &str| {
            let mut out = Vec::new();
            claim_text(claim(claims, path)?, &mut out);
            String::from_utf8(out).ok()
        };
        assert_eq!(text("a.b.c").as_deref(), Some("1"));
        assert_eq!(text("a.b").as_deref(), Some("dotted"));
        assert_eq!(text("https://x.y/z").as_deref(), Some("1,two,true,"));
        assert_eq!((text("a.x"), text("c"), text("")), (None, None, None));
        assert_eq!(text("a").as_deref(), Some(""), "an object has no text");
    }
}
