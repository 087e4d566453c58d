//! Tokens that pages show twice: in a cookie, which browsers send by themselves, and in a field, which only pages of the
//! same origin can fill in (signed double submit).
//!
//! A token is 16 random bytes, the second it ends, and a MAC of both and of what it is bound to. Nothing is kept: gateways
//! with the same secret know each other's.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatehouse_core::config::{Diagnostic, Secret, Size, Span, Template};
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::failure::Failure;
use gatehouse_core::policy::Compile;
use gatehouse_core::route::decode;
use gatehouse_http1::{self as http1, Known};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Random bytes, the second it ends, the MAC.
const RANDOM: usize = 16;
const ENDS: usize = 8;
const MAC: usize = 32;
const LENGTH: usize = RANDOM + ENDS + MAC;
/// A secret of fewer bytes could be guessed.
const SHORTEST_SECRET: usize = 32;

/// A token that requests have to show twice.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CsrfToken")]
pub struct TokenSettings {
    /// What tokens are signed with: at least 32 bytes, the same at all gateways.
    pub secret: Secret,
    /// The cookie that has the token. Pages read it, so it is not `HttpOnly`; over TLS it is `Secure`. A name that begins
    /// with `__Host-` keeps pages of neighbouring hosts from setting it.
    #[serde(default = "TokenSettings::cookie")]
    pub cookie: String,
    /// The header field that has to repeat it.
    #[serde(default = "TokenSettings::header")]
    pub header: String,
    /// The field of a form that may repeat it in place of the header (`application/x-www-form-urlencoded`). Absent: none.
    #[serde(default)]
    pub field: Option<String>,
    /// The most bytes of a form that is looked through for it; a longer one gets `413`.
    #[serde(default = "TokenSettings::max_form")]
    pub max_form: Size,
    /// What a token is good for, such as `${request.cookie.session}`: with another value it is not. Name the session, so
    /// that nobody can use a token of their own in somebody else's; not the cookie of `oidc`, which is renewed. Where it names
    /// the caller, such as `${identity.subject}`, put the policy behind the authentication. Absent: any.
    #[serde(default)]
    pub bind: Option<Template>,
    /// How long a token is good. A new one is set when half of that is over.
    #[serde(default = "TokenSettings::ttl")]
    pub ttl: Span,
}

impl TokenSettings {
    fn cookie() -> String {
        "csrf_token".to_owned()
    }

    fn header() -> String {
        "X-CSRF-Token".to_owned()
    }

    fn max_form() -> Size {
        Size::kib(64)
    }

    fn ttl() -> Span {
        Span::from_secs(12 * 3600)
    }
}

/// What the request showed that a token is bound to.
struct Bound(Vec<u8>);

/// Makes and judges tokens.
pub struct Tokens {
    key: hmac::Key,
    cookie: Box<str>,
    header: Box<str>,
    field: Option<Box<str>>,
    max_form: u64,
    bind: Option<Template>,
    ttl: u64,
}

