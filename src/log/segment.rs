//! One segment file, and the map of a shard's segments that readers hold while they read.

use super::{LogError, LogIdentity, Position, file};
use crate::codec::{SEGMENT_HEADER_SIZE, SegmentHeader};
use crate::model::SegmentId;
use arc_swap::ArcSwap;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, ReadWriteFlags};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// More than so many bytes are read piece by piece. Between two of them every other thread that is ready
/// has its turn: the kernel lets one that copies go on for milliseconds, whoever waits for the core.
const AT_ONCE_MAX: usize = 1 << 20;
/// Bytes of such a piece. They stay in the near cache from when they are zeroed until they are read.
const PIECE_SIZE: usize = 256 * 1024;

/// An open segment. Whoever holds it can read it, even after GC has taken it out of the map:
/// the file is unlinked only when nobody else holds it any more.
#[derive(Debug)]
pub struct Segment {
    /// What its header says.
    pub header: SegmentHeader,
    path: PathBuf,
    file: File,
}

/// All segments of a shard at one moment.
pub type SegmentMap = BTreeMap<SegmentId, Arc<Segment>>;

/// The current map, swapped whole by the writer. A reader loads it once, before it looks into the
/// index, and thereby pins every segment that a row it finds can name.
pub type SharedSegments = Arc<ArcSwap<SegmentMap>>;

impl Segment {
    /// The file name of a segment.
    #[must_use]
    pub fn file_name(id: SegmentId) -> String {
        format!("{id}.seg")
    }

    /// Makes a new segment under a temporary name: until [`Segment::name`] it does not exist for
    /// anybody else, and a crash leaves nothing of it.
    pub(super) fn create(dir: &Path, header: SegmentHeader) -> Result<Self, LogError> {
        let path = dir.join(Self::file_name(header.segment));
        let temporary = path.with_extension("new");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temporary)
            .map_err(full_or_io("create", &temporary, SEGMENT_HEADER_SIZE as u64))?;
        if let Err(error) = file.write_all_at(&header.encode(), 0) {
            // Whatever it was, no half segment takes space; the first error is the one that counts.
            let _ = std::fs::remove_file(&temporary);
            return Err(full_or_io("write", &path, SEGMENT_HEADER_SIZE as u64)(
                error,
            ));
        }
        Ok(Self { header, path, file })
    }

    /// Makes everything in the new segment durable, then its name.
    pub(super) fn name(&self) -> Result<(), LogError> {
        let temporary = self.path.with_extension("new");
        if let Err(error) = self.file.sync_all() {
            let _ = std::fs::remove_file(&temporary);
            return Err(full_or_io("sync", &self.path, 0)(error));
        }
        file::rename_synced(&temporary, &self.path)
    }

    /// Opens a segment that should be there and belong here.
    pub(super) fn open(path: PathBuf, id: SegmentId, owner: LogIdentity) -> Result<Self, LogError> {
        Self::open_with(OpenOptions::new().read(true).write(true), path, id, owner)
    }

    /// As [`Segment::open`], for one who only looks.
    pub(super) fn open_to_read(
        path: PathBuf,
        id: SegmentId,
        owner: LogIdentity,
    ) -> Result<Self, LogError> {
        Self::open_with(OpenOptions::new().read(true), path, id, owner)
    }

    fn open_with(
        access: &OpenOptions,
        path: PathBuf,
        id: SegmentId,
        owner: LogIdentity,
    ) -> Result<Self, LogError> {
        let file = access.open(&path).map_err(LogError::io("open", &path))?;
        let mut block = vec![0; SEGMENT_HEADER_SIZE];
        file.read_exact_at(&mut block, 0)
            .map_err(|error| LogError::damaged(&path, 0, format!("segment header: {error}")))?;
        let header = SegmentHeader::decode(&block).map_err(LogError::format(&path, 0))?;
        if (header.store, header.shard, header.segment) != (owner.store, owner.shard, id) {
            let what = format!(
                "belongs to store {} shard {} segment {}, not to store {} shard {} segment {id}",
                header.store, header.shard, header.segment, owner.store, owner.shard
            );
            return Err(LogError::damaged(&path, 0, what));
        }
        Ok(Self { header, path, file })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.header.segment
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Bytes of the file.
    ///
    /// # Errors
    /// What the operating system answers.
    pub fn len(&self) -> Result<u64, LogError> {
        let metadata = self.file.metadata();
        Ok(metadata.map_err(LogError::io("stat", &self.path))?.len())
    }

    /// Whether the file holds no frame.
    ///
    /// # Errors
    /// What the operating system answers.
    pub fn is_empty(&self) -> Result<bool, LogError> {
        Ok(self.len()? <= SEGMENT_HEADER_SIZE as u64)
    }

    /// Reads exactly `len` bytes.
    ///
    /// # Errors
    /// `Damaged` when the file ends before, `Io` otherwise.
    pub fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, LogError> {
        if len > AT_ONCE_MAX {
            return self.read_by_pieces(offset, len);
        }
        // Memory that nobody has to zero first.
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let at = offset + bytes.len() as u64;
            match rustix::io::pread(&self.file, spare_capacity(&mut bytes), at) {
                Ok(0) => return Err(self.ends_early(offset, len)),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(LogError::io("read", &self.path)(error.into())),
            }
        }
        bytes.truncate(len);
        Ok(bytes)
    }

    fn read_by_pieces(&self, offset: u64, len: usize) -> Result<Vec<u8>, LogError> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let begin = bytes.len();
            bytes.resize(len.min(begin + PIECE_SIZE), 0);
            let at = offset + begin as u64;
            let read = self.file.read_exact_at(&mut bytes[begin..], at);
            read.map_err(|error| self.unreadable(error, offset, len))?;
            if bytes.len() < len {
                std::thread::yield_now();
            }
        }
        Ok(bytes)
    }

    fn unreadable(&self, error: std::io::Error, offset: u64, len: usize) -> LogError {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.ends_early(offset, len),
            _ => LogError::io("read", &self.path)(error),
        }
    }

    fn ends_early(&self, offset: u64, len: usize) -> LogError {
        let what = format!("file ends before the {len} bytes here");
        LogError::damaged(&self.path, offset, what)
    }

    /// Reads as many bytes as there is room for.
    ///
    /// # Errors
    /// As [`Segment::read`].
    pub fn read_into(&self, offset: u64, bytes: &mut [u8]) -> Result<(), LogError> {
        let read = self.file.read_exact_at(bytes, offset);
        read.map_err(|error| self.unreadable(error, offset, bytes.len()))
    }

    /// Reads exactly `len` bytes if all of them are in the page cache: never waits for the disk.
    ///
    /// # Errors
    /// As [`Segment::read`].
    pub fn read_cached(&self, offset: u64, len: usize) -> Result<Option<Vec<u8>>, LogError> {
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            let slice = &mut [std::io::IoSliceMut::new(&mut bytes[filled..])];
            match rustix::io::preadv2(
                &self.file,
                slice,
                offset + filled as u64,
                ReadWriteFlags::NOWAIT,
            ) {
                Ok(0) => return self.read(offset, len).map(Some),
                Ok(count) => filled += count,
                Err(Errno::AGAIN | Errno::OPNOTSUPP) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(LogError::io("read", &self.path)(error.into())),
            }
        }
        Ok(Some(bytes))
    }

    /// Cuts the file to what belongs to it, durably.
    pub(super) fn truncate(&self, end: u64) -> Result<(), LogError> {
        self.file
            .set_len(end)
            .and_then(|()| self.file.sync_all())
            .map_err(LogError::io("truncate", &self.path))
    }

    /// The first position in it.
    #[must_use]
    pub fn start(&self) -> Position {
        Position {
            segment: self.id(),
            offset: SEGMENT_HEADER_SIZE as u64,
        }
    }
}

