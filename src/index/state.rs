//! The rows about the index itself: how far it is, and how full each segment is.

use crate::codec::{Cursor, FormatError};
use crate::log::{OpenContext, Position};
use crate::model::{SegmentId, Seq, Timestamp, Version};

/// Numbers of a state.
const FIELDS: usize = 13;
/// Which rows an index has: 1 with rows of expiries. Older programs write no such number.
const LAYOUT: u64 = 1;
/// Where the number of the batch stands in the row, behind the layout.
const NUMBER_OFFSET: usize = (FIELDS + 1) * 8;

/// What a shard holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Live keys.
    pub keys: u64,
    /// Raw bytes of all live keys' values, equal ones counted each time.
    pub logical_bytes: u64,
    /// Raw bytes of blobs and small values: each content once.
    pub unique_bytes: u64,
    /// Stored bytes of blobs and small values.
    pub stored_bytes: u64,
    /// Blobs.
    pub blobs: u64,
    /// References to blobs.
    pub references: u64,
}

impl Totals {
    /// Numbers of it.
    const FIELDS: usize = 6;

    /// What is left of it without another, in each number.
    #[must_use]
    pub fn without(self, other: &Self) -> Self {
        Self {
            keys: self.keys.saturating_sub(other.keys),
            logical_bytes: self.logical_bytes.saturating_sub(other.logical_bytes),
            unique_bytes: self.unique_bytes.saturating_sub(other.unique_bytes),
            stored_bytes: self.stored_bytes.saturating_sub(other.stored_bytes),
            blobs: self.blobs.saturating_sub(other.blobs),
            references: self.references.saturating_sub(other.references),
        }
    }

    /// Both together.
    #[must_use]
    pub fn with(self, other: &Self) -> Self {
        Self {
            keys: self.keys + other.keys,
            logical_bytes: self.logical_bytes + other.logical_bytes,
            unique_bytes: self.unique_bytes + other.unique_bytes,
            stored_bytes: self.stored_bytes + other.stored_bytes,
            blobs: self.blobs + other.blobs,
            references: self.references + other.references,
        }
    }

    fn fields(&self) -> [u64; Self::FIELDS] {
        [
            self.keys,
            self.logical_bytes,
            self.unique_bytes,
            self.stored_bytes,
            self.blobs,
            self.references,
        ]
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            keys: cursor.u64()?,
            logical_bytes: cursor.u64()?,
            unique_bytes: cursor.u64()?,
            stored_bytes: cursor.u64()?,
            blobs: cursor.u64()?,
            references: cursor.u64()?,
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        self.fields()
            .into_iter()
            .flat_map(u64::to_le_bytes)
            .collect()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        Self::read(&mut Cursor::new(bytes))
    }
}

/// How far the index is, stored with every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexState {
    /// Everything in the log before this is in the index.
    pub applied: Position,
    /// The log was known to be synced up to here.
    pub durable: Position,
    /// The store-wide version counter.
    pub counter: Version,
    /// The last sequence number given.
    pub last_seq: Seq,
    /// The newest time logged.
    pub now: Timestamp,
    /// What the shard holds.
    pub totals: Totals,
}

impl IndexState {
    /// What the log wants to know when it is opened.
    #[must_use]
    pub fn open_context(&self) -> OpenContext {
        OpenContext {
            applied: Some(self.applied).filter(|_| !self.is_unbuilt()),
            durable: self.durable,
            counter: self.counter,
            last_seq: self.last_seq,
            now: self.now,
            must_exist: false,
        }
    }

    /// Whether nothing of the log is in the index yet: it holds only what an index before it knew.
    #[must_use]
    pub fn is_unbuilt(&self) -> bool {
        self.applied == Position::default()
    }

    fn positions(&self) -> [u64; FIELDS - Totals::FIELDS] {
        [
            self.applied.segment.0,
            self.applied.offset,
            self.durable.segment.0,
            self.durable.offset,
            self.counter.0,
            self.last_seq.0,
            self.now.0,
        ]
    }

    /// The row in the batch of this number.
    pub(super) fn encode(&self, number: u64) -> Vec<u8> {
        let fields = self.positions().into_iter().chain(self.totals.fields());
        let fields = fields.chain([LAYOUT, number]);
        fields.flat_map(u64::to_le_bytes).collect()
    }

    /// The number of the batch that a row came with: the first batch of an index has 1, every other
    /// one more than the one before. Older programs wrote none.
    pub(super) fn batch_number(row: &[u8]) -> Option<u64> {
        Cursor::new(row.get(NUMBER_OFFSET..)?).u64().ok()
    }

    /// Whether the index that this row stands in has all the rows of today. One that an older
    /// program wrote to has not.
    pub(super) fn is_of_this_layout(row: &[u8]) -> bool {
        let layout = row.get(FIELDS * 8..);
        layout.is_some_and(|layout| Cursor::new(layout).u64() == Ok(LAYOUT))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(bytes);
        let mut position = || -> Result<Position, FormatError> {
            Ok(Position {
                segment: SegmentId(cursor.u64()?),
                offset: cursor.u64()?,
            })
        };
        let (applied, durable) = (position()?, position()?);
        Ok(Self {
            applied,
            durable,
            counter: Version(cursor.u64()?),
            last_seq: Seq(cursor.u64()?),
            now: Timestamp(cursor.u64()?),
            totals: Totals::read(&mut cursor)?,
        })
    }
}

/// How full a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SegmentUsage {
    /// Bytes of records that some row points to.
    pub live_bytes: u64,
    /// Bytes of all records.
    pub total_bytes: u64,
}

impl SegmentUsage {
    /// The live share, 1 for an empty segment.
    #[must_use]
    pub fn live_share(&self) -> f64 {
        if self.total_bytes == 0 {
            return 1.0;
        }
        self.live_bytes as f64 / self.total_bytes as f64
    }

    pub(super) fn encode(self) -> Vec<u8> {
        [self.live_bytes, self.total_bytes]
            .iter()
            .flat_map(|field| field.to_le_bytes())
            .collect()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(bytes);
        Ok(Self {
            live_bytes: cursor.u64()?,
            total_bytes: cursor.u64()?,
        })
    }
}
