//! An archive on its way to the disk: it appears under its final name complete and synced, or
//! not at all.

use super::archive::{ArchiveHeader, Counts};
use super::encoder::ArchiveEncoder;
use super::entry::Entry;
use super::fault::{Fault, Result};
use super::name::NamedRange;
use super::path::NAME_SIZE_MAX;
use super::root::{BackupRoot, Place, partial_name};
use crate::model;
use cap_std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::PathBuf;

/// Payloads from this size on go to the file without passing a buffer.
const BUFFER_SIZE: usize = 256 << 10;

/// A finished archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The absolute path of the file.
    pub target: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// What it holds.
    pub counts: Counts,
}

/// Writes an archive below a backup root. Dropped before [`finish`](Self::finish), it leaves
/// nothing.
pub struct ArchiveWriter {
    encoder: ArchiveEncoder<BufWriter<File>>,
    partial: Partial,
    name: String,
}

impl ArchiveWriter {
    /// Begins the archive `<path>_[<since>-<max>].zstdb.bak`. Missing folders are made.
    ///
    /// # Errors
    /// `Invalid` for a path that leads out of the root or a range that runs backwards; what the
    /// file system answers.
    pub fn create(root: &BackupRoot, path: &str, header: ArchiveHeader) -> model::Result<Self> {
        let place = root.place(path)?;
        let range = NamedRange {
            since: header.since,
            max: header.max,
            exact: false,
        };
        let name = format!("{}{range}", place.name);
        if name.len() > NAME_SIZE_MAX {
            let max = NAME_SIZE_MAX as u64;
            return Err(Fault::TooLarge {
                what: "a backup's name",
                size: name.len() as u64,
                max,
            }
            .into());
        }
        let salt = getrandom::u64().map_err(Fault::Random)?;
        let (partial, file) = Partial::create(place)?;
        let sink = BufWriter::with_capacity(BUFFER_SIZE, file);
        let target = partial.place.path.join(&name);
        Ok(Self {
            encoder: ArchiveEncoder::new(sink, target, header, salt)?,
            partial,
            name,
        })
    }

    /// Appends an entry, as [`ArchiveEncoder::write`] says.
    ///
    /// # Errors
    /// As there. The writer is then to be dropped.
    pub fn write(&mut self, entry: &Entry) -> model::Result<()> {
        self.encoder.write(entry)
    }

    /// Bytes that were written so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.encoder.bytes()
    }

    /// Ends the archive, syncs it, and gives it its final name. A file of that name is replaced in
    /// the same moment: it is an older backup of the same range, and there is never neither.
    ///
    /// # Errors
    /// What the file system answers; nothing new is then left under the final name, unless it was
    /// the last step, the folder's sync, that failed.
    pub fn finish(self) -> model::Result<Finished> {
        let (sink, counts, bytes) = self.encoder.finish()?;
        let target = self.partial.place.path.join(&self.name);
        let fail = |action| {
            let file = target.clone();
            move |source| Fault::Io {
                action,
                file,
                source,
            }
        };
        let file = sink
            .into_inner()
            .map_err(|error| fail("write backup")(error.into_error()))?;
        file.sync_all().map_err(fail("sync backup"))?;
        fail::fail_point!("backup::synced");
        self.partial
            .rename(&self.name)
            .map_err(fail("name backup"))?;
        Ok(Finished {
            target,
            bytes,
            counts,
        })
    }
}

/// The file under its temporary name, which goes when this does.
struct Partial {
    place: Place,
    name: Option<String>,
}

impl Partial {
    fn create(place: Place) -> Result<(Self, File)> {
        let random = getrandom::u64().map_err(Fault::Random)?;
        let name = partial_name(&place.name, random);
        let fail = |source| Fault::Io {
            action: "create backup",
            file: place.path.join(&name),
            source,
        };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let file = place.dir().open_with(&name, &options).map_err(fail)?;
        let file = file.into_std();
        // Tells those who clean up that this file's writer lives; released with the last handle.
        let locked = file.try_lock().map_err(io::Error::from);
        let file = File::from_std(file);
        match locked {
            Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(fail(error)),
            _ => {
                let name = Some(name);
                Ok((Self { place, name }, file))
            }
        }
    }

    fn rename(mut self, final_name: &str) -> io::Result<()> {
        let dir = self.place.dir();
        if let Some(name) = &self.name {
            dir.rename(name, dir, final_name)?;
        }
        self.name = None;
        self.place.sync()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            // What cannot be removed now is removed when the next backup is written here.
            let _ = self.place.dir().remove_file(name);
        }
    }
}
