//! Opening a log: which segments there are, where the last one ends, what of its tail is proven.

use super::segment::full_or_io;
use super::writer::{Active, random_salt};
use super::{
    Frame, FrameScanner, Log, LogError, LogIdentity, LogOptions, Payloads, Position, Segment,
    SegmentMap, file,
};
use crate::codec::{FRAME_HEADER_SIZE, FrameHeader, Record, SEGMENT_HEADER_SIZE, SegmentHeader};
use crate::model::{SegmentId, Seq, Timestamp, Version};
use arc_swap::ArcSwap;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

/// What the scan of the last segment found.
struct Tail {
    /// The frames, payloads skipped.
    frames: Vec<(Position, Frame)>,
    /// Where the good frames end.
    end: u64,
    /// What stopped the scan before the end of the file, if anything did.
    stopped: Option<LogError>,
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
            return create(dir, owner, options, context);
        }
        let mut map = SegmentMap::new();
        for (id, path) in found {
            map.insert(id, Arc::new(Segment::open(path, id, owner)?));
        }
        let (mut ends, missing) = chain(&map)?;
        let (_, last) = map.last_key_value().expect("a segment was found");
        let last = last.clone();
        let tail = scan_tail(&last, context.applied)?;
        let proven = proven_end(&last, &tail, context)?;
        let (kept, adopted) = split_tail(&last, &tail, proven)?;
        let torn_bytes = torn_len(&last, &tail)?;
        ends.insert(last.id(), kept.offset);
        let mut opened = Opened {
            counter: context.counter.max(last.header.counter),
            last_seq: context.last_seq.max(Seq(last.header.last_seq)),
            now: context.now,
            log: assemble(dir, owner, options, map, last, &tail, kept),
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

impl Opened {
    /// Takes over what a frame says about counters.
    pub fn learn(&mut self, header: &FrameHeader) {
        self.counter = self.counter.max(header.counter);
        self.last_seq = self.last_seq.max(header.last_seq);
        self.now = self.now.max(header.now);
    }

    /// Starts a new segment behind a tail that is not clean, or behind any frame at all: only an
    /// empty segment is continued. Unproven groups are copied into it and synced.
    fn continue_after(
        &mut self,
        kept: Position,
        tail: &Tail,
        adopted: Vec<AdoptedGroup>,
    ) -> Result<(), LogError> {
        let clean = adopted.is_empty() && tail.stopped.is_none();
        if kept.offset == SEGMENT_HEADER_SIZE as u64 && clean {
            return Ok(());
        }
        let context = self.context();
        self.log.durable = self.log.end();
        self.log.rotate(context)?;
        for group in adopted {
            self.learn(&group.header);
            let context = self.context();
            let total: u64 = group.records.iter().map(Record::log_size).sum();
            self.log
                .reserve(total + FRAME_HEADER_SIZE as u64, context)?;
            let prepared = self.log.prepare(&group.records, context);
            self.log.write(prepared)?;
        }
        self.log.sync()?;
        self.ends
            .insert(self.log.end().segment, self.log.end().offset);
        Ok(())
    }

    fn context(&self) -> super::GroupContext {
        super::GroupContext {
            counter: self.counter,
            last_seq: self.last_seq,
            now: self.now,
        }
    }
}

/// A group read from the disk itself.
struct AdoptedGroup {
    header: FrameHeader,
    records: Vec<Record>,
}

fn assemble(
    dir: &Path,
    owner: LogIdentity,
    options: LogOptions,
    map: SegmentMap,
    last: Arc<Segment>,
    tail: &Tail,
    kept: Position,
) -> Log {
    let prev_sum = tail
        .frames
        .iter()
        .rev()
        .find(|(_, frame)| frame.end <= kept)
        .map_or(0, |(_, frame)| frame.header_sum);
    let active = Active {
        segment: last,
        offset: kept.offset,
        allocated: kept.offset,
        prev_sum,
    };
    let segments = Arc::new(ArcSwap::from_pointee(map));
    let durable = Position {
        segment: active.segment.id(),
        offset: kept.offset,
    };
    Log {
        dir: dir.to_owned(),
        owner,
        options,
        segments,
        active,
        durable,
    }
}

fn create(
    dir: &Path,
    owner: LogIdentity,
    options: LogOptions,
    context: OpenContext,
) -> Result<Opened, LogError> {
    if context.applied.is_some() {
        let what = "the log has no segment, but the index was made from one";
        return Err(LogError::damaged(dir, 0, what));
    }
    let header = SegmentHeader {
        store: owner.store,
        shard: owner.shard,
        segment: SegmentId(1),
        salt: random_salt()?,
        prev_segment: SegmentId::default(),
        prev_end: 0,
        prev_sum: 0,
        counter: context.counter,
        last_seq: 0,
    };
    let segment = Arc::new(Segment::create(dir, header)?);
    let offset = SEGMENT_HEADER_SIZE as u64;
    let map = SegmentMap::from([(segment.id(), segment.clone())]);
    let durable = segment.start();
    let active = Active {
        segment,
        offset,
        allocated: offset,
        prev_sum: 0,
    };
    let segments = Arc::new(ArcSwap::from_pointee(map));
    Ok(Opened {
        log: Log {
            dir: dir.to_owned(),
            owner,
            options,
            segments,
            active,
            durable,
        },
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

fn scan_tail(last: &Arc<Segment>, applied: Option<Position>) -> Result<Tail, LogError> {
    let start = match applied {
        Some(applied) if applied.segment == last.id() => applied.offset,
        _ => SEGMENT_HEADER_SIZE as u64,
    };
    let len = last.len()?;
    let mut scanner = FrameScanner::new(last.clone(), start, len, Payloads::Skip);
    let mut tail = Tail {
        frames: Vec::new(),
        // A file that ends before what the index knows of has lost it.
        end: start.min(len),
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
fn proven_end(last: &Arc<Segment>, tail: &Tail, context: OpenContext) -> Result<u64, LogError> {
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
fn split_tail(
    last: &Arc<Segment>,
    tail: &Tail,
    proven: u64,
) -> Result<(Position, Vec<AdoptedGroup>), LogError> {
    let first_unproven = tail
        .frames
        .iter()
        .position(|(_, frame)| frame.end.offset > proven);
    let Some(first_unproven) = first_unproven else {
        return Ok((
            Position {
                segment: last.id(),
                offset: tail.end,
            },
            Vec::new(),
        ));
    };
    let (kept, _) = tail.frames[first_unproven];
    let mut adopted = Vec::new();
    for (at, frame) in &tail.frames[first_unproven..] {
        match adopt(last, at.offset, frame)? {
            Some(group) => adopted.push(group),
            None => break,
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

fn torn_len(last: &Arc<Segment>, tail: &Tail) -> Result<u64, LogError> {
    Ok(if tail.stopped.is_some() {
        last.len()? - tail.end
    } else {
        0
    })
}

fn is_zero_from(segment: &Segment, mut offset: u64) -> Result<bool, LogError> {
    const STEP: u64 = 1 << 20;
    let end = segment.len()?;
    while offset < end {
        let len = STEP.min(end - offset);
        if segment
            .read(offset, len as usize)?
            .iter()
            .any(|byte| *byte != 0)
        {
            return Ok(false);
        }
        offset += len;
    }
    Ok(true)
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
