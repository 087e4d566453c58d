//! Classes of bytes the grammar of RFC 9110 and RFC 9112 is made of, as one table of bits.
//!
//! One table and one test each: a byte's class is the same for the parser, for edits and for the encoder, so that
//! nothing can be written that would not be read back.

use std::borrow::Cow;

/// A byte of a token (RFC 9110 5.6.2): methods, field names.
const TOKEN: u8 = 1;
/// A byte that may stand in a field value or a reason: all but controls, HTAB apart (RFC 9110 5.5).
const TEXT: u8 = 2;
/// A byte that may stand in a path; `?` is none.
const PATH: u8 = 4;
/// A byte that may stand in a query.
const QUERY: u8 = 8;
/// A byte of a host name: the unreserved characters (RFC 3986 2.3).
const HOST: u8 = 16;

const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0u8;
    loop {
        let mut class = 0;
        if byte.is_ascii_alphanumeric() {
            class |= TOKEN | HOST;
        }
        if matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        ) {
            class |= TOKEN;
        }
        if matches!(byte, b'-' | b'.' | b'_' | b'~') {
            class |= HOST;
        }
        if byte == b'\t' || !byte.is_ascii_control() {
            class |= TEXT;
        }
        // A fragment never belongs in a request, and `\` is a slash to some servers and not to others.
        if byte.is_ascii_graphic() && byte != b'#' && byte != b'\\' {
            class |= QUERY;
            if byte != b'?' {
                class |= PATH;
            }
        }
        table[byte as usize] = class;
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().all(|&byte| CLASSES[usize::from(byte)] & class != 0)
}

/// Whether the bytes are a token: one or more token bytes.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TOKEN)
}

/// Whether every byte may stand in a field value.
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    all(bytes, TEXT)
}

/// Whether every byte may stand in a request target.
pub(crate) fn is_target(bytes: &[u8]) -> bool {
    all(bytes, QUERY)
}

/// Whether the bytes are a host name: one or more unreserved characters.
pub(crate) fn is_host_name(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, HOST)
}

/// Takes spaces and tabs off both ends (RFC 9110 5.6.3).
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// A field value as it may be written: trimmed, and control bytes as spaces, so that it can never end its line
/// (RFC 9110 5.5).
pub(crate) fn clean(value: &[u8]) -> Cow<'_, [u8]> {
    if is_text(value) {
        return Cow::Borrowed(trim(value));
    }
    let spaced: Vec<u8> = value
        .iter()
        .map(|&byte| if all(&[byte], TEXT) { byte } else { b' ' })
        .collect();
    Cow::Owned(trim(&spaced).to_vec())
}

/// A path or query as it may be written: what may not stand there percent-encoded, so that it can never end the request
/// line.
pub(crate) fn target_part(part: &str, in_query: bool) -> Cow<'_, str> {
    let class = if in_query { QUERY } else { PATH };
    let bytes = part.as_bytes();
    if all(bytes, class) && (in_query || has_whole_percents(bytes)) {
        return Cow::Borrowed(part);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    for (at, &byte) in bytes.iter().enumerate() {
        if all(&[byte], class) && (in_query || byte != b'%' || is_percent_triplet(&bytes[at..])) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(hex_digit(byte >> 4));
            out.push(hex_digit(byte & 15));
        }
    }
    Cow::Owned(out)
}

/// Whether every `%` is followed by two hexadecimal digits (RFC 3986 2.1).
pub(crate) fn has_whole_percents(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'%', bytes).all(|at| is_percent_triplet(&bytes[at..]))
}

fn is_percent_triplet(bytes: &[u8]) -> bool {
    matches!(bytes, [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}

/// The upper-case hexadecimal digit of a value below 16.
fn hex_digit(value: u8) -> char {
    char::from(if value < 10 {
        b'0' + value
    } else {
        b'A' + value - 10
    })
}

/// The value of a hexadecimal digit.
pub(crate) fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_the_grammar() {
        assert!(is_token(b"X-Trace_1!#$%&'*+.^`|~"));
        for bad in [&b""[..], b"a b", b"a:", b"(", b"a\x80", b"\x00", b"\"", b"a/b"] {
            assert!(!is_token(bad), "{bad:?}");
        }
        assert!(is_text(b"a\tb \xff"));
        for bad in 0..=0x1fu8 {
            assert_eq!(is_text(&[bad]), bad == b'\t');
        }
        assert!(!is_text(b"\x7f"));
        assert!(is_target(b"/a%20b{|}\"<>^`?b=/"));
        for bad in [&b" "[..], b"#", b"\\", b"\x7f", b"\x80", b"\t"] {
            assert!(!is_target(bad), "{bad:?}");
        }
        assert!(
            is_host_name(b"a-b.c_d~1")
                && !is_host_name(b"a,b")
                && !is_host_name(b"a%20")
                && !is_host_name(b"")
        );
    }

    #[test]
    fn a_cleaned_value_cannot_end_its_line() {
        assert_eq!(clean(b" a\r\nx: y\0 ").as_ref(), b"a  x: y");
        assert_eq!(clean(b"\ta\tb \xff").as_ref(), b"a\tb \xff");
        assert_eq!(clean(b" \r\n\t ").as_ref(), b"");
    }

    #[test]
    fn a_target_part_cannot_end_the_request_line() {
        assert_eq!(target_part("/a b?\r\nü%", false), "/a%20b%3F%0D%0A%C3%BC%25");
        assert_eq!(target_part("a=b?%c#", true), "a=b?%c%23");
        assert!(matches!(target_part("/a%20b", false), Cow::Borrowed(_)));
    }
}