impl Tokens {
    /// Makes what the settings say.
    #[allow(clippy::result_large_err, reason = "runs once a plan")]
    pub fn compile(written: TokenSettings, cx: &Compile<'_>) -> Result<Self, Diagnostic> {
        let secret = written.secret.read(cx.reader);
        let secret = secret.map_err(|why| cx.error("token.secret", why))?;
        if secret.len() < SHORTEST_SECRET {
            let message = format!(
                "the secret has {} bytes; expected at least {SHORTEST_SECRET}",
                secret.len()
            );
            return Err(cx.error("token.secret", message));
        }
        for (field, name) in [("cookie", &written.cookie), ("header", &written.header)] {
            if !http1::is_token(name.as_bytes()) {
                let message = format!("`{name}` cannot be the name of a {field}");
                return Err(cx.error(&format!("token.{field}"), message));
            }
        }
        if written.ttl.get().as_secs() < 60 {
            return Err(cx.error(
                "token.ttl",
                "no page is filled in so fast; expected at least `1m`",
            ));
        }
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            cookie: written.cookie.into(),
            header: written.header.into(),
            field: written.field.map(String::into_boxed_str),
            max_form: written.max_form.get(),
            bind: written.bind,
            ttl: written.ttl.get().as_secs(),
        })
    }

    /// Whether the header repeats a good token of the cookie. None: it may be in the form.
    pub fn in_header(&self, ex: &Exchange) -> Option<bool> {
        let mut shown = ex.request.head.headers.find_all(self.header.as_bytes());
        match (shown.next(), shown.next()) {
            (Some(shown), None) => Some(self.is_repeated(ex, shown)),
            (None, _) if self.field.is_some() && is_form(ex) => None,
            _ => Some(false),
        }
    }

    /// Whether the form does.
    ///
    /// # Errors
    /// If it is too long, or does not come.
    pub async fn in_form(&self, ex: &mut Exchange) -> Result<bool, Failure> {
        let body = ex.buffer_body(self.max_form, "csrf.token.max_form").await?;
        let (Some(field), Ok(text)) = (&self.field, std::str::from_utf8(&body)) else {
            return Ok(false);
        };
        let mut shown = text.split('&').filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (*decode(name) == *field.as_bytes()).then(|| decode(value))
        });
        Ok(match (shown.next(), shown.next()) {
            (Some(shown), None) => self.is_repeated(ex, &shown),
            _ => false,
        })
    }

    fn is_repeated(&self, ex: &Exchange, shown: &[u8]) -> bool {
        // Of two cookies of the name one may be planted by a neighbouring host.
        let mut cookies = ex.cookies(&self.cookie);
        let (Some(cookie), None) = (cookies.next(), cookies.next()) else {
            return false;
        };
        verify_slices_are_equal(cookie, shown).is_ok()
            && self
                .ends(cookie, &self.bound_to(ex))
                .is_some_and(|ends| ex.unix_seconds() < ends)
    }

    /// Keeps what a token of the answer is to be bound to: policies behind this one may take it off the request.
    pub fn note(&self, ex: &mut Exchange) {
        if self.bind.is_some() {
            let bound = Bound(self.bound_to(ex));
            ex.keep(bound);
        }
    }

    /// Sets the cookie, unless there is one that is good for long enough.
    pub fn renew(&self, ex: &mut Exchange, response: &mut Response) {
        let bound = ex.kept().map_or_else(Vec::new, |Bound(bound)| bound);
        let now = ex.unix_seconds();
        let mut cookies = ex.cookies(&self.cookie);
        let is_good = |cookie| {
            self.ends(cookie, &bound)
                .is_some_and(|ends| now + self.ttl / 2 < ends)
        };
        if cookies.next().is_some_and(is_good) && cookies.next().is_none() {
            return;
        }
        let Some(token) = self.token(now.saturating_add(self.ttl), &bound) else {
            return;
        };
        let secure = if ex.client.scheme == "https" {
            "; Secure"
        } else {
            ""
        };
        let cookie = format!(
            "{}={token}; Path=/; Max-Age={}; SameSite=Lax{secure}",
            self.cookie, self.ttl
        );
        let fields = response.headers_mut();
        fields.append_name(b"set-cookie", cookie.as_bytes());
        // It is for this client only.
        fields.append_name(b"vary", b"Cookie");
        fields.set_name(b"cache-control", b"no-store");
    }

    fn bound_to(&self, ex: &Exchange) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(bind) = &self.bind {
            bind.render(&mut out, &mut |variable, out| ex.variable(variable, out));
        }
        out
    }

    fn token(&self, ends: u64, bound: &[u8]) -> Option<String> {
        let mut bytes = Vec::with_capacity(LENGTH);
        let mut random = [0; RANDOM];
        rand::fill(&mut random).ok()?;
        bytes.extend_from_slice(&random);
        bytes.extend_from_slice(&ends.to_be_bytes());
        let mac = self.mac(&bytes, bound);
        bytes.extend_from_slice(mac.as_ref());
        Some(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// When a token ends, if it is one of ours for this.
    fn ends(&self, token: &[u8], bound: &[u8]) -> Option<u64> {
        let bytes = URL_SAFE_NO_PAD
            .decode(token)
            .ok()
            .filter(|bytes| bytes.len() == LENGTH)?;
        let (front, mac) = bytes.split_at_checked(RANDOM + ENDS)?;
        verify_slices_are_equal(self.mac(front, bound).as_ref(), mac).ok()?;
        let ends = front.last_chunk::<ENDS>()?;
        Some(u64::from_be_bytes(*ends))
    }

    fn mac(&self, front: &[u8], bound: &[u8]) -> hmac::Tag {
        // The front has one length: it cannot run into what follows.
        let mut mac = hmac::Context::with_key(&self.key);
        mac.update(front);
        mac.update(bound);
        mac.sign()
    }
}

fn is_form(ex: &Exchange) -> bool {
    let kind = ex
        .request
        .head
        .headers
        .get(Known::ContentType)
        .unwrap_or_default();
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    kind.trim_ascii()
        .eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_of_ours_for_the_same_are_good() {
        let tokens = |secret: &[u8]| Tokens {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            cookie: "c".into(),
            header: "h".into(),
            field: None,
            max_form: 0,
            bind: None,
            ttl: 60,
        };
        let ours = tokens(&[1; 32]);
        let token = ours.token(1000, b"alice").unwrap();
        assert_eq!(ours.ends(token.as_bytes(), b"alice"), Some(1000));
        assert_eq!(ours.ends(token.as_bytes(), b"bob"), None);
        assert_eq!(tokens(&[2; 32]).ends(token.as_bytes(), b"alice"), None);
        assert_ne!(ours.token(1000, b"alice").unwrap(), token);
        for at in 0..token.len() {
            let mut other = token.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(ours.ends(&other, b"alice"), None, "at {at}");
            assert_eq!(ours.ends(&token.as_bytes()[..at], b"alice"), None);
        }
    }
}
