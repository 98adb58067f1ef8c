//! Segment GC: what is live moves to the end of the log, then the segment goes.
//!
//! A record is dropped only on positive evidence: a row of its entity with a higher sequence
//! number, or the same record at another place. No row, or a lower one, stops GC and starts a
//! rebuild. A record that says "gone" stays as long as an older copy of its entity may stand in
//! any segment: until its own is the oldest. A key's tombstone also stays until the horizon reaches
//! it, or its age does, which then moves the horizon.

use super::error::ShardError;
use super::message::GcOutcome;
use super::plan::horizon_record;
use super::replay::purged_id;
use super::space::Need;
use super::store::{EntityId, Forget, ShardStore};
use super::void::is_void;
use crate::codec::{
    FLAG_MOVED, Kind, Membership, RECORD_HEADER_SIZE, Record, Role, SEGMENT_HEADER_SIZE,
    TombstoneNote, payload_sum,
};
use crate::index::{IndexError, Row};
use crate::log::{FrameScanner, LogError, Payloads, Purpose, ScannedRecord, Segment};
use crate::model::{SegmentId, Version};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of a slice when nobody waits for the shard.
const COLLECT_SLICE: u64 = 4 * 1024 * 1024;

/// A segment on its way out.
#[derive(Debug)]
pub(super) struct GcJob {
    segment: Arc<Segment>,
    offset: u64,
    end: u64,
    /// Records that stay behind and are forgotten with the segment.
    forgotten: Vec<EntityId>,
    /// The highest version of a forgotten tombstone.
    horizon: Version,
    /// Whether a shard could ask it what became of a transaction.
    knows_transactions: bool,
}

