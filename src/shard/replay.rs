//! From the log into the index: what a crash left out, or everything.

use super::error::ShardError;
use super::ledger::Ledger;
use super::store::{EntityId, ShardOptions, inline_payload};
use super::void::{parse_slot, slot_of_entity};
use crate::codec::{FrameHeader, Kind, Role, SEGMENT_HEADER_SIZE, Space};
use crate::index::{Index, IndexState, Place, Row};
use crate::log::{
    Frame, FrameScanner, LogError, Opened, Payloads, Position, ScannedRecord, Segment,
};
use crate::model::{SegmentId, Seq};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// Rows are written in batches of about this many.
const BATCH_ROWS: usize = 4096;

/// The index after replay.
pub(super) struct ReplayReport {
    pub state: IndexState,
    pub ledger: Ledger,
    pub groups: u64,
}

/// A replay in progress.
pub(super) struct Replay<'a> {
    index: &'a Index,
    state: IndexState,
    ledger: Ledger,
    options: &'a ShardOptions,
    /// Rows changed since the last batch; `None` for a removed one.
    changed: HashMap<EntityId, Option<Row>>,
    /// Segments whose purge was logged and whose file is here still.
    purged: Vec<SegmentId>,
    /// The last frame, if it waits for the decision behind it.
    prepared: Option<Frame>,
    rebuilding: bool,
    groups: u64,
}

impl<'a> Replay<'a> {
    /// Brings the index to the end of the log.
    pub fn run(
        index: &'a Index,
        opened: &mut Opened,
        state: Option<IndexState>,
        options: &'a ShardOptions,
    ) -> Result<ReplayReport, ShardError> {
        let segments = opened.log.segments().load_full();
        let ledger = Ledger::new(
            state.unwrap_or_default().totals,
            index.usage()?,
            index.counts()?,
        );
        if let Some(stranger) = ledger.usage().keys().find(|id| !segments.contains_key(id))
            && !opened.missing.contains(stranger)
        {
            return Err(LogError::IndexStale("of a segment that the log does not have").into());
        }
        let mut replay = Self {
            index,
            rebuilding: state.is_none_or(|state| state.is_unbuilt()),
            state: state.unwrap_or_default(),
            ledger,
            options,
            changed: HashMap::new(),
            purged: Vec::new(),
            prepared: None,
            groups: 0,
        };
        let from = replay.state.applied;
        for (id, segment) in segments.range(from.segment..) {
            let start = if *id == from.segment {
                from.offset
            } else {
                SEGMENT_HEADER_SIZE as u64
            };
            replay.segment(segment, start, opened)?;
        }
        replay.resolve(opened)?;
        replay.finish(opened)
    }

    fn segment(
        &mut self,
        segment: &Arc<Segment>,
        start: u64,
        opened: &mut Opened,
    ) -> Result<(), ShardError> {
        let end = opened.ends.get(&segment.id()).copied().unwrap_or(start);
        let payloads = Payloads::Small(self.options.inline_max);
        let mut scanner = FrameScanner::new(segment.clone(), start, end, payloads);
        while let Some(frame) = scanner.next_frame()? {
            opened.learn(&frame.header);
            self.frame(frame, opened)?;
        }
        Ok(())
    }

    /// A prepare waits for the frame behind it: until then, `applied` stays where it is.
    fn frame(&mut self, frame: Frame, opened: &Opened) -> Result<(), ShardError> {
        if let Some(prepared) = self.prepared.take() {
            self.decide(prepared, &frame.header, opened)?;
        }
        match frame.header.membership.role {
            Role::Prepare => self.prepared = Some(frame),
            Role::Single | Role::Decide => self.enter(frame, opened)?,
        }
        Ok(())
    }

