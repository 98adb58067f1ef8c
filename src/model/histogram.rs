//! Counts of values by size, for figures that cost the counted work next to nothing.
//!
//! Buckets are quarters of an octave: exact below 8, at most a quarter too high above. One thread
//! writes; any number read meanwhile and may see a value in its bucket that the sum still lacks.

use serde::{Deserialize, Serialize};
use std::array;
use std::sync::atomic::{AtomicU64, Ordering};

/// Four for each octave but the first two, which have a bucket for each value.
const BUCKETS: usize = 252;

/// A histogram with one writer.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
}

/// What a [`Histogram`] held when it was read. Distributions can be added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    buckets: [u64; BUCKETS],
    sum: u64,
    max: u64,
}

/// A distribution in short.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The arithmetic mean.
    pub mean: f64,
    /// Half of the values are at most this, which is up to a quarter too high.
    pub p50: u64,
    /// As `p50`, of 99 % of the values.
    pub p99: u64,
}

impl Histogram {
    /// Counts a value. A second thread that does so at the same time would lose counts: a plain
    /// load and store is what makes this cheap.
    pub fn record(&self, value: u64) {
        let add = |counter: &AtomicU64, more: u64| {
            let sum = counter.load(Ordering::Relaxed).wrapping_add(more);
            counter.store(sum, Ordering::Relaxed);
        };
        add(&self.buckets[bucket_of(value)], 1);
        add(&self.sum, value);
        if value > self.max.load(Ordering::Relaxed) {
            self.max.store(value, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn read(&self) -> Distribution {
        Distribution {
            buckets: array::from_fn(|at| self.buckets[at].load(Ordering::Relaxed)),
            sum: self.sum.load(Ordering::Relaxed),
            max: self.max.load(Ordering::Relaxed),
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: array::from_fn(|_| AtomicU64::new(0)),
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }
}

impl Distribution {
    /// Takes the values of another in.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.buckets.iter_mut().zip(other.buckets) {
            *count += more;
        }
        self.sum = self.sum.wrapping_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All values together.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Mean and percentiles; all 0 without values.
    #[must_use]
    pub fn spread(&self) -> Spread {
        Spread {
            mean: self.mean(),
            p50: self.percentile(50),
            p99: self.percentile(99),
        }
    }

    /// Rounded to hundredths: more digits are noise.
    #[allow(clippy::cast_precision_loss, reason = "a mean of counts is not exact")]
    fn mean(&self) -> f64 {
        let mean = self.sum as f64 / self.count().max(1) as f64;
        (mean * 100.0).round() / 100.0
    }

    /// The highest value of the bucket that holds the percentile, but none that never came.
    fn percentile(&self, percent: u64) -> u64 {
        let rank = (self.count() * percent).div_ceil(100);
        let mut below = 0;
        let holds = |count: &u64| {
            below += count;
            below >= rank
        };
        let bucket = self.buckets.iter().position(holds).unwrap_or(BUCKETS - 1);
        highest_of(bucket).min(self.max)
    }
}

impl Default for Distribution {
    fn default() -> Self {
        Self {
            buckets: [0; BUCKETS],
            sum: 0,
            max: 0,
        }
    }
}

/// Below 4 the value itself; above, its octave and the two bits after the leading one.
fn bucket_of(value: u64) -> usize {
    let bucket = match value.checked_ilog2() {
        None | Some(0 | 1) => value,
        Some(octave) => u64::from(octave - 1) * 4 + (value >> (octave - 2)) % 4,
    };
    usize::try_from(bucket).expect("there are 252 buckets")
}

/// The highest value of a bucket.
fn highest_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 4 {
        return bucket;
    }
    let width_log2 = bucket / 4 - 1;
    let lowest = (4 + bucket % 4) << width_log2;
    lowest + ((1 << width_log2) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histogram_of(values: impl IntoIterator<Item = u64>) -> Histogram {
        let histogram = Histogram::default();
        for value in values {
            histogram.record(value);
        }
        histogram
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        assert_eq!(bucket_of(0), 0);
        for bucket in 0..BUCKETS {
            let highest = highest_of(bucket);
            assert_eq!(bucket_of(highest), bucket);
            match highest.checked_add(1) {
                Some(next) => assert_eq!(bucket_of(next), bucket + 1),
                None => assert_eq!(bucket, BUCKETS - 1),
            }
        }
    }

    #[test]
    fn an_empty_histogram_is_all_zero() {
        assert_eq!(Histogram::default().read(), Distribution::default());
        assert_eq!(Distribution::default().spread(), Spread::default());
    }

    #[test]
    fn one_value_is_every_percentile() {
        let spread = histogram_of([1000]).read().spread();
        assert_eq!((spread.p50, spread.p99), (1000, 1000));
    }

    #[test]
    fn a_slow_one_in_a_hundred_is_beyond_the_99th_percentile_and_two_are_not() {
        let fast = || std::iter::repeat_n(2, 98);
        let one = histogram_of(fast().chain([2, 1000])).read().spread();
        assert_eq!((one.mean, one.p50, one.p99), (11.98, 2, 2));
        let two = histogram_of(fast().chain([1000, 1000])).read().spread();
        assert_eq!((two.p50, two.p99), (2, 1000));
    }

    proptest! {
        #[test]
        fn percentiles_are_at_most_a_quarter_too_high(
            mut values in prop::collection::vec(0..1_u64 << 40, 1..300)
        ) {
            let spread = histogram_of(values.iter().copied()).read().spread();
            values.sort_unstable();
            for (percent, told) in [(50, spread.p50), (99, spread.p99)] {
                let exact = values[(values.len() * percent).div_ceil(100) - 1];
                prop_assert!(exact <= told && told <= exact + exact / 4, "{exact} {told}");
            }
        }

        #[test]
        fn what_is_added_up_is_as_if_counted_together(
            left in prop::collection::vec(any::<u32>(), 0..50),
            right in prop::collection::vec(any::<u32>(), 0..50),
        ) {
            let read = |values: &[u32]| histogram_of(values.iter().map(|it| u64::from(*it))).read();
            let mut sum = read(&left);
            sum.add(&read(&right));
            prop_assert_eq!(sum.count(), (left.len() + right.len()) as u64);
            prop_assert_eq!(sum, read(&[left, right].concat()));
        }
    }
}
