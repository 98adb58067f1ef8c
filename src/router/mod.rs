//! From key to shard: the seam behind which an engine is a local thread today and may be another
//! machine tomorrow. Nothing above assumes that a shard is local; nothing below knows who asked.
//!
//! This room splits what concerns several shards and merges what comes back. It decides nothing
//! about values.

mod batch;
mod chunk;
mod content;
mod cut;
mod merge;
mod moment;
mod namespace;
mod scan;
mod watch;
mod whole;

pub use cut::Cut;
pub use moment::{Moment, Walk};
pub use watch::Watch;
pub use whole::{LargePlace, LargeStep};

use crate::model::{
    BlobRef, Clock, Command, Digest, Error, Key, Reply, Result, ShardId, Timestamp, VersionCounter,
};
use crate::shard::{
    Epoch, Found, GcOutcome, GroupStats, Homes, Look, ShardError, ShardHandle, ShardReader,
    ShardStats,
};
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;

/// All shards of a store.
#[derive(Debug, Clone)]
pub struct Router {
    shards: Arc<[Arc<ShardHandle>]>,
    homes: Arc<Homes>,
    clock: Arc<Clock>,
    counter: Arc<VersionCounter>,
    /// Held for each shard that is asked to a gate, by a cut or a batch: shards that stood at two
    /// gates at once would wait for each other. Taken in the order of the shards.
    gates: Arc<[Arc<tokio::sync::Mutex<()>>]>,
}

/// A value that was found: its key's record, and the record that holds its bytes.
#[derive(Debug)]
pub struct FoundValue {
    /// The key's record.
    pub record: Found,
    /// The record with the bytes: the blob's for a link, else the key's own.
    pub body: Found,
    /// The shard of `body`.
    pub shard: ShardId,
}

impl FoundValue {
    /// A value that stands under its key itself.
    fn alone(record: Found, shard: ShardId) -> Self {
        Self {
            body: record.clone(),
            record,
            shard,
        }
    }

    /// What of a range lies in the value.
    fn part(&self, range: &Range<u64>) -> Range<u64> {
        self.record.row.info.part(range)
    }
}

/// That a record names a content which is not there.
#[must_use]
pub fn content_missing(shard: ShardId, key: &Key) -> Error {
    let message =
        format!("shard {shard}: the content of key {key} is not there; run `shardkeep verify`");
    Error::corrupt("CONTENT_MISSING", message)
}

impl Router {
    /// A router over all shards, in the order of their ids.
    #[must_use]
    pub fn new(
        shards: Vec<Arc<ShardHandle>>,
        homes: Arc<Homes>,
        clock: Arc<Clock>,
        counter: Arc<VersionCounter>,
    ) -> Self {
        Self {
            gates: shards.iter().map(|_| Arc::default()).collect(),
            shards: shards.into(),
            homes,
            clock,
            counter,
        }
    }

    /// The shards.
    #[must_use]
    pub fn shards(&self) -> &[Arc<ShardHandle>] {
        &self.shards
    }

    /// The store's version counter.
    #[must_use]
    pub fn counter(&self) -> &Arc<VersionCounter> {
        &self.counter
    }

    /// The time at the door.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The shard of a key.
    #[must_use]
    pub fn shard_of_key(&self, key: &Key) -> ShardId {
        self.homes.shard_of(key.slot())
    }

    /// The home of a content.
    #[must_use]
    pub fn shard_of_digest(&self, digest: Digest) -> ShardId {
        self.homes.shard_of(digest.slot())
    }

    fn handle(&self, shard: ShardId) -> &Arc<ShardHandle> {
        &self.shards[usize::from(shard.0)]
    }

    /// Runs a command on a shard.
    ///
    /// # Errors
    /// What the shard answers.
    pub async fn write(&self, shard: ShardId, command: Command) -> Result<Reply> {
        self.handle(shard).write(command, self.now()).await
    }

    /// Runs a command whose key was seen to have no record.
    ///
    /// # Errors
    /// What the shard answers.
    pub async fn write_new(
        &self,
        shard: ShardId,
        command: Command,
        absent: Option<Epoch>,
    ) -> Result<Reply> {
        let now = self.now();
        self.handle(shard).write_new(command, now, absent).await
    }

    /// The newest record of a key, or proof for its writer that there is none.
    ///
    /// # Errors
    /// What the shard answers.
    pub fn look(&self, key: &Key) -> Result<Look> {
        let shard = self.shard_of_key(key);
        let reader = self.handle(shard).reader()?;
        self.told(shard, reader.look(key))
    }

    /// Keys of a shard whose records have expired, at most so many. May wait for the disk.
    ///
    /// # Errors
    /// What the shard answers.
    pub fn due(&self, shard: ShardId, count_max: usize) -> Result<Vec<Key>> {
        let reader = self.handle(shard).reader()?;
        self.told(shard, reader.due(self.now(), count_max))
    }

