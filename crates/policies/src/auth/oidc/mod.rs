//! `oidc`: people log in with their browsers.
//!
//! `config.rs` and `compile.rs` are what is written and what becomes of it. A request with a session is decided here, in
//! one look at what was opened before (`session.rs`, `seal.rs`, `cookies.rs`). `login.rs` sends a browser to the provider,
//! `callback.rs` takes it back with the help of `id_token.rs` and `tokens.rs`, `refresh.rs` gets new tokens, `logout.rs`
//! ends the session.

mod back_channel;
mod callback;
mod compile;
mod config;
mod cookies;
#[doc(hidden)]
pub mod fuzzing;
mod id_token;
mod login;
mod logout;
mod refresh;
mod seal;
mod session;
mod tokens;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use gatehouse_core::config::Diagnostic;
use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::policy::{Compile, Policy, PolicyConfig, Stage};
use gatehouse_core::telemetry::metrics::{Family, Tally};
use gatehouse_http1::Known;
use reqwest::Url;

pub use config::{
    CookieSettings, LoginSettings, LogoutSettings, Oidc, SameSite, SessionSettings, Unauthenticated,
};

use super::jwt::keys::{Discovered, Fetched, Remote};
use super::jwt::verify::Checker;
use super::remember::Cache;
use super::subjects::Callers;
use super::{Answer, Authenticator, Later, Place, Shown, Turn};
use crate::fetch;
use cookies::{Cookies, Kept};
use logout::Ended;
use seal::Sealer;
use session::{Opened, Session};
use tokens::Exchanger;

static LOGINS: Family = Family::counter(
    "gatehouse_oidc_logins_total",
    &["result"],
    "Logins: `begun` and `done`, or failed: `denied` by the provider or the person, `state` (of no login under way), `code`, `id_token` or `too_large`, `error` (another error of the provider), `unavailable` (it did not answer).",
);

static SESSIONS: Family = Family::counter(
    "gatehouse_oidc_sessions_total",
    &["result"],
    "Sessions that requests showed: `known` were opened before, `opened` now, `expired`, `ended` by a logout, `invalid` cannot be read.",
);

static REFRESHES: Family = Family::counter(
    "gatehouse_oidc_refreshes_total",
    &["result"],
    "Requests that needed new tokens: `ok`, `refused` (the session ended), `unavailable` (the provider did not answer).",
);

impl PolicyConfig for Oidc {
    const NAME: &'static str = "oidc";
    const STAGE: Stage = Stage::Authenticate;
    const EXAMPLE: &'static str = "issuer: https://login.example.com\nclient_id: shop\nclient_secret: change-me\nsession:\n  keys: [change-me-to-what-openssl-rand-base64-32-says]\nlogout: { after: /goodbye }\nforward:\n  X-User-Id: ${identity.subject}\n  X-User-Email: ${claims.email}\n";
    const METRICS: &'static [Family] = &[
        Family::counter(LOGINS.name, LOGINS.labels, LOGINS.help),
        Family::counter(SESSIONS.name, SESSIONS.labels, SESSIONS.help),
        Family::counter(REFRESHES.name, REFRESHES.labels, REFRESHES.help),
    ];

    fn compile(self, cx: &mut Compile<'_>) -> Result<Arc<dyn Policy>, Diagnostic> {
        super::policy(self, cx)
    }
}

