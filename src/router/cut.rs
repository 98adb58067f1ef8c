//! One moment across all shards.

use super::Router;
use crate::model::{BlobRef, Command, Digest, Error, Key, Result, ShardId, Version};
use crate::shard::{CutGate, Found, ShardError, ShardSnapshot};
use std::time::Duration;

/// How long shards wait for each other at the gate, writes standing still.
const PATIENCE: Duration = Duration::from_secs(10);

/// A consistent view of the whole store.
#[derive(Debug)]
pub struct Cut {
    /// Every change up to this version is in it, and none after.
    pub version: Version,
    /// Each shard at the cut, in the order of their ids.
    pub shards: Vec<ShardSnapshot>,
    router: Router,
}

impl Router {
    /// Takes a cut: every actor finishes its group and parks with its snapshot taken, the version
    /// is read, all go on. The version is synced to a log before it is named, so that it is never
    /// issued again.
    ///
    /// # Errors
    /// `Unavailable` when a shard does not serve or does not come to the gate in time; the others
    /// then go on at once.
    pub async fn cut(&self) -> Result<Cut> {
        let (version, shards) = self.stand_still().await?;
        self.mark(version).await?;
        Ok(Cut {
            version,
            shards,
            router: self.clone(),
        })
    }

    /// Parks all shards with their snapshots taken; the version at that moment.
    pub(super) async fn stand_still(&self) -> Result<(Version, Vec<ShardSnapshot>)> {
        let mut entries = Vec::with_capacity(self.shards.len());
        for shard in self.shards.iter() {
            entries.push(self.entry(shard.id()).await);
        }
        let gate = CutGate::new(self.shards.len(), PATIENCE);
        let waiting: Vec<_> = self
            .shards
            .iter()
            .zip(entries)
            .map(|(shard, entry)| {
                let (shard, gate) = (shard.clone(), gate.clone());
                tokio::spawn(async move {
                    let _entry = entry;
                    let snapshot = shard.cut(gate.clone()).await;
                    if snapshot.is_err() {
                        gate.give_up();
                    }
                    snapshot
                })
            })
            .collect();
        let counter = self.counter.clone();
        let held = tokio::task::spawn_blocking(move || gate.hold(|| counter.current())).await;
        let mut shards = Vec::with_capacity(waiting.len());
        for snapshot in waiting {
            let lost = |_| Error::unavailable("CUT_FAILED", "a shard was lost at the cut; retry");
            shards.push(snapshot.await.map_err(lost)??);
        }
        let missed = || {
            Error::unavailable(
                "CUT_FAILED",
                "a shard did not come to the cut in time; retry",
            )
        };
        Ok((held.ok().flatten().ok_or_else(missed)?, shards))
    }
}

impl Router {
    /// Logs a version counter in every shard, durably: whichever of them is there at the next start
    /// knows it.
    ///
    /// # Errors
    /// What the first shard answers that could not.
    pub async fn mark(&self, version: Version) -> Result<()> {
        for shard in self.shards.iter() {
            shard.write(Command::Mark { version }, self.now()).await?;
        }
        self.sync().await
    }
}

impl Cut {
    /// The record of a key at the cut, a tombstone too.
    ///
    /// # Errors
    /// When its shard cannot be read.
    pub fn record(&self, key: &Key) -> Result<Option<Found>> {
        let shard = self.router.shard_of_key(key);
        self.told(shard, self.shards[usize::from(shard.0)].record(key))
    }

    /// The home of a content.
    #[must_use]
    pub fn home_of(&self, digest: Digest) -> ShardId {
        self.router.shard_of_digest(digest)
    }

    /// A content at the cut.
    ///
    /// # Errors
    /// When its shard cannot be read.
    pub fn blob(&self, digest: Digest) -> Result<Option<Found>> {
        let shard = self.router.shard_of_digest(digest);
        self.told(shard, self.shards[usize::from(shard.0)].blob(digest))
    }

    /// Whether a reference and its content are there.
    ///
    /// # Errors
    /// When their shard cannot be read.
    pub fn holds(&self, blob: BlobRef) -> Result<bool> {
        let shard = self.router.shard_of_digest(blob.digest);
        self.told(shard, self.shards[usize::from(shard.0)].holds(blob))
    }

    /// See [`Router::told`].
    ///
    /// # Errors
    /// The error in its public form.
    pub fn told<T>(&self, shard: ShardId, result: Result<T, ShardError>) -> Result<T> {
        self.router.told(shard, result)
    }
}
