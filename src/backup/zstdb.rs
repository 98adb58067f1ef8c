//! Reads the backups that zstdb wrote: badger's stream, which is blocks of an 8-byte little-endian
//! length and a protobuf list of that many bytes.
//!
//! The stream has no checksums. So its structure is checked as strictly as its writer is regular:
//! numbers in their shortest form, fields and keys in order, every value exactly one zstd frame, and
//! the versions as the file's name states them, which shows a file that was cut between two blocks.
//! What no structure shows, damage inside a value, shows when the caller of [`verify`] decompresses
//! it: zstdb's frames end in a checksum of their content.
//!
//! [`verify`]: ZstdbReader::verify

use super::chain::{Link, Origin};
use super::fault::Result;
use super::file::{BackupFile, Cursor};
use super::name::NamedRange;
use super::wire::{LIST_ENTRY_TAG, Varint};
use super::zstdb_list::{ListEntry, ZstdbRecord};
use crate::model::{self, Key, Version};
use bytes::Bytes;
use std::collections::HashMap;

/// What a verified backup of zstdb's holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZstdbSummary {
    /// It holds the changes after this version: as its name says, or else one below the lowest
    /// version inside, which is never too low.
    pub since: Version,
    /// The version up to which it is complete: as its name says, or else the highest inside.
    pub max: Version,
    /// The highest version inside. The counter of a store that takes the file over must pass it.
    pub highest: Version,
    /// Records that are handed out.
    pub records: u64,
    /// How many of them are deletes.
    pub tombstones: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

impl ZstdbSummary {
    /// Its place in a chain.
    #[must_use]
    pub fn link(&self) -> Link {
        Link {
            origin: Origin::Zstdb,
            since: self.since,
            max: self.max,
            horizon: Version(0),
        }
    }
}

/// Reads one backup of zstdb's.
#[derive(Debug)]
pub struct ZstdbReader {
    file: BackupFile,
}

impl ZstdbReader {
    /// A reader of a file that was [recognised](BackupFile::recognise).
    #[must_use]
    pub fn open(file: BackupFile) -> Self {
        Self { file }
    }

    /// Checks the whole file. `check` sees every record that [`entries`](Self::entries) will hand
    /// out, and is to decompress its value; `progress` hears of bytes done and bytes in all.
    ///
    /// # Errors
    /// `Corrupt`, with the offset; what `check` answers; what the file system answers.
    pub fn verify(
        &mut self,
        check: &mut dyn FnMut(&ZstdbRecord) -> model::Result<()>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> model::Result<ZstdbSummary> {
        let (mut records, mut tombstones) = (0, 0);
        let mut walk = Walk::new(&self.file);
        while let Some(record) = walk.next()? {
            check(&record)?;
            records += 1;
            tombstones += u64::from(record.value.is_none());
            progress(walk.cursor.position(), self.file.length());
        }
        let Some((lowest, highest)) = walk.range else {
            return Err(self.file.damaged(0, "it holds no records").into());
        };
        let (since, max) = self.range(lowest, highest)?;
        Ok(ZstdbSummary {
            since,
            max,
            highest,
            records,
            tombstones,
            bytes: self.file.length(),
        })
    }

    /// The records: of versions of one key that stand together, the newest. Checked again, but for
    /// what the caller of [`verify`](Self::verify) adds. What follows an error is the end.
    pub fn entries(&mut self) -> ZstdbEntries<'_> {
        ZstdbEntries {
            walk: Some(Walk::new(&self.file)),
        }
    }

    /// Compares what the name states with what is inside.
    fn range(&self, lowest: Version, highest: Version) -> Result<(Version, Version)> {
        /// How many changes a busy store may take while an older zstdb, which names the version
        /// from before the backup, is at work. What is far above is damage: it would use up the
        /// versions of the store that takes it over.
        const RACE_MAX: u64 = 1 << 20;
        let Some(NamedRange { since, max, exact }) = self.file.named_range() else {
            return Ok((Version(lowest.0.saturating_sub(1)), highest));
        };
        let race_max = if exact { 0 } else { RACE_MAX };
        if lowest < since || highest < max || highest.0 - max.0 > race_max {
            let what = format!(
                "its name states versions {since} to {max}, it holds {lowest} to {highest}: \
                 it is cut, damaged or renamed"
            );
            return Err(self.file.damaged(self.file.length(), what));
        }
        Ok((since, max))
    }
}

/// The records of a zstdb backup, in the order of the stream.
pub struct ZstdbEntries<'a> {
    walk: Option<Walk<'a>>,
}

impl Iterator for ZstdbEntries<'_> {
    type Item = model::Result<ZstdbRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut walk = self.walk.take()?;
        let next = walk.next().transpose()?;
        if next.is_ok() {
            self.walk = Some(walk);
        }
        Some(next.map_err(model::Error::from))
    }
}

/// A value of 1 GiB that did not compress, its key, and room.
const ENTRY_SIZE_MAX: u64 = 1_100 << 20;
const LENGTH_SIZE: u64 = 8;

