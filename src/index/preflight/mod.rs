//! What fjall does not check when it opens a database, checked before it does.
//!
//! fjall takes what it finds. A tree or a journal that is not there it makes anew, with numbers that
//! begin anew, behind which older rows hide the newer ones; a journal that does not follow on the
//! tables it applies all the same, and the rows between are missing. A tree names its tables in a
//! version file, and in `current` that file's number and XXH3-128. lsm-tree 3.1.10 writes this
//! checksum and never reads it (`version/recovery.rs`): a flipped bit can make it forget a table,
//! and thereby rows, or panic under a lock that its own clean-up wants again, which ends the
//! process.
//!
//! So here everything is asked for that [`super::Index::make`] made durable at once; the checksums
//! are compared; each tree is opened once by itself, where a panic harms nobody; and the batches of
//! the journals must go on where the tables end. What does not pass is rebuilt from the log.
//!
//! What passes is the index as it was after one of its batches, since the tables hold what was
//! flushed, from the first batch on, and the journals all that came after it. That it may be an
//! older one is nothing new: a crash leaves that too, and the log is replayed from there.

mod journal;
mod tables;

use super::{Index, IndexError};
use crate::codec::Cursor;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

/// The tree in which fjall keeps which trees there are.
const TREE_OF_NAMES: u64 = 0;

/// Whether the files of an index are all there and fit each other.
///
/// # Errors
/// `File` when a file is damaged, missing or of another time than the others, `Database` when a
/// tree is or when the system does not let it be read.
pub(super) fn check(dir: &Path) -> Result<(), IndexError> {
    fail::fail_point!("index::preflight", |_| Ok(()));
    if !Index::is_made(dir)? {
        return Err(failed(
            dir,
            &"missing, or not whole: it was removed, or a rebuild was cut short",
        ));
    }
    let mut rows = None;
    let mut names = None;
    for (number, tree) in trees(dir)? {
        check_tree(&tree)?;
        let tables = tables::read(&tree)?;
        let place = if number == TREE_OF_NAMES {
            &mut names
        } else {
            &mut rows
        };
        if place.replace((number, tables)).is_some() {
            return Err(failed(&tree, &"of another index"));
        }
    }
    match (names, rows) {
        (Some(_), Some((number, tables))) => journal::check(dir, number, tables),
        (None, _) => Err(failed(dir, &"the tree of its names is missing")),
        (_, None) => Err(failed(dir, &"the tree of its rows is missing")),
    }
}

/// The folders of the trees, and their numbers.
fn trees(dir: &Path) -> Result<Vec<(u64, PathBuf)>, IndexError> {
    let keyspaces = dir.join("keyspaces");
    let entries = std::fs::read_dir(&keyspaces).map_err(|error| unread(&keyspaces, error))?;
    let tree = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.map_err(|error| unread(&keyspaces, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.parse().ok());
        let number = number.ok_or_else(|| failed(&path, &"not the name of a tree"))?;
        Ok((number, path))
    };
    entries.map(tree).collect()
}

