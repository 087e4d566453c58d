//! An IP address as text, inline: made once for a connection, written into fields and logs.

use std::fmt::Write as _;
use std::net::IpAddr;

/// The longest text: an IPv6 address with an IPv4 tail.
const LONGEST: usize = 45;

/// An IP address as text.
#[derive(Clone, Copy)]
pub struct IpText {
    bytes: [u8; LONGEST],
    len: u8,
}

impl IpText {
    /// The usual text of an address (RFC 5952 for IPv6).
    pub fn new(ip: IpAddr) -> Self {
        let mut text = Self {
            bytes: [0; LONGEST],
            len: 0,
        };
        // Cannot fail: the longest address fits.
        let _ = write!(text, "{ip}");
        text
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The text's bytes; all ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::fmt::Debug for IpText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Write for IpText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let start = usize::from(self.len);
        let end = start + text.len();
        let space = self.bytes.get_mut(start..end).ok_or(std::fmt::Error)?;
        space.copy_from_slice(text.as_bytes());
        self.len = u8::try_from(end).map_err(|_| std::fmt::Error)?;
        Ok(())
    }
}

/// What upstreams are told of a connection, as field lines ready to be written, and the values in them. Made once for
/// a connection.
pub struct PeerLines {
    lines: Box<str>,
    peer: u8,
    port: u8,
}

impl PeerLines {
    const START: &str = "x-forwarded-for: ";

    /// The lines of a connection from `peer` by `scheme` to the local `port`, 0 if it has none.
    pub fn new(peer: IpAddr, scheme: &str, port: u16) -> Self {
        let (peer, start) = (IpText::new(peer), Self::START);
        let mut lines = format!("{start}{}\r\nx-forwarded-proto: {scheme}\r\n", peer.as_str());
        let port = if port == 0 {
            String::new()
        } else {
            port.to_string()
        };
        if !port.is_empty() {
            lines.extend(["x-forwarded-port: ", &port, "\r\n"]);
        }
        Self {
            lines: lines.into(),
            peer: peer.len,
            // At most five digits.
            port: u8::try_from(port.len()).unwrap_or(0),
        }
    }

    /// The lines.
    pub fn as_bytes(&self) -> &[u8] {
        self.lines.as_bytes()
    }

    /// The peer's address.
    pub fn peer(&self) -> &str {
        let start = Self::START.len();
        self.lines
            .get(start..start + usize::from(self.peer))
            .unwrap_or_default()
    }

    /// The local port; empty if there is none.
    pub fn port(&self) -> &str {
        let end = self.lines.len() - 2;
        self.lines
            .get(end - usize::from(self.port)..end)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_fits() {
        for text in ["1.2.3.4", "::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] {
            assert_eq!(IpText::new(text.parse().unwrap()).as_str(), text);
        }
    }

    #[test]
    fn lines_and_the_values_in_them() {
        let lines = PeerLines::new("2001:db8::1".parse().unwrap(), "https", 8443);
        let expected =
            "x-forwarded-for: 2001:db8::1\r\nx-forwarded-proto: https\r\nx-forwarded-port: 8443\r\n";
        assert_eq!(lines.as_bytes(), expected.as_bytes());
        assert_eq!((lines.peer(), lines.port()), ("2001:db8::1", "8443"));
        let none = PeerLines::new("127.0.0.1".parse().unwrap(), "http", 0);
        assert_eq!((none.peer(), none.port()), ("127.0.0.1", ""));
        assert!(none.as_bytes().ends_with(b"x-forwarded-proto: http\r\n"));
    }
}
