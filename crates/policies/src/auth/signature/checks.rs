//! Whether a signature is good: plain functions of the message, the keys and the time (RFC 9421 3.2, RFC 9530 2).

use aws_lc_rs::digest::{self, SHA256, SHA512};
use gatehouse_core::identity::Identity;
use sfv::{BareItem, InnerList, ListEntry};

use super::keys::{Keys, Known};
use super::message::{Message, component_name};

/// What is asked of signatures. Times are in seconds.
pub struct Checks {
    pub components: Vec<String>,
    pub label: Option<String>,
    pub tag: Option<String>,
    pub max_age: u64,
    pub skew: u64,
    pub nonce: bool,
}

/// A signature that is good, but for what has to be waited for.
pub struct Good {
    pub identity: Identity,
    pub nonce: Option<String>,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    pub covers_digest: bool,
}

impl Checks {
    /// Looks at the signatures of a message; `now` in seconds since 1970. An error is for the log.
    pub fn check(&self, keys: &Keys, message: &Message<'_>, now: u64) -> Result<Option<Good>, &'static str> {
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
            let Some(known) = key(keys, &input) else {
                why = "no key of a signature is known";
                continue;
            };
            let Some(ListEntry::Item(signature)) = signatures.shift_remove(&label) else {
                return Err("a signature that `Signature-Input` has is not in `Signature`");
            };
            let BareItem::ByteSequence(signature) = &signature.bare_item else {
                return Err("a member of `Signature` is no sequence of bytes");
            };
            return self.verify(message, &input, known, signature, now).map(Some);
        }
        Err(why)
    }

    fn verify(
        &self,
        message: &Message<'_>,
        input: &InnerList,
        known: &Known,
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
}

fn key<'k>(keys: &'k Keys, input: &InnerList) -> Option<&'k Known> {
    let id = input.params.get("keyid")?.as_string()?;
    keys.find(id.as_str())
}

/// Whether the body is what `Content-Digest` says, by all algorithms that are known (RFC 9530 2).
pub fn digest_fits(message: &Message<'_>, body: &[u8]) -> Result<(), &'static str> {
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
