//! What is written of `jwt`.

use std::num::NonZeroU32;
use std::path::PathBuf;

use gatehouse_core::config::{Secret, Span, Template};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::bearer::TokenPlace;
use crate::auth::forwarded;
use crate::auth::jose::Algorithm;

/// Finds out who calls by signed tokens (JWT, RFC 7519).
///
/// A token is taken if one of the issuers signed it with an algorithm and a key that it may use, if it is neither
/// expired nor too early, and if it says all that is demanded. Nothing in a token can bring a key along or choose an algorithm that its key
/// is not for; there is no `none`. A token that was good once is remembered by a keyed hash until it
/// expires, so that its signature is not verified for each request.
///
/// A request without a token gets `401` (`Authentication required`), one with a token that is not good `401` (`Token expired` or `Invalid token`),
/// each with `WWW-Authenticate` (RFC 6750); one whose token lacks `scopes` gets `403`. While
/// there are no keys to check with, requests with a token get `503` (`auth_unavailable`). Why a token was refused is in the process log at level `debug`, never in the answer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// Who may issue tokens, at least one. A token is held against the one that it names (`iss`).
    pub issuers: Vec<Issuer>,
    /// Where requests have their token.
    #[serde(default)]
    pub token: TokenPlace,
    /// How much the clocks of issuers may differ from ours: a token is good for so much longer, and so much earlier.
    #[serde(default = "Jwt::half_a_minute")]
    pub leeway: Span,
    /// Scopes that a token must all have, in `scope` or `scp`. One that has not gets `403`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Claims that a token must have, by path (`realm_access.roles`), each with the values that are good, as texts: `email_verified: ["true"]`.
    /// Of a claim that is a list, one item must be good. An empty list takes any value.
    #[serde(default)]
    pub claims: IndexMap<String, Vec<String>>,
    /// The claim that names the caller, by path: `${identity.subject}`, and what `credentials.subjects` of consumers refer to.
    #[serde(default = "Jwt::sub")]
    pub subject: String,
    /// The claim that has the scopes, by path. Absent: `scope`, else `scp`.
    #[serde(default)]
    pub scope_claim: Option<String>,
    /// Whether tokens whose subject is no consumer's get `403`.
    #[serde(default)]
    pub require_consumer: bool,
    /// Whether a token must say when it expires (`exp`). One that does not is good for ever.
    #[serde(default = "Jwt::yes")]
    pub require_expiry: bool,
    /// What sorts of tokens are taken, by `typ`, such as `at+jwt` (RFC 9068). Empty: all.
    #[serde(default)]
    pub types: Vec<String>,
    /// A file of what was revoked before it expired. On each line `jti`, `sub` or `kid`, a space, and the value; `#` begins a comment. It is
    /// watched: a change is in force as soon as it is noticed.
    #[serde(default)]
    pub revoked: Option<PathBuf>,
    /// A stream in a Redis of what was revoked before it expired; beside the file, if there is one.
    #[serde(default)]
    pub revoked_in: Option<RevokedIn>,
    /// How many tokens are remembered that were good; each takes about 1 KiB. 0 remembers none.
    #[serde(default = "Jwt::many")]
    pub cache: u32,
    /// What callers are told they need a token for: the `realm` of `WWW-Authenticate`.
    #[serde(default = "Jwt::api")]
    pub realm: String,
    /// Fields of the request that tell the upstream who calls, with templates for their values. What clients send in these fields is taken off, on every route.
    #[serde(default = "forwarded")]
    pub forward: IndexMap<String, Template>,
    /// Whether the credential is taken off the request before it goes to the upstream.
    #[serde(default)]
    pub hide_credential: bool,
    /// The consumer that callers are who show nothing. Absent: they get `401`.
    #[serde(default)]
    pub anonymous: Option<String>,
}

