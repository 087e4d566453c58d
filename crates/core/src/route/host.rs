//! Host names as they are compared: without port and final dot, in lower case (RFC 9110 4.2.3).
//!
//! And the suffixes of a name under which wildcards are looked up, the longest first.

use std::io::Write;
use std::net::Ipv6Addr;

/// Room for the lower-case form of a host; a DNS name has at most 253 bytes.
pub(super) type Buffer = [u8; 255];

/// The host of an authority as patterns are written. Copies to `buffer` only what must be changed.
///
/// Gives the empty name, which only `*` covers, for an authority without host and for one longer than any name.
pub(super) fn canonical<'a>(authority: &'a str, buffer: &'a mut Buffer) -> &'a str {
    if authority.starts_with('[') {
        return address(authority, buffer);
    }
    let host = match authority.bytes().position(|byte| byte == b':') {
        Some(colon) => authority.get(..colon).unwrap_or_default(),
        None => authority,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let Some(lower) = buffer.get_mut(..host.len()) else {
        return "";
    };
    if !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return host;
    }
    lower.copy_from_slice(host.as_bytes());
    lower.make_ascii_lowercase();
    std::str::from_utf8(lower).unwrap_or_default()
}

/// `[v6]` with or without a port, in the canonical spelling of RFC 5952.
fn address<'a>(authority: &'a str, buffer: &'a mut Buffer) -> &'a str {
    let inner = authority
        .get(1..)
        .and_then(|rest| rest.split_once(']'))
        .map(|(inner, _)| inner);
    let Some(ip) = inner.and_then(|inner| inner.parse::<Ipv6Addr>().ok()) else {
        return "";
    };
    let mut rest = buffer.as_mut_slice();
    let room = rest.len();
    if write!(rest, "[{ip}]").is_err() {
        return "";
    }
    let used = room - rest.len();
    std::str::from_utf8(buffer.get(..used).unwrap_or_default()).unwrap_or_default()
}

/// What stands after each dot, from left to right: the names whose `*.` covers this host.
pub(super) fn parents(host: &str) -> impl Iterator<Item = &str> {
    // A dot at the very beginning has no label before it.
    memchr::memchr_iter(b'.', host.as_bytes())
        .filter(|&dot| dot > 0)
        .filter_map(move |dot| host.get(dot + 1..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_in_one_spelling() {
        let long = "a".repeat(256);
        let cases = [
            ("", ""),
            ("api.example.com", "api.example.com"),
            ("API.Example.COM", "api.example.com"),
            ("api.example.com:8080", "api.example.com"),
            ("Api.example.com.:80", "api.example.com"),
            ("api.example.com.", "api.example.com"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("[::1]", "[::1]"),
            ("[2001:DB8:0::1]:8443", "[2001:db8::1]"),
            ("[::1", ""),
            ("[x]", ""),
            (long.as_str(), ""),
        ];
        for (authority, host) in cases {
            assert_eq!(canonical(authority, &mut [0; 255]), host, "{authority}");
        }
    }

    #[test]
    fn wildcards_are_tried_longest_first() {
        let all = |host| parents(host).collect::<Vec<_>>();
        assert_eq!(all("a.b.example.com"), ["b.example.com", "example.com", "com"]);
        assert!(all("localhost").is_empty() && all("").is_empty());
        assert_eq!(all(".com"), Vec::<&str>::new());
    }
}
