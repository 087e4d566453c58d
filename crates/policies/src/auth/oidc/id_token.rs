//! Whether an ID token is good: for this client, for this login, with this access token (OpenID Connect Core 3.1.3.7).

use aws_lc_rs::digest::{Algorithm as Digest, SHA256, SHA384, SHA512, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatehouse_core::exchange::Exchange;
use serde_json::{Map, Value};

use super::Login;
use crate::auth::jose::{Algorithm, Token};
use crate::auth::jwt::verify::Refused;

/// Why an ID token is not taken.
pub enum Bad {
    /// There are no keys to check it with.
    NoKeys,
    /// Why, for the log.
    Token(String),
}

impl Login {
    /// What a good ID token says. `nonce` is that of the login; none if it came with a refresh.
    pub async fn check(
        &self,
        ex: &Exchange,
        token: &str,
        nonce: Option<&str>,
        access_token: &str,
    ) -> Result<Map<String, Value>, Bad> {
        let claims = self.verified(ex, token).await?;
        let algorithm = Token::parse(token).and_then(|token| token.header().map(|header| header.algorithm));
        let algorithm = algorithm.map_err(|why| Bad::Token(why.to_owned()))?;
        fits(&claims, &self.client_id, nonce, access_token, algorithm)
            .map_err(|why| Bad::Token(why.to_owned()))?;
        Ok(claims)
    }

    /// What a token of the provider for this client says.
    pub async fn verified(&self, ex: &Exchange, token: &str) -> Result<Map<String, Value>, Bad> {
        let check = || self.checker.check(token, ex.unix_seconds(), ex.now());
        let mut checked = check();
        if let (Err(Refused::UnknownKey(..)), Some(provider)) = (&checked, &self.provider) {
            provider.remote.next(true).await;
            checked = check();
        }
        let verified = checked.map_err(|refused| match refused {
            Refused::NoKeys(_) => Bad::NoKeys,
            Refused::Expired(since) => Bad::Token(format!("it expired {since} s ago")),
            Refused::UnknownKey(_, why) | Refused::Invalid(why) => Bad::Token(why),
            Refused::Scopes(_) => Bad::Token("it lacks scopes".to_owned()),
        })?;
        Ok(verified.proof.claims.clone())
    }
}

/// What is demanded of ID tokens beyond what is of all tokens.
fn fits(
    claims: &Map<String, Value>,
    client_id: &str,
    nonce: Option<&str>,
    access_token: &str,
    algorithm: Algorithm,
) -> Result<(), &'static str> {
    if claims
        .get("sub")
        .and_then(Value::as_str)
        .is_none_or(str::is_empty)
    {
        return Err("it does not say who logged in (`sub`)");
    }
    let is_for_others = claims
        .get("aud")
        .and_then(Value::as_array)
        .is_some_and(|all| all.len() > 1);
    match claims.get("azp") {
        Some(party) if party.as_str() != Some(client_id) => {
            return Err("another client asked for it (`azp`)");
        }
        None if is_for_others => return Err("it is for several, and does not say who asked for it (`azp`)"),
        _ => {}
    }
    if nonce.is_some() && claims.get("nonce").and_then(Value::as_str) != nonce {
        return Err("it is of another login (`nonce`)");
    }
    if let Some(hash) = claims.get("at_hash")
        && hash.as_str() != Some(half_hash(access_token, algorithm).as_str())
    {
        return Err("it came with another access token (`at_hash`)");
    }
    Ok(())
}

/// The left half of a token's hash (OpenID Connect Core 3.1.3.6).
fn half_hash(token: &str, algorithm: Algorithm) -> String {
    let function: &Digest = match algorithm {
        Algorithm::HS256 | Algorithm::RS256 | Algorithm::PS256 | Algorithm::ES256 => &SHA256,
        Algorithm::HS384 | Algorithm::RS384 | Algorithm::PS384 | Algorithm::ES384 => &SHA384,
        Algorithm::HS512 | Algorithm::RS512 | Algorithm::PS512 | Algorithm::ES512 | Algorithm::EdDSA => {
            &SHA512
        }
    };
    let hash = digest(function, token.as_bytes());
    let (half, _) = hash.as_ref().split_at(hash.as_ref().len() / 2);
    URL_SAFE_NO_PAD.encode(half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_token_is_for_this_client_login_and_access_token() {
        // The access token and its hash are those of OpenID Connect Core A.3.
        let access = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        let check = |claims: Value, nonce| {
            let claims = claims.as_object().cloned().unwrap_or_default();
            fits(&claims, "shop", nonce, access, Algorithm::RS256).is_ok()
        };
        for good in [
            json!({ "sub": "a", "nonce": "n", "aud": "shop" }),
            json!({ "sub": "a", "nonce": "n", "aud": ["shop"], "azp": "shop" }),
            json!({ "sub": "a", "nonce": "n", "aud": ["shop", "b"], "azp": "shop" }),
            json!({ "sub": "a", "nonce": "n", "at_hash": "77QmUPtjPfzWtF2AnpK9RQ" }),
        ] {
            assert!(check(good.clone(), Some("n")), "{good}");
        }
        for bad in [
            json!({ "nonce": "n" }),
            json!({ "sub": "", "nonce": "n" }),
            json!({ "sub": "a" }),
            json!({ "sub": "a", "nonce": "m" }),
            json!({ "sub": "a", "nonce": null }),
            json!({ "sub": "a", "nonce": "n", "aud": ["shop", "b"] }),
            json!({ "sub": "a", "nonce": "n", "azp": "b" }),
            json!({ "sub": "a", "nonce": "n", "azp": 1 }),
            json!({ "sub": "a", "nonce": "n", "at_hash": "77QmUPtjPfzWtF2AnpK9RR" }),
            json!({ "sub": "a", "nonce": "n", "at_hash": null }),
        ] {
            assert!(!check(bad.clone(), Some("n")), "{bad}");
        }
        assert!(check(json!({ "sub": "a" }), None), "a refresh has no nonce");
    }
}
