//! How long a message's body is (RFC 9112 6.3), decided once from the head.
//!
//! Anything that two parsers could measure differently is refused rather than resolved by precedence.

use crate::byte;
use crate::head::{HeadError, Version};
use crate::headers::Headers;
use crate::known::Known;

/// Where a body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// There is no body.
    None,
    /// This many bytes, zero included.
    Length(u64),
    /// The chunked coding (RFC 9112 7.1).
    Chunked,
    /// Until the sender closes the connection; responses only.
    UntilClose,
}

/// What the framing fields say, before the message's kind is considered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Declared {
    pub(crate) length: Option<u64>,
    pub(crate) chunked: bool,
}

/// Reads `Content-Length` and `Transfer-Encoding`. `repeated` is the set of names that occur more than once.
pub(crate) fn declared(headers: &Headers, version: Version, repeated: u64) -> Result<Declared, HeadError> {
    // RFC 9112 6.3 allows to merge equal lengths; a sender that repeats them is broken or attacking.
    if repeated & Known::ContentLength.bit() != 0 {
        return Err(HeadError::Malformed("Content-Length is repeated"));
    }
    if repeated & Known::TransferEncoding.bit() != 0 {
        return Err(HeadError::Malformed("Transfer-Encoding is repeated"));
    }
    let length = headers.get(Known::ContentLength);
    let coding = headers.get(Known::TransferEncoding);
    if let Some(coding) = coding {
        if length.is_some() {
            return Err(HeadError::Malformed(
                "Content-Length and Transfer-Encoding are both present",
            ));
        }
        // RFC 9112 6.1: HTTP/1.0 knows no transfer codings; the sender may not mean what it says.
        if version == Version::Http10 {
            return Err(HeadError::Malformed("Transfer-Encoding in an HTTP/1.0 message"));
        }
        if !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(HeadError::UnsupportedCoding);
        }
    }
    let length = match length {
        Some(value) => Some(decimal(value).ok_or(HeadError::Malformed("Content-Length is no number"))?),
        None => None,
    };
    Ok(Declared {
        length,
        chunked: coding.is_some(),
    })
}

/// Digits alone, at most twenty of them, that fit a `u64` (RFC 9110 8.6).
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    digits.iter().try_fold(0u64, |number, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Whether the connection may carry another message after this one (RFC 9112 9.3).
pub(crate) fn keep_alive(headers: &Headers, version: Version) -> bool {
    let mut keep = version == Version::Http11;
    for line in headers.all(Known::Connection) {
        // What most senders write; cheaper than looking for a list.
        if line == b"keep-alive" {
            keep = true;
            continue;
        }
        for option in byte::elements(line) {
            if option.eq_ignore_ascii_case(b"close") {
                return false;
            }
            keep |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    keep
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_digits_that_fit() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"0012"), Some(12));
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in [
            "",
            "18446744073709551616",
            "+1",
            "-1",
            "1 ",
            "1,1",
            "0x1",
            "1.0",
            "000000000000000000001",
        ] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn close_wins_over_keep_alive() {
        let cases: &[(Version, &[&str], bool)] = &[
            (Version::Http11, &[], true),
            (Version::Http10, &[], false),
            (Version::Http10, &["Keep-Alive"], true),
            (Version::Http11, &["upgrade, CLOSE"], false),
            (Version::Http11, &["keep-alive", "close"], false),
            (Version::Http10, &["close, keep-alive"], false),
            (Version::Http11, &["closed"], true),
        ];
        for (version, lines, expected) in cases {
            let mut headers = Headers::new();
            for line in *lines {
                headers.append(Known::Connection, line.as_bytes());
            }
            assert_eq!(keep_alive(&headers, *version), *expected, "{lines:?}");
        }
    }
}
