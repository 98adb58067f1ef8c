//! The commit of one group: rows on paper, append, one sync, index.

use super::error::ShardError;
use super::meter::GroupCost;
use super::showing::Window;
#[allow(unused_imports, reason = "used where fail points are compiled in")]
use super::store::crashed;
use super::store::{EntityId, Forget, ShardStore, inline_payload};
use crate::codec::{Kind, Membership, Record};
use crate::config::Durability;
use crate::index::{IndexBatch, IndexError, Place, Row};
use crate::log::{GroupContext, Placed};
use crate::model::{Seq, Timestamp, Version};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Instant;

/// Rows as they are in the index, by entity.
pub(super) type Rows = HashMap<EntityId, Option<Row>>;

impl ShardStore {
    /// Commits a group that stands for itself.
    pub(super) fn commit(
        &mut self,
        records: Vec<Record>,
        rows: Rows,
        forget: Forget,
        now: Timestamp,
    ) -> Result<GroupCost, ShardError> {
        self.number_and_commit(records, rows, forget, (Membership::NONE, now))
    }

    /// Commits a group as what it is to a transaction.
    pub(super) fn number_and_commit(
        &mut self,
        mut records: Vec<Record>,
        mut rows: Rows,
        forget: Forget,
        (membership, now): (Membership, Timestamp),
    ) -> Result<GroupCost, ShardError> {
        self.number(&mut records);
        self.now = self.now.max(now);
        let context = GroupContext {
            membership,
            ..self.group_context(now)
        };
        let prepared = self.log.prepare(&records, context);
        let end = prepared.end;
        let index = self.index.clone();
        let mut batch = index.batch();
        self.read_rows(&records, &mut rows)?;
        self.enter(&mut batch, &records, &prepared.placed, &mut rows);
        for (space, id) in forget.rows {
            // A newer record may have come since GC looked at this one.
            let row = self.index.get(space, &id)?;
            if let Some(row) = row.filter(|row| Some(row.place.record.segment) == forget.segment) {
                self.ledger.leave(&id, &row);
                batch.remove(space, &id);
            }
        }
        if let Some(segment) = forget.segment {
            self.ledger.forget_segment(segment);
        }
        self.ledger.put_changes(&mut batch);
        let bytes = end.offset - prepared.start.offset;
        self.log.write(prepared)?;
        fail::fail_point!("shard::written", |_| Err(crashed("write")));
        let written = Instant::now();
        if self.options.durability == Durability::Sync {
            self.log.sync()?;
        }
        let synced = Instant::now();
        fail::fail_point!("shard::synced", |_| Err(crashed("sync")));
        let showing = self.showing.clone();
        let window = Window::open(&showing, holds_batch(&records));
        self.show(batch, &records)?;
        window.close();
        let index = synced.elapsed();
        self.note_marks(&records);
        self.checkpoint_after(bytes)?;
        Ok(GroupCost {
            bytes,
            sync: synced - written,
            index,
        })
    }

    /// Reads the rows of records that were not read for planning, so that nothing can fail once the
    /// records are in the log.
    pub(super) fn read_rows(&self, records: &[Record], rows: &mut Rows) -> Result<(), IndexError> {
        for record in records {
            let entity = record.entity();
            if let Entry::Vacant(unread) = rows.entry(entity) {
                let (space, id) = unread.key();
                let row = self.index.get(*space, id)?;
                unread.insert(row);
            }
        }
        Ok(())
    }

    /// Enters records into the books and their rows into a batch.
    pub(super) fn enter(
        &mut self,
        batch: &mut IndexBatch<'_>,
        records: &[Record],
        placed: &[Placed],
        rows: &mut Rows,
    ) {
        for (record, placed) in records.iter().zip(placed) {
            let entity = record.entity();
            let before = rows.remove(&entity).flatten();
            let place = Place {
                record: placed.record,
                payload_offset: placed.payload_offset,
                payload_len: u32::try_from(record.payload.len()).expect("values end at 1 GiB"),
            };
            let inline = inline_payload(record, self.options.inline_max);
            let row = Row::new(record, place, inline);
            if self.ledger.enter(&entity.1, before.as_ref(), &row) {
                batch.put(entity.0, &entity.1, &row);
                rows.insert(entity, Some(row));
            } else {
                rows.insert(entity, before);
            }
        }
    }

    /// Puts a durable group into the index, where readers see it.
    pub(super) fn show(&self, batch: IndexBatch<'_>, records: &[Record]) -> Result<(), ShardError> {
        self.epochs.announce(records);
        batch.commit(&self.state())?;
        fail::fail_point!("shard::indexed");
        self.epochs.advance();
        self.feed.show(self.log.end());
        Ok(())
    }

    pub(super) fn note_marks(&mut self, records: &[Record]) {
        let horizons = records.iter().filter(|record| record.kind == Kind::Horizon);
        for record in horizons {
            self.horizon = self.horizon.max(record.version);
        }
    }

    /// Gives sequence numbers to records that have none; a moved record keeps its own.
    pub(super) fn number(&mut self, records: &mut [Record]) {
        for record in records.iter_mut().filter(|record| record.seq == Seq(0)) {
            self.last_seq.0 += 1;
            record.seq = self.last_seq;
        }
    }

    pub(super) fn checkpoint_after(&mut self, written: u64) -> Result<(), ShardError> {
        self.unpersisted += written;
        if self.unpersisted >= self.options.checkpoint_bytes {
            self.log.sync()?; // A durable index must not be ahead of the log.
            self.index.persist()?;
            self.unpersisted = 0;
        }
        Ok(())
    }
}

/// Whether several keys change with one version: readers see all of them or none. Keys of a dropped
/// namespace go without a version, and without readers.
fn holds_batch(records: &[Record]) -> bool {
    let of_keys = records.iter().filter(|it| it.kind.is_of_key());
    let mut last = None;
    of_keys
        .map(|it| it.version)
        .any(|version| version != Version(0) && last.replace(version) == Some(version))
}
