//! What was found out about tokens, so that it is found out once: bounded, and without the tokens themselves.
//!
//! What is kept is found by a keyed hash of the token of 128 bits. Its key is random and never leaves the process, so
//! that nobody can make a token for a hash; and a token that has the hash of a known one by chance is not to be found.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::rand;

/// Locks are held for a lookup and no longer; workers seldom meet at one.
const SHARDS: usize = 64;

/// What is known of tokens. Holds no consumers: those belong to a plan.
pub struct Cache<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    /// Entries of half a shard; 0 keeps nothing.
    half: usize,
    hashers: [RandomState; 2],
    salts: [[u8; 16]; 2],
}

type Tokens<V> = HashMap<u128, V, BuildHasherDefault<Low>>;

/// Two generations: what is used moves to the young one; when that is full, the old one goes.
struct Shard<V> {
    young: Tokens<V>,
    old: Tokens<V>,
}

impl<V: Clone> Cache<V> {
    /// Room for about so many tokens.
    pub fn new(most: usize) -> Self {
        let mut salts = [[0; 16]; 2];
        for salt in &mut salts {
            // Cannot fail once the library has started; the hashers have random keys of their own besides.
            let _ = rand::fill(salt);
        }
        Self {
            shards: (0..SHARDS)
                .map(|_| {
                    Mutex::new(Shard {
                        young: Tokens::default(),
                        old: Tokens::default(),
                    })
                })
                .collect(),
            half: most.div_ceil(2 * SHARDS),
            hashers: [RandomState::new(), RandomState::new()],
            salts,
        }
    }

    /// What a token is found by: different for different tokens, also where nothing is kept.
    pub fn hash(&self, token: &str) -> u128 {
        self.hash_of([token.as_bytes()])
    }

    /// The same of something in parts. They are hashed as one: what may stand in them has to keep them apart.
    pub fn hash_of<const N: usize>(&self, parts: [&[u8]; N]) -> u128 {
        let [high, low] = [0, 1].map(|half: usize| {
            let [first, second] = &self.hashers;
            let mut hasher = if half == 0 { first } else { second }.build_hasher();
            hasher.write(self.salts.get(half).map_or(&[], |salt| salt.as_slice()));
            for part in parts {
                hasher.write(part);
            }
            hasher.finish()
        });
        (u128::from(high) << 64) | u128::from(low)
    }

    /// What is known of the token of this hash.
    pub fn get(&self, hash: u128) -> Option<V> {
        if self.half == 0 {
            return None;
        }
        let mut shard = self.shard(hash)?.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shard.young.get(&hash) {
            return Some(known.clone());
        }
        let known = shard.old.remove(&hash)?;
        shard.insert(hash, known.clone(), self.half);
        Some(known)
    }

    /// Remembers a token.
    pub fn put(&self, hash: u128, known: V) {
        if self.half == 0 {
            return;
        }
        if let Some(shard) = self.shard(hash) {
            shard
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(hash, known, self.half);
        }
    }

    fn shard(&self, hash: u128) -> Option<&Mutex<Shard<V>>> {
        // The top bits choose the shard, the low ones the place in it.
        self.shards.get((hash >> 122) as usize)
    }
}

impl<V> Shard<V> {
    fn insert(&mut self, hash: u128, known: V, half: usize) {
        if self.young.len() >= half && !self.young.contains_key(&hash) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, known);
    }
}

/// The low half of a hash, and the high one.
#[allow(clippy::cast_possible_truncation, reason = "cuts it in two")]
fn split(hash: u128) -> [u64; 2] {
    [hash as u64, (hash >> 64) as u64]
}

/// Keys are hashes already.
#[derive(Default)]
struct Low(u64);

impl Hasher for Low {
    fn write(&mut self, bytes: &[u8]) {
        // Only `u128` keys are hashed with this; anything else would still be correct.
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        let [low, ..] = split(hash);
        self.0 = low;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_hash() {
        let cache = Cache::new(100);
        cache.put(cache.hash("token"), 7);
        assert_eq!(cache.get(cache.hash("token")), Some(7));
        assert_eq!(cache.get(cache.hash("tokem")), None);
    }

    #[test]
    fn there_are_never_more_than_there_is_room_for() {
        let cache = Cache::new(1_000);
        for i in 0..20_000 {
            cache.put(cache.hash(&i.to_string()), 1);
        }
        let count: usize = cache
            .shards
            .iter()
            .map(|shard| {
                let shard = shard.lock().unwrap();
                shard.young.len() + shard.old.len()
            })
            .sum();
        assert!((500..=1_024).contains(&count), "{count}");
    }

    #[test]
    fn what_is_used_stays() {
        let cache = Cache::new(1_000);
        let used = cache.hash("used");
        cache.put(used, 1);
        for i in 0..20_000 {
            cache.put(cache.hash(&i.to_string()), 1);
            assert!(cache.get(used).is_some(), "after {i}");
        }
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let cache = Cache::new(0);
        cache.put(cache.hash("token"), 1);
        assert!(cache.get(cache.hash("token")).is_none());
    }

    #[test]
    fn each_cache_has_its_own_hashes() {
        assert_ne!(
            Cache::<u8>::new(1).hash("token"),
            Cache::<u8>::new(1).hash("token")
        );
    }
}
