//! Following the changes of one shard, in its log.

use super::error::ShardError;
use super::feed::{Feed, Hold, Standing};
use super::reader::{Found, Records};
use crate::codec::{FLAG_EXPIRED, FLAG_MERGED, FLAG_MOVED, Kind, Role, SEGMENT_HEADER_SIZE};
use crate::index::{Place, Row};
use crate::log::{
    Frame, FrameScanner, LogError, Payloads, Position, ScannedRecord, Segment, SegmentMap,
};
use crate::model::{Error, ErrorKind, Key, Result, SegmentId, ShardId, Version};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;

/// A change of a key.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its version.
    pub version: Version,
    /// The key.
    pub key: Key,
    /// What became of it.
    pub what: Changed,
}

/// What became of a key.
#[derive(Debug, Clone)]
pub enum Changed {
    /// It has this record, which pins what it names.
    Put(Found),
    /// It was deleted.
    Deleted,
    /// It was removed because it had expired.
    Expired,
}

/// Follows one opening of a shard. Nothing is kept in memory for it: it reads the log.
#[derive(Debug)]
pub struct Follower {
    shard: ShardId,
    after: Version,
    standing: watch::Receiver<Standing>,
    records: Records,
    position: Position,
    /// The highest version read.
    read: Version,
    /// The highest version that a frame read says was drawn: no start issues it again.
    logged: Version,
    /// The last frame, if it waits for the decision behind it.
    prepared: Option<Frame>,
    hold: Hold,
}

impl Follower {
    /// Follows the changes after a version.
    pub(super) fn new(
        shard: ShardId,
        after: Version,
        feed: &Feed,
        records: Records,
    ) -> Result<Self> {
        let (standing, holds) = feed.subscribe();
        // Held before it is looked whether they are there: what is found is not collected then.
        let mut hold = Hold::new(holds, SegmentId(0));
        let first = first_segment(&records.segments.load(), after);
        let first = first.ok_or_else(|| compacted(shard, after))?;
        hold.advance(first);
        let position = start_of(first);
        Ok(Self {
            shard,
            after,
            standing,
            records,
            position,
            read: after,
            logged: after,
            prepared: None,
            hold,
        })
    }

    /// Resolves when the shard has shown more than was there at the last [`Follower::read_on`].
    pub async fn changed(&mut self) {
        // An error says that the shard is being reopened, which the next read says too.
        let _ = self.standing.changed().await;
    }

    /// The highest version that is in the log as far as it was read, be it a key's or not.
    #[must_use]
    pub fn logged(&self) -> Version {
        self.logged
    }

    /// Reads on until `queue` has at least `count_max` changes or there are no more. Returns up to
    /// which version all changes of this shard are in the queue, or were. `counter` was read before.
    ///
    /// # Errors
    /// `Conflict` (`WATCH_COMPACTED`, `WATCH_RESTORED`); `Unavailable` when the shard is opened
    /// anew; what the disk answers.
    pub fn read_on(
        &mut self,
        counter: Version,
        queue: &mut VecDeque<Change>,
        count_max: usize,
    ) -> Result<Version> {
        if self.standing.has_changed().is_err() {
            let message = format!("shard {} is being opened anew; watch again", self.shard);
            return Err(Error::unavailable("SHARD_OPENING", message));
        }
        let standing = *self.standing.borrow_and_update();
        // After the standing: the segment that it names is there.
        let segments = self.records.segments.load_full();
        while self.position < standing.end {
            if queue.len() >= count_max {
                return Ok(self.read);
            }
            self.read_segment(&segments, standing.end, queue, count_max)?;
        }
        Ok(standing.settled(counter))
    }

    /// Reads the segment of the position to its end, and goes on to the next.
    fn read_segment(
        &mut self,
        segments: &Arc<SegmentMap>,
        shown: Position,
        queue: &mut VecDeque<Change>,
        count_max: usize,
    ) -> Result<()> {
        let here = self.position.segment;
        let (segment, end) =
            extent_of(segments, here, shown).ok_or_else(|| compacted(self.shard, self.read))?;
        let mut scanner = FrameScanner::new(
            segment.clone(),
            self.position.offset,
            end,
            Payloads::Small(0),
        );
        while queue.len() < count_max {
            let next = scanner.next_frame().map_err(|error| self.public(error))?;
            let Some(frame) = next else {
                if here < shown.segment {
                    self.position = start_of(SegmentId(here.0 + 1));
                    self.hold.advance(self.position.segment);
                }
                return Ok(());
            };
            self.position = frame.end;
            self.logged = self.logged.max(frame.header.counter);
            self.frame(frame, segments, queue)?;
        }
        Ok(())
    }