/// A stream in a Redis of what was revoked, which all gateways read as it grows.
///
/// Each entry has one of `jti`, `sub` and `kid` with its value, and `exp`: until when that counts, in seconds since 1970;
/// the token's own `exp` is enough. The last entry of a value counts, so that one with `exp 0` takes back what was
/// revoked. Entries past their time may be trimmed.
///
/// ```text
/// XADD gatehouse:revoked * jti 5f2c exp 1790000000
/// ```
///
/// What was read stays in force until its `exp`, also while the store does not answer or has lost it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokedIn {
    /// Which of `stores`.
    pub store: String,
    /// The key of the stream, behind the store's prefix.
    #[serde(default = "RevokedIn::stream")]
    pub stream: String,
    /// How often it is looked at. At least 50ms.
    #[serde(default = "RevokedIn::every")]
    pub every: Span,
    /// How many values are known at once; of more, those that would count for longest are kept.
    #[serde(default = "RevokedIn::most")]
    pub most: NonZeroU32,
    /// What becomes of tokens as long as the stream has never been read to its end since the start.
    #[serde(default)]
    pub unread: Unread,
}

/// What becomes of tokens while nobody knows what was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unread {
    /// They get `503` (`auth_unavailable`).
    #[default]
    Refuse,
    /// They are taken as if nothing were revoked.
    Accept,
}

impl RevokedIn {
    fn stream() -> String {
        "revoked".to_owned()
    }

    fn every() -> Span {
        Span::from_millis(500)
    }

    fn most() -> NonZeroU32 {
        NonZeroU32::MIN.saturating_add(999_999)
    }
}

/// Who may issue tokens, and with which keys. Has exactly one of `keys` and `jwks`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// Its name, as tokens have it in `iss`, to the letter. Absent: whoever used the keys; for one issuer at most.
    #[serde(default)]
    pub issuer: Option<String>,
    /// Whom tokens may be for: one of these must be in `aud`. An empty list takes tokens for anybody, also those that the issuer made for others.
    pub audiences: Vec<String>,
    /// The algorithms that are allowed. Empty: all that its keys are for. A key is never used with an algorithm of another sort of key.
    #[serde(default)]
    pub algorithms: Vec<Algorithm>,
    /// Keys that are known beforehand.
    #[serde(default)]
    pub keys: Vec<StaticKey>,
    /// Keys that are fetched.
    #[serde(default)]
    pub jwks: Option<Jwks>,
}

/// A key. Has exactly one of `secret`, `pem` and `jwks`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StaticKey {
    /// What tokens call it (`kid`). Absent: it is tried for any token.
    pub id: Option<String>,
    /// The one algorithm it is for. Absent: all for its sort.
    pub algorithm: Option<Algorithm>,
    /// A secret that both sides have: at least 32 bytes, 48 for HS384, 64 for HS512.
    pub secret: Option<Secret>,
    /// Whether the secret is written in base64.
    pub base64: bool,
    /// A public key or a certificate in PEM, as text or `{ file: … }`: RSA of 2048 to 8192 bits, P-256, P-384, P-521 or Ed25519.
    pub pem: Option<Secret>,
    /// A key or a set of keys in JSON (RFC 7517), as text or `{ file: … }`. The keys say themselves how they are called and what they are for.
    pub jwks: Option<Secret>,
}

/// Keys that are fetched, and fetched again before they are old.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Jwks {
    /// Where the set of keys is. Absent: where the issuer's discovery document says, which is at the name of the issuer with
    /// `/.well-known/openid-configuration` behind it.
    pub url: Option<String>,
    /// The longest time between two fetches. If the answer says how long it is good (`Cache-Control: max-age`), that counts, from 10 seconds up to this.
    pub refresh: Span,
    /// A token may name a key that is not known: then the keys are fetched, but not if the last fetch was less than this ago. Requests wait for it together.
    pub refetch: Span,
    /// How long keys are used that could not be fetched again.
    pub stale: Span,
    /// The time for each answer.
    pub timeout: Span,
    /// A file of certificates in PEM: the authorities that the server's certificate must be from. Absent: those of the system.
    pub ca: Option<PathBuf>,
    /// Whether addresses of HTTP, in the clear, are allowed. Those of this machine always are.
    pub allow_http: bool,
}

impl Default for Jwks {
    fn default() -> Self {
        Self {
            url: None,
            refresh: Span::from_secs(600),
            refetch: Span::from_secs(30),
            stale: Span::from_secs(86_400),
            timeout: Span::from_secs(5),
            ca: None,
            allow_http: false,
        }
    }
}

impl Jwt {
    fn half_a_minute() -> Span {
        Span::from_secs(30)
    }

    fn sub() -> String {
        "sub".to_owned()
    }

    fn yes() -> bool {
        true
    }

    fn many() -> u32 {
        10_000
    }

    fn api() -> String {
        "api".to_owned()
    }
}
