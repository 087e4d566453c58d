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

/// A port as text; empty for 0.
#[derive(Clone, Copy, Default)]
pub struct PortText {
    bytes: [u8; 5],
    len: u8,
}

impl PortText {
    /// The decimal text of a port.
    pub fn new(port: u16) -> Self {
        let mut text = Self::default();
        if port != 0 {
            for (to, from) in text.bytes.iter_mut().zip(port.to_string().bytes()) {
                *to = from;
                text.len += 1;
            }
        }
        text
    }

    /// The text's bytes; all digits.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
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
}
