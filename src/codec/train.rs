//! Making a dictionary from samples of values, and judging whether it is worth keeping.

use super::{
    Dictionaries, Dictionary, DictionaryEncoder, DictionaryId, FormatError, Sealer, sum64_of,
};
use crate::model::{ValueInfo, Version};
use bytes::Bytes;
use std::num::NonZeroU32;

/// Every so many samples, one is kept from the training for the judgement.
const HELD_OUT: usize = 5;
/// A dictionary is at most this share of its samples: a larger one would only quote them.
const SAMPLES_PER_DICTIONARY: usize = 4;
/// zstd's names for private use begin here (RFC 8878, section 3.1.1.1.3).
const ID_MIN: u32 = 32_768;
const ID_COUNT: u32 = (1 << 31) - ID_MIN;
/// Where a dictionary's name stands in it, behind the magic number.
const ID_AT: std::ops::Range<usize> = 4..8;

/// Values of one sort, end to end, in bounded memory.
#[derive(Debug, Default)]
pub struct Samples {
    bytes: Vec<u8>,
    sizes: Vec<usize>,
}

impl Samples {
    /// Adds one.
    pub fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.sizes.push(value.len());
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sizes.len()
    }

    /// Bytes of all.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes[..];
        self.sizes.iter().map(move |size| {
            let (first, behind) = rest.split_at(*size);
            rest = behind;
            first
        })
    }

    /// Those to train with and those to judge by.
    fn split(&self) -> (Self, Self) {
        let (mut training, mut held_out) = (Self::default(), Self::default());
        for (number, sample) in self.iter().enumerate() {
            let part = if number % HELD_OUT == 0 {
                &mut held_out
            } else {
                &mut training
            };
            part.push(sample);
        }
        (training, held_out)
    }

    /// Bytes that all samples would be stored in, as a share of their own.
    #[must_use]
    pub fn share_stored(&self, sealer: &Sealer, dictionary: Option<&DictionaryEncoder>) -> f64 {
        let stored = |sample: &[u8]| {
            let info = ValueInfo {
                raw_len: sample.len() as u64,
                sum64: 0,
            };
            let raw = Bytes::copy_from_slice(sample);
            sealer.seal_with(dictionary, raw, info, None).payload.len()
        };
        let stored: usize = self.iter().map(stored).sum();
        stored as f64 / self.bytes().max(1) as f64
    }
}

/// A dictionary that was trained, and what it does for values it was not trained with.
#[derive(Debug)]
pub struct Trained {
    /// Ready to compress with.
    pub encoder: DictionaryEncoder,
    /// The stored share of the samples that were held out.
    pub share: f64,
    /// The same with what there was before.
    pub share_before: f64,
}

/// What a dictionary is trained for.
#[derive(Debug, Clone, Copy)]
pub struct Training<'a> {
    /// Most bytes that it may have.
    pub size_max: usize,
    /// How values are sealed.
    pub sealer: Sealer,
    /// What they are compressed with so far.
    pub before: Option<&'a DictionaryEncoder>,
    /// The store's version counter.
    pub now: Version,
    /// Those that there are, so that no name is given twice.
    pub known: &'a Dictionaries,
}

/// Trains a dictionary and compares it with what there was before, on samples that it has not seen.
///
/// # Errors
/// `Decompress` when zstd makes nothing of the samples: there are too few, or they have nothing in
/// common.
pub fn train(samples: &Samples, purpose: Training<'_>) -> Result<Trained, FormatError> {
    let Training {
        size_max,
        sealer,
        before,
        now,
        known,
    } = purpose;
    let (training, held_out) = samples.split();
    let size = size_max.min(training.bytes() / SAMPLES_PER_DICTIONARY);
    let mut bytes = zstd::dict::from_continuous(&training.bytes, &training.sizes, size)
        .map_err(|error| FormatError::Decompress(error.to_string()))?;
    name(&mut bytes, known);
    let dictionary = Dictionary::parse(Bytes::from(bytes), now)?;
    let encoder = DictionaryEncoder::new(dictionary.into(), sealer.level);
    Ok(Trained {
        share: held_out.share_stored(&sealer, Some(&encoder)),
        share_before: held_out.share_stored(&sealer, before),
        encoder,
    })
}

