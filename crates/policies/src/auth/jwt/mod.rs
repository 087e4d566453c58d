//! `jwt`: who calls, by signed tokens.
//!
//! `config.rs` and `issuer.rs` are what is written and how it is compiled, `verify.rs` decides on a token, `claims.rs`
//! on what it says. `keys.rs` fetches keys, `revoked.rs` knows what is not good any more. Signatures are the business of `auth::jose`.

pub(crate) mod claims;
mod config;
pub(crate) mod issuer;
pub(crate) mod keys;
mod revoked;
pub(crate) mod verify;

use std::sync::Arc;

use gatehouse_core::config::Diagnostic;
use gatehouse_core::exchange::Exchange;
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::policy::{Compile, Policy, PolicyConfig, Stage};
use gatehouse_core::telemetry::metrics::{Family, Tally};

pub use config::{Issuer, Jwks, Jwt, RevokedIn, StaticKey, Unread};

use super::bearer::{self, Found, TokenPlace};
use super::directory::LOOKUPS;
use super::remember::Cache;
use super::subjects::Callers;
use super::{AuthConfig, Authentication, Authenticator, Later, Shown};
use revoked::{Judged, Revoked};
use verify::{Checker, Refused, Verified};

static TOKENS: Family = Family::counter(
    "gatehouse_jwt_tokens_total",
    &["result"],
    "Tokens looked at: `known` were verified before, `verified` now, `refused` are not good, `unavailable` could not be checked.",
);

static FETCHES: Family = Family::counter(
    "gatehouse_jwt_key_fetches_total",
    &["source", "result"],
    "Attempts to fetch the keys of an issuer: `ok` or `failed`.",
);

static FETCHED: Family = Family::gauge(
    "gatehouse_jwt_keys_fetched_seconds",
    &["source"],
    "When the keys of an issuer were last fetched, in seconds since 1970; their age is the time since.",
);

impl PolicyConfig for Jwt {
    const NAME: &'static str = "jwt";
    const STAGE: Stage = Stage::Authenticate;
    const EXAMPLE: &'static str = "issuers:\n  - issuer: https://login.example.com\n    audiences: [orders]\n    jwks: { url: https://login.example.com/keys }\nforward:\n  X-User-Id: ${identity.subject}\n  X-Scopes: ${identity.scopes}\n  X-User-Email: ${claims.email}\n";
    const METRICS: &'static [Family] = &[
        Family::counter(TOKENS.name, TOKENS.labels, TOKENS.help),
        Family::counter(FETCHES.name, FETCHES.labels, FETCHES.help),
        Family::gauge(FETCHED.name, FETCHED.labels, FETCHED.help),
        revoked::KNOWN,
        revoked::READ,
        LOOKUPS,
    ];

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        let (authenticator, common) = self.authenticator(cx)?;
        Authentication::compile(authenticator, common, cx)
    }
}

/// Finds out who calls by signed tokens.
struct Bearer {
    place: TokenPlace,
    challenge: String,
    checker: Checker,
    cache: Arc<Cache<Arc<Verified>>>,
    revoked: Revoked,
    callers: Callers,
    counts: Counts,
}

struct Counts {
    known: Arc<Tally>,
    verified: Arc<Tally>,
    refused: Arc<Tally>,
    unavailable: Arc<Tally>,
}

impl Counts {
    fn of(cx: &Compile<'_>) -> Self {
        let of = |result| cx.tally(&TOKENS, &[result]);
        Self {
            known: of("known"),
            verified: of("verified"),
            refused: of("refused"),
            unavailable: of("unavailable"),
        }
    }
}

