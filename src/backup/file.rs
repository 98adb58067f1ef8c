//! One open backup file, and a cursor over it. A path is resolved once: whatever is read, verified
//! or merged is read from the same open file.

use super::archive::HEADER_MAGIC;
use super::fault::{Fault, Result};
use super::name::NamedRange;
use super::wire::LIST_ENTRY_TAG;
use crate::model;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Who wrote a backup file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An archive of ours.
    Own,
    /// A backup that zstdb wrote.
    Zstdb,
}

/// An open backup file.
#[derive(Debug)]
pub struct BackupFile {
    file: File,
    path: PathBuf,
    length: u64,
}

impl BackupFile {
    /// Opens a file that the operator names at the command line: no root confines it.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for what is not a regular file; what the file system answers.
    pub fn open(path: &Path) -> model::Result<Self> {
        let fail = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => Fault::Missing {
                file: path.to_owned(),
                near: String::new(),
            },
            _ => Fault::Io {
                action: "open backup",
                file: path.to_owned(),
                source,
            },
        };
        // Looked at before it is opened: opening a fifo would wait for a writer.
        if !std::fs::metadata(path).map_err(fail)?.is_file() {
            return Err(not_regular(path).into());
        }
        let file = File::open(path).map_err(fail)?;
        Self::from_open(file, path.to_owned())
    }

    pub(super) fn from_open(file: File, path: PathBuf) -> model::Result<Self> {
        let found = file.metadata().map_err(|source| Fault::Io {
            action: "read backup",
            file: path.clone(),
            source,
        })?;
        if !found.is_file() {
            return Err(not_regular(&path).into());
        }
        Ok(Self {
            file,
            path,
            length: found.len(),
        })
    }

    /// Its path, for people.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size when it was opened.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// When it was last written.
    #[must_use]
    pub fn modified(&self) -> Option<SystemTime> {
        self.file.metadata().and_then(|found| found.modified()).ok()
    }

    /// The range that its name states, if it states one.
    #[must_use]
    pub fn named_range(&self) -> Option<NamedRange> {
        NamedRange::parse(self.path.file_name()?.to_str()?)
    }

    /// Who wrote it, by its first bytes. Whether the rest is sound is the readers' to say.
    ///
    /// # Errors
    /// `Invalid` (`BACKUP_FOREIGN`) for every other file, an empty one too.
    pub fn recognise(&self) -> model::Result<Kind> {
        /// A block's length, and the tag that every block of badger's begins with.
        const LOOK: usize = 9;
        let foreign = |why| Fault::Foreign {
            file: self.path.clone(),
            why,
        };
        if self.length == 0 {
            return Err(foreign("it is empty").into());
        }
        if self.length < LOOK as u64 {
            return Err(foreign("it is too short").into());
        }
        let mut first = [0; LOOK];
        self.cursor().read(&mut first)?;
        if first.starts_with(&HEADER_MAGIC) {
            return Ok(Kind::Own);
        }
        // The upper bytes of a length are zero in every file that fits a disk.
        if first[6..8] == [0; 2] && first[8] == LIST_ENTRY_TAG {
            return Ok(Kind::Zstdb);
        }
        Err(foreign("it begins like neither kind").into())
    }

    pub(super) fn cursor(&self) -> Cursor<'_> {
        self.cursor_at(0)
    }

    pub(super) fn cursor_at(&self, position: u64) -> Cursor<'_> {
        Cursor {
            file: self,
            buffer: Vec::new(),
            used: 0,
            position,
        }
    }

    pub(super) fn damaged(&self, offset: u64, what: impl Into<String>) -> Fault {
        Fault::Damaged {
            file: self.path.clone(),
            offset,
            what: what.into(),
        }
    }
}

fn not_regular(path: &Path) -> Fault {
    Fault::Foreign {
        file: path.to_owned(),
        why: "it is not a regular file",
    }
}

/// Reads a file forward through a small buffer, by absolute offsets: several cursors over one file
/// do not disturb each other.
pub(super) struct Cursor<'a> {
    file: &'a BackupFile,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were handed out.
    used: usize,
    position: u64,
}

impl Cursor<'_> {
    const BUFFER_SIZE: usize = 256 << 10;

    /// Offset of the next byte.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Fills `into` completely.
    pub fn read(&mut self, into: &mut [u8]) -> Result<()> {
        let buffered = (self.buffer.len() - self.used).min(into.len());
        let (first, rest) = into.split_at_mut(buffered);
        first.copy_from_slice(&self.buffer[self.used..self.used + buffered]);
        self.used += buffered;
        self.position += buffered as u64;
        if rest.is_empty() {
            return Ok(());
        }
        if rest.len() >= Self::BUFFER_SIZE {
            self.read_at(rest, self.position)?;
        } else {
            self.fill(rest.len())?;
            rest.copy_from_slice(&self.buffer[..rest.len()]);
            self.used = rest.len();
        }
        self.position += rest.len() as u64;
        Ok(())
    }

    /// Refills the empty buffer with at least `needed` bytes.
    fn fill(&mut self, needed: usize) -> Result<()> {
        let left = self.file.length.saturating_sub(self.position);
        let size =
            usize::try_from(left).map_or(Self::BUFFER_SIZE, |left| left.min(Self::BUFFER_SIZE));
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(size.max(needed), 0);
        self.used = 0;
        self.read_at(&mut buffer, self.position)?;
        self.buffer = buffer;
        Ok(())
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> Result<()> {
        match self.file.file.read_exact_at(into, offset) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.file.damaged(self.file.length, "it ends in the middle"))
            }
            Err(source) => Err(Fault::Io {
                action: "read backup",
                file: self.file.path.clone(),
                source,
            }),
        }
    }
}