fn check_tree(tree: &Path) -> Result<(), IndexError> {
    let current = tree.join("current");
    let mut before = None;
    loop {
        let bytes = std::fs::read(&current).map_err(|error| unread(&current, error))?;
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

pub(super) fn failed(path: &Path, what: &dyn std::fmt::Display) -> IndexError {
    IndexError::File {
        path: path.to_owned(),
        what: what.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::database::STATE_ROW;
    use crate::index::{IndexOptions, IndexState};
    use crate::model::Seq;
    use std::fs;
    use tempfile::TempDir;

    const OPTIONS: IndexOptions = IndexOptions {
        cache_size: 1 << 20,
        write_buffer_size: 1 << 20,
    };

    fn open(dir: &Path) -> Result<Index, IndexError> {
        Index::open(dir, OPTIONS)
    }

    /// Commits states that are told apart by their last sequence number.
    fn write(index: &Index, seqs: std::ops::RangeInclusive<u64>) {
        for seq in seqs {
            index.batch().commit(&state(seq)).unwrap();
        }
    }

    fn state(seq: u64) -> IndexState {
        IndexState {
            last_seq: Seq(seq),
            ..IndexState::default()
        }
    }

    fn flush(index: &Index) {
        index.rows.rotate_memtable_and_wait().unwrap();
    }

    /// An index with three batches in its tables and three more in its journal.
    fn index_in(dir: &Path) -> PathBuf {
        let dir = dir.join("index");
        let index = Index::make(&dir, OPTIONS).unwrap();
        write(&index, 1..=3);
        flush(&index);
        write(&index, 4..=6);
        dir
    }

    fn tree_of_rows(dir: &Path) -> PathBuf {
        let rows = trees(dir).unwrap();
        let mut rows = rows.into_iter().filter(|(number, _)| *number != 0);
        rows.next().unwrap().1
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }

    fn replace(dir: &Path, by: &Path) {
        fs::remove_dir_all(dir).unwrap();
        copy(by, dir);
    }

    fn walk(dir: &Path) -> Vec<PathBuf> {
        let entries = walkdir::WalkDir::new(dir).min_depth(1).into_iter();
        entries.map(|entry| entry.unwrap().into_path()).collect()
    }

    fn assert_refused(dir: &Path, why: &str) {
        let error = open(dir).unwrap_err();
        assert!(error.needs_rebuild(), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }

    #[test]
    fn no_part_of_an_index_may_be_missing() {
        let root = TempDir::new().unwrap();
        let dir = index_in(root.path());
        // What is left over goes with an opening, or with the next.
        let mut parts = Vec::new();
        while parts != walk(&dir) {
            parts = walk(&dir);
            drop(open(&dir).unwrap());
        }
        let kept = root.path().join("kept");
        copy(&dir, &kept);
        assert!(parts.len() > 10, "{parts:?}");
        for part in parts {
            if part.is_dir() {
                fs::remove_dir_all(&part).unwrap();
            } else {
                fs::remove_file(&part).unwrap();
            }
            let refused = open(&dir).expect_err(part.to_str().unwrap());
            assert!(refused.needs_rebuild(), "{}: {refused}", part.display());
            replace(&dir, &kept);
        }
        assert_eq!(open(&dir).unwrap().state().unwrap(), Some(state(6)));
    }

    #[test]
    fn a_journal_that_was_emptied_leaves_what_the_tables_hold() {
        let root = TempDir::new().unwrap();
        let dir = index_in(root.path());
        fs::write(dir.join("0.jnl"), b"").unwrap();
        let index = open(&dir).unwrap();
        assert_eq!(index.state().unwrap(), Some(state(3)));
        write(&index, 14..=15);
        drop(index);
        assert_eq!(open(&dir).unwrap().state().unwrap(), Some(state(15)));
    }

    #[test]
    fn tables_that_are_older_than_the_first_batch_of_the_journal_are_found() {
        let root = TempDir::new().unwrap();
        let dir = index_in(root.path());
        let older = root.path().join("older");
        copy(&tree_of_rows(&dir), &older);
        let index = open(&dir).unwrap();
        flush(&index);
        drop(index);
        fs::write(dir.join("0.jnl"), b"").unwrap();
        write(&open(&dir).unwrap(), 7..=9);
        drop(open(&dir).unwrap());
        replace(&tree_of_rows(&dir), &older);
        assert_refused(&dir, "the batches before it are missing");
    }

    #[test]
    fn an_older_copy_of_all_of_it_is_an_older_index() {
        let root = TempDir::new().unwrap();
        let dir = index_in(root.path());
        let older = root.path().join("older");
        copy(&dir, &older);
        let index = open(&dir).unwrap();
        write(&index, 7..=9);
        flush(&index);
        drop(index);
        replace(&dir, &older);
        assert_eq!(open(&dir).unwrap().state().unwrap(), Some(state(6)));
    }

    #[test]
    fn parts_of_another_index_are_found() {
        let root = TempDir::new().unwrap();
        let (one, other) = (root.path().join("one"), root.path().join("other"));
        let (one, other) = (index_in(&one), index_in(&other));
        let kept = root.path().join("kept");
        copy(&one, &kept);
        fs::copy(other.join("0.jnl"), one.join("0.jnl")).unwrap();
        assert_refused(&one, "a batch of another index");
        replace(&one, &kept);
        replace(&one.join("keyspaces/0"), &other.join("keyspaces/0"));
        assert_refused(&one, "is not named");
        replace(&one, &kept);
        let foreign = tree_of_rows(&other);
        let beside = one.join("keyspaces").join(foreign.file_name().unwrap());
        copy(&foreign, &beside);
        assert_refused(&one, "of another index");
    }

    #[test]
    fn a_bit_in_any_byte_of_the_journal_is_found_or_cuts_it_there() {
        let root = TempDir::new().unwrap();
        let dir = root.path().join("index");
        write(&Index::make(&dir, OPTIONS).unwrap(), 1..=3);
        let journal = dir.join("0.jnl");
        let bytes = fs::read(&journal).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        for at in (0..=end).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&journal, damaged).unwrap();
            let states = [None, Some(state(1)), Some(state(2)), Some(state(3))];
            match open(&dir) {
                Ok(index) => assert!(states.contains(&index.state().unwrap()), "byte {at}"),
                Err(error) => assert!(error.needs_rebuild(), "byte {at}: {error}"),
            }
        }
    }

    #[test]
    fn an_index_of_a_program_that_numbered_nothing_is_taken_over() {
        let root = TempDir::new().unwrap();
        let dir = root.path().join("index");
        let index = Index::make(&dir, OPTIONS).unwrap();
        for seq in 1..=3 {
            let row = &state(seq).encode(0)[..14 * 8];
            index.rows.insert(STATE_ROW, row).unwrap();
        }
        drop(index);
        let index = open(&dir).unwrap();
        assert_eq!(index.state().unwrap(), Some(state(3)));
        write(&index, 4..=5);
        drop(index);
        let index = open(&dir).unwrap();
        flush(&index);
        write(&index, 6..=7);
        drop(index);
        assert_eq!(open(&dir).unwrap().state().unwrap(), Some(state(7)));
    }
}
