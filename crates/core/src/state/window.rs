//! Sliding-window counters in memory, for limits on how often something may happen.
//!
//! Each key has its own windows: the first begins with the first use, and each that follows where the one
//! before ends. What was used in the one before fades out evenly while the current one fills, each use in one
//! piece: what is left of it then does not count. So at most `limit` is admitted at once, all of it is there again
//! within a window, use by use, and no more than twice that is admitted in any stretch as long as a window, which
//! only a caller who spends everything just before a window ends can reach. Of a limit of one nothing fades: the
//! next use comes a whole window after the last.
//!
//! Keys are kept as hashes under a secret, so an entry has one size whatever a caller sends. Their number is
//! bounded; when there is no room those that count for nothing go first, then those not seen for longest.
//! Entries are spread over shards whose locks are held for a lookup and a few additions, never while waiting.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::telemetry::metrics::Count;

/// Counters of one policy, by key.
#[derive(Debug)]
pub struct Windows {
    /// Nanoseconds.
    window: u64,
    epoch: Instant,
    secret: RandomState,
    shards: Box<[Shard]>,
    /// Entries a shard holds at most.
    room: usize,
    evicted: Arc<Count>,
}

/// On a cache line of its own, so that neighbours do not slow each other down.
#[repr(align(64))]
#[derive(Default, Debug)]
struct Shard(Mutex<Entries>);

type Entries = HashMap<u64, Entry, BuildHasherDefault<Hashed>>;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// When the window `current` counts began, in nanoseconds since the epoch.
    start: u64,
    previous: u64,
    current: u64,
    /// When it was last asked for, in nanoseconds since the epoch.
    seen: u64,
}

/// What was used, and when there will be more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Used {
    /// Whether there was room. What is refused is not counted.
    pub admitted: bool,
    /// Used now, this time included if admitted; of what fades whole uses only.
    pub used: u64,
    /// Left of the limit.
    pub remaining: u64,
    /// Until nothing of it counts any more, if nothing else comes.
    pub resets_in: Duration,
    /// If refused: until the same would be admitted, if nothing else comes. At most a window for a cost of one.
    /// Never, if it is more than the whole limit.
    pub retry_after: Option<Duration>,
}

/// Keys a policy keeps by default.
pub const DEFAULT_CAPACITY: usize = 100_000;

/// Below this many keys one lock does; it keeps the bound exact.
const SHARDED_FROM: usize = 4_096;
const SHARDS: usize = 64;

impl Windows {
    /// Counters for windows of that length, for at most `capacity` keys. `evicted` counts the keys dropped
    /// while they still counted for something.
    pub fn new(window: Duration, capacity: usize, epoch: Instant, evicted: Arc<Count>) -> Self {
        let shards = if capacity < SHARDED_FROM { 1 } else { SHARDS };
        Windows {
            window: nanoseconds(window).max(1),
            epoch,
            secret: RandomState::new(),
            shards: (0..shards).map(|_| Shard::default()).collect(),
            room: capacity.div_ceil(shards).max(1),
            evicted,
        }
    }

    /// Uses `cost` of the limit of `key` if there is that much left. `now` may come from a coarse clock; if
    /// it is behind that of another thread, nothing has faded in between.
    pub fn count(&self, key: &[u8], limit: u64, cost: u64, now: Instant) -> Used {
        let since = nanoseconds(now.saturating_duration_since(self.epoch));
        let hash = self.secret.hash_one(key);
        let mut entries = self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.room && !entries.contains_key(&hash) {
            self.make_room(&mut entries, since);
        }
        let entry = entries.entry(hash).or_insert(Entry {
            start: since,
            previous: 0,
            current: 0,
            seen: since,
        });
        entry.seen = entry.seen.max(since);
        let elapsed = entry.turn(since, self.window);
        let admitted = entry.used(elapsed, self.window).saturating_add(cost) <= limit;
        if admitted {
            entry.current = entry.current.saturating_add(cost);
        }
        let entry = *entry;
        drop(entries);
        entry.report(admitted, limit, cost, elapsed, self.window)
    }

