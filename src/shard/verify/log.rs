//! The first part: the log by itself. Headers, chain, frames, records, payloads.

use super::dictionary::gather;
use super::record::check_payload;
use super::{Progress, ShardVerdict};
use crate::codec::{Dictionaries, Kind, Role, SEGMENT_HEADER_SIZE};
use crate::log::{
    Frame, FrameWalk, LogError, LogIdentity, Payloads, ScannedRecord, Segment, SegmentMap, Step,
    inspect, is_zero_from,
};
use crate::model::{Codec, Problem, SegmentId};
use crate::shard::ShardOptions;
use crate::shard::replay::parse_purged;
use crate::shard::void::parse_transaction;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// A log as the check has found it.
#[derive(Debug, Default)]
pub(super) struct CheckedLog {
    pub segments: SegmentMap,
    /// Where the good frames of each segment end.
    pub ends: BTreeMap<SegmentId, u64>,
    /// Segments whose purge was logged.
    pub purged: HashSet<SegmentId>,
    /// Transactions that were given up.
    pub aborted: HashSet<u64>,
    /// The transaction that the log ends in, undecided.
    pub undecided: Option<u64>,
    /// Whether a rebuild of the index would stop at damage.
    pub blocks_rebuild: bool,
    /// What its values are opened with; gathered when the first asks for it.
    pub dictionaries: Option<Arc<Dictionaries>>,
}

/// A check in progress.
struct LogCheck<'a, 'p> {
    options: &'a ShardOptions,
    verdict: &'a mut ShardVerdict,
    progress: &'a mut Progress<'p>,
    log: CheckedLog,
    /// Where the segments end that there are.
    found: (SegmentMap, BTreeMap<SegmentId, u64>),
    done: u64,
    total: u64,
}

/// Checks a shard's log; `None` when there is nothing that could be looked at.
pub(super) fn check(
    options: &ShardOptions,
    verdict: &mut ShardVerdict,
    progress: &mut Progress<'_>,
) -> Option<CheckedLog> {
    let dir = options.dir.join("log");
    let owner = LogIdentity {
        store: options.store,
        shard: options.id,
    };
    let found = match inspect(&dir, owner) {
        Ok(found) => found,
        Err(error) => {
            verdict.problems.push(Problem::of_error(&dir, &error));
            return None;
        }
    };
    let mut check = LogCheck {
        options,
        verdict,
        progress,
        log: CheckedLog {
            blocks_rebuild: !found.problems.is_empty(),
            ..CheckedLog::default()
        },
        found: (found.segments.clone(), found.ends.clone()),
        done: 0,
        total: found.ends.values().sum(),
    };
    for error in found.problems.iter().chain(&found.made_good) {
        check.verdict.problems.push(Problem::of_error(&dir, error));
    }
    check.segments(&found.segments, &found.ends);
    check.missing(&found.missing);
    check.log.segments = found.segments;
    Some(check.log)
}

impl LogCheck<'_, '_> {
    fn segments(&mut self, segments: &SegmentMap, ends: &BTreeMap<SegmentId, u64>) {
        let last = segments.keys().next_back().copied();
        let mut before: Option<(SegmentId, u64)> = None;
        for (id, segment) in segments {
            self.verdict.counts.segments += 1;
            if let Some((prev, sum)) = before
                && segment.header.prev_segment == prev
                && !follows(segment.header.prev_sum, Some(sum))
            {
                let what = "header does not name the last frame of the segment before";
                self.blocking(Problem::of_log(segment.path(), 0, what));
            }
            let end = ends.get(id).copied().unwrap_or(SEGMENT_HEADER_SIZE as u64);
            match self.segment(segment, end, last == Some(*id)) {
                Ok((end, sum)) => {
                    self.log.ends.insert(*id, end);
                    before = sum.map(|sum| (*id, sum));
                }
                Err(error) => {
                    let problem = Problem::of_error(segment.path(), &error);
                    self.blocking(problem);
                    before = None;
                }
            }
        }
    }

    /// Where the segment's good frames end, and the checksum of the last, if all were good.
    fn segment(
        &mut self,
        segment: &Arc<Segment>,
        end: u64,
        is_last: bool,
    ) -> Result<(u64, Option<u64>), LogError> {
        let start = SEGMENT_HEADER_SIZE as u64;
        let mut walk = FrameWalk::new(segment.clone(), start, end, Payloads::Skip);
        let mut sum = Some(segment.header.prev_sum);
        loop {
            let at = walk.offset();
            match walk.next_step()? {
                None => return Ok((at, sum)),
                Some(Step::Frame(frame)) => {
                    if !follows(frame.header.prev_sum, sum) {
                        let what = "a frame that does not follow the one before it";
                        self.blocking(Problem::of_log(segment.path(), at, what));
                    }
                    let faults = self.payload_faults(segment, &frame)?;
                    if let Some((fault, _)) = faults.first()
                        && is_last
                        && !is_proven(segment, walk.offset(), end, at)?
                    {
                        self.note_tail(segment, at, &fault.what)?;
                        return Ok((at, sum));
                    }
                    sum = Some(frame.header_sum);
                    self.frame(&frame, faults);
                    self.step(frame.header.frame_len());
                }
                Some(Step::Bad(error)) => {
                    if is_last && !is_proven(segment, walk.offset(), end, at)? {
                        self.note_tail(segment, at, &error.to_string())?;
                        return Ok((at, sum));
                    }
                    self.blocking(Problem::of_error(segment.path(), &error));
                    sum = None;
                }
            }
        }
    }

