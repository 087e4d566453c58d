//! Patterns of paths in a route's match.
//!
//! Literals are brought into the form in which requests are matched: unreserved characters as themselves,
//! everything else percent-encoded with capital digits. Nothing else is rewritten.

use super::text_type;
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Which paths a route answers for.
///
/// - `/status`: this path only; `/status/` is another one.
/// - `/users/{id}`: one segment, not empty, captured as `id`.
/// - `/api/**`: `/api` and everything below; `/files/{rest**}` captures what is below.
/// - `~^/v(?<n>[0-9]+)/`: a regular expression; named groups are captured.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern {
    written: String,
    form: PathForm,
}

/// The parsed form of a [`PathPattern`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathForm {
    /// What stands between the slashes, in order. `/` is one empty literal; `/a/` is `a` and an empty literal.
    Segments(Vec<Segment>),
    /// A regular expression, without the `~`. It is searched in the path: anchors are the writer's.
    Regex(String),
}

/// One segment of a path pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Exactly this text, percent-encoded in the matched form.
    Literal(String),
    /// Any one segment that is not empty, captured under this name.
    Param(String),
    /// This place and everything below, also nothing at all; perhaps captured. Always the last.
    Rest(Option<String>),
}

impl PathPattern {
    /// The parsed form.
    pub fn form(&self) -> &PathForm {
        &self.form
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Names of the captures, in order. Those of a regular expression come from its text alone, so that a
    /// pattern with a broken expression still answers.
    pub fn captures(&self) -> Vec<&str> {
        match &self.form {
            PathForm::Segments(segments) => segments
                .iter()
                .filter_map(|segment| match segment {
                    Segment::Param(name) | Segment::Rest(Some(name)) => Some(name.as_str()),
                    Segment::Literal(_) | Segment::Rest(None) => None,
                })
                .collect(),
            PathForm::Regex(regex) => regex_groups(regex),
        }
    }
}

/// Names of `(?<name>` and `(?P<name>` groups. Escaped parentheses and classes are skipped.
fn regex_groups(regex: &str) -> Vec<&str> {
    let (mut names, mut rest, mut in_class) = (Vec::new(), regex, false);
    while let Some(next) = rest.chars().next() {
        let skip = match next {
            '\\' => next.len_utf8() + rest.chars().nth(1).map_or(0, char::len_utf8),
            _ => next.len_utf8(),
        };
        match next {
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => {
                let named = rest.strip_prefix("(?<").or_else(|| rest.strip_prefix("(?P<"));
                names.extend(named.and_then(|name| name.split_once('>')).map(|(name, _)| name));
            }
            _ => {}
        }
        rest = rest.get(skip..).unwrap_or_default();
    }
    names
}

impl FromStr for PathPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(regex) = text.strip_prefix('~') {
            if regex.is_empty() {
                return Err("`~` has no regular expression; expected such as `~^/v[0-9]+/`".to_owned());
            }
            return Ok(Self {
                written: text.to_owned(),
                form: PathForm::Regex(regex.to_owned()),
            });
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!(
                "`{text}` does not begin with `/`; expected such as `/users`, `/users/{{id}}` or `/users/**`"
            ));
        };
        let mut segments = Vec::with_capacity(4);
        let mut parts = rest.split('/').peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            segments.push(segment(text, part, last)?);
        }
        let pattern = Self {
            written: text.to_owned(),
            form: PathForm::Segments(segments),
        };
        let names = pattern.captures();
        if let Some(twice) = names
            .iter()
            .enumerate()
            .find(|(i, name)| names.iter().take(*i).any(|before| before == *name))
        {
            return Err(format!(
                "`{text}` captures `{}` twice; give each capture its own name",
                twice.1
            ));
        }
        Ok(pattern)
    }
}

fn segment(pattern: &str, part: &str, last: bool) -> Result<Segment, String> {
    let only_last = |what| {
        if last {
            Ok(what)
        } else {
            Err(format!(
                "`{pattern}` goes on after `{part}`, which takes everything; put it last"
            ))
        }
    };
    if part == "**" {
        return only_last(Segment::Rest(None));
    }
    if let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
        let (name, rest) = name.strip_suffix("**").map_or((name, false), |name| (name, true));
        if !is_name(name) {
            return Err(format!(
                "`{part}` in `{pattern}` has no legal name; expected such as `{{id}}` or `{{rest**}}`"
            ));
        }
        return if rest {
            only_last(Segment::Rest(Some(name.to_owned())))
        } else {
            Ok(Segment::Param(name.to_owned()))
        };
    }
    if part == "*" {
        return Err(format!(
            "`{pattern}` has the segment `*`; write `{{name}}` for one segment or `**` for all that follow"
        ));
    }
    if part.contains(['{', '}', '*']) {
        return Err(format!(
            "`{pattern}` has a wildcard in a part of a segment, `{part}`; use a regular expression such as `~^/file-(?<n>[0-9]+)$`"
        ));
    }
    if part.is_empty() && !last {
        return Err(format!(
            "`{pattern}` has an empty segment, which no request has; write one `/`"
        ));
    }
    literal(pattern, part).map(|text| Segment::Literal(text.into_owned()))
}

/// Names of captures are such as variables have: letters, digits and `_`, no digit first.
fn is_name(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
}

