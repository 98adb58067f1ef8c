//! Administration, for threads that wait.

use super::Store;
use crate::embedded::{Settings, SettingsChange};
use crate::model::{Problem, Result, ScrubReport, StatusReport};

impl Store {
    /// See [`crate::Store::status`].
    ///
    /// # Errors
    /// As there.
    pub fn status(&self) -> Result<StatusReport> {
        self.runtime.block_on(self.store.status())
    }

    /// See [`crate::Store::settings`].
    ///
    /// # Errors
    /// As there.
    pub fn settings(&self) -> Result<Settings> {
        self.store.settings()
    }

    /// See [`crate::Store::update_settings`].
    ///
    /// # Errors
    /// As there.
    pub fn update_settings(&self, change: SettingsChange) -> Result<Settings> {
        self.store.update_settings(change)
    }

    /// See [`crate::Store::sync`].
    ///
    /// # Errors
    /// As there.
    pub fn sync(&self) -> Result<()> {
        self.runtime.block_on(self.store.sync())
    }

    /// See [`crate::Store::compact`].
    ///
    /// # Errors
    /// As there.
    pub fn compact(&self) -> Result<bool> {
        self.runtime.block_on(self.store.compact())
    }

    /// See [`crate::Store::purge_tombstones`].
    ///
    /// # Errors
    /// As there.
    pub fn purge_tombstones(&self) -> Result<()> {
        self.runtime.block_on(self.store.purge_tombstones())
    }

    /// See [`crate::Store::scrub_report`].
    ///
    /// # Errors
    /// As there.
    pub fn scrub_report(&self) -> Result<ScrubReport> {
        self.store.scrub_report()
    }

    /// See [`crate::Store::verify`]; waits until all was looked at, and tells what is wrong.
    ///
    /// # Errors
    /// As there.
    pub fn verify(&self) -> Result<Vec<Problem>> {
        self.runtime.block_on(async {
            let mut check = self.store.verify().await?;
            let mut problems = Vec::new();
            while let Some(step) = check.next().await? {
                problems.extend(step.problems);
            }
            Ok(problems)
        })
    }
}
