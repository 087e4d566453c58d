//! The rules of an `access` policy: what each asks, and why it does not hold.

use std::borrow::Cow;
use std::sync::Arc;

use gatehouse_core::config::Diagnostic;
use gatehouse_core::exchange::Exchange;
use gatehouse_core::identity::Identity;
use gatehouse_core::policy::Compile;
use gatehouse_core::telemetry::metrics::Tally;
use serde_json::Value;

use super::{Access, Names};
use crate::expression::{self, Expression, Facts};

/// One rule, and how often it decided.
pub struct Rule {
    /// As it is called in logs and metrics.
    pub name: Box<str>,
    /// What must hold.
    pub test: Test,
    /// How often it did not.
    pub denied: Arc<Tally>,
    /// How often it did not because nobody is known to call.
    pub unauthenticated: Arc<Tally>,
}

/// What must hold.
pub enum Test {
    /// Scopes.
    Scopes(Names),
    /// Roles, and the path of the claim that lists them.
    Roles(Names, Box<str>),
    /// Groups of the consumer.
    Groups(Names),
    /// The consumer's name.
    Consumers(Names),
    /// One of these values for the claim at the path.
    Claim(Box<str>, Box<[Value]>),
    /// A condition.
    Condition(Box<Expression>),
}

/// The rules of a policy, the cheap ones first.
#[allow(clippy::result_large_err, reason = "runs once a plan")]
pub fn compile(access: &Access, cx: &mut Compile<'_>) -> Result<Vec<(Box<str>, Test)>, Diagnostic> {
    let mut tests: Vec<(Box<str>, Test)> = Vec::new();
    let lists = [
        ("scopes", &access.scopes, Test::Scopes as fn(Names) -> Test),
        ("groups", &access.groups, Test::Groups),
        ("consumers", &access.consumers, Test::Consumers),
    ];
    for (name, names, make) in lists {
        if !names.is_empty() {
            tests.push((name.into(), make(names.clone())));
        }
    }
    if access.consumers.all.len() > 1 {
        return Err(cx.error("consumers.all", "no caller is more than one consumer; use `any`"));
    }
    for field in [&access.consumers.any, &access.consumers.none] {
        for name in field {
            // Who is in a store, only the store knows.
            if cx.consumers.in_store().is_none() && cx.consumers.named(name).is_none() {
                return Err(cx.error("consumers", format!("there is no consumer `{name}`")));
            }
        }
    }
    if !access.roles.is_empty() {
        let claim = access.role_claim.0.as_str().into();
        tests.push(("roles".into(), Test::Roles(access.roles.clone(), claim)));
    }
    for (path, wanted) in &access.claims {
        let values = match wanted {
            Value::Array(values) => values.clone(),
            Value::Object(_) => {
                let message = "a claim is compared with a text, a number, `true`, `false` or a list of these";
                return Err(cx.error(&format!("claims.{path}"), message));
            }
            value => vec![value.clone()],
        };
        let test = Test::Claim(path.as_str().into(), values.into());
        tests.push((format!("claims.{path}").into(), test));
    }
    if !access.conditions.is_empty() {
        let env = cx.once(expression::environment);
        for (name, text) in &access.conditions {
            let field = format!("conditions.{name}");
            let expression = Expression::compile(text, &env).map_err(|why| cx.error(&field, why))?;
            tests.push((field.into(), Test::Condition(Box::new(expression))));
        }
    }
    Ok(tests)
}

impl Names {
    fn is_empty(&self) -> bool {
        self.any.is_empty() && self.all.is_empty() && self.none.is_empty()
    }

    /// Why it does not hold, if it does not.
    fn hold(&self, has: impl Fn(&str) -> bool) -> Result<(), String> {
        if let Some(name) = self.none.iter().find(|name| has(name)) {
            return Err(format!("has `{name}`"));
        }
        if let Some(name) = self.all.iter().find(|name| !has(name)) {
            return Err(format!("lacks `{name}`"));
        }
        if !self.any.is_empty() && !self.any.iter().any(|name| has(name)) {
            return Err(format!("has none of `{}`", self.any.join("`, `")));
        }
        Ok(())
    }
}

impl Test {
    /// Whether it asks who calls.
    pub fn asks_identity(&self) -> bool {
        match self {
            Self::Condition(expression) => expression.asks_identity,
            _ => true,
        }
    }