/// `Full` for "no space left", `Io` for everything else.
pub(super) fn full_or_io(
    operation: &'static str,
    path: &Path,
    needed: u64,
) -> impl FnOnce(std::io::Error) -> LogError {
    let path = path.to_owned();
    move |error| match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            LogError::Full { path, needed }
        }
        _ => LogError::Io {
            operation,
            path,
            source: error,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::FORMAT_VERSION;
    use crate::model::{ShardId, StoreId, Version};

    #[test]
    fn what_is_read_by_pieces_is_what_stands_there_or_named_whole() {
        let dir = tempfile::tempdir().unwrap();
        let header = SegmentHeader {
            format: FORMAT_VERSION,
            store: StoreId(1),
            shard: ShardId(0),
            segment: SegmentId(1),
            salt: 1,
            prev_segment: SegmentId(0),
            prev_end: 0,
            prev_sum: 0,
            counter: Version(0),
            last_seq: 0,
        };
        let segment = Segment::create(dir.path(), header).unwrap();
        let len = AT_ONCE_MAX + PIECE_SIZE / 2;
        let written: Vec<u8> = (0..len).map(|at| (at / 7) as u8).collect();
        segment.file().write_all_at(&written, 4096).unwrap();
        for len in [AT_ONCE_MAX, AT_ONCE_MAX + 1, len] {
            assert!(segment.read(4096, len).unwrap() == written[..len]);
        }
        let message = segment.read(4096, len + 1).unwrap_err().to_string();
        let what = format!(
            "at offset 4096: file ends before the {} bytes here",
            len + 1
        );
        assert!(message.contains(&what), "{message}");
    }
}
