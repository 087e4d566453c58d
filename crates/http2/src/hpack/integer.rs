//! Integers with a prefix (RFC 7541 5.1).

/// Bytes that may follow the prefix: numbers up to 2^28 and a little, which is more than any of use.
const MOST: usize = 4;

/// Reads a number whose first byte has `prefix` bits of it; takes it off `block`. None if it does not end, or is longer
/// than any number of use.
pub(super) fn read(block: &mut &[u8], prefix: u32) -> Option<usize> {
    let (&first, mut rest) = block.split_first()?;
    let full = (1_usize << prefix) - 1;
    let mut value = usize::from(first) & full;
    if value == full {
        for place in 0.. {
            let (&byte, after) = rest.split_first().filter(|_| place < MOST)?;
            rest = after;
            value += usize::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *block = rest;
    Some(value)
}

/// Writes a number behind the bits of `first`, which leave `prefix` bits of their byte.
pub(super) fn write(out: &mut Vec<u8>, first: u8, prefix: u32, value: usize) {
    let full = (1_usize << prefix) - 1;
    // The casts keep what was masked or compared just before.
    if value < full {
        return out.push(first | value as u8);
    }
    out.push(first | full as u8);
    let mut rest = value - full;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
