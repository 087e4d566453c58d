//! Refuses requests that pages of other sites make in a user's name.

mod token;

use std::sync::Arc;

use gatehouse_core::config::Diagnostic;
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::policy::{Compile, Outcome, Policy, PolicyConfig, Stage, Step, Verdict};
use gatehouse_http1::{Known, Method};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::origin::Origins;
pub use token::TokenSettings;
use token::Tokens;

/// Refuses requests that pages of other sites make in a user's name (cross-site request forgery): for APIs whose users are
/// known by a cookie, or by anything else that a browser sends by itself.
///
/// `GET`, `HEAD` and `OPTIONS` pass, unless they ask for a WebSocket: services must not change anything for them. For all
/// others a request passes if its `Origin` is listed; or if `Sec-Fetch-Site`, which pages cannot forge, says `same-origin` or
/// `none`; or, from browsers that do not send it, if `Origin` names the host of the request itself. A request with
/// neither field comes from no browser, and passes. Everything else gets `403` (`forbidden`).
///
/// With `token` a request must besides show a token twice, in a cookie and in a header field or a field of a form, unless its
/// `Origin` is listed or it asks for a WebSocket. The cookie is set with answers to `GET` and `HEAD`. So no browser has to be believed, and requests of
/// no browser do not pass either.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Csrf {
    /// Origins of other pages that may make requests, written as for `cors`. `*` is not among them.
    pub origins: Vec<String>,
    /// Whether pages of other hosts of the same site (`https://a.example.com` for `https://b.example.com`) may, too.
    pub same_site: bool,
    /// A token that requests have to show twice. Absent: none.
    pub token: Option<TokenSettings>,
}

impl PolicyConfig for Csrf {
    const NAME: &'static str = "csrf";
    const STAGE: Stage = Stage::Admit;
    const EXAMPLE: &'static str = "origins: [\"https://app.example.com\"]\n";

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        let origins =
            Origins::parse(&self.origins).map_err(|(i, why)| cx.error(&format!("origins[{i}]"), why))?;
        if origins.is_any() {
            return Err(cx.error("origins", "`*` would let every page in; name the origins"));
        }
        let tokens = match self.token {
            Some(token) => Some(Tokens::compile(token, cx)?),
            None => None,
        };
        Ok(Arc::new(SameOrigin {
            origins,
            same_site: self.same_site,
            tokens,
        }))
    }
}

struct SameOrigin {
    origins: Origins,
    same_site: bool,
    tokens: Option<Tokens>,
}

/// Whether it changes nothing.
fn is_safe(ex: &Exchange) -> bool {
    let method = &ex.request.head.method;
    matches!(method, Method::Get | Method::Head | Method::Options) && !ex.wants_upgrade()
}

impl SameOrigin {
    fn decide<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        if is_safe(ex) {
            if let Some(tokens) = &self.tokens {
                tokens.note(ex);
            }
            return Step::CONTINUE;
        }
        if let Err(failure) = self.by_origin(ex) {
            return Err(failure).into();
        }
        let origin = ex.request.head.headers.get(Known::Origin);
        let Some(tokens) = &self.tokens else {
            return Step::CONTINUE;
        };
        // A page of another host cannot read the cookie; this one was said to be trusted.
        let is_listed = origin.is_some_and(|origin| self.origins.have(origin));
        // Nothing can be put into the request for a WebSocket: its origin has to do.
        let is_socket = ex.wants_upgrade() && matches!(ex.request.head.method, Method::Get | Method::Connect);
        if is_listed || is_socket {
            return Step::CONTINUE;
        }
        match tokens.in_header(ex) {
            Some(is_good) => by_token(is_good).into(),
            None => Step::wait(async move { by_token(tokens.in_form(ex).await?) }),
        }
    }

    fn by_origin(&self, ex: &Exchange) -> Outcome {
        let head = &ex.request.head;
        let site = head.headers.find(b"sec-fetch-site");
        let origin = head.headers.get(Known::Origin);
        if self.trusts(site, origin, head.authority()) {
            return Ok(Verdict::Continue);
        }
        Err(Failure::new(Code::Forbidden).safe_detail("the request comes from a page of another site"))
    }

    fn trusts(&self, site: Option<&[u8]>, origin: Option<&[u8]>, host: &str) -> bool {
        if origin.is_some_and(|origin| self.origins.have(origin)) {
            return true;
        }
        match site {
            Some(b"same-origin" | b"none") => true,
            Some(b"same-site") => self.same_site,
            Some(_) => false,
            None => origin.is_none_or(|origin| is_own(origin, host)),
        }
    }
}

fn by_token(is_good: bool) -> Outcome {
    if is_good {
        return Ok(Verdict::Continue);
    }
    Err(Failure::new(Code::Forbidden)
        .safe_detail("the token against forged requests is missing, wrong or too old"))
}

/// Whether an origin names a host. The scheme is not compared: before us, somebody else may have ended TLS.
fn is_own(origin: &[u8], host: &str) -> bool {
    let Some((scheme, named)) = std::str::from_utf8(origin)
        .ok()
        .and_then(|text| text.split_once("://"))
    else {
        return false;
    };
    let port = if scheme == "https" { ":443" } else { ":80" };
    let plain = |authority: &str| {
        authority
            .strip_suffix(port)
            .unwrap_or(authority)
            .to_ascii_lowercase()
    };
    !named.is_empty() && plain(named) == plain(host)
}

impl Policy for SameOrigin {
    fn on_request<'a>(&'a self, ex: &'a mut Exchange) -> Step<'a> {
        self.decide(ex)
    }

    fn on_response<'a>(&'a self, ex: &'a mut Exchange, response: &'a mut Response) -> Step<'a> {
        let method = &ex.request.head.method;
        if let Some(tokens) = &self.tokens
            && matches!(method, Method::Get | Method::Head)
            && !ex.wants_upgrade()
            && response.head.status < 500
        {
            tokens.renew(ex, response);
        }
        Step::CONTINUE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_the_same_origin_are_trusted() {
        let policy = |same_site| SameOrigin {
            origins: Origins::parse(&["https://app.example.com".to_owned()]).unwrap(),
            same_site,
            tokens: None,
        };
        let host = "api.example.com";
        for (site, origin, trusted) in [
            (None, None, true),
            (Some("same-origin"), None, true),
            (Some("same-origin"), Some("https://api.example.com"), true),
            (Some("none"), None, true),
            (Some("same-site"), Some("https://www.example.com"), false),
            (Some("cross-site"), None, false),
            (Some("cross-site"), Some("https://app.example.com"), true),
            (Some("cross-site"), Some("https://evil.example.net"), false),
            (Some("nonsense"), Some("https://api.example.com"), false),
            (None, Some("https://api.example.com"), true),
            (None, Some("https://API.example.com:443"), true),
            (None, Some("https://api.example.com:8443"), false),
            (None, Some("https://api.example.com.evil.net"), false),
            (None, Some("https://evil.net"), false),
            (None, Some("null"), false),
            (None, Some(""), false),
        ] {
            let (site, origin) = (site.map(str::as_bytes), origin.map(str::as_bytes));
            assert_eq!(
                policy(false).trusts(site, origin, host),
                trusted,
                "{site:?} {origin:?}"
            );
        }
        assert!(policy(true).trusts(Some(b"same-site"), None, host));
        assert!(!policy(true).trusts(Some(b"cross-site"), None, host));
    }
}
