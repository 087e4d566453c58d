//! The pieces that heads are made of, taken from the front of what has arrived (RFC 9112 2 to 5).
//!
//! Each function looks at the bytes at hand once and gives `Ok(None)` if it needs more, so that a head is refused at
//! its first bad byte and not only once it is complete.

use super::{HeadError, Version};
use crate::byte;
use crate::known::Known;

/// A method with the space after it: its length without.
pub(crate) fn method(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    let len = byte::token_len(bytes);
    if len > super::method::LONGEST {
        return Err(HeadError::Malformed("the method is longer than 64 bytes"));
    }
    match bytes.get(len) {
        Some(b' ') if len > 0 => Ok(Some(len)),
        Some(_) => Err(HeadError::Malformed("the method is no token")),
        None => Ok(None),
    }
}

/// A target with the space after it: its length without.
pub(crate) fn target(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    if let Some(len) = byte::find(b' ', bytes)
        && len > 0
        && byte::is_target(&bytes[..len])
    {
        return Ok(Some(len));
    }
    let len = byte::target_len(bytes);
    Err(HeadError::Malformed(match bytes.get(len) {
        None => return Ok(None),
        Some(b'\r' | b'\n') if len > 0 => "the request line has no HTTP version",
        Some(b' ') => "the request line has a space too many",
        Some(_) => "the target contains a byte that no URI has",
    }))
}

/// The eight bytes of a version (RFC 9112 2.3).
pub(crate) fn version(bytes: &[u8]) -> Result<Option<Version>, HeadError> {
    let malformed = Err(HeadError::Malformed("the HTTP version is malformed"));
    match bytes.first_chunk() {
        Some(b"HTTP/1.1") => Ok(Some(Version::Http11)),
        Some(b"HTTP/1.0") => Ok(Some(Version::Http10)),
        _ if !begins_a_version(bytes) => malformed,
        _ => match bytes.get(8) {
            None => Ok(None),
            Some(b' ' | b'\r') => Err(HeadError::UnsupportedVersion),
            Some(_) => malformed,
        },
    }
}

/// Whether the bytes begin as `HTTP/`, a digit but zero, a dot and a digit do, as far as they go.
fn begins_a_version(bytes: &[u8]) -> bool {
    bytes.iter().zip(b"HTTP/1.0").all(|(byte, model)| match model {
        b'1' => (b'1'..=b'9').contains(byte),
        b'0' => byte.is_ascii_digit(),
        _ => byte == model,
    })
}

/// The CR LF that ends a line.
pub(crate) fn end(bytes: &[u8]) -> Result<Option<()>, HeadError> {
    match bytes {
        [b'\r', b'\n', ..] => Ok(Some(())),
        [] | [b'\r'] => Ok(None),
        [b'\r', ..] => Err(HeadError::Malformed("a lone CR")),
        [b'\n', ..] => Err(HeadError::Malformed(super::LONE_LF)),
        [b' ' | b'\t', ..] => Err(HeadError::Malformed("the start line goes on after its end")),
        _ => Err(HeadError::Malformed(
            "a control byte, or a byte where the line should end",
        )),
    }
}

/// A field line (RFC 9112 5) in positions from the beginning of the bytes.
pub(crate) struct FieldLine {
    pub(crate) known: Option<Known>,
    /// The name contains `_`.
    pub(crate) underscore: bool,
    pub(crate) name_len: usize,
    pub(crate) value: usize,
    pub(crate) value_len: usize,
    /// The line's length with its CR LF.
    pub(crate) len: usize,
}

/// A field line: `name ":" OWS value OWS CR LF`, never folded.
pub(crate) fn field(bytes: &[u8]) -> Result<Option<FieldLine>, HeadError> {
    let Some(name_len) = byte::find(b':', bytes) else {
        return if byte::token_len(bytes) == bytes.len() {
            Ok(None)
        } else {
            Err(bad_name(bytes))
        };
    };
    let name = &bytes[..name_len];
    // A known name is a token without `_`.
    let known = Known::of(name);
    let underscore = match known {
        Some(_) => false,
        None => byte::token(name).ok_or_else(|| bad_name(bytes))?,
    };
    let after = &bytes[name_len + 1..];
    let value = name_len
        + 1
        + match after {
            // What nearly all senders write.
            [b' ', b'!'..=b'~', ..] => 1,
            _ => after
                .iter()
                .take_while(|&&byte| byte == b' ' || byte == b'\t')
                .count(),
        };
    // `value` is at most the number of bytes.
    let text = &bytes[value..];
    let text_len = byte::text_len(text);
    let Some(()) = end(&text[text_len..])? else {
        return Ok(None);
    };
    let value_len = byte::trim_end(&text[..text_len]).len();
    Ok(Some(FieldLine {
        known,
        underscore,
        name_len,
        value,
        value_len,
        len: value + text_len + 2,
    }))
}

/// What is wrong with a line that does not begin with a name and a colon.
fn bad_name(line: &[u8]) -> HeadError {
    let len = byte::token_len(line);
    HeadError::Malformed(match line.get(len) {
        // RFC 9112 5.1 and 5.2: whitespace before the colon and folded lines are read in several ways.
        Some(b' ' | b'\t') if len == 0 => "a field line is folded or begins with whitespace",
        Some(b' ' | b'\t') => "whitespace between a field name and its colon",
        Some(b'\r' | b'\n') => "a field line without a colon",
        _ => "a field name is no token",
    })
}
