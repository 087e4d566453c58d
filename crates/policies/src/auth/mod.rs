//! Who calls: what all kinds of authentication share.
//!
//! A kind is an [`Authenticator`]: it looks at a request and finds a caller, finds nothing shown, or refuses what
//! was shown. [`Authentication`] makes a policy of it: it lets an anonymous consumer stand in, puts the caller on
//! the exchange, and tells the upstream.

pub mod basic;
mod bearer;
pub mod certificate;
mod client;
pub mod combine;
pub mod directory;
pub mod introspection;
pub mod jose;
pub mod jwt;
pub mod key;
pub mod ldap;
pub mod oidc;
mod place;
mod remember;
pub mod signature;
mod subjects;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use gatehouse_core::config::{Diagnostic, Template};
use gatehouse_core::consumer::Consumer;
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::identity::{Identity, Proof};
use gatehouse_core::policy::{Compile, Outcome, Policy, Step, Verdict};
use gatehouse_http1::FieldName;
use indexmap::IndexMap;

pub use place::Place;

/// What a request showed: a caller, or nothing at all. What was shown and is not good is a failure.
pub type Shown = Result<Option<Identity>, Failure>;

/// What a request showed, to be awaited; bounded by the exchange's total time.
pub type Later<'a> = Pin<Box<dyn Future<Output = Shown> + 'a>>;

/// What a method answers by itself, to be awaited; bounded by the exchange's total time.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response, Failure>> + 'a>>;

/// When a method may answer a request by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Before anybody is asked: requests that are for the method itself, such as one that comes back from a login.
    First,
    /// In place of a refusal: nobody has shown anything, and the caller can be sent to where there is something to get.
    Missing,
}

/// Finds out who calls by one kind of proof.
pub trait Authenticator: Send + Sync {
    /// Looks at what the request shows. None if that takes waiting: then [`Authenticator::authenticate_later`] is asked.
    fn authenticate(&self, ex: &mut Exchange) -> Option<Shown>;

    /// The same for what has to be waited for: another service, or work that would hold up the worker.
    fn authenticate_later<'a>(&'a self, ex: &'a mut Exchange) -> Later<'a> {
        let shown = self.authenticate(ex).unwrap_or(Ok(None));
        Box::pin(async move { shown })
    }

    /// What to show, as `WWW-Authenticate` says it (RFC 9110 11.6.1); empty if there is no word for it.
    fn challenge(&self) -> &str;

    /// Where requests have the credential: whatever it reads.
    fn places(&self) -> Vec<Place>;

    /// Takes the credential off the request, so that the upstream does not see it.
    fn forget(&self, ex: &mut Exchange) {
        for place in self.places() {
            place.clear(&mut ex.request);
        }
    }

    /// Takes off what stands in its places but was not looked at, since another came first: the upstream, which gets
    /// the one that is good, must not take an unchecked one for it.
    fn forget_unread(&self, ex: &mut Exchange) {
        let _ = ex;
    }

    /// Whether it answers this request by itself.
    fn answers(&self, ex: &Exchange, turn: Turn) -> bool {
        let _ = (ex, turn);
        false
    }

    /// That answer; only asked for if [`Authenticator::answers`].
    fn answer<'a>(&'a self, ex: &'a mut Exchange, turn: Turn) -> Answer<'a> {
        let _ = (ex, turn);
        Box::pin(async { Err(Failure::new(Code::Internal).detail("a method has no answer of its own")) })
    }

    /// Tells the upstream what only this method knows, once all credentials were taken off.
    fn hand_on(&self, ex: &mut Exchange) {
        let _ = ex;
    }

    /// Adds what the method has to say to the answer, whoever gave it.
    fn on_response(&self, ex: &mut Exchange, response: &mut Response) {
        let _ = (ex, response);
    }
}

/// The settings of a kind of authentication: makes a policy by itself, or a part of one that combines several.
pub trait AuthConfig {
    /// The key it has in the document.
    const NAME: &'static str;

    /// Makes what finds out who calls, and what is to be done with what it finds.
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    fn authenticator(self, cx: &mut Compile<'_>) -> Result<(Arc<dyn Authenticator>, Common), Diagnostic>;
}

/// The policy of a kind that stands alone.
#[allow(clippy::result_large_err, reason = "runs once a plan")]
pub fn policy(config: impl AuthConfig, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
    let (authenticator, common) = config.authenticator(cx)?;
    Authentication::compile(authenticator, common, cx)
}

/// What the settings of all kinds have in common.
pub struct Common {
    /// Fields of the request that tell the upstream who calls.
    pub forward: IndexMap<String, Template>,
    /// Whether the credential is taken off the request.
    pub hide_credential: bool,
    /// The consumer that callers are who show nothing.
    pub anonymous: Option<String>,
}

/// A policy that finds out who calls.
pub struct Authentication {
    authenticator: Arc<dyn Authenticator>,
    forward: Box<[(FieldName, Template)]>,
    /// Whether the upstream is told of scopes.
    tells_scopes: bool,
    hide_credential: bool,
    anonymous: Option<Identity>,
}

impl Authentication {
    /// Makes the policy of an authenticator.
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    pub fn compile(
        authenticator: Arc<dyn Authenticator>,
        common: Common,
        cx: &mut Compile<'_>,
    ) -> Result<Arc<dyn Policy>, Diagnostic> {
        let mut forward = Vec::with_capacity(common.forward.len());
        for (name, value) in &common.forward {
            let Some(field) = FieldName::new(name.as_bytes()) else {
                let message = format!("`{name}` cannot be the name of a header field");
                return Err(cx.error(&format!("forward.{name}"), message));
            };
            cx.reserve(name);
            forward.push((field, value.clone()));
        }
        let anonymous = common.anonymous.map(|name| anonymous(&name, cx)).transpose()?;
        let tells_scopes = |template: &Template| template.to_string().contains("identity.scopes");
        Ok(Arc::new(Self {
            tells_scopes: common.forward.values().any(tells_scopes),
            authenticator,
            forward: forward.into(),
            hide_credential: common.hide_credential,
            anonymous,
        }))
    }

