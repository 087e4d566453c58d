//! Histogram of durations in fixed buckets, 25 us to 60 s, with one writer.
//!
//! Bounds grow by a factor of two at least, so a power of two has at most one of them: the bucket follows
//! from the position of the highest bit and one comparison, without a loop.

use super::count::{Count, Counts};

/// Upper bounds of the buckets in nanoseconds, inclusive; what is longer goes to a last bucket.
pub(super) const BOUNDS: [u64; 18] = [
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    10_000_000_000,
    60_000_000_000,
];

/// The values of the label `le`: [`BOUNDS`] in seconds.
pub(super) const LABELS: [&str; BUCKETS] = [
    "0.000025", "0.00005", "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025",
    "0.05", "0.1", "0.25", "0.5", "1", "2.5", "10", "60", "+Inf",
];

/// Buckets in all, the unbounded one included.
pub(super) const BUCKETS: usize = BOUNDS.len() + 1;

/// How often each range of durations was seen, and their sum.
#[derive(Default, Debug)]
pub struct Histogram {
    buckets: Counts<BUCKETS>,
    sum: Count,
}

impl Histogram {
    /// Counts one duration, in nanoseconds. For the one thread that writes this histogram.
    #[inline]
    pub fn observe(&self, nanoseconds: u64) {
        self.buckets.at(bucket(nanoseconds)).inc();
        self.sum.add(nanoseconds);
    }

    /// Adds what was seen to a sum over several histograms.
    pub fn add_to(&self, total: &mut Total) {
        for (into, from) in total.buckets.iter_mut().zip(self.buckets.iter()) {
            *into += from.get();
        }
        total.sum = total.sum.wrapping_add(self.sum.get());
    }
}

/// The sum of several histograms.
#[derive(Default, Debug, Clone, PartialEq, Eq)]
pub struct Total {
    /// Counts by bucket, not cumulative.
    pub buckets: [u64; BUCKETS],
    /// Nanoseconds.
    pub sum: u64,
}

impl Total {
    /// Durations seen.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// For each position of the highest bit: how many bounds are below that power of two.
const BELOW: [u8; 65] = {
    let mut table = [0; 65];
    let mut bit = 1;
    while bit <= 64 {
        let floor = 1_u64 << (bit - 1);
        let mut below = 0;
        while below < BOUNDS.len() && BOUNDS[below] < floor {
            below += 1;
        }
        #[allow(clippy::cast_possible_truncation, reason = "there are 18 bounds")]
        {
            table[bit] = below as u8;
        }
        bit += 1;
    }
    table
};

#[inline]
fn bucket(nanoseconds: u64) -> usize {
    let bit = u64::BITS - nanoseconds.leading_zeros();
    let below = BELOW[bit as usize] as usize;
    let beyond = BOUNDS.get(below).is_some_and(|&bound| nanoseconds > bound);
    below + usize::from(beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_have_at_most_one_in_a_power_of_two_and_agree_with_labels() {
        assert!(BOUNDS.windows(2).all(|pair| pair[1] >= pair[0] * 2));
        for (bound, label) in BOUNDS.iter().zip(LABELS) {
            let micros: f64 = label.parse::<f64>().unwrap() * 1e6;
            assert_eq!(format!("{micros:.0}000"), bound.to_string());
        }
    }

    #[test]
    fn the_quick_bucket_is_the_right_bucket() {
        let edges = BOUNDS.iter().flat_map(|&b| [b - 1, b, b + 1]);
        let powers = (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
        for ns in edges.chain(powers).chain([u64::MAX]) {
            let slow = BOUNDS.iter().filter(|&&bound| bound < ns).count();
            assert_eq!(bucket(ns), slow, "{ns}");
        }
    }

    #[test]
    fn totals_add_up() {
        let (one, two, mut total) = (Histogram::default(), Histogram::default(), Total::default());
        one.observe(10);
        one.observe(30_000);
        two.observe(90_000_000_000);
        one.add_to(&mut total);
        two.add_to(&mut total);
        assert_eq!((total.count(), total.sum), (3, 90_000_030_010));
        assert_eq!(
            (total.buckets[0], total.buckets[1], total.buckets[BUCKETS - 1]),
            (1, 1, 1)
        );
    }
}
