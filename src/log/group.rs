//! A group on paper: every byte and position of it is known before the first is written, so that
//! all index rows can be built and checked first.

use super::Position;
use crate::codec::{FRAME_HEADER_SIZE, Record};
use bytes::Bytes;

/// Payloads up to this size are copied into one buffer; larger ones are written from where they
/// are. A slice of its own costs the kernel more than this much copying.
const COPY_MAX: usize = 16 * 1024;

/// Where a record of a group will stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its header.
    pub record: Position,
    /// Its payload, in the same segment.
    pub payload_offset: u64,
    /// Bytes it takes, its share of the frame aside.
    pub log_size: u64,
}

/// A group that has its place in the log but is not written yet.
#[derive(Debug)]
pub struct PreparedGroup {
    /// Where its frame starts.
    pub start: Position,
    /// Where the next frame will start.
    pub end: Position,
    /// Where its records will stand, in order.
    pub placed: Vec<Placed>,
    pub(super) header_sum: u64,
    pub(super) pieces: Vec<Bytes>,
}

/// The layout of records behind a frame at `start`.
pub(super) fn place(records: &[Record], start: Position) -> (Vec<Placed>, u64, u64) {
    let meta_len: u64 = records
        .iter()
        .map(|record| record.log_size() - record.payload.len() as u64)
        .sum();
    let mut record_offset = start.offset + FRAME_HEADER_SIZE as u64;
    let mut payload_offset = record_offset + meta_len;
    let first_payload = payload_offset;
    let mut placed = Vec::with_capacity(records.len());
    for record in records {
        let log_size = record.log_size();
        let record_position = Position {
            segment: start.segment,
            offset: record_offset,
        };
        placed.push(Placed {
            record: record_position,
            payload_offset,
            log_size,
        });
        payload_offset += record.payload.len() as u64;
        record_offset += log_size - record.payload.len() as u64;
    }
    (placed, meta_len, payload_offset - first_payload)
}

/// Frame header, metadata and payloads as as few pieces as pays.
pub(super) fn pieces(header: &[u8], meta: &[u8], records: &[Record]) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let mut buffer = Vec::with_capacity(header.len() + meta.len());
    buffer.extend_from_slice(header);
    buffer.extend_from_slice(meta);
    for record in records {
        if record.payload.len() <= COPY_MAX {
            buffer.extend_from_slice(&record.payload);
        } else {
            if !buffer.is_empty() {
                pieces.push(Bytes::from(std::mem::take(&mut buffer)));
            }
            pieces.push(record.payload.clone());
        }
    }
    if !buffer.is_empty() {
        pieces.push(Bytes::from(buffer));
    }
    pieces
}
