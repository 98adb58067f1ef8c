//! What an administrator asks a store, and asks of it.

use super::Store;
use crate::model::{Result, ScrubReport, StatusReport};
use crate::service::{Settings, SettingsChange, Verification};

impl Store {
    /// What it holds, and what its writes were like since it was opened.
    ///
    /// # Errors
    /// What the shards answer.
    pub async fn status(&self) -> Result<StatusReport> {
        self.service()?.report().await
    }

    /// What can be changed while it is open, as it is now.
    ///
    /// # Errors
    /// `Unavailable` (`STORE_CLOSED`).
    pub fn settings(&self) -> Result<Settings> {
        Ok(self.service()?.settings())
    }

    /// Changes settings until it is closed: all that are named, or none. The settings as they are then.
    ///
    /// # Errors
    /// `Invalid` (`LOG_LEVEL`) when a level is named: what a store says goes to the program's own
    /// `tracing`.
    pub fn update_settings(&self, change: SettingsChange) -> Result<Settings> {
        self.service()?.change_settings(change)
    }

    /// Makes durable what was acknowledged before it was ([`Options::unsynced`](super::Options::unsynced)).
    ///
    /// # Errors
    /// What the shards answer.
    pub async fn sync(&self) -> Result<()> {
        self.service()?.sync().await
    }

    /// Gives space back: collects segments of the log whose live share is under `gc.live_threshold`, which
    /// happens behind the scenes too. Whether any is gone. Goes on to its end when it is not waited for.
    ///
    /// # Errors
    /// `Unavailable` (`CHORE_BUSY`) while a backup, a restore or another one runs; what the first shard
    /// answers that could not, if nothing is gone.
    pub async fn compact(&self) -> Result<bool> {
        self.service()?.gc().await
    }

    /// Lets the tombstones of all deletes so far go with their segments, before
    /// `keys.tombstone_retention` is over. Increments from before become full backups, and older
    /// archives are not merged any more.
    ///
    /// # Errors
    /// `Unavailable` (`CHORE_BUSY`), and what the shards answer.
    pub async fn purge_tombstones(&self) -> Result<()> {
        self.service()?.purge_tombstones().await
    }

    /// What the scrubber, which reads the store behind the scenes, has done and found since it was
    /// opened.
    ///
    /// # Errors
    /// `Unavailable` (`STORE_CLOSED`).
    pub fn scrub_report(&self) -> Result<ScrubReport> {
        Ok(self.service()?.scrub_report())
    }

    /// Begins to check every closed segment, log and index in both directions, and large values, while
    /// others go on. Each [`Verification::next`] looks at about 4 MiB.
    ///
    /// # Errors
    /// What the shards answer. Damage is none: it is told with the steps.
    pub async fn verify(&self) -> Result<Verification> {
        self.service()?.verify().await
    }
}
