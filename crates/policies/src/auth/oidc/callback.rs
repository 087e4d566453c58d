//! The browser is back from the provider: the code becomes tokens, the tokens a session.

use gatehouse_core::exchange::{Exchange, Response};
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::telemetry::metrics::Tally;
use gatehouse_http1::Method;
use serde_json::{Map, Value};

use super::cookies::Kept;
use super::id_token::Bad;
use super::login::{Pending, name_of};
use super::session::{Session, random};
use super::tokens::{Grant, Question, Said, Tokens};
use super::{Login, unavailable};

/// Errors that mean: not now (RFC 6749 4.1.2.1).
const LATER: [&str; 2] = ["server_error", "temporarily_unavailable"];

/// Errors that mean that nobody let us in, and nothing is wrong (RFC 6749 4.1.2.1, OpenID Connect Core 3.1.2.6).
const REFUSALS: [&str; 5] = [
    "access_denied",
    "login_required",
    "interaction_required",
    "consent_required",
    "account_selection_required",
];

/// What the provider sends along with the browser.
struct Returned {
    state: String,
    code: Option<String>,
    error: Option<String>,
    issuer: Option<String>,
}

impl Returned {
    fn read(ex: &Exchange) -> Option<Self> {
        let one = |name: &str| {
            let mut values = ex.query_values(name);
            let value = values.next();
            // Twice can be read in two ways.
            if values.next().is_some() {
                return None;
            }
            Some(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
        };
        Some(Self {
            state: one("state")??,
            code: one("code")?,
            error: one("error")?,
            issuer: one("iss")?,
        })
    }
}

impl Login {
    /// Ends a login: the browser gets its session and goes where it wanted to.
    pub async fn finish(&self, ex: &mut Exchange) -> Result<Response, Failure> {
        if ex.request.head.method != Method::Get {
            return Err(Failure::new(Code::MethodNotAllowed).header("allow", "GET"));
        }
        let returned = Returned::read(ex)
            .ok_or_else(|| self.unknown(ex, "`state` is missing, or a parameter is there twice"))?;
        let pending = self.pending(ex, &returned)?;
        // Whatever comes of it, this login is over.
        Kept::add(ex, |kept| self.cookies.drop_login(pending.name(), &mut kept.set));
        let state = self.spent.hash(&pending.state);
        if self.spent.get(state).is_some() {
            return Err(self.unknown(ex, "it was here before"));
        }
        self.spent.put(state, ());
        if returned
            .issuer
            .as_ref()
            .is_some_and(|issuer| *issuer != self.issuer)
        {
            return Err(self.unknown(ex, "another provider sent it (`iss`, RFC 9207)"));
        }
        if let Some(error) = &returned.error {
            return Err(self.refused(ex, error));
        }
        let code = returned
            .code
            .ok_or_else(|| self.unknown(ex, "it has neither `code` nor `error`"))?;
        let tokens = self.exchange(ex, code, &pending).await?;
        let session = self.session(ex, &tokens, &pending).await?;
        let mut set = Vec::new();
        if !self.set_cookie(ex, &session, &mut set) {
            let detail =
                "the session is too large for cookies: keep less in the ID token, or ask for fewer scopes";
            return Err(failed(ex, &self.counts.too_large, detail));
        }
        Kept::add(ex, |kept| kept.set.append(&mut set));
        self.counts.done.count(ex);
        Ok(self.cookies.go_on(&pending.return_to))
    }

    /// The login that the browser began.
    fn pending(&self, ex: &Exchange, returned: &Returned) -> Result<Pending, Failure> {
        let sealed =
            name_of(&returned.state).and_then(|name| self.cookies.login(&ex.request.head.headers, name));
        let sealed = sealed.ok_or_else(|| self.unknown(ex, "the browser has no cookie of this login"))?;
        let pending = Pending::open(sealed, &self.pending_sealer)
            .filter(|pending| pending.state == returned.state)
            .ok_or_else(|| self.unknown(ex, "the cookie of this login cannot be read"))?;
        if ex.unix_seconds() >= pending.until {
            return Err(self.unknown(ex, "the login took too long"));
        }
        Ok(pending)
    }

    async fn exchange(
        &self,
        ex: &mut Exchange,
        code: String,
        pending: &Pending,
    ) -> Result<std::sync::Arc<Said>, Failure> {
        let question = self
            .question(
                ex,
                Grant::Code {
                    code,
                    verifier: pending.verifier.clone(),
                    redirect: pending.redirect.clone(),
                },
            )
            .await?;
        let said = match &self.provider {
            Some(provider) => provider.exchanger.ask(question).await,
            None => return Err(unavailable("nothing is asked while a document is only checked")),
        };
        match &*said {
            Said::Tokens(_) => Ok(said),
            Said::Refused(error) => {
                let detail = format!("the provider did not take the code: `{error}`");
                Err(failed(ex, &self.counts.code, detail))
            }
            Said::Nothing(why) => {
                self.counts.unavailable.count(ex);
                Err(unavailable(format!("the provider gave no tokens: {why}")))
            }
            Said::Full => {
                self.counts.unavailable.count(ex);
                Err(unavailable(
                    "too many questions to the provider are under way: see `concurrency`",
                ))
            }
        }
    }

