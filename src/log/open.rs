//! Opening a log: which segments there are, where the last one ends, what of its tail is proven.

use super::tail::{AdoptedGroup, Tail, proven_end, scan_tail, split_tail, torn_len};
use super::writer::{Active, random_salt};
use super::{Log, LogError, LogIdentity, LogOptions, Position, Segment, SegmentMap, file};
use crate::codec::{
    FORMAT_VERSION, FRAME_HEADER_SIZE, FrameHeader, Membership, Record, SEGMENT_HEADER_SIZE,
    SegmentHeader,
};
use crate::model::{SegmentId, Seq, Timestamp, Version};
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Below this much free space, an opening begins by giving back what it can.
const NEARLY_FULL: u64 = 32 * 1024 * 1024;

/// What the index knows about the log, if there is an index.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenContext {
    /// The index holds everything before this.
    pub applied: Option<Position>,
    /// The log was known to be synced up to here when the index was last written.
    pub durable: Position,
    /// The version counter as the index knows it.
    pub counter: Version,
    /// The last sequence number as the index knows it.
    pub last_seq: Seq,
    /// The newest logged time as the index knows it.
    pub now: Timestamp,
    /// Whether there must be a log: a folder without one has lost it.
    pub must_exist: bool,
}

/// An opened log and what was found.
#[derive(Debug)]
pub struct Opened {
    /// The log, ready to append.
    pub log: Log,
    /// Where each segment ends; what stands behind was never acknowledged.
    pub ends: BTreeMap<SegmentId, u64>,
    /// Segment ids that are not there. A record must explain each.
    pub missing: Vec<SegmentId>,
    /// Bytes of a torn tail that were cut.
    pub torn_bytes: u64,
    /// Groups that no sync had been proven for and that were copied into a new segment.
    pub adopted_groups: usize,
    /// The version counter, last sequence number and newest time of index and log.
    pub counter: Version,
    /// See `counter`.
    pub last_seq: Seq,
    /// See `counter`.
    pub now: Timestamp,
}

/// Where a log is, whose it is, how it is written.
struct Place<'a> {
    dir: &'a Path,
    owner: LogIdentity,
    options: LogOptions,
}

impl Place<'_> {
    fn with(&self, map: SegmentMap, active: Active) -> Log {
        Log {
            dir: self.dir.to_owned(),
            owner: self.owner,
            options: self.options,
            segments: Arc::new(ArcSwap::from_pointee(map)),
            durable: Position {
                segment: active.segment.id(),
                offset: active.offset,
            },
            active,
            failed: false,
        }
    }
}

impl Log {
    /// Opens the log in `dir`, or makes it.
    ///
    /// # Errors
    /// `Damaged` when acknowledged bytes are not what was written; `IndexStale` when the index
    /// must be rebuilt first; `Full`, `Io`.
    pub fn open(
        dir: &Path,
        owner: LogIdentity,
        options: LogOptions,
        context: OpenContext,
    ) -> Result<Opened, LogError> {
        file::create_dir_synced(dir)?;
        let found = list(dir)?;
        if found.is_empty() {
            return create(
                &Place {
                    dir,
                    owner,
                    options,
                },
                context,
            );
        }
        let mut map = SegmentMap::new();
        for (id, path) in found {
            map.insert(id, Arc::new(Segment::open(path, id, owner)?));
        }
        let (mut ends, missing) = chain(&map)?;
        let (_, last) = map.last_key_value().expect("a segment was found");
        let last = last.clone();
        let tail = scan_tail(&last, context.durable)?;
        let proven = proven_end(&last, &tail, context)?;
        let (kept, adopted) = split_tail(&last, &tail, proven, context.applied)?;
        let torn_bytes = torn_len(&last, &tail)?;
        ends.insert(last.id(), kept.offset);
        let place = Place {
            dir,
            owner,
            options,
        };
        let mut opened = Opened {
            counter: context.counter.max(last.header.counter),
            last_seq: context.last_seq.max(Seq(last.header.last_seq)),
            now: context.now,
            log: assemble(&place, map, &tail, kept),
            ends,
            missing,
            torn_bytes,
            adopted_groups: adopted.len(),
        };
        for (_, frame) in tail.frames.iter().filter(|(_, frame)| frame.end <= kept) {
            opened.learn(&frame.header);
        }
        opened.continue_after(kept, &tail, adopted)?;
        Ok(opened)
    }
}

