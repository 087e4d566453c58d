//! The fixed code for strings (RFC 7541 5.2 and Appendix B).
//!
//! The code is canonical: codes of one length are consecutive numbers in the order of their symbols, so the lengths say
//! everything and the compiler makes all tables from them. Symbols of up to eight bits, which are nearly all that heads
//! have, take one look into a table; others are found by their length.

/// Bits of the code of each byte, and of the end, which never stands in a string.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
const SYMBOLS: usize = 257;
/// The symbol that ends a string.
const END: u16 = 256;
const LONGEST: usize = 30;
/// Bits that one look into [`SHORT`] decides.
const LOOK: u32 = 8;

/// The code of each symbol.
const CODES: [u32; SYMBOLS] = codes();
/// For each byte that code bits may begin with: a symbol of up to eight bits, and its length; zero if it is longer.
static SHORT: [(u8, u8); 256] = short();
/// For each length: the first code, the place of its symbol in [`SORTED`], and how many there are.
static BY_LENGTH: [(u32, u16, u16); LONGEST + 1] = by_length();
/// Symbols by the length of their codes.
static SORTED: [u16; SYMBOLS] = sorted();

const fn sorted() -> [u16; SYMBOLS] {
    let mut sorted = [0; SYMBOLS];
    let (mut length, mut place) = (0, 0);
    while length <= LONGEST {
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                sorted[place] = symbol as u16;
                place += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    sorted
}

const fn codes() -> [u32; SYMBOLS] {
    let sorted = sorted();
    let mut codes = [0; SYMBOLS];
    let mut place = 1;
    while place < SYMBOLS {
        let (before, symbol) = (sorted[place - 1] as usize, sorted[place] as usize);
        codes[symbol] = (codes[before] + 1) << (LENGTHS[symbol] - LENGTHS[before]);
        place += 1;
    }
    codes
}

const fn by_length() -> [(u32, u16, u16); LONGEST + 1] {
    let sorted = sorted();
    let mut table = [(0, 0, 0); LONGEST + 1];
    let mut place = 0;
    while place < SYMBOLS {
        let symbol = sorted[place] as usize;
        let entry = &mut table[LENGTHS[symbol] as usize];
        if entry.2 == 0 {
            *entry = (CODES[symbol], place as u16, 0);
        }
        entry.2 += 1;
        place += 1;
    }
    table
}

const fn short() -> [(u8, u8); 256] {
    let mut table = [(0, 0); 256];
    let mut symbol = 0;
    while symbol < 256 {
        let length = LENGTHS[symbol] as u32;
        if length <= LOOK {
            let mut tail = 0;
            while tail < 1 << (LOOK - length) {
                table[((CODES[symbol] << (LOOK - length)) + tail) as usize] = (symbol as u8, length as u8);
                tail += 1;
            }
        }
        symbol += 1;
    }
    table
}

/// Appends what `bytes` stand for. False if they stand for nothing: the end within, or padding that is none.
pub(super) fn decode(mut bytes: &[u8], out: &mut Vec<u8>) -> bool {
    out.reserve(bytes.len() * 8 / 5 + 1);
    // The next bits from the highest down, and how many of them there are.
    let (mut bits, mut have) = (0_u64, 0_u32);
    loop {
        if have < 32 {
            if let Some((four, rest)) = bytes.split_first_chunk() {
                bits |= u64::from(u32::from_be_bytes(*four)) << (32 - have);
                have += 32;
                bytes = rest;
            } else {
                for byte in std::mem::take(&mut bytes) {
                    bits |= u64::from(*byte) << (56 - have);
                    have += 8;
                }
            }
        }
        let (symbol, length) = match SHORT[(bits >> 56) as usize] {
            (_, 0) => match long(bits) {
                Some((symbol, length)) => (symbol, length),
                // Not even a long code: the end itself, or padding.
                None => (END, u32::MAX),
            },
            (symbol, length) => (u16::from(symbol), u32::from(length)),
        };
        if length > have {
            // Less than a byte of ones (RFC 7541 5.2).
            return have < 8 && bits == !(u64::MAX.checked_shr(have).unwrap_or(0));
        }
        let Ok(byte) = u8::try_from(symbol) else {
            return false;
        };
        out.push(byte);
        bits <<= length;
        have -= length;
    }
}

/// The symbol of more than eight bits that the bits begin with, and its length.
fn long(bits: u64) -> Option<(u16, u32)> {
    for (length, &(first, place, count)) in BY_LENGTH.iter().enumerate().skip(LOOK as usize + 1) {
        let code = (bits >> (64 - length)) as u32;
        if let Some(nth) = code.checked_sub(first)
            && nth < u32::from(count)
        {
            // Places are below the number of symbols.
            return Some((SORTED[usize::from(place) + nth as usize], length as u32));
        }
    }
    None
}

/// Bytes that `bytes` take when encoded.
pub(super) fn encoded_len(bytes: &[u8]) -> usize {
    let bits: usize = bytes
        .iter()
        .map(|byte| usize::from(LENGTHS[usize::from(*byte)]))
        .sum();
    bits.div_ceil(8)
}

/// Appends the code of `bytes`.
pub(super) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut have) = (0_u64, 0_u32);
    for byte in bytes {
        let length = u32::from(LENGTHS[usize::from(*byte)]);
        bits = bits << length | u64::from(CODES[usize::from(*byte)]);
        have += length;
        while have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    if have > 0 {
        out.push((bits << (8 - have)) as u8 | 0xff >> have);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_appendix() {
        for (symbol, code, length) in [
            (b'0' as usize, 0x0, 5),
            (b' ' as usize, 0x14, 6),
            (b':' as usize, 0x5c, 7),
            (b'&' as usize, 0xf8, 8),
            (b'!' as usize, 0x3f8, 10),
            (b'#' as usize, 0xffa, 12),
            (0, 0x1ff8, 13),
            (10, 0x3fff_fffc, 30),
            (128, 0xf_ffe6, 20),
            (255, 0x3ff_ffee, 26),
            (256, 0x3fff_ffff, 30),
        ] {
            assert_eq!((CODES[symbol], LENGTHS[symbol]), (code, length), "{symbol}");
        }
    }

    #[test]
    fn every_byte_comes_back_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for before in 0..8 {
                let text = [vec![b'0'; before], vec![byte, b'z', byte]].concat();
                let (mut code, mut back) = (Vec::new(), Vec::new());
                encode(&text, &mut code);
                assert_eq!(code.len(), encoded_len(&text));
                assert!(decode(&code, &mut back));
                assert_eq!(back, text);
            }
        }
    }

    #[test]
    fn padding_is_less_than_a_byte_of_ones() {
        let decoded = |bytes: &[u8]| {
            let mut out = Vec::new();
            decode(bytes, &mut out).then_some(out)
        };
        assert_eq!(decoded(b""), Some(vec![]));
        assert_eq!(decoded(&[0x07]), Some(vec![b'0']));
        // A zero in it, a byte too many, the end itself, and half a code.
        for bad in [
            &[0x06][..],
            &[0x07, 0xff],
            &[0xff],
            &[0xff; 4],
            &[0xff, 0xff, 0xff, 0xfc],
        ] {
            assert_eq!(decoded(bad), None, "{bad:?}");
        }
    }
}