    /// Keys kept now.
    pub fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.0.lock().unwrap_or_else(PoisonError::into_inner).len())
            .sum()
    }

    /// Whether no key is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, hash: u64) -> &Mutex<Entries> {
        // The map within looks at the lowest and highest bits. There is at least one shard, and the
        // remainder is below their number.
        &self.shards[(hash >> 32) as usize % self.shards.len()].0
    }

    /// Frees an eighth at least, so that the cost of looking at all is shared by many new keys.
    #[cold]
    fn make_room(&self, entries: &mut Entries, since: u64) {
        entries.retain(|_, entry| entry.counts(since, self.window));
        let keep = self.room - self.room.div_ceil(8);
        let surplus = entries.len().saturating_sub(keep);
        if surplus == 0 {
            return;
        }
        let mut seen: Vec<u64> = entries.values().map(|entry| entry.seen).collect();
        let (_, &mut newest_to_go, _) = seen.select_nth_unstable(surplus - 1);
        // Several may have been seen at the same moment: of those only as many go as must.
        let mut left = surplus;
        entries.retain(|_, entry| {
            let goes = left > 0 && entry.seen <= newest_to_go;
            left -= usize::from(goes);
            !goes
        });
        self.evicted.add_shared(surplus as u64);
    }
}

impl Entry {
    /// Moves on to the window of that time; returns how much of it has passed.
    fn turn(&mut self, since: u64, window: u64) -> u64 {
        // Nothing if another thread has seen a later time: nothing has faded since.
        let elapsed = since.saturating_sub(self.start);
        let counts = self.previous > 0 || self.current > 0;
        if elapsed < window && counts {
            return elapsed;
        }
        if elapsed / window == 1 && self.current > 0 {
            (self.previous, self.current) = (self.current, 0);
            self.start += window;
            return elapsed - window;
        }
        // Nothing counts any more: a new window begins with what comes now.
        (self.previous, self.current) = (0, 0);
        self.start = self.start.max(since);
        0
    }

    fn used(&self, elapsed: u64, window: u64) -> u64 {
        faded(self.previous, elapsed, window).saturating_add(self.current)
    }

    /// Whether anything of it counts at that time.
    fn counts(&self, since: u64, window: u64) -> bool {
        match since.saturating_sub(self.start) / window {
            0 => self.previous > 0 || self.current > 0,
            1 => self.current > 0,
            _ => false,
        }
    }

    fn report(&self, admitted: bool, limit: u64, cost: u64, elapsed: u64, window: u64) -> Used {
        let used = self.used(elapsed, window);
        let to_end = window - elapsed;
        let resets_in = match (self.previous, self.current) {
            (0, 0) => 0,
            (_, 0) => to_end,
            (..) => to_end.saturating_add(window),
        };
        let retry_after = if admitted {
            None
        } else {
            self.wait(limit, cost, elapsed, window)
        };
        Used {
            admitted,
            used,
            remaining: limit.saturating_sub(used),
            resets_in: Duration::from_nanos(resets_in),
            retry_after: retry_after.map(Duration::from_nanos),
        }
    }

    /// Nanoseconds until `cost` fits, if it ever does.
    fn wait(&self, limit: u64, cost: u64, elapsed: u64, window: u64) -> Option<u64> {
        let room = limit.checked_sub(cost)?;
        if let Some(room) = room.checked_sub(self.current) {
            // In this window, when enough of the previous one has faded.
            return Some(fades_to(self.previous, room, window).saturating_sub(elapsed));
        }
        // In the next, when enough of this one has.
        Some((window - elapsed).saturating_add(fades_to(self.current, room, window)))
    }
}

/// What is left of the previous window's use: whole uses only, so that the first is free as the window begins.
fn faded(previous: u64, elapsed: u64, window: u64) -> u64 {
    let left = u128::from(previous) * u128::from((window - elapsed).saturating_sub(1)) / u128::from(window);
    u64::try_from(left).unwrap_or(u64::MAX)
}

/// The least part of a window after which no more than `room` of `previous` is left.
fn fades_to(previous: u64, room: u64, window: u64) -> u64 {
    if previous <= room {
        return 0;
    }
    // With `room + 1` at most `previous`, the share is at most the window.
    let share = ((u128::from(room) + 1) * u128::from(window)).div_ceil(u128::from(previous));
    window.saturating_sub(u64::try_from(share).unwrap_or(window))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Keys are hashes already.
#[derive(Default, Debug)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        // Only `u64` keys are hashed with this; anything else would still be correct.
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;
