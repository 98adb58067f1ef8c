//! The data directory: where each thing lies in it, and that one process has it to itself.
//!
//! The lock is advisory (`flock`) on the open file `LOCK`, so the kernel gives it back however the
//! holder ends, and what stands in the file is only there to be named to whoever comes second.
//!
//! A directory that holds something else is refused before anything is written into it: who points
//! `--data-dir` at a home directory by mistake finds it as it was.

use crate::log::{LogError, create_dir_synced};
use crate::model::ShardId;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

const LOCK: &str = "LOCK";
const MANIFEST: &str = "MANIFEST";
const SHARDS: &str = "shards";
const BACKUPS: &str = "backups";
const BALLAST: &str = "ballast";

/// What a directory may hold before its first `MANIFEST`: our own files of a start that was cut
/// short, what a filesystem's root holds, and a log that was opened first.
const NOT_FOREIGN: &[&str] = &[
    LOCK,
    "MANIFEST.new",
    BACKUPS,
    BALLAST,
    "lost+found",
    "log",
    "logs",
    "shardkeep.log",
];

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// A file stands under its name.
    #[error(
        "the data directory {path} is not a directory; choose another with --data-dir \
         (storage.data_dir)"
    )]
    NotADirectory {
        /// What was given.
        path: PathBuf,
    },
    /// Offline work needs a directory that is there.
    #[error("no data directory at {path}; name the one of the store with --data-dir")]
    Missing {
        /// What was given.
        path: PathBuf,
    },
    /// Offline work needs a store.
    #[error(
        "no store in {path}: it holds neither MANIFEST nor shards/; name the directory of a store \
         with --data-dir"
    )]
    NoStore {
        /// What was given.
        path: PathBuf,
    },
    /// It belongs to somebody else.
    #[error(
        "{path} holds {entry:?} but no MANIFEST, so it is not a data directory of shardkeep and \
         nothing was written into it; choose an empty or a new directory with --data-dir \
         (storage.data_dir)"
    )]
    Foreign {
        /// What was given.
        path: PathBuf,
        /// Something in it that is not ours.
        entry: String,
    },
    /// Another process has it open.
    #[error(
        "the data directory {path} is in use by {}; stop that process first, or give this one a \
         directory of its own with --data-dir (storage.data_dir)",
        holder(*pid)
    )]
    InUse {
        /// What was given.
        path: PathBuf,
        /// The process that holds it, if it could write its number.
        pid: Option<u32>,
    },
    /// The directory cannot be made.
    #[error("cannot make the data directory {path}: {source}; {REMEDY}")]
    Create {
        /// What was given.
        path: PathBuf,
        /// What the system said.
        source: LogError,
    },
    /// The directory cannot be read or written.
    #[error("cannot {operation} {path}: {source}; {REMEDY}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

const REMEDY: &str = "this user needs to read and write in there, or another directory is given \
                      with --data-dir (storage.data_dir)";

fn holder(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}

impl DataDirError {
    fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }
}

/// What a directory holds, as far as its names tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// Nothing yet: a store can be made here.
    Empty,
    /// A store with its manifest.
    Store,
    /// Shards without a manifest. A start writes the manifest first, so this is damage.
    Headless,
}

/// A directory that this process, and no other, works in until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    contents: Contents,
    /// Closing the file gives the lock back.
    _lock: File,
}