/// One pass over the stream; one entry is in memory at a time.
struct Walk<'a> {
    file: &'a BackupFile,
    cursor: Cursor<'a>,
    /// Offset of the end of the block at hand.
    block_end: u64,
    last: LastOfStreams,
    /// The lowest and highest version so far.
    range: Option<(Version, Version)>,
}

impl<'a> Walk<'a> {
    fn new(file: &'a BackupFile) -> Self {
        Self {
            file,
            cursor: file.cursor(),
            block_end: 0,
            last: LastOfStreams::default(),
            range: None,
        }
    }

    fn next(&mut self) -> Result<Option<ZstdbRecord>> {
        loop {
            if self.cursor.position() == self.block_end && !self.next_block()? {
                return Ok(None);
            }
            let position = self.cursor.position();
            let at = |what| self.file.damaged(position, what);
            let Some(message) = self.next_message(position)? else {
                continue;
            };
            let Some(entry) = ListEntry::decode(&message).map_err(at)? else {
                continue;
            };
            let newer_came_before = self.last.follow(&entry).map_err(at)?;
            let version = entry.record.version;
            // The delete that badger adds below a version states nothing of its own.
            if newer_came_before || version == Version(0) {
                continue;
            }
            let (lowest, highest) = self.range.unwrap_or((version, version));
            self.range = Some((lowest.min(version), highest.max(version)));
            return Ok(Some(entry.record));
        }
    }

    /// Enters the next block; false at the end of the file.
    fn next_block(&mut self) -> Result<bool> {
        let position = self.cursor.position();
        let left = self.file.length() - position;
        if left == 0 {
            return Ok(false);
        }
        if left < LENGTH_SIZE {
            return Err(self.file.damaged(position, "a block's length is cut"));
        }
        let mut length = [0; LENGTH_SIZE as usize];
        self.cursor.read(&mut length)?;
        let length = u64::from_le_bytes(length);
        let left = left - LENGTH_SIZE;
        if length == 0 || length > left {
            let what = format!("a block of {length} bytes cannot be: {left} are left in the file");
            return Err(self.file.damaged(position, what));
        }
        self.block_end = self.cursor.position() + length;
        Ok(true)
    }

    /// The next entry of the list in this block; `None` for a field that says nothing.
    fn next_message(&mut self, position: u64) -> Result<Option<Bytes>> {
        /// `alloc_ref`, a number that badger uses in memory.
        const ALLOC_REF_TAG: u8 = 10 << 3;
        let mut tag = [0];
        self.cursor.read(&mut tag)?;
        let length = match tag[0] {
            LIST_ENTRY_TAG => self.varint()?,
            ALLOC_REF_TAG => return self.varint().map(|_| None),
            _ => return Err(self.file.damaged(position, "a list has an unknown field")),
        };
        if length > self.block_end - self.cursor.position() {
            return Err(self
                .file
                .damaged(position, "an entry is longer than its block"));
        }
        let size = usize::try_from(length)
            .ok()
            .filter(|_| length <= ENTRY_SIZE_MAX)
            .ok_or_else(|| {
                let what =
                    format!("an entry of {length} bytes is over the limit of {ENTRY_SIZE_MAX}");
                self.file.damaged(position, what)
            })?;
        let mut message = vec![0; size];
        self.cursor.read(&mut message)?;
        Ok(Some(Bytes::from(message)))
    }

    fn varint(&mut self) -> Result<u64> {
        let mut varint = Varint::default();
        loop {
            let position = self.cursor.position();
            if position == self.block_end {
                return Err(self.file.damaged(position, "a number is cut"));
            }
            let mut byte = [0];
            self.cursor.read(&mut byte)?;
            let value = varint.push(byte[0]);
            if let Some(value) = value.map_err(|what| self.file.damaged(position, what))? {
                return Ok(value);
            }
        }
    }
}

/// The last key and version of every stream. badger walks one range of keys a stream, in order, and
/// a key's versions from the newest down.
#[derive(Default)]
struct LastOfStreams {
    of: HashMap<u64, (Key, Version)>,
}

impl LastOfStreams {
    /// More streams than badger ever opens are forgotten, so that a foreign file costs no memory.
    const COUNT_MAX: usize = 4096;

    /// Whether a newer version of the same key came just before.
    fn follow(&mut self, entry: &ListEntry) -> Result<bool, &'static str> {
        let ListEntry { record, stream } = entry;
        if self.of.len() >= Self::COUNT_MAX {
            self.of.clear();
        }
        let next = (record.key.clone(), record.version);
        let Some((key, version)) = self.of.insert(*stream, next) else {
            return Ok(false);
        };
        if record.key == key {
            return match record.version < version {
                true => Ok(true),
                false => Err("versions of a key do not descend"),
            };
        }
        // Writers from before streams were numbered leave 0, and then the order is not known.
        if *stream != 0 && record.key < key {
            return Err("keys of a stream do not ascend");
        }
        Ok(false)
    }
}
