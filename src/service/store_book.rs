//! What the data directory remembers of backups and restores.

use crate::backup::{ChainId, Link, Progress};
use crate::model::{Result, StoreId, Version};
use std::path::PathBuf;

/// The chain of a store's own backups, and what was restored into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainBook {
    /// The store.
    pub store: StoreId,
    /// The chain of its own backups.
    pub chain: ChainId,
    /// An increment that would start below this is made a full backup: something was merged in
    /// with versions that earlier backups do not have.
    pub floor: Version,
    /// What was restored: one entry a chain.
    pub restored: Vec<Progress>,
    /// The merge that was begun and is not finished, if there is one.
    pub merging: Option<UnfinishedMerge>,
}

/// A merge of a backup, written down before its first record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedMerge {
    /// The absolute path of the backup, to go on with; UTF-8.
    pub archive: PathBuf,
    /// Its bytes: a file of another size under that path is another backup.
    pub size: u64,
    /// Its place in its chain: compared with the file before going on.
    pub link: Link,
    /// Whether the store held nothing before.
    pub into_empty: bool,
}

/// Where the book is kept; a change is durable when `write` returns.
pub trait StoreBook: Send + Sync + std::fmt::Debug {
    /// The book.
    fn read(&self) -> ChainBook;
    /// Replaces the book.
    ///
    /// # Errors
    /// When it cannot be made durable; the old one is then kept.
    fn write(&self, book: ChainBook) -> Result<()>;
}

impl ChainBook {
    /// Notes that a merge begins: increments from before it would miss what it brings.
    pub fn begin(&mut self, merge: UnfinishedMerge, floor: Version, chain: ChainId) {
        self.merging = Some(merge);
        self.floor = self.floor.max(floor);
        self.chain = chain;
    }

    /// Notes that the merge is finished.
    pub fn finish(&mut self, link: &Link) {
        self.merging = None;
        Progress::record(&mut self.restored, link);
    }
}
