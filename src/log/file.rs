//! Files as this room needs them: positioned, vectored, preallocated, synced with their folder.

use super::LogError;
use rustix::fs::{Advice, FallocateFlags, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write as _};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The most slices one `pwritev` takes (POSIX `IOV_MAX` on Linux).
const IOV_MAX: usize = 1024;
/// What `O_DIRECT` wants offsets, lengths and memory to be multiples of, on every disk we know.
const DIRECT_ALIGN: u64 = 4096;

/// A write of more than this is handed to the disk piece by piece, while the next piece is copied.
const EAGER_MIN: usize = 1024 * 1024;

/// Writes all slices at an offset. Of many bytes, the disk gets the first while the last are still
/// copied, so that the sync behind finds little left to do.
pub(super) fn write_all_at(file: &File, slices: &[&[u8]], mut offset: u64) -> io::Result<()> {
    let mut list: Vec<IoSlice<'_>> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
    let mut rest = &mut list[..];
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        let batch = &rest[..eager_batch(rest)];
        match rustix::io::pwritev(file, batch, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                if written >= EAGER_MIN && written < rest.iter().map(|it| it.len()).sum() {
                    start_writeback(file, offset, written);
                }
                offset += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// How many slices make a piece.
fn eager_batch(slices: &[IoSlice<'_>]) -> usize {
    let mut bytes = 0;
    let enough = |slice: &IoSlice<'_>| {
        bytes += slice.len();
        bytes >= EAGER_MIN
    };
    let count = slices.iter().take(IOV_MAX).position(enough);
    count.map_or(slices.len().min(IOV_MAX), |last| last + 1)
}

/// Asks the kernel to begin with pages that a sync will wait for. It is a hint: what it answers
/// changes nothing, and the sync finds every error of the write.
fn start_writeback(file: &File, offset: u64, len: usize) {
    // Linux starts the writeback of dirty pages that are "not needed", and keeps them meanwhile.
    let _ = rustix::fs::fadvise(file, offset, NonZeroU64::new(len as u64), Advice::DontNeed);
}

/// Makes sure that `offset..offset + len` can be written without running out of space.
/// `false` where the filesystem cannot preallocate.
pub(super) fn preallocate(file: &File, offset: u64, len: u64) -> io::Result<bool> {
    allocate(file, FallocateFlags::empty(), offset, len)
}

/// As [`preallocate`], without changing the file's length.
pub(super) fn preallocate_behind(file: &File, offset: u64, len: u64) -> io::Result<bool> {
    allocate(file, FallocateFlags::KEEP_SIZE, offset, len)
}

fn allocate(file: &File, flags: FallocateFlags, offset: u64, len: u64) -> io::Result<bool> {
    match rustix::fs::fallocate(file, flags, offset, len) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Where the bytes end that were written to a file, which may be longer.
pub(super) fn data_end(file: &File) -> io::Result<u64> {
    match rustix::fs::seek(file, SeekFrom::Hole(0)) {
        Ok(end) => Ok(end),
        // An empty file has neither data nor a hole.
        Err(Errno::NXIO) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Reads as much of `offset..offset + len` as the disk itself holds, past the page cache.
/// Filesystems without `O_DIRECT` (their pages are their disk) are read plainly.
pub(super) fn read_direct(path: &Path, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let start = offset - offset % DIRECT_ALIGN;
    let end = (offset + len).next_multiple_of(DIRECT_ALIGN);
    let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    let mut direct = true;
    let mut file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::INVAL) => OpenOptions::new().read(true).open(path)?,
        Err(error) => return Err(error.into()),
    };
    let size = usize::try_from(end - start).map_err(io::Error::other)?;
    let align = DIRECT_ALIGN as usize;
    let mut buffer = vec![0; size + align];
    let shift = buffer.as_ptr().align_offset(align);
    let aligned = &mut buffer[shift..shift + size];
    let mut filled = 0;
    while filled < size {
        match file.read_at(&mut aligned[filled..], start + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Some filesystems take the flag and refuse the read; their pages are their disk too.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput && direct => {
                file = OpenOptions::new().read(true).open(path)?;
                direct = false;
            }
            Err(error) => return Err(error),
        }
        if !filled.is_multiple_of(align) {
            break; // The end of the file: the next aligned read would start inside a block.
        }
    }
    let from = usize::try_from(offset - start).map_err(io::Error::other)?;
    let until = filled.min(from + usize::try_from(len).map_err(io::Error::other)?);
    Ok(aligned[from.min(until)..until].to_vec())
}

/// Makes entries of a directory durable: a synced file is found again only when its folder is too.
///
/// # Errors
/// What the operating system answers.
pub fn sync_dir(dir: &Path) -> Result<(), LogError> {
    File::open(dir)
        .and_then(|file| file.sync_all())
        .map_err(LogError::io("sync directory", dir))
}

/// Creates a directory and its parents, durably.
///
/// # Errors
/// What the operating system answers.
pub fn create_dir_synced(dir: &Path) -> Result<(), LogError> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_dir_synced(parent)?;
    }
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(LogError::io("create directory", dir)(error));
        }
        _ => {}
    }
    sync_dir(parent.unwrap_or(Path::new(".")))
}

/// Renames within one directory, durably.
///
/// # Errors
/// What the operating system answers.
pub fn rename_synced(from: &Path, to: &Path) -> Result<(), LogError> {
    std::fs::rename(from, to).map_err(LogError::io("rename", from))?;
    sync_dir(to.parent().unwrap_or(Path::new(".")))
}

/// Writes a small file so that, whatever happens, its name leads to the old bytes or the new.
///
/// # Errors
/// What the operating system answers; the old file is then still there.
pub fn write_file_synced(path: &Path, bytes: &[u8]) -> Result<(), LogError> {
    let temporary = path.with_extension("new");
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(LogError::io("write", &temporary))?;
    rename_synced(&temporary, path)
}
