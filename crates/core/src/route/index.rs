//! A flat, read-mostly map from (scope, bytes) to a number: the children of tree nodes and the host names.
//!
//! Open addressing over one vector and one text buffer, so that ten thousand entries cost one probe like ten do.
//! The hash is not keyed: entries come from the configuration only, and a request can do no more than look up.

/// Finds a number by a scope and a byte string. Built once, then only read.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    slots: Vec<Slot>,
    text: Vec<u8>,
    used: usize,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    scope: u32,
    start: u32,
    len: u32,
    value: u32,
}

/// Marks a free slot; never a value.
const FREE: u32 = u32::MAX;

impl Index {
    /// Whether nothing is stored.
    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The number stored for `key` in `scope`.
    pub(super) fn get(&self, scope: u32, key: &[u8]) -> Option<u32> {
        if self.used == 0 {
            return None;
        }
        let hash = hash(scope, key);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            // `at` is masked by the length, a power of two; a free slot ends the loop since at most half are used.
            let slot = &self.slots[at];
            if slot.value == FREE {
                return None;
            }
            if slot.hash == hash && slot.scope == scope && self.key(slot) == key {
                return Some(slot.value);
            }
            at = (at + 1) & mask;
        }
    }

    /// Stores `value` for a key that is not there yet. `value` is below `u32::MAX`.
    pub(super) fn insert(&mut self, scope: u32, key: &[u8], value: u32) {
        debug_assert!(value != FREE, "the largest number marks free slots");
        if (self.used + 1) * 2 > self.slots.len() {
            self.grow();
        }
        let slot = Slot {
            hash: hash(scope, key),
            scope,
            start: narrow(self.text.len()),
            len: narrow(key.len()),
            value,
        };
        self.text.extend_from_slice(key);
        self.place(slot);
        self.used += 1;
    }

    fn key(&self, slot: &Slot) -> &[u8] {
        let start = slot.start as usize;
        // Written by `insert`, which appended exactly this range.
        &self.text[start..start + slot.len as usize]
    }

    fn grow(&mut self) {
        let free = Slot {
            hash: 0,
            scope: 0,
            start: 0,
            len: 0,
            value: FREE,
        };
        let size = (self.slots.len() * 2).max(8);
        let old = std::mem::replace(&mut self.slots, vec![free; size]);
        for slot in old.into_iter().filter(|slot| slot.value != FREE) {
            self.place(slot);
        }
    }

    fn place(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = slot.hash as usize & mask;
        while self.slots[at].value != FREE {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }
}

/// A count or an offset as `u32`. The document that all routes come from is far below 4 GiB.
pub(super) fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX - 1)
}

/// Multiplies eight bytes at a time; the fold at the end brings the high bits, which mix best, down to the mask.
fn hash(scope: u32, key: &[u8]) -> u32 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut h = u64::from(scope).wrapping_add(key.len() as u64).wrapping_mul(K);
    let mut words = key.chunks_exact(8);
    for word in words.by_ref() {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        h = (h.rotate_left(23) ^ u64::from_le_bytes(bytes)).wrapping_mul(K);
    }
    let last = words
        .remainder()
        .iter()
        .fold(0, |last, &byte| last << 8 | u64::from(byte));
    h = (h.rotate_left(23) ^ last).wrapping_mul(K);
    let folded = h ^ (h >> 32);
    // Truncation is the point: the fold above put both halves into the low word.
    #[allow(clippy::cast_possible_truncation)]
    let low = folded as u32;
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_stored_and_nothing_else() {
        let mut index = Index::default();
        assert_eq!(index.get(0, b"a"), None);
        for n in 0..5000_u32 {
            index.insert(n % 7, format!("segment-{n}").as_bytes(), n);
        }
        for n in 0..5000_u32 {
            let key = format!("segment-{n}");
            assert_eq!(index.get(n % 7, key.as_bytes()), Some(n));
            assert_eq!(index.get(n % 7 + 1, key.as_bytes()), None);
        }
        assert_eq!(index.get(0, b"segment-"), None);
        assert_eq!(index.get(0, b""), None);
        index.insert(0, b"", 9);
        assert_eq!(index.get(0, b""), Some(9));
    }
}
