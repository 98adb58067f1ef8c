//! A value as it moves inside the house: sealed once at the door, opened once on its way out.

use super::{BlobRef, Digest, RefId};
use bytes::Bytes;
use std::ops::Range;

/// How a payload is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// The raw bytes.
    Raw,
    /// One zstd frame of the raw bytes.
    Zstd,
    /// The list of the chunks that the raw bytes are made of, each a blob of its own.
    Chunks,
}

/// What is known of a value without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ValueInfo {
    /// Bytes of the raw value.
    pub raw_len: u64,
    /// xxh64 of the raw value, seed 0: the client's checksum.
    pub sum64: u64,
}

impl ValueInfo {
    /// What of a range lies in the value: nothing of one that begins behind its end.
    #[must_use]
    pub fn part(&self, range: &Range<u64>) -> Range<u64> {
        part_in(self.raw_len, range)
    }
}

/// What of a range lies in a value of so many bytes: nothing of one that begins behind its end, or ends
/// before it begins.
#[must_use]
pub fn part_in(len: u64, range: &Range<u64>) -> Range<u64> {
    let start = range.start.min(len);
    start..range.end.clamp(start, len)
}

/// A part of a value that is in memory, as indices of its bytes.
#[must_use]
pub fn indices_of(part: &Range<u64>) -> Range<usize> {
    let index = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
    index(part.start)..index(part.end)
}

/// A value with everything the log needs to store it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedValue {
    /// Length and checksum of the raw value.
    pub info: ValueInfo,
    /// BLAKE3 of the raw value, where it was needed.
    pub digest: Option<Digest>,
    /// How `payload` is stored.
    pub codec: Codec,
    /// XXH3-64 of `payload`, made at the door so that damage on the way to the disk shows too.
    pub payload_sum: u64,
    /// The stored bytes.
    pub payload: Bytes,
}

/// A piece of a large value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Of the raw piece, which is a blob of its own.
    pub digest: Digest,
    /// Bytes of the raw piece.
    pub raw_len: u32,
}

/// What a large value is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkList {
    /// The name of the list's references: it has one to each of its chunks, all by this name.
    pub ref_id: RefId,
    /// The pieces in their order; one may come again.
    pub chunks: Vec<Chunk>,
}

impl ChunkList {
    /// The list's references, each once.
    #[must_use]
    pub fn references(&self) -> Vec<BlobRef> {
        let ref_id = self.ref_id;
        let mut digests: Vec<Digest> = self.chunks.iter().map(|chunk| chunk.digest).collect();
        digests.sort_unstable();
        digests.dedup();
        let blob = |digest| BlobRef { digest, ref_id };
        digests.into_iter().map(blob).collect()
    }

    /// The chunks that a range of the value touches, and the part of each that is in it.
    pub fn parts(&self, range: Range<u64>) -> impl Iterator<Item = (Chunk, Range<usize>)> + '_ {
        let mut at = 0;
        self.chunks.iter().filter_map(move |chunk| {
            let begin = at;
            at += u64::from(chunk.raw_len);
            let (from, to) = (range.start.max(begin), range.end.min(at));
            let within = |offset: u64| usize::try_from(offset - begin).expect("below 4 GiB");
            (from < to).then(|| (*chunk, within(from)..within(to)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_touches_only_the_chunks_that_it_needs() {
        let chunk = |number: u8, raw_len| Chunk {
            digest: Digest([number; 32]),
            raw_len,
        };
        let list = ChunkList {
            ref_id: RefId(7),
            chunks: vec![chunk(1, 10), chunk(2, 5), chunk(3, 20)],
        };
        let parts = |range| -> Vec<_> {
            let parts = list.parts(range);
            parts
                .map(|(chunk, part)| (chunk.digest.0[0], part))
                .collect()
        };
        assert_eq!(parts(0..35), [(1, 0..10), (2, 0..5), (3, 0..20)]);
        assert_eq!(parts(9..11), [(1, 9..10), (2, 0..1)]);
        assert_eq!(parts(10..15), [(2, 0..5)]);
        assert_eq!(parts(34..35), [(3, 19..20)]);
        assert_eq!(parts(35..35), []);
        assert_eq!(parts(12..12), []);
    }

    #[test]
    fn a_range_is_cut_at_the_end_of_the_value() {
        let info = ValueInfo {
            raw_len: 10,
            sum64: 0,
        };
        assert_eq!(info.part(&(0..u64::MAX)), 0..10);
        assert_eq!(info.part(&(2..5)), 2..5);
        assert_eq!(info.part(&(8..20)), 8..10);
        assert!(info.part(&(10..20)).is_empty() && info.part(&(11..20)).is_empty());
    }
}
