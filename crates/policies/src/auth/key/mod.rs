//! `key_auth`: who calls, by an API key.

mod format;
mod index;

use std::borrow::Cow;
use std::sync::Arc;

use gatehouse_core::config::{Diagnostic, Sha256, Template};
use gatehouse_core::exchange::Exchange;
use gatehouse_core::identity::Identity;
use gatehouse_core::policy::{Compile, Policy, PolicyConfig, Stage};
use gatehouse_core::telemetry::metrics::{Family, Tally};
use gatehouse_http1::{self as http1, Known};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::directory::{self, Answer, Directory, LOOKUPS, Name};
use super::{AuthConfig, Authenticator, Common, Later, Shown, refused};
use crate::store;
pub use format::{LONGEST_PREFIX, is_prefix};
use index::{Index, LAST_USED, REQUESTS, Refusal};

/// Finds out who calls by an API key.
///
/// Keys belong to consumers: `consumers.NAME.credentials.keys` has the SHA-256 of each, with its scopes, until when
/// it is good and from where. `gatehouse key new` makes a key and that entry. A consumer may have several keys, so
/// that one can be replaced while the old one still works; the metric `gatehouse_key_auth_last_used_seconds` says
/// when nobody uses it any more. Keys may be in a Redis as well (`consumers_from.redis`); those are counted together, as
/// `_store`.
///
/// A request without a key is answered with 401 `Authentication required`, one with a key that is unknown, has
/// expired or may not be used from the client's address with 401 `Invalid API key`. The log says which it was. So is
/// a request with two different keys. The access log has the id of the key as `api_key`, never the key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeyAuth {
    /// Header fields that may have the key.
    pub headers: Vec<String>,
    /// Schemes of `Authorization` that the key may follow. Other schemes there are passed by.
    pub authorization: Vec<Scheme>,
    /// Parameters of the query that may have the key. Logs of others may show it: prefer a header.
    pub query: Vec<String>,
    /// Cookies that may have the key.
    pub cookies: Vec<String>,
    /// What all keys begin with, as `gatehouse key new --prefix` makes them: a key with another beginning or a wrong
    /// checksum is refused without looking for it. Absent: keys may have any form.
    pub prefix: Option<String>,
    /// Fields of the request that tell the upstream who calls; those without a value are not sent. From clients they
    /// are taken off, on every route.
    pub forward: IndexMap<String, Template>,
    /// Takes the key off the request, so that the upstream does not see it.
    pub hide_credential: bool,
    /// The consumer that callers are who show no key. Absent: they are refused.
    pub anonymous: Option<String>,
}

/// A key that was just made.
pub struct NewKey {
    /// The key itself.
    pub key: String,
    /// What logs will call it: the beginning of its digest.
    pub id: String,
    /// What the document has of it.
    pub sha256: Sha256,
}

impl NewKey {
    /// A key of this prefix, for which [`is_prefix`] holds.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn generate(prefix: &str) -> Result<Self, &'static str> {
        let key = format::generate(prefix)?;
        let sha256 = Sha256::from(index::digest(key.as_bytes()));
        let digits = sha256.to_string();
        Ok(Self {
            id: format!("key_{}", digits.get(..8).unwrap_or_default()),
            key,
            sha256,
        })
    }
}

/// A scheme of `Authorization`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// `Authorization: ApiKey KEY`
    ApiKey,
    /// `Authorization: Bearer KEY`
    Bearer,
}

impl Scheme {
    const fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "ApiKey",
            Self::Bearer => "Bearer",
        }
    }
}

impl Default for KeyAuth {
    fn default() -> Self {
        Self {
            headers: vec!["X-API-Key".to_owned()],
            authorization: Vec::new(),
            query: Vec::new(),
            cookies: Vec::new(),
            prefix: None,
            forward: super::forwarded(),
            hide_credential: true,
            anonymous: None,
        }
    }
}

