//! Decides whether a token is good: its issuer, its signature, what it says. Plain functions of the token, the keys and
//! the time.

use std::sync::Arc;
use std::time::Instant;

use gatehouse_core::identity::Proof;
use serde_json::{Map, Value};

use super::claims::{self, Rules, Wrong};
use super::issuer::{Keys, Trusted};
use super::keys::Remote;
use crate::auth::jose::{Choice, KeySet, Token};

/// What a policy demands of tokens.
pub struct Checker {
    /// Who may issue them.
    pub issuers: Vec<Trusted>,
    /// What they must say.
    pub rules: Rules,
    /// Scopes they must all have.
    pub scopes: Vec<String>,
    /// What sorts of tokens are taken (`typ`), in lower case; empty: all.
    pub kinds: Vec<String>,
    /// The claim that names the caller.
    pub subject: String,
    /// The claim that has the scopes, if it is not one of the usual.
    pub scope_claim: Option<String>,
}

/// A token that was verified. Holds no consumer: that belongs to a plan.
pub struct Verified {
    /// What it says.
    pub proof: Arc<Proof>,
    /// Which of the policy's issuers it is from.
    pub issuer: usize,
    /// The id of the key that verified it.
    pub key_id: Option<Box<str>>,
    /// From when on it is not good any more, in seconds since 1970, leeway included.
    pub expires: u64,
    /// The generation of the keys that verified it.
    pub generation: u64,
}

/// Why a token is not taken. The texts are for the log.
#[derive(Debug)]
pub enum Refused {
    /// There are no keys of this issuer now.
    NoKeys(usize),
    /// It names a key that this issuer's set does not have.
    UnknownKey(usize, String),
    /// It was good, so many seconds ago.
    Expired(u64),
    /// It does not have these scopes.
    Scopes(Vec<String>),
    /// Anything else.
    Invalid(String),
}

impl Checker {
    /// Verifies a token.
    ///
    /// # Errors
    /// Says why it is not taken.
    pub fn check(&self, text: &str, now: u64, moment: Instant) -> Result<Verified, Refused> {
        let invalid = |why: &str| Refused::Invalid(why.to_owned());
        let token = Token::parse(text).map_err(invalid)?;
        let header = token.header().map_err(invalid)?;
        // Read before it is believed, to find the issuer; nothing is taken from it until the signature is good.
        let claims: Map<String, Value> = serde_json::from_slice(token.payload())
            .map_err(|_| invalid("it has no claims: its payload is no JSON object"))?;
        let (index, issuer) = self.issuer(&claims)?;
        if !issuer.algorithms.contains(&header.algorithm) {
            return Err(Refused::Invalid(format!(
                "the algorithm {} is not allowed",
                header.algorithm
            )));
        }
        let verify = |set: &KeySet| match set.verify(&header, token.message(), token.signature()) {
            Choice::Verified(key) => Ok(key.id().map(Box::from)),
            Choice::Wrong => Err(invalid("no key fits its signature")),
            Choice::Unknown => Err(Refused::UnknownKey(
                index,
                match &header.key_id {
                    Some(id) => format!("there is no key `{}` for {}", id.escape_debug(), header.algorithm),
                    None => format!("there is no key for {}", header.algorithm),
                },
            )),
        };
        let (key_id, generation) = match &issuer.keys {
            Keys::Fixed(set) => (verify(set)?, 0),
            Keys::Remote(remote) => {
                let keys = remote.keys(moment);
                let keys = keys.as_ref().ok_or(Refused::NoKeys(index))?;
                (verify(&keys.set)?, keys.generation)
            }
        };
        if !self.kinds.is_empty() && !header.kind.is_some_and(|kind| self.kinds.contains(&kind)) {
            return Err(invalid("it is a token of another sort (`typ`)"));
        }
        let expires = self
            .rules
            .check(&claims, &issuer.audiences, now)
            .map_err(|wrong| match wrong {
                Wrong::Expired(since) => Refused::Expired(since),
                Wrong::Invalid(why) => Refused::Invalid(why),
            })?;
        let scopes = claims::scopes(&claims, self.scope_claim.as_deref());
        if !self
            .scopes
            .iter()
            .all(|wanted| scopes.iter().any(|scope| **scope == **wanted))
        {
            return Err(Refused::Scopes(self.scopes.clone()));
        }
        let credential = claims.get("jti").and_then(Value::as_str).map(Box::from);
        let proof = Proof {
            subject: claims::name(&claims, &self.subject),
            credential,
            scopes,
            claims,
        };
        Ok(Verified {
            proof: Arc::new(proof),
            issuer: index,
            key_id,
            expires,
            generation,
        })
    }

    /// Who says to have issued it, among those that are trusted.
    fn issuer(&self, claims: &Map<String, Value>) -> Result<(usize, &Trusted), Refused> {
        let name = claims.get("iss").and_then(Value::as_str);
        let mut all = self.issuers.iter().enumerate();
        let named = all
            .clone()
            .find(|(_, known)| known.name.is_some() && known.name.as_deref() == name);
        // One without a name trusts its keys, whoever says to have used them.
        let found = named.or_else(|| all.find(|(_, known)| known.name.is_none()));
        found.ok_or_else(|| {
            Refused::Invalid(match name {
                Some(name) => format!("its issuer `{}` is not trusted", name.escape_debug()),
                None => "it does not name its issuer (`iss`)".to_owned(),
            })
        })
    }

    /// Whether a token that was verified before is still good: not expired, and its keys are those that are there now.
    pub fn is_good(&self, verified: &Verified, now: u64, moment: Instant) -> bool {
        now < verified.expires && self.generation(verified.issuer, moment) == Some(verified.generation)
    }

    /// The generation of an issuer's keys; none if there are no keys now.
    fn generation(&self, issuer: usize, moment: Instant) -> Option<u64> {
        match &self.issuers.get(issuer)?.keys {
            Keys::Fixed(_) => Some(0),
            Keys::Remote(remote) => remote.keys(moment).as_ref().map(|keys| keys.generation),
        }
    }

    /// Where the keys of an issuer are fetched, if they are.
    pub fn remote(&self, issuer: usize) -> Option<&Remote> {
        match &self.issuers.get(issuer)?.keys {
            Keys::Fixed(_) => None,
            Keys::Remote(remote) => Some(remote),
        }
    }

    /// The same as text, for the log.
    pub fn source(&self, issuer: usize) -> &str {
        self.remote(issuer).map_or("the document", Remote::name)
    }
}