    /// Whoever was killed while it wrote its last group has left a part of it: of the frame, or of a
    /// payload in it. Only the index can say that the group was acknowledged.
    fn note_tail(&mut self, segment: &Segment, at: u64, fault: &str) -> Result<(), LogError> {
        if !is_zero_from(segment, at)? {
            let note = format!(
                "a torn tail that was never acknowledged, or the index knows better: {fault}"
            );
            self.verdict.notes.push(note);
        }
        Ok(())
    }

    fn frame(&mut self, frame: &Frame, faults: Vec<(Problem, bool)>) {
        self.verdict.counts.frames += 1;
        let membership = frame.header.membership;
        let is_prepare = membership.role == Role::Prepare;
        self.log.undecided = Some(membership.transaction).filter(|_| is_prepare);
        for scanned in &frame.records {
            self.count(scanned);
            if scanned.record.kind == Kind::Purged {
                self.log.purged.insert(parse_purged(&scanned.record.id));
            }
            if scanned.record.kind == Kind::Aborted {
                self.log
                    .aborted
                    .extend(parse_transaction(&scanned.record.id));
            }
        }
        for (problem, is_read) in faults {
            self.log.blocks_rebuild |= is_read;
            self.verdict.problems.push(problem);
        }
    }

    /// What is wrong with the payloads of a frame, and whether a rebuild would stop at it: it reads
    /// bookkeeping and what stands inline, and no other payload.
    fn payload_faults(
        &mut self,
        segment: &Segment,
        frame: &Frame,
    ) -> Result<Vec<(Problem, bool)>, LogError> {
        let mut faults = Vec::new();
        for scanned in &frame.records {
            if let Err(problem) = self.payload(segment, scanned)? {
                let is_read = !scanned.record.kind.holds_value()
                    || scanned.payload_len as usize <= self.options.inline_max;
                faults.push((problem, is_read));
            }
        }
        Ok(faults)
    }

    fn payload(
        &mut self,
        segment: &Segment,
        scanned: &ScannedRecord,
    ) -> Result<Result<(), Problem>, LogError> {
        if let Some(dictionaries) = &self.log.dictionaries {
            return check_payload(segment, scanned, dictionaries);
        }
        let checked = check_payload(segment, scanned, &Dictionaries::default())?;
        if checked.is_ok() || scanned.record.codec != Codec::Zstd {
            return Ok(checked);
        }
        let (segments, ends) = &self.found;
        let gathered = gather(segments, ends)?;
        let dictionaries = self.log.dictionaries.insert(Arc::new(gathered));
        check_payload(segment, scanned, dictionaries)
    }

    fn count(&mut self, scanned: &ScannedRecord) {
        let counts = &mut self.verdict.counts;
        counts.records += 1;
        counts.payload_bytes += u64::from(scanned.payload_len);
        match scanned.record.kind {
            Kind::Value => counts.values += 1,
            Kind::Blob => counts.blobs += 1,
            Kind::Reference => counts.references += 1,
            _ => {}
        }
    }

    fn missing(&mut self, missing: &[SegmentId]) {
        for id in missing.iter().filter(|id| !self.log.purged.contains(id)) {
            let path = self.options.dir.join("log").join(Segment::file_name(*id));
            let what = "the segment is missing, and no record says that it was purged";
            self.log.blocks_rebuild = true;
            self.verdict.problems.push(Problem::of_log(&path, 0, what));
        }
    }

    fn blocking(&mut self, problem: Problem) {
        self.log.blocks_rebuild = true;
        self.verdict.problems.push(problem);
    }

    fn step(&mut self, bytes: u64) {
        self.done += bytes;
        (self.progress)(self.done, self.total.max(self.done));
    }
}

/// Whether `named` can be the checksum of the frame before. 0 names none: there is none, or
/// whoever opened the log did not read that far back.
fn follows(named: u64, before: Option<u64>) -> bool {
    named == 0 || before.is_none_or(|before| before == 0 || before == named)
}

/// Whether a later frame of a segment says that the log was synced beyond a bad place.
fn is_proven(segment: &Arc<Segment>, from: u64, end: u64, bad: u64) -> Result<bool, LogError> {
    let mut walk = FrameWalk::new(segment.clone(), from, end, Payloads::Skip);
    while let Some(step) = walk.next_step()? {
        if let Step::Frame(frame) = step
            && frame.header.durable_segment == segment.id()
            && frame.header.durable_offset > bad
        {
            return Ok(true);
        }
    }
    Ok(false)
}
