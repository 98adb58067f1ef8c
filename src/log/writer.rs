//! The one writer of a shard's log: prepare, write, sync; rotate; remove.

use super::group::{self, PreparedGroup};
use super::segment::full_or_io;
use super::{LogError, LogIdentity, Position, Segment, SharedSegments, file, shelf};
use crate::codec::{
    FORMAT_VERSION, FrameHeader, Membership, Record, SEGMENT_HEADER_SIZE, SegmentHeader,
};
use crate::model::{SegmentId, Seq, Timestamp, Version};
use std::path::PathBuf;
use std::sync::Arc;

/// Space is taken from the filesystem in steps of this many bytes, so that running out of it
/// shows before a group is written, not in the middle.
const PREALLOCATION_STEP: u64 = 4 * 1024 * 1024;

/// What the configuration says about logs.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// A segment is closed when it would grow beyond this.
    pub segment_size: u64,
}

/// What a frame says about the moment it was made.
#[derive(Debug, Clone, Copy)]
pub struct GroupContext {
    /// The store-wide version counter.
    pub counter: Version,
    /// The highest sequence number, this group included.
    pub last_seq: Seq,
    /// The time at the door of the newest command.
    pub now: Timestamp,
    /// The transaction it belongs to.
    pub membership: Membership,
}

/// The log of one shard, open for appending.
#[derive(Debug)]
pub struct Log {
    pub(super) dir: PathBuf,
    pub(super) owner: LogIdentity,
    pub(super) options: LogOptions,
    pub(super) segments: SharedSegments,
    pub(super) active: Active,
    /// Everything before this is on the disk.
    pub(super) durable: Position,
    /// A write or sync has failed: nothing is written behind it.
    pub(super) failed: bool,
}

/// The segment that groups are appended to.
#[derive(Debug)]
pub(super) struct Active {
    pub segment: Arc<Segment>,
    pub offset: u64,
    pub allocated: u64,
    pub prev_sum: u64,
}

impl Log {
    /// The segments, for readers.
    #[must_use]
    pub fn segments(&self) -> SharedSegments {
        self.segments.clone()
    }

    /// Where the next group goes, unless it needs a new segment.
    #[must_use]
    pub fn end(&self) -> Position {
        Position {
            segment: self.active.segment.id(),
            offset: self.active.offset,
        }
    }

    /// Everything before this is on the disk.
    #[must_use]
    pub fn durable(&self) -> Position {
        self.durable
    }

    /// Makes sure that a group of up to `bytes` can be written, starting a new segment if it does
    /// not fit this one. After this, only a failing disk fails [`Log::write`].
    ///
    /// # Errors
    /// `Full`, with nothing changed; `Io`, after which nothing may be written any more.
    pub fn reserve(&mut self, bytes: u64, context: GroupContext) -> Result<(), LogError> {
        if self.needs_rotation(bytes) {
            self.rotate(context)?;
        }
        self.allocate(bytes)
    }

    /// Takes space for the next `bytes` of the active segment.
    pub(super) fn allocate(&mut self, bytes: u64) -> Result<(), LogError> {
        let needed = self.active.offset + bytes;
        if needed <= self.active.allocated {
            return Ok(());
        }
        let path = self.active.segment.path();
        fail::fail_point!("log::reserve", |_| Err(LogError::Full {
            path: path.to_owned(),
            needed: bytes
        }));
        let stepped = needed.next_multiple_of(PREALLOCATION_STEP);
        // Not a whole step where that would take all there is.
        let roomy = 2 * (stepped - self.active.allocated);
        let wanted = if super::free_space(&self.dir).is_ok_and(|free| free > roomy) {
            stepped
        } else {
            needed
        };
        let file = self.active.segment.file();
        let taken = file::preallocate(file, self.active.allocated, wanted - self.active.allocated);
        let taken = taken.inspect_err(|_| {
            // A filesystem that runs out half way keeps what it took: it is given back.
            let _ = file.set_len(self.active.allocated);
        });
        let took_all = taken.map_err(full_or_io("preallocate", path, bytes))?;
        self.active.allocated = if took_all { wanted } else { needed };
        Ok(())
    }

