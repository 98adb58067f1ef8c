//! The check of a running shard, chunk by chunk: closed segments, and log and index in both
//! directions. It asks the same questions as the offline check; what large values are together, the
//! router asks of all shards.
//!
//! Each chunk pins the segments for as long as it lasts and no longer, so neither GC nor a reopening
//! of the shard waits for more than one chunk. Where a round stands is a segment and an offset, or a
//! row; both may be gone at the next chunk, which then goes on with what comes after.

use super::record::{check_known, check_payload, check_row};
use crate::codec::{SEGMENT_HEADER_SIZE, Space};
use crate::index::IndexSnapshot;
use crate::log::{Frame, FrameWalk, Payloads, Segment, SegmentMap, Step, check_header, end_of};
use crate::model::{Problem, SegmentId};
use crate::shard::void::is_void;
use crate::shard::{ShardError, ShardReader};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What looking at one row is counted as.
pub const ROW_BYTES: u64 = 256;

/// Where a round stands in a shard.
#[derive(Debug, Clone)]
pub enum Place {
    /// At this offset of a segment, or at the start of the next one that is there.
    Log(SegmentId, u64),
    /// At this row, or the next one that is there.
    Index(Space, Bytes),
}

impl Place {
    /// The beginning of a round.
    #[must_use]
    pub fn first() -> Self {
        Self::Log(SegmentId::default(), 0)
    }
}

/// What a chunk found.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Where the next one begins; `None` at the end of the round.
    pub next: Option<Place>,
    /// Bytes that were looked at.
    pub bytes: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Checks the next chunk of a shard, of about `size` bytes. The segments are pinned before any row is read, so a row names one
/// of them or one that is newer than all.
pub fn check_chunk(reader: &ShardReader, place: Place, size: u64) -> Chunk {
    fail::fail_point!("scrub::chunk");
    let segments = reader.segments();
    let mut chunk = Chunk::default();
    let done = match place {
        Place::Log(id, offset) => log_chunk(reader, &segments, (id, offset), size, &mut chunk),
        Place::Index(space, from) => {
            index_chunk(reader, &segments, (space, from), size, &mut chunk)
        }
    };
    if let Err(error) = done {
        // What cannot be read at all is not read again in this round.
        chunk.problems.push(problem_of(&segments, &error));
        chunk.next = None;
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
        chunk.next = Some(Place::Index(Space::ALL[0], Bytes::new()));
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
                chunk.next = Some(Place::Log(SegmentId(id.0 + 1), 0));
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
    chunk.next = Some(Place::Log(*id, walk.offset()));
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
        let row = index.get(record.space(), &record.id)?;
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
            chunk.next = Some(Place::Index(space, behind(&id)));
            return Ok(());
        }
    }
    chunk.bytes += seen;
    let next = Space::ALL.iter().skip_while(|of| **of != space).nth(1);
    chunk.next = next.map(|next| Place::Index(*next, Bytes::new()));
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
        ShardError::Index(_)
        | ShardError::Contradiction(_)
        | ShardError::HalfShown
        | ShardError::Undecided { .. } => Problem::of_index(&path, None, error.to_string()),
    }
}

/// Where the index of these segments is: it lies beside the log.
#[must_use]
pub fn index_path(segments: &SegmentMap) -> PathBuf {
    let segment = segments.values().next();
    let shard = segment.and_then(|segment| segment.path().parent()?.parent());
    shard.unwrap_or(Path::new("")).join("index")
}
