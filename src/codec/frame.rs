//! The frame around a group: what one commit appends.

use super::{Cursor, FormatError};
use crate::model::{SegmentId, Seq, ShardId, StoreId, Timestamp, Version};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes of a frame before its records.
pub const FRAME_HEADER_SIZE: usize = 136;

/// The checksum stands behind magic, length and role, and covers everything after itself.
const SUMMED_FROM: usize = 16;

/// What a group is to a transaction. Right behind a prepare stands its decision, unless the log
/// ends there: then it is undecided, and its records say nothing yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The group stands for itself.
    Single,
    /// One shard's part of a transaction that is not decided here.
    Prepare,
    /// The decision about a transaction: for it if it names participants, against it if none.
    Decide,
}

/// Which transaction a group belongs to, and as what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// What the group is to it.
    pub role: Role,
    /// Shards that take part; 0 for a single group and for a transaction that was given up.
    pub participants: u8,
    /// The version that was drawn for the transaction before any of its frames was written; 0 for
    /// none.
    pub transaction: u64,
}

impl Membership {
    /// A group that stands for itself.
    pub const NONE: Self = Self {
        role: Role::Single,
        participants: 0,
        transaction: 0,
    };
}

/// See `FORMAT.md`, "Group frame".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Which transaction the group belongs to.
    pub membership: Membership,
    /// The store.
    pub store: StoreId,
    /// The shard.
    pub shard: ShardId,
    /// Records in the group.
    pub record_count: u32,
    /// The segment.
    pub segment: SegmentId,
    /// Where the frame stands in the segment.
    pub position: u64,
    /// Bytes of the records' headers and ids.
    pub meta_len: u32,
    /// Bytes of the records' payloads.
    pub payload_len: u64,
    /// XXH3-64 of headers and ids, keyed by the segment's salt.
    pub meta_sum: u64,
    /// `header_sum` of the frame before, in this segment or the one before.
    pub prev_sum: u64,
    /// The store-wide version counter when the group was planned.
    pub counter: Version,
    /// The highest sequence number in this log, this group included.
    pub last_seq: Seq,
    /// How far this log was known to be synced when the group was written.
    pub durable_segment: SegmentId,
    /// See `durable_segment`.
    pub durable_offset: u64,
    /// The time at the door of the group's newest command.
    pub now: Timestamp,
}

impl FrameHeader {
    /// The first bytes of every frame.
    pub const MAGIC: &[u8; 4] = b"skGF";

    /// The bytes and their `header_sum`, which the next frame names as its `prev_sum`.
    #[must_use]
    pub fn encode(&self, salt: u64) -> ([u8; FRAME_HEADER_SIZE], u64) {
        let mut out = Vec::with_capacity(FRAME_HEADER_SIZE);
        out.extend_from_slice(Self::MAGIC);
        out.extend_from_slice(&(FRAME_HEADER_SIZE as u16).to_le_bytes());
        out.push(role_byte(self.membership.role));
        out.push(self.membership.participants);
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.store.0.to_le_bytes());
        out.extend_from_slice(&self.shard.0.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.record_count.to_le_bytes());
        out.extend_from_slice(&self.segment.0.to_le_bytes());
        out.extend_from_slice(&self.position.to_le_bytes());
        out.extend_from_slice(&self.meta_len.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for field in [
            self.payload_len,
            self.meta_sum,
            self.prev_sum,
            self.counter.0,
            self.last_seq.0,
            self.durable_segment.0,
            self.durable_offset,
            self.now.0,
            self.membership.transaction,
        ] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        let sum = header_sum(&out, salt);
        out[8..16].copy_from_slice(&sum.to_le_bytes());
        let bytes = <[u8; FRAME_HEADER_SIZE]>::try_from(out).expect("the fields fill the header");
        (bytes, sum)
    }

