//! Reading a segment frame by frame.

use super::{LogError, Position, Segment};
use crate::codec::{
    Cursor, FRAME_HEADER_SIZE, FrameHeader, RECORD_HEADER_SIZE, Record, RecordHeader, payload_sum,
};
use bytes::Bytes;
use std::sync::Arc;

/// Read at least this much at once: a small group costs no system call of its own.
const WINDOW: usize = 256 * 1024;

/// Whether payloads are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payloads {
    /// Only headers and ids.
    Skip,
    /// Bookkeeping, and clients' values up to this many bytes: what stands in index rows.
    Small(usize),
    /// Read, checked and handed out.
    Read,
}

/// A record where it stands.
#[derive(Debug, Clone)]
pub struct ScannedRecord {
    /// The record; its payload is empty unless it was asked for (see [`Payloads`]).
    pub record: Record,
    /// Its header.
    pub position: Position,
    /// Its payload, in the same segment.
    pub payload_offset: u64,
    /// Bytes of its payload.
    pub payload_len: u32,
    /// Bytes it takes, its share of the frame aside.
    pub log_size: u64,
}

/// A group where it stands.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Its header.
    pub header: FrameHeader,
    /// The header's checksum, which the next frame names.
    pub header_sum: u64,
    /// Where the next frame starts.
    pub end: Position,
    /// Its records in order.
    pub records: Vec<ScannedRecord>,
}

/// Goes through the frames of one segment.
#[derive(Debug)]
pub struct FrameScanner {
    segment: Arc<Segment>,
    offset: u64,
    end: u64,
    payloads: Payloads,
    prev_sum: Option<u64>,
    window: Vec<u8>,
    window_start: u64,
}

impl FrameScanner {
    /// Starts at a frame, ends at `end`, which must be a frame's end (or the file's).
    #[must_use]
    pub fn new(segment: Arc<Segment>, offset: u64, end: u64, payloads: Payloads) -> Self {
        Self {
            segment,
            offset,
            end,
            payloads,
            prev_sum: None,
            window: Vec::new(),
            window_start: 0,
        }
    }

    /// Where the next frame would start.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame, or `None` at the end. After an error the scanner stands where it was.
    ///
    /// # Errors
    /// `Damaged` where the bytes are no frame of this segment, `Io`.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, LogError> {
        if self.offset >= self.end {
            return Ok(None);
        }
        let at = self.offset;
        let path = self.segment.path().to_owned();
        let salt = self.segment.header.salt;
        let bytes = self.bytes(at, FRAME_HEADER_SIZE)?;
        let (header, header_sum) =
            FrameHeader::decode(&bytes, salt).map_err(LogError::format(&path, at))?;
        self.check_place(&header, at)?;
        let meta_at = at + FRAME_HEADER_SIZE as u64;
        let meta = self.bytes(meta_at, header.meta_len as usize)?;
        if FrameHeader::meta_sum_of(&meta, salt) != header.meta_sum {
            return Err(LogError::damaged(
                &path,
                meta_at,
                "record headers: checksum does not match",
            ));
        }
        let records = self.records(&header, &meta, meta_at)?;
        self.offset = at + header.frame_len();
        self.prev_sum = Some(header_sum);
        let end = Position {
            segment: header.segment,
            offset: self.offset,
        };
        Ok(Some(Frame {
            header,
            header_sum,
            end,
            records,
        }))
    }

    fn check_place(&self, header: &FrameHeader, at: u64) -> Result<(), LogError> {
        let owner = &self.segment.header;
        let wrong = if (header.store, header.shard) != (owner.store, owner.shard) {
            "a frame of another shard or store"
        } else if (header.segment, header.position) != (owner.segment, at) {
            "a frame of another place"
        } else if header.frame_len() > self.end - at {
            "a frame that is longer than the segment"
        } else if self.prev_sum.is_some_and(|sum| sum != header.prev_sum) {
            "a frame that does not follow the one before it"
        } else {
            return Ok(());
        };
        Err(LogError::damaged(self.segment.path(), at, wrong))
    }

    fn records(
        &mut self,
        header: &FrameHeader,
        meta: &[u8],
        meta_at: u64,
    ) -> Result<Vec<ScannedRecord>, LogError> {
        let salt = self.segment.header.salt;
        let mut cursor = Cursor::new(meta);
        let mut payload_offset = meta_at + meta.len() as u64;
        // A count that cannot be is found below; no room is made for it first.
        let count_max = meta.len() / RECORD_HEADER_SIZE;
        let mut records = Vec::with_capacity(count_max.min(header.record_count as usize));
        for _ in 0..header.record_count {
            let offset = meta_at + (meta.len() - cursor.rest().len()) as u64;
            let decoded = RecordHeader::decode(&mut cursor, salt)
                .map_err(LogError::format(self.segment.path(), offset))?;
            let position = Position {
                segment: header.segment,
                offset,
            };
            let log_size = decoded.log_size();
            let mut record = decoded.record;
            if self.wants(&record, decoded.payload_len) {
                record.payload =
                    self.payload(payload_offset, decoded.payload_len, record.payload_sum)?;
            }
            let payload_len = decoded.payload_len;
            records.push(ScannedRecord {
                record,
                position,
                payload_offset,
                payload_len,
                log_size,
            });
            payload_offset += u64::from(payload_len);
        }
        if payload_offset == meta_at + meta.len() as u64 + header.payload_len
            && cursor.rest().is_empty()
        {
            Ok(records)
        } else {
            Err(LogError::damaged(
                self.segment.path(),
                meta_at,
                "records do not fill their frame",
            ))
        }
    }

    fn wants(&self, record: &Record, payload_len: u32) -> bool {
        match self.payloads {
            Payloads::Skip => false,
            Payloads::Small(max) => !record.kind.holds_value() || payload_len as usize <= max,
            Payloads::Read => true,
        }
    }

    fn payload(&mut self, offset: u64, len: u32, sum: u64) -> Result<Bytes, LogError> {
        let payload = self.bytes(offset, len as usize)?;
        if payload_sum(&payload) == sum {
            Ok(payload)
        } else {
            Err(LogError::damaged(
                self.segment.path(),
                offset,
                "payload checksum does not match",
            ))
        }
    }

    fn bytes(&mut self, offset: u64, len: usize) -> Result<Bytes, LogError> {
        if offset + len as u64 > self.end {
            let what = format!("segment ends at {} before the {len} bytes here", self.end);
            return Err(LogError::damaged(self.segment.path(), offset, what));
        }
        if len > WINDOW / 2 {
            return self.segment.read(offset, len).map(Bytes::from);
        }
        let window_end = self.window_start + self.window.len() as u64;
        if offset < self.window_start || offset + len as u64 > window_end {
            let fill = WINDOW.min(usize::try_from(self.end - offset).unwrap_or(WINDOW));
            self.window = self.segment.read(offset, fill)?;
            self.window_start = offset;
        }
        let from = (offset - self.window_start) as usize;
        Ok(Bytes::copy_from_slice(&self.window[from..from + len]))
    }
}
