//! The tail of a log after a crash: where the good frames end, how far they are proven to be on the
//! disk, and what of the rest the disk itself holds.

use super::inspect::is_zero_from;
use super::open::OpenContext;
use super::segment::full_or_io;
use super::{Frame, FrameScanner, LogError, Payloads, Position, Segment, file};
use crate::codec::{FRAME_HEADER_SIZE, FrameHeader, Record, SEGMENT_HEADER_SIZE};
use bytes::Bytes;
use std::sync::Arc;

/// What the scan of the last segment found.
pub(super) struct Tail {
    /// The frames, payloads skipped.
    pub frames: Vec<(Position, Frame)>,
    /// Where the good frames end.
    pub end: u64,
    /// What stopped the scan before the end of the file, if anything did.
    pub stopped: Option<LogError>,
}

/// A group read from the disk itself.
pub(super) struct AdoptedGroup {
    pub header: FrameHeader,
    pub records: Vec<Record>,
}

/// Scans from the last proof on: what lies before it is on the disk.
pub(super) fn scan_tail(last: &Arc<Segment>, durable: Position) -> Result<Tail, LogError> {
    let len = last.len()?;
    let start = if durable.segment == last.id() {
        // A file that ends before the proof is cut short, and its end is where it ends.
        durable.offset.min(len)
    } else {
        SEGMENT_HEADER_SIZE as u64
    };
    let mut scanner = FrameScanner::new(last.clone(), start, len, Payloads::Skip);
    let mut tail = Tail {
        frames: Vec::new(),
        end: start,
        stopped: None,
    };
    loop {
        match scanner.next_frame() {
            Ok(Some(frame)) => {
                let at = Position {
                    segment: last.id(),
                    offset: tail.end,
                };
                tail.end = frame.end.offset;
                tail.frames.push((at, frame));
            }
            Ok(None) => return Ok(tail),
            Err(error @ LogError::Damaged { .. }) => {
                if !is_zero_from(last, tail.end)? {
                    tail.stopped = Some(error);
                }
                return Ok(tail);
            }
            Err(error) => return Err(error),
        }
    }
}

/// How far the last segment is proven to be on the disk.
pub(super) fn proven_end(
    last: &Arc<Segment>,
    tail: &Tail,
    context: OpenContext,
) -> Result<u64, LogError> {
    let id = last.id();
    let mut proven = SEGMENT_HEADER_SIZE as u64;
    if context.durable.segment == id {
        proven = proven.max(context.durable.offset);
    } else if context.durable.segment > id {
        let what = format!(
            "segment {} is missing: the log was synced there",
            context.durable.segment
        );
        return Err(LogError::damaged(last.path(), tail.end, what));
    }
    let later = match &tail.stopped {
        Some(_) => frames_behind(last, tail.end)?,
        None => Vec::new(),
    };
    let proofs = tail
        .frames
        .iter()
        .map(|(_, frame)| frame.header)
        .chain(later);
    for header in proofs.filter(|header| header.durable_segment == id) {
        proven = proven.max(header.durable_offset);
    }
    if proven > tail.end {
        let what = tail
            .stopped
            .as_ref()
            .map_or_else(|| "file ends".to_owned(), ToString::to_string);
        let what = format!(
            "{what}; but the log was synced up to {proven}, so this is damage and not a torn tail"
        );
        return Err(LogError::damaged(last.path(), tail.end, what));
    }
    if context
        .applied
        .is_some_and(|at| at.segment > id || (at.segment == id && at.offset > tail.end))
    {
        return Err(LogError::IndexStale("ahead of the log's end"));
    }
    Ok(proven)
}

/// Splits the tail at the proof: what stays where it is, and what must come from the disk itself.
pub(super) fn split_tail(
    last: &Arc<Segment>,
    tail: &Tail,
    proven: u64,
    applied: Option<Position>,
) -> Result<(Position, Vec<AdoptedGroup>), LogError> {
    let mut kept = Position {
        segment: last.id(),
        offset: tail.end,
    };
    let mut adopted = Vec::new();
    let unproven = |(_, frame): &&(Position, Frame)| frame.end.offset > proven;
    for (at, frame) in tail.frames.iter().filter(unproven) {
        let indexed = applied.is_some_and(|applied| frame.end <= applied);
        let group = adopt(last, at.offset, frame)?;
        // Rows point to where an indexed group stands, so it stays there, or they are wrong.
        if indexed && group.is_none() {
            return Err(LogError::IndexStale("ahead of what the disk holds"));
        }
        if !indexed {
            kept = kept.min(*at);
            match group {
                Some(group) => adopted.push(group),
                None => break,
            }
        }
    }
    Ok((kept, adopted))
}

/// Reads a frame past the page cache; `None` when the disk does not hold it.
fn adopt(last: &Arc<Segment>, at: u64, frame: &Frame) -> Result<Option<AdoptedGroup>, LogError> {
    let bytes = file::read_direct(last.path(), at, frame.header.frame_len())
        .map_err(full_or_io("read directly", last.path(), 0))?;
    let bytes = Bytes::from(bytes);
    if bytes.len() as u64 != frame.header.frame_len() {
        return Ok(None);
    }
    let salt = last.header.salt;
    let meta_end = FRAME_HEADER_SIZE + frame.header.meta_len as usize;
    let same_header =
        FrameHeader::decode(&bytes, salt).is_ok_and(|(header, _)| header == frame.header);
    if !same_header
        || FrameHeader::meta_sum_of(&bytes[FRAME_HEADER_SIZE..meta_end], salt)
            != frame.header.meta_sum
    {
        return Ok(None);
    }
    let mut records = Vec::with_capacity(frame.records.len());
    for scanned in &frame.records {
        let from = usize::try_from(scanned.payload_offset - at).unwrap_or(usize::MAX);
        let payload = bytes.slice(from..from + scanned.payload_len as usize);
        if crate::codec::payload_sum(&payload) != scanned.record.payload_sum {
            return Ok(None);
        }
        records.push(Record {
            payload,
            ..scanned.record.clone()
        });
    }
    Ok(Some(AdoptedGroup {
        header: frame.header,
        records,
    }))
}

pub(super) fn torn_len(last: &Arc<Segment>, tail: &Tail) -> Result<u64, LogError> {
    Ok(if tail.stopped.is_some() {
        last.len()? - tail.end
    } else {
        0
    })
}

/// Every valid frame header behind a bad place, wherever it starts.
fn frames_behind(segment: &Segment, from: u64) -> Result<Vec<FrameHeader>, LogError> {
    const STEP: u64 = 1 << 20;
    let end = segment.len()?;
    let mut found = Vec::new();
    let mut offset = from + 1;
    while offset + FRAME_HEADER_SIZE as u64 <= end {
        let len = (STEP + FRAME_HEADER_SIZE as u64).min(end - offset);
        let bytes = segment.read(offset, len as usize)?;
        for at in 0..=bytes.len() - FRAME_HEADER_SIZE {
            if &bytes[at..at + 4] == FrameHeader::MAGIC
                && let Ok((header, _)) = FrameHeader::decode(&bytes[at..], segment.header.salt)
                && header.position == offset + at as u64
            {
                found.push(header);
            }
        }
        offset += STEP;
    }
    Ok(found)
}
