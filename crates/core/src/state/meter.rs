//! Counters in memory, for limits on how often something may happen.
//!
//! Each key has one counter for each of the rules it is held to. Rules are looked at together: if one refuses, none of
//! them counts. Keys are kept as hashes under a secret, so an entry has one size whatever a caller sends, and their
//! number is bounded; when there is no room those that count for nothing go first, then those not seen for longest.
//! Entries are spread over shards whose locks are held for a lookup and a few additions, never while waiting.

mod rule;

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::telemetry::metrics::Count;

use rule::Cell;
pub use rule::{Algorithm, Report, Rule};

/// Rules a key may be held to at once.
pub const MOST_RULES: usize = 6;

/// Keys kept by default.
pub const DEFAULT_CAPACITY: usize = 100_000;

/// Below this many keys one lock does; it keeps the bound exact.
const SHARDED_FROM: usize = 4_096;
const SHARDS: usize = 64;

/// Counters by key.
#[derive(Debug)]
pub struct Meters {
    /// Cells of one key.
    stride: usize,
    epoch: Instant,
    /// What the time of day was at the epoch, in nanoseconds since 1970.
    since_1970: u64,
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

/// The cells of entry `i` begin at `i` times the stride.
#[derive(Default, Debug)]
struct Entries {
    places: ByHash<u32>,
    slots: Vec<Slot>,
    cells: Vec<Cell>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u64,
    /// When it was last asked for.
    seen: u64,
    /// From when on it counts for nothing.
    expires: u64,
}

/// What was decided, and what each rule says of it.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// Whether every rule had room. What is refused is counted by none.
    pub admitted: bool,
    reports: [Report; MOST_RULES],
    len: usize,
}

impl Decision {
    /// A decision that somebody else made.
    pub fn new(admitted: bool, reports: impl Iterator<Item = Report>) -> Self {
        let mut decision = Self {
            admitted,
            reports: [Report::default(); MOST_RULES],
            len: 0,
        };
        for (place, report) in decision.reports.iter_mut().zip(reports) {
            *place = report;
            decision.len += 1;
        }
        decision
    }

    /// The same as it is to be told so much later.
    #[must_use]
    pub fn later(&self, by: Duration) -> Self {
        let later = |report: &Report| Report {
            resets_in: report.resets_in.saturating_sub(by),
            ..*report
        };
        Self::new(self.admitted, self.reports().iter().map(later))
    }

    /// What each rule says, in their order.
    pub fn reports(&self) -> &[Report] {
        self.reports.get(..self.len).unwrap_or_default()
    }
}

impl Meters {
    /// Counters for at most `capacity` keys of up to `rules` rules each. `since_1970` is the time of day at the epoch.
    /// `evicted` counts the keys dropped while they still counted for something.
    pub fn new(
        rules: usize,
        capacity: usize,
        epoch: Instant,
        since_1970: Duration,
        evicted: Arc<Count>,
    ) -> Self {
        let shards = if capacity < SHARDED_FROM { 1 } else { SHARDS };
        Meters {
            stride: rules.clamp(1, MOST_RULES),
            epoch,
            since_1970: nanoseconds(since_1970),
            secret: RandomState::new(),
            shards: (0..shards).map(|_| Shard::default()).collect(),
            room: capacity.div_ceil(shards).max(1),
            evicted,
        }
    }