impl Bearer {
    /// Looks at the token.
    fn look(&self, ex: &Exchange, is_last: bool) -> Looked {
        let found = self.place.find(&ex.request);
        let token = match &found {
            Found::Nothing => return Looked::Done(Ok(None)),
            Found::Unclear => {
                self.counts.refused.count(ex);
                return Looked::Done(Err(bearer::unclear(&self.challenge)));
            }
            Found::Token(token) => token,
        };
        let (now, moment) = (ex.unix_seconds(), ex.now());
        let hash = self.cache.hash(token);
        let known = self.cache.get(hash);
        let (verified, count) = match known.filter(|known| self.checker.is_good(known, now, moment)) {
            Some(known) => (known, &self.counts.known),
            None => match self.checker.check(token, now, moment) {
                Ok(verified) => {
                    let verified = Arc::new(verified);
                    self.cache.put(hash, verified.clone());
                    (verified, &self.counts.verified)
                }
                Err(Refused::NoKeys(_) | Refused::UnknownKey(..)) if !is_last => return Looked::Keys,
                Err(refused) => return Looked::Done(Err(self.refuse(ex, refused))),
            },
        };
        // What changes while tokens are remembered is looked at each time.
        match self.revoked.of(&verified.proof, verified.key_id.as_deref(), now) {
            Judged::Good => {
                count.count(ex);
                Looked::Good(verified)
            }
            Judged::Revoked(why) => {
                self.counts.refused.count(ex);
                Looked::Done(Err(bearer::invalid(&self.challenge, "Invalid token", why)))
            }
            Judged::Unknown => {
                self.counts.unavailable.count(ex);
                Looked::Done(Err(Failure::new(Code::AuthUnavailable)
                    .detail("what was revoked could not be read yet: see `jwt.revoked_in`")
                    .header("retry-after", "1")))
            }
        }
    }

    fn refuse(&self, ex: &Exchange, refused: Refused) -> Failure {
        match refused {
            Refused::NoKeys(issuer) => {
                self.counts.unavailable.count(ex);
                Failure::new(Code::AuthUnavailable)
                    .detail(format!("there are no keys from {}", self.checker.source(issuer)))
                    .header("retry-after", "5")
            }
            Refused::Scopes(scopes) => {
                self.counts.refused.count(ex);
                bearer::insufficient(&self.challenge, &scopes)
            }
            Refused::Expired(since) => {
                self.counts.refused.count(ex);
                bearer::invalid(
                    &self.challenge,
                    "Token expired",
                    format!("it expired {since} s ago"),
                )
            }
            Refused::UnknownKey(_, why) | Refused::Invalid(why) => {
                self.counts.refused.count(ex);
                bearer::invalid(&self.challenge, "Invalid token", why)
            }
        }
    }

    /// Which issuer's keys have to be waited for, and whether they should be fetched for that.
    fn wanted(&self, ex: &Exchange) -> Option<(usize, bool)> {
        let Found::Token(token) = self.place.find(&ex.request) else {
            return None;
        };
        match self.checker.check(&token, ex.unix_seconds(), ex.now()) {
            Err(Refused::NoKeys(issuer)) => Some((issuer, false)),
            Err(Refused::UnknownKey(issuer, _)) => Some((issuer, true)),
            _ => None,
        }
    }
}

/// What was seen of a token.
enum Looked {
    Done(Shown),
    /// Keys have to be waited for.
    Keys,
    /// It is good.
    Good(Arc<Verified>),
}

impl Authenticator for Bearer {
    fn authenticate(&self, ex: &mut Exchange) -> Option<Shown> {
        match self.look(ex, false) {
            Looked::Done(shown) => Some(shown),
            Looked::Keys => None,
            Looked::Good(verified) => self.callers.identify(&verified.proof, ex.now()),
        }
    }

    fn authenticate_later<'a>(&'a self, ex: &'a mut Exchange) -> Later<'a> {
        Box::pin(async move {
            if let Some((issuer, is_key)) = self.wanted(ex)
                && let Some(remote) = self.checker.remote(issuer)
            {
                remote.next(is_key).await;
            }
            match self.look(ex, true) {
                Looked::Done(shown) => shown,
                Looked::Keys => Ok(None),
                Looked::Good(verified) => self.callers.identify_later(&verified.proof, ex.now()).await,
            }
        })
    }

    fn challenge(&self) -> &str {
        &self.challenge
    }

    fn forget(&self, ex: &mut Exchange) {
        self.place.forget(&mut ex.request);
    }
}