const REFUSED: Family = Family::counter(
    "gatehouse_key_auth_refused_total",
    &["reason"],
    "Requests refused because of the API key they had: ambiguous, malformed, unknown, expired, address.",
);

impl PolicyConfig for KeyAuth {
    const NAME: &'static str = "key_auth";
    const STAGE: Stage = Stage::Authenticate;
    const EXAMPLE: &'static str = "headers: [X-API-Key]\nprefix: sk_live\n";
    const METRICS: &'static [Family] = &[REQUESTS, LAST_USED, REFUSED, LOOKUPS, store::UP, store::COMMANDS];

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        super::policy(self, cx)
    }
}

impl AuthConfig for KeyAuth {
    const NAME: &'static str = <Self as PolicyConfig>::NAME;

    fn authenticator(self, cx: &mut Compile<'_>) -> Result<(Arc<dyn Authenticator>, Common), Diagnostic> {
        for (i, name) in self.headers.iter().enumerate() {
            if !http1::is_token(name.as_bytes()) {
                let message = format!("`{name}` cannot be the name of a header field");
                return Err(cx.error(&format!("headers[{i}]"), message));
            }
            if name.eq_ignore_ascii_case("authorization") || name.eq_ignore_ascii_case("cookie") {
                let message = format!(
                    "`{name}` has no key alone in it; use `{}`",
                    if name.len() == 6 {
                        "cookies"
                    } else {
                        "authorization"
                    }
                );
                return Err(cx.error(&format!("headers[{i}]"), message));
            }
        }
        let places = self.headers.len() + self.authorization.len() + self.query.len() + self.cookies.len();
        if places == 0 {
            return Err(cx.error(
                "headers",
                "a key may be nowhere; name a field, a parameter of the query or a cookie",
            ));
        }
        if let Some(prefix) = self.prefix.as_deref().filter(|prefix| !is_prefix(prefix)) {
            let message = format!(
                "`{prefix}` is no prefix of keys; expected letters, digits and `_`, at most {LONGEST_PREFIX}"
            );
            return Err(cx.error("prefix", message));
        }
        let schemes = self.authorization.iter().map(|scheme| scheme.name());
        let challenge: Vec<_> = schemes.collect();
        let common = Common {
            forward: self.forward,
            hide_credential: self.hide_credential,
            anonymous: self.anonymous,
        };
        let authenticator = Keys {
            index: cx.once(|| Index::of(cx)),
            in_store: index::in_store(cx)?,
            refused: Refusal::ALL.map(|reason| cx.tally(&REFUSED, &[reason.name()])),
            challenge: if challenge.is_empty() {
                Scheme::ApiKey.name().to_owned()
            } else {
                challenge.join(", ")
            },
            headers: self.headers,
            authorization: self.authorization,
            query: self.query,
            cookies: self.cookies,
            prefix: self.prefix,
        };
        Ok((Arc::new(authenticator), common))
    }
}

struct Keys {
    index: Arc<Index>,
    in_store: Option<Arc<Directory<index::Known>>>,
    refused: [Arc<Tally>; Refusal::ALL.len()],
    challenge: String,
    headers: Vec<String>,
    authorization: Vec<Scheme>,
    query: Vec<String>,
    cookies: Vec<String>,
    prefix: Option<String>,
}