    /// The header and its `header_sum`.
    ///
    /// # Errors
    /// When these bytes are not a frame header written under this salt.
    pub fn decode(bytes: &[u8], salt: u64) -> Result<(Self, u64), FormatError> {
        if bytes.len() < FRAME_HEADER_SIZE {
            return Err(FormatError::Short {
                needed: FRAME_HEADER_SIZE,
                got: bytes.len(),
            });
        }
        let bytes = &bytes[..FRAME_HEADER_SIZE];
        let mut cursor = Cursor::new(bytes);
        if &cursor.array::<4>()? != Self::MAGIC {
            return Err(FormatError::Magic { what: "frame" });
        }
        let len = cursor.u16()?;
        let role = cursor.u8()?;
        let participants = cursor.u8()?;
        let sum = cursor.u64()?;
        if sum != header_sum(bytes, salt) || usize::from(len) != FRAME_HEADER_SIZE {
            return Err(FormatError::Checksum {
                what: "frame header",
            });
        }
        let store = StoreId(cursor.u128()?);
        let shard = ShardId(cursor.u16()?);
        cursor.take(2)?;
        let record_count = cursor.u32()?;
        let segment = SegmentId(cursor.u64()?);
        let position = cursor.u64()?;
        let meta_len = cursor.u32()?;
        cursor.take(4)?;
        let mut header = Self {
            membership: Membership {
                role: parse_role(role)?,
                participants,
                transaction: 0,
            },
            store,
            shard,
            record_count,
            segment,
            position,
            meta_len,
            payload_len: cursor.u64()?,
            meta_sum: cursor.u64()?,
            prev_sum: cursor.u64()?,
            counter: Version(cursor.u64()?),
            last_seq: Seq(cursor.u64()?),
            durable_segment: SegmentId(cursor.u64()?),
            durable_offset: cursor.u64()?,
            now: Timestamp(cursor.u64()?),
        };
        header.membership.transaction = cursor.u64()?;
        Ok((header, sum))
    }

    /// Bytes of the whole frame; of a header that no writer made, no fewer than it says.
    #[must_use]
    pub fn frame_len(&self) -> u64 {
        let front = FRAME_HEADER_SIZE as u64 + u64::from(self.meta_len);
        self.payload_len.saturating_add(front)
    }

    /// The checksum of a group's headers and ids.
    #[must_use]
    pub fn meta_sum_of(meta: &[u8], salt: u64) -> u64 {
        xxh3_64_with_seed(meta, salt)
    }
}

/// Covers the length, role and participants too: they are mixed into the key.
fn header_sum(bytes: &[u8], salt: u64) -> u64 {
    let mut head = [0; 8];
    head.copy_from_slice(&bytes[..8]);
    xxh3_64_with_seed(&bytes[SUMMED_FROM..], salt ^ u64::from_le_bytes(head))
}

fn role_byte(role: Role) -> u8 {
    match role {
        Role::Single => 0,
        Role::Prepare => 1,
        Role::Decide => 2,
    }
}

fn parse_role(byte: u8) -> Result<Role, FormatError> {
    match byte {
        0 => Ok(Role::Single),
        1 => Ok(Role::Prepare),
        2 => Ok(Role::Decide),
        other => Err(FormatError::Field {
            field: "frame role",
            value: u64::from(other),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> FrameHeader {
        FrameHeader {
            membership: Membership {
                role: Role::Prepare,
                participants: 2,
                transaction: 17,
            },
            store: StoreId(5),
            shard: ShardId(2),
            record_count: 3,
            segment: SegmentId(9),
            position: 4096,
            meta_len: 300,
            payload_len: 1 << 33,
            meta_sum: 11,
            prev_sum: 12,
            counter: Version(13),
            last_seq: Seq(14),
            durable_segment: SegmentId(8),
            durable_offset: 15,
            now: Timestamp(16),
        }
    }

    #[test]
    fn a_frame_written_under_another_salt_does_not_pass() {
        let (bytes, sum) = sample().encode(1);
        assert_eq!(FrameHeader::decode(&bytes, 1), Ok((sample(), sum)));
        assert!(FrameHeader::decode(&bytes, 2).is_err());
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let (bytes, _) = sample().encode(42);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(
                FrameHeader::decode(&damaged, 42).is_err(),
                "bit {bit} went unnoticed"
            );
        }
    }

    #[test]
    fn the_offsets_are_those_of_the_format_document() {
        let (bytes, sum) = sample().encode(42);
        assert_eq!(&bytes[0..4], FrameHeader::MAGIC);
        assert_eq!(bytes[4..6], 136u16.to_le_bytes());
        assert_eq!(bytes[6..8], [1, 2]);
        assert_eq!(bytes[8..16], sum.to_le_bytes());
        assert_eq!(bytes[16..32], 5u128.to_le_bytes());
        assert_eq!(bytes[32..34], 2u16.to_le_bytes());
        assert_eq!(bytes[36..40], 3u32.to_le_bytes());
        assert_eq!(bytes[40..48], 9u64.to_le_bytes());
        assert_eq!(bytes[48..56], 4096u64.to_le_bytes());
        assert_eq!(bytes[56..60], 300u32.to_le_bytes());
        assert_eq!(bytes[64..72], (1u64 << 33).to_le_bytes());
        for (index, field) in [11u64, 12, 13, 14, 8, 15, 16, 17].into_iter().enumerate() {
            let at = 72 + index * 8;
            assert_eq!(bytes[at..at + 8], field.to_le_bytes(), "field at {at}");
        }
    }
}
