//! Stats, sync, segment GC, sweep.

use super::{Service, blocking};
use crate::dedup::SweepReport;
use crate::model::{
    Command, Error, Result, ShardGroupReport, StatusReport, StoreReport, WriteReport,
};
use crate::shard::{GcOutcome, GroupStats};
use std::sync::atomic::Ordering;

impl Service {
    /// What the store holds and takes. Shards that cannot be read are counted and left out.
    ///
    /// # Errors
    /// `Internal` when the task fails.
    pub async fn stats(&self) -> Result<StoreReport> {
        let router = self.router().clone();
        let dictionaries = self.0.parts.dictionaries.clone();
        blocking(move || {
            let mut stats = StoreReport {
                dictionaries: dictionaries.count() as u64,
                dictionary_bytes: dictionaries.sum(|it| it.bytes().len() as u64),
                max_version: router.counter().current().0,
                ..StoreReport::default()
            };
            for (_, shard) in router.stats() {
                stats.shards += 1;
                let Ok(shard) = shard else {
                    stats.shards_down += 1;
                    continue;
                };
                stats.key_count += shard.totals.keys;
                stats.index_bytes += shard.index_bytes;
                stats.log_bytes += shard.log_bytes;
                stats.logical_bytes += shard.totals.logical_bytes;
                stats.unique_bytes += shard.totals.unique_bytes;
                stats.stored_bytes += shard.totals.stored_bytes;
                stats.dead_bytes += shard.dead_bytes;
                stats.blobs += shard.totals.blobs;
                stats.references += shard.totals.references;
                stats.segments += shard.segments;
            }
            Ok(stats)
        })
        .await
    }

    /// What the groups of writes were like since the start, and how many keys went by themselves.
    fn write_report(&self) -> WriteReport {
        let mut total = GroupStats::default();
        let mut shards = Vec::new();
        for (id, stats) in self.router().group_stats() {
            total.add(&stats);
            shards.push(ShardGroupReport {
                shard: id.0,
                report: stats.report(),
            });
        }
        WriteReport {
            total: total.report(),
            shards,
            expired_keys: self.0.expired.load(Ordering::Relaxed),
        }
    }

    /// What the store holds and takes, and what its writes were like.
    ///
    /// # Errors
    /// As [`Service::stats`].
    pub async fn report(&self) -> Result<StatusReport> {
        Ok(StatusReport {
            store: self.stats().await?,
            writes: self.write_report(),
        })
    }

    /// Makes everything written durable.
    ///
    /// # Errors
    /// What the shards answer.
    pub async fn sync(&self) -> Result<()> {
        self.router().sync().await
    }

    /// Collects segments whose live share is under the threshold. Whether any is gone.
    ///
    /// # Errors
    /// `Unavailable` while another chore runs; what the first shard answers that could not, if
    /// nothing was collected at all.
    pub async fn gc(&self) -> Result<bool> {
        let (chore, service) = (self.chore()?, self.clone());
        let collecting = tokio::spawn(async move {
            let _chore = chore; // Until the last shard is done, even if nobody waits for it any more.
            service.collect().await
        });
        let lost = |error| Error::internal("TASK_FAILED", format!("segment gc failed: {error}"));
        collecting.await.map_err(lost)?
    }

    async fn collect(&self) -> Result<bool> {
        let rules = self.rules();
        let mut removed_any = false;
        let mut failed = None;
        for (shard, outcome) in self.router().gc(rules.gc_threshold, rules.gc_slice).await {
            match outcome {
                Ok(outcome) if outcome == GcOutcome::default() => {}
                Ok(outcome) => {
                    removed_any |= !outcome.removed.is_empty();
                    tracing::info!(
                        %shard,
                        removed = outcome.removed.len(),
                        pinned = outcome.pinned.len(),
                        damaged = outcome.damaged.len(),
                        "segments collected"
                    );
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            Some(error) if !removed_any => Err(error),
            _ => Ok(removed_any),
        }
    }

    /// Lets the tombstones of all deletes so far go with their segments: for who needs their space
    /// before `keys.tombstone_retention` is over. Increments from before become full backups, and
    /// older archives are not merged any more.
    ///
    /// # Errors
    /// `Unavailable` while another chore runs; what the shards answer.
    pub async fn purge_tombstones(&self) -> Result<()> {
        let _chore = self.chore()?;
        let horizon = self.router().counter().current();
        for shard in self.router().shards() {
            let command = Command::PurgeTombstones { horizon };
            self.router().write(shard.id(), command).await?;
        }
        Ok(())
    }

    /// Drops stale references and finds content without any.
    ///
    /// # Errors
    /// `Unavailable` while a sweep runs; what the shards answer.
    pub async fn sweep(&self) -> Result<SweepReport> {
        self.0.parts.dedup.sweep().await
    }

    /// Reclaims content that lost its last reference longer ago than the grace time.
    pub fn tidy(&self) {
        self.0.parts.dedup.tidy();
    }

    /// Holds off other chores for as long as it lives.
    pub(super) fn chore(&self) -> Result<tokio::sync::OwnedMutexGuard<()>> {
        self.0.chores.clone().try_lock_owned().map_err(|_| {
            let message = "a backup, restore or gc is running; retry when it is done";
            Error::unavailable("CHORE_BUSY", message)
        })
    }
}
