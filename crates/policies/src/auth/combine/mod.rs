//! `authenticate`: several ways to show who calls, of which any one will do or all must be there.

mod sum;

use std::sync::Arc;

use gatehouse_core::config::{Diagnostic, Template};
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::policy::{Compile, Policy, PolicyConfig, Stage};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::basic::BasicAuth;
use super::certificate::CertificateAuth;
use super::introspection::Introspection;
use super::jwt::Jwt;
use super::key::KeyAuth;
use super::ldap::LdapAuth;
use super::oidc::Oidc;
use super::signature::HttpSignature;
use super::{Answer, AuthConfig, Authentication, Authenticator, Common, Later, Place, Shown, Turn, required};
use sum::Sum;

/// Finds out who calls in one of several ways, or in several at once.
///
/// `any`: the methods are asked in their order, and the first that finds a caller decides. A credential that is not
/// good refuses the request unless another method finds a good one: nobody becomes anonymous by a wrong password.
///
/// What a method reads and was not found good does not reach the upstream, whatever the method's `hide_credential` says:
/// only a credential that was checked may go on.
///
/// `all`: every method must find a caller, and if two of them find consumers it must be the same one. The first says
/// who it is and what it may do; claims of the others are added where it has none of that name.
///
/// Methods may be `any` and `all` themselves. `forward` and `anonymous` stand here, for all of them together. A refusal
/// says in `WWW-Authenticate` what each method wants to be shown.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Authenticate {
    /// Methods of which one will do.
    pub any: Vec<Method>,
    /// Methods of which none may be missing.
    pub all: Vec<Method>,
    /// Fields of the request that tell the upstream who calls; those without a value are not sent. From clients they
    /// are taken off, on every route.
    pub forward: IndexMap<String, Template>,
    /// The consumer that callers are who show nothing at all. Absent: they are refused.
    pub anonymous: Option<String>,
}

/// A method: exactly one of these.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Method {
    /// Methods of which one will do.
    pub any: Option<Vec<Method>>,
    /// Methods of which none may be missing.
    pub all: Option<Vec<Method>>,
    /// A signed token.
    pub jwt: Option<Jwt>,
    /// A token that its issuer is asked about.
    pub introspection: Option<Introspection>,
    /// An API key.
    pub key_auth: Option<KeyAuth>,
    /// A name and a password.
    pub basic_auth: Option<BasicAuth>,
    /// A name and a password that a directory knows.
    pub ldap_auth: Option<LdapAuth>,
    /// A signature of the request.
    pub http_signature: Option<HttpSignature>,
    /// The certificate of the client.
    pub certificate_auth: Option<CertificateAuth>,
    /// A login in the browser. Callers who show nothing by any method are sent to it, if they are browsers.
    pub oidc: Option<Oidc>,
    /// Not here: a named policy cannot be a part of another. Write its settings out.
    #[serde(skip_serializing)]
    r#use: Option<String>,
}

impl Default for Authenticate {
    fn default() -> Self {
        Self {
            any: Vec::new(),
            all: Vec::new(),
            forward: super::forwarded(),
            anonymous: None,
        }
    }
}

impl PolicyConfig for Authenticate {
    const NAME: &'static str = "authenticate";
    const STAGE: Stage = Stage::Authenticate;
    const EXAMPLE: &'static str = "any:\n  - key_auth: {}\n  - basic_auth: {}\n";

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        let authenticator = match (self.any.is_empty(), self.all.is_empty()) {
            (false, true) => combined(self.any, Needs::Any, &mut cx.at("any"), &mut 0)?,
            (true, false) => combined(self.all, Needs::All, &mut cx.at("all"), &mut 0)?,
            (true, true) => return Err(cx.error("any", "there is no method; write `any` or `all` with some")),
            (false, false) => return Err(cx.error("all", "`any` stands beside it; put one into the other")),
        };
        let common = Common {
            forward: self.forward,
            hide_credential: true,
            anonymous: self.anonymous,
        };
        Authentication::compile(Arc::new(authenticator), common, cx)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Any,
    All,
}

/// Several methods in one.
struct Combined {
    needs: Needs,
    parts: Vec<Part>,
    challenge: String,
}

enum Part {
    One(One),
    Several(Combined),
}

/// One method.
struct One {
    authenticator: Arc<dyn Authenticator>,
    hide_credential: bool,
    places: Vec<Place>,
    /// Its bit among all methods of the policy.
    bit: u64,
}

