//! `http_signature`: who calls, by a signature of the request (RFC 9421).

mod checks;
pub mod fuzzing;
mod keys;
mod message;
mod nonces;

use std::sync::Arc;

use gatehouse_core::config::{Diagnostic, Size, Span, Template};
use gatehouse_core::exchange::Exchange;
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::policy::{Compile, Policy, PolicyConfig, Stage};
use gatehouse_core::telemetry::metrics::{Family, Tally};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AuthConfig, Authenticator, Common, Later, Place, Shown, refused};
use checks::{Checks, Good, digest_fits};
use keys::Keys;
use message::Message;
use nonces::{Nonces, Refusal};

/// Finds out who calls by a signature of the request: HTTP Message Signatures (RFC 9421).
///
/// A client signs with a secret that both sides have (`consumers.NAME.credentials.secrets`, `hmac-sha256`) or with a
/// private key whose public half is known (`credentials.public_keys`: `ed25519`, `ecdsa-p256-sha256`,
/// `rsa-pss-sha512`). What it signed is in `Signature-Input`, which must name the key (`keyid`) and the time
/// (`created`), and cover all of `components`. The algorithm is the key's: `alg` can only repeat it.
///
/// What is verified is the request as it reached the gateway: its path in normal form (see the concept of strict HTTP),
/// the scheme and host the client used, the header fields as they are when this policy runs. Of the parameters of
/// components `name`, `key` and `bs` are understood, on requests only. Of several signatures those of unknown keys are
/// passed by, and the first of a known key decides.
///
/// A body is part of what was signed if `content-digest` is covered (RFC 9530). With `content_digest` it must be, and
/// the body is read and compared before the request goes on.
///
/// A request without a signature is answered with 401 `Authentication required`, one with a signature that is not good
/// with 401 `Invalid signature`. The log says why.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSignature {
    /// What must be signed at least: names of fields in lower case, and derived components such as `@path`.
    pub components: Vec<String>,
    /// The label of the signature. Absent: any.
    pub label: Option<String>,
    /// What the signature is for (`tag`). Absent: anything.
    pub tag: Option<String>,
    /// How old a signature may be, by its `created`.
    pub max_age: Span,
    /// How far the clocks of clients may be off.
    pub skew: Span,
    /// Whether each signature must have a `nonce`. One that has is good once; 100,000 are remembered as long as they
    /// could be used again.
    pub nonce: bool,
    /// Whether a body must be covered by `content-digest`, and is compared with it.
    pub content_digest: bool,
    /// The largest body that is read for that.
    pub max_body: Size,
    /// Fields of the request that tell the upstream who calls; those without a value are not sent. From clients they
    /// are taken off, on every route.
    pub forward: IndexMap<String, Template>,
    /// Takes `Signature` and `Signature-Input` off the request. They are no secret, and the upstream may want to see
    /// them.
    pub hide_credential: bool,
    /// The consumer that callers are who show no signature. Absent: they are refused.
    pub anonymous: Option<String>,
}

impl Default for HttpSignature {
    fn default() -> Self {
        Self {
            components: ["@method", "@authority", "@path", "@query"]
                .map(str::to_owned)
                .into(),
            label: None,
            tag: None,
            max_age: Span::from_secs(300),
            skew: Span::from_secs(30),
            nonce: false,
            content_digest: false,
            max_body: Size::mib(1),
            forward: super::forwarded(),
            hide_credential: false,
            anonymous: None,
        }
    }
}

const CHECKS: Family = Family::counter(
    "gatehouse_http_signature_checks_total",
    &["result"],
    "Signatures of requests checked: `good`, `refused`, `full` (too many nonces are remembered).",
);

impl PolicyConfig for HttpSignature {
    const NAME: &'static str = "http_signature";
    const STAGE: Stage = Stage::Authenticate;
    const EXAMPLE: &'static str =
        "components: [\"@method\", \"@target-uri\", \"content-digest\"]\ncontent_digest: true\nnonce: true\n";
    const METRICS: &'static [Family] = &[CHECKS];

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        super::policy(self, cx)
    }
}

/// What of a request may be signed besides its fields.
const DERIVED: [&str; 7] = [
    "@method",
    "@authority",
    "@scheme",
    "@target-uri",
    "@request-target",
    "@path",
    "@query",
];

const CHALLENGE: &str = "Signature";

impl AuthConfig for HttpSignature {
    const NAME: &'static str = <Self as PolicyConfig>::NAME;

