//! What fjall does not check when it opens a database, checked before it does.
//!
//! A tree names its tables in a version file, and in `current` that file's number and XXH3-128.
//! lsm-tree 3.1.10 writes this checksum and never reads it (`version/recovery.rs`): a flipped bit
//! can make it forget a table, and thereby rows, or panic under a lock that its own clean-up wants
//! again, which ends the process. So the checksum is compared here, and the order of the journals'
//! batches; what does not pass is rebuilt from the log.

mod journal;

use super::IndexError;
use crate::codec::Cursor;
use std::io::ErrorKind;
use std::path::Path;
use xxhash_rust::xxh3::xxh3_128;

/// Compares each tree's version file with its checksum, and looks through the journals.
///
/// # Errors
/// `File` when a file is damaged or missing, `Database` when the system does not let it be read.
pub(super) fn check(dir: &Path) -> Result<(), IndexError> {
    let keyspaces = dir.join("keyspaces");
    let entries = match std::fs::read_dir(&keyspaces) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| unread(&keyspaces, error))?,
    };
    for entry in entries {
        check_tree(&entry.map_err(|error| unread(&keyspaces, error))?.path())?;
    }
    journal::check(dir)
}

/// A tree without `current` was never finished, and fjall starts it anew.
fn check_tree(tree: &Path) -> Result<(), IndexError> {
    let current = tree.join("current");
    let mut before = None;
    loop {
        let bytes = match std::fs::read(&current) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            bytes => bytes.map_err(|error| unread(&current, error))?,
        };
        match check_version(tree, &bytes) {
            // A database that is open still replaces both; `Locked` is then fjall's answer.
            Err(_) if before.as_ref() != Some(&bytes) => before = Some(bytes),
            done => return done,
        }
    }
}

fn check_version(tree: &Path, current: &[u8]) -> Result<(), IndexError> {
    let mut cursor = Cursor::new(current);
    let (number, sum, kind) = (cursor.u64()?, cursor.u128()?, cursor.u8()?);
    let version = tree.join(format!("v{number}"));
    let bytes = std::fs::read(&version).map_err(|error| unread(&version, error))?;
    if kind == 0 && xxh3_128(&bytes) == sum {
        return Ok(());
    }
    Err(failed(&version, &"checksum does not match"))
}

/// A missing file is damage. Everything else is the system's fault, not the file's: too many open
/// files, no permission, a failing disk.
fn unread(path: &Path, error: std::io::Error) -> IndexError {
    if error.kind() == ErrorKind::NotFound {
        return failed(path, &error);
    }
    tracing::warn!(path = %path.display(), %error, "an index file cannot be read");
    IndexError::Database(fjall::Error::Io(error))
}

fn failed(path: &Path, what: &dyn std::fmt::Display) -> IndexError {
    IndexError::File {
        path: path.to_owned(),
        what: what.to_string(),
    }
}
