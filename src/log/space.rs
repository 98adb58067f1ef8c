//! Free space, and a reserve of it for getting out of a full disk.
//!
//! # How a disk fills, and in which order space is given up
//! What is taken from the filesystem before it is needed: the rest of each active segment (up to
//! 4 MiB) and of each index's journal (512 KiB). What is owed and not taken yet: each index writes its
//! write buffer out as a table, and merges tables; GC copies what is live in a segment before the
//! segment goes; an opening begins a segment (4 KiB), copies the groups that no sync is proven for
//! (one group, unless a sync failed) and writes what it replays into the journal.
//!
//! So writes are refused first: while less is free than two write buffers for each index, or while
//! the reserve is not whole. Below that only what leads out goes on, from what is free as long as
//! there is any, and then from the reserve, piece by piece, each [`Purpose`] down to the share of
//! those who must not fail after it. Space that comes back goes to the reserve before writes return.

use super::segment::full_or_io;
use super::{LogError, file};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What `stat` counts blocks in (POSIX leaves it open, Linux does not).
const BLOCK_SIZE: u64 = 512;

/// Free bytes that this process may use on the filesystem of `path`.
///
/// # Errors
/// What the operating system answers.
pub fn free_space(path: &Path) -> Result<u64, LogError> {
    let stat =
        rustix::fs::statvfs(path).map_err(|errno| LogError::io("statvfs", path)(errno.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// What the reserve is needed for, and thereby how much of it stays for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Copies of what is live in a segment that then goes: may take half.
    Collect,
    /// Deletes and what follows them; the purge of a collected segment: down to a quarter.
    Free,
    /// Opening a shard: nobody comes after it.
    Open,
}

impl Purpose {
    /// Bytes of the reserve that it may not touch.
    fn keeps(self, size: u64) -> u64 {
        match self {
            Self::Collect => size / 2,
            Self::Free => size / 4,
            Self::Open => 0,
        }
    }
}

/// The reserve is given up in pieces of this size, so that what nobody needs yet stays in it.
const RELEASE_STEP: u64 = 256 * 1024;
/// What the filesystem counts space in, or a multiple of it.
const TAKE_UNIT: u64 = 4096;

/// A file that holds space for bad days: given up piece by piece when a delete, GC or recovery finds
/// the disk full, taken again as soon as there is room.
#[derive(Debug)]
pub struct Ballast {
    path: PathBuf,
    size: u64,
    /// Bytes that stay free when it is taken: the indexes write in the background.
    slack: u64,
    held: Mutex<Held>,
    /// Whose turn it is to look at what is free and take of it: no two count the same bytes.
    turn: Mutex<()>,
}

#[derive(Debug)]
struct Held {
    bytes: u64,
    /// The filesystem does not set space aside: there can be no reserve.
    unsupported: bool,
}

impl Ballast {
    /// A reserve of `size` bytes, as far as there is room for it: a disk that is full already keeps
    /// nobody from starting. Taking it leaves `slack` bytes free.
    #[must_use]
    pub fn new(path: PathBuf, size: u64, slack: u64) -> Self {
        let ballast = Self {
            path,
            size,
            slack,
            held: Mutex::new(Held {
                bytes: 0,
                unsupported: size == 0,
            }),
            turn: Mutex::new(()),
        };
        ballast.find();
        ballast.take();
        ballast
    }

    /// Bytes of the whole reserve.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that are to be taken again before anybody else takes more.
    #[must_use]
    pub fn missing(&self) -> u64 {
        let held = self.held();
        if held.unsupported {
            return 0;
        }
        self.size - held.bytes
    }

    /// Bytes that could be released for a purpose.
    #[must_use]
    pub fn available(&self, purpose: Purpose) -> u64 {
        self.held().bytes.saturating_sub(purpose.keeps(self.size))
    }

    /// Held while somebody looks at what is free and takes of it.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        // There is nothing in it that a panic could leave half done.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what was released again, in a turn of its own.
    pub fn refill(&self) {
        if self.missing() > 0 {
            let _turn = self.turn();
            self.take();
        }
    }

    /// Takes what was released again, as far as the disk has room; for who has the turn.
    pub fn take(&self) {
        let mut held = self.held();
        let free = free_space(self.path.parent().unwrap_or(Path::new("."))).unwrap_or(0);
        let wanted = (self.size - held.bytes).min(free.saturating_sub(self.slack));
        let wanted = wanted - wanted % TAKE_UNIT.min(self.size.max(1));
        if held.unsupported || wanted == 0 {
            return;
        }
        let Ok(file) = self.open() else { return };
        match file::preallocate(&file, held.bytes, wanted) {
            Ok(true) => held.bytes += wanted,
            Ok(false) => held.unsupported = true,
            // Somebody was quicker. A filesystem that runs out half way keeps what it took.
            Err(_) => drop(file.set_len(held.bytes)),
        }
    }

    /// Gives at least `bytes` of the reserve back to the filesystem, or what this purpose may have.
    /// Whether there was any.
    pub fn release(&self, purpose: Purpose, bytes: u64) -> bool {
        let mut held = self.held();
        let keeps = purpose.keeps(self.size).min(held.bytes);
        let left = held
            .bytes
            .saturating_sub(bytes.max(RELEASE_STEP))
            .max(keeps);
        if left == held.bytes {
            return false;
        }
        let released = self.open().and_then(|file| file.set_len(left)).is_ok();
        if released {
            held.bytes = left;
        }
        released
    }

    /// What the file holds still from an earlier run.
    fn find(&self) {
        let Ok(found) = std::fs::metadata(&self.path) else {
            return;
        };
        let taken = found.len().min(found.blocks() * BLOCK_SIZE).min(self.size);
        let cut = self.open().and_then(|file| file.set_len(taken));
        self.held().bytes = if cut.is_ok() { taken } else { 0 };
    }

    fn open(&self) -> std::io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        options.open(&self.path)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held
            .lock()
            .expect("no code panics while it holds this lock")
    }
}

/// Takes room for `bytes` behind the data of a file that somebody else appends to, without changing
/// its length. Where the filesystem cannot, that much must at least be free.
///
/// # Errors
/// `Full`, with nothing taken; `Io`.
pub fn reserve_behind(path: &Path, bytes: u64) -> Result<(), LogError> {
    let file = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(LogError::io("open", path))?;
    let end = file::data_end(&file).map_err(LogError::io("look for the end of", path))?;
    let taken = file::preallocate_behind(&file, end, bytes);
    if taken.map_err(full_or_io("preallocate", path, bytes))? || free_space(path)? >= bytes {
        return Ok(());
    }
    let path = path.to_owned();
    Err(LogError::Full {
        path,
        needed: bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 2 * 1024 * 1024;

    #[test]
    fn each_purpose_leaves_the_shares_of_those_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::new(dir.path().join("ballast"), SIZE, 0);
        let held = || SIZE - ballast.missing();
        assert!(ballast.release(Purpose::Collect, 1));
        assert_eq!(held(), SIZE - RELEASE_STEP);
        for (purpose, left) in [
            (Purpose::Collect, SIZE / 2),
            (Purpose::Free, SIZE / 4),
            (Purpose::Open, 0),
        ] {
            assert_eq!(ballast.available(purpose), held() - left);
            assert!(ballast.release(purpose, SIZE));
            assert_eq!(held(), left);
            assert!(!ballast.release(purpose, 1));
        }
        assert!(!ballast.release(Purpose::Collect, 1));
        ballast.take();
        assert_eq!(held(), SIZE);
    }

    #[test]
    fn a_reserve_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ballast");
        let ballast = Ballast::new(path.clone(), SIZE, 0);
        assert!(ballast.release(Purpose::Free, SIZE / 2));
        // As on a disk that has no room for more.
        let found = Ballast::new(path.clone(), SIZE, u64::MAX);
        assert_eq!(found.missing(), SIZE / 2);
        let smaller = Ballast::new(path.clone(), SIZE / 4, u64::MAX);
        assert_eq!(smaller.missing(), 0);
        assert_eq!(path.metadata().unwrap().len(), SIZE / 4);
    }
}
