//! Authorities: `host[:port]` as it stands in `Host`, in an absolute-form target and after CONNECT (RFC 3986 3.2).
//!
//! Narrower than the grammar: no user name (RFC 9110 4.2.4), no percent-encoding and no sub-delimiters in the host,
//! which no DNS name has and which would let two readers see two hosts; a port is a number.

use std::net::Ipv6Addr;

use crate::byte;

/// An authority in its two parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Authority<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`; none if it is malformed or the host is empty.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let host_len = match text.as_bytes() {
            [b'[', inside @ ..] => {
                let len = inside.iter().position(|&byte| byte == b']')?;
                text[1..=len].parse::<Ipv6Addr>().ok()?;
                len + 2
            }
            bytes => match byte::host_len(bytes) {
                0 => return None,
                len => len,
            },
        };
        let (host, port) = text.split_at_checked(host_len)?;
        let port = if port.is_empty() {
            None
        } else {
            Some(port.strip_prefix(':')?)
        };
        let port = match port {
            Some(digits) => Some(parse_port(digits)?),
            None => None,
        };
        Some(Self { host, port })
    }

    /// Whether both name the same host and port, an absent port being `default`.
    pub(crate) fn is_same(self, other: Self, default: u16) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.unwrap_or(default) == other.port.unwrap_or(default)
    }
}

fn parse_port(digits: &str) -> Option<u16> {
    let is_number = (1..=5).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_and_a_port() {
        let cases = [
            ("a", "a", None),
            ("API.example.com:8080", "API.example.com", Some(8080)),
            ("10.0.0.1:1", "10.0.0.1", Some(1)),
            ("[::1]", "[::1]", None),
            ("[2001:db8::a]:65535", "[2001:db8::a]", Some(65535)),
            ("a_b.c~d", "a_b.c~d", None),
        ];
        for (text, host, port) in cases {
            let authority = Authority::parse(text).unwrap();
            assert_eq!((authority.host, authority.port), (host, port));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let cases = [
            "",
            ":80",
            "a:",
            "a:b",
            "a:65536",
            "a:+1",
            "a:000080",
            "a:80:80",
            "u@a",
            "a b",
            "a/b",
            "a,b",
            "a%20",
            "a?",
            "a#",
            "[::1",
            "[::1]80",
            "[::1]:",
            "[a]",
            "[]",
            "[v1.a]",
            "[fe80::1%eth0]",
            "::1",
            "ä",
            "a\\b",
            "[::1]a",
            "x[::1]",
            "a;b",
            "\"a\"",
        ];
        for text in cases {
            assert!(Authority::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_default_port_need_not_be_written() {
        let same = |a, b| {
            Authority::parse(a)
                .unwrap()
                .is_same(Authority::parse(b).unwrap(), 80)
        };
        assert!(same("a", "A:80") && same("a:1", "a:1") && !same("a", "a:8080") && !same("a", "b"));
    }
}