/// The methods that found somebody, by their bits; kept from the decision to the hiding of what they read.
#[derive(Default)]
struct Won(u64);

impl Part {
    fn challenge(&self) -> &str {
        match self {
            Self::One(one) => one.authenticator.challenge(),
            Self::Several(combined) => &combined.challenge,
        }
    }
}

#[allow(clippy::result_large_err, reason = "runs once a plan")]
fn combined(
    methods: Vec<Method>,
    needs: Needs,
    cx: &mut Compile<'_>,
    count: &mut u32,
) -> Result<Combined, Diagnostic> {
    if methods.is_empty() {
        return Err(Diagnostic::error(cx.path.clone(), "there is no method in it"));
    }
    let mut parts = Vec::with_capacity(methods.len());
    for (i, method) in methods.into_iter().enumerate() {
        let mut cx = nth(cx, i);
        let mut found = Vec::new();
        if let Some(name) = &method.r#use {
            let message = format!(
                "a named policy cannot be a part of another; write what `{name}` is here, such as `key_auth: {{}}`"
            );
            return Err(Diagnostic::error(format!("{}.use", cx.path), message));
        }
        if let Some(methods) = method.any {
            found.push(Part::Several(combined(
                methods,
                Needs::Any,
                &mut cx.at("any"),
                count,
            )?));
        }
        if let Some(methods) = method.all {
            found.push(Part::Several(combined(
                methods,
                Needs::All,
                &mut cx.at("all"),
                count,
            )?));
        }
        add(method.jwt, &mut cx, &mut found, count)?;
        add(method.introspection, &mut cx, &mut found, count)?;
        add(method.key_auth, &mut cx, &mut found, count)?;
        add(method.basic_auth, &mut cx, &mut found, count)?;
        add(method.ldap_auth, &mut cx, &mut found, count)?;
        add(method.http_signature, &mut cx, &mut found, count)?;
        add(method.certificate_auth, &mut cx, &mut found, count)?;
        add(method.oidc, &mut cx, &mut found, count)?;
        if found.len() != 1 {
            let message = "a method is exactly one of `any`, `all`, `key_auth` and the like";
            return Err(Diagnostic::error(cx.path.clone(), message));
        }
        parts.append(&mut found);
    }
    let mut challenges: Vec<&str> = parts.iter().map(Part::challenge).collect();
    challenges.retain(|challenge| !challenge.is_empty());
    challenges.dedup();
    let challenge = challenges.join(", ");
    Ok(Combined {
        needs,
        parts,
        challenge,
    })
}

fn nth<'c>(cx: &'c mut Compile<'_>, i: usize) -> Compile<'c> {
    let mut at = cx.at("");
    // An index follows its list without a dot.
    for text in [&mut at.path, &mut at.identity] {
        text.pop();
        text.push('[');
        text.push_str(&i.to_string());
        text.push(']');
    }
    at
}

#[allow(clippy::result_large_err, reason = "runs once a plan")]
fn add<C: AuthConfig>(
    config: Option<C>,
    cx: &mut Compile<'_>,
    found: &mut Vec<Part>,
    count: &mut u32,
) -> Result<(), Diagnostic> {
    let Some(config) = config else { return Ok(()) };
    let mut cx = cx.at(C::NAME);
    let (authenticator, common) = config.authenticator(&mut cx)?;
    if common.forward != super::forwarded() {
        return Err(cx.error(
            "forward",
            "one method has no fields of its own; write `forward` beside `any` or `all`",
        ));
    }
    if common.anonymous.is_some() {
        let message =
            "one method has no anonymous caller of its own; write `anonymous` beside `any` or `all`";
        return Err(cx.error("anonymous", message));
    }
    let Some(bit) = 1_u64.checked_shl(*count) else {
        return Err(Diagnostic::error(
            cx.path.clone(),
            "there are more than 64 methods",
        ));
    };
    *count += 1;
    found.push(Part::One(One {
        places: authenticator.places(),
        authenticator,
        hide_credential: common.hide_credential,
        bit,
    }));
    Ok(())
}