/// Finds out who calls by sessions, and makes them.
struct Login {
    issuer: String,
    client_id: String,
    scopes: Vec<String>,
    parameters: Vec<(String, String)>,
    callback: String,
    base_url: Option<String>,
    start_path: Option<String>,
    /// How long a login may take.
    time_limit: Duration,
    logout_path: String,
    back_channel: Option<String>,
    logout_after: Option<String>,
    logout_at_provider: bool,
    keep_id_token: bool,
    unauthenticated: Unauthenticated,
    userinfo: bool,
    lifetime: Duration,
    /// None: as long as any.
    idle: Option<Duration>,
    refresh: bool,
    refresh_before: Duration,
    forward_access_token: Option<String>,
    hide_credential: bool,
    subject: String,
    allow_http: bool,
    cookies: Cookies,
    session_sealer: Sealer,
    pending_sealer: Sealer,
    checker: Checker,
    callers: Callers,
    /// Sessions by their cookies.
    opened: Arc<Cache<Arc<Opened>>>,
    /// Logins that ended.
    spent: Arc<Cache<()>>,
    ended: Arc<Ended>,
    /// None if the document is only checked.
    provider: Option<Provider>,
    counts: Counts,
}

/// What is asked.
struct Provider {
    /// What the provider says of itself, and its keys.
    remote: Arc<Remote>,
    exchanger: Arc<Exchanger>,
}

struct Counts {
    begun: Arc<Tally>,
    done: Arc<Tally>,
    denied: Arc<Tally>,
    state: Arc<Tally>,
    code: Arc<Tally>,
    id_token: Arc<Tally>,
    too_large: Arc<Tally>,
    error: Arc<Tally>,
    unavailable: Arc<Tally>,
    known: Arc<Tally>,
    opened: Arc<Tally>,
    expired: Arc<Tally>,
    ended: Arc<Tally>,
    invalid: Arc<Tally>,
    refreshed: Arc<Tally>,
    not_refreshed: Arc<Tally>,
    no_refresh: Arc<Tally>,
}

/// What is to be done with a session.
enum State {
    /// There is none that is good.
    None,
    /// It is good.
    Good(Arc<Opened>),
    /// Its tokens should be refreshed.
    Stale(Arc<Opened>),
}

impl Login {
    /// The session of a request.
    fn state(&self, ex: &Exchange) -> State {
        let headers = &ex.request.head.headers;
        if !headers.contains(Known::Cookie) {
            return State::None;
        }
        let Some(text) = self.cookies.session(headers) else {
            if self.cookies.has_session(headers) {
                self.counts.invalid.count(ex);
            }
            return State::None;
        };
        let Some(opened) = self.open(ex, &text) else {
            return State::None;
        };
        let (session, now) = (&opened.session, ex.unix_seconds());
        if self.end(session) <= now {
            self.counts.expired.count(ex);
            return State::None;
        }
        if self.ended.has(session) {
            self.counts.ended.count(ex);
            return State::None;
        }
        if session.refresh_token.is_some() {
            if session.refresh_at.is_some_and(|at| at <= now) {
                return State::Stale(opened);
            }
        } else if session.access_token.is_some() && session.expires.is_some_and(|at| at <= now) {
            self.counts.expired.count(ex);
            return State::None;
        }
        State::Good(opened)
    }

    fn open(&self, ex: &Exchange, text: &[u8]) -> Option<Arc<Opened>> {
        // What is encrypted in base64 is text; anything else is nothing.
        let hash = self.opened.hash(std::str::from_utf8(text).ok()?);
        if let Some(opened) = self.opened.get(hash) {
            self.counts.known.count(ex);
            return Some(opened);
        }
        let Some(opened) = Session::open(text, &self.session_sealer, &self.subject) else {
            self.counts.invalid.count(ex);
            return None;
        };
        let opened = Arc::new(opened);
        self.opened.put(hash, opened.clone());
        self.counts.opened.count(ex);
        Some(opened)
    }

    /// When a session ends if it is not used any more.
    fn end(&self, session: &Session) -> u64 {
        let whole = session.began.saturating_add(self.lifetime.as_secs());
        self.idle.map_or(whole, |idle| {
            whole.min(session.seen.saturating_add(idle.as_secs()))
        })
    }

    /// Lets a session in, whose consumer may have to be asked for.
    async fn admit(&self, ex: &mut Exchange, opened: &Opened) -> Shown {
        let shown = self.callers.identify_later(&opened.proof, ex.now()).await;
        self.carry_on(ex, opened);
        shown
    }

