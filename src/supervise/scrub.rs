//! The scrubber: reads closed segments at a bounded rate and compares log and index in both
//! directions, so that damage to cold data is found while a backup still has it.
//!
//! It asks the same questions as the offline check. It works in chunks: each pins the segments
//! for as long as it lasts and no longer, so neither GC nor a reopening of the shard waits for
//! more than one chunk. Where it stands is a segment and an offset, or a row; both may be gone at
//! the next chunk, which then goes on with what comes after.

use crate::codec::{SEGMENT_HEADER_SIZE, Space};
use crate::config::Scrub;
use crate::index::IndexSnapshot;
use crate::log::{Frame, FrameWalk, Payloads, Segment, SegmentMap, Step, check_header, end_of};
use crate::model::{Problem, SegmentId, ShardId};
use crate::shard::{
    ShardError, ShardHandle, ShardReader, check_known, check_payload, check_row, is_void,
};
use bytes::Bytes;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A chunk is about what may be read in a quarter of a second, within these bounds.
const CHUNK_MIN: u64 = 64 * 1024;
const CHUNK_MAX: u64 = 4 * 1024 * 1024;
/// What looking at one row is counted as.
const ROW_BYTES: u64 = 256;
/// Problems that are remembered: enough to know that something is badly wrong.
const PROBLEMS_MAX: usize = 1000;
/// What the scrubber has done and found since the start.
#[derive(Debug, Clone, Default)]
pub struct ScrubReport {
    /// Rounds through all shards.
    pub rounds: u64,
    /// Bytes of segments that were read.
    pub bytes: u64,
    /// Problems, each place once; those of files that are gone go with them.
    pub problems: Vec<Problem>,
}

/// Where a round stands in a shard.
#[derive(Debug, Clone)]
enum Place {
    Log(SegmentId, u64),
    Index(Space, Bytes),
    Done,
}

/// What a chunk found.
struct Chunk {
    next: Place,
    bytes: u64,
    problems: Vec<Problem>,
}

/// Scrubs the shards, round after round, until `stop` becomes true or its sender is gone. What it
/// finds is in `report` and, once for each place, in the program's log.
pub async fn scrub(
    shards: Vec<Arc<ShardHandle>>,
    config: Scrub,
    report: watch::Sender<ScrubReport>,
    stop: watch::Receiver<bool>,
) {
    if config.rate == 0 {
        return;
    }
    let mut scrubber = Scrubber {
        rate: config.rate,
        report,
        stop,
        known: HashSet::new(),
    };
    loop {
        for shard in &shards {
            if scrubber.shard(shard).await.is_none() {
                return;
            }
        }
        scrubber.end_round();
        if scrubber.rest(config.interval).await.is_none() {
            return;
        }
    }
}

struct Scrubber {
    rate: u64,
    report: watch::Sender<ScrubReport>,
    stop: watch::Receiver<bool>,
    /// Places that were told of.
    known: HashSet<(PathBuf, Option<u64>, String)>,
}

impl Scrubber {
    /// One round through a shard; `None` when told to stop.
    async fn shard(&mut self, shard: &ShardHandle) -> Option<()> {
        let size = (self.rate / 4).clamp(CHUNK_MIN, CHUNK_MAX);
        let mut place = Place::Log(SegmentId::default(), 0);
        while !matches!(place, Place::Done) {
            // A shard that is being reopened is left out of this round.
            let Ok(reader) = shard.reader() else {
                return Some(());
            };
            let read = tokio::task::spawn_blocking(move || chunk(&reader, place, size));
            let Ok(chunk) = read.await else {
                return Some(()); // The panic was reported by its hook.
            };
            place = chunk.next;
            self.note(shard.id(), chunk.bytes, chunk.problems);
            let pause = chunk.bytes as f64 / self.rate as f64;
            self.rest(Duration::from_secs_f64(pause)).await?;
        }
        Some(())
    }

    /// Sleeps; `None` when told to stop.
    async fn rest(&mut self, pause: Duration) -> Option<()> {
        let told = self.stop.wait_for(|stop| *stop);
        tokio::time::timeout(pause, told).await.err().map(|_| ())
    }

    fn note(&mut self, shard: ShardId, bytes: u64, problems: Vec<Problem>) {
        let mut new = Vec::new();
        for problem in problems {
            let place = (problem.file.clone(), problem.offset, problem.what.clone());
            if self.known.len() < PROBLEMS_MAX && self.known.insert(place) {
                let (file, offset) = (problem.file.display(), problem.offset);
                let (what, remedy) = (&problem.what, &problem.remedy);
                tracing::error!(%shard, %file, offset, what, remedy, "scrub found damage");
                new.push(problem);
            }
        }
        self.report.send_modify(|report| {
            report.bytes += bytes;
            report.problems.extend(new);
        });
    }

    fn end_round(&mut self) {
        self.known.retain(|(file, ..)| file.exists());
        self.report.send_modify(|report| {
            report.rounds += 1;
            report.problems.retain(|problem| problem.file.exists());
        });
    }
}

