//! `introspection`: who calls, by tokens that only their issuer understands.

mod ask;
mod config;

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use gatehouse_core::config::Diagnostic;
use gatehouse_core::exchange::Exchange;
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::identity::Proof;
use gatehouse_core::policy::{Compile, Policy, PolicyConfig, Stage};
use gatehouse_core::telemetry::metrics::{Family, Tally};

pub use config::Introspection;

use super::bearer::{self, Found, TokenPlace};
use super::client::Client;
use super::jose::LONGEST;
use super::jwt::claims::{self, Rules, Wrong};
use super::remember::Cache;
use super::subjects::Callers;
use super::{AuthConfig, Authentication, Authenticator, Common, Later, Place, Shown};
use crate::fetch::{self, Fetcher};
use ask::{Said, Server, Settings};

const TOKENS: Family = Family::counter(
    "gatehouse_introspection_tokens_total",
    &["result"],
    "Tokens looked at: of `known` ones the answer was remembered, `asked` are good by a new answer, `refused` are not good, `unavailable` could not be asked about.",
);

static COUNTED: Family = TOKENS;

impl PolicyConfig for Introspection {
    const NAME: &'static str = "introspection";
    const STAGE: Stage = Stage::Authenticate;
    const EXAMPLE: &'static str = "url: https://login.example.com/introspect\nclient_id: gatehouse\nclient_secret: change-me\nscopes: [orders]\n";
    const METRICS: &'static [Family] = &[TOKENS];

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        let (authenticator, common) = self.authenticator(cx)?;
        Authentication::compile(authenticator, common, cx)
    }
}

impl AuthConfig for Introspection {
    const NAME: &'static str = "introspection";

    fn authenticator(self, cx: &mut Compile<'_>) -> Result<(Arc<dyn Authenticator>, Common), Diagnostic> {
        let written = serde_json::to_vec(&self).unwrap_or_default();
        let url = fetch::url(&self.url, self.allow_http).map_err(|why| cx.error("url", why))?;
        let secret = self
            .client_secret
            .read(cx.reader)
            .map_err(|why| cx.error("client_secret", why))?;
        let shape = format!("{:?}", digest(&SHA256, &[written.as_slice(), &secret].concat()));
        let client_secret =
            String::from_utf8(secret).map_err(|_| cx.error("client_secret", "the secret is no text"))?;
        if self.timeout.get().is_zero() {
            return Err(cx.error("timeout", "expected more than no time at all"));
        }
        if self.concurrency == 0 {
            return Err(cx.error(
                "concurrency",
                "no question could ever be put; expected at least 1",
            ));
        }
        let fetcher = Fetcher::compile(cx, "ca", self.ca.as_deref())?;
        let server = cx.background.map(|background| {
            let settings = Settings {
                url,
                client: Client {
                    id: self.client_id,
                    secret: Some(client_secret),
                    proof: self.client_auth,
                },
                timeout: self.timeout.get(),
                most: usize::try_from(self.concurrency).unwrap_or(usize::MAX),
            };
            let shape = format!("{shape} {:?}", Arc::as_ptr(&fetcher));
            cx.state(&shape, || Server::start(background, settings, fetcher))
        });
        let room = usize::try_from(self.cache).unwrap_or(usize::MAX);
        let of = |result| cx.tally(&COUNTED, &[result]);
        let asker = Asker {
            place: self.token,
            challenge: bearer::challenge(&self.realm),
            rules: Rules {
                leeway: self.leeway.get().as_secs(),
                require_expiry: false,
                claims: self.claims,
            },
            audiences: self.audiences,
            scopes: self.scopes,
            subject: self.subject,
            positive: self.positive.get().as_secs(),
            negative: self.negative.get().as_secs(),
            callers: Callers::of(cx, <Self as AuthConfig>::NAME, self.require_consumer)?,
            cache: cx.state(&shape, || Cache::new(room)),
            server,
            known: of("known"),
            asked: of("asked"),
            refused: of("refused"),
            unavailable: of("unavailable"),
        };
        let common = Common {
            forward: self.forward,
            hide_credential: self.hide_credential,
            anonymous: self.anonymous,
        };
        Ok((Arc::new(asker), common))
    }
}

/// What was found out about a token.
#[derive(Clone)]
struct Known {
    /// Until when that counts, in seconds since 1970.
    until: u64,
    /// What it says, or why it is not good.
    result: Result<Arc<Proof>, Bad>,
}

/// Why a token is not good.
#[derive(Debug, Clone)]
enum Bad {
    Expired,
    Scopes,
    Invalid(Arc<str>),
}

/// Finds out who calls by asking the issuer.
struct Asker {
    place: TokenPlace,
    challenge: String,
    rules: Rules,
    audiences: Vec<String>,
    scopes: Vec<String>,
    subject: String,
    positive: u64,
    negative: u64,
    callers: Callers,
    cache: Arc<Cache<Known>>,
    /// None if the document is only checked.
    server: Option<Arc<Server>>,
    known: Arc<Tally>,
    asked: Arc<Tally>,
    refused: Arc<Tally>,
    unavailable: Arc<Tally>,
}