    /// The session of these tokens, if they are good.
    async fn session(&self, ex: &Exchange, said: &Said, pending: &Pending) -> Result<Session, Failure> {
        let Said::Tokens(tokens) = said else {
            return Err(unavailable("there are no tokens"));
        };
        let Some(id_token) = &tokens.id_token else {
            return Err(failed(
                ex,
                &self.counts.id_token,
                "the provider gave no ID token; is `openid` among its scopes?",
            ));
        };
        let claims = self
            .check(ex, id_token, Some(&pending.nonce), &tokens.access_token)
            .await;
        let claims = claims.map_err(|bad| match bad {
            Bad::NoKeys => {
                self.counts.unavailable.count(ex);
                unavailable("there are no keys to check the ID token with")
            }
            Bad::Token(why) => failed(
                ex,
                &self.counts.id_token,
                format!("the ID token is not good: {why}"),
            ),
        })?;
        let claims = with_userinfo(claims, tokens).map_err(|why| failed(ex, &self.counts.id_token, why))?;
        let id =
            random::<16>().ok_or_else(|| Failure::new(Code::Internal).detail("there is no randomness"))?;
        let now = ex.unix_seconds();
        let session = Session {
            id,
            began: now,
            seen: now,
            claims,
            scopes: Vec::new(),
            refresh_at: None,
            expires: None,
            access_token: None,
            refresh_token: None,
            id_token: None,
        };
        Ok(self.with_tokens(session, tokens, now).tidy())
    }

    /// A session with these tokens in place of those it had, as far as they are kept.
    pub fn with_tokens(&self, mut session: Session, tokens: &Tokens, now: u64) -> Session {
        let good_for = tokens.expires_in.as_ref().and_then(super::tokens::Seconds::get);
        session.expires = good_for.map(|seconds| now.saturating_add(seconds));
        // Tokens that are short-lived are not refreshed all the time.
        session.refresh_at = good_for.map(|seconds| {
            let before = self.refresh_before.as_secs().min(seconds.div_ceil(2));
            now.saturating_add(seconds - before)
        });
        if let Some(scope) = &tokens.scope {
            session.scopes = scope.split_ascii_whitespace().map(str::to_owned).collect();
        } else if session.scopes.is_empty() {
            session.scopes.clone_from(&self.scopes);
        }
        if self.forward_access_token.is_some() {
            session.access_token = Some(tokens.access_token.clone());
        }
        if self.refresh && tokens.refresh_token.is_some() {
            session.refresh_token.clone_from(&tokens.refresh_token);
        }
        if self.keep_id_token && tokens.id_token.is_some() {
            session.id_token.clone_from(&tokens.id_token);
        }
        session
    }

    /// This belongs to no login of this browser.
    fn unknown(&self, ex: &Exchange, why: &'static str) -> Failure {
        self.counts.state.count(ex);
        Failure::new(Code::LoginInvalid).detail(why)
    }

    /// The provider says that there will be no code.
    fn refused(&self, ex: &Exchange, error: &str) -> Failure {
        let mut said: String = error.escape_debug().take(100).collect();
        if let Some(more) = ex.query_values("error_description").next() {
            let more = String::from_utf8_lossy(&more).into_owned();
            said.push_str(": ");
            said.extend(more.escape_debug().take(200));
        }
        if LATER.contains(&error) {
            self.counts.unavailable.count(ex);
            return unavailable(format!("the provider answered `{said}`"));
        }
        if let Some(known) = REFUSALS.iter().find(|known| **known == error) {
            self.counts.denied.count(ex);
            let safe = format!("the login provider answered `{known}`");
            return Failure::new(Code::LoginRefused).safe_detail(safe).detail(said);
        }
        failed(ex, &self.counts.error, format!("the provider answered `{said}`"))
    }

    /// What is asked for this grant, at the endpoints of this moment.
    pub async fn question(&self, ex: &mut Exchange, grant: Grant) -> Result<Question, Failure> {
        let fetched = self.fetched(ex).await?;
        let token_endpoint = self.endpoint(&fetched, "token_endpoint", |one| &one.token_endpoint)?;
        let userinfo_endpoint = if self.userinfo {
            Some(self.endpoint(&fetched, "userinfo_endpoint", |one| &one.userinfo_endpoint)?)
        } else {
            None
        };
        Ok(Question {
            grant,
            token_endpoint,
            userinfo_endpoint,
        })
    }
}

/// The claims with those of the userinfo endpoint, which must be of the same person (OpenID Connect Core 5.3.2).
pub fn with_userinfo(
    mut claims: Map<String, Value>,
    tokens: &Tokens,
) -> Result<Map<String, Value>, &'static str> {
    let Some(more) = &tokens.userinfo else {
        return Ok(claims);
    };
    if more.get("sub") != claims.get("sub") {
        return Err("the userinfo endpoint speaks of somebody else (`sub`)");
    }
    for (name, value) in more {
        // What was signed counts.
        claims.entry(name.as_str()).or_insert_with(|| value.clone());
    }
    Ok(claims)
}

/// The provider did what it must not.
fn failed(ex: &Exchange, count: &Tally, why: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    count.count(ex);
    Failure::new(Code::LoginFailed).detail(why)
}
