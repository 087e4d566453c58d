//! New tokens for a session whose tokens are about to expire.

use gatehouse_core::exchange::Exchange;

use super::callback::with_userinfo;
use super::cookies::Kept;
use super::id_token::Bad;
use super::session::{Opened, Session};
use super::tokens::{Grant, Said, Tokens};
use super::{Login, unavailable};
use crate::auth::Shown;

/// What became of a session.
enum Renewed {
    /// It goes on like this.
    Session(Box<Session>),
    /// The provider ended it.
    Over,
    /// Nobody knows; why is for the log.
    Unknown(String),
}

impl Login {
    /// Refreshes the tokens of a session. If the provider does not answer, it goes on as it is until they expire.
    pub async fn refresh(&self, ex: &mut Exchange, opened: &Opened) -> Shown {
        match self.renewed(ex, &opened.session).await {
            Renewed::Session(session) => {
                self.counts.refreshed.count(ex);
                let mut set = Vec::new();
                if !self.set_cookie(ex, &session, &mut set) {
                    tracing::warn!(
                        "a session is too large for cookies since its tokens were refreshed; it ends"
                    );
                    self.nobody(ex);
                    return Ok(None);
                }
                Kept::add(ex, |kept| kept.set.append(&mut set));
                self.admit(ex, &session.opened(&self.subject)).await
            }
            Renewed::Over => {
                self.counts.not_refreshed.count(ex);
                self.nobody(ex);
                Ok(None)
            }
            Renewed::Unknown(why) => {
                self.counts.no_refresh.count(ex);
                if opened.session.expires.is_some_and(|at| ex.unix_seconds() < at) {
                    return self.admit(ex, opened).await;
                }
                Err(unavailable(why))
            }
        }
    }

    async fn renewed(&self, ex: &mut Exchange, session: &Session) -> Renewed {
        let (Some(token), Some(provider)) = (&session.refresh_token, &self.provider) else {
            return Renewed::Over;
        };
        let said = match provider.exchanger.known(token, ex.now()) {
            Some(said) => said,
            None => match self.question(ex, Grant::Refresh(token.clone())).await {
                Ok(question) => provider.exchanger.ask(question).await,
                Err(failure) => return Renewed::Unknown(failure.log_detail().to_string()),
            },
        };
        match &*said {
            Said::Tokens(tokens) => self.renew(ex, session, tokens).await,
            Said::Refused(error) => {
                tracing::debug!(error, "a session was not refreshed");
                Renewed::Over
            }
            Said::Nothing(why) => Renewed::Unknown(format!("the tokens could not be refreshed: {why}")),
            Said::Full => Renewed::Unknown("too many questions to the provider are under way".to_owned()),
        }
    }

    /// The session with these tokens: of the same person, whatever else changed (OpenID Connect Core 12.2).
    async fn renew(&self, ex: &Exchange, session: &Session, tokens: &Tokens) -> Renewed {
        let now = ex.unix_seconds();
        let mut claims = session.claims.clone();
        if let Some(id_token) = &tokens.id_token {
            let fresh = match self.check(ex, id_token, None, &tokens.access_token).await {
                Ok(fresh) => fresh,
                Err(Bad::NoKeys) => {
                    return Renewed::Unknown("there are no keys to check the ID token with".to_owned());
                }
                Err(Bad::Token(why)) => {
                    tracing::warn!(why, "the ID token of a refresh is not good; the session ends");
                    return Renewed::Over;
                }
            };
            if fresh.get("sub") != claims.get("sub") {
                tracing::warn!("the ID token of a refresh is of somebody else; the session ends");
                return Renewed::Over;
            }
            claims.extend(fresh);
        }
        if let Some(more) = &tokens.userinfo {
            if let Err(why) = with_userinfo(claims.clone(), tokens) {
                tracing::warn!(why, "a session was not refreshed; it ends");
                return Renewed::Over;
            }
            // What it says now counts more than what was said at the login.
            let signed = ["iss", "sub", "aud"];
            claims.extend(
                more.iter()
                    .filter(|(name, _)| !signed.contains(&name.as_str()))
                    .map(|(name, value)| (name.clone(), value.clone())),
            );
        }
        let mut again = session.clone();
        again.claims = claims;
        again.seen = now;
        Renewed::Session(Box::new(self.with_tokens(again, tokens, now).tidy()))
    }
}
