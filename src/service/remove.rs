//! Many keys removed side by side, so that they share groups.

use super::Service;
use crate::model::{Command, Error, Key, Reply, Result};
use tokio::task::JoinSet;

/// Keys that are removed at once.
pub(super) const BATCH_MAX: usize = 256;

impl Service {
    /// Runs commands that remove keys, each in the shard of its key; how many keys went.
    ///
    /// # Errors
    /// What the first one answers that could not; the others have run.
    pub(super) async fn remove_all(&self, commands: Vec<(Key, Command)>) -> Result<u64> {
        let mut batch = JoinSet::new();
        for (key, command) in commands {
            let service = self.clone();
            batch.spawn(async move { service.remove(key, command).await });
        }
        let mut removed = 0;
        let mut outcome = Ok(());
        while let Some(done) = batch.join_next().await {
            let lost = |error| Error::internal("TASK_FAILED", format!("a task failed: {error}"));
            match done.map_err(lost).flatten() {
                Ok(is_removed) => removed += u64::from(is_removed),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome.map(|()| removed)
    }

    /// Whether the key went. What it held is let go of.
    async fn remove(&self, key: Key, command: Command) -> Result<bool> {
        let shard = self.router().shard_of_key(&key);
        let reply = self.router().write(shard, command).await?;
        self.after(&reply, &key).await;
        Ok(matches!(reply, Reply::Deleted { .. }))
    }
}
