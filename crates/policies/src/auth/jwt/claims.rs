//! What a token must say (RFC 7519 4.1), once its signature is known to be good.

use gatehouse_core::identity::{claim, claim_text};
use indexmap::IndexMap;
use serde_json::{Map, Value};

/// What is demanded of every token of a policy.
pub struct Rules {
    /// Seconds that clocks may differ.
    pub leeway: u64,
    /// Whether a token must say when it expires.
    pub require_expiry: bool,
    /// Claims that must be there, by path, and the texts that are good; none: any.
    pub claims: IndexMap<String, Vec<String>>,
}

/// Why a token is not good.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It was good once.
    Expired(u64),
    /// Anything else, for the log.
    Invalid(String),
}

impl Rules {
    /// Until when the token is good, in seconds since 1970, leeway included.
    ///
    /// # Errors
    /// Says why it is not good now, or not for us.
    pub fn check(&self, claims: &Map<String, Value>, audiences: &[String], now: u64) -> Result<u64, Wrong> {
        let expires = match time(claims, "exp")? {
            Some(at) => at.saturating_add(self.leeway),
            None if self.require_expiry => {
                return Err(Wrong::Invalid(
                    "it does not say when it expires (`exp`)".to_owned(),
                ));
            }
            None => u64::MAX,
        };
        if now >= expires {
            return Err(Wrong::Expired(now.saturating_add(self.leeway) - expires));
        }
        if let Some(from) = time(claims, "nbf")?
            && now.saturating_add(self.leeway) < from
        {
            return Err(Wrong::Invalid(format!(
                "it is not good yet, for {} s (`nbf`)",
                from - now
            )));
        }
        if !audiences.is_empty() && !is_for(claims, audiences) {
            return Err(Wrong::Invalid("it is for somebody else (`aud`)".to_owned()));
        }
        for (path, good) in &self.claims {
            let Some(value) = claim(claims, path) else {
                return Err(Wrong::Invalid(format!("it has no claim `{path}`")));
            };
            if !good.is_empty() && !has_one(value, good) {
                return Err(Wrong::Invalid(format!(
                    "its claim `{path}` is another than the policy wants"
                )));
            }
        }
        Ok(expires)
    }
}

/// A time (RFC 7519 2: `NumericDate`), in whole seconds; fractions are allowed.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Wrong> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value.as_u64().or_else(|| {
        let seconds = value.as_f64().filter(|seconds| seconds.is_finite())?;
        // What is before 1970 is past as well as 1970 is; what is beyond the integers is never.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates"
        )]
        Some(seconds.max(0.0) as u64)
    });
    seconds
        .map(Some)
        .ok_or_else(|| Wrong::Invalid(format!("its `{name}` is no time")))
}

/// Whether the token is for one of them; `aud` is a text or a list (RFC 7519 4.1.3).
fn is_for(claims: &Map<String, Value>, audiences: &[String]) -> bool {
    let is_one = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| audiences.iter().any(|known| known == text))
    };
    match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(is_one),
        Some(one) => is_one(one),
        None => false,
    }
}

/// Whether a claim, or one of its items if it is a list, is one of these texts.
fn has_one(value: &Value, good: &[String]) -> bool {
    if let Value::Array(items) = value {
        return items.iter().any(|item| !item.is_array() && has_one(item, good));
    }
    if matches!(value, Value::Null | Value::Object(_)) {
        return false;
    }
    let mut text = Vec::new();
    claim_text(value, &mut text);
    good.iter().any(|good| good.as_bytes() == text)
}

/// The scopes of a token: a text with spaces between, or a list.
pub fn scopes(claims: &Map<String, Value>, path: Option<&str>) -> Box<[Box<str>]> {
    let value = match path {
        Some(path) => claim(claims, path),
        // The standard's name (RFC 8693 4.2), and the one that others use.
        None => claims.get("scope").or_else(|| claims.get("scp")),
    };
    match value {
        Some(Value::String(text)) => text.split_ascii_whitespace().map(Box::from).collect(),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(Box::from).collect(),
        _ => Box::default(),
    }
}

/// A claim as a name; empty if it has none.
pub fn name(claims: &Map<String, Value>, path: &str) -> Box<str> {
    match claim(claims, path) {
        Some(Value::String(text)) => text.as_str().into(),
        Some(Value::Number(number)) => number.to_string().into(),
        _ => Box::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(claims: &Value) -> Result<u64, Wrong> {
        let required = [
            ("email_verified", vec!["true"]),
            ("realm.roles", vec!["admin", "owner"]),
            ("tenant", vec![]),
        ];
        let claims_required = required
            .into_iter()
            .map(|(path, good)| (path.to_owned(), good.into_iter().map(str::to_owned).collect()));
        let rules = Rules {
            leeway: 5,
            require_expiry: true,
            claims: claims_required.collect(),
        };
        let mut all = json!({ "exp": 100, "aud": "api", "email_verified": true, "realm": { "roles": ["x", "owner"] }, "tenant": 7 });
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        rules.check(all.as_object().unwrap(), &["api".to_owned()], 50)
    }

    #[test]
    fn what_is_demanded_must_be_there() {
        for good in [
            json!({}),
            json!({ "exp": 50.9 }),
            json!({ "exp": 46 }),
            json!({ "nbf": 55 }),
            json!({ "aud": ["x", "api"] }),
            json!({ "email_verified": "true" }),
            json!({ "realm": { "roles": "admin" } }),
        ] {
            assert!(check(&good).is_ok(), "{good}");
        }
        for bad in [
            json!({ "exp": "100" }),
            json!({ "exp": null }),
            json!({ "exp": [100] }),
            json!({ "nbf": 56 }),
            json!({ "nbf": "1" }),
            json!({ "aud": "API" }),
            json!({ "aud": [] }),
            json!({ "aud": { "api": "api" } }),
            json!({ "aud": null }),
            json!({ "email_verified": false }),
            json!({ "realm": { "roles": ["x"] } }),
            json!({ "realm": { "roles": [["admin"]] } }),
            json!({ "realm": { "roles": { "admin": true } } }),
            json!({ "realm": "admin" }),
        ] {
            assert!(matches!(check(&bad), Err(Wrong::Invalid(_))), "{bad}");
        }
        for (expired, since) in [
            (json!({ "exp": 45 }), 5),
            (json!({ "exp": -1 }), 50),
            (json!({ "exp": 0 }), 50),
        ] {
            assert_eq!(check(&expired), Err(Wrong::Expired(since)), "{expired}");
        }
        assert_eq!(check(&json!({})), Ok(105));
        assert_eq!(check(&json!({ "exp": 1e300 })), Ok(u64::MAX));
    }

    #[test]
    fn scopes_are_a_text_or_a_list() {
        let of = |claims: Value, path| scopes(claims.as_object().unwrap(), path).join(",");
        assert_eq!(of(json!({ "scope": "a  b" }), None), "a,b");
        assert_eq!(of(json!({ "scp": ["a", "b", 1] }), None), "a,b");
        assert_eq!(of(json!({ "x": { "y": "a" }, "scope": "b" }), Some("x.y")), "a");
        assert_eq!(of(json!({}), None), "");
    }
}
