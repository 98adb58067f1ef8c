//! Sealing a raw value at the door, opening it on its way out.

use super::{DictionaryEncoder, DictionaryId, FormatError, payload_sum};
use crate::model::{Codec, Digest, SealedValue, ValueInfo};
use bytes::Bytes;
use std::cell::RefCell;
use zstd::zstd_safe::{CCtx, DCtx, SafeResult, get_error_name};

/// How values are made smaller.
#[derive(Debug, Clone, Copy)]
pub struct Sealer {
    /// zstd level; 0 stores raw.
    pub level: i32,
    /// A longer value is judged by compressing this much of its middle first.
    pub probe_size: usize,
    /// Store raw when the gain is under this share.
    pub min_gain: f64,
}

/// Shorter values never come out smaller than a zstd frame's own overhead.
const COMPRESSIBLE_MIN: usize = 32;

/// Up to this many bytes, a look for noise costs less than letting zstd find out.
const NOISE_MAX: usize = 64 * 1024;

/// No raw value is longer: the most that `server.max_upload_size` can be.
pub const RAW_SIZE_MAX: u64 = 1 << 30;

/// A zstd block takes this much at least, and unfolds to so much at most (RFC 8878, 3.1.1.2).
const BLOCK_STORED_MIN: u64 = 4;
const BLOCK_RAW_MAX: u64 = 128 * 1024;

thread_local! {
    /// A context is some hundred KiB of tables: one per thread, not one per value.
    static COMPRESSOR: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

impl Sealer {
    /// Compresses a value where that pays, and checksums what will be stored. `info` and `digest`
    /// were computed by the caller, who needed them for its decisions.
    #[must_use]
    pub fn seal(&self, raw: Bytes, info: ValueInfo, digest: Option<Digest>) -> SealedValue {
        self.seal_with(None, raw, info, digest)
    }

    /// As [`Sealer::seal`], with a dictionary for values of its sort, prepared for this level.
    #[must_use]
    pub fn seal_with(
        &self,
        dictionary: Option<&DictionaryEncoder>,
        raw: Bytes,
        info: ValueInfo,
        digest: Option<Digest>,
    ) -> SealedValue {
        let (codec, payload) = match self.compress(&raw, dictionary) {
            Some(smaller) => (Codec::Zstd, smaller),
            None => (Codec::Raw, raw),
        };
        SealedValue {
            info,
            digest,
            codec,
            payload_sum: payload_sum(&payload),
            payload,
        }
    }

    fn compress(&self, raw: &[u8], dictionary: Option<&DictionaryEncoder>) -> Option<Bytes> {
        if self.level == 0 || raw.len() < COMPRESSIBLE_MIN {
            return None;
        }
        if raw.len() > self.probe_size.saturating_mul(2) {
            let start = (raw.len() - self.probe_size) / 2;
            self.compress_unless_noise(&raw[start..start + self.probe_size], None)?;
        }
        self.compress_unless_noise(raw, dictionary).map(Bytes::from)
    }

    fn compress_unless_noise(
        &self,
        raw: &[u8],
        dictionary: Option<&DictionaryEncoder>,
    ) -> Option<Vec<u8>> {
        if raw.len() <= NOISE_MAX && is_noise(raw) {
            return None;
        }
        self.compress_if_smaller(raw, dictionary)
    }

    /// The zstd frame, if it is smaller by `min_gain`. Its room is exactly what it may take, so
    /// zstd itself gives up on a value that does not get there.
    fn compress_if_smaller(
        &self,
        raw: &[u8],
        dictionary: Option<&DictionaryEncoder>,
    ) -> Option<Vec<u8>> {
        let limit = (raw.len() as f64 * (1.0 - self.min_gain)) as usize;
        COMPRESSOR.with_borrow_mut(|slot| {
            let context = match slot {
                Some(context) => context,
                None => slot.insert(CCtx::try_create()?),
            };
            let mut out = Vec::with_capacity(limit.max(1));
            match dictionary {
                Some(dictionary) => {
                    context.compress_using_cdict(&mut out, raw, dictionary.prepared())
                }
                None => context.compress(&mut out, raw, self.level),
            }
            .ok()?;
            out.shrink_to_fit();
            Some(out)
        })
    }
}

/// Whether bytes are spread like dice throws and repeat nothing, so that neither zstd's entropy stage
/// nor its matches can gain from them. For values of up to 64 KiB.
#[must_use]
pub fn is_noise(raw: &[u8]) -> bool {
    // Text repeats itself soon: this order finds out at once.
    let repeats = if raw.len() <= 4096 {
        repeats::<2048>(raw)
    } else {
        repeats::<16_384>(raw)
    };
    !repeats && is_spread_evenly(raw)
}

/// The chance that two bytes of a sample are equal is 1/256 for dice throws, and grows as they
/// become predictable: a quarter more is a third of a bit in eight, under what is worth storing
/// compressed. Short values vary more, so they are given three standard deviations.
fn is_spread_evenly(raw: &[u8]) -> bool {
    let mut counts = [0u32; 256];
    for byte in raw {
        counts[usize::from(*byte)] += 1;
    }
    let equal_pairs: f64 = counts
        .iter()
        .map(|count| f64::from(*count) * f64::from(count.saturating_sub(1)) / 2.0)
        .sum();
    let len = raw.len() as f64;
    let expected = len * (len - 1.0) / 2.0 / 256.0;
    equal_pairs <= expected * 1.25 + 3.0 * expected.sqrt()
}

/// Whether any eight bytes in a row stand there twice (found by hashing their first four at every
/// place, and forgetting all but the last place of each hash). An empty slot names the first place,
/// so that a slot need not be tested before it is used: in noise no branch could be foreseen.
fn repeats<const SLOTS: usize>(raw: &[u8]) -> bool {
    const SPAN: usize = size_of::<u64>();
    let mut last = [0u16; SLOTS];
    let mut spans = raw.windows(SPAN).map(span).enumerate().skip(1);
    spans.any(|(at, here)| {
        let hash = (here as u32).wrapping_mul(0x9e37_79b1) >> (32 - SLOTS.ilog2());
        let before = std::mem::replace(&mut last[hash as usize], at as u16);
        span(&raw[usize::from(before)..]) == here
    })
}

/// The first eight bytes.
fn span(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |it| u64::from_le_bytes(*it))
}

