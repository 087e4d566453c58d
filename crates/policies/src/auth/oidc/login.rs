//! A login under way: what the browser keeps of it, and where it is sent.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::failure::{Code, Failure};
use gatehouse_http1::{Known, Method};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::cookies::{Cookies, Kept};
use super::seal::Sealer;
use super::session::random;
use super::{Login, Unauthenticated};

/// The most logins of one browser, in as many tabs.
const MOST: usize = 5;

/// Longer addresses are not returned to.
const LONGEST_RETURN: usize = 1_024;

/// Characters of `state` that name the login's cookie.
const NAME: usize = 16;

/// Parameters of the request that are ours to set (RFC 6749 4.1.1, RFC 7636 4.3, OpenID Connect Core 3.1.2.1).
pub const OURS: [&str; 10] = [
    "response_type",
    "response_mode",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "request",
];

/// What the browser keeps of a login until it is back.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pending {
    /// What the provider must send back.
    #[serde(rename = "s")]
    pub state: String,
    /// What the ID token must have.
    #[serde(rename = "n")]
    pub nonce: String,
    /// What the code is exchanged with.
    #[serde(rename = "v")]
    pub verifier: String,
    /// Where the browser wanted to go.
    #[serde(rename = "r")]
    pub return_to: String,
    /// Where the provider sends it back to.
    #[serde(rename = "u")]
    pub redirect: String,
    /// Until when it may take, in seconds since 1970.
    #[serde(rename = "x")]
    pub until: u64,
}

impl Pending {
    /// One that begins now. None if there is no randomness.
    pub fn new(return_to: String, redirect: String, until: u64) -> Option<Self> {
        Some(Self {
            state: random::<32>()?,
            nonce: random::<24>()?,
            verifier: random::<32>()?,
            return_to,
            redirect,
            until,
        })
    }

    /// As a cookie has it.
    pub fn seal(&self, sealer: &Sealer) -> Option<String> {
        sealer.seal(serde_json::to_vec(self).ok()?)
    }

    /// The login of a cookie.
    pub fn open(text: &[u8], sealer: &Sealer) -> Option<Self> {
        serde_json::from_slice(&sealer.open(text)?).ok()
    }

    /// What its cookie is called.
    pub fn name(&self) -> &str {
        name_of(&self.state).unwrap_or_default()
    }

    /// Adds what the provider is told of it.
    fn tell(&self, url: &mut Url, login: &Login) {
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, self.verifier.as_bytes()));
        let mut query = url.query_pairs_mut();
        for (name, value) in &login.parameters {
            query.append_pair(name, value);
        }
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &login.client_id)
            .append_pair("redirect_uri", &self.redirect)
            .append_pair("scope", &login.scopes.join(" "))
            .append_pair("state", &self.state)
            .append_pair("nonce", &self.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
    }
}

/// What the cookie of a login with this `state` is called, if it can be one of ours.
pub fn name_of(state: &str) -> Option<&str> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (state.len() == 43 && state.bytes().all(is_plain)).then(|| state.get(..NAME))?
}

impl Login {
    /// Sends the browser to the provider, and notes where it wants to go.
    pub async fn begin(&self, ex: &mut Exchange, return_to: Option<String>) -> Result<Response, Failure> {
        let fetched = self.fetched(ex).await?;
        let mut url = self.endpoint(&fetched, "authorization_endpoint", |one| {
            &one.authorization_endpoint
        })?;
        let until = ex.unix_seconds().saturating_add(self.time_limit.as_secs());
        let return_to = return_to.unwrap_or_else(|| "/".to_owned());
        let no_luck = || Failure::new(Code::Internal).detail("there is no randomness");
        let pending = Pending::new(return_to, self.site(ex) + &self.callback, until).ok_or_else(no_luck)?;
        let sealed = pending.seal(&self.pending_sealer).ok_or_else(no_luck)?;
        pending.tell(&mut url, self);
        let mut set = Vec::new();
        self.make_room(ex, &mut set);
        self.cookies
            .keep_login(pending.name(), &sealed, self.time_limit, &mut set);
        Kept::add(ex, |kept| kept.set.append(&mut set));
        self.counts.begun.count(ex);
        Ok(redirect(302, url.as_str()))
    }

    /// Forgets the oldest logins of a browser that has too many.
    fn make_room(&self, ex: &Exchange, set: &mut Vec<String>) {
        let headers = &ex.request.head.headers;
        let mut all = self.cookies.logins(headers);
        if all.len() < MOST {
            return;
        }
        // What cannot be read goes first.
        all.sort_by_cached_key(|(_, sealed)| {
            Pending::open(sealed, &self.pending_sealer).map_or(0, |one| one.until)
        });
        for (name, _) in all.iter().take(all.len() + 1 - MOST) {
            self.cookies.drop_login(name, set);
        }
    }

