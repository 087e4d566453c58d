//! The cookies of sessions and of logins under way: their names, how a long value is cut, and how browsers are told.
//!
//! A value's first character says how many cookies it is in: `NAME`, `NAME.1`, `NAME.2`. Cookies of a longer session that was
//! there before are thus not taken for parts of it.

use std::borrow::Cow;
use std::time::Duration;

use gatehouse_core::exchange::{Exchange, remove_cookies};
use gatehouse_http1::{Headers, Known};

use super::config::{CookieSettings, SameSite};
use crate::auth::Place;

/// Bytes of a value in one cookie: browsers take 4096 with name and attributes (RFC 6265 6.1).
const PIECE: usize = 3800;

/// The most cookies that a session is in.
const MOST_PIECES: usize = 3;

/// What stands between the name of the session's cookie and the name of a login.
const LOGIN: &str = ".l.";

/// The cookies of a policy.
pub struct Cookies {
    /// The session's, prefix included.
    name: String,
    /// `; Path=/; HttpOnly` and so on.
    attributes: String,
    /// Those of logins: a browser must bring them along when the provider sends it back.
    login_attributes: String,
    /// Whether the session's cookie is missing on the request that follows the provider's answer.
    pub is_strict: bool,
}

/// What a request's answer has to tell the browser, and its upstream.
#[derive(Default)]
pub struct Kept {
    /// Values of `Set-Cookie`.
    pub set: Vec<String>,
    /// A field for the upstream, and its value; none: it must not get one.
    pub hand_on: Option<(String, Option<String>)>,
}

impl Kept {
    /// Adds to what was kept of an exchange.
    pub fn add(ex: &mut Exchange, change: impl FnOnce(&mut Kept)) {
        let mut kept: Kept = ex.kept().unwrap_or_default();
        change(&mut kept);
        ex.keep(kept);
    }
}

impl Cookies {
    /// As the settings have it.
    pub fn of(settings: &CookieSettings) -> Self {
        let prefix = match settings {
            CookieSettings {
                secure: true,
                domain: None,
                path,
                ..
            } if path == "/" => "__Host-",
            CookieSettings { secure: true, .. } => "__Secure-",
            _ => "",
        };
        let mut common = format!("; Path={}", settings.path);
        if let Some(domain) = &settings.domain {
            common.push_str("; Domain=");
            common.push_str(domain);
        }
        common.push_str("; HttpOnly");
        if settings.secure {
            common.push_str("; Secure");
        }
        let with = |same_site: &str| format!("{common}; SameSite={same_site}");
        Self {
            name: format!("{prefix}{}", settings.name),
            attributes: with(match settings.same_site {
                SameSite::Lax => "Lax",
                SameSite::Strict => "Strict",
                SameSite::None => "None",
            }),
            login_attributes: with(match settings.same_site {
                SameSite::None => "None",
                _ => "Lax",
            }),
            is_strict: settings.same_site == SameSite::Strict,
        }
    }

    /// Where a session is.
    pub fn places(&self) -> Vec<Place> {
        let names = (0..MOST_PIECES).map(|at| self.piece(at));
        names.map(|name| Place::Cookie(name.into())).collect()
    }

    /// The session's value on a request, put together.
    pub fn session<'r>(&self, headers: &'r Headers) -> Option<Cow<'r, [u8]>> {
        let (count, value) = first(headers, &self.name)?.split_first()?;
        let count = usize::from(count.checked_sub(b'0')?);
        if count == 1 {
            return Some(Cow::Borrowed(value));
        }
        if !(2..=MOST_PIECES).contains(&count) {
            return None;
        }
        let mut whole = value.to_vec();
        for at in 1..count {
            whole.extend_from_slice(first(headers, &self.piece(at))?);
        }
        Some(Cow::Owned(whole))
    }

    /// Whether a request has any cookie of a session, whole or not.
    pub fn has_session(&self, headers: &Headers) -> bool {
        first(headers, &self.name).is_some()
    }

    /// Has the browser keep a session for so long. False if it is too large.
    pub fn keep_session(&self, value: &str, age: Duration, set: &mut Vec<String>) -> bool {
        let pieces: Vec<&[u8]> = value.as_bytes().chunks(PIECE).collect();
        if pieces.is_empty() || pieces.len() > MOST_PIECES {
            return false;
        }
        for (at, piece) in pieces.iter().enumerate() {
            let text = std::str::from_utf8(piece).unwrap_or_default();
            let count = if at == 0 {
                pieces.len().to_string()
            } else {
                String::new()
            };
            set.push(format!(
                "{}={count}{text}{}; Max-Age={}",
                self.piece(at),
                self.attributes,
                age.as_secs()
            ));
        }
        true
    }

    /// Has the browser forget the session of a request.
    pub fn drop_session(&self, headers: &Headers, set: &mut Vec<String>) {
        for at in 0..MOST_PIECES {
            let name = self.piece(at);
            if first(headers, &name).is_some() {
                set.push(format!("{name}={}; Max-Age=0", self.attributes));
            }
        }
    }

    /// Has the browser forget the parts of a session that the one it is told to keep does not have.
    pub fn drop_surplus(&self, headers: &Headers, set: &mut Vec<String>) {
        for at in 1..MOST_PIECES {
            let name = self.piece(at);
            let start = format!("{name}=");
            if first(headers, &name).is_some() && !set.iter().any(|text| text.starts_with(&start)) {
                set.push(format!("{name}={}; Max-Age=0", self.attributes));
            }
        }
    }

    fn piece(&self, at: usize) -> String {
        if at == 0 {
            return self.name.clone();
        }
        format!("{}.{at}", self.name)
    }

    /// What was kept of the login of this name.
    pub fn login<'r>(&self, headers: &'r Headers, name: &str) -> Option<&'r [u8]> {
        first(headers, &format!("{}{LOGIN}{name}", self.name))
    }

    /// The names and values of all logins that a request has.
    pub fn logins<'r>(&self, headers: &'r Headers) -> Vec<(&'r str, &'r [u8])> {
        let start = format!("{}{LOGIN}", self.name);
        pairs(headers)
            .filter_map(|(name, value)| {
                let name = std::str::from_utf8(name).ok()?.strip_prefix(start.as_str())?;
                is_plain(name).then_some((name, value))
            })
            .collect()
    }

    /// Has the browser keep a login for so long.
    pub fn keep_login(&self, name: &str, value: &str, age: Duration, set: &mut Vec<String>) {
        set.push(format!(
            "{}{LOGIN}{name}={value}{}; Max-Age={}",
            self.name,
            self.login_attributes,
            age.as_secs()
        ));
    }

    /// Has the browser forget a login.
    pub fn drop_login(&self, name: &str, set: &mut Vec<String>) {
        set.push(format!(
            "{}{LOGIN}{name}={}; Max-Age=0",
            self.name, self.login_attributes
        ));
    }

    /// Takes all of them off a request.
    pub fn forget(&self, headers: &mut Headers) {
        remove_cookies(headers, |name| self.is_ours(name));
    }

    fn is_ours(&self, name: &[u8]) -> bool {
        match name.strip_prefix(self.name.as_bytes()) {
            Some(b"") => true,
            Some([b'.', digit]) => digit.is_ascii_digit(),
            Some(rest) => rest.starts_with(LOGIN.as_bytes()),
            None => false,
        }
    }
}

