//! CRC-32C (Castagnoli, RFC 3720 appendix B.4), a byte at a time: headers are short and rarely carry one.

/// The polynomial with its bits reversed.
const POLYNOMIAL: u32 = 0x82F6_3B78;

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index: u8 = 0;
    loop {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                (value >> 1) ^ POLYNOMIAL
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[index as usize] = value;
        match index.checked_add(1) {
            Some(next) => index = next,
            None => return table,
        }
    }
}

/// The checksum of the parts, one after the other.
pub(super) fn of(parts: [&[u8]; 3]) -> u32 {
    let bytes = parts.into_iter().flatten();
    !bytes.fold(u32::MAX, |sum, &byte| {
        // The index is one byte, the table has 256 entries.
        TABLE[((sum ^ u32::from(byte)) & 0xFF) as usize] ^ (sum >> 8)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn agrees_with_the_published_check_values() {
        assert_eq!(super::of([b"123456789", b"", b""]), 0xE306_9283);
        assert_eq!(super::of([b"1234", b"", b"56789"]), 0xE306_9283);
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(super::of([&[0; 16], &[0; 16], b""]), 0x8A91_36AA);
    }
}
