//! A histogram of latencies with a bounded error: logarithmic buckets, each split evenly, after
//! Gil Tene's HdrHistogram.
//!
//! A value is off by less than 1/128 of itself, from a nanosecond to centuries, in 58 KiB. Recording
//! is a shift and an increment; nothing is ever sampled or dropped.

use std::time::Duration;

/// Each power of two is split into this many buckets.
const SPLIT: u64 = 128;
const SPLIT_BITS: u32 = SPLIT.trailing_zeros();
/// The powers of two above the exact ones.
const POWERS: usize = (u64::BITS - SPLIT_BITS) as usize;
const BUCKETS: usize = (POWERS + 1) * SPLIT as usize;

/// Counts of values in nanoseconds.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum: u128,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
            sum: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// Counts one latency. Longer than 584 years counts as that.
    pub fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket_of(nanos)] += 1;
        self.total += 1;
        self.sum += u128::from(nanos);
        self.max = self.max.max(nanos);
    }

    /// Takes over what another one counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// How many latencies were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The longest, exactly.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// The mean, exactly; zero of none.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let mean = self.sum.checked_div(u128::from(self.total)).unwrap_or(0);
        Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX))
    }

    /// The latency that `share` (0 to 1) of all were at most as long as; zero of none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = ((share * self.total as f64).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_nanos(highest_of(bucket).min(self.max));
            }
        }
        self.max()
    }
}

/// Values below [`SPLIT`] have a bucket each; above, the highest bits say the bucket.
fn bucket_of(nanos: u64) -> usize {
    if nanos < SPLIT {
        return nanos as usize;
    }
    let power = nanos.ilog2() - SPLIT_BITS;
    let within = (nanos >> power) - SPLIT;
    (u64::from(power + 1) * SPLIT + within) as usize
}

/// The highest value of a bucket.
fn highest_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SPLIT {
        return bucket;
    }
    let power = bucket / SPLIT - 1;
    let lowest = (SPLIT + bucket % SPLIT) << power;
    lowest + ((1 << power) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(nanos: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        for nanos in nanos {
            histogram.record(Duration::from_nanos(nanos));
        }
        histogram
    }

    proptest! {
        #[test]
        fn a_bucket_holds_its_value_and_is_narrow(nanos: u64) {
            let bucket = bucket_of(nanos);
            let highest = highest_of(bucket);
            prop_assert!(bucket < BUCKETS);
            prop_assert!(highest >= nanos);
            prop_assert!(highest - nanos <= nanos / SPLIT);
        }

        #[test]
        fn quantiles_are_those_of_the_sorted_values(
            mut nanos in prop::collection::vec(0u64..10_000_000_000, 1..500),
            share in 0.0f64..=1.0,
        ) {
            let found = of(nanos.iter().copied()).quantile(share).as_nanos() as u64;
            nanos.sort_unstable();
            let rank = ((share * nanos.len() as f64).ceil() as usize).max(1);
            let exact = nanos[rank - 1];
            prop_assert!(found >= exact && found - exact <= exact / SPLIT);
        }

        #[test]
        fn merged_histograms_are_as_if_all_had_been_recorded_in_one(
            left in prop::collection::vec(any::<u64>(), 0..50),
            right in prop::collection::vec(any::<u64>(), 0..50),
        ) {
            let mut merged = of(left.iter().copied());
            merged.merge(&of(right.iter().copied()));
            let whole = of(left.into_iter().chain(right));
            prop_assert_eq!(merged.count(), whole.count());
            prop_assert_eq!(merged.mean(), whole.mean());
            prop_assert_eq!(merged.max(), whole.max());
            prop_assert_eq!(merged.quantile(0.9), whole.quantile(0.9));
        }
    }

    #[test]
    fn the_ends_are_exact() {
        let histogram = of([3, 70_000, 1_000_003]);
        assert_eq!(histogram.quantile(0.0), Duration::from_nanos(3));
        assert_eq!(histogram.quantile(1.0), Duration::from_nanos(1_000_003));
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(highest_of(BUCKETS - 1), u64::MAX);
    }

    #[test]
    fn none_is_zero() {
        let none = Histogram::default();
        assert_eq!(none.quantile(0.5), Duration::ZERO);
        assert_eq!((none.mean(), none.max()), (Duration::ZERO, Duration::ZERO));
    }
}
