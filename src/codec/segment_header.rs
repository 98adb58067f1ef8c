//! The first 4 KiB of a segment: who it belongs to, its salt, and where its predecessor ends.

use super::{Cursor, FormatError};
use crate::model::{SegmentId, ShardId, StoreId, Version};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes before the first frame. Two copies of the header stand in them, so that one damaged
/// sector does not make a segment unreadable.
pub const SEGMENT_HEADER_SIZE: usize = 4096;
/// The format this program writes; it reads every one before.
pub const FORMAT_VERSION: u32 = 4;

const MAGIC: &[u8; 8] = b"shkpseg\0";
const COPY_SIZE: usize = 104;
const COPY_OFFSETS: [usize; 2] = [0, 2048];

/// See `FORMAT.md`, "Segment header".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The format that its records are of: [`FORMAT_VERSION`], or an earlier one.
    pub format: u32,
    /// The store.
    pub store: StoreId,
    /// The shard.
    pub shard: ShardId,
    /// This segment.
    pub segment: SegmentId,
    /// Random; keys every checksum in the segment, so that nothing written under another salt
    /// (a recycled file's old frames, a value that looks like a frame) can pass.
    pub salt: u64,
    /// The segment before, 0 for the first of a log.
    pub prev_segment: SegmentId,
    /// Where the segment before ends; bytes behind that were never acknowledged.
    pub prev_end: u64,
    /// `header_sum` of the last frame before, 0 when there is none.
    pub prev_sum: u64,
    /// The store-wide version counter when the segment was made.
    pub counter: Version,
    /// The last sequence number given before this segment.
    pub last_seq: u64,
}

impl SegmentHeader {
    /// The header block.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(COPY_SIZE);
        copy.extend_from_slice(MAGIC);
        copy.extend_from_slice(&self.format.to_le_bytes());
        copy.extend_from_slice(&self.shard.0.to_le_bytes());
        copy.extend_from_slice(&[0; 2]);
        copy.extend_from_slice(&self.store.0.to_le_bytes());
        for field in [
            self.segment.0,
            self.salt,
            self.prev_segment.0,
            self.prev_end,
            self.prev_sum,
            self.counter.0,
            self.last_seq,
        ] {
            copy.extend_from_slice(&field.to_le_bytes());
        }
        copy.extend_from_slice(&[0; 8]);
        let sum = xxh3_64(&copy);
        copy.extend_from_slice(&sum.to_le_bytes());
        debug_assert_eq!(copy.len(), COPY_SIZE);
        let mut block = vec![0; SEGMENT_HEADER_SIZE];
        for offset in COPY_OFFSETS {
            block[offset..offset + COPY_SIZE].copy_from_slice(&copy);
        }
        block
    }

    /// Reads the first copy that is whole.
    ///
    /// # Errors
    /// The error of the first copy when neither is.
    pub fn decode(block: &[u8]) -> Result<Self, FormatError> {
        if block.len() < SEGMENT_HEADER_SIZE {
            return Err(FormatError::Short {
                needed: SEGMENT_HEADER_SIZE,
                got: block.len(),
            });
        }
        let [first, second] = COPY_OFFSETS.map(|at| Self::decode_copy(&block[at..at + COPY_SIZE]));
        first.or_else(|error| second.map_err(|_| error))
    }

    fn decode_copy(copy: &[u8]) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(copy);
        if &cursor.array::<8>()? != MAGIC {
            return Err(FormatError::Magic { what: "segment" });
        }
        let format = cursor.u32()?;
        if format > FORMAT_VERSION {
            return Err(FormatError::Newer {
                what: "segment",
                found: format,
                known: FORMAT_VERSION,
            });
        }
        let (body, sum) = copy.split_at(COPY_SIZE - 8);
        if xxh3_64(body).to_le_bytes() != sum {
            return Err(FormatError::Checksum {
                what: "segment header",
            });
        }
        let shard = ShardId(cursor.u16()?);
        cursor.take(2)?;
        let store = StoreId(cursor.u128()?);
        Ok(Self {
            format,
            store,
            shard,
            segment: SegmentId(cursor.u64()?),
            salt: cursor.u64()?,
            prev_segment: SegmentId(cursor.u64()?),
            prev_end: cursor.u64()?,
            prev_sum: cursor.u64()?,
            counter: Version(cursor.u64()?),
            last_seq: cursor.u64()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> SegmentHeader {
        SegmentHeader {
            format: FORMAT_VERSION,
            store: StoreId(0x0102),
            shard: ShardId(3),
            segment: SegmentId(7),
            salt: 0xdead_beef,
            prev_segment: SegmentId(6),
            prev_end: 5000,
            prev_sum: 99,
            counter: Version(41),
            last_seq: 77,
        }
    }

    #[test]
    fn a_header_survives_the_loss_of_either_copy() {
        let block = sample().encode();
        assert_eq!(SegmentHeader::decode(&block), Ok(sample()));
        for offset in COPY_OFFSETS {
            let mut damaged = block.clone();
            damaged[offset + 40] ^= 1;
            assert_eq!(SegmentHeader::decode(&damaged), Ok(sample()));
        }
        let mut gone = block;
        for offset in COPY_OFFSETS {
            gone[offset + 40] ^= 1;
        }
        assert_eq!(
            SegmentHeader::decode(&gone),
            Err(FormatError::Checksum {
                what: "segment header"
            })
        );
    }

    #[test]
    fn the_offsets_are_those_of_the_format_document() {
        let block = sample().encode();
        assert_eq!(&block[0..8], MAGIC);
        assert_eq!(block[8..12], FORMAT_VERSION.to_le_bytes());
        assert_eq!(block[12..14], 3u16.to_le_bytes());
        assert_eq!(block[16..32], 0x0102u128.to_le_bytes());
        assert_eq!(block[32..40], 7u64.to_le_bytes());
        assert_eq!(block[40..48], 0xdead_beefu64.to_le_bytes());
        assert_eq!(block[48..56], 6u64.to_le_bytes());
        assert_eq!(block[56..64], 5000u64.to_le_bytes());
        assert_eq!(block[64..72], 99u64.to_le_bytes());
        assert_eq!(block[72..80], 41u64.to_le_bytes());
        assert_eq!(block[80..88], 77u64.to_le_bytes());
        assert_eq!(block[2048..2152], block[0..104]);
    }
}
