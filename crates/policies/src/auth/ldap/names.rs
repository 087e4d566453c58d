//! Names in a directory: put together with what callers typed, and taken apart.

use std::borrow::Cow;

use ldap3::{dn_escape, ldap_escape};

/// A text with places for what is only known later, each escaped as its surroundings demand.
#[derive(Debug, Clone)]
pub struct Pattern {
    pieces: Vec<Piece>,
    kind: Kind,
}

/// What a pattern makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The name of an entry (RFC 4514).
    Name,
    /// A filter (RFC 4515).
    Filter,
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Username,
    Dn,
}

impl Pattern {
    /// Reads a pattern; `${dn}` only where it may be.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str, kind: Kind, may_have_dn: bool) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            pieces.push(Piece::Text(before.to_owned()));
            let Some((name, after)) = after.split_once('}') else {
                return Err(format!("`{text}` has a `${{` without an end"));
            };
            pieces.push(match name {
                "username" => Piece::Username,
                "dn" if may_have_dn => Piece::Dn,
                _ => return Err(format!("`${{{name}}}` is unknown here; expected `${{username}}`")),
            });
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        if !pieces.iter().any(|piece| !matches!(piece, Piece::Text(_))) {
            return Err(format!(
                "`{text}` is the same for everybody; expected `${{username}}` in it"
            ));
        }
        Ok(Self { pieces, kind })
    }

    /// The text for a caller.
    pub fn render(&self, username: &str, dn: &str) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            let value = match piece {
                Piece::Text(text) => {
                    out.push_str(text);
                    continue;
                }
                Piece::Username => username,
                Piece::Dn => dn,
            };
            let escaped: Cow<'_, str> = match self.kind {
                Kind::Name => dn_escape(value),
                Kind::Filter => ldap_escape(value),
            };
            out.push_str(&escaped);
        }
        out
    }
}

/// The parts of an entry's name, without what surrounds them.
fn parts(name: &str) -> Vec<&str> {
    let (mut parts, mut start, mut is_escaped) = (Vec::new(), 0, false);
    for (i, byte) in name.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b',' | b';' => {
                parts.push(name.get(start..i).unwrap_or_default().trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(name.get(start..).unwrap_or_default().trim());
    parts
}

/// Whether an entry is below another, by their names. An escaped comma in a part does not end it.
pub fn is_below(name: &str, base: &str) -> bool {
    let (name, base) = (parts(name), parts(base));
    let ends = name.iter().rev().zip(base.iter().rev());
    name.len() > base.len() && ends.clone().all(|(one, other)| is_same(one, other))
}

/// Whether two parts are the same but for case and for white space around `=`.
fn is_same(one: &str, other: &str) -> bool {
    match (one.split_once('='), other.split_once('=')) {
        (Some((name, value)), Some((other, wanted))) => {
            name.trim().eq_ignore_ascii_case(other.trim())
                && value.trim().to_lowercase() == wanted.trim().to_lowercase()
        }
        _ => false,
    }
}

/// The value of the first part of a name: `ops` of `cn=ops,ou=groups`.
pub fn short(name: &str) -> Option<String> {
    let first = *parts(name).first()?;
    let (_, value) = first.split_once('=')?;
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.trim().bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let first = bytes.next()?;
        let digit = |byte: u8| {
            char::from(byte)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        match digit(first) {
            Some(high) => out.push(high << 4 | digit(bytes.next()?)?),
            None => out.push(first),
        }
    }
    String::from_utf8(out).ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_stays_a_value() {
        let name = Pattern::parse("uid=${username},ou=people", Kind::Name, false).unwrap();
        for (typed, made) in [
            ("ann", "uid=ann,ou=people"),
            ("ann,ou=admins", "uid=ann\\2cou\\3dadmins,ou=people"),
            (" a+b#", "uid=\\20a\\2bb#,ou=people"),
            ("a\\,", "uid=a\\5c\\2c,ou=people"),
            ("#1", "uid=\\231,ou=people"),
        ] {
            assert_eq!(name.render(typed, ""), made);
        }
        let filter = Pattern::parse("(&(uid=${username})(member=${dn}))", Kind::Filter, true).unwrap();
        for (typed, made) in [
            ("ann", "(&(uid=ann)(member=cn=a\\5c,b))"),
            ("*", "(&(uid=\\2a)(member=cn=a\\5c,b))"),
            ("a)(uid=b", "(&(uid=a\\29\\28uid=b)(member=cn=a\\5c,b))"),
            ("\\2a", "(&(uid=\\5c2a)(member=cn=a\\5c,b))"),
        ] {
            assert_eq!(filter.render(typed, "cn=a\\,b"), made);
        }
    }

    #[test]
    fn patterns_have_the_name_in_them() {
        for wrong in ["uid=ann", "uid=${user}", "uid=${dn}", "uid=${username", ""] {
            assert!(Pattern::parse(wrong, Kind::Name, false).is_err(), "{wrong}");
        }
    }

    #[test]
    fn groups_are_below_an_entry_and_have_short_names() {
        let base = "OU=Groups, dc=example,dc=org";
        assert!(is_below("cn=ops,ou=groups,dc=example,dc=org", base));
        assert!(is_below("cn=a,ou=x, ou = groups,DC=example,dc=org", base));
        for other in [
            "ou=groups,dc=example,dc=org",
            "cn=ops\\,ou=groups,dc=example,dc=org",
            "cn=ops\\2cou=groups,dc=example,dc=org",
            "cn=ops,ou=groups,dc=example",
            "",
        ] {
            assert!(!is_below(other, base), "{other}");
        }
        for (name, expected) in [
            ("cn=ops,ou=groups", Some("ops")),
            ("CN=a\\,b\\2c\\C3\\A9,ou=groups", Some("a,b,é")),
            ("cn=,ou=groups", None),
            ("ops", None),
            ("cn=a\\", None),
        ] {
            assert_eq!(short(name).as_deref(), expected, "{name}");
        }
    }
}
