//! Remembers answers for a time, in parts that threads seldom meet in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::answer::Answer;

/// What an answer is remembered by.
pub type Key = [u8; 32];

const PARTS: usize = 16;

/// Answers, and until when they are good.
type Part = HashMap<Key, (Instant, Arc<Answer>)>;

/// Answers by key.
pub struct Cache {
    ttl: Duration,
    most: usize,
    parts: [Mutex<Part>; PARTS],
}

impl Cache {
    /// Keeps at most about so many.
    pub fn new(ttl: Duration, entries: usize) -> Self {
        Self {
            ttl,
            most: entries.div_ceil(PARTS),
            parts: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// The answer, if it is still good.
    pub fn get(&self, key: &Key, now: Instant) -> Option<Arc<Answer>> {
        let part = self.part(key).lock().unwrap_or_else(PoisonError::into_inner);
        let (until, answer) = part.get(key)?;
        (now < *until).then(|| answer.clone())
    }

    /// Remembers an answer; of a full part what is over goes, else anything.
    pub fn put(&self, key: Key, answer: Arc<Answer>, now: Instant) {
        let mut part = self.part(&key).lock().unwrap_or_else(PoisonError::into_inner);
        if part.len() >= self.most && !part.contains_key(&key) {
            part.retain(|_, (until, _)| now < *until);
            if part.len() >= self.most
                && let Some(any) = part.keys().next().copied()
            {
                part.remove(&any);
            }
        }
        part.insert(key, (now + self.ttl, answer));
    }

    fn part(&self, key: &Key) -> &Mutex<Part> {
        // The key is a digest: any byte of it spreads.
        &self.parts[usize::from(key[0]) % PARTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_for_their_time_and_not_without_end() {
        let (cache, now) = (Cache::new(Duration::from_secs(10), 32), Instant::now());
        let answer = || Arc::new(Answer::default());
        cache.put([7; 32], answer(), now);
        assert!(cache.get(&[7; 32], now + Duration::from_secs(9)).is_some());
        assert!(cache.get(&[7; 32], now + Duration::from_secs(10)).is_none());
        assert!(cache.get(&[8; 32], now).is_none());
        for i in 0..200_u8 {
            cache.put([i; 32], answer(), now);
        }
        let kept = (0..200_u8)
            .filter(|i| cache.get(&[*i; 32], now).is_some())
            .count();
        assert_eq!(kept, 32);
    }
}