/// The raw value of a payload that stands alone.
///
/// # Errors
/// `Dictionary` when it was compressed with one, `Decompress` when zstd refuses the payload or it
/// does not have the length it should.
pub fn open_sealed(codec: Codec, payload: Bytes, raw_len: u64) -> Result<Bytes, FormatError> {
    match DictionaryId::of_payload(codec, &payload) {
        Some(id) => Err(FormatError::Dictionary(id)),
        None => open_alone(codec, payload, raw_len),
    }
}

/// The raw value of a payload that names no dictionary.
pub(super) fn open_alone(codec: Codec, payload: Bytes, raw_len: u64) -> Result<Bytes, FormatError> {
    match codec {
        Codec::Raw if payload.len() as u64 == raw_len => Ok(payload),
        Codec::Raw => Err(FormatError::Field {
            field: "raw length",
            value: raw_len,
        }),
        Codec::Zstd => with_decompressor(payload.len(), raw_len, |context, out| {
            context.decompress(out, &payload)
        }),
        Codec::Chunks => Err(FormatError::InChunks),
    }
}

/// What `work` unfolds from so many bytes with this thread's context, which must be `raw_len` bytes.
pub(super) fn with_decompressor(
    payload_len: usize,
    raw_len: u64,
    work: impl FnOnce(&mut DCtx<'static>, &mut Vec<u8>) -> SafeResult,
) -> Result<Bytes, FormatError> {
    // Room is made before zstd looks at the payload, so a length that nobody vouches for is judged
    // first: a process that asks for room that is not there is ended.
    let blocks_max = payload_len as u64 / BLOCK_STORED_MIN + 1;
    let raw_max = RAW_SIZE_MAX.min(blocks_max * BLOCK_RAW_MAX);
    let capacity = usize::try_from(raw_len).ok().filter(|_| raw_len <= raw_max);
    let capacity = capacity.ok_or(FormatError::Field {
        field: "raw length",
        value: raw_len,
    })?;
    let mut raw = Vec::with_capacity(capacity);
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let no_memory = || FormatError::Decompress("no memory for a context".to_owned());
        let context = match slot {
            Some(context) => context,
            None => slot.insert(DCtx::try_create().ok_or_else(no_memory)?),
        };
        work(context, &mut raw)
            .map_err(|code| FormatError::Decompress(get_error_name(code).to_owned()))
    })?;
    if raw.len() == capacity {
        Ok(Bytes::from(raw))
    } else {
        Err(FormatError::Decompress(format!(
            "{} bytes instead of {raw_len}",
            raw.len()
        )))
    }
}

