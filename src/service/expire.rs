//! Keys that have expired are removed: by a command like any other, so that replay, backups and
//! references see a delete. No read depends on it, since each compares the record's time itself.

use super::{Service, blocking};
use crate::model::{Command, Error, Key, Reply, Result, ShardId};
use std::sync::atomic::Ordering;
use tokio::task::JoinSet;

/// Keys removed at once, so that they share a group.
const BATCH_MAX: usize = 256;
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
            let changed = self.expire_batch(shard, due).await?;
            removed += changed;
            if is_last || changed == 0 {
                break;
            }
        }
        Ok(removed)
    }

    async fn expire_batch(&self, shard: ShardId, due: Vec<Key>) -> Result<u64> {
        let mut batch = JoinSet::new();
        for key in due {
            let service = self.clone();
            batch.spawn(async move { service.expire(shard, key).await });
        }
        let mut changed = 0;
        let mut outcome = Ok(());
        while let Some(done) = batch.join_next().await {
            let lost = |error| Error::internal("TASK_FAILED", format!("a task failed: {error}"));
            match done.map_err(lost).flatten() {
                Ok(removed) => changed += u64::from(removed),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        self.0.expired.fetch_add(changed, Ordering::Relaxed);
        outcome.map(|()| changed)
    }

    /// Removes a key, unless it was written meanwhile. What it held is let go of as by a delete.
    async fn expire(&self, shard: ShardId, key: Key) -> Result<bool> {
        let command = Command::Expire { key: key.clone() };
        let reply = self.router().write(shard, command).await?;
        self.after(&reply, &key).await;
        Ok(matches!(reply, Reply::Deleted { .. }))
    }
}
