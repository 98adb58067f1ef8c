//! Keys that have expired are removed: by a command like any other, so that replay, backups and
//! references see a delete. No read depends on it, since each compares the record's time itself.

use super::remove::BATCH_MAX;
use super::{Service, blocking};
use crate::model::{Command, Key, Result, ShardId};
use std::sync::atomic::Ordering;

/// Batches of one shard in a round; what is due beyond them waits for the next.
const BATCHES_MAX: usize = 64;

impl Service {
    /// Removes keys that have expired by now, at most 16,384 of a shard; how many.
    ///
    /// # Errors
    /// What the first shard answers that could not; the others have.
    pub async fn expire_due(&self) -> Result<u64> {
        let mut removed = 0;
        let mut outcome = Ok(());
        let shards: Vec<ShardId> = self.router().shards().iter().map(|it| it.id()).collect();
        for shard in shards {
            match self.expire_shard(shard).await {
                Ok(count) => removed += count,
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome.map(|()| removed)
    }

    async fn expire_shard(&self, shard: ShardId) -> Result<u64> {
        let mut removed = 0;
        for _ in 0..BATCHES_MAX {
            let router = self.router().clone();
            let due = blocking(move || router.due(shard, BATCH_MAX)).await?;
            let is_last = due.len() < BATCH_MAX;
            let command = |key: Key| (key.clone(), Command::Expire { key });
            let changed = self.remove_all(due.into_iter().map(command).collect());
            let changed = changed.await?;
            self.0.expired.fetch_add(changed, Ordering::Relaxed);
            removed += changed;
            if is_last || changed == 0 {
                break;
            }
        }
        Ok(removed)
    }
}
