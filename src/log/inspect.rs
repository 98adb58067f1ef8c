//! Looking at a log without touching it: for the offline check, and for the scrubber.
//!
//! Nothing is opened for writing here, nothing is cut or copied, and damage is collected instead
//! of being the end.

use super::{Frame, FrameScanner, LogError, LogIdentity, Payloads, Segment, SegmentMap};
use crate::codec::{FRAME_HEADER_SIZE, FrameHeader, SEGMENT_HEADER_SIZE};
use crate::model::SegmentId;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files are searched in pieces of this size.
const SEARCH_STEP: u64 = 1 << 20;

/// A log as its files show it.
#[derive(Debug, Default)]
pub struct Inspection {
    /// The segments whose headers can be read, open for reading only.
    pub segments: SegmentMap,
    /// Where each segment ends; what stands behind was never acknowledged. The last one's is the
    /// end of its file.
    pub ends: BTreeMap<SegmentId, u64>,
    /// Segment ids that are not there. A record must explain each.
    pub missing: Vec<SegmentId>,
    /// What is wrong with files, headers and the chain that they make: a start stops at each.
    pub problems: Vec<LogError>,
    /// Damage in header blocks that the second copy makes good.
    pub made_good: Vec<LogError>,
}

/// Looks at the log in `dir`: files, headers, chain. Frames are for [`FrameWalk`].
///
/// # Errors
/// When the folder cannot be listed.
pub fn inspect(dir: &Path, owner: LogIdentity) -> Result<Inspection, LogError> {
    let mut found = Inspection::default();
    let files = segment_files(dir, &mut found.problems)?;
    let mut expected = 1;
    for (id, path) in files {
        found.missing.extend((expected..id.0).map(SegmentId));
        expected = id.0 + 1;
        match Segment::open_to_read(path, id, owner) {
            Ok(segment) => {
                found.made_good.extend(check_header(&segment)?);
                found.segments.insert(id, Arc::new(segment));
            }
            Err(error) => found.problems.push(error),
        }
    }
    for segment in found.segments.values() {
        let end = check_chain(&found.segments, segment, &mut found.problems)?;
        found.ends.insert(segment.id(), end);
    }
    Ok(found)
}

/// Where a segment ends: its successor says it; without one, GC has cut the file there.
///
/// # Errors
/// What the operating system answers.
pub fn end_of(segments: &SegmentMap, segment: &Segment) -> Result<u64, LogError> {
    let next = segments.get(&SegmentId(segment.id().0 + 1));
    next.map_or_else(|| segment.len(), |next| Ok(next.header.prev_end))
}

/// The segments' files by id; what a start would remove (`*.new`) is passed over.
fn segment_files(
    dir: &Path,
    problems: &mut Vec<LogError>,
) -> Result<BTreeMap<SegmentId, PathBuf>, LogError> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(LogError::io("list", dir))? {
        let path = entry.map_err(LogError::io("list", dir))?.path();
        if path.extension().is_none_or(|extension| extension != "seg") {
            continue;
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let id = stem.and_then(|stem| stem.parse().ok()).map(SegmentId);
        let name = path.file_name().and_then(|name| name.to_str());
        match id.filter(|id| id.0 > 0 && name == Some(&Segment::file_name(*id))) {
            Some(id) => {
                files.insert(id, path);
            }
            None => problems.push(LogError::damaged(&path, 0, "not a segment's name")),
        }
    }
    Ok(files)
}

/// The damage of a segment's header block, if there is any. A reader needs one whole copy; this
/// wants both, and the zeros around them.
///
/// # Errors
/// What the operating system answers.
pub fn check_header(segment: &Segment) -> Result<Option<LogError>, LogError> {
    let block = segment.read(0, SEGMENT_HEADER_SIZE)?;
    let written = segment.header.encode();
    let differs = block.iter().zip(&written).position(|(a, b)| a != b);
    Ok(differs.map(|at| {
        let what = "one copy of the segment header, or the space around them, is damaged; the \
            other copy is whole";
        LogError::damaged(segment.path(), at as u64, what)
    }))
}

/// The end of a segment, and whether it is where its neighbours say.
fn check_chain(
    segments: &SegmentMap,
    segment: &Segment,
    problems: &mut Vec<LogError>,
) -> Result<u64, LogError> {
    let header = &segment.header;
    if header.segment.0.checked_sub(1) != Some(header.prev_segment.0) {
        let what = format!(
            "header names segment {} as the one before",
            header.prev_segment
        );
        problems.push(LogError::damaged(segment.path(), 0, what));
    }
    let len = segment.len()?;
    let end = end_of(segments, segment)?;
    if len < end {
        let what = format!("cut short: the next segment says that it ends at {end}");
        problems.push(LogError::damaged(segment.path(), len, what));
    }
    Ok(end.min(len))
}

/// What a [`FrameWalk`] meets.
#[derive(Debug)]
pub enum Step {
    /// A good frame, payloads not read.
    Frame(Frame),
    /// A bad place; the walk goes on behind it, at the next frame that can be found.
    Bad(LogError),
}

/// Goes through a segment's frames, over bad places too.
#[derive(Debug)]
pub struct FrameWalk {
    segment: Arc<Segment>,
    scanner: FrameScanner,
    end: u64,
    payloads: Payloads,
}

impl FrameWalk {
    /// Starts at a frame.
    #[must_use]
    pub fn new(segment: Arc<Segment>, start: u64, end: u64, payloads: Payloads) -> Self {
        let scanner = FrameScanner::new(segment.clone(), start, end, payloads);
        Self {
            segment,
            scanner,
            end,
            payloads,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.scanner.offset()
    }

    /// The next frame or bad place; `None` at the end.
    ///
    /// # Errors
    /// What the operating system answers.
    pub fn next_step(&mut self) -> Result<Option<Step>, LogError> {
        match self.scanner.next_frame() {
            Ok(frame) => Ok(frame.map(Step::Frame)),
            Err(error @ LogError::Damaged { .. }) => {
                let behind = self.scanner.offset() + 1;
                let next = find_frame(&self.segment, behind, self.end)?;
                let at = next.map_or(self.end, |header| header.position);
                self.scanner = FrameScanner::new(self.segment.clone(), at, self.end, self.payloads);
                Ok(Some(Step::Bad(error)))
            }
            Err(error) => Err(error),
        }
    }
}

/// The first valid frame header at or behind `from`.
fn find_frame(segment: &Segment, from: u64, end: u64) -> Result<Option<FrameHeader>, LogError> {
    let size = FRAME_HEADER_SIZE as u64;
    let mut offset = from;
    while offset + size <= end {
        let len = (SEARCH_STEP + size).min(end - offset);
        let bytes = segment.read(offset, usize::try_from(len).unwrap_or(0))?;
        for at in 0..=bytes.len() - FRAME_HEADER_SIZE {
            if bytes[at..].starts_with(FrameHeader::MAGIC)
                && let Ok((header, _)) = FrameHeader::decode(&bytes[at..], segment.header.salt)
                && header.position == offset + at as u64
            {
                return Ok(Some(header));
            }
        }
        offset += SEARCH_STEP;
    }
    Ok(None)
}

/// Whether a file holds nothing but zeros from an offset on: space taken in advance.
///
/// # Errors
/// What the operating system answers.
pub fn is_zero_from(segment: &Segment, mut offset: u64) -> Result<bool, LogError> {
    let end = segment.len()?;
    while offset < end {
        let len = SEARCH_STEP.min(end - offset);
        let bytes = segment.read(offset, usize::try_from(len).unwrap_or(0))?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        offset += len;
    }
    Ok(true)
}
