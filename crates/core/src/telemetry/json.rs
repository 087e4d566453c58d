//! Hand-written JSON for the lines and bodies the gateway writes itself: strings, integers, milliseconds.
//!
//! No values, no parser: whoever writes knows the shape. Bytes that are not UTF-8 become U+FFFD, so the
//! output is always valid JSON whatever a client sent.
#![allow(
    clippy::cast_possible_truncation,
    reason = "digits and bytes: each cast is of a value just bounded"
)]

/// Appends `text` as a JSON string with quotes.
pub fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    escaped(out, text);
    out.push(b'"');
}

/// Appends `text` as a JSON string with quotes, cut to at most `max` bytes of input at a character's edge.
/// A cut string ends in `...`, so that a reader can tell.
pub fn string_up_to(out: &mut Vec<u8>, text: &[u8], max: usize) {
    let Some(kept) = text.get(..max).filter(|kept| kept.len() < text.len()) else {
        return string(out, text);
    };
    out.push(b'"');
    escaped(out, whole_characters(kept));
    out.extend_from_slice(b"...\"");
}

/// Appends a decimal integer.
pub fn integer(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    while n >= 100 {
        let pair = (n % 100) as usize;
        n /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair]);
    }
    // At most 18 digits were written above (u64::MAX has 20), so two places are left.
    if n >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[n as usize]);
    } else {
        at -= 1;
        digits[at] = b'0' + n as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends nanoseconds as milliseconds with three decimals, rounded down: `1234567` is `1.234`.
pub fn milliseconds(out: &mut Vec<u8>, nanoseconds: u64) {
    let microseconds = nanoseconds / 1_000;
    integer(out, microseconds / 1_000);
    out.push(b'.');
    out.extend_from_slice(&three_digits((microseconds % 1_000) as u32));
}

/// The three digits of a number below 1000.
pub(crate) fn three_digits(n: u32) -> [u8; 3] {
    let n = n % 1_000;
    let [tens, ones] = PAIRS[(n % 100) as usize];
    [b'0' + (n / 100) as u8, tens, ones]
}

/// `00` to `99`, so that two digits cost one division.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut i = 0;
    while i < 100 {
        pairs[i] = [b'0' + (i / 10) as u8, b'0' + (i % 10) as u8];
        i += 1;
    }
    pairs
};

/// For each byte: 0 if it stands for itself, `u` for \u00XX, `8` if it may be part of UTF-8, else the
/// letter after the backslash (RFC 8259 section 7).
const ESCAPE: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = match i as u8 {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            // DEL is legal in JSON but moves cursors in terminals.
            0x00..=0x1f | 0x7f => b'u',
            0x80..=0xff => b'8',
            _ => 0,
        };
        i += 1;
    }
    table
};

fn escaped(out: &mut Vec<u8>, text: &[u8]) {
    // Nearly all text is plain ASCII: one look, one copy.
    if is_plain(text) {
        out.extend_from_slice(text);
    } else {
        escaped_slowly(out, text);
    }
}

/// Whether every byte stands for itself. Without leaving early, so that long texts are looked at in vectors.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk() else {
        return text.iter().all(|&b| ESCAPE[b as usize] == 0);
    };
    let (words, _) = text.as_chunks();
    let all = words
        .iter()
        .fold(special(*last), |found, word| found | special(*word));
    all & (EACH * 0x80) == 0
}

const EACH: u64 = u64::MAX / 255;

/// Of eight bytes, the top bit of one at least is set if and only if one of them needs more than a copy.
///
/// A byte's top bit is set by subtracting more than the byte holds. Such a byte takes from its neighbour, but
/// then there is one already; and bytes whose top bit was set before need more than a copy anyway.
#[inline]
fn special(word: [u8; 8]) -> u64 {
    let word = u64::from_le_bytes(word);
    let is = |byte: u8| (word ^ (EACH * u64::from(byte))).wrapping_sub(EACH);
    word | word.wrapping_sub(EACH * 0x20) | is(b'"') | is(b'\\') | is(0x7f)
}