    fn decide(
        &mut self,
        prepared: Frame,
        decision: &FrameHeader,
        opened: &Opened,
    ) -> Result<(), ShardError> {
        let by = decision.membership;
        if by.role != Role::Decide || by.transaction != prepared.header.membership.transaction {
            let path = segment_path(opened, decision.segment);
            let what = "the decision about the transaction before is not here".to_owned();
            let offset = decision.position;
            return Err(LogError::Damaged { path, offset, what }.into());
        }
        if by.participants > 0 {
            return self.enter(prepared, opened);
        }
        for scanned in &prepared.records {
            let segment = scanned.position.segment;
            self.ledger.enter_dead(segment, scanned.log_size);
        }
        Ok(())
    }

    /// Ends the transaction that the log ends in, as all shards together find.
    fn resolve(&mut self, opened: &mut Opened) -> Result<(), ShardError> {
        let transactions = &self.options.transactions;
        if let Some(prepared) = &self.prepared {
            let membership = prepared.header.membership;
            let commit = transactions.is_committed(membership)?;
            let (shard, transaction) = (self.options.id, membership.transaction);
            tracing::warn!(%shard, transaction, commit, "a transaction that a crash left undecided is resolved");
            let decision = opened.decide(membership, commit)?;
            let segments = opened.log.segments().load_full();
            if let Some(segment) = segments.get(&decision.segment) {
                self.segment(segment, decision.offset, opened)?;
            }
        }
        transactions.resolved(self.options.id);
        Ok(())
    }

    fn enter(&mut self, frame: Frame, opened: &Opened) -> Result<(), ShardError> {
        for scanned in &frame.records {
            self.record(scanned)?;
            if scanned.record.kind == Kind::Purged {
                self.purge(parse_purged(&scanned.record.id), opened)?;
            }
        }
        self.groups += 1;
        self.state.applied = frame.end;
        self.state.counter = self.state.counter.max(frame.header.counter);
        self.state.last_seq = self.state.last_seq.max(frame.header.last_seq);
        self.state.now = self.state.now.max(frame.header.now);
        if self.changed.len() >= BATCH_ROWS {
            self.flush()?;
        }
        Ok(())
    }

    fn record(&mut self, scanned: &ScannedRecord) -> Result<(), ShardError> {
        let record = &scanned.record;
        let entity = record.entity();
        if record.kind == Kind::SlotLeft {
            self.slot_left(&record.id, record.seq)?;
        }
        let before = self.row(&entity)?;
        let place = Place {
            record: scanned.position,
            payload_offset: scanned.payload_offset,
            payload_len: scanned.payload_len,
        };
        let inline = inline_payload(record, self.options.inline_max)
            .filter(|payload| payload.len() == scanned.payload_len as usize);
        let row = Row::new(record, place, inline);
        if self.ledger.enter(&entity.1, before.as_ref(), &row) {
            self.changed.insert(entity, Some(row));
        }
        Ok(())
    }

    fn row(&self, entity: &EntityId) -> Result<Option<Row>, ShardError> {
        match self.changed.get(entity) {
            Some(row) => Ok(row.clone()),
            None => Ok(self.index.get(entity.0, &entity.1)?),
        }
    }

    /// The rows of a slot that left go.
    fn slot_left(&mut self, id: &[u8], seq: Seq) -> Result<(), ShardError> {
        let Some(slot) = parse_slot(id) else {
            return Ok(());
        };
        self.flush()?;
        let [keys, named_keys] = Space::KEYS;
        for space in [keys, named_keys, Space::Blob, Space::Reference] {
            for found in self.index.snapshot().scan(space, &[], None) {
                let (id, row) = found?;
                if slot_of_entity(space, &id) == Some(slot) && row.seq < seq {
                    self.ledger.leave(&id, &row);
                    self.changed.insert((space, id), None);
                }
            }
        }
        Ok(())
    }