/// Writes a name into a dictionary: drawn from its content, the next free one where that is given.
fn name(dictionary: &mut [u8], known: &Dictionaries) {
    let drawn = (sum64_of(dictionary) % u64::from(ID_COUNT)) as u32;
    let names = (0..ID_COUNT).map(|step| ID_MIN + (drawn + step) % ID_COUNT);
    let mut names = names.filter_map(NonZeroU32::new);
    let free = names.find(|id| known.get(DictionaryId(*id)).is_none());
    if let (Some(free), Some(place)) = (free, dictionary.get_mut(ID_AT)) {
        place.copy_from_slice(&free.get().to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::open_sealed;
    use crate::model::{Codec, SealedValue};

    const SEALER: Sealer = Sealer {
        level: 3,
        probe_size: 65_536,
        min_gain: 0.05,
    };

    fn record(number: u64) -> String {
        let odd = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let status = ["pending", "paid", "shipped", "returned"][(odd >> 40) as usize % 4];
        format!(
            "{{\"type\":\"order\",\"order_id\":\"ORD-{number:08}\",\"status\":\"{status}\",\
             \"currency\":\"EUR\",\"customer\":{},\"tracking\":\"{:012}\",\"total\":{}.{:02}}}",
            odd >> 44,
            odd % 1_000_000_000_000,
            odd % 997,
            odd % 89
        )
    }

    fn samples() -> Samples {
        let mut samples = Samples::default();
        (0..1000).for_each(|number| samples.push(record(number).as_bytes()));
        samples
    }

    fn trained(known: &Dictionaries) -> Trained {
        let purpose = Training {
            size_max: 16_384,
            sealer: SEALER,
            before: None,
            now: Version(7),
            known,
        };
        train(&samples(), purpose).unwrap()
    }

    fn sealed(encoder: &DictionaryEncoder, raw: &str) -> SealedValue {
        let info = ValueInfo {
            raw_len: raw.len() as u64,
            sum64: sum64_of(raw.as_bytes()),
        };
        SEALER.seal_with(
            Some(encoder),
            Bytes::copy_from_slice(raw.as_bytes()),
            info,
            None,
        )
    }

    #[test]
    fn a_dictionary_halves_small_values_that_are_alike() {
        let trained = trained(&Dictionaries::default());
        assert!(trained.share * 2.0 < trained.share_before, "{trained:?}");
        let dictionary = trained.encoder.dictionary();
        assert!(dictionary.bytes().len() <= 16_384);
        assert!(dictionary.id().0.get() >= ID_MIN && dictionary.id().0.get() < 1 << 31);
    }

    #[test]
    fn a_name_that_is_given_is_not_given_again() {
        let known = Dictionaries::default();
        let first = trained(&known).encoder.dictionary().clone();
        known.add(first.clone()).unwrap();
        let second = trained(&known).encoder.dictionary().clone();
        assert_ne!(first.id(), second.id());
    }

    #[test]
    fn a_value_opens_with_its_dictionary_only() {
        let trained = trained(&Dictionaries::default());
        let raw = record(123_456);
        let value = sealed(&trained.encoder, &raw);
        let (payload, raw_len) = (value.payload.clone(), value.info.raw_len);
        let id = trained.encoder.dictionary().id();
        assert_eq!(DictionaryId::of_payload(value.codec, &payload), Some(id));
        let missing = Err(FormatError::Dictionary(id));
        let known = Dictionaries::default();
        assert_eq!(known.open(Codec::Zstd, payload.clone(), raw_len), missing);
        assert_eq!(open_sealed(Codec::Zstd, payload.clone(), raw_len), missing);
        known.add(trained.encoder.dictionary().clone()).unwrap();
        let opened = known.open(Codec::Zstd, payload, raw_len).unwrap();
        assert_eq!(opened, raw.as_bytes());
        let alone = known.without(value).unwrap();
        let opened = open_sealed(alone.codec, alone.payload, raw_len).unwrap();
        assert_eq!(opened, raw.as_bytes());
    }

    #[test]
    fn two_dictionaries_cannot_have_one_name() {
        let known = Dictionaries::default();
        let first = trained(&Dictionaries::default());
        let first = first.encoder.dictionary();
        known.add(first.clone()).unwrap();
        known.add(first.clone()).unwrap();
        let mut bytes = first.bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        let other = Dictionary::parse(Bytes::from(bytes), Version(8)).unwrap();
        assert!(known.add(other.into()).is_err());
        assert_eq!(known.get(first.id()).unwrap().bytes(), first.bytes());
    }

    #[test]
    fn what_is_no_dictionary_is_refused() {
        for bytes in [&b""[..], b"no dictionary", &[0; 200]] {
            let parsed = Dictionary::parse(Bytes::copy_from_slice(bytes), Version(1));
            assert!(parsed.is_err(), "{bytes:?}");
        }
    }
}
