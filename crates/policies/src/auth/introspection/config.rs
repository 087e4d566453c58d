//! What is written of `introspection`.

use std::path::PathBuf;

use gatehouse_core::config::{Secret, Span, Template};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::bearer::TokenPlace;
use crate::auth::client::ClientProof;
use crate::auth::forwarded;

/// Finds out who calls by asking the server that issued the token (OAuth 2.0 token introspection, RFC 7662).
///
/// For tokens that say nothing by themselves, or that must be good at this moment. What was answered is remembered by a keyed hash of the token: a token
/// that is good for `positive` at most and never past its `exp`, one that is not for `negative`. Requests with the same token wait for one question together.
/// If the server does not answer in time, or answers nonsense, requests get `503` (`auth_unavailable`): nobody is let in unchecked.
/// Other answers to callers are those of `jwt`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Introspection {
    /// Where to ask.
    pub url: String,
    /// Who we are at that server.
    pub client_id: String,
    /// Our password there.
    pub client_secret: Secret,
    /// How we say who we are.
    #[serde(default)]
    pub client_auth: ClientProof,
    /// The time for an answer.
    #[serde(default = "Introspection::five_seconds")]
    pub timeout: Span,
    /// How many questions may be under way; requests past that get `503` at once.
    #[serde(default = "Introspection::sixty_four")]
    pub concurrency: u32,
    /// How long an answer counts that the token is good: as long it may go on after it was revoked.
    #[serde(default = "Introspection::half_a_minute")]
    pub positive: Span,
    /// How long an answer counts that the token is not good.
    #[serde(default = "Introspection::ten_seconds")]
    pub negative: Span,
    /// How many tokens are remembered; each takes about 1 KiB. 0 remembers none.
    #[serde(default = "Introspection::many")]
    pub cache: u32,
    /// A file of certificates in PEM: the authorities that the server's certificate must be from. Absent: those of the system.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Whether an address of HTTP, in the clear, is allowed. One of this machine always is.
    #[serde(default)]
    pub allow_http: bool,
    /// Where requests have their token.
    #[serde(default)]
    pub token: TokenPlace,
    /// Whom tokens may be for: one of these must be in the answer's `aud`. Empty: anybody, as far as the server calls the token active.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Scopes that a token must all have. One that has not gets `403`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// What the answer must say besides, by path, each with the values that are good, as texts; an empty list takes any.
    #[serde(default)]
    pub claims: IndexMap<String, Vec<String>>,
    /// How much the server's clock may differ from ours.
    #[serde(default = "Introspection::half_a_minute")]
    pub leeway: Span,
    /// What of the answer names the caller, by path: `${identity.subject}`, and what `credentials.subjects` of consumers refer to.
    #[serde(default = "Introspection::sub")]
    pub subject: String,
    /// Whether tokens whose subject is no consumer's get `403`.
    #[serde(default)]
    pub require_consumer: bool,
    /// What callers are told they need a token for: the `realm` of `WWW-Authenticate`.
    #[serde(default = "Introspection::api")]
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

impl Introspection {
    fn five_seconds() -> Span {
        Span::from_secs(5)
    }

    fn ten_seconds() -> Span {
        Span::from_secs(10)
    }

    fn half_a_minute() -> Span {
        Span::from_secs(30)
    }

    fn sixty_four() -> u32 {
        64
    }

    fn many() -> u32 {
        10_000
    }

    fn sub() -> String {
        "sub".to_owned()
    }

    fn api() -> String {
        "api".to_owned()
    }
}