impl Combined {
    /// Asks the methods as far as none has to wait; adds to `won` those that found somebody.
    fn now(&self, ex: &mut Exchange, won: &mut u64) -> Option<Shown> {
        let (mut sum, before) = (Sum::default(), *won);
        for part in &self.parts {
            let shown = match part {
                Part::One(one) => one
                    .authenticator
                    .authenticate(ex)
                    .inspect(|shown| one.note(shown, won))?,
                Part::Several(combined) => combined.now(ex, won)?,
            };
            if sum.add(self.needs, shown, part.challenge()) {
                break;
            }
        }
        Some(self.concluded(sum, before, won))
    }

    fn later<'a>(&'a self, ex: &'a mut Exchange, won: &'a mut u64) -> Later<'a> {
        Box::pin(async move {
            let (mut sum, before) = (Sum::default(), *won);
            for part in &self.parts {
                let shown = match part {
                    Part::One(one) => {
                        let shown = match one.authenticator.authenticate(ex) {
                            Some(shown) => shown,
                            None => one.authenticator.authenticate_later(ex).await,
                        };
                        one.note(&shown, won);
                        shown
                    }
                    Part::Several(combined) => combined.later(ex, won).await,
                };
                if sum.add(self.needs, shown, part.challenge()) {
                    break;
                }
            }
            self.concluded(sum, before, won)
        })
    }

    /// Where the whole found nobody, no part of it has.
    fn concluded(&self, sum: Sum, before: u64, won: &mut u64) -> Shown {
        let shown = sum.conclude(self);
        if !matches!(shown, Ok(Some(_))) {
            *won = before;
        }
        shown
    }

    /// The first that answers by itself.
    fn answering(&self, ex: &Exchange, turn: Turn) -> Option<&One> {
        self.parts.iter().find_map(|part| match part {
            Part::One(one) => one.authenticator.answers(ex, turn).then_some(one),
            Part::Several(combined) => combined.answering(ex, turn),
        })
    }

    fn each<'a>(&'a self, see: &mut dyn FnMut(&'a One)) {
        for part in &self.parts {
            match part {
                Part::One(one) => see(one),
                Part::Several(combined) => combined.each(see),
            }
        }
    }
}

impl One {
    fn note(&self, shown: &Shown, won: &mut u64) {
        if matches!(shown, Ok(Some(_))) {
            *won |= self.bit;
        }
    }
}

impl Authenticator for Combined {
    fn authenticate(&self, ex: &mut Exchange) -> Option<Shown> {
        let mut won = 0;
        let shown = self.now(ex, &mut won);
        ex.keep(Won(won));
        shown
    }

    fn authenticate_later<'a>(&'a self, ex: &'a mut Exchange) -> Later<'a> {
        Box::pin(async move {
            let mut won = 0;
            let shown = self.later(ex, &mut won).await;
            ex.keep(Won(won));
            shown
        })
    }

    fn challenge(&self) -> &str {
        &self.challenge
    }

    fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        self.each(&mut |one| places.extend_from_slice(&one.places));
        places
    }

    /// Hides what every method reads, but for what was found good and may go on.
    fn forget(&self, ex: &mut Exchange) {
        let Won(won) = ex.kept().unwrap_or_default();
        let mut goes_on: Vec<&Place> = Vec::new();
        let mut hidden: Vec<&Place> = Vec::new();
        self.each(&mut |one| {
            if one.bit & won != 0 && !one.hide_credential {
                one.authenticator.forget_unread(ex);
                goes_on.extend(&one.places);
            } else if one.bit & won != 0 {
                hidden.extend(&one.places);
            }
        });
        goes_on.retain(|place| !hidden.contains(place));
        self.each(&mut |one| {
            for place in &one.places {
                if !goes_on.contains(&place) {
                    place.clear(&mut ex.request);
                }
            }
        });
    }

    fn answers(&self, ex: &Exchange, turn: Turn) -> bool {
        self.answering(ex, turn).is_some()
    }

    fn answer<'a>(&'a self, ex: &'a mut Exchange, turn: Turn) -> Answer<'a> {
        match self.answering(ex, turn) {
            Some(one) => one.authenticator.answer(ex, turn),
            None => Box::pin(async { Err(required(&self.challenge)) }),
        }
    }

    fn hand_on(&self, ex: &mut Exchange) {
        self.each(&mut |one| one.authenticator.hand_on(ex));
    }

    fn on_response(&self, ex: &mut Exchange, response: &mut Response) {
        self.each(&mut |one| one.authenticator.on_response(ex, response));
    }
}