    /// What a session means for the answer and for the upstream. Its cookie is made anew if that is due, so that it does
    /// not end while it is used.
    fn carry_on(&self, ex: &mut Exchange, opened: &Opened) {
        let (session, now) = (&opened.session, ex.unix_seconds());
        let step = self.idle.map_or(u64::MAX, |idle| (idle.as_secs() / 10).max(1));
        if now.saturating_sub(session.seen) >= step {
            let mut again = session.clone();
            again.seen = now;
            let mut set = Vec::new();
            self.set_cookie(ex, &again, &mut set);
            Kept::add(ex, |kept| kept.set.append(&mut set));
        }
        if let Some(field) = &self.forward_access_token {
            let is_bearer = field.eq_ignore_ascii_case("authorization");
            let value = session.access_token.as_ref().map(|token| {
                let scheme = if is_bearer { "Bearer " } else { "" };
                format!("{scheme}{token}")
            });
            Kept::add(ex, |kept| kept.hand_on = Some((field.clone(), value)));
        }
    }

    /// Nobody is there: what is left of a session is of no use to anybody.
    fn nobody(&self, ex: &mut Exchange) {
        let mut set = Vec::new();
        self.cookies.drop_session(&ex.request.head.headers, &mut set);
        if !set.is_empty() {
            Kept::add(ex, |kept| kept.set.append(&mut set));
        }
    }

    /// Has the browser keep this session in place of another. False if it cannot be kept.
    fn set_cookie(&self, ex: &Exchange, session: &Session, set: &mut Vec<String>) -> bool {
        let age = self.end(session).saturating_sub(ex.unix_seconds());
        let Some(sealed) = session.seal(&self.session_sealer) else {
            return false;
        };
        if !self.cookies.keep_session(&sealed, Duration::from_secs(age), set) {
            return false;
        }
        self.cookies.drop_surplus(&ex.request.head.headers, set);
        true
    }

    /// What the provider says of itself; waited for if it is not there yet.
    async fn fetched(&self, ex: &Exchange) -> Result<Arc<Fetched>, Failure> {
        let Some(provider) = &self.provider else {
            return Err(unavailable("nothing is asked while a document is only checked"));
        };
        if let Some(fetched) = provider.remote.keys(ex.now()).as_ref() {
            return Ok(fetched.clone());
        }
        provider.remote.next(true).await;
        let fetched = provider.remote.keys(ex.now()).as_ref().cloned();
        fetched.ok_or_else(|| {
            self.counts.unavailable.count(ex);
            unavailable(format!("{} does not say where to log in", provider.remote.name()))
        })
    }

    /// One of the provider's addresses.
    fn endpoint(
        &self,
        fetched: &Fetched,
        name: &str,
        of: fn(&Discovered) -> &Option<String>,
    ) -> Result<Url, Failure> {
        let text = fetched.issuer.as_ref().and_then(|issuer| of(issuer).as_deref());
        let url = text.map(|text| fetch::url(text, self.allow_http));
        url.unwrap_or_else(|| Err("there is none".to_owned()))
            .map_err(|why| unavailable(format!("the provider's `{name}` cannot be used: {why}")))
    }
}

/// Nobody can log in now.
fn unavailable(why: impl Into<Cow<'static, str>>) -> Failure {
    Failure::new(Code::AuthUnavailable)
        .detail(why)
        .header("retry-after", "5")
}

impl Authenticator for Login {
    fn authenticate(&self, ex: &mut Exchange) -> Option<Shown> {
        match self.state(ex) {
            State::None => {
                self.nobody(ex);
                Some(Ok(None))
            }
            State::Good(opened) => {
                let shown = self.callers.identify(&opened.proof, ex.now())?;
                self.carry_on(ex, &opened);
                Some(shown)
            }
            State::Stale(_) => None,
        }
    }

