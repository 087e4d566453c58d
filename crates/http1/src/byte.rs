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

/// `_` itself.
const UNDERSCORE: u8 = 32;

/// Eight bytes of one, and eight bytes with the highest bit set.
const ONES: u64 = u64::MAX / 255;
const HIGHS: u64 = ONES * 0x80;

const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0u8;
    loop {
        let mut class = 0;
        if byte.is_ascii_alphanumeric() {
            class |= TOKEN | HOST;
        }
        if matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~') {
            class |= TOKEN;
        }
        if matches!(byte, b'-' | b'.' | b'_' | b'~') {
            class |= HOST;
        }
        if byte == b'_' {
            class |= UNDERSCORE;
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
    token(bytes).is_some()
}

/// How many token bytes the bytes begin with.
pub(crate) fn token_len(bytes: &[u8]) -> usize {
    prefix_len(bytes, TOKEN)
}

/// How many bytes that may stand in a request target the bytes begin with.
pub(crate) fn target_len(bytes: &[u8]) -> usize {
    prefix_len(bytes, QUERY)
}

/// Whether every byte may stand in a request target; written so that the compiler looks at many at once.
pub(crate) fn is_target(bytes: &[u8]) -> bool {
    let bad = |byte: u8| !(b'!'..=b'~').contains(&byte) || byte == b'#' || byte == b'\\';
    !bytes.iter().fold(false, |any, &byte| any | bad(byte))
}

fn prefix_len(bytes: &[u8], class: u8) -> usize {
    bytes
        .iter()
        .position(|&byte| CLASSES[usize::from(byte)] & class == 0)
        .unwrap_or(bytes.len())
}

/// How many bytes that may stand in a field value the bytes begin with. Eight at a time: values are most of a head.
pub(crate) fn text_len(bytes: &[u8]) -> usize {
    let (eights, rest) = bytes.as_chunks();
    for (nth, eight) in eights.iter().enumerate() {
        let mut controls = controls(u64::from_le_bytes(*eight));
        while controls != 0 {
            let place = controls.trailing_zeros() as usize / 8;
            // HTAB is fine, and so may be a byte above another control byte.
            if CLASSES[usize::from(eight[place])] & TEXT == 0 {
                return nth * 8 + place;
            }
            controls &= controls - 1;
        }
    }
    eights.len() * 8 + prefix_len(rest, TEXT)
}

/// Whether every byte may stand in a field value.
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    text_len(bytes) == bytes.len()
}

/// The highest bit of the lowest control byte among eight, HTAB too, and perhaps of higher bytes; zero if there is
/// none.
fn controls(eight: u64) -> u64 {
    // Subtracting sets the highest bit of bytes that are too small, and borrows from higher bytes only.
    let below_space = eight.wrapping_sub(ONES * 0x20) & !eight;
    let delete = eight ^ (ONES * 0x7f);
    let is_delete = delete.wrapping_sub(ONES) & !delete;
    (below_space | is_delete) & HIGHS
}

/// Where the first byte of this value is. For the short pieces of a head: a call to `memchr` costs more than it saves.
#[inline]
pub(crate) fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    let wanted = ONES * u64::from(byte);
    let (eights, rest) = bytes.as_chunks();
    for (nth, eight) in eights.iter().enumerate() {
        let differing = u64::from_le_bytes(*eight) ^ wanted;
        // As in `controls`: the lowest highest bit is the first zero byte's.
        let equal = differing.wrapping_sub(ONES) & !differing & HIGHS;
        if equal != 0 {
            return Some(nth * 8 + equal.trailing_zeros() as usize / 8);
        }
    }
    rest.iter()
        .position(|&other| other == byte)
        .map(|place| eights.len() * 8 + place)
}

/// Whether the bytes are a token, and whether it contains `_`.
pub(crate) const fn token(bytes: &[u8]) -> Option<bool> {
    let (mut common, mut any) = (TOKEN, 0);
    let mut rest = bytes;
    while let [byte, after @ ..] = rest {
        let class = CLASSES[*byte as usize];
        common &= class;
        any |= class;
        rest = after;
    }
    if common != 0 && !bytes.is_empty() {
        Some(any & UNDERSCORE != 0)
    } else {
        None
    }
}

/// How many bytes of a host name the bytes begin with.
pub(crate) fn host_len(bytes: &[u8]) -> usize {
    prefix_len(bytes, HOST)
}

/// Takes spaces and tabs off both ends (RFC 9110 5.6.3).
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    trim_end(bytes)
}

/// Takes spaces and tabs off the end.
pub(crate) fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The elements of a comma-separated list, trimmed, without empty ones (RFC 9110 5.6.1).
pub(crate) fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',')
        .map(trim)
        .filter(|element| !element.is_empty())
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
    let is_good = if in_query {
        is_target(bytes)
    } else {
        all(bytes, class) && has_whole_percents(bytes)
    };
    if is_good {
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
    find(b'%', bytes).is_none_or(|first| {
        memchr::memchr_iter(b'%', &bytes[first..]).all(|at| is_percent_triplet(&bytes[first + at..]))
    })
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
mod tests;
