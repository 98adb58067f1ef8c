//! The second part: the index against the log, in both directions, and its books against a recount.

use super::log::CheckedLog;
use super::record::{check_known, check_row, entity_name};
use super::{Problems, ShardVerdict};
use crate::codec::{
    Dictionaries, Kind, Membership, Role, SEGMENT_HEADER_SIZE, Space, decode_chunks,
};
use crate::index::{Index, IndexError, IndexState, Place, Row, SegmentUsage, contained};
use crate::log::{FrameWalk, Payloads, Position, ScannedRecord, SegmentMap, Step};
use crate::model::{ChunkList, Codec, Digest, Key, Problem, SegmentId};
use crate::shard::ShardOptions;
use crate::shard::ledger::Ledger;
use crate::shard::store::{EntityId, inline_payload};
use crate::shard::void::is_void;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An index and what the next start will replay into it.
#[derive(Debug)]
pub(super) struct CheckedIndex {
    path: PathBuf,
    index: Index,
    segments: SegmentMap,
    /// Those of the log.
    dictionaries: Arc<Dictionaries>,
    state: IndexState,
    /// The winners among the records behind `applied`.
    pending: HashMap<EntityId, Row>,
}

impl CheckedIndex {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The row of an entity as the next start will have it.
    pub fn get(&self, space: Space, id: &Bytes) -> Result<Option<Row>, IndexError> {
        match self.pending.get(&(space, id.clone())) {
            Some(row) => Ok(Some(row.clone())),
            None => contained(|| self.index.get(space, id)),
        }
    }

    /// What a large value is made of; `None` for the row of anything else, and for a list that cannot
    /// be read, which the check of the log has told.
    pub fn list(&self, row: &Row) -> Option<ChunkList> {
        if row.kind != Kind::Blob || row.codec != Codec::Chunks {
            return None;
        }
        decode_chunks(&self.payload(row)?, row.info.raw_len).ok()
    }

    /// The raw value of a row; `None` for one that cannot be read, which the check of the log has told.
    pub fn raw(&self, row: &Row) -> Option<Bytes> {
        let (codec, raw_len) = (row.codec, row.info.raw_len);
        self.dictionaries
            .open(codec, self.payload(row)?, raw_len)
            .ok()
    }

    /// Keys that name a content, but what the next start will replay.
    pub fn owners(&self, digest: Digest) -> Vec<Key> {
        let references = self
            .index
            .snapshot()
            .scan(Space::Reference, &digest.0, None);
        let owner = |(id, row): (Bytes, Row)| match self.pending.get(&(Space::Reference, id)) {
            Some(newer) => newer.owner(),
            None => row.owner(),
        };
        references.filter_map(|found| owner(found.ok()?)).collect()
    }

    fn payload(&self, row: &Row) -> Option<Bytes> {
        let place = &row.place;
        let read = || {
            let segment = self.segments.get(&place.record.segment)?;
            let payload = segment.read(place.payload_offset, place.payload_len as usize);
            Some(Bytes::from(payload.ok()?))
        };
        row.inline.clone().or_else(read)
    }

    /// All rows of a space as the next start will have them.
    pub fn for_each(
        &self,
        space: Space,
        mut see: impl FnMut(&Bytes, &Row),
    ) -> Result<(), IndexError> {
        contained(|| {
            for found in self.index.snapshot().scan(space, &[], None) {
                let (id, row) = found?;
                if !self.pending.contains_key(&(space, id.clone())) {
                    see(&id, &row);
                }
            }
            Ok(())
        })?;
        let waiting = self.pending.iter().filter(|((of, _), _)| *of == space);
        waiting.for_each(|((_, id), row)| see(id, row));
        Ok(())
    }
}

/// Compares the index with a log that was checked before. The index, if it can be used.
pub(super) fn check(
    options: &ShardOptions,
    log: &CheckedLog,
    verdict: &mut ShardVerdict,
) -> Option<CheckedIndex> {
    let path = options.dir.join("index");
    if !path.is_dir() {
        let note = format!(
            "{}: no index; the next start makes it from the log",
            path.display()
        );
        verdict.notes.push(note);
        return None;
    }
    let opened = contained(|| {
        let index = Index::open(&path, options.index)?;
        let (state, usage) = (index.state()?, index.usage()?);
        Ok((index, state, usage))
    });
    let (index, state, usage) = match opened {
        Ok((index, Some(state), usage)) => (index, state, usage),
        Ok((_, None, _)) => {
            let note = format!(
                "{}: an empty index; the next start makes it",
                path.display()
            );
            verdict.notes.push(note);
            return None;
        }
        Err(error) => {
            verdict.problems.push(unusable(&path, &error));
            return None;
        }
    };
    let mut check = IndexCheck {
        options,
        log,
        checked: CheckedIndex {
            path,
            index,
            segments: log.segments.clone(),
            dictionaries: log.dictionaries.clone().unwrap_or_default(),
            state,
            pending: HashMap::new(),
        },
        problems: &mut verdict.problems,
        recount: Ledger::default(),
        expiries: 0,
        lacks_expiries: false,
        totals_of_log: BTreeMap::new(),
        pending_groups: 0,
    };
    check.positions();
    check.log_to_index();
    check.index_to_log();
    check.expiries();
    check.books(&usage);
    let notes = check.notes();
    let checked = check.checked;
    verdict.notes.extend(notes);
    // References of a part that is undecided here may be decided elsewhere.
    log.undecided.is_none().then_some(checked)
}

