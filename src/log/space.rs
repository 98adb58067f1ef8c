//! Free space, and a reserve of it for getting out of a full disk.

use super::{LogError, file};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

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

/// A file that holds space for bad days: released when a delete, GC or recovery finds the disk
/// full, taken again when there is room.
#[derive(Debug)]
pub struct Ballast {
    path: PathBuf,
    size: u64,
    held: Mutex<bool>,
}

impl Ballast {
    /// Takes the reserve if there is room for it; a disk that is full already keeps nobody from
    /// starting.
    #[must_use]
    pub fn new(path: PathBuf, size: u64) -> Self {
        let ballast = Self {
            path,
            size,
            held: Mutex::new(false),
        };
        ballast.take();
        ballast
    }

    /// Takes the reserve again when it was released and the disk has room, or finds that the file
    /// holds it still from an earlier run.
    pub fn take(&self) {
        let mut held = self
            .held
            .lock()
            .expect("no code panics while it holds this lock");
        if *held || self.size == 0 {
            return;
        }
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.path);
        let kept = |file: &File| {
            let taken = file.metadata().map(|found| found.blocks() * BLOCK_SIZE);
            taken.is_ok_and(|taken| taken >= self.size)
        };
        let room = || free_space(dir).is_ok_and(|free| free > self.size * 2);
        *held = file.is_ok_and(|file| {
            kept(&file) || room() && file::preallocate(&file, 0, self.size).is_ok_and(|done| done)
        });
    }

    /// Gives the reserve back to the filesystem. Whether there was any.
    pub fn release(&self) -> bool {
        let mut held = self
            .held
            .lock()
            .expect("no code panics while it holds this lock");
        let released = *held
            && OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(&self.path)
                .is_ok();
        *held = *held && !released;
        released
    }
}
