//! Backups, for threads that wait.

use super::Store;
use crate::embedded::{BackupDone, RestoreDone, StoredBackup};
use crate::model::{Result, Version};
use std::path::Path;

impl Store {
    /// See [`crate::Store::backup`].
    ///
    /// # Errors
    /// As there.
    pub fn backup(&self, name: &str, since: Version) -> Result<BackupDone> {
        self.runtime.block_on(self.store.backup(name, since))
    }

    /// See [`crate::Store::restore`].
    ///
    /// # Errors
    /// As there.
    pub fn restore(&self, file: impl AsRef<Path>) -> Result<RestoreDone> {
        self.runtime.block_on(self.store.restore(file))
    }

    /// See [`crate::Store::backups`].
    ///
    /// # Errors
    /// As there.
    pub fn backups(&self) -> Result<Vec<StoredBackup>> {
        self.runtime.block_on(self.store.backups())
    }

    /// See [`crate::Store::verify_backup`].
    ///
    /// # Errors
    /// As there.
    pub fn verify_backup(&self, path: &str) -> Result<StoredBackup> {
        self.runtime.block_on(self.store.verify_backup(path))
    }

    /// See [`crate::Store::delete_backup`].
    ///
    /// # Errors
    /// As there.
    pub fn delete_backup(&self, path: &str) -> Result<()> {
        self.runtime.block_on(self.store.delete_backup(path))
    }

    /// See [`crate::Store::purge_backups`].
    ///
    /// # Errors
    /// As there.
    pub fn purge_backups(&self, folder: &str, keep: usize) -> Result<Vec<String>> {
        self.runtime
            .block_on(self.store.purge_backups(folder, keep))
    }
}