    fn authenticator(self, cx: &mut Compile<'_>) -> Result<(Arc<dyn Authenticator>, Common), Diagnostic> {
        for (i, name) in self.components.iter().enumerate() {
            let is_field = || {
                let is_lower = name.bytes().all(|b| !b.is_ascii_uppercase());
                is_lower && gatehouse_http1::is_token(name.as_bytes())
            };
            if !DERIVED.contains(&name.as_str()) && !is_field() {
                let message = format!(
                    "`{name}` is no component; use the name of a field in lower case, or one of `{}`",
                    DERIVED.join("`, `")
                );
                return Err(cx.error(&format!("components[{i}]"), message));
            }
        }
        #[allow(clippy::result_large_err, reason = "runs once a plan")]
        let keys = cx.once(|| Keys::of(cx));
        if let Err(diagnostic) = &*keys {
            return Err(diagnostic.clone());
        }
        let count = |result| cx.tally(&CHECKS, &[result]);
        let counts = [count("good"), count("refused"), count("full")];
        let authenticator = Signatures {
            keys,
            nonces: cx.common_state("http_signature", "", Nonces::default),
            counts,
            checks: Checks {
                components: self.components,
                label: self.label,
                tag: self.tag,
                max_age: self.max_age.get().as_secs(),
                skew: self.skew.get().as_secs(),
                nonce: self.nonce,
            },
            content_digest: self.content_digest,
            max_body: self.max_body.get(),
        };
        let common = Common {
            forward: self.forward,
            hide_credential: self.hide_credential,
            anonymous: self.anonymous,
        };
        Ok((Arc::new(authenticator), common))
    }
}

struct Signatures {
    keys: Arc<Result<Keys, Diagnostic>>,
    nonces: Arc<Nonces>,
    counts: [Arc<Tally>; 3],
    checks: Checks,
    content_digest: bool,
    max_body: u64,
}

impl Signatures {
    /// An error is for the log.
    fn check(&self, ex: &Exchange) -> Result<Option<Good>, &'static str> {
        match &*self.keys {
            Ok(keys) => self.checks.check(keys, &Message::of(ex), ex.unix_seconds()),
            // Such a plan is not made.
            Err(_) => Err("the keys could not be read"),
        }
    }

    /// Takes the nonce, which comes last: what is refused for another reason does not use it up.
    fn conclude(&self, ex: &Exchange, good: Good) -> Shown {
        let [fine, _, full] = &self.counts;
        if let Some(nonce) = &good.nonce {
            let key = good.identity.proof.credential.as_deref().unwrap_or_default();
            let until = good
                .created
                .saturating_add(self.checks.max_age)
                .saturating_add(self.checks.skew);
            match self.nonces.take(key, nonce, ex.mark(), ex.unix_seconds(), until) {
                Ok(()) => {}
                Err(Refusal::Seen) => return Err(self.refused(ex, "the nonce was seen before")),
                Err(Refusal::Full) => {
                    full.count(ex);
                    let detail = "too many nonces are remembered already";
                    return Err(Failure::new(Code::Overloaded)
                        .header("retry-after", "1")
                        .detail(detail));
                }
            }
        }
        fine.count(ex);
        Ok(Some(good.identity))
    }

    fn refused(&self, ex: &Exchange, why: &'static str) -> Failure {
        let [_, refusals, _] = &self.counts;
        refusals.count(ex);
        refused("Invalid signature", CHALLENGE).detail(why)
    }

    /// Holds the body against `Content-Digest`, if it has one.
    async fn compare_body(&self, ex: &mut Exchange, covers_digest: bool) -> Result<(), Failure> {
        if !covers_digest {
            if ex.request.body.exact_len() == Some(0) {
                return Ok(());
            }
            return Err(self.refused(
                ex,
                "the request has a body, and the signature does not cover its digest",
            ));
        }
        let body = ex.buffer_body(self.max_body, "http_signature.max_body").await?;
        match digest_fits(&Message::of(ex), &body) {
            Ok(()) => Ok(()),
            Err(why) => Err(self.refused(ex, why)),
        }
    }

    async fn check_all(&self, ex: &mut Exchange) -> Shown {
        let found = self.check(ex);
        match found {
            Ok(None) => Ok(None),
            Ok(Some(good)) => {
                self.compare_body(ex, good.covers_digest).await?;
                self.conclude(ex, good)
            }
            Err(why) => Err(self.refused(ex, why)),
        }
    }
}

impl Authenticator for Signatures {
    fn authenticate(&self, ex: &mut Exchange) -> Option<Shown> {
        if self.content_digest {
            let fields = &ex.request.head.headers;
            let is_shown = fields.find(b"signature").is_some() || fields.find(b"signature-input").is_some();
            return (!is_shown).then_some(Ok(None));
        }
        let found = self.check(ex);
        Some(match found {
            Ok(None) => Ok(None),
            Ok(Some(good)) => self.conclude(ex, good),
            Err(why) => Err(self.refused(ex, why)),
        })
    }

    fn authenticate_later<'a>(&'a self, ex: &'a mut Exchange) -> Later<'a> {
        Box::pin(self.check_all(ex))
    }

    fn challenge(&self) -> &'static str {
        CHALLENGE
    }

    fn places(&self) -> Vec<Place> {
        ["signature", "signature-input"].map(Place::field).into()
    }
}

#[cfg(test)]
mod tests;