impl Log {
    /// Whether there is a segment in `dir`.
    ///
    /// # Errors
    /// `Io`; a directory that is not there has none.
    pub fn is_begun(dir: &Path) -> Result<bool, LogError> {
        let entries = match std::fs::read_dir(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            entries => entries.map_err(LogError::io("list", dir))?,
        };
        for entry in entries {
            let path = entry.map_err(LogError::io("list", dir))?.path();
            if path.extension().is_some_and(|ending| ending == "seg") {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Opened {
    /// Takes over what a frame says about counters.
    pub fn learn(&mut self, header: &FrameHeader) {
        self.counter = self.counter.max(header.counter);
        self.last_seq = self.last_seq.max(header.last_seq);
        self.now = self.now.max(header.now);
    }

    /// Starts a new segment behind a tail that is not clean, or behind any frame at all: only an
    /// empty segment of today's format is continued. Unproven groups are copied into it and synced.
    fn continue_after(
        &mut self,
        kept: Position,
        tail: &Tail,
        adopted: Vec<AdoptedGroup>,
    ) -> Result<(), LogError> {
        let clean = adopted.is_empty() && tail.stopped.is_none() && kept.offset == tail.end;
        let format = self.log.active.segment.header.format;
        if kept.offset == SEGMENT_HEADER_SIZE as u64 && clean && format == FORMAT_VERSION {
            return Ok(());
        }
        self.give_back(kept, tail)?;
        // The copies are durable before the new segment has its name: until then the old segment
        // still ends behind the originals, and a second crash finds them again.
        let next = Arc::new(self.log.next_segment(self.context())?);
        let last = self.log.switch_to(next.clone());
        for group in adopted {
            self.learn(&group.header);
            let total: u64 = group.records.iter().map(Record::log_size).sum();
            self.log.allocate(total + FRAME_HEADER_SIZE as u64)?;
            let context = super::GroupContext {
                membership: group.header.membership,
                ..self.context()
            };
            let prepared = self.log.prepare(&group.records, context);
            self.log.write(prepared)?;
        }
        self.log.sync()?;
        next.name()?;
        self.log.close_segment(&last)?;
        self.ends
            .insert(self.log.end().segment, self.log.end().offset);
        Ok(())
    }

    /// On a disk that is nearly full, what the old segment took ahead makes room for the new one.
    fn give_back(&self, kept: Position, tail: &Tail) -> Result<(), LogError> {
        let last = &self.log.active.segment;
        let end = kept.offset.max(tail.end);
        if super::free_space(&self.log.dir).is_ok_and(|free| free < NEARLY_FULL)
            && tail.stopped.is_none()
            && last.len()? > end
        {
            last.truncate(end)?;
        }
        Ok(())
    }

    /// What a frame written now says about counters.
    #[must_use]
    pub fn context(&self) -> super::GroupContext {
        super::GroupContext {
            membership: Membership::NONE,
            counter: self.counter,
            last_seq: self.last_seq,
            now: self.now,
        }
    }
}

/// The log with its last segment active again, as far as it is kept.
fn assemble(log: &Place<'_>, map: SegmentMap, tail: &Tail, kept: Position) -> Log {
    let followed = tail
        .frames
        .iter()
        .rev()
        .find(|(_, frame)| frame.end <= kept);
    let prev_sum = followed.map_or(0, |(_, frame)| frame.header_sum);
    let (_, last) = map.last_key_value().expect("a segment was found");
    let active = Active {
        segment: last.clone(),
        offset: kept.offset,
        allocated: kept.offset,
        prev_sum,
    };
    log.with(map, active)
}

fn create(place: &Place<'_>, context: OpenContext) -> Result<Opened, LogError> {
    let was_there = context.applied.is_some() || context.durable.segment > SegmentId::default();
    if was_there || context.must_exist {
        return Err(LogError::lost(place.dir));
    }
    let header = SegmentHeader {
        format: FORMAT_VERSION,
        store: place.owner.store,
        shard: place.owner.shard,
        segment: SegmentId(1),
        salt: random_salt()?,
        prev_segment: SegmentId::default(),
        prev_end: 0,
        prev_sum: 0,
        counter: context.counter,
        last_seq: 0,
    };
    let segment = Segment::create(place.dir, header)?;
    segment.name()?;
    let segment = Arc::new(segment);
    let offset = SEGMENT_HEADER_SIZE as u64;
    let map = SegmentMap::from([(segment.id(), segment.clone())]);
    let active = Active {
        segment,
        offset,
        allocated: offset,
        prev_sum: 0,
    };
    Ok(Opened {
        log: place.with(map, active),
        ends: BTreeMap::from([(SegmentId(1), offset)]),
        missing: Vec::new(),
        torn_bytes: 0,
        adopted_groups: 0,
        counter: context.counter,
        last_seq: context.last_seq,
        now: context.now,
    })
}

/// The segment files by id. What a crash left half made (`*.new`) never had its name and goes.
fn list(dir: &Path) -> Result<BTreeMap<SegmentId, PathBuf>, LogError> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(LogError::io("list", dir))? {
        let path = entry.map_err(LogError::io("list", dir))?.path();
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("seg") => {
                let id = stem.parse().ok().filter(|id| {
                    *id > 0 && Segment::file_name(SegmentId(*id)) == format!("{stem}.seg")
                });
                let id = id.ok_or_else(|| LogError::damaged(&path, 0, "not a segment's name"))?;
                found.insert(SegmentId(id), path);
            }
            Some("new") => std::fs::remove_file(&path).map_err(LogError::io("unlink", &path))?,
            _ => {}
        }
    }
    Ok(found)
}

/// Where each segment but the last ends, and which are missing.
fn chain(map: &SegmentMap) -> Result<(BTreeMap<SegmentId, u64>, Vec<SegmentId>), LogError> {
    let mut ends = BTreeMap::new();
    let mut missing = Vec::new();
    let mut expected = 1;
    for (id, segment) in map {
        missing.extend((expected..id.0).map(SegmentId));
        expected = id.0 + 1;
        let header = &segment.header;
        match map.get(&header.prev_segment) {
            Some(previous) if previous.len()? < header.prev_end => {
                let what = format!(
                    "cut short: segment {id} says that it ends at {}",
                    header.prev_end
                );
                return Err(LogError::damaged(previous.path(), previous.len()?, what));
            }
            Some(previous) => {
                ends.insert(previous.id(), header.prev_end);
            }
            None => {}
        }
    }
    // GC cuts a segment to its end before it removes the one that names that end.
    for (id, segment) in map {
        if !ends.contains_key(id) {
            ends.insert(*id, segment.len()?);
        }
    }
    Ok((ends, missing))
}