    fn needs_rotation(&self, bytes: u64) -> bool {
        let used = self.active.offset > SEGMENT_HEADER_SIZE as u64;
        used && self.active.offset + bytes > self.options.segment_size
    }

    /// Bytes that [`Log::reserve`] takes from the filesystem: in the steps it likes, or at least.
    #[must_use]
    pub fn growth(&self, bytes: u64, in_steps: bool) -> u64 {
        let (offset, allocated) = if self.needs_rotation(bytes) {
            (SEGMENT_HEADER_SIZE as u64, 0)
        } else {
            (self.active.offset, self.active.allocated)
        };
        let needed = offset + bytes;
        let taken = if in_steps {
            needed.next_multiple_of(PREALLOCATION_STEP)
        } else {
            needed
        };
        if needed <= allocated {
            0
        } else {
            taken - allocated
        }
    }

    /// Lays a group out at the end of the log, on paper only. [`Log::reserve`] came before.
    #[must_use]
    pub fn prepare(&self, records: &[Record], context: GroupContext) -> PreparedGroup {
        let start = self.end();
        let salt = self.active.segment.header.salt;
        let (placed, meta_len, payload_len) = group::place(records, start);
        let mut meta = Vec::with_capacity(usize::try_from(meta_len).unwrap_or(0));
        for record in records {
            record.encode_meta(salt, &mut meta);
        }
        let header = FrameHeader {
            membership: context.membership,
            store: self.owner.store,
            shard: self.owner.shard,
            record_count: u32::try_from(records.len()).expect("groups are bounded by admission"),
            segment: start.segment,
            position: start.offset,
            meta_len: u32::try_from(meta_len).expect("groups are bounded by admission"),
            payload_len,
            meta_sum: FrameHeader::meta_sum_of(&meta, salt),
            prev_sum: self.active.prev_sum,
            counter: context.counter,
            last_seq: context.last_seq,
            durable_segment: self.durable.segment,
            durable_offset: self.durable.offset,
            now: context.now,
        };
        let (header_bytes, header_sum) = header.encode(salt);
        let end = Position {
            offset: start.offset + header.frame_len(),
            ..start
        };
        let pieces = group::pieces(&header_bytes, &meta, records);
        PreparedGroup {
            start,
            end,
            placed,
            header_sum,
            pieces,
        }
    }

    /// Writes a group. It is not durable yet.
    ///
    /// # Errors
    /// After any error the log must be opened anew before anything else is written: the tail is
    /// no longer known.
    pub fn write(&mut self, group: PreparedGroup) -> Result<(), LogError> {
        fail::fail_point!("log::write", |_| Err(LogError::io(
            "write",
            self.active.segment.path()
        )(injected())));
        debug_assert_eq!(
            group.start,
            self.end(),
            "a group is written where it was laid out"
        );
        self.check_sound()?;
        let slices: Vec<&[u8]> = group.pieces.iter().map(AsRef::as_ref).collect();
        let file = self.active.segment.file();
        let written = file::write_all_at(file, &slices, group.start.offset);
        self.failed = written.is_err();
        written.map_err(LogError::io("write", self.active.segment.path()))?;
        self.active.offset = group.end.offset;
        self.active.prev_sum = group.header_sum;
        Ok(())
    }

    /// Makes everything written durable: one `fdatasync`, none when there is nothing to sync.
    ///
    /// # Errors
    /// After any error the log must be opened anew, and the sync is never tried again: a second
    /// one may answer "ok" for data that never reached the disk.
    pub fn sync(&mut self) -> Result<(), LogError> {
        if self.durable == self.end() {
            return Ok(());
        }
        fail::fail_point!("log::sync", |_| Err(LogError::io(
            "sync",
            self.active.segment.path()
        )(injected())));
        self.check_sound()?;
        let synced = self.active.segment.file().sync_data();
        self.failed = synced.is_err();
        synced.map_err(LogError::io("sync", self.active.segment.path()))?;
        self.durable = self.end();
        Ok(())
    }

    /// After a failed write or sync, every further one fails too.
    fn check_sound(&self) -> Result<(), LogError> {
        if !self.failed {
            return Ok(());
        }
        let earlier = std::io::Error::other("an earlier write or sync failed");
        Err(LogError::io("go on with", self.active.segment.path())(
            earlier,
        ))
    }

