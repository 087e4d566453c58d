//! Origins as browsers send them, and patterns of them: for what trusts some web pages and not others.

use gatehouse_core::config::HostPattern;

/// The origins a setting names.
#[derive(Debug, Default)]
pub struct Origins {
    any: bool,
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
enum Pattern {
    /// This very text.
    Exact(Box<str>),
    /// `https://*.example.com`, `https://app.example.com:*`.
    Parts {
        scheme: Box<str>,
        host: HostPattern,
        /// None: any port, the one that is not written included.
        port: Option<Box<str>>,
    },
}

const EXPECTED: &str =
    "expected such as `https://app.example.com`, `https://*.example.com`, `http://localhost:*` or `*`";

impl Origins {
    /// Reads them. The error is the place of the first that is none, and why.
    pub fn parse(written: &[String]) -> Result<Self, (usize, String)> {
        let mut origins = Self::default();
        for (i, text) in written.iter().enumerate() {
            if text == "*" {
                origins.any = true;
            } else {
                origins.patterns.push(pattern(text).map_err(|why| (i, why))?);
            }
        }
        Ok(origins)
    }

    /// True for `*`.
    pub fn is_any(&self) -> bool {
        self.any
    }

    /// Whether an `Origin` as it was sent is one of them.
    pub fn have(&self, origin: &[u8]) -> bool {
        let Ok(origin) = std::str::from_utf8(origin) else {
            return false;
        };
        self.any || self.place(origin).is_some()
    }

    /// The place of the pattern that an `Origin` fits, among those that are not `*`.
    pub fn place(&self, origin: &str) -> Option<usize> {
        self.patterns.iter().position(|pattern| pattern.matches(origin))
    }

    /// The patterns in their order, those aside that are `*`: an origin if only that fits it.
    pub fn patterns(&self) -> impl Iterator<Item = Option<&str>> {
        self.patterns.iter().map(|pattern| match pattern {
            Pattern::Exact(text) => Some(&**text),
            Pattern::Parts { .. } => None,
        })
    }
}

fn pattern(text: &str) -> Result<Pattern, String> {
    // What pages without an origin send: from files, data, sandboxes.
    if text == "null" {
        return Ok(Pattern::Exact("null".into()));
    }
    let Some((scheme, authority)) = text.split_once("://") else {
        return Err(format!("`{text}` has no scheme; {EXPECTED}"));
    };
    let is_scheme = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    let scheme = scheme.to_ascii_lowercase();
    if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
        return Err(format!("`{text}` has no scheme that can be one; {EXPECTED}"));
    }
    if authority.contains(['/', '?', '#', '@']) {
        return Err(format!(
            "`{text}` is more than an origin, which is a scheme, a host and perhaps a port; {EXPECTED}"
        ));
    }
    let (host, port) = split(authority);
    let known: HostPattern = host.parse()?;
    if known == HostPattern::Any {
        return Err(format!("`{text}` names no host; {EXPECTED}"));
    }
    match port {
        Some("*") => {
            let (scheme, port) = (scheme.into(), None);
            return Ok(Pattern::Parts {
                scheme,
                host: known,
                port,
            });
        }
        Some(port) if port.parse::<u16>().is_err() => {
            return Err(format!("`{text}` has `{port}` for a port; {EXPECTED}"));
        }
        _ => {}
    }
    // Browsers leave the usual port out (WHATWG HTML 7.1.1).
    let port = port.filter(|port| !matches!((&*scheme, *port), ("https", "443") | ("http", "80")));
    let port = port.unwrap_or_default();
    Ok(match known {
        HostPattern::Below(_) => Pattern::Parts {
            scheme: scheme.into(),
            host: known,
            port: Some(port.into()),
        },
        host if port.is_empty() => Pattern::Exact(format!("{scheme}://{host}").into()),
        host => Pattern::Exact(format!("{scheme}://{host}:{port}").into()),
    })
}

/// Host and port of an authority.
fn split(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

impl Pattern {
    fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Exact(text) => **text == *origin,
            Self::Parts { scheme, host, port } => {
                let Some(authority) = origin
                    .strip_prefix(&**scheme)
                    .and_then(|rest| rest.strip_prefix("://"))
                else {
                    return false;
                };
                let (found, found_port) = split(authority);
                let is_host = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
                found.bytes().all(is_host)
                    && host.matches(found)
                    && match port {
                        None => found_port.is_none_or(|port| port.parse::<u16>().is_ok()),
                        Some(port) => **port == *found_port.unwrap_or_default(),
                    }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(written: &[&str]) -> Result<Origins, (usize, String)> {
        let written: Vec<String> = written.iter().map(|text| (*text).to_owned()).collect();
        Origins::parse(&written)
    }

    #[test]
    fn origins_match_whole() {
        let known = origins(&[
            "https://app.example.com",
            "https://*.example.org",
            "http://localhost:*",
            "https://default.example.net:443",
            "https://*.ports.example:8443",
            "http://[::1]:3000",
        ])
        .unwrap();
        for good in [
            "https://app.example.com",
            "https://a.example.org",
            "https://a.b.example.org",
            "http://localhost",
            "http://localhost:5173",
            "https://default.example.net",
            "https://x.ports.example:8443",
            "http://[::1]:3000",
        ] {
            assert!(known.have(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "null",
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://app.example.com.evil.net",
            "https://evilapp.example.com",
            "https://app.example.com/",
            "https://example.org",
            "https://evilexample.org",
            "https://.example.org",
            "https://evil.net/.example.org",
            "https://evil.net?.example.org",
            "https://evil.net#.example.org",
            "https://u@a.example.org",
            "http://localhost:x",
            "http://localhost:99999",
            "https://x.ports.example",
            "https://x.ports.example:84430",
        ] {
            assert!(!known.have(bad.as_bytes()), "{bad}");
        }
        assert!(!known.have(b"https://\xff.example.org"));
    }

    #[test]
    fn any_and_null() {
        assert!(origins(&["*"]).unwrap().have(b"https://x") && origins(&["*"]).unwrap().is_any());
        assert!(origins(&["null"]).unwrap().have(b"null"));
        assert!(!origins(&[]).unwrap().have(b"https://x"));
    }

    #[test]
    fn what_is_none_says_why() {
        for (text, why) in [
            ("app.example.com", "no scheme"),
            ("https://app.example.com/", "more than an origin"),
            ("https://*", "names no host"),
            ("https://a.*.example.com", "not its first label"),
            ("https://app.example.com:https", "for a port"),
            ("://x", "no scheme"),
        ] {
            let (at, error) = origins(&["*", text]).unwrap_err();
            assert!(at == 1 && error.contains(why), "{text}: {error}");
        }
    }
}