    /// What the `purged` record did to the index when it was first applied.
    fn purge(&mut self, id: SegmentId, opened: &Opened) -> Result<(), ShardError> {
        let segments = opened.log.segments().load_full();
        let Some(segment) = segments.get(&id) else {
            if !self.rebuilding && self.ledger.usage().contains_key(&id) {
                return Err(LogError::IndexStale("older than a purge").into());
            }
            return Ok(());
        };
        // Not the file's end: bytes that were never acknowledged may stand behind.
        let end = opened.ends.get(&id).copied().unwrap_or(0);
        let mut scanner = FrameScanner::new(
            segment.clone(),
            SEGMENT_HEADER_SIZE as u64,
            end,
            Payloads::Skip,
        );
        while let Some(frame) = scanner.next_frame()? {
            for scanned in &frame.records {
                let entity = scanned.record.entity();
                self.forget_if_in(entity, id)?;
            }
        }
        self.ledger.forget_segment(id);
        self.purged.push(id);
        Ok(())
    }

    fn forget_if_in(&mut self, entity: EntityId, segment: SegmentId) -> Result<(), ShardError> {
        let Some(row) = self
            .row(&entity)?
            .filter(|row| row.place.record.segment == segment)
        else {
            return Ok(());
        };
        if !row.kind.is_gone() {
            let what =
                format!("a live record stands only in segment {segment}, whose purge was logged");
            return Err(ShardError::Contradiction(what));
        }
        self.ledger.leave(&entity.1, &row);
        self.changed.insert(entity, None);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ShardError> {
        let mut batch = self.index.batch();
        for ((space, id), row) in self.changed.drain() {
            match row {
                Some(row) => batch.put(space, &id, &row),
                None => batch.remove(space, &id),
            }
        }
        self.ledger.put_changes(&mut batch);
        self.state.totals = self.ledger.totals;
        Ok(batch.commit(&self.state)?)
    }

    fn finish(mut self, opened: &mut Opened) -> Result<ReplayReport, ShardError> {
        self.state.applied = self.state.applied.max(Position {
            segment: opened.log.end().segment,
            offset: SEGMENT_HEADER_SIZE as u64,
        });
        self.state.durable = opened.log.durable();
        self.flush()?;
        for missing in &opened.missing {
            if self
                .index
                .get(Space::Purged, &purged_id(*missing))?
                .is_none()
            {
                let path = segment_path(opened, *missing);
                let what =
                    "the segment is missing, and no record says that it was purged".to_owned();
                return Err(LogError::Damaged {
                    path,
                    offset: 0,
                    what,
                }
                .into());
            }
        }
        self.unlink_purged(opened)?;
        Ok(ReplayReport {
            state: self.state,
            ledger: self.ledger,
            groups: self.groups,
        })
    }

    /// A crash between the purge's record and the unlink leaves a file behind.
    fn unlink_purged(&mut self, opened: &mut Opened) -> Result<(), ShardError> {
        let active = opened.log.end().segment;
        let here: Vec<SegmentId> = opened.log.segments().load().keys().copied().collect();
        for id in here.into_iter().filter(|id| *id != active) {
            if self.index.get(Space::Purged, &purged_id(id))?.is_some()
                && !self.purged.contains(&id)
            {
                self.purged.push(id);
            }
        }
        if self.purged.is_empty() {
            return Ok(());
        }
        self.index.persist()?;
        for id in std::mem::take(&mut self.purged) {
            opened.log.retire(id);
            opened.log.unlink(id)?;
        }
        Ok(())
    }
}

fn segment_path(opened: &Opened, id: SegmentId) -> std::path::PathBuf {
    let segments = opened.log.segments().load_full();
    let dir = segments
        .values()
        .next()
        .and_then(|segment| segment.path().parent());
    dir.unwrap_or(std::path::Path::new(""))
        .join(Segment::file_name(id))
}

/// The id of a `purged` record.
pub(super) fn purged_id(segment: SegmentId) -> Bytes {
    Bytes::copy_from_slice(&segment.0.to_be_bytes())
}

pub(super) fn parse_purged(id: &[u8]) -> SegmentId {
    <[u8; 8]>::try_from(id).map_or(SegmentId(0), |bytes| SegmentId(u64::from_be_bytes(bytes)))
}