#[cold]
fn escaped_slowly(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            escape_char(out, c);
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn escape_char(out: &mut Vec<u8>, c: char) {
    let code = c as u32;
    let escape = ESCAPE.get(code as usize).copied().unwrap_or(b'8');
    match escape {
        0 => out.push(code as u8),
        // C1 controls, and the separators that end a line for some readers of line-based logs.
        b'8' if (0x80..0xa0).contains(&code) || code == 0x2028 || code == 0x2029 => unicode(out, code),
        b'8' => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        b'u' => unicode(out, code),
        letter => out.extend_from_slice(&[b'\\', letter]),
    }
}

/// Appends an escape of four hexadecimal digits; `code` is below 0x10000.
fn unicode(out: &mut Vec<u8>, code: u32) {
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        let digit = (code >> shift) as u8 & 0xf;
        out.push(if digit < 10 {
            b'0' + digit
        } else {
            b'a' + digit - 10
        });
    }
}

/// Without the start of a UTF-8 sequence that was cut off at the end.
fn whole_characters(text: &[u8]) -> &[u8] {
    for back in 1..=3.min(text.len()) {
        let at = text.len() - back;
        let byte = text[at];
        let needs = match byte {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
            0x80..=0xbf => continue,
            _ => return text,
        };
        return if needs > back { &text[..at] } else { text };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("always UTF-8")
    }

    #[test]
    fn integers() {
        for n in [
            0,
            1,
            9,
            10,
            99,
            100,
            101,
            999,
            1000,
            12_345,
            99_999_999,
            u64::MAX - 1,
            u64::MAX,
        ] {
            assert_eq!(with(|out| integer(out, n)), n.to_string());
        }
    }

    #[test]
    fn milliseconds_have_three_decimals() {
        for (ns, text) in [
            (0, "0.000"),
            (999, "0.000"),
            (1_000, "0.001"),
            (1_234_567, "1.234"),
        ] {
            assert_eq!(with(|out| milliseconds(out, ns)), text);
        }
        assert_eq!(with(|out| milliseconds(out, 60_000_050_000)), "60000.050");
    }

    #[test]
    fn strings_come_back_as_they_were() {
        let all: String = (0..0x300)
            .chain([0x2028, 0x2029, 0x1f600])
            .filter_map(char::from_u32)
            .collect();
        let text = with(|out| string(out, all.as_bytes()));
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), all);
        assert!(
            !text.bytes().any(|b| b < 0x20 || b == 0x7f),
            "no control byte gets through"
        );
    }

    #[test]
    fn the_quick_look_sees_what_the_slow_one_does() {
        for special in 0..=255_u8 {
            for at in 0..17 {
                let mut text = *b"abcdefghijklmnopq";
                text[at] = special;
                for length in at..=17 {
                    let text = &text[..length];
                    let slow = text.iter().all(|&b| ESCAPE[b as usize] == 0);
                    assert_eq!(is_plain(text), slow, "{special} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_utf8_is_replaced() {
        assert_eq!(
            with(|out| string(out, b"a\xffb\xe2\x82")),
            "\"a\u{fffd}b\u{fffd}\""
        );
    }

    #[test]
    fn long_strings_are_cut_between_characters() {
        let cases: [(&str, usize, &str); 5] = [
            ("abcdef", 6, "\"abcdef\""),
            ("abcdefg", 6, "\"abcdef...\""),
            ("abcde\u{e9}", 6, "\"abcde...\""),
            ("ab\u{1f600}c", 5, "\"ab...\""),
            ("ab\u{1f600}c", 6, "\"ab\u{1f600}...\""),
        ];
        for (text, max, expected) in cases {
            assert_eq!(with(|out| string_up_to(out, text.as_bytes(), max)), expected);
        }
    }
}
