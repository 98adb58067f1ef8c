//! The dictionaries of a log that is being checked: its values must open with what it holds itself.

use crate::codec::{Dictionaries, Kind, SEGMENT_HEADER_SIZE, payload_sum};
use crate::log::{FrameWalk, LogError, Payloads, ScannedRecord, Segment, SegmentMap, Step};
use crate::model::SegmentId;
use crate::shard::dictionary::parse_dictionary;
use bytes::Bytes;
use std::collections::BTreeMap;

/// All that are whole. GC moves them like any record, so one can stand anywhere in the log.
pub(super) fn gather(
    segments: &SegmentMap,
    ends: &BTreeMap<SegmentId, u64>,
) -> Result<Dictionaries, LogError> {
    let dictionaries = Dictionaries::default();
    for (id, segment) in segments {
        let start = SEGMENT_HEADER_SIZE as u64;
        let end = ends.get(id).copied().unwrap_or(start);
        let mut walk = FrameWalk::new(segment.clone(), start, end, Payloads::Skip);
        while let Some(step) = walk.next_step()? {
            let Step::Frame(frame) = step else {
                continue; // The check of the log tells of it.
            };
            for scanned in &frame.records {
                if scanned.record.kind == Kind::Dictionary {
                    add(&dictionaries, segment, scanned)?;
                }
            }
        }
    }
    Ok(dictionaries)
}

/// Adds one that is whole; the check of its record tells of one that is not.
fn add(
    dictionaries: &Dictionaries,
    segment: &Segment,
    scanned: &ScannedRecord,
) -> Result<(), LogError> {
    let read = segment.read(scanned.payload_offset, scanned.payload_len as usize);
    let payload = match read {
        Ok(payload) => Bytes::from(payload),
        Err(LogError::Damaged { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    if payload_sum(&payload) == scanned.record.payload_sum
        && let Ok(dictionary) =
            parse_dictionary(&scanned.record.id, scanned.record.version, payload)
    {
        // The first of two that have one name opens what came before the second.
        let _ = dictionaries.add(dictionary.into());
    }
    Ok(())
}
