//! The cells metrics are made of: numbers with one writer, and one copy of something for each worker.
//!
//! A worker adds to its own copy with a plain load and store, which costs what ordinary memory costs; no
//! line travels between cores until somebody reads. Reading sums the copies and may be a moment behind.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// A counter or gauge. Sums of several wrap around, so that a gauge raised on one worker may be lowered
/// on another and the total is right.
#[derive(Default, Debug)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`. For the one thread that writes this cell: of two at once, one would be lost.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Adds one. See [`Count::add`].
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Takes `n` off. See [`Count::add`].
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// Takes one off. See [`Count::add`].
    #[inline]
    pub fn dec(&self) {
        self.sub(1);
    }

    /// Adds `n` from any thread. Dearer than [`Count::add`]; a cell is written by one of the two only.
    pub fn add_shared(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Takes `n` off from any thread. See [`Count::add_shared`].
    pub fn sub_shared(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }

    /// Replaces the value.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The value now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A fixed list of counts, indexed by an enum.
#[derive(Debug)]
pub struct Counts<const N: usize>([Count; N]);

impl<const N: usize> Counts<N> {
    /// The count at `index`; those past the end share the last one.
    #[inline]
    pub fn at(&self, index: usize) -> &Count {
        &self.0[index.min(N - 1)]
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Count> {
        self.0.iter()
    }
}

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Counts(std::array::from_fn(|_| Count::default()))
    }
}

/// One `T` for each worker, made when the worker first needs it: what idles costs a word a worker.
#[derive(Debug)]
pub struct PerWorker<T>(Box<[OnceLock<Box<T>>]>);

impl<T: Default> PerWorker<T> {
    /// Room for `workers` copies, none made yet.
    pub fn new(workers: usize) -> Self {
        PerWorker((0..workers.max(1)).map(|_| OnceLock::new()).collect())
    }

    /// The copy of `worker`. Numbers past the end share the last copy.
    #[inline]
    pub fn get(&self, worker: usize) -> &T {
        // There is always at least one cell.
        self.0[worker.min(self.0.len() - 1)].get_or_init(Box::default)
    }

    /// The copies made so far.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(OnceLock::get).map(Box::as_ref)
    }

    /// The wrapping sum of one number over all copies.
    pub fn sum(&self, of: impl Fn(&T) -> u64) -> u64 {
        self.iter().map(of).fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_raised_here_and_lowered_there_sums_to_nothing() {
        let gauge: PerWorker<Count> = PerWorker::new(2);
        gauge.get(0).inc();
        gauge.get(1).dec();
        assert_eq!(gauge.sum(Count::get), 0);
    }

    #[test]
    fn nothing_is_made_before_it_is_needed() {
        let counts: PerWorker<Counts<3>> = PerWorker::new(8);
        assert_eq!(counts.iter().count(), 0);
        counts.get(7).at(2).add(5);
        counts.get(99).at(99).add(1);
        assert_eq!(counts.iter().count(), 1);
        assert_eq!(counts.sum(|c| c.at(2).get()), 6);
    }
}
