//! Nonces that were seen: a signature with one is good once.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

/// So many are remembered at most.
const MOST: usize = 100_000;

/// Nonces of all keys, until nobody could use them any more anyway.
///
/// They are kept as 64-bit hashes under a secret: that two are taken for the same is rarer than anything else that
/// could go wrong, and then a good request is refused, never a bad one let in.
#[derive(Default)]
pub struct Nonces {
    secret: RandomState,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Until when, in seconds since 1970, and by which exchange.
    nonces: HashMap<u64, (u64, u64)>,
    swept: u64,
}

/// Why a nonce is not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was there before.
    Seen,
    /// There is no room for more.
    Full,
}

impl Nonces {
    /// Takes a nonce that could be used again until then; `now` and `until` in seconds since 1970. An exchange may ask
    /// more than once; it is known by its mark, since the id of a request may be one that the client gave.
    pub fn take(&self, key: &str, nonce: &str, exchange: u64, now: u64, until: u64) -> Result<(), Refusal> {
        let print = self.secret.hash_one((key, nonce));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.nonces.len() >= MOST && seen.swept < now {
            // At most once a second: it looks at all of them.
            seen.swept = now;
            seen.nonces.retain(|_, (until, _)| *until >= now);
        }
        let is_full = seen.nonces.len() >= MOST;
        match seen.nonces.entry(print) {
            Entry::Occupied(mut entry) => {
                let (known_until, by) = *entry.get();
                if known_until >= now && by != exchange {
                    return Err(Refusal::Seen);
                }
                entry.insert((until, exchange));
                Ok(())
            }
            Entry::Vacant(_) if is_full => Err(Refusal::Full),
            Entry::Vacant(entry) => {
                entry.insert((until, exchange));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_once_for_each_key_and_again_when_it_is_over() {
        let nonces = Nonces::default();
        let take = |key, nonce, exchange, now| nonces.take(key, nonce, exchange, now, now + 10);
        assert_eq!(take("k", "n", 1, 100), Ok(()));
        assert_eq!(take("k", "n", 1, 100), Ok(()), "the same request asks again");
        assert_eq!(take("k", "n", 2, 110), Err(Refusal::Seen));
        assert_eq!(take("l", "n", 2, 100), Ok(()));
        assert_eq!(take("k", "m", 2, 100), Ok(()));
        assert_eq!(take("k", "n", 3, 111), Ok(()));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_nothing_is_let_in_unseen() {
        let nonces = Nonces::default();
        for i in 0..MOST {
            assert_eq!(nonces.take("k", &i.to_string(), 1, 100, 110), Ok(()));
        }
        assert_eq!(nonces.take("k", "more", 1, 100, 110), Err(Refusal::Full));
        assert_eq!(nonces.take("k", "0", 2, 100, 110), Err(Refusal::Seen));
        assert_eq!(nonces.take("k", "more", 1, 111, 120), Ok(()));
    }
}