    /// Why it does not hold, if it does not.
    pub fn holds(&self, ex: &Exchange) -> Result<(), Cow<'static, str>> {
        if let Self::Condition(expression) = self {
            return match expression.holds(&Facts::of(ex)) {
                Ok(true) => Ok(()),
                Ok(false) => Err("it is false".into()),
                Err(why) => Err(why.into()),
            };
        }
        let Some(identity) = &ex.identity else {
            return Err("nobody is known to call".into());
        };
        self.fits(identity).map_err(Cow::Owned)
    }

    fn fits(&self, identity: &Identity) -> Result<(), String> {
        let consumer = identity.consumer.as_deref();
        match self {
            Self::Scopes(names) => names.hold(|name| identity.has_scope(name)),
            Self::Groups(names) => names.hold(|name| consumer.is_some_and(|consumer| consumer.is_in(name))),
            Self::Consumers(names) => {
                names.hold(|name| consumer.is_some_and(|consumer| *consumer.name == *name))
            }
            Self::Roles(names, path) => {
                let roles = identity.claim(path);
                names.hold(|name| roles.is_some_and(|roles| lists(roles, name)))
            }
            Self::Claim(path, wanted) => match identity.claim(path) {
                None => Err("there is no such claim".to_owned()),
                Some(claim) if wanted.iter().any(|wanted| is(claim, wanted)) => Ok(()),
                Some(_) => Err("it has another value".to_owned()),
            },
            Self::Condition(_) => Ok(()),
        }
    }
}

/// Whether a claim lists a name.
fn lists(claim: &Value, name: &str) -> bool {
    match claim {
        Value::String(text) => text.split([' ', ',']).any(|one| one == name),
        Value::Array(items) => items.iter().any(|item| item == name),
        _ => false,
    }
}

/// Whether a claim is a value, or has it among others.
fn is(claim: &Value, wanted: &Value) -> bool {
    claim == wanted || claim.as_array().is_some_and(|items| items.contains(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatehouse_core::consumer::Consumer;
    use gatehouse_core::identity::Proof;
    use serde_json::json;

    fn names(any: &[&str], all: &[&str], none: &[&str]) -> Names {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Names {
            any: own(any),
            all: own(all),
            none: own(none),
        }
    }

    #[test]
    fn rules_hold_or_say_why() {
        let claims =
            json!({ "roles": ["dev", "ops"], "role": "dev,ops admin", "org": { "id": 7 }, "verified": true });
        let identity = Identity {
            method: "jwt",
            proof: Arc::new(Proof {
                scopes: ["read".into(), "write".into()].into(),
                claims: claims.as_object().cloned().unwrap(),
                ..Proof::default()
            }),
            consumer: Some(Arc::new(Consumer {
                name: "acme".into(),
                groups: ["partners".into()].into(),
                ..Consumer::default()
            })),
        };
        let claim = |path: &str, wanted: Value| Test::Claim(path.into(), [wanted].into());
        let cases = [
            (Test::Scopes(names(&[], &["read", "write"], &[])), None),
            (Test::Scopes(names(&["x", "read"], &[], &["admin"])), None),
            (Test::Scopes(names(&[], &["read", "x"], &[])), Some("lacks `x`")),
            (
                Test::Scopes(names(&["x", "y"], &[], &[])),
                Some("has none of `x`, `y`"),
            ),
            (Test::Groups(names(&["partners"], &[], &[])), None),
            (
                Test::Groups(names(&[], &[], &["partners"])),
                Some("has `partners`"),
            ),
            (Test::Consumers(names(&["acme"], &[], &[])), None),
            (
                Test::Consumers(names(&["other"], &[], &[])),
                Some("has none of `other`"),
            ),
            (Test::Roles(names(&["ops"], &[], &[]), "roles".into()), None),
            (
                Test::Roles(names(&[], &["admin", "dev", "ops"], &[]), "role".into()),
                None,
            ),
            (
                Test::Roles(names(&["op"], &[], &[]), "role".into()),
                Some("has none of `op`"),
            ),
            (
                Test::Roles(names(&["ops"], &[], &[]), "none".into()),
                Some("has none of `ops`"),
            ),
            (claim("org.id", json!(7)), None),
            (claim("org.id", json!("7")), Some("it has another value")),
            (claim("roles", json!("ops")), None),
            (claim("verified", json!(true)), None),
            (claim("team", json!(true)), Some("there is no such claim")),
        ];
        for (i, (test, why)) in cases.iter().enumerate() {
            assert_eq!(test.fits(&identity).err().as_deref(), *why, "case {i}");
        }
    }
}
