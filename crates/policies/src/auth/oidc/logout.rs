//! The end of a session: here, in the browser, and at the provider.

use std::sync::atomic::{AtomicBool, Ordering};

use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::failure::{Code, Failure};
use gatehouse_http1::Method;
use reqwest::Url;

use super::cookies::Kept;
use super::login::redirect;
use super::session::Session;
use super::{Login, fetch};
use crate::auth::remember::Cache;

/// How many sessions that ended are remembered.
const ROOM: usize = 10_000;

/// Sessions that ended before their time: a copy of the cookie is not good any more.
pub struct Ended {
    /// Whether there is any, so that most gateways look no further.
    any: AtomicBool,
    /// By what names them; those that began at this time, in seconds since 1970, or before.
    names: Cache<u64>,
}

impl Ended {
    /// None yet.
    pub fn new() -> Self {
        Self {
            any: AtomicBool::new(false),
            names: Cache::new(ROOM),
        }
    }

    /// Whether a session has ended: by itself, or by what the provider calls it or the person.
    pub fn has(&self, session: &Session) -> bool {
        let is = |kind: &str, name: Option<&str>| {
            let until = name.and_then(|name| self.names.get(self.hash(kind, name)));
            until.is_some_and(|until| session.began <= until)
        };
        let claim = |name: &str| session.claims.get(name).and_then(|value| value.as_str());
        self.any.load(Ordering::Relaxed)
            && (is("id", Some(&session.id)) || is("sid", claim("sid")) || is("sub", claim("sub")))
    }

    /// Ends those of this name that began until then.
    pub fn end(&self, kind: &str, name: &str, until: u64) {
        self.names.put(self.hash(kind, name), until);
        self.any.store(true, Ordering::Relaxed);
    }

    fn hash(&self, kind: &str, name: &str) -> u128 {
        self.names.hash(&format!("{kind} {name}"))
    }
}

impl Login {
    /// Ends the session of a request, and sends the browser on.
    pub fn log_out(&self, ex: &mut Exchange) -> Result<Response, Failure> {
        if !matches!(ex.request.head.method, Method::Get | Method::Post) {
            return Err(Failure::new(Code::MethodNotAllowed).header("allow", "GET, POST"));
        }
        let headers = &ex.request.head.headers;
        // A picture in a page of another site must not log anybody out; a link may.
        let is_from_elsewhere = headers.find(b"sec-fetch-site") == Some(b"cross-site");
        if is_from_elsewhere && headers.find(b"sec-fetch-mode") != Some(b"navigate") {
            return Err(Failure::new(Code::Forbidden)
                .safe_detail("the request comes from a page of another site")
                .close(false));
        }
        let text = self.cookies.session(headers);
        let session = text.and_then(|text| self.open(ex, &text));
        let mut set = Vec::new();
        self.cookies.drop_session(headers, &mut set);
        Kept::add(ex, |kept| kept.set.append(&mut set));
        let at_provider = session.and_then(|opened| {
            self.ended.end("id", &opened.session.id, u64::MAX);
            self.end_session(ex, &opened.session)
        });
        let after = || self.logout_after.clone().unwrap_or_else(|| "/".to_owned());
        Ok(redirect(303, &at_provider.map_or_else(after, String::from)))
    }

    /// Where the provider ends the session, if it can (OpenID Connect RP-Initiated Logout 1.0, 2).
    fn end_session(&self, ex: &Exchange, session: &Session) -> Option<Url> {
        if !self.logout_at_provider {
            return None;
        }
        let fetched = self.provider.as_ref()?.remote.keys(ex.now());
        let text = fetched
            .as_ref()?
            .issuer
            .as_ref()?
            .end_session_endpoint
            .as_deref()?;
        let mut url = fetch::url(text, self.allow_http).ok()?;
        let mut query = url.query_pairs_mut();
        query.append_pair("client_id", &self.client_id);
        if let Some(token) = &session.id_token {
            query.append_pair("id_token_hint", token);
        }
        if let Some(after) = &self.logout_after {
            let is_path = after.starts_with('/');
            let after = if is_path {
                self.site(ex) + after
            } else {
                after.clone()
            };
            query.append_pair("post_logout_redirect_uri", &after);
        }
        drop(query);
        Some(url)
    }
}