impl Asker {
    /// Looks at the token. None: nothing is known of it.
    fn decide(&self, ex: &Exchange) -> Option<Shown> {
        let found = self.place.find(&ex.request);
        let token = match &found {
            Found::Nothing => return Some(Ok(None)),
            Found::Token(token) if !token.is_empty() && token.len() <= LONGEST => token,
            Found::Token(_) => {
                return Some(self.refuse(ex, &Bad::Invalid("it is empty, or longer than 16 KiB".into())));
            }
            Found::Unclear => {
                self.refused.count(ex);
                return Some(Err(bearer::unclear(&self.challenge)));
            }
        };
        let known = self.cache.get(self.cache.hash(token))?;
        if ex.unix_seconds() >= known.until {
            return None;
        }
        match &known.result {
            Ok(proof) => {
                let shown = self.callers.identify(proof, ex.now())?;
                self.known.count(ex);
                Some(shown)
            }
            Err(bad) => Some(self.refuse(ex, bad)),
        }
    }

    fn refuse(&self, ex: &Exchange, bad: &Bad) -> Shown {
        self.refused.count(ex);
        Err(match bad {
            Bad::Expired => bearer::invalid(&self.challenge, "Token expired", "it has expired"),
            Bad::Scopes => bearer::insufficient(&self.challenge, &self.scopes),
            Bad::Invalid(why) => bearer::invalid(&self.challenge, "Invalid token", why.to_string()),
        })
    }

    /// Asks about the token of a request of which nothing is known.
    async fn ask(&self, ex: &Exchange) -> Shown {
        let Found::Token(token) = self.place.find(&ex.request) else {
            return Ok(None);
        };
        let hash = self.cache.hash(&token);
        let fresh = self
            .cache
            .get(hash)
            .filter(|known| ex.unix_seconds() < known.until);
        if let Some(Known {
            result: Ok(proof), ..
        }) = &fresh
        {
            // Only whose it is has to be asked.
            self.known.count(ex);
            return self.callers.identify_later(proof, ex.now()).await;
        }
        let said = match &self.server {
            Some(server) => server.ask(hash, &token).await,
            None => Some(Said::Nothing),
        };
        let now = ex.unix_seconds();
        let known = match said {
            Some(Said::Active(said)) => self.judge(&said, now),
            Some(Said::Inactive) => {
                self.bad(Bad::Invalid("the server says that it is not active".into()), now)
            }
            Some(Said::Nothing) => {
                return Err(self.unavailable(ex, "the server did not say whether the token is good"));
            }
            None => return Err(self.unavailable(ex, "there are too many questions under way")),
        };
        self.cache.put(hash, known.clone());
        match &known.result {
            Ok(proof) => {
                self.asked.count(ex);
                self.callers.identify_later(proof, ex.now()).await
            }
            Err(bad) => self.refuse(ex, bad),
        }
    }

    fn unavailable(&self, ex: &Exchange, why: &'static str) -> Failure {
        self.unavailable.count(ex);
        Failure::new(Code::AuthUnavailable)
            .detail(why)
            .header("retry-after", "5")
    }

    /// What is said of a token that is active, held against what is demanded.
    fn judge(&self, said: &serde_json::Map<String, serde_json::Value>, now: u64) -> Known {
        let expires = match self.rules.check(said, &self.audiences, now) {
            Ok(expires) => expires,
            Err(Wrong::Expired(_)) => return self.bad(Bad::Expired, now),
            Err(Wrong::Invalid(why)) => return self.bad(Bad::Invalid(why.into()), now),
        };
        let scopes = claims::scopes(said, None);
        if !self
            .scopes
            .iter()
            .all(|wanted| scopes.iter().any(|scope| **scope == **wanted))
        {
            return self.bad(Bad::Scopes, now);
        }
        let credential = said.get("jti").and_then(|id| id.as_str()).map(Box::from);
        let subject = claims::name(said, &self.subject);
        let proof = Proof {
            subject,
            credential,
            scopes,
            claims: said.clone(),
        };
        Known {
            until: expires.min(now.saturating_add(self.positive)),
            result: Ok(Arc::new(proof)),
        }
    }

    fn bad(&self, bad: Bad, now: u64) -> Known {
        Known {
            until: now.saturating_add(self.negative),
            result: Err(bad),
        }
    }
}

impl Authenticator for Asker {
    fn authenticate(&self, ex: &mut Exchange) -> Option<Shown> {
        self.decide(ex)
    }

    fn authenticate_later<'a>(&'a self, ex: &'a mut Exchange) -> Later<'a> {
        Box::pin(async move { self.ask(ex).await })
    }

    fn challenge(&self) -> &str {
        &self.challenge
    }

    fn places(&self) -> Vec<Place> {
        self.place.places()
    }

    fn forget_unread(&self, ex: &mut Exchange) {
        self.place.forget_unread(&mut ex.request);
    }
}
