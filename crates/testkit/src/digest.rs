//! Large bodies without memory: made from a seed, compared by length and hash.

use std::hash::Hasher;

/// Length and hash of what went by.
#[derive(Clone, Default, Debug)]
pub struct Digest {
    hasher: std::hash::DefaultHasher,
    len: u64,
}

impl Digest {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn of(bytes: &[u8]) -> (u64, u64) {
        let mut digest = Self::new();
        digest.update(bytes);
        digest.value()
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        // Byte by byte would be right and slow; `write` on std's hasher does not depend on how the bytes are cut.
        self.hasher.write(bytes);
    }

    /// Length and hash.
    pub fn value(&self) -> (u64, u64) {
        (self.len, self.hasher.finish())
    }
}

/// Bytes that look random, the same for the same seed (xorshift), so that no misplaced run goes unnoticed.
#[derive(Clone, Debug)]
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn fill(&mut self, buffer: &mut [u8]) {
        for word in buffer.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_le_bytes()[..word.len()]);
        }
    }

    /// `len` bytes at once.
    pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        Self::new(seed).fill(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_does_not_depend_on_how_the_bytes_are_cut() {
        let bytes = Noise::bytes(1, 100_003);
        let mut cut = Digest::new();
        for piece in bytes.chunks(977) {
            cut.update(piece);
        }
        assert_eq!(Digest::of(&bytes), cut.value());
        assert_ne!(Digest::of(&bytes), Digest::of(&Noise::bytes(2, 100_003)));
    }
}