/// The next chunk of a shard. The segments are pinned before any row is read, so a row names one
/// of them or one that is newer than all.
fn chunk(reader: &ShardReader, place: Place, size: u64) -> Chunk {
    fail::fail_point!("scrub::chunk");
    let segments = reader.segments();
    let mut chunk = Chunk {
        next: Place::Done,
        bytes: 0,
        problems: Vec::new(),
    };
    let done = match place {
        Place::Log(id, offset) => log_chunk(reader, &segments, (id, offset), size, &mut chunk),
        Place::Index(space, from) => {
            index_chunk(reader, &segments, (space, from), size, &mut chunk)
        }
        Place::Done => Ok(()),
    };
    if let Err(error) = done {
        // What cannot be read at all is not read again in this round.
        chunk.problems.push(problem_of(&segments, &error));
        chunk.next = Place::Done;
    }
    chunk
}

fn log_chunk(
    reader: &ShardReader,
    segments: &Arc<SegmentMap>,
    (wanted, offset): (SegmentId, u64),
    size: u64,
    chunk: &mut Chunk,
) -> Result<(), ShardError> {
    let active = segments.keys().next_back().copied();
    let closed = segments
        .range(wanted..)
        .find(|(id, _)| Some(**id) != active);
    let Some((id, segment)) = closed else {
        chunk.next = Place::Index(Space::ALL[0], Bytes::new());
        return Ok(());
    };
    // If GC has taken the wanted segment meanwhile, the next is begun at its start.
    let begun = if *id == wanted { offset } else { 0 };
    let start = begun.max(SEGMENT_HEADER_SIZE as u64);
    if begun == 0 {
        let damage = check_header(segment)?;
        let problem = damage.map(|error| Problem::of_error(segment.path(), &error));
        chunk.problems.extend(problem);
    }
    let index = reader.snapshot();
    let end = end_of(segments, segment)?;
    let mut walk = FrameWalk::new(segment.clone(), start, end, Payloads::Skip);
    while walk.offset() - start < size {
        match walk.next_step()? {
            None => {
                chunk.bytes += end.saturating_sub(start);
                chunk.next = Place::Log(SegmentId(id.0 + 1), 0);
                return Ok(());
            }
            Some(Step::Bad(error)) => {
                chunk
                    .problems
                    .push(Problem::of_error(segment.path(), &error));
            }
            Some(Step::Frame(frame)) => check_frame(reader, &index, segment, &frame, chunk)?,
        }
    }
    chunk.bytes += walk.offset() - start;
    chunk.next = Place::Log(*id, walk.offset());
    Ok(())
}

/// Every payload, and that the index knows what became of every record.
fn check_frame(
    reader: &ShardReader,
    index: &IndexSnapshot,
    segment: &Segment,
    frame: &Frame,
    chunk: &mut Chunk,
) -> Result<(), ShardError> {
    for scanned in &frame.records {
        let record = &scanned.record;
        chunk
            .problems
            .extend(check_payload(segment, scanned, reader.dictionaries())?.err());
        let row = index.get(record.kind.space(), &record.id)?;
        let known = check_known(segment.path(), scanned, row.as_ref());
        let membership = frame.header.membership;
        if known.is_err() && is_void(record, membership, |space, id| index.get(space, id))? {
            continue;
        }
        chunk.problems.extend(known.err());
    }
    Ok(())
}

/// Some rows, and whether their places hold their records.
fn index_chunk(
    reader: &ShardReader,
    segments: &Arc<SegmentMap>,
    (space, from): (Space, Bytes),
    size: u64,
    chunk: &mut Chunk,
) -> Result<(), ShardError> {
    let newest = segments.keys().next_back().copied();
    let path = index_path(segments);
    let mut seen = 0;
    for found in reader.snapshot().scan(space, &[], Some(&from)) {
        let (id, row) = found?;
        let segment = row.place.record.segment;
        // What GC forgets with a segment stands until the purge is logged, a moment after the
        // segment went out of sight.
        let is_leaving = row.kind.is_gone() && !segments.contains_key(&segment);
        if Some(segment) <= newest && !is_leaving {
            let checked = check_row(&path, segments, (space, &id), &row);
            chunk.problems.extend(checked.err());
        }
        seen += ROW_BYTES;
        if seen >= size {
            chunk.bytes += seen;
            chunk.next = Place::Index(space, behind(&id));
            return Ok(());
        }
    }
    chunk.bytes += seen;
    let next = Space::ALL.iter().skip_while(|of| **of != space).nth(1);
    chunk.next = next.map_or(Place::Done, |next| Place::Index(*next, Bytes::new()));
    Ok(())
}

/// The first id behind an id.
fn behind(id: &[u8]) -> Bytes {
    let mut next = id.to_vec();
    next.push(0);
    Bytes::from(next)
}

fn problem_of(segments: &SegmentMap, error: &ShardError) -> Problem {
    let path = index_path(segments);
    match error {
        ShardError::Log(error) => Problem::of_error(&path, error),
        ShardError::Index(_) | ShardError::Contradiction(_) | ShardError::Undecided { .. } => {
            Problem::of_index(&path, None, error.to_string())
        }
    }
}

/// The index lies beside the log.
fn index_path(segments: &SegmentMap) -> PathBuf {
    let segment = segments.values().next();
    let shard = segment.and_then(|segment| segment.path().parent()?.parent());
    shard.unwrap_or(Path::new("")).join("index")
}