    fn authenticate_later<'a>(&'a self, ex: &'a mut Exchange) -> Later<'a> {
        Box::pin(async move {
            match self.state(ex) {
                State::None => {
                    self.nobody(ex);
                    Ok(None)
                }
                State::Good(opened) => self.admit(ex, &opened).await,
                State::Stale(opened) => self.refresh(ex, &opened).await,
            }
        })
    }

    fn challenge(&self) -> &'static str {
        ""
    }

    fn places(&self) -> Vec<Place> {
        let mut places = self.cookies.places();
        // What others read there as a token is ours, not the caller's.
        if self
            .forward_access_token
            .as_ref()
            .is_some_and(|field| field.eq_ignore_ascii_case("authorization"))
        {
            places.push(Place::scheme("bearer"));
        }
        places
    }

    fn forget(&self, ex: &mut Exchange) {
        self.cookies.forget(&mut ex.request.head.headers);
    }

    fn answers(&self, ex: &Exchange, turn: Turn) -> bool {
        if turn == Turn::Missing {
            return self.is_wanted(ex);
        }
        let path = ex.request.head.path();
        let is = |own: &Option<String>| own.as_deref() == Some(path);
        path == self.callback || path == self.logout_path || is(&self.start_path) || is(&self.back_channel)
    }

    fn answer<'a>(&'a self, ex: &'a mut Exchange, turn: Turn) -> Answer<'a> {
        Box::pin(async move {
            let path = ex.request.head.path();
            if turn == Turn::Missing {
                let wanted = Self::wanted(ex);
                self.begin(ex, wanted).await
            } else if path == self.callback {
                self.finish(ex).await
            } else if path == self.logout_path {
                self.log_out(ex)
            } else if self.back_channel.as_deref() == Some(path) {
                self.told_to_end(ex).await
            } else {
                self.start(ex).await
            }
        })
    }

    fn hand_on(&self, ex: &mut Exchange) {
        let mut given = None;
        if ex.keeps::<Kept>().is_some_and(|kept| kept.hand_on.is_some()) {
            Kept::add(ex, |kept| given = kept.hand_on.take());
        } else if ex
            .identity
            .as_ref()
            .is_some_and(|identity| identity.method == "anonymous")
        {
            // What stands where the upstream looks for our token must not be a stranger's.
            given = self.forward_access_token.clone().map(|field| (field, None));
        }
        let headers = &mut ex.request.head.headers;
        if self.hide_credential {
            self.cookies.forget(headers);
        }
        match given {
            Some((field, Some(value))) => {
                headers.set_name(field.as_bytes(), value.as_bytes());
            }
            Some((field, None)) => {
                headers.remove_name(field.as_bytes());
            }
            None => {}
        }
    }

    fn on_response(&self, ex: &mut Exchange, response: &mut Response) {
        if ex.keeps::<Kept>().is_none_or(|kept| kept.set.is_empty()) {
            return;
        }
        let kept: Kept = ex.kept().unwrap_or_default();
        let headers = response.headers_mut();
        for cookie in &kept.set {
            headers.append_name(b"set-cookie", cookie.as_bytes());
        }
        // It is one browser's, whatever the upstream says of the rest.
        headers.set(Known::CacheControl, b"no-store");
    }
}

impl Login {
    /// Begins a login because a link asks for it.
    async fn start(&self, ex: &mut Exchange) -> Result<Response, Failure> {
        use gatehouse_http1::Method;
        if !matches!(ex.request.head.method, Method::Get | Method::Head) {
            return Err(Failure::new(Code::MethodNotAllowed).header("allow", "GET, HEAD"));
        }
        let wanted = ex.query_values("return_to").next();
        let wanted = wanted.and_then(|text| String::from_utf8(text.into_owned()).ok());
        self.begin(ex, wanted.filter(|target| login::is_safe(target)))
            .await
    }
}
