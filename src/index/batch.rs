//! Changes that the index takes over all at once.

use super::database::{COUNTS_PREFIX, STATE_ROW, USAGE_PREFIX, row_key};
use super::{Index, IndexError, IndexState, Row, SegmentUsage, Totals};
use crate::codec::Space;
use crate::model::{NamespaceId, SegmentId};
use std::sync::atomic::Ordering;

/// A batch. Readers without a snapshot see its rows in the order they were put, so what is pointed
/// to is put before what points to it.
pub struct IndexBatch<'a> {
    pub(super) index: &'a Index,
    pub(super) batch: fjall::OwnedWriteBatch,
}

impl<'a> IndexBatch<'a> {
    pub(super) fn new(index: &'a Index) -> Self {
        Self {
            index,
            batch: index.database.batch(),
        }
    }

    /// Puts the row of an entity.
    pub fn put(&mut self, space: Space, id: &[u8], row: &Row) {
        self.batch
            .insert(&self.index.rows, row_key(space, id), row.encode());
    }

    /// Removes the row of an entity.
    pub fn remove(&mut self, space: Space, id: &[u8]) {
        self.batch.remove(&self.index.rows, row_key(space, id));
    }

    /// Puts how full a segment is; `None` when it is gone.
    pub fn put_usage(&mut self, segment: SegmentId, usage: Option<SegmentUsage>) {
        let mut key = vec![USAGE_PREFIX];
        key.extend_from_slice(&segment.0.to_be_bytes());
        match usage {
            Some(usage) => self.batch.insert(&self.index.rows, key, usage.encode()),
            None => self.batch.remove(&self.index.rows, key),
        }
    }

    /// Puts what a namespace holds; `None` for nothing.
    pub fn put_counts(&mut self, namespace: NamespaceId, counts: Option<Totals>) {
        let key = [&[COUNTS_PREFIX], &namespace.0.to_be_bytes()[..]].concat();
        match counts {
            Some(counts) => self.batch.insert(&self.index.rows, key, counts.encode()),
            None => self.batch.remove(&self.index.rows, key),
        }
    }

    /// Commits the batch, as the next one, together with the state that it leads to. Only the
    /// shard's writer calls this.
    ///
    /// # Errors
    /// When the disk fails; the index must then be opened anew.
    pub fn commit(mut self, state: &IndexState) -> Result<(), IndexError> {
        fail::fail_point!("index::commit", |_| Err(IndexError::Poisoned));
        let number = self.index.batches.load(Ordering::Relaxed) + 1;
        self.batch
            .insert(&self.index.rows, STATE_ROW, state.encode(number));
        self.batch.commit()?;
        self.index.batches.store(number, Ordering::Relaxed);
        Ok(())
    }
}

impl std::fmt::Debug for IndexBatch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IndexBatch")
            .field("rows", &self.batch.len())
            .finish()
    }
}
