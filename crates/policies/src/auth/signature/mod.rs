//! `http_signature`: who calls, by a signature of the request (RFC 9421).

mod keys;
mod message;
mod nonces;

use std::sync::Arc;

use aws_lc_rs::digest::{self, SHA256, SHA512};
use gatehouse_core::config::{Diagnostic, Size, Span, Template};
use gatehouse_core::exchange::Exchange;
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::identity::Identity;
use gatehouse_core::policy::{Compile, Policy, PolicyConfig, Stage};
use gatehouse_core::telemetry::metrics::{Family, Tally};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sfv::{BareItem, InnerList, ListEntry};

use super::{AuthConfig, Authenticator, Common, Later, Shown, refused};
use keys::Keys;
use message::{Message, component_name};
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
            components: self.components,
            label: self.label,
            tag: self.tag,
            max_age: self.max_age.get().as_secs(),
            skew: self.skew.get().as_secs(),
            nonce: self.nonce,
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
    components: Vec<String>,
    label: Option<String>,
    tag: Option<String>,
    /// Seconds, as all times here.
    max_age: u64,
    skew: u64,
    nonce: bool,
    content_digest: bool,
    max_body: u64,
}

/// A signature that is good, but for what has to be waited for.
struct Good {
    identity: Identity,
    nonce: Option<String>,
    /// When it was made, in seconds since 1970.
    created: u64,
    covers_digest: bool,
}

impl Signatures {
    /// Looks at the signatures of a message; `now` in seconds since 1970. An error is for the log.
    fn check(&self, message: &Message<'_>, now: u64) -> Result<Option<Good>, &'static str> {
        let inputs = message.dictionary("signature-input")?;
        let signatures = message.dictionary("signature")?;
        let (inputs, mut signatures) = match (inputs, signatures) {
            (None, None) => return Ok(None),
            (Some(inputs), Some(signatures)) => (inputs, signatures),
            _ => return Err("of `Signature` and `Signature-Input` there is only one"),
        };
        let mut why = match self.label {
            Some(_) => "there is no signature with the label",
            None => "no key of a signature is known",
        };
        for (label, input) in inputs {
            if self
                .label
                .as_deref()
                .is_some_and(|wanted| label.as_str() != wanted)
            {
                continue;
            }
            let ListEntry::InnerList(input) = input else {
                return Err("a member of `Signature-Input` is no list");
            };
            let Some(known) = self.key(&input) else {
                why = "no key of a signature is known";
                continue;
            };
            let signature = match signatures.shift_remove(&label) {
                Some(ListEntry::Item(item)) => item,
                _ => return Err("a signature that `Signature-Input` has is not in `Signature`"),
            };
            let BareItem::ByteSequence(signature) = &signature.bare_item else {
                return Err("a member of `Signature` is no sequence of bytes");
            };
            return self.verify(message, &input, known, signature, now).map(Some);
        }
        Err(why)
    }

    fn key(&self, input: &InnerList) -> Option<&keys::Known> {
        let id = input.params.get("keyid")?.as_string()?;
        self.keys.as_ref().as_ref().ok()?.find(id.as_str())
    }

    fn verify(
        &self,
        message: &Message<'_>,
        input: &InnerList,
        known: &keys::Known,
        signature: &[u8],
        now: u64,
    ) -> Result<Good, &'static str> {
        let text = |name: &str| -> Result<Option<&str>, &'static str> {
            let Some(value) = input.params.get(name) else {
                return Ok(None);
            };
            let text = value
                .as_string()
                .ok_or("a parameter of the signature is no text")?;
            Ok(Some(text.as_str()))
        };
        let time = |name: &str| -> Result<Option<u64>, &'static str> {
            let Some(value) = input.params.get(name) else {
                return Ok(None);
            };
            let seconds = value
                .as_integer()
                .and_then(|seconds| u64::try_from(i64::from(seconds)).ok());
            seconds
                .map(Some)
                .ok_or("a time of the signature is no number of seconds")
        };
        if text("alg")?.is_some_and(|alg| alg != known.key.algorithm()) {
            return Err("the signature names another algorithm than that of the key");
        }
        if self.tag.is_some() && text("tag")? != self.tag.as_deref() {
            return Err("the signature has another tag");
        }
        let created = time("created")?.ok_or("the signature does not say when it was made")?;
        if created > now.saturating_add(self.skew) {
            return Err("the signature was made in the future");
        }
        if created.saturating_add(self.max_age).saturating_add(self.skew) < now {
            return Err("the signature is too old");
        }
        if time("expires")?.is_some_and(|expires| expires.saturating_add(self.skew) < now) {
            return Err("the signature has expired");
        }
        let nonce = text("nonce")?;
        if self.nonce && nonce.is_none() {
            return Err("the signature has no nonce");
        }
        // Only a component without parameters is the whole of what its name says.
        let mut covered = input
            .items
            .iter()
            .filter(|item| item.params.is_empty())
            .filter_map(component_name);
        let is_covered = |wanted: &String| covered.clone().any(|name| name == wanted);
        if !self.components.iter().all(is_covered) {
            return Err("the signature does not cover all that it must");
        }
        let covers_digest = covered.any(|name| name == "content-digest");
        let base = message.signature_base(input)?;
        if !known.key.verify(&base, signature) {
            return Err("the signature does not fit");
        }
        Ok(Good {
            identity: known.identity.clone(),
            nonce: nonce.map(str::to_owned),
            created,
            covers_digest,
        })
    }

    /// Takes the nonce, which comes last: what is refused for another reason does not use it up.
    fn conclude(&self, ex: &Exchange, good: Good) -> Shown {
        let [fine, _, full] = &self.counts;
        if let Some(nonce) = &good.nonce {
            let key = good.identity.proof.credential.as_deref().unwrap_or_default();
            let until = good
                .created
                .saturating_add(self.max_age)
                .saturating_add(self.skew);
            let request = ex.ids.request.as_bytes();
            match self.nonces.take(key, nonce, request, ex.unix_seconds(), until) {
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
        let found = self.check(&Message::of(ex), ex.unix_seconds());
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

/// Whether the body is what `Content-Digest` says, by all algorithms that are known (RFC 9530 2).
fn digest_fits(message: &Message<'_>, body: &[u8]) -> Result<(), &'static str> {
    let digests = message
        .dictionary("content-digest")?
        .ok_or("there is no `Content-Digest`")?;
    let mut known = 0;
    for (name, entry) in &digests {
        let algorithm = match name.as_str() {
            "sha-256" => &SHA256,
            "sha-512" => &SHA512,
            _ => continue,
        };
        let ListEntry::Item(item) = entry else {
            return Err("a member of `Content-Digest` is a list");
        };
        if item.bare_item.as_byte_sequence() != Some(digest::digest(algorithm, body).as_ref()) {
            return Err("the body is not what `Content-Digest` says");
        }
        known += 1;
    }
    if known == 0 {
        return Err("`Content-Digest` has neither `sha-256` nor `sha-512`");
    }
    Ok(())
}

impl Authenticator for Signatures {
    fn authenticate(&self, ex: &mut Exchange) -> Option<Shown> {
        if self.content_digest {
            let fields = &ex.request.head.headers;
            let is_shown = fields.find(b"signature").is_some() || fields.find(b"signature-input").is_some();
            return (!is_shown).then_some(Ok(None));
        }
        let found = self.check(&Message::of(ex), ex.unix_seconds());
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

    fn forget(&self, ex: &mut Exchange) {
        let fields = &mut ex.request.head.headers;
        fields.remove_name(b"signature");
        fields.remove_name(b"signature-input");
    }
}

#[cfg(test)]
mod tests;
