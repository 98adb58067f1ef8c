//! How values are sealed at the door: small ones with the dictionary that suits what comes in.
//!
//! A dictionary is trained in the background from samples (see `sampler`), judged on values it was
//! not trained with, and used only if it saves a tenth more than what there was. From then on the
//! samples watch it: when values come out a good deal larger than they did at first, another is
//! trained. Those before stay, since values in the log need them. What is worth no dictionary is
//! looked at ever less often, and their number is bounded.

use super::sampler::{SMALL_MAX, Sampler};
use crate::codec::{
    Dictionaries, DictionaryEncoder, DictionaryId, FormatError, Samples, Sealer, Trained, Training,
    open_sealed, train,
};
use crate::model::{Digest, SealedValue, ValueInfo, VersionCounter};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError};

/// Dictionaries of a store at most: each is in memory, and in each shard's log that needs it.
const DICTIONARIES_MAX: usize = 64;
/// One in so many values is a sample while a dictionary is watched.
const STRIDE_OF_WATCH: u64 = 64;
/// One in so many values at the least, when training was in vain again and again.
const STRIDE_MAX: u64 = 1 << 16;
/// A new dictionary must store in this share of what the values took before.
const WORTH: f64 = 0.9;
/// When values take so many times what they took at first, the dictionary is outlived.
const OUTLIVED: f64 = 1.15;

/// Seals values, and learns from them. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Sealing(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sealer: Sealer,
    size_max: usize,
    counter: Arc<VersionCounter>,
    known: Arc<Dictionaries>,
    current: ArcSwapOption<DictionaryEncoder>,
    sampler: Sampler,
    progress: Mutex<Progress>,
}

/// What came of the samples so far.
#[derive(Debug, Clone, Copy)]
struct Progress {
    stride: u64,
    /// What the dictionary stores values in, as a share of their own size, when it was new.
    share: Option<f64>,
}

impl Sealing {
    /// Goes on with the newest dictionary of a store. `size_max` is the largest that is trained, in
    /// bytes; without it none is used or trained.
    pub fn new(
        sealer: Sealer,
        size_max: Option<usize>,
        known: Arc<Dictionaries>,
        counter: Arc<VersionCounter>,
    ) -> Self {
        let size_max = size_max.filter(|_| sealer.level != 0);
        let newest = size_max.and_then(|_| known.newest());
        let stride = match (size_max, &newest) {
            (None, _) => 0,
            (Some(_), None) => 1,
            (Some(_), Some(_)) => STRIDE_OF_WATCH,
        };
        let encoder = newest.map(|it| Arc::new(DictionaryEncoder::new(it, sealer.level)));
        Self(Arc::new(Inner {
            sealer,
            size_max: size_max.unwrap_or_default(),
            counter,
            known,
            current: ArcSwapOption::new(encoder),
            sampler: Sampler::new(stride),
            progress: Mutex::new(Progress {
                stride,
                share: None,
            }),
        }))
    }

    /// Compresses a value where that pays, and checksums what will be stored.
    pub fn seal(&self, raw: Bytes, info: ValueInfo, digest: Option<Digest>) -> SealedValue {
        let inner = &self.0;
        if raw.len() > SMALL_MAX {
            return inner.sealer.seal(raw, info, digest);
        }
        let current = inner.current.load();
        let sealed = inner
            .sealer
            .seal_with(current.as_deref(), raw.clone(), info, digest);
        if let Some(samples) = inner.sampler.offer(&raw, &sealed) {
            self.learn_in_background(samples);
        }
        sealed
    }

    /// A small value that was sealed alone, sealed as those that come in now.
    ///
    /// # Errors
    /// When it does not open.
    pub fn seal_again(&self, value: SealedValue) -> Result<SealedValue, FormatError> {
        if self.0.size_max == 0 || value.info.raw_len > SMALL_MAX as u64 {
            return Ok(value);
        }
        let raw = open_sealed(value.codec, value.payload, value.info.raw_len)?;
        Ok(self.seal(raw, value.info, value.digest))
    }

    fn learn_in_background(&self, samples: Samples) {
        let inner = self.0.clone();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || inner.learn(&samples))),
            Err(_) => inner.learn(&samples),
        }
    }
}