impl Keys {
    /// The one key that the request has, if it has any.
    fn shown<'a>(&'a self, ex: &'a Exchange) -> Result<Option<Cow<'a, [u8]>>, Refusal> {
        let fields = &ex.request.head.headers;
        let mut found: Option<Cow<'a, [u8]>> = None;
        let mut note = |key: Cow<'a, [u8]>| match &found {
            _ if key.is_empty() => Ok(()),
            Some(other) if *other != key => Err(Refusal::Ambiguous),
            Some(_) => Ok(()),
            None => {
                found = Some(key);
                Ok(())
            }
        };
        for name in &self.headers {
            fields
                .find_all(name.as_bytes())
                .try_for_each(|key| note(key.into()))?;
        }
        if !self.authorization.is_empty() {
            let keys = fields
                .all(Known::Authorization)
                .filter_map(|value| self.behind_scheme(value));
            keys.map(Cow::from).try_for_each(&mut note)?;
        }
        for name in &self.query {
            ex.query_values(name).try_for_each(&mut note)?;
        }
        for name in &self.cookies {
            ex.cookies(name).try_for_each(|key| note(key.into()))?;
        }
        Ok(found)
    }

    /// The key in a value of `Authorization`, if its scheme is one of ours.
    fn behind_scheme<'v>(&self, value: &'v [u8]) -> Option<&'v [u8]> {
        let end = value.iter().position(|b| *b == b' ')?;
        let (scheme, key) = value.split_at(end);
        let is_ours = |ours: &Scheme| scheme.eq_ignore_ascii_case(ours.name().as_bytes());
        self.authorization.iter().any(is_ours).then(|| key.trim_ascii())
    }

    /// The digest of the key that is shown, if it has the form that keys have.
    fn digest(&self, ex: &Exchange) -> Result<Option<[u8; 32]>, Refusal> {
        let Some(key) = self.shown(ex)? else {
            return Ok(None);
        };
        let is_malformed = |prefix: &String| !format::is_sound(&key, prefix);
        if self.prefix.as_ref().is_some_and(is_malformed) {
            return Err(Refusal::Malformed);
        }
        Ok(Some(index::digest(&key)))
    }

    fn answer(&self, ex: &Exchange, answer: &Answer<index::Known>) -> Shown {
        match answer {
            Answer::Found(known) => self.conclude(ex, known.admit(ex)),
            Answer::Missing => self.conclude(ex, Err(Refusal::Unknown)),
            Answer::Unavailable => Err(directory::unavailable()),
        }
    }

    fn conclude(&self, ex: &Exchange, admitted: Result<Identity, Refusal>) -> Shown {
        match admitted {
            Ok(identity) => Ok(Some(identity)),
            Err(reason) => {
                // As many counters as reasons, in their order.
                self.refused[reason as usize].count(ex);
                Err(refused("Invalid API key", &self.challenge).detail(reason.detail()))
            }
        }
    }
}

impl Authenticator for Keys {
    fn authenticate(&self, ex: &mut Exchange) -> Option<Shown> {
        let digest = match self.digest(ex) {
            Ok(Some(digest)) => digest,
            Ok(None) => return Some(Ok(None)),
            Err(reason) => return Some(self.conclude(ex, Err(reason))),
        };
        match (self.index.get(&digest), &self.in_store) {
            (Some(known), _) => Some(self.conclude(ex, known.admit(ex))),
            (None, None) => Some(self.conclude(ex, Err(Refusal::Unknown))),
            (None, Some(store)) => {
                let answer = store.known(store.hash([&digest]), ex.now())?;
                Some(self.answer(ex, &answer))
            }
        }
    }

    fn authenticate_later<'a>(&'a self, ex: &'a mut Exchange) -> Later<'a> {
        Box::pin(async move {
            let (Ok(Some(digest)), Some(store)) = (self.digest(ex), &self.in_store) else {
                return Ok(None);
            };
            let name = Name::digest(directory::hex(&digest));
            let answer = store.ask(store.hash([&digest]), vec![name], ex.now()).await;
            self.answer(ex, &answer)
        })
    }

    fn challenge(&self) -> &str {
        &self.challenge
    }

    fn forget(&self, ex: &mut Exchange) {
        let fields = &mut ex.request.head.headers;
        for name in &self.headers {
            fields.remove_name(name.as_bytes());
        }
        if !self.authorization.is_empty() {
            fields.retain(|known, _, value| {
                known != Some(Known::Authorization) || self.behind_scheme(value).is_none()
            });
        }
        for name in &self.query {
            ex.request.remove_query(name);
        }
        for name in &self.cookies {
            ex.request.remove_cookie(name);
        }
    }
}
