//! `authenticate`: several ways to show who calls, of which any one will do or all must be there.

use std::sync::Arc;

use gatehouse_core::config::{Diagnostic, Template};
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::failure::Failure;
use gatehouse_core::identity::{Identity, Proof};
use gatehouse_core::policy::{Compile, Policy, PolicyConfig, Stage};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::basic::BasicAuth;
use super::certificate::CertificateAuth;
use super::introspection::Introspection;
use super::jwt::Jwt;
use super::key::KeyAuth;
use super::oidc::Oidc;
use super::signature::HttpSignature;
use super::{
    Answer, AuthConfig, Authentication, Authenticator, Common, Later, Shown, Turn, refused, required,
};

/// Finds out who calls in one of several ways, or in several at once.
///
/// `any`: the methods are asked in their order, and the first that finds a caller decides. A credential that is not
/// good refuses the request unless another method finds a good one: nobody becomes anonymous by a wrong password.
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
            (false, true) => combined(self.any, Needs::Any, &mut cx.at("any"))?,
            (true, false) => combined(self.all, Needs::All, &mut cx.at("all"))?,
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

struct Part {
    authenticator: Arc<dyn Authenticator>,
    hide_credential: bool,
}

#[allow(clippy::result_large_err, reason = "runs once a plan")]
fn combined(methods: Vec<Method>, needs: Needs, cx: &mut Compile<'_>) -> Result<Combined, Diagnostic> {
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
            found.push(nested(combined(methods, Needs::Any, &mut cx.at("any"))?));
        }
        if let Some(methods) = method.all {
            found.push(nested(combined(methods, Needs::All, &mut cx.at("all"))?));
        }
        add(method.jwt, &mut cx, &mut found)?;
        add(method.introspection, &mut cx, &mut found)?;
        add(method.key_auth, &mut cx, &mut found)?;
        add(method.basic_auth, &mut cx, &mut found)?;
        add(method.http_signature, &mut cx, &mut found)?;
        add(method.certificate_auth, &mut cx, &mut found)?;
        add(method.oidc, &mut cx, &mut found)?;
        if found.len() != 1 {
            let message = "a method is exactly one of `any`, `all`, `key_auth` and the like";
            return Err(Diagnostic::error(cx.path.clone(), message));
        }
        parts.append(&mut found);
    }
    let mut challenges: Vec<&str> = parts.iter().map(|part| part.authenticator.challenge()).collect();
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

fn nested(combined: Combined) -> Part {
    Part {
        authenticator: Arc::new(combined),
        hide_credential: true,
    }
}

#[allow(clippy::result_large_err, reason = "runs once a plan")]
fn add<C: AuthConfig>(
    config: Option<C>,
    cx: &mut Compile<'_>,
    found: &mut Vec<Part>,
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
    found.push(Part {
        authenticator,
        hide_credential: common.hide_credential,
    });
    Ok(())
}

impl Authenticator for Combined {
    fn authenticate(&self, ex: &mut Exchange) -> Option<Shown> {
        let mut sum = Sum::default();
        for part in &self.parts {
            let shown = part.authenticator.authenticate(ex)?;
            if sum.add(self.needs, shown, part.authenticator.challenge()) {
                break;
            }
        }
        Some(sum.conclude(self))
    }

    fn authenticate_later<'a>(&'a self, ex: &'a mut Exchange) -> Later<'a> {
        Box::pin(async move {
            let mut sum = Sum::default();
            for part in &self.parts {
                let shown = match part.authenticator.authenticate(ex) {
                    Some(shown) => shown,
                    None => part.authenticator.authenticate_later(ex).await,
                };
                if sum.add(self.needs, shown, part.authenticator.challenge()) {
                    break;
                }
            }
            sum.conclude(self)
        })
    }

    fn challenge(&self) -> &str {
        &self.challenge
    }

    fn forget(&self, ex: &mut Exchange) {
        for part in self.parts.iter().filter(|part| part.hide_credential) {
            part.authenticator.forget(ex);
        }
    }

    fn answers(&self, ex: &Exchange, turn: Turn) -> bool {
        self.parts.iter().any(|part| part.authenticator.answers(ex, turn))
    }

