//! Room for the next batches in fjall's journal, taken before the log is written: a batch that finds
//! none ends the index, which must then be opened anew.

use super::Index;
use crate::log::{LogError, reserve_behind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// Room is taken in steps of this many bytes while there is plenty.
const STEP: u64 = 512 * 1024;
/// What a batch may take beside its rows when it is large.
const SLACK: u64 = 64 * 1024;
/// What it takes beside them at least: the state, the usage of segments.
const BATCH_OVERHEAD: u64 = 1024;

/// Room that is left, as far as is known: fjall begins a new journal without a word, and what was
/// taken in the old one then helps nobody. The batch that meets this on a full disk fails.
#[derive(Debug, Default)]
pub(super) struct JournalRoom(AtomicU64);

impl Index {
    /// Bytes that [`Index::reserve`] takes from the filesystem: in the steps it likes, or at least.
    #[must_use]
    pub fn growth(&self, rows: u64, in_steps: bool) -> u64 {
        let needed = rows + SLACK;
        if self.room.left() >= needed {
            0
        } else if in_steps {
            needed.next_multiple_of(STEP)
        } else {
            needed
        }
    }

    /// Makes sure that a batch of up to `rows` bytes finds room.
    ///
    /// # Errors
    /// `Full`, with nothing taken; `Io`.
    pub fn reserve(&self, rows: u64, in_steps: bool) -> Result<(), LogError> {
        let taken = self.growth(rows, in_steps);
        if taken > 0
            && let Some(journal) = self.newest_journal()
        {
            reserve_behind(&journal, taken)?;
            self.room.set(taken);
        }
        self.room.take(rows + BATCH_OVERHEAD);
        Ok(())
    }

    /// Whether a batch of `bytes` may make fjall write its buffer out, for which it needs as much
    /// room again.
    #[must_use]
    pub fn is_about_to_flush(&self, bytes: u64) -> bool {
        self.database.write_buffer_size().saturating_add(bytes) >= self.write_buffer_size
    }

    /// Bytes of a write buffer.
    #[must_use]
    pub fn flush_size(&self) -> u64 {
        self.write_buffer_size
    }

    fn newest_journal(&self) -> Option<PathBuf> {
        let number = |path: &PathBuf| path.file_stem()?.to_str()?.parse::<u64>().ok();
        let entries = std::fs::read_dir(&self.dir).ok()?;
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let journals = paths.filter(|path| path.extension().is_some_and(|it| it == "jnl"));
        journals.max_by_key(number)
    }
}

impl JournalRoom {
    fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, left: u64) {
        self.0.store(left, Ordering::Relaxed);
    }

    /// Only the shard's writer calls this.
    fn take(&self, bytes: u64) {
        self.set(self.left().saturating_sub(bytes));
    }
}