    /// Drops a reference at its content's home.
    ///
    /// # Errors
    /// What the shard answers; the sweep finds the reference then.
    pub async fn drop_reference(&self, blob: BlobRef) -> Result<()> {
        let shard = self.shard_of_digest(blob.digest);
        self.write(shard, Command::DropReference { blob })
            .await
            .map(drop)
    }

    /// The live record of a key, without its bytes.
    ///
    /// # Errors
    /// What the shard answers.
    pub fn find(&self, key: &Key) -> Result<Option<Found>> {
        let shard = self.shard_of_key(key);
        let reader = self.handle(shard).reader()?;
        self.told(shard, reader.key(key, self.now()))
    }

    /// Whether the newest record of a key is still the one that was seen then.
    ///
    /// # Errors
    /// What the shard answers.
    pub fn is_unchanged(&self, key: &Key, then: Epoch) -> Result<bool> {
        let reader = self.handle(self.shard_of_key(key)).reader()?;
        Ok(reader.is_unchanged(key, then))
    }

    /// A content at its home.
    ///
    /// # Errors
    /// What the shard answers.
    pub fn find_blob(&self, digest: Digest) -> Result<Option<Found>> {
        let shard = self.shard_of_digest(digest);
        let reader = self.handle(shard).reader()?;
        self.told(shard, reader.blob(digest))
    }

    /// The live value of a key. A content that is gone between the two look-ups was replaced
    /// meanwhile: the record is read once more.
    ///
    /// # Errors
    /// `Corrupt` when a record names a content that is not there; what the shards answer.
    pub fn find_value(&self, key: &Key) -> Result<Option<FoundValue>> {
        for _ in 0..2 {
            let Some(record) = self.find(key)? else {
                return Ok(None);
            };
            let Some(link) = record.link() else {
                return Ok(Some(FoundValue::alone(record, self.shard_of_key(key))));
            };
            fail::fail_point!("router::between");
            if let Some(body) = self.find_blob(link.digest)? {
                let shard = self.shard_of_digest(link.digest);
                return Ok(Some(FoundValue {
                    record,
                    body,
                    shard,
                }));
            }
        }
        Err(content_missing(self.shard_of_key(key), key))
    }

    /// Turns a shard's error into what the caller is told; an index that contradicts the log also
    /// goes to the supervisor.
    ///
    /// # Errors
    /// The error in its public form.
    pub fn told<T>(&self, shard: ShardId, result: Result<T, ShardError>) -> Result<T> {
        result.map_err(|error| {
            if error.needs_rebuild() {
                self.handle(shard).fail(&error.to_string());
            }
            error.to_public(shard)
        })
    }

    /// Makes everything written in one shard durable.
    ///
    /// # Errors
    /// What the shard answers.
    pub async fn sync_shard(&self, shard: ShardId) -> Result<()> {
        self.handle(shard).sync().await
    }

    /// Makes everything written durable.
    ///
    /// # Errors
    /// The first shard that could not; the others have.
    pub async fn sync(&self) -> Result<()> {
        let mut outcome = Ok(());
        for shard in self.shards.iter() {
            outcome = outcome.and(shard.sync().await);
        }
        outcome
    }

    /// Collects segments of all shards, one shard after the other; an error where one could not.
    pub async fn gc(
        &self,
        live_threshold: f64,
        slice_bytes: u64,
    ) -> Vec<(ShardId, Result<GcOutcome>)> {
        let mut outcomes = Vec::with_capacity(self.shards.len());
        for shard in self.shards.iter() {
            outcomes.push((shard.id(), shard.gc(live_threshold, slice_bytes).await));
        }
        outcomes
    }

    /// What each shard holds; an error where one cannot be read.
    #[must_use]
    pub fn stats(&self) -> Vec<(ShardId, Result<ShardStats>)> {
        let stats_of = |shard: &Arc<ShardHandle>| -> Result<ShardStats> {
            self.told(shard.id(), shard.reader()?.stats())
        };
        self.shards
            .iter()
            .map(|shard| (shard.id(), stats_of(shard)))
            .collect()
    }

    /// What each shard's groups were like since the start.
    #[must_use]
    pub fn group_stats(&self) -> Vec<(ShardId, GroupStats)> {
        let shards = self.shards.iter();
        shards.map(|it| (it.id(), it.group_stats())).collect()
    }

    /// The right to ask a shard to a gate. It goes with what is asked, and so outlives a caller who
    /// does not wait for the answer.
    async fn entry(&self, shard: ShardId) -> OwnedMutexGuard<()> {
        self.gates[usize::from(shard.0)].clone().lock_owned().await
    }

    fn readers(&self) -> Result<Vec<Arc<ShardReader>>> {
        self.shards.iter().map(|shard| shard.reader()).collect()
    }
}