    /// A prepare waits for the frame behind it, which says whether it ever came to be.
    fn frame(
        &mut self,
        frame: Frame,
        segments: &Arc<SegmentMap>,
        queue: &mut VecDeque<Change>,
    ) -> Result<()> {
        let membership = frame.header.membership;
        let prepared = self.prepared.take();
        if membership.role == Role::Decide
            && membership.participants > 0
            && let Some(prepared) = prepared
        {
            self.changes(prepared, segments, queue)?;
        }
        match membership.role {
            Role::Prepare => self.prepared = Some(frame),
            Role::Single | Role::Decide => self.changes(frame, segments, queue)?,
        }
        Ok(())
    }

    fn changes(
        &mut self,
        frame: Frame,
        segments: &Arc<SegmentMap>,
        queue: &mut VecDeque<Change>,
    ) -> Result<()> {
        for scanned in frame.records {
            let record = &scanned.record;
            if !record.kind.is_of_key() || record.flags & FLAG_MOVED != 0 {
                continue;
            }
            // Named before the merge, or while nothing else has happened since.
            if record.flags & FLAG_MERGED != 0 && frame.header.counter >= self.after {
                return Err(restored(self.shard, self.read));
            }
            self.read = self.read.max(record.version);
            if record.version > self.after {
                queue.push_back(self.change(scanned, segments)?);
            }
        }
        Ok(())
    }

    fn change(&self, scanned: ScannedRecord, segments: &Arc<SegmentMap>) -> Result<Change> {
        let record = &scanned.record;
        let place = Place {
            record: scanned.position,
            payload_offset: scanned.payload_offset,
            payload_len: scanned.payload_len,
        };
        let what = match record.kind {
            Kind::Tombstone if record.flags & FLAG_EXPIRED != 0 => Changed::Expired,
            Kind::Tombstone => Changed::Deleted,
            kind => {
                let inline = (!kind.holds_value()).then_some(&record.payload[..]);
                let row = Row::new(record, place, inline);
                let Records {
                    epochs,
                    dictionaries,
                    ..
                } = &self.records;
                Changed::Put(Found::new(
                    row,
                    epochs.now(),
                    segments.clone(),
                    dictionaries,
                ))
            }
        };
        Ok(Change {
            version: record.version,
            key: Key::of_id(record.namespace, &record.id)?,
            what,
        })
    }

    fn public(&self, error: LogError) -> Error {
        ShardError::from(error).to_public(self.shard)
    }
}

fn start_of(segment: SegmentId) -> Position {
    Position {
        segment,
        offset: SEGMENT_HEADER_SIZE as u64,
    }
}

/// The last segment that was begun when no version above `after` was drawn yet, if all segments
/// behind it are there: every change after that version stands in it or behind it.
fn first_segment(segments: &SegmentMap, after: Version) -> Option<SegmentId> {
    let mut expected = None;
    for (id, segment) in segments.iter().rev() {
        if expected.is_some_and(|expected| expected != *id) {
            return None;
        }
        if segment.header.counter <= after || *id == SegmentId(1) {
            return Some(*id);
        }
        expected = Some(SegmentId(id.0 - 1));
    }
    None
}

/// A segment and where it ends, if it is there and so is the one behind it that says so.
fn extent_of(
    segments: &SegmentMap,
    id: SegmentId,
    shown: Position,
) -> Option<(&Arc<Segment>, u64)> {
    let segment = segments.get(&id)?;
    if id == shown.segment {
        return Some((segment, shown.offset));
    }
    let next = segments.get(&SegmentId(id.0 + 1))?;
    Some((segment, next.header.prev_end))
}

fn compacted(shard: ShardId, after: Version) -> Error {
    let message = format!(
        "shard {shard} no longer has all changes after version {after}: segment gc has removed some; read what is there now, from a snapshot, and watch from its version on"
    );
    Error::new(ErrorKind::Conflict, "WATCH_COMPACTED", message)
}

fn restored(shard: ShardId, read: Version) -> Error {
    let message = format!(
        "a backup was merged into shard {shard} after version {read}, whose changes have versions of their own; read what is there now, from a snapshot, and watch from its version on"
    );
    Error::new(ErrorKind::Conflict, "WATCH_RESTORED", message)
}
