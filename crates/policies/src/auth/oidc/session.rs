//! A session: what a browser keeps for us, and what is made of it once it is opened.

use std::sync::Arc;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatehouse_core::identity::Proof;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::seal::Sealer;
use crate::auth::jwt::claims;

/// Claims that were for the login alone.
const SPENT: [&str; 5] = ["nonce", "at_hash", "c_hash", "s_hash", "acr_values"];

/// What is kept of a login. Times are in seconds since 1970. The names are short: all of it travels with each request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    /// Its name, which is no secret.
    #[serde(rename = "i")]
    pub id: String,
    /// When the login was.
    #[serde(rename = "b")]
    pub began: u64,
    /// When the cookie was last made.
    #[serde(rename = "s")]
    pub seen: u64,
    /// What the provider says of the person.
    #[serde(rename = "c")]
    pub claims: Map<String, Value>,
    /// What the access token is for.
    #[serde(rename = "o")]
    pub scopes: Vec<String>,
    /// When the tokens should be refreshed, if they can be.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub refresh_at: Option<u64>,
    /// When the access token expires, if that is known.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// The access token, if it is forwarded.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<String>,
    /// The refresh token, if it is used.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// The ID token, if it is shown at logout.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub id_token: Option<String>,
}

/// A session that was opened.
pub struct Opened {
    /// What was in it.
    pub session: Session,
    /// Who it is.
    pub proof: Arc<Proof>,
}

impl Session {
    /// Takes off what is of no use any more.
    pub fn tidy(mut self) -> Self {
        self.claims.retain(|name, _| !SPENT.contains(&name.as_str()));
        self
    }

    /// As a cookie has it.
    pub fn seal(&self, sealer: &Sealer) -> Option<String> {
        sealer.seal(serde_json::to_vec(self).ok()?)
    }

    /// The session of a cookie; `subject` is the claim that names the person.
    pub fn open(text: &[u8], sealer: &Sealer, subject: &str) -> Option<Opened> {
        let session: Self = serde_json::from_slice(&sealer.open(text)?).ok()?;
        Some(session.opened(subject))
    }

    /// The same, opened.
    pub fn opened(self, subject: &str) -> Opened {
        let proof = Arc::new(Proof {
            subject: claims::name(&self.claims, subject),
            credential: Some(self.id.as_str().into()),
            scopes: self.scopes.iter().map(|scope| scope.as_str().into()).collect(),
            claims: self.claims.clone(),
        });
        Opened { session: self, proof }
    }
}

/// Text that nobody can guess, of so many random bytes. None if there is no randomness.
pub fn random<const BYTES: usize>() -> Option<String> {
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}
