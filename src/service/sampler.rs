//! Which of the small values that come in are kept as samples for a dictionary.
//!
//! Until there is a dictionary, every small value that is no noise is one, so that it comes soon.
//! Afterwards one in many is, to see whether the dictionary still suits what comes in. Which one is
//! drawn by the value's checksum: that costs nothing and is as good as chance.

use crate::codec::{Samples, is_noise};
use crate::model::{Codec, SealedValue};
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Values up to this many bytes are samples, and are compressed with a dictionary. A larger one has
/// seen enough of itself to do without.
pub(super) const SMALL_MAX: usize = 8 * 1024;
/// Samples that a look at them takes, if they have not reached `BYTES_MAX` before.
const COUNT_MAX: usize = 1000;
const BYTES_MAX: usize = 1024 * 1024;
/// After so much noise in a row, fewer values are looked at.
const NOISE_MAX: u32 = 64;
/// One in so many values is looked at when nothing but noise comes in.
const STRIDE_OF_NOISE: u64 = 64;

/// Samples in the making.
#[derive(Debug)]
pub(super) struct Sampler {
    /// One in so many values is taken; 0 for none at all.
    stride: AtomicU64,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    samples: Samples,
    noise: u32,
}

impl Sampler {
    /// Takes one in `stride` values; none at all for 0.
    pub fn new(stride: u64) -> Self {
        Self {
            stride: AtomicU64::new(stride),
            window: Mutex::default(),
        }
    }

    /// Goes on with one in `stride` values; none at all for 0.
    pub fn resume(&self, stride: u64) {
        self.stride.store(stride, Ordering::Relaxed);
    }

    /// Takes or leaves a value, and gives the samples when there are enough: nothing is taken from
    /// then on, until [`Sampler::resume`]. Never waits.
    pub fn offer(&self, raw: &Bytes, sealed: &SealedValue) -> Option<Samples> {
        let stride = self.stride.load(Ordering::Relaxed);
        if stride == 0 || raw.len() > SMALL_MAX || !sealed.info.sum64.is_multiple_of(stride) {
            return None;
        }
        let mut window = match self.window.try_lock() {
            Ok(window) => window,
            Err(std::sync::TryLockError::Poisoned(error)) => PoisonError::into_inner(error),
            Err(std::sync::TryLockError::WouldBlock) => return None,
        };
        if sealed.codec == Codec::Raw && is_noise(raw) {
            window.noise += 1;
            if window.noise.is_multiple_of(NOISE_MAX) && stride < STRIDE_OF_NOISE {
                self.resume(stride * 2);
            }
            return None;
        }
        window.noise = 0;
        window.samples.push(raw);
        let is_full = window.samples.count() >= COUNT_MAX || window.samples.bytes() >= BYTES_MAX;
        is_full.then(|| {
            self.resume(0);
            std::mem::take(&mut window.samples)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Sealer, sum64_of};
    use crate::model::ValueInfo;

    fn offer(sampler: &Sampler, raw: Vec<u8>) -> Option<Samples> {
        let sealer = Sealer {
            level: 3,
            probe_size: 65_536,
            min_gain: 0.05,
        };
        let info = ValueInfo {
            raw_len: raw.len() as u64,
            sum64: sum64_of(&raw),
        };
        let raw = Bytes::from(raw);
        let sealed = sealer.seal(raw.clone(), info, None);
        sampler.offer(&raw, &sealed)
    }

    fn text(number: usize) -> Vec<u8> {
        format!("value {number}, and the same words as ever").into_bytes()
    }

    #[test]
    fn every_small_value_is_a_sample_until_there_are_enough() {
        let sampler = Sampler::new(1);
        assert!(offer(&sampler, vec![b'x'; SMALL_MAX + 1]).is_none());
        let taken = (1..).find_map(|n| offer(&sampler, text(n)).map(|taken| (n, taken)));
        let (offered, samples) = taken.unwrap();
        assert_eq!((offered, samples.count()), (COUNT_MAX, COUNT_MAX));
        assert!((0..2000).all(|n| offer(&sampler, text(n)).is_none()));
        sampler.resume(1);
        assert!((0..COUNT_MAX).any(|n| offer(&sampler, text(n)).is_some()));
    }

    #[test]
    fn one_in_many_is_taken_when_asked_for() {
        let sampler = Sampler::new(8);
        let offered = (1..).find(|n| offer(&sampler, text(*n)).is_some()).unwrap();
        let expected = 8 * COUNT_MAX;
        assert!((expected / 2..expected * 2).contains(&offered), "{offered}");
    }

    #[test]
    fn noise_is_no_sample_and_is_looked_at_ever_less() {
        let sampler = Sampler::new(1);
        for _ in 0..100_000 {
            let mut noise = vec![0; 256];
            getrandom::fill(&mut noise).unwrap();
            assert!(offer(&sampler, noise).is_none());
        }
        assert_eq!(sampler.stride.load(Ordering::Relaxed), STRIDE_OF_NOISE);
        assert_eq!(sampler.window.lock().unwrap().samples.count(), 0);
    }
}
