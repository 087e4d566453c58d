//! Looks at the frames that the library sends, for what it refuses by itself: it says so to nobody else.

use super::HEADER;

const RST_STREAM: u8 = 3;
/// `PROTOCOL_ERROR` and `REFUSED_STREAM` (RFC 9113 7).
const MALFORMED: u8 = 1;
const REFUSED: u8 = 7;

/// What was refused.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusals {
    /// Requests that are malformed.
    pub malformed: u64,
    /// Requests beyond the number there may be at a time.
    pub refused: u64,
}

/// Where in the stream of frames we are.
#[derive(Default)]
pub(super) struct Outward {
    skip: usize,
    header: [u8; HEADER],
    have: usize,
    /// Bytes still to come of the error code of a reset; its last byte tells.
    code: usize,
    pub seen: Refusals,
}

impl Outward {
    /// Looks at what is being sent.
    pub fn look(&mut self, mut bytes: &[u8]) {
        while let Some(&first) = bytes.first() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            bytes = bytes.get(1..).unwrap_or_default();
            if self.code > 0 {
                self.code -= 1;
                if self.code == 0 {
                    self.seen.malformed += u64::from(first == MALFORMED);
                    self.seen.refused += u64::from(first == REFUSED);
                }
                continue;
            }
            // `have` is below the length of a header.
            self.header[self.have] = first;
            self.have += 1;
            if self.have == HEADER {
                self.have = 0;
                let [_, _, _, kind, ..] = self.header;
                let length = super::length(&self.header);
                if kind == RST_STREAM {
                    self.code = length;
                } else {
                    self.skip = length;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_counted_however_they_are_written() {
        let frame = |kind: u8, payload: &[u8]| {
            let length = u8::try_from(payload.len()).unwrap();
            [&[0, 0, length, kind, 0, 0, 0, 0, 1], payload].concat()
        };
        let frames = [
            frame(0, b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x07"),
            frame(3, &[0, 0, 0, 1]),
            frame(3, &[0, 0, 0, 7]),
            frame(3, &[0, 0, 0, 8]),
            frame(4, &[]),
            frame(3, &[0, 0, 0, 1]),
        ]
        .concat();
        for step in 1..=frames.len() {
            let mut outward = Outward::default();
            frames.chunks(step).for_each(|part| outward.look(part));
            assert_eq!(
                outward.seen,
                Refusals {
                    malformed: 2,
                    refused: 1
                },
                "in steps of {step}"
            );
        }
    }
}