    /// Closes the active segment and starts the next.
    ///
    /// # Errors
    /// `Full`, with nothing changed; `Io`, after which nothing may be written any more.
    pub fn rotate(&mut self, context: GroupContext) -> Result<(), LogError> {
        self.sync()?;
        let next = self.next_segment(context)?;
        next.name()?;
        let last = self.switch_to(Arc::new(next));
        self.close_segment(&last)
    }

    /// The segment that follows the active one, not named yet.
    pub(super) fn next_segment(&self, context: GroupContext) -> Result<Segment, LogError> {
        let last = &self.active;
        let header = SegmentHeader {
            format: FORMAT_VERSION,
            store: self.owner.store,
            shard: self.owner.shard,
            segment: SegmentId(last.segment.id().0 + 1),
            salt: random_salt()?,
            prev_segment: last.segment.id(),
            prev_end: last.offset,
            prev_sum: last.prev_sum,
            counter: context.counter,
            last_seq: context.last_seq.0,
        };
        Segment::create(&self.dir, header)
    }

    /// Appends go to the new segment from here on; returns what was active.
    pub(super) fn switch_to(&mut self, segment: Arc<Segment>) -> Active {
        self.durable = segment.start();
        let offset = SEGMENT_HEADER_SIZE as u64;
        let prev_sum = self.active.prev_sum;
        let next = Active {
            segment,
            offset,
            allocated: offset,
            prev_sum,
        };
        std::mem::replace(&mut self.active, next)
    }

    /// Shows the active segment to readers, and cuts the last one to what belongs to it.
    pub(super) fn close_segment(&self, last: &Active) -> Result<(), LogError> {
        let segment = &self.active.segment;
        shelf::add(&self.segments, segment);
        last.segment.truncate(last.offset)
    }

    /// Takes a segment out of the map, so that no new reader gets it.
    pub fn retire(&mut self, id: SegmentId) {
        self.assert_closed(id);
        shelf::retire(&self.segments, id);
    }

    /// Takes a segment out of the map, unless somebody reads it beside the caller, who holds it
    /// once: whether it is out.
    pub fn retire_unread(&mut self, id: SegmentId) -> bool {
        self.assert_closed(id);
        shelf::retire_unread(&self.segments, id, 1)
    }

    fn assert_closed(&self, id: SegmentId) {
        debug_assert_ne!(
            id,
            self.active.segment.id(),
            "the active segment is never retired"
        );
    }

    /// Cuts a segment to its end, durably, if that is not done: before the segment that names this
    /// end goes.
    ///
    /// # Errors
    /// What the operating system answers.
    pub fn seal_end(&self, id: SegmentId, end: u64) -> Result<(), LogError> {
        match self.segments.load().get(&id) {
            Some(segment) if segment.len()? > end => segment.truncate(end),
            _ => Ok(()),
        }
    }

    /// Unlinks a retired segment's file. That it may go is logged and indexed by the caller.
    ///
    /// # Errors
    /// What the operating system answers; a file that is gone already is fine.
    pub fn unlink(&self, id: SegmentId) -> Result<(), LogError> {
        let path = self.dir.join(Segment::file_name(id));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(LogError::io("unlink", &path)(error))
            }
            _ => file::sync_dir(&self.dir),
        }
    }

    /// Syncs and gives preallocated space back, for a clean end.
    ///
    /// # Errors
    /// What the operating system answers.
    pub fn close(&mut self) -> Result<(), LogError> {
        self.sync()?;
        self.active.segment.truncate(self.active.offset)?;
        self.active.allocated = self.active.offset;
        Ok(())
    }
}

/// The error of a fail point.
#[allow(dead_code, reason = "used where fail points are compiled in")]
fn injected() -> std::io::Error {
    std::io::Error::other("injected by a fail point")
}

pub(super) fn random_salt() -> Result<u64, LogError> {
    getrandom::u64().map_err(|error| LogError::Io {
        operation: "draw a salt from",
        path: "the system's random source".into(),
        source: std::io::Error::other(error),
    })
}