    /// Scheme and host of the site, as browsers see it.
    pub fn site(&self, ex: &Exchange) -> String {
        self.base_url
            .clone()
            .unwrap_or_else(|| format!("{}://{}", ex.client.scheme, ex.request.head.authority()))
    }

    /// Whether a caller who shows nothing is sent to the login.
    pub fn is_wanted(&self, ex: &Exchange) -> bool {
        let head = &ex.request.head;
        if !matches!(head.method, Method::Get | Method::Head) || ex.wants_upgrade() {
            return false;
        }
        match self.unauthenticated {
            Unauthenticated::Deny => false,
            Unauthenticated::Redirect => true,
            Unauthenticated::Auto => is_page(ex),
        }
    }

    /// Where a request wants to go, to be returned to.
    pub fn wanted(ex: &Exchange) -> Option<String> {
        let head = &ex.request.head;
        let path = head.path();
        let target = head
            .query()
            .map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        is_safe(&target).then_some(target)
    }
}

/// Whether a browser asks for a page to show: no script, no picture, nothing fetched beforehand.
fn is_page(ex: &Exchange) -> bool {
    let headers = &ex.request.head.headers;
    let says = |name: &[u8], value: &[u8]| {
        headers
            .find(name)
            .is_some_and(|found| found.trim_ascii().eq_ignore_ascii_case(value))
    };
    let is_script = says(b"x-requested-with", b"xmlhttprequest");
    let is_ahead = headers
        .find(b"sec-purpose")
        .or(headers.find(b"purpose"))
        .is_some();
    let is_other = headers.find(b"sec-fetch-mode").is_some() && !says(b"sec-fetch-mode", b"navigate");
    if is_script || is_ahead || is_other {
        return false;
    }
    headers.find_all(b"accept").any(|line| {
        line.split(|byte| *byte == b',').any(|kind| {
            let name = kind
                .split(|byte| *byte == b';')
                .next()
                .unwrap_or_default()
                .trim_ascii();
            name.eq_ignore_ascii_case(b"text/html") || name.eq_ignore_ascii_case(b"application/xhtml+xml")
        })
    })
}

/// Whether browsers take this for a place on the same site: a path with no way to another host. Browsers read a
/// backslash as a slash, and drop tabs and line ends.
pub fn is_safe(target: &str) -> bool {
    target.len() <= LONGEST_RETURN
        && target.starts_with('/')
        && !target.starts_with("//")
        && target
            .bytes()
            .all(|byte| matches!(byte, b'!'..=b'~') && byte != b'\\')
}

/// An answer that sends the browser elsewhere, and is not kept by anybody.
pub fn redirect(status: u16, to: &str) -> Response {
    let mut response = Response::new(status);
    let headers = response.headers_mut();
    headers.set(Known::Location, to.as_bytes());
    headers.set(Known::CacheControl, b"no-store");
    headers.set_name(b"referrer-policy", b"no-referrer");
    response
}

impl Cookies {
    /// An answer that returns the browser to a path of the site, with the session it has just got.
    pub fn go_on(&self, to: &str) -> Response {
        if !self.is_strict {
            return redirect(302, to);
        }
        // A redirect would go on a navigation that the provider began, and the browser would keep the cookie back.
        let to = to
            .replace('&', "&amp;")
            .replace('"', "&quot;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        let page = format!(
            "<!doctype html><meta http-equiv=\"refresh\" content=\"0;url={to}\"><title>Logged in</title><a href=\"{to}\">Go on</a>\n"
        );
        let mut response = Response::new(200).with_body("text/html; charset=utf-8", page);
        response.headers_mut().set(Known::CacheControl, b"no-store");
        response
            .headers_mut()
            .set_name(b"referrer-policy", b"no-referrer");
        response
    }
}

/// As long as a login may take, at most.
pub const LONGEST_LOGIN: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_the_same_site_are_returned_to() {
        for good in ["/", "/a?b=c&d=//e", "/a//b", "/%2f%2fevil.test", "/a@b", "/:80"] {
            assert!(is_safe(good), "{good}");
        }
        let long = format!("/{}", "a".repeat(LONGEST_RETURN));
        for bad in [
            "",
            "a",
            "//evil.test",
            "/\\evil.test",
            "\\\\evil.test",
            "https://evil.test",
            "/a\\b",
            "/\t/evil.test",
            "/ /evil.test",
            "/\r\nLocation: x",
            "/\u{e9}",
            "javascript:alert(1)",
            &long,
        ] {
            assert!(!is_safe(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_state_names_its_cookie_or_none() {
        assert_eq!(name_of(&"aB-_".repeat(11)[..43]), Some("aB-_aB-_aB-_aB-_"));
        for bad in [
            "",
            "short",
            &"a".repeat(44),
            &";".repeat(43),
            &"\u{e9}".repeat(22)[..42],
        ] {
            assert_eq!(name_of(bad), None, "{bad}");
        }
    }
}