    /// Uses `cost` of every rule's limit of `key` if each has that much left. `now` may come from a coarse clock; if
    /// it is behind that of another thread, nothing has faded in between.
    pub fn count(&self, key: &[u8], rules: &[Rule], cost: u64, now: Instant) -> Decision {
        let since = self.time(now);
        let hash = self.hash(key);
        let mut entries = self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner);
        let at = match entries.places.get(&hash) {
            Some(at) => *at as usize,
            None => self.insert(&mut entries, hash, since),
        };
        let Entries { slots, cells, .. } = &mut *entries;
        let first = at * self.stride;
        let cells = cells.get_mut(first..first + self.stride).unwrap_or_default();
        let decision = decide(cells, rules, cost, since);
        if let Some(slot) = slots.get_mut(at) {
            slot.seen = slot.seen.max(since);
            let resets = decision.reports().iter().map(|report| report.resets_in).max();
            let outlasts = rules.iter().map(Rule::outlasts).max().unwrap_or_default();
            slot.expires = since
                .saturating_add(nanoseconds(resets.unwrap_or_default()))
                .saturating_add(outlasts);
        }
        decision
    }

    /// Puts what a request was found to cost in the place of what it used `then`. More is used whether there is room or
    /// not; less is given back only where it still counts. A key that was forgotten is left so.
    pub fn settle(&self, key: &[u8], rules: &[Rule], used: u64, cost: u64, then: Instant, now: Instant) {
        let (then, since) = (self.time(then), self.time(now));
        let hash = self.hash(key);
        let mut entries = self.shard(hash).lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = entries.places.get(&hash).map(|at| *at as usize) else {
            return;
        };
        let Entries { slots, cells, .. } = &mut *entries;
        let first = at * self.stride;
        let cells = cells.get_mut(first..first + self.stride).unwrap_or_default();
        let mut lasts = 0;
        for (cell, rule) in cells.iter_mut().zip(rules) {
            cell.turn(rule, since);
            cell.settle(rule, used, cost, then, since);
            let resets = nanoseconds(cell.report(rule, true, 0, since).resets_in);
            lasts = lasts.max(resets.saturating_add(rule.outlasts()));
        }
        if let Some(slot) = slots.get_mut(at) {
            slot.expires = since.saturating_add(lasts);
        }
    }

    /// That time in nanoseconds since 1970, by a clock that never goes back.
    pub fn time(&self, now: Instant) -> u64 {
        self.since_1970
            .saturating_add(nanoseconds(now.saturating_duration_since(self.epoch)))
    }

    /// Keys kept now.
    pub fn len(&self) -> usize {
        let shards = self.shards.iter();
        shards
            .map(|shard| shard.0.lock().unwrap_or_else(PoisonError::into_inner).slots.len())
            .sum()
    }

    /// Whether no key is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.secret.build_hasher();
        // Nothing else is hashed with it, so its length need not be.
        hasher.write(key);
        hasher.finish()
    }

    fn shard(&self, hash: u64) -> &Mutex<Entries> {
        // The map within looks at the lowest and highest bits. There is at least one shard, and the
        // remainder is below their number.
        &self.shards[(hash >> 32) as usize % self.shards.len()].0
    }

    fn insert(&self, entries: &mut Entries, hash: u64, since: u64) -> usize {
        if entries.slots.len() >= self.room {
            self.make_room(entries, since);
        }
        let at = entries.slots.len();
        if at == entries.slots.capacity() {
            // Never more than there is room for: a vector left to itself could take twice that.
            let more = at.max(16).min(self.room.saturating_sub(at)).max(1);
            entries.slots.reserve_exact(more);
            entries.cells.reserve_exact(more * self.stride);
        }
        entries.slots.push(Slot {
            hash,
            seen: since,
            expires: since,
        });
        entries.cells.resize((at + 1) * self.stride, Cell::default());
        // A shard has far fewer keys than that.
        entries.places.insert(hash, u32::try_from(at).unwrap_or(u32::MAX));
        at
    }

    /// Frees an eighth at least, so that the cost of looking at all is shared by many new keys.
    #[cold]
    fn make_room(&self, entries: &mut Entries, since: u64) {
        self.drop_if(entries, |slot| slot.expires <= since);
        let keep = self.room - self.room.div_ceil(8);
        let surplus = entries.slots.len().saturating_sub(keep);
        if surplus == 0 {
            return;
        }
        let mut seen: Vec<u64> = entries.slots.iter().map(|slot| slot.seen).collect();
        let (_, &mut newest_to_go, _) = seen.select_nth_unstable(surplus - 1);
        // Several may have been seen at the same moment: of those only as many go as must.
        let mut left = surplus;
        self.drop_if(entries, |slot| {
            let goes = left > 0 && slot.seen <= newest_to_go;
            left -= usize::from(goes);
            goes
        });
        self.evicted.add_shared(surplus as u64);
    }

    /// Drops entries; the last ones take their places.
    fn drop_if(&self, entries: &mut Entries, mut goes: impl FnMut(&Slot) -> bool) {
        let Entries { places, slots, cells } = entries;
        for at in (0..slots.len()).rev() {
            let Some(slot) = slots.get(at).copied().filter(|slot| goes(slot)) else {
                continue;
            };
            places.remove(&slot.hash);
            slots.swap_remove(at);
            let (to, from) = (at * self.stride, slots.len() * self.stride);
            cells.copy_within(from..from + self.stride, to);
            cells.truncate(from);
            if let Some(moved) = slots.get(at) {
                places.insert(moved.hash, u32::try_from(at).unwrap_or(u32::MAX));
            }
        }
    }
}

/// All rules together: each is looked at, and all count or none.
fn decide(cells: &mut [Cell], rules: &[Rule], cost: u64, now: u64) -> Decision {
    let mut decision = Decision::new(true, std::iter::empty());
    decision.len = cells.len().min(rules.len()).min(MOST_RULES);
    for ((cell, rule), report) in cells.iter_mut().zip(rules).zip(&mut decision.reports) {
        cell.turn(rule, now);
        report.fits = cell.fits(rule, cost, now);
        decision.admitted &= report.fits;
    }
    for ((cell, rule), report) in cells.iter_mut().zip(rules).zip(&mut decision.reports) {
        if decision.admitted {
            cell.take(rule, cost);
        }
        *report = cell.report(rule, report.fits, cost, now);
    }
    decision
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A map by hashes under a secret, which are not hashed again.
pub type ByHash<V> = HashMap<u64, V, BuildHasherDefault<Hashed>>;

/// Keys are hashes already.
#[derive(Default, Debug)]
pub struct Hashed(u64);

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