/// The literal in the form in which requests are matched.
fn literal<'a>(pattern: &str, part: &'a str) -> Result<Cow<'a, str>, String> {
    if part.bytes().all(is_unreserved) && part != "." && part != ".." {
        return Ok(Cow::Borrowed(part));
    }
    let mut out = String::with_capacity(part.len() + 8);
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            let value = bytes
                .next()
                .zip(bytes.next())
                .and_then(|(high, low)| Some(hex(high)? << 4 | hex(low)?));
            let value = value.ok_or_else(|| {
                format!(
                    "`{pattern}` has a `%` without two hexadecimal digits; write `%25` for a percent sign"
                )
            })?;
            // A reserved character written as itself and written encoded are not the same (RFC 3986 2.2).
            if !is_unreserved(value) {
                push_encoded(&mut out, value);
                continue;
            }
            value
        } else {
            byte
        };
        match byte {
            b'?' | b'#' => {
                return Err(format!(
                    "`{pattern}` has a `{}`; a path ends before it, use `query` to match one",
                    char::from(byte)
                ));
            }
            b if b.is_ascii_control() || b == b' ' => {
                return Err(format!(
                    "`{}` has a blank or control character; write it percent-encoded",
                    pattern.escape_debug()
                ));
            }
            b if is_unreserved(b) || b"!$&'()*+,;=:@".contains(&b) => out.push(char::from(b)),
            b => push_encoded(&mut out, b),
        }
    }
    if out == "." || out == ".." {
        return Err(format!(
            "`{pattern}` has the segment `{part}`, which no request keeps; write the path without it"
        ));
    }
    Ok(Cow::Owned(out))
}

/// RFC 3986 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

fn push_encoded(out: &mut String, byte: u8) {
    let digit = |value: u8| {
        char::from_digit(value.into(), 16)
            .unwrap_or('0')
            .to_ascii_uppercase()
    };
    out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

text_type!(PathPattern, "a path such as `/status`, `/users/{id}`, `/api/**` or `~^/v[0-9]+/`", {
    "description": "A path: exact (`/status`), with captured segments (`/users/{id}`), with all below (`/api/**`, captured: `/files/{rest**}`), or `~` and a regular expression (`~^/v(?<n>[0-9]+)/`).",
    "pattern": "^[/~]",
    "examples": ["/status", "/users/{id}", "/api/**", "/files/{rest**}", "~^/v(?<n>[0-9]+)/"],
});

#[cfg(test)]
mod tests {
    use super::*;

    fn show(pattern: &str) -> String {
        match pattern.parse::<PathPattern>().unwrap().form() {
            PathForm::Regex(regex) => format!("regex {regex}"),
            PathForm::Segments(segments) => {
                let show = |segment: &Segment| match segment {
                    Segment::Literal(text) => text.clone(),
                    Segment::Param(name) => format!("<{name}>"),
                    Segment::Rest(name) => format!("<{}..>", name.as_deref().unwrap_or_default()),
                };
                segments.iter().map(show).collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn patterns_parse_into_segments() {
        let cases = [
            ("/", ""),
            ("/status", "status"),
            ("/status/", "status "),
            ("/users/{id}", "users <id>"),
            ("/users/{id}/orders/{order}", "users <id> orders <order>"),
            ("/**", "<..>"),
            ("/api/**", "api <..>"),
            ("/files/{rest**}", "files <rest..>"),
            ("/a%7eb/%2f/%c3%bc", "a~b %2F %C3%BC"),
            ("/über", "%C3%BCber"),
            ("/a:b@c;d=e", "a:b@c;d=e"),
            ("/a\"b", "a%22b"),
            ("~^/v(?<n>[0-9]+)/", "regex ^/v(?<n>[0-9]+)/"),
        ];
        for (pattern, shown) in cases {
            assert_eq!(show(pattern), shown, "{pattern}");
            assert_eq!(pattern.parse::<PathPattern>().unwrap().to_string(), pattern);
        }
    }

    #[test]
    fn captures_are_listed() {
        let cases: [(&str, &[&str]); 4] = [
            ("/users/{id}/{rest**}", &["id", "rest"]),
            ("/users/**", &[]),
            (r"~^/(?<a>x)/(?P<b>y)/\(?<c>[(?<d>]/(?:z)", &["a", "b"]),
            ("~(", &[]),
        ];
        for (pattern, names) in cases {
            assert_eq!(
                pattern.parse::<PathPattern>().unwrap().captures(),
                names,
                "{pattern}"
            );
        }
    }

    #[test]
    fn refuses_with_a_reason() {
        let cases = [
            ("", "does not begin with `/`"),
            ("users", "does not begin with `/`"),
            ("~", "has no regular expression"),
            ("/a//b", "has an empty segment"),
            ("/a/*/b", "has the segment `*`"),
            ("/a/b*", "wildcard in a part"),
            ("/a/{id}.json", "wildcard in a part"),
            ("/a/{}", "has no legal name"),
            ("/a/{1x}", "has no legal name"),
            ("/a/**/b", "goes on after `**`"),
            ("/a/{r**}/b", "goes on after `{r**}`"),
            ("/{id}/{id}", "captures `id` twice"),
            ("/a?b=c", "has a `?`"),
            ("/a#b", "has a `#`"),
            ("/a b", "has a blank"),
            ("/a/%2", "has a `%`"),
            ("/a/%zz", "has a `%`"),
            ("/a/../b", "has the segment `..`"),
            ("/a/%2e/b", "has the segment `%2e`"),
        ];
        for (text, reason) in cases {
            let error = text.parse::<PathPattern>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