fn unusable(path: &Path, error: &IndexError) -> Problem {
    let mut problem = Problem::of_index(path, None, format!("cannot be used: {error}"));
    if matches!(error, IndexError::Locked) {
        problem.remedy = "stop the process that uses this store, then verify again".to_owned();
    }
    problem
}

/// A comparison in progress.
struct IndexCheck<'a> {
    options: &'a ShardOptions,
    log: &'a CheckedLog,
    checked: CheckedIndex,
    problems: &'a mut Problems,
    /// The books as the rows make them.
    recount: Ledger,
    /// Records that end their keys.
    expiries: u64,
    /// Whether the index is of a program that knew of no rows of expiries.
    lacks_expiries: bool,
    /// Bytes of all records that the index knows, as the log has them.
    totals_of_log: BTreeMap<SegmentId, u64>,
    pending_groups: u64,
}

impl IndexCheck<'_> {
    /// What the next start will do.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(transaction) = self.log.undecided {
            notes.push(format!(
                "transaction {transaction} is undecided; the next start of the store resolves it"
            ));
        }
        if self.lacks_expiries {
            let path = self.checked.path.display();
            notes.push(format!(
                "{path}: an index of an older shardkeep; the next start completes it"
            ));
        }
        let pending = self.pending_groups;
        if pending > 0 {
            notes.push(format!(
                "{pending} groups are in the log only; the next start replays them"
            ));
        }
        notes
    }

    /// What the index says about the log's end: the only proof of its last group.
    fn positions(&mut self) {
        let start = Position::default();
        let last = self.log.ends.last_key_value();
        let end = last.map_or(start, |(id, end)| Position {
            segment: *id,
            offset: *end,
        });
        let state = self.checked.state;
        if state.durable > end {
            let what = format!(
                "the log ends here, but it was synced up to {} of segment {}",
                state.durable.offset, state.durable.segment
            );
            let path = self.log.segments.values().next_back();
            let file = path.map_or(self.options.dir.join("log"), |last| last.path().to_owned());
            self.problems.push(Problem::of_log(&file, end.offset, what));
        } else if state.applied > end {
            let what = "is ahead of the log's end";
            self.contradicts(what.to_owned());
        }
    }

    fn contradicts(&mut self, what: String) {
        let problem = Problem::of_index(&self.checked.path, None, what);
        self.problems.push(problem);
    }

    /// Every record has a row of its entity that is as new or newer.
    fn log_to_index(&mut self) {
        for (id, segment) in &self.log.segments {
            let end = self.log.ends.get(id).copied().unwrap_or(0);
            let start = SEGMENT_HEADER_SIZE as u64;
            let mut walk = FrameWalk::new(segment.clone(), start, end, Payloads::Small(0));
            loop {
                let frame = match walk.next_step() {
                    Ok(Some(Step::Frame(frame))) => frame,
                    Ok(Some(Step::Bad(_))) => continue, // The first part has told of it.
                    Ok(None) => break,
                    Err(error) => {
                        let problem = Problem::of_error(segment.path(), &error);
                        self.problems.push(problem);
                        break;
                    }
                };
                let is_pending = frame.end > self.checked.state.applied;
                self.pending_groups += u64::from(is_pending);
                let membership = frame.header.membership;
                for scanned in &frame.records {
                    if !is_pending {
                        self.known(segment.path(), scanned, membership);
                    } else if !self.never_was(membership) {
                        self.wait(scanned);
                    }
                }
            }
        }
    }

    /// Whether a group that the index does not know yet is a prepare that comes to nothing, or that
    /// nobody can say of what comes of it before the next start.
    fn never_was(&self, membership: Membership) -> bool {
        membership.role == Role::Prepare
            && (self.log.aborted.contains(&membership.transaction)
                || self.log.undecided == Some(membership.transaction))
    }

    /// A record that the next start will enter.
    fn wait(&mut self, scanned: &ScannedRecord) {
        let record = &scanned.record;
        let id = record.entity();
        let before = self.checked.get(id.0, &id.1).ok().flatten();
        if before.is_some_and(|before| before.seq > record.seq) {
            return;
        }
        let inline = inline_payload(record, 0).filter(|payload| !payload.is_empty());
        let row = Row::new(record, place_of(scanned), inline);
        self.checked.pending.insert(id, row);
    }

    /// A record that the index must know.
    fn known(&mut self, file: &Path, scanned: &ScannedRecord, membership: Membership) {
        let record = &scanned.record;
        let segment = scanned.position.segment;
        if self.log.purged.contains(&segment) {
            return; // It goes with its segment at the next start.
        }
        *self.totals_of_log.entry(segment).or_default() += scanned.log_size;
        let index = &self.checked.index;
        let row = match contained(|| index.get(record.space(), &record.id)) {
            Ok(row) => row,
            Err(error) => return self.contradicts(format!("cannot be read: {error}")),
        };
        if let Err(problem) = check_known(file, scanned, row.as_ref()) {
            let void = contained(|| is_void(record, membership, |space, id| index.get(space, id)));
            if void.is_ok_and(|void| void) {
                return;
            }
            self.problems.push(problem);
        }
    }

    /// No row of an expiry is of a record that has gone.
    fn expiries(&mut self) {
        let index = &self.checked.index;
        match contained(|| index.expiry_count()) {
            Ok(count) if count == self.expiries || self.lacks_expiries => {}
            Ok(count) => self.contradicts(format!(
                "{count} rows say when a key goes, but {} records do",
                self.expiries
            )),
            Err(error) => self.contradicts(format!("cannot be read to its end: {error}")),
        }
    }

    /// Every row's place holds its record.
    fn index_to_log(&mut self) {
        let index = &self.checked.index;
        self.lacks_expiries = contained(|| index.has_expiries()).is_ok_and(|has| !has);
        let applied = self.checked.state.applied;
        for space in Space::ALL {
            let index = &self.checked.index;
            let walked = contained(|| {
                for found in index.snapshot().scan(space, &[], None) {
                    let (id, row) = found?;
                    self.recount.enter(&id, None, &row);
                    let entity = (space, &id[..]);
                    let path = &self.checked.path;
                    for (expiry, key) in self.recount.take_expiries() {
                        self.expiries += 1;
                        if !self.lacks_expiries && index.expiry(expiry)? != key {
                            let what = format!("no row says when {} goes", entity_name(space, &id));
                            self.problems.push(Problem::of_index(path, None, what));
                        }
                    }
                    if let Err(problem) = check_row(path, &self.log.segments, entity, &row) {
                        self.problems.push(problem);
                    } else if row.place.record >= applied {
                        let what = "a row is ahead of what the index says it holds".to_owned();
                        self.problems.push(Problem::of_index(path, None, what));
                    }
                }
                Ok(())
            });
            if let Err(error) = walked {
                self.contradicts(format!("cannot be read to its end: {error}"));
            }
        }
    }

    /// Totals and the usage of segments equal a recount.
    fn books(&mut self, usage: &BTreeMap<SegmentId, SegmentUsage>) {
        let (kept, counted) = (self.checked.state.totals, self.recount.totals);
        if kept != counted {
            self.contradicts(format!(
                "totals {kept:?} do not equal a recount {counted:?}"
            ));
        }
        let counts = contained(|| self.checked.index.counts());
        match counts {
            Ok(kept) if kept == *self.recount.counts() => {}
            Ok(kept) => self.contradicts(format!(
                "counts of namespaces {kept:?} do not equal a recount {:?}",
                self.recount.counts()
            )),
            Err(error) => self.contradicts(format!("cannot be read: {error}")),
        }
        let none = SegmentUsage::default();
        for id in self.log.segments.keys() {
            if self.log.purged.contains(id) {
                continue;
            }
            let kept = usage.get(id).copied().unwrap_or(none);
            let live = self
                .recount
                .usage()
                .get(id)
                .map_or(0, |usage| usage.live_bytes);
            let counted = SegmentUsage {
                live_bytes: live,
                total_bytes: self.totals_of_log.get(id).copied().unwrap_or(0),
            };
            if kept != counted {
                self.contradicts(format!(
                    "usage of segment {id} {kept:?} does not equal a recount {counted:?}"
                ));
            }
        }
    }
}

fn place_of(scanned: &ScannedRecord) -> Place {
    Place {
        record: scanned.position,
        payload_offset: scanned.payload_offset,
        payload_len: scanned.payload_len,
    }
}

/// The reference or link that an inline payload spells.
pub(super) fn inline(row: &Row, kind: Kind) -> Option<&Bytes> {
    row.inline.as_ref().filter(|_| row.kind == kind)
}
