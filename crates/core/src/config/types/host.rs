//! Patterns of host names in a route's match.

use super::text_type;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Which hosts a route answers for.
///
/// Names are kept in lower case and without a final dot, as requests are before they are compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// `*`: every host, and requests without one.
    Any,
    /// This name or address only.
    Exact(String),
    /// `*.example.com`: every name with one or more labels before `example.com`, which is what is kept.
    Below(String),
}

impl HostPattern {
    /// Whether the pattern covers the host, which must be in lower case, without port and final dot.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => name == host,
            Self::Below(parent) => host
                .strip_suffix(parent.as_str())
                .is_some_and(|front| front.len() > 1 && front.ends_with('.')),
        }
    }
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected such as `api.example.com`, `*.example.com` or `*`";
        if text == "*" {
            return Ok(Self::Any);
        }
        if text.parse::<Ipv4Addr>().is_ok() {
            return Ok(Self::Exact(text.to_owned()));
        }
        if let Some(inner) = text.strip_prefix('[') {
            let ip = inner.strip_suffix(']').and_then(|ip| ip.parse::<Ipv6Addr>().ok());
            return ip
                .map(|ip| Self::Exact(format!("[{ip}]")))
                .ok_or_else(|| format!("`{text}` is not an address; {EXPECTED}"));
        }
        if text.contains("://") {
            return Err(format!("`{text}` is a URL, not a host; {EXPECTED}"));
        }
        if text.contains(':') {
            return Err(format!("`{text}` has a port; match the port with `listeners`"));
        }
        if !text.is_ascii() {
            return Err(format!(
                "`{text}` is not ASCII; write its labels in their `xn--` form"
            ));
        }
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        if name.contains('*') {
            return Err(format!(
                "`{text}` has a `*` that is not its first label; {EXPECTED}"
            ));
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if name.len() > 253 || !name.split('.').all(is_label) {
            return Err(format!("`{text}` is not a host name; {EXPECTED}"));
        }
        Ok(if below {
            Self::Below(name)
        } else {
            Self::Exact(name)
        })
    }
}

/// One label of a name. Underscores are illegal in host names, but names of services have them.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Below(parent) => write!(f, "*.{parent}"),
        }
    }
}

text_type!(HostPattern, "a host such as `api.example.com`, `*.example.com` or `*`", {
    "description": "A host name, `*.` and a name (one or more labels before it), or `*` for any host. Without port.",
    "examples": ["api.example.com", "*.example.com", "*"],
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_hosts() {
        let cases = [
            ("api.example.com", "api.example.com", true),
            ("API.Example.com.", "api.example.com", true),
            ("api.example.com", "example.com", false),
            ("*.example.com", "api.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "badexample.com", false),
            ("*", "", true),
            ("[2001:DB8::1]", "[2001:db8::1]", true),
            ("order_service", "order_service", true),
        ];
        for (pattern, host, matches) in cases {
            assert_eq!(
                pattern.parse::<HostPattern>().unwrap().matches(host),
                matches,
                "{pattern} {host}"
            );
        }
    }

    #[test]
    fn refuses_with_a_reason() {
        let cases = [
            ("", "is not a host name"),
            ("example.com:80", "has a port"),
            ("http://example.com", "is a URL"),
            ("a..b", "is not a host name"),
            ("api.*.com", "has a `*`"),
            ("*example.com", "has a `*`"),
            ("bücher.example", "xn--"),
            ("[::1", "is not an address"),
            ("a/b", "is not a host name"),
        ];
        for (text, reason) in cases {
            let error = text.parse::<HostPattern>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
