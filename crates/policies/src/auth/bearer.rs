//! Bearer tokens on requests: where they are, how they are taken off, and what is said of bad ones (RFC 6750).

use std::borrow::Cow;

use gatehouse_core::exchange::Request;
use gatehouse_core::failure::{Code, Failure};
use gatehouse_core::route::{cookies, query_values};
use gatehouse_http1::Known;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::place::{Place, behind_scheme};

/// Where a request has its token. They are asked in this order, and the first that has one decides; tokens in the others
/// are not sent on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokenPlace {
    /// A field whose value is `Bearer` and the token; in another than `Authorization`, the token alone will do. It must not be there twice.
    pub header: Option<String>,
    /// A cookie whose value is the token.
    pub cookie: Option<String>,
    /// A parameter of the query whose value is the token. Prefer the others: what is in a URL ends up in logs and in histories.
    pub query: Option<String>,
}

impl Default for TokenPlace {
    fn default() -> Self {
        Self {
            header: Some("Authorization".to_owned()),
            cookie: None,
            query: None,
        }
    }
}

/// What a request has in place of a token.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'r> {
    /// Nothing of this sort.
    Nothing,
    /// This token.
    Token(Cow<'r, str>),
    /// Something that can be read in more than one way.
    Unclear,
}

impl TokenPlace {
    /// Looks for the token.
    pub fn find<'r>(&'r self, request: &'r Request) -> Found<'r> {
        let headers = &request.head.headers;
        if let Some(name) = &self.header {
            let found = if name.eq_ignore_ascii_case("authorization") {
                bearer(&mut headers.all(Known::Authorization), true)
            } else {
                bearer(&mut headers.find_all(name.as_bytes()), false)
            };
            if found != Found::Nothing {
                return found;
            }
        }
        if let Some(name) = &self.cookie {
            let found = single(&mut cookies(headers, name).map(Cow::Borrowed));
            if found != Found::Nothing {
                return found;
            }
        }
        match (&self.query, request.head.query()) {
            (Some(name), Some(query)) => single(&mut query_values(query, name)),
            _ => Found::Nothing,
        }
    }

    /// Where it may be, in their order.
    pub fn places(&self) -> Vec<Place> {
        let header = self.header.as_deref().map(|name| {
            if name.eq_ignore_ascii_case("authorization") {
                Place::scheme("bearer")
            } else {
                Place::field(name)
            }
        });
        let cookie = self.cookie.as_deref().map(|name| Place::Cookie(name.into()));
        let query = self.query.as_deref().map(|name| Place::Query(name.into()));
        header.into_iter().chain(cookie).chain(query).collect()
    }

    /// Takes off the tokens that were not looked at, because another place came first.
    pub fn forget_unread(&self, request: &mut Request) {
        if self.cookie.is_none() && self.query.is_none() {
            return;
        }
        let header = Self {
            cookie: None,
            query: None,
            ..self.clone()
        };
        let cookie = Self {
            header: None,
            query: None,
            ..self.clone()
        };
        let is_in_header = header.find(request) != Found::Nothing;
        if let Some(name) = self.cookie.as_deref().filter(|_| is_in_header) {
            Place::Cookie(name.into()).clear(request);
        }
        if let Some(name) = self.query.as_deref()
            && (is_in_header || cookie.find(request) != Found::Nothing)
        {
            Place::Query(name.into()).clear(request);
        }
    }
}

/// The token of a field that is there once.
fn bearer<'r>(values: &mut dyn Iterator<Item = &'r [u8]>, needs_scheme: bool) -> Found<'r> {
    let Some(value) = values.next() else {
        return Found::Nothing;
    };
    let token = if let Some(token) = behind_scheme(value, "bearer") {
        token
    } else if needs_scheme {
        // Another kind of credentials.
        return if values.next().is_some() {
            Found::Unclear
        } else {
            Found::Nothing
        };
    } else {
        value.trim_ascii()
    };
    if values.next().is_some() {
        return Found::Unclear;
    }
    match std::str::from_utf8(token) {
        Ok(token) => Found::Token(Cow::Borrowed(token)),
        Err(_) => Found::Unclear,
    }
}

fn single<'r>(values: &mut dyn Iterator<Item = Cow<'r, [u8]>>) -> Found<'r> {
    let Some(value) = values.next() else {
        return Found::Nothing;
    };
    if values.next().is_some() {
        return Found::Unclear;
    }
    let text = match value {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).ok(),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
    };
    text.map_or(Found::Unclear, Found::Token)
}

/// What is asked for: `Bearer` with a realm.
pub fn challenge(realm: &str) -> String {
    let realm: String = realm
        .chars()
        .filter(|c| c.is_ascii() && !c.is_ascii_control() && !"\"\\".contains(*c))
        .collect();
    format!("Bearer realm=\"{realm}\"")
}

/// The token is not good. The caller reads `why`, the log `reason`.
#[cold]
pub fn invalid(challenge: &str, why: &'static str, reason: impl Into<Cow<'static, str>>) -> Failure {
    Failure::new(Code::Unauthenticated)
        .safe_detail(why)
        .detail(reason)
        .header(
            "www-authenticate",
            format!("{challenge}, error=\"invalid_token\", error_description=\"{why}\""),
        )
}

/// The token is good, but not for this.
#[cold]
pub fn insufficient(challenge: &str, scopes: &[String]) -> Failure {
    let scopes = scopes.join(" ");
    Failure::new(Code::Forbidden)
        .safe_detail("the token does not have the scopes that are needed")
        .detail(format!("the scopes `{scopes}` are needed"))
        .header(
            "www-authenticate",
            format!("{challenge}, error=\"insufficient_scope\", scope=\"{scopes}\""),
        )
}

/// There is not one token but several, or what is there cannot be read.
#[cold]
pub fn unclear(challenge: &str) -> Failure {
    Failure::new(Code::BadRequest)
        .safe_detail("the credentials are there more than once, or cannot be read")
        .close(false)
        .header(
            "www-authenticate",
            format!("{challenge}, error=\"invalid_request\""),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(values: &[&str]) -> String {
        let mut values = values.iter().map(|value| value.as_bytes());
        match bearer(&mut values, true) {
            Found::Nothing => "nothing".to_owned(),
            Found::Unclear => "unclear".to_owned(),
            Found::Token(token) => format!("<{token}>"),
        }
    }

    #[test]
    fn a_token_stands_behind_its_scheme_once() {
        for (values, found) in [
            (vec![], "nothing"),
            (vec!["Bearer abc"], "<abc>"),
            (vec!["bEARER   abc "], "<abc>"),
            (vec!["Bearer"], "<>"),
            (vec!["Bearer "], "<>"),
            (vec!["Bearerabc"], "nothing"),
            (vec!["Basic YTpi"], "nothing"),
            (vec!["Bearer a", "Bearer b"], "unclear"),
            (vec!["Basic a", "Bearer b"], "unclear"),
        ] {
            assert_eq!(header(&values), found, "{values:?}");
        }
    }

    #[test]
    fn a_realm_cannot_leave_its_quotes() {
        assert_eq!(challenge("a\"b\r\nc"), "Bearer realm=\"abc\"");
    }
}