impl GcJob {
    pub fn id(&self) -> SegmentId {
        self.segment.id()
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GcStep {
    /// There is more to move.
    More,
    /// Everything live is moved, but readers hold the segment still, somebody follows the changes
    /// in it, or a shard that does not open may yet ask it about a transaction.
    Pinned,
    /// The segment is gone.
    Done,
}

/// What becomes of a record.
enum Verdict {
    Dead,
    Live,
    Forgotten,
}

impl ShardStore {
    /// Closed segments whose live share is under the threshold, the emptiest first.
    #[must_use]
    pub fn gc_candidates(&self, live_threshold: f64) -> Vec<SegmentId> {
        let active = self.log.end().segment;
        let segments = self.log.segments().load_full();
        let share = |id: &SegmentId| {
            self.usage()
                .get(id)
                .map_or(0.0, crate::index::SegmentUsage::live_share)
        };
        let mut found: Vec<SegmentId> = segments
            .keys()
            .copied()
            .filter(|id| *id < self.feed.held_from(active) && share(id) < live_threshold)
            .collect();
        found.sort_by(|a, b| share(a).total_cmp(&share(b)));
        found
    }

    /// A whole round of GC at once, for an owner who has nothing else to do.
    ///
    /// # Errors
    /// What stopped it; the shard must then be reopened, unless the disk is only full.
    pub fn collect(&mut self, live_threshold: f64) -> Result<GcOutcome, ShardError> {
        let mut outcome = GcOutcome::default();
        for id in self.gc_candidates(live_threshold) {
            let Some(mut job) = self.gc_start(id)? else {
                continue;
            };
            loop {
                match self.gc_slice(&mut job, COLLECT_SLICE)? {
                    GcStep::More => {}
                    GcStep::Pinned => break outcome.pinned.push(id),
                    GcStep::Done => break outcome.removed.push(id),
                }
            }
            drop(job); // It holds the file, and thereby its space.
            self.refill_reserve();
        }
        Ok(outcome)
    }

    /// A job for a segment that is there still, and that the disk has room to collect.
    pub(super) fn gc_start(&self, id: SegmentId) -> Result<Option<GcJob>, ShardError> {
        if !self.has_room_to_collect(id) {
            tracing::warn!(shard = %self.options.id, segment = %id, "segment gc waits until there is room for what is live in a segment");
            return Ok(None);
        }
        let segments = self.log.segments().load_full();
        let Some(segment) = segments.get(&id).cloned() else {
            return Ok(None);
        };
        let next = segments
            .values()
            .find(|next| next.header.prev_segment == id);
        let end = match next {
            Some(next) => next.header.prev_end,
            None => segment.len()?,
        };
        let offset = SEGMENT_HEADER_SIZE as u64;
        Ok(Some(GcJob {
            segment,
            offset,
            end,
            forgotten: Vec::new(),
            horizon: Version::default(),
            knows_transactions: false,
        }))
    }

    /// Moves up to about `budget` bytes, or takes the last step.
    pub(super) fn gc_slice(&mut self, job: &mut GcJob, budget: u64) -> Result<GcStep, ShardError> {
        let mut scanner =
            FrameScanner::new(job.segment.clone(), job.offset, job.end, Payloads::Skip);
        let mut moved: Vec<Record> = Vec::new();
        let mut rows = HashMap::new();
        let mut bytes = 0;
        let mut scanned_bytes = 0;
        while bytes < budget && scanned_bytes < budget * 16 {
            let Some(frame) = scanner.next_frame()? else {
                break;
            };
            let membership = frame.header.membership;
            job.knows_transactions |= membership.role != Role::Single;
            for scanned in frame.records {
                let entity = scanned.record.entity();
                let row = self.index.get(entity.0, &entity.1)?;
                match self.verdict(&scanned, membership, row.as_ref(), job)? {
                    Verdict::Dead => {}
                    Verdict::Forgotten => {
                        job.horizon = job.horizon.max(scanned.record.version);
                        job.forgotten.push(entity);
                    }
                    Verdict::Live => {
                        bytes += scanned.log_size;
                        moved.push(read_record(&job.segment, scanned)?);
                        rows.insert(entity, row);
                    }
                }
            }
            scanned_bytes += frame.header.frame_len();
            job.offset = frame.end.offset;
        }
        drop(scanner); // It holds the segment as a reader does, and the purge waits for those.
        if !moved.is_empty() {
            let need = Need {
                log: bytes,
                rows: self.rows_size(&moved),
            };
            self.reserve_for(need, Some(Purpose::Collect))?;
            self.commit(moved, rows, Forget::default(), self.group_context_now())?;
            fail::fail_point!("gc::moved", |_| Err(super::store::crashed(
                "moving records"
            )));
        }
        if job.offset < job.end {
            return Ok(GcStep::More);
        }
        self.purge(job)
    }

    /// What the rows of moved records take in the index, at most.
    fn rows_size(&self, moved: &[Record]) -> u64 {
        let row = |record: &Record| {
            let inline = super::store::inline_payload(record, self.options.inline_max);
            let beside = record.id.len() + record.attributes.len();
            RECORD_HEADER_SIZE + beside + inline.map_or(0, <[u8]>::len)
        };
        moved.iter().map(row).sum::<usize>() as u64
    }

    fn verdict(
        &self,
        scanned: &ScannedRecord,
        membership: Membership,
        row: Option<&Row>,
        job: &GcJob,
    ) -> Result<Verdict, ShardError> {
        let record = &scanned.record;
        let here = job.segment.id();
        let Some(row) = row.filter(|row| row.seq >= record.seq) else {
            if is_void(record, membership, |space, id| self.index.get(space, id))? {
                return Ok(Verdict::Dead);
            }
            let what = format!(
                "no row says what became of the record at {} of segment {here}",
                scanned.position.offset
            );
            return Err(ShardError::Contradiction(what));
        };
        if row.seq > record.seq || row.place.record != scanned.position {
            return Ok(Verdict::Dead);
        }
        if record.kind.is_gone() && self.may_forget(record.kind, row, here)? {
            return Ok(Verdict::Forgotten);
        }
        Ok(Verdict::Live)
    }

    /// Whether a record that says "gone" may go with this segment: no older segment can hold a copy
    /// of its entity, and, for a key's tombstone, no incremental backup waits for it any more.
    fn may_forget(&self, kind: Kind, row: &Row, here: SegmentId) -> Result<bool, ShardError> {
        let oldest = self.log.segments().load().keys().next().copied();
        if oldest != Some(here) {
            return Ok(false);
        }
        if kind != Kind::Tombstone || row.version <= self.horizon {
            return Ok(true);
        }
        let note = TombstoneNote::decode(row.inline.as_deref().unwrap_or_default())
            .map_err(IndexError::from)?;
        let retention =
            u64::try_from(self.options.tombstone_retention.as_millis()).unwrap_or(u64::MAX);
        Ok(note.at.0.saturating_add(retention) < self.options.clock.now().0)
    }

    /// The last step: no reader, predecessor cut, record, index, file, in this order.
    fn purge(&mut self, job: &mut GcJob) -> Result<GcStep, ShardError> {
        let id = job.segment.id();
        let in_doubt = job.knows_transactions && self.options.transactions.is_in_doubt();
        if in_doubt || id >= self.feed.held_from(self.log.end().segment) {
            return Ok(GcStep::Pinned);
        }
        let mut records = vec![Record::bookkeeping(
            Kind::Purged,
            purged_id(id),
            Bytes::new(),
        )];
        if job.horizon > self.horizon {
            records.insert(0, horizon_record(job.horizon));
        }
        // Before the segment is retired: a full disk must not leave one that is neither here nor gone.
        self.reserve(records.iter().map(Record::log_size).sum(), true)?;
        // The job holds it; anybody else is a reader.
        if !self.log.retire_unread(id) {
            return Ok(GcStep::Pinned);
        }
        fail::fail_point!("gc::retired");
        let header = job.segment.header;
        self.log.seal_end(header.prev_segment, header.prev_end)?;
        self.sync()?;
        fail::fail_point!("gc::sealed", |_| Err(super::store::crashed(
            "cutting the predecessor"
        )));
        let forget = Forget {
            rows: std::mem::take(&mut job.forgotten),
            segment: Some(id),
        };
        self.commit(records, HashMap::new(), forget, self.group_context_now())?;
        self.sync()?;
        fail::fail_point!("gc::purged", |_| Err(super::store::crashed(
            "logging the purge"
        )));
        self.index.persist()?;
        fail::fail_point!("gc::persisted", |_| Err(super::store::crashed(
            "persisting the index"
        )));
        self.log.unlink(id)?;
        fail::fail_point!("gc::unlinked", |_| Err(super::store::crashed("unlinking")));
        Ok(GcStep::Done)
    }

    fn group_context_now(&self) -> crate::model::Timestamp {
        self.options.clock.now()
    }
}

fn read_record(segment: &Segment, scanned: ScannedRecord) -> Result<Record, ShardError> {
    let payload = segment.read(scanned.payload_offset, scanned.payload_len as usize)?;
    if payload_sum(&payload) != scanned.record.payload_sum {
        let what = "payload checksum does not match: the segment is kept as it is".to_owned();
        let path = segment.path().to_owned();
        return Err(LogError::Damaged {
            path,
            offset: scanned.payload_offset,
            what,
        }
        .into());
    }
    let flags = scanned.record.flags | FLAG_MOVED;
    Ok(Record {
        payload: Bytes::from(payload),
        flags,
        ..scanned.record
    })
}