/// The raw bytes of a foreign zstd frame, of which only an upper bound of the size is known.
///
/// # Errors
/// `Decompress` when zstd refuses the frame, its checksum does not match, or it unfolds to more
/// than `limit` bytes.
pub fn unfold(payload: &[u8], limit: u64) -> Result<Bytes, FormatError> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| FormatError::Decompress(error.to_string());
    let decoder = zstd::stream::read::Decoder::with_buffer(payload).map_err(failed)?;
    let mut raw = Vec::new();
    decoder
        .take(limit.saturating_add(1))
        .read_to_end(&mut raw)
        .map_err(failed)?;
    if raw.len() as u64 > limit {
        return Err(FormatError::Decompress(format!("more than {limit} bytes")));
    }
    Ok(Bytes::from(raw))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::sum64_of;
    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_64_with_seed;

    const SEALER: Sealer = Sealer {
        level: 3,
        probe_size: 1024,
        min_gain: 0.05,
    };

    fn seal(raw: &[u8]) -> SealedValue {
        let info = ValueInfo {
            raw_len: raw.len() as u64,
            sum64: sum64_of(raw),
        };
        SEALER.seal(Bytes::copy_from_slice(raw), info, None)
    }

    #[test]
    fn text_is_compressed_and_noise_is_stored_raw() {
        let text = b"the same words again and again. ".repeat(500);
        let sealed = seal(&text);
        assert_eq!(sealed.codec, Codec::Zstd);
        assert!(sealed.payload.len() * 10 < text.len());
        let mut state = 1u64;
        let noise: Vec<u8> = (0..16_000)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        assert_eq!(seal(&noise).codec, Codec::Raw);
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_to_the_same_bytes(raw in prop::collection::vec(0u8..4, 0..5000)) {
            let sealed = seal(&raw);
            let opened = open_sealed(sealed.codec, sealed.payload, sealed.info.raw_len).unwrap();
            prop_assert_eq!(&opened[..], &raw[..]);
        }
    }

    /// Dice throws, the same for the same seed.
    fn dice(len: usize, seed: u64) -> Vec<u8> {
        let throw = |number: u64| xxh3_64_with_seed(&number.to_le_bytes(), seed) as u8;
        (0..len as u64).map(throw).collect()
    }

    #[test]
    fn noise_is_known_from_what_repeats_or_leans() {
        for len in [32, 100, 1024, 4096, 32 * 1024] {
            // One of 250 of the shortest leans by chance.
            let known = (0..100).filter(|seed| is_noise(&dice(len, *seed))).count();
            assert!(known >= 97, "{known} of 100 of {len} bytes");
            let noise = dice(len, 1);
            let letters: Vec<u8> = noise.iter().map(|byte| b'A' + byte % 64).collect();
            assert!(len < 100 || !is_noise(&letters), "{len} bytes of 64 kinds");
            assert!(
                !is_noise(&[&noise[..], &noise[..]].concat()),
                "twice {len} bytes"
            );
        }
        assert!(!is_noise(&[0; 64]));
    }

    proptest! {
        /// Nothing that zstd would have made smaller is taken for noise.
        #[test]
        fn what_is_taken_for_noise_would_not_have_come_out_smaller(
            kinds in 1u16..=256,
            len in 32usize..4000,
            seed in any::<u64>(),
            copies in prop::collection::vec((0usize..4000, 4usize..64), 0..8),
        ) {
            let mut raw: Vec<u8> =
                dice(len, seed).iter().map(|byte| (u16::from(*byte) % kinds) as u8).collect();
            for (from, count) in copies {
                let from = from % raw.len();
                raw.extend_from_within(from..(from + count).min(raw.len()));
            }
            prop_assert!(!is_noise(&raw) || SEALER.compress_if_smaller(&raw, None).is_none());
        }
    }

    #[test]
    fn a_payload_that_unfolds_to_another_length_is_refused() {
        let sealed = seal(&vec![7; 10_000]);
        assert!(open_sealed(Codec::Zstd, sealed.payload.clone(), 9_999).is_err());
        assert!(open_sealed(Codec::Zstd, sealed.payload, 10_001).is_err());
    }

    #[test]
    fn no_room_is_made_for_a_length_that_a_payload_cannot_have() {
        let sealed = seal(&vec![7; 10_000]);
        for raw_len in [1 << 28, 1 << 40, 1 << 62, u64::MAX] {
            let refused = open_sealed(Codec::Zstd, sealed.payload.clone(), raw_len).unwrap_err();
            assert!(
                matches!(refused, FormatError::Field { value, .. } if value == raw_len),
                "{refused}"
            );
        }
        let zeros = seal(&vec![0; 64 << 20]);
        assert!(open_sealed(Codec::Zstd, zeros.payload, 64 << 20).is_ok());
    }
}
