//! The form of keys that the gateway makes: a prefix, 30 random characters, and a checksum of both in 6.
//!
//! The checksum keeps nothing secret. It tells a mistyped or invented key from a real one without a look at the
//! known ones, and lets scanners of source code find lost keys without false alarms.

use aws_lc_rs::rand;

/// Random characters of a key: 178 bits.
const RANDOM: usize = 30;
/// Characters of the checksum; 62^6 is more than 2^32.
const CHECKSUM: usize = 6;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Longest prefix.
pub const LONGEST_PREFIX: usize = 32;

/// Whether this can be the prefix of keys: letters, digits and `_`, at most [`LONGEST_PREFIX`] of them.
pub fn is_prefix(prefix: &str) -> bool {
    let is_legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !prefix.is_empty() && prefix.len() <= LONGEST_PREFIX && prefix.bytes().all(is_legal)
}

/// A new key of this prefix.
///
/// # Errors
/// When the system has no randomness to give.
pub fn generate(prefix: &str) -> Result<String, &'static str> {
    let mut key = format!("{prefix}_");
    let whole = key.len() + RANDOM;
    let mut bytes = [0; RANDOM];
    while key.len() < whole {
        rand::fill(&mut bytes).map_err(|_| "the system has no randomness")?;
        let missing = whole - key.len();
        // Only 248 of the 256 values are spread evenly over 62 digits.
        let even = bytes.iter().filter(|byte| **byte < 248);
        key.extend(even.take(missing).map(|byte| char::from(digit(u32::from(*byte)))));
    }
    let sum = checksum(key.as_bytes());
    key.extend(sum.map(char::from));
    Ok(key)
}

/// Whether a key has this prefix, the right length and the right checksum.
pub fn is_sound(key: &[u8], prefix: &str) -> bool {
    let Some(at) = key.len().checked_sub(CHECKSUM) else {
        return false;
    };
    let (front, sum) = key.split_at(at);
    let random = front
        .strip_prefix(prefix.as_bytes())
        .and_then(|rest| rest.strip_prefix(b"_"));
    random.is_some_and(|random| random.len() == RANDOM) && checksum(front) == *sum
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let mut left = crc32(bytes);
    let mut out = [b'0'; CHECKSUM];
    for place in out.iter_mut().rev() {
        *place = digit(left);
        left /= 62;
    }
    out
}

/// The last digit of a number to the base of 62.
fn digit(number: u32) -> u8 {
    // The remainder is below their number.
    DIGITS[(number % 62) as usize]
}

/// The CRC-32 of Ethernet and zip.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        // The index is below 256.
        TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ crc >> 8
    })
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0_u32;
    while i < 256 {
        let mut value = i;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                value >> 1 ^ 0xedb8_8320
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[i as usize] = value;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn what_is_made_is_sound_and_nothing_near_it() {
        let key = generate("sk_live").unwrap();
        assert_eq!(key.len(), "sk_live_".len() + 36);
        assert!(is_sound(key.as_bytes(), "sk_live"), "{key}");
        assert!(!is_sound(key.as_bytes(), "sk_test") && !is_sound(key.as_bytes(), "sk"));
        for at in 0..key.len() {
            let mut other = key.clone().into_bytes();
            other[at] ^= 1;
            assert!(!is_sound(&other, "sk_live"), "{key} at {at}");
            assert!(!is_sound(&key.as_bytes()[..at], "sk_live"));
        }
        assert_ne!(key, generate("sk_live").unwrap());
    }

    #[test]
    fn prefixes_are_plain() {
        for good in ["sk_live", "K", "a1", &"x".repeat(32)] {
            assert!(is_prefix(good), "{good}");
        }
        for bad in ["", "a-b", "ä", "a b", &"x".repeat(33)] {
            assert!(!is_prefix(bad), "{bad}");
        }
    }
}
