//! The provider ends a session by itself, without the browser (OpenID Connect Back-Channel Logout 1.0).

use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::route::query_values;
use gatehouse_http1::{Known, Method};
use serde_json::{Map, Value};

use super::Login;
use super::id_token::Bad;

/// The most bytes of the form.
const LARGEST: u64 = 32 * 1024;

/// What a logout token says it is.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

impl Login {
    /// Ends the sessions that the provider names.
    pub async fn told_to_end(&self, ex: &mut Exchange) -> Result<Response, Failure> {
        if ex.request.head.method != Method::Post {
            return Err(Failure::new(Code::MethodNotAllowed).header("allow", "POST"));
        }
        let form = ex.buffer_body(LARGEST, "oidc.logout.back_channel").await?;
        let form = std::str::from_utf8(&form).unwrap_or_default();
        let token = query_values(form, "logout_token").next();
        let token = token.and_then(|token| String::from_utf8(token.into_owned()).ok());
        let token = token.ok_or_else(|| wrong("the form has no `logout_token`"))?;
        let claims = self.verified(ex, &token).await.map_err(|bad| match bad {
            Bad::NoKeys => super::unavailable("there are no keys to check the logout token with"),
            Bad::Token(why) => wrong(why),
        })?;
        if !is_logout(&claims) {
            return Err(wrong("it is no logout token"));
        }
        // A login that came between the token and its arrival is none that it ends.
        let issued = claims.get("iat").and_then(Value::as_u64);
        let until = issued.unwrap_or(u64::MAX).min(ex.unix_seconds());
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        match (text("sid"), text("sub")) {
            (Some(session), _) => self.ended.end("sid", session, u64::MAX),
            // All sessions of the person that began before.
            (None, Some(subject)) => self.ended.end("sub", subject, until),
            (None, None) => return Err(wrong("it names neither a session nor a person")),
        }
        let mut response = Response::new(200);
        response.headers_mut().set(Known::CacheControl, b"no-store");
        Ok(response)
    }
}

/// Whether this is to end sessions (section 2.4). An ID token, which browsers may have seen, is not.
fn is_logout(claims: &Map<String, Value>) -> bool {
    let has_event = claims
        .get("events")
        .and_then(|events| events.get(EVENT))
        .is_some_and(Value::is_object);
    has_event && !claims.contains_key("nonce")
}

fn wrong(why: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::new(Code::BadRequest)
        .safe_detail("the logout token is not good")
        .detail(why)
        .close(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_logout_token_ends_sessions() {
        let is = |claims: Value| is_logout(claims.as_object().unwrap());
        assert!(is(json!({ "sub": "a", "events": { EVENT: {} } })));
        for no in [
            json!({ "sub": "a" }),
            json!({ "sub": "a", "events": {} }),
            json!({ "sub": "a", "events": [EVENT] }),
            json!({ "sub": "a", "events": { EVENT: true } }),
            json!({ "sub": "a", "events": { EVENT: {} }, "nonce": "n" }),
        ] {
            assert!(!is(no.clone()), "{no}");
        }
    }
}
