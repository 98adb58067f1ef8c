//! Backups: written, merged, listed, checked, deleted. They are in `backups/` below the store's path,
//! or where `backup.dir` says, and their paths are relative to it.

use super::Store;
use crate::model::{Result, Version};
use crate::service::{BackupDone, RestoreDone, RestoreSource, Stored};
use std::path::Path;

impl Store {
    /// Writes all changes after a version (0 is everything) to a new backup, while others go on; it
    /// appears complete and checked, or not at all.
    ///
    /// # Errors
    /// `Unavailable` (`CHORE_BUSY`) while another one is written, and what the disk says.
    pub async fn backup(&self, name: &str, since: Version) -> Result<BackupDone> {
        self.service()?.backup(name, since).await
    }

    /// Merges a backup file, ours or zstdb's: versions are kept, what is newer here wins. The file is
    /// checked whole before anything changes.
    ///
    /// # Errors
    /// `Corrupt` and `Conflict` about the file, and what the shards answer.
    pub async fn restore(&self, file: impl AsRef<Path>) -> Result<RestoreDone> {
        let source = RestoreSource::Operator(file.as_ref().to_owned());
        self.service()?.restore(source, |_, _| {}).await
    }

    /// All backups that are there, in the order of their paths.
    ///
    /// # Errors
    /// What the file system answers.
    pub async fn backups(&self) -> Result<Vec<Stored>> {
        self.service()?.backups().await
    }

    /// Reads a backup whole, as a restore does before it changes anything.
    ///
    /// # Errors
    /// `Invalid` and `NotFound` about the path, `Corrupt` about the file.
    pub async fn verify_backup(&self, path: &str) -> Result<Stored> {
        self.service()?.verify_backup(path, |_, _| {}).await
    }

    /// Deletes a backup. Increments that continue it cannot be restored any more.
    ///
    /// # Errors
    /// `Unavailable` (`CHORE_BUSY`); `Invalid` and `NotFound` about the path.
    pub async fn delete_backup(&self, path: &str) -> Result<()> {
        self.service()?.delete_backup(path).await
    }

    /// Deletes this store's own sound backups below a folder, all but the `keep` newest and what these
    /// need to be restored; `""` is every folder. The paths of what is gone.
    ///
    /// # Errors
    /// `Unavailable` (`CHORE_BUSY`); `Invalid` (`KEEP_NOTHING`); what the file system answers, and then
    /// some may be gone.
    pub async fn purge_backups(&self, folder: &str, keep: usize) -> Result<Vec<String>> {
        self.service()?.purge_backups(folder, keep).await
    }
}