    fn conclude(&self, ex: &mut Exchange, shown: Shown) -> Outcome {
        let identity = match shown? {
            Some(identity) => {
                if self.hide_credential {
                    self.authenticator.forget(ex);
                } else {
                    self.authenticator.forget_unread(ex);
                }
                identity
            }
            None => match &self.anonymous {
                Some(anonymous) => anonymous.clone(),
                None => return Err(required(self.authenticator.challenge())),
            },
        };
        ex.identity = Some(identity);
        self.tell(ex)?;
        self.authenticator.hand_on(ex);
        Ok(Verdict::Continue)
    }

    /// Whether the method answers somebody who showed nothing, and nobody stands in.
    fn invites(&self, ex: &Exchange, shown: &Shown) -> bool {
        matches!(shown, Ok(None)) && self.anonymous.is_none() && self.authenticator.answers(ex, Turn::Missing)
    }

    async fn answer(&self, ex: &mut Exchange, turn: Turn) -> Outcome {
        let response = self.authenticator.answer(ex, turn).await?;
        Ok(Verdict::Respond(Box::new(response)))
    }

    /// Tells the upstream who calls; what has no value is not sent. An identity that cannot stand in a field is refused:
    /// without it the service would take the caller for another.
    fn tell(&self, ex: &mut Exchange) -> Result<(), Failure> {
        let scopes = ex.identity.as_ref().map(|identity| &identity.proof.scopes);
        let is_unclear = |scope: &str| scope.contains([',', ' ']);
        if self.tells_scopes && scopes.is_some_and(|scopes| scopes.iter().any(|scope| is_unclear(scope))) {
            // It would read as several.
            let why = "What the credential says cannot be passed on";
            return Err(
                refused(why, self.authenticator.challenge()).detail("a scope has a space or a comma in it")
            );
        }
        let mut value = ex.scratch();
        for (name, template) in &self.forward {
            value.clear();
            template.render(&mut value, &mut |variable, out| ex.variable(variable, out));
            // A claim may hold anything.
            if value.iter().any(|b| *b < b' ' || *b == 0x7f) {
                let why = "What the credential says cannot be passed on";
                return Err(refused(why, self.authenticator.challenge()));
            }
            if !value.is_empty() {
                ex.request.head.headers.set_field(name, &value);
            }
        }
        ex.give_back(value);
        Ok(())
    }
}

impl Policy for Authentication {
    fn on_request<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        if self.authenticator.answers(ex, Turn::First) {
            return Step::wait(self.answer(ex, Turn::First));
        }
        match self.authenticator.authenticate(ex) {
            Some(shown) if self.invites(ex, &shown) => Step::wait(self.answer(ex, Turn::Missing)),
            Some(shown) => self.conclude(ex, shown).into(),
            None => Step::wait(async move {
                let shown = self.authenticator.authenticate_later(ex).await;
                if self.invites(ex, &shown) {
                    return self.answer(ex, Turn::Missing).await;
                }
                self.conclude(ex, shown)
            }),
        }
    }

    fn on_response<'a>(&'a self, ex: &'a mut Exchange, response: &'a mut Response) -> Step<'a> {
        self.authenticator.on_response(ex, response);
        Step::CONTINUE
    }
}

#[allow(clippy::result_large_err, reason = "runs once a plan")]
fn anonymous(name: &str, cx: &Compile<'_>) -> Result<Identity, Diagnostic> {
    let consumer: Option<&Arc<Consumer>> = cx.consumers.named(name);
    let consumer = consumer
        .ok_or_else(|| cx.error("anonymous", format!("there is no consumer `{name}`")))?
        .clone();
    Ok(Identity {
        method: "anonymous",
        proof: Arc::new(Proof::default()),
        consumer: Some(consumer),
    })
}

/// Nothing was shown.
pub fn required(challenge: &str) -> Failure {
    refused("Authentication required", challenge)
}

/// What was shown is not good; the caller reads `why`.
pub fn refused(why: &'static str, challenge: &str) -> Failure {
    let failure = Failure::new(Code::Unauthenticated).safe_detail(why);
    if challenge.is_empty() {
        return failure;
    }
    failure.header("www-authenticate", challenge.to_owned())
}

/// The fields that tell the upstream who calls, unless the document says otherwise.
pub fn forwarded() -> IndexMap<String, Template> {
    let fields = [
        ("X-User-Id", "${identity.subject}"),
        ("X-Scopes", "${identity.scopes}"),
        ("X-Consumer", "${consumer.name}"),
    ];
    let fields = fields.into_iter();
    fields
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect()
}