impl DataDir {
    /// Takes the directory, and makes it where it is missing.
    ///
    /// # Errors
    /// When it cannot be made or written, holds something else, or another process has it.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        if path.metadata().is_ok_and(|found| !found.is_dir()) {
            return Err(not_a_directory(path));
        }
        create_dir_synced(path).map_err(|source| DataDirError::Create {
            path: path.to_owned(),
            source,
        })?;
        Self::take(path)
    }

    /// Takes the directory of a store that is there already, for offline work.
    ///
    /// # Errors
    /// When there is none, it cannot be written, or another process has it.
    pub fn open_existing(path: &Path) -> Result<Self, DataDirError> {
        let path_owned = || path.to_owned();
        match path.metadata() {
            Ok(found) if !found.is_dir() => return Err(not_a_directory(path)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DataDirError::Missing { path: path_owned() });
            }
            Err(error) => return Err(DataDirError::io("read", path)(error)),
        }
        if survey(path)? == Contents::Empty {
            return Err(DataDirError::NoStore { path: path_owned() });
        }
        Self::take(path)
    }

    fn take(path: &Path) -> Result<Self, DataDirError> {
        survey(path)?; // Before the first byte is written into what may be somebody else's.
        let lock = lock(path)?;
        Ok(Self {
            root: fs::canonicalize(path).map_err(DataDirError::io("resolve", path))?,
            // Again, now that nobody else writes: what was empty before the lock may hold a store.
            contents: survey(path)?,
            _lock: lock,
        })
    }

    /// The absolute path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// What it held when it was opened.
    #[must_use]
    pub fn contents(&self) -> Contents {
        self.contents
    }

    /// What the store says of itself.
    #[must_use]
    pub fn manifest(&self) -> PathBuf {
        self.root.join(MANIFEST)
    }

    /// The folder of one shard.
    #[must_use]
    pub fn shard_dir(&self, shard: ShardId) -> PathBuf {
        self.root.join(SHARDS).join(shard.to_string())
    }

    /// The backup root where the configuration names no other.
    #[must_use]
    pub fn backups(&self) -> PathBuf {
        self.root.join(BACKUPS)
    }

    /// The file that holds space for a full disk.
    #[must_use]
    pub fn ballast(&self) -> PathBuf {
        self.root.join(BALLAST)
    }

    /// What a merge keeps beside the manifest while it is unfinished.
    #[must_use]
    pub fn merge_marker(&self) -> PathBuf {
        self.root.join("MERGING")
    }
}

fn not_a_directory(path: &Path) -> DataDirError {
    DataDirError::NotADirectory {
        path: path.to_owned(),
    }
}

/// Looks at the names in a directory, and refuses one that holds somebody else's.
fn survey(path: &Path) -> Result<Contents, DataDirError> {
    let fault = |error| DataDirError::io("list", path)(error);
    let mut foreign = None;
    let mut has_shards = false;
    for entry in fs::read_dir(path).map_err(fault)? {
        let name = entry.map_err(fault)?.file_name();
        let name = name.to_string_lossy();
        match name.as_ref() {
            MANIFEST => return Ok(Contents::Store),
            SHARDS => has_shards = true,
            name if NOT_FOREIGN.contains(&name) => {}
            name => foreign = Some(name.to_owned()),
        }
    }
    match foreign {
        _ if has_shards => Ok(Contents::Headless),
        None => Ok(Contents::Empty),
        Some(entry) => Err(DataDirError::Foreign {
            path: path.to_owned(),
            entry,
        }),
    }
}

fn lock(path: &Path) -> Result<File, DataDirError> {
    let lock_path = path.join(LOCK);
    // Not truncated: until the lock is ours, what stands in it names its holder.
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock_path)
        .map_err(DataDirError::io("open", &lock_path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let read = file.read_to_string(&mut text).ok();
            let pid = read.and_then(|_| text.lines().next()?.parse().ok());
            return Err(DataDirError::InUse {
                path: path.to_owned(),
                pid,
            });
        }
        Err(TryLockError::Error(error)) => {
            return Err(DataDirError::io("lock", &lock_path)(error));
        }
    }
    match sign(&mut file) {
        // A full disk has no room for a name, but the lock holds all the same.
        Err(error) if error.kind() != io::ErrorKind::StorageFull => {
            Err(DataDirError::io("write", &lock_path)(error))
        }
        _ => Ok(file),
    }
}

/// Writes over the number of an earlier holder, so that the first line is a number at any moment.
fn sign(file: &mut File) -> io::Result<()> {
    let line = format!("{}\n", std::process::id());
    file.write_all(line.as_bytes())?;
    file.set_len(line.len() as u64)
}