impl Inner {
    /// Looks at samples, trains a dictionary if there should be another one, and takes more samples.
    fn learn(&self, samples: &Samples) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load_full();
        let share = samples.share_stored(&self.sealer, current.as_deref());
        let suits = progress
            .share
            .is_some_and(|first| share <= first * OUTLIVED);
        let is_first_look = current.is_some() && progress.share.is_none();
        if suits || is_first_look {
            progress.share.get_or_insert(share);
        } else if let Some(adopted) = self.improve(samples, current.as_deref()) {
            *progress = Progress {
                stride: STRIDE_OF_WATCH,
                share: Some(adopted),
            };
        } else {
            // What comes in has nothing in common, or no more than it had before.
            progress.stride = (progress.stride * 8).min(STRIDE_MAX);
            progress.share = current.is_some().then_some(share);
        }
        let is_full = self.known.count() >= DICTIONARIES_MAX;
        self.sampler
            .resume(if is_full { 0 } else { progress.stride });
    }

    /// Trains a dictionary and uses it if it is worth it: the share that it stores values in.
    fn improve(&self, samples: &Samples, before: Option<&DictionaryEncoder>) -> Option<f64> {
        let purpose = Training {
            size_max: self.size_max,
            sealer: self.sealer,
            before,
            now: self.counter.current(),
            known: &self.known,
        };
        let Trained {
            encoder,
            share,
            share_before,
        } = match train(samples, purpose) {
            Ok(trained) => trained,
            Err(error) => {
                tracing::debug!(%error, "no dictionary came of the samples");
                return None;
            }
        };
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let (stored, stored_before) = (percent(share), percent(share_before));
        if share > share_before * WORTH {
            tracing::debug!(%stored, %stored_before, "a dictionary would not be worth it");
            return None;
        }
        let dictionary = encoder.dictionary();
        let (id, bytes): (DictionaryId, usize) = (dictionary.id(), dictionary.bytes().len());
        // Known before it is used: whoever writes a value must find its dictionary.
        if let Err(error) = self.known.add(dictionary.clone()) {
            tracing::debug!(%error, "a dictionary has the name of another");
            return None;
        }
        self.current.store(Some(Arc::new(encoder)));
        tracing::info!(%id, bytes, %stored, %stored_before, "small values are compressed with a new dictionary");
        Some(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::sum64_of;

    const SEALER: Sealer = Sealer {
        level: 3,
        probe_size: 65_536,
        min_gain: 0.05,
    };

    fn sealing(size_max: Option<usize>, known: &Arc<Dictionaries>) -> Sealing {
        Sealing::new(SEALER, size_max, known.clone(), Arc::default())
    }

    fn seal(sealing: &Sealing, raw: &str) -> SealedValue {
        let info = ValueInfo {
            raw_len: raw.len() as u64,
            sum64: sum64_of(raw.as_bytes()),
        };
        sealing.seal(Bytes::copy_from_slice(raw.as_bytes()), info, None)
    }

    /// Numbers that look unlike each other.
    fn mix(number: u64) -> u64 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
    }

    fn order(number: u64) -> String {
        let (odd, other) = (mix(number), mix(number + 1_000_000));
        format!(r#"{{"type":"order","currency":"EUR","customer":{odd},"total":{other}}}"#)
    }

    fn weather(number: u64) -> String {
        let (odd, other) = (mix(number + 2_000_000), mix(number + 3_000_000));
        format!("station={odd} | wind={other} | visibility=unlimited | observer=nobody")
    }

    fn stored(sealing: &Sealing, sort: fn(u64) -> String) -> usize {
        let size = |number| seal(sealing, &sort(number)).payload.len();
        (500_000..500_100).map(size).sum()
    }

    #[test]
    fn values_that_are_alike_get_a_dictionary_and_others_another() {
        let known: Arc<Dictionaries> = Arc::default();
        let sealing = sealing(Some(16 * 1024), &known);
        let alone = stored(&sealing, order);
        (0..1000).for_each(|number| drop(seal(&sealing, &order(number))));
        assert_eq!(known.count(), 1);
        assert!(stored(&sealing, order) * 3 < alone * 2);
        // Many more of the same sort are no reason for another one.
        (0..150_000).for_each(|number| drop(seal(&sealing, &order(number))));
        assert_eq!(known.count(), 1);
        let unsuited = stored(&sealing, weather);
        (0..150_000).for_each(|number| drop(seal(&sealing, &weather(number))));
        assert_eq!(known.count(), 2);
        assert!(stored(&sealing, weather) * 3 < unsuited * 2);
    }

    #[test]
    fn the_newest_dictionary_is_used_again_after_a_start() {
        let known: Arc<Dictionaries> = Arc::default();
        let before = sealing(Some(16 * 1024), &known);
        (0..1000).for_each(|number| drop(seal(&before, &order(number))));
        let again = sealing(Some(16 * 1024), &known);
        assert_eq!(stored(&again, order), stored(&before, order));
        assert!(stored(&sealing(None, &known), order) > stored(&again, order));
    }

    #[test]
    fn values_with_nothing_in_common_get_none() {
        let known: Arc<Dictionaries> = Arc::default();
        let sealing = sealing(Some(16 * 1024), &known);
        for number in 0..20_000u64 {
            let digits: String = (0..8)
                .map(|step| mix(number * 8 + step).to_string())
                .collect();
            seal(&sealing, &digits);
        }
        assert_eq!(known.count(), 0);
    }

    #[test]
    fn a_value_that_was_sealed_alone_is_sealed_with_the_dictionary() {
        let known: Arc<Dictionaries> = Arc::default();
        let sealing = sealing(Some(16 * 1024), &known);
        let alone = seal(&sealing, &order(77));
        (0..1000).for_each(|number| drop(seal(&sealing, &order(number))));
        let again = sealing.seal_again(alone.clone()).unwrap();
        assert!(again.payload.len() < alone.payload.len());
        let raw = known.open(again.codec, again.payload, again.info.raw_len);
        assert_eq!(raw.unwrap(), order(77));
    }
}