/// Characters of base64url, a few of them.
fn is_plain(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

/// Names and values of all cookies of a request, as sent.
fn pairs(headers: &Headers) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = headers
        .all(Known::Cookie)
        .flat_map(|line| line.split(|byte| *byte == b';'));
    pairs.filter_map(|pair| {
        let pair = pair.trim_ascii();
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = pair.split_at_checked(at)?;
        Some((name, value.get(1..)?))
    })
}

/// The first cookie of that name; an empty one is none.
fn first<'r>(headers: &'r Headers, name: &str) -> Option<&'r [u8]> {
    pairs(headers)
        .find(|(found, _)| *found == name.as_bytes())
        .map(|(_, value)| value)
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> Headers {
        let mut headers = Headers::new();
        for line in lines {
            headers.append(Known::Cookie, line.as_bytes());
        }
        headers
    }

    /// What a browser sends that was told this.
    fn returned(set: &[String]) -> String {
        let pairs: Vec<&str> = set.iter().filter_map(|text| text.split(';').next()).collect();
        pairs.join("; ")
    }

    #[test]
    fn prefixes_are_used_where_browsers_allow_them() {
        let name = |change: fn(&mut CookieSettings)| {
            let mut settings = CookieSettings::default();
            change(&mut settings);
            Cookies::of(&settings).name
        };
        assert_eq!(name(|_| ()), "__Host-gatehouse_session");
        assert_eq!(
            name(|s| s.domain = Some("a.test".to_owned())),
            "__Secure-gatehouse_session"
        );
        assert_eq!(
            name(|s| "/a".clone_into(&mut s.path)),
            "__Secure-gatehouse_session"
        );
        assert_eq!(name(|s| s.secure = false), "gatehouse_session");
    }

    #[test]
    fn a_long_value_is_cut_and_put_together() {
        let cookies = Cookies::of(&CookieSettings::default());
        for length in [1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE] {
            let value = "x".repeat(length);
            let mut set = Vec::new();
            assert!(cookies.keep_session(&value, Duration::from_mins(1), &mut set));
            assert!(set.iter().all(|text| text.len() < 4096), "{length}");
            let sent = returned(&set);
            // Parts of a longer one that was there before do not matter.
            for sent in [
                sent.clone(),
                format!("a=b; {sent}; __Host-gatehouse_session.2=old"),
            ] {
                let headers = headers(&[&sent]);
                let whole = cookies.session(&headers).unwrap_or_default();
                assert_eq!(whole.len(), length);
            }
        }
        assert!(!cookies.keep_session(&"x".repeat(3 * PIECE + 1), Duration::ZERO, &mut Vec::new()));
    }

    #[test]
    fn what_is_not_whole_is_nothing() {
        let cookies = Cookies::of(&CookieSettings {
            secure: false,
            ..CookieSettings::default()
        });
        for sent in [
            "gatehouse_session=",
            "gatehouse_session=2abc",
            "gatehouse_session=0abc",
            "gatehouse_session=4abc; gatehouse_session.1=a; gatehouse_session.2=a; gatehouse_session.3=a",
            "gatehouse_session.1=abc",
            "gatehouse_session=xabc",
            "gatehouse_session",
        ] {
            assert!(cookies.session(&headers(&[sent])).is_none(), "{sent}");
        }
    }

    #[test]
    fn only_ours_are_taken_off() {
        let cookies = Cookies::of(&CookieSettings {
            secure: false,
            ..CookieSettings::default()
        });
        let mut headers = headers(&[
            "a=1; gatehouse_session=1x; gatehouse_session.1=y",
            "gatehouse_session.l.abc=z; gatehouse_sessions=2; b=3",
        ]);
        cookies.forget(&mut headers);
        assert_eq!(
            headers.get(Known::Cookie),
            Some(&b"a=1; gatehouse_sessions=2; b=3"[..])
        );
    }
}
