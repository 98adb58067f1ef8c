//! What a log says of a transaction, and the word that ends one.
//!
//! A transaction's version is drawn when all its shards stand still, before any of its frames is
//! written. So in every one of them, frames of before name a lower counter, and a search backwards
//! ends at the segment whose first frame does.

use super::{FrameScanner, LogError, LogIdentity, Opened, Payloads, Position, Segment};
use crate::codec::{FRAME_HEADER_SIZE, Kind, Membership, Record, Role, SEGMENT_HEADER_SIZE};
use crate::model::{SegmentId, Seq};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// What one shard's log says of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vote {
    /// Nothing: its part never became durable here, or was given up and cut.
    Nothing,
    /// Its part is durable.
    Prepared,
    /// It was decided for the transaction.
    Committed,
    /// It was decided against it.
    Aborted,
}

/// A log as a start found it, all of it durable. It keeps no file open, so that it pins none: GC
/// removes no segment with a frame of a transaction while any shard may still ask.
#[derive(Debug, Clone)]
pub struct LogExtent {
    dir: PathBuf,
    owner: LogIdentity,
    ends: BTreeMap<SegmentId, u64>,
}

impl LogExtent {
    /// What the log says of a transaction. Reads no more than what was written since it began.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn vote(&self, transaction: u64) -> Result<Vote, LogError> {
        for (id, end) in self.ends.iter().rev() {
            let path = self.dir.join(Segment::file_name(*id));
            if !path.exists() {
                continue;
            }
            let segment = Arc::new(Segment::open_to_read(path, *id, self.owner)?);
            let (vote, began_before) = vote_in(segment, *end, transaction)?;
            if vote != Vote::Nothing || began_before {
                return Ok(vote);
            }
        }
        Ok(Vote::Nothing)
    }
}

/// The last word of a segment on a transaction, and whether it has frames of before.
fn vote_in(segment: Arc<Segment>, end: u64, transaction: u64) -> Result<(Vote, bool), LogError> {
    let mut vote = Vote::Nothing;
    let mut began_before = false;
    let start = SEGMENT_HEADER_SIZE as u64;
    let mut scanner = FrameScanner::new(segment, start, end, Payloads::Skip);
    while let Some(frame) = scanner.next_frame()? {
        began_before |= frame.header.counter.0 < transaction;
        let found = frame.header.membership;
        if found.transaction == transaction {
            vote = match found.role {
                Role::Single => vote,
                Role::Prepare => Vote::Prepared,
                Role::Decide if found.participants > 0 => Vote::Committed,
                Role::Decide => Vote::Aborted,
            };
        }
    }
    Ok((vote, began_before))
}

impl Opened {
    /// The log as it was found: whole and durable.
    #[must_use]
    pub fn extent(&self) -> LogExtent {
        LogExtent {
            dir: self.log.dir.clone(),
            owner: self.log.owner,
            ends: self.ends.clone(),
        }
    }

    /// Ends the transaction whose prepare is the last frame of the log, durably; where the decision
    /// stands.
    ///
    /// # Errors
    /// What the disk answers; the transaction is then as undecided as before.
    pub fn decide(&mut self, prepared: Membership, commit: bool) -> Result<Position, LogError> {
        let mut records = Vec::new();
        if !commit {
            self.last_seq = Seq(self.last_seq.0 + 1);
            records.push(Record {
                seq: self.last_seq,
                ..aborted(prepared.transaction)
            });
        }
        let context = super::GroupContext {
            membership: Membership {
                role: Role::Decide,
                participants: if commit { prepared.participants } else { 0 },
                ..prepared
            },
            ..self.context()
        };
        let size: u64 = records.iter().map(Record::log_size).sum();
        self.log.reserve(FRAME_HEADER_SIZE as u64 + size, context)?;
        let group = self.log.prepare(&records, context);
        let (start, end) = (group.start, group.end);
        self.log.write(group)?;
        self.log.sync()?;
        self.ends.insert(end.segment, end.offset);
        Ok(start)
    }
}

/// The record that says that a transaction was given up.
#[must_use]
pub fn aborted(transaction: u64) -> Record {
    let id = Bytes::copy_from_slice(&transaction.to_be_bytes());
    Record::bookkeeping(Kind::Aborted, id, Bytes::new())
}