    fn answer<'a>(&'a self, ex: &'a mut Exchange, turn: Turn) -> Answer<'a> {
        let mut parts = self.parts.iter().map(|part| &part.authenticator);
        match parts.find(|one| one.answers(ex, turn)) {
            Some(one) => one.answer(ex, turn),
            None => Box::pin(async { Err(required(&self.challenge)) }),
        }
    }

    fn hand_on(&self, ex: &mut Exchange) {
        for part in &self.parts {
            part.authenticator.hand_on(ex);
        }
    }

    fn on_response(&self, ex: &mut Exchange, response: &mut Response) {
        for part in &self.parts {
            part.authenticator.on_response(ex, response);
        }
    }
}

/// What the methods have found so far.
#[derive(Default)]
struct Sum {
    found: Option<Identity>,
    /// The gravest refusal, and what its method wants to be shown.
    refused: Option<(Failure, String)>,
    /// What the first method that was shown nothing wants.
    missing: Option<String>,
}

impl Sum {
    /// Adds what one method found. True if the others need not be asked.
    fn add(&mut self, needs: Needs, shown: Shown, challenge: &str) -> bool {
        match shown {
            Ok(Some(identity)) => match self.found.take() {
                Some(first) => match merged(first, identity) {
                    Ok(both) => self.found = Some(both),
                    Err(failure) => self.refused = Some((failure, challenge.to_owned())),
                },
                None => self.found = Some(identity),
            },
            Ok(None) => self.missing = self.missing.take().or_else(|| Some(challenge.to_owned())),
            Err(failure) => {
                // That something could not be checked at all is worth more than that it is wrong.
                let is_graver =
                    |(known, _): &(Failure, String)| failure.status() >= 500 && known.status() < 500;
                if self.refused.as_ref().is_none_or(is_graver) {
                    self.refused = Some((failure, challenge.to_owned()));
                }
            }
        }
        match needs {
            Needs::Any => self.found.is_some(),
            Needs::All => self.refused.is_some(),
        }
    }

    fn conclude(self, combined: &Combined) -> Shown {
        match (combined.needs, self) {
            (
                Needs::Any,
                Self {
                    found: Some(found), ..
                },
            ) => Ok(Some(found)),
            (
                needs,
                Self {
                    refused: Some((failure, own)),
                    ..
                },
            ) => Err(match needs {
                Needs::All => failure,
                Needs::Any => with_others(failure, &own, combined),
            }),
            (
                Needs::All,
                Self {
                    found: Some(found),
                    missing: None,
                    ..
                },
            ) => Ok(Some(found)),
            // Something was shown, but not all of it.
            (
                Needs::All,
                Self {
                    found: Some(_),
                    missing: Some(missing),
                    ..
                },
            ) => Err(required(&missing)),
            _ => Ok(None),
        }
    }
}

/// A refusal says itself what its method wants; others would do as well.
fn with_others(failure: Failure, own: &str, combined: &Combined) -> Failure {
    let parts = combined.parts.iter().map(|part| part.authenticator.challenge());
    let others = parts.filter(|challenge| !challenge.is_empty() && *challenge != own);
    if failure.status() != 401 {
        return failure;
    }
    others.fold(failure, |failure, challenge| {
        failure.header("www-authenticate", challenge)
    })
}

/// One caller of two proofs.
fn merged(first: Identity, second: Identity) -> Result<Identity, Failure> {
    let names = [&first, &second].map(|one| one.consumer.as_ref().map(|consumer| &consumer.name));
    if let [Some(one), Some(other)] = names
        && one != other
    {
        let detail = format!("the credentials are those of consumers `{one}` and `{other}`");
        return Err(refused("Credentials of different callers", "").detail(detail));
    }
    let mut claims = second.proof.claims.clone();
    if !claims.is_empty() {
        claims.extend(first.proof.claims.clone());
    }
    let proof = if claims.is_empty() || first.proof.claims.len() == claims.len() {
        first.proof
    } else {
        Arc::new(Proof {
            claims,
            ..(*first.proof).clone()
        })
    };
    Ok(Identity {
        method: first.method,
        proof,
        consumer: first.consumer.or(second.consumer),
    })
}
