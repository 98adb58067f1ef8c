//! Snapshots that clients hold by name, each under a lease.
//!
//! A snapshot pins segments and keeps its shards from being reopened, so a task of its own waits for
//! the end of its lease and for the first shard that does not serve, and lets it go. Reads that have
//! begun hold what they see until they are done.

use super::Service;
use super::link::random_u128;
use super::patience::patiently;
use crate::model::{Error, ErrorKind, Result, SnapshotId, Timestamp, Version};
use crate::router::Moment;
use crate::shard::ShardHealth;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Snapshots that are held at once at most.
const SNAPSHOTS_MAX: usize = 1000;

/// What is known of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub id: SnapshotId,
    /// Every change up to this version is in it, and none after.
    pub version: Version,
    /// When it was taken.
    pub created: Timestamp,
    /// When its lease ends.
    pub expiry: Timestamp,
}

/// The snapshots of a store.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    held: Mutex<HashMap<SnapshotId, Held>>,
}

#[derive(Debug)]
struct Held {
    moment: Arc<Moment>,
    snapshot: Snapshot,
    /// When the lease ends; the task that waits for it ends with this.
    lease: watch::Sender<Instant>,
}

impl Snapshots {
    fn lock(&self) -> MutexGuard<'_, HashMap<SnapshotId, Held>> {
        let held = self.held.lock();
        held.expect("no code panics while it holds this lock")
    }

    /// Holds one more.
    fn insert(&self, id: SnapshotId, held: Held) -> Result<()> {
        let mut all = self.lock();
        check_room(all.len())?;
        all.insert(id, held);
        Ok(())
    }

    fn remove(&self, id: SnapshotId) -> Option<Held> {
        self.lock().remove(&id)
    }
}

impl Service {
    /// Takes a snapshot of the whole store that is held for `lease`.
    ///
    /// # Errors
    /// `Overloaded` (`TOO_MANY_SNAPSHOTS`); `Unavailable` when a shard does not serve.
    pub async fn create_snapshot(&self, lease: Duration) -> Result<Snapshot> {
        // Before a cut is made for nothing.
        check_room(self.0.snapshots.lock().len())?;
        let id = SnapshotId(random_u128()?);
        self.leave_merge_behind();
        let (version, moment) = self.router().named_moment().await?;
        let created = self.now();
        let snapshot = Snapshot {
            id,
            version,
            created,
            expiry: created.after(lease),
        };
        let (lease, ends) = watch::channel(Instant::now() + lease);
        let held = Held {
            moment: Arc::new(moment),
            snapshot: snapshot.clone(),
            lease,
        };
        self.0.snapshots.insert(id, held)?;
        tokio::spawn(self.clone().watch_snapshot(id, ends));
        Ok(snapshot)
    }

    /// Gives a snapshot a new lease from now on.
    ///
    /// # Errors
    /// `NotFound` (`SNAPSHOT_NOT_FOUND`).
    pub fn renew_snapshot(&self, id: SnapshotId, lease: Duration) -> Result<Snapshot> {
        let mut all = self.0.snapshots.lock();
        let held = all.get_mut(&id).ok_or_else(|| not_there(id))?;
        held.lease.send_replace(Instant::now() + lease);
        held.snapshot.expiry = self.now().after(lease);
        Ok(held.snapshot.clone())
    }

    /// Lets a snapshot go.
    ///
    /// # Errors
    /// `NotFound` (`SNAPSHOT_NOT_FOUND`).
    pub fn delete_snapshot(&self, id: SnapshotId) -> Result<()> {
        let removed = self.0.snapshots.remove(id);
        removed.map(drop).ok_or_else(|| not_there(id))
    }

    /// The snapshots that are held, the oldest first.
    #[must_use]
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let all = self.0.snapshots.lock();
        let mut list: Vec<_> = all.values().map(|held| held.snapshot.clone()).collect();
        list.sort_by_key(|it| (it.created, it.version));
        list
    }

    /// What is known of a snapshot that is held.
    ///
    /// # Errors
    /// `NotFound` (`SNAPSHOT_NOT_FOUND`).
    pub fn snapshot_of(&self, id: SnapshotId) -> Result<Snapshot> {
        let all = self.0.snapshots.lock();
        let held = all.get(&id).ok_or_else(|| not_there(id))?;
        Ok(held.snapshot.clone())
    }

    /// The moment that a snapshot shows.
    ///
    /// # Errors
    /// `NotFound` (`SNAPSHOT_NOT_FOUND`).
    pub fn moment_of(&self, id: SnapshotId) -> Result<Arc<Moment>> {
        let all = self.0.snapshots.lock();
        let held = all.get(&id).ok_or_else(|| not_there(id))?;
        Ok(held.moment.clone())
    }

    /// This moment.
    ///
    /// # Errors
    /// `Unavailable` when a shard cannot be read, or does not come to a stand in time.
    pub async fn moment(&self) -> Result<Arc<Moment>> {
        let moment = patiently(|| self.router().moment()).await?;
        Ok(Arc::new(moment))
    }

    /// Lets a snapshot go when its lease ends or a shard does not serve.
    async fn watch_snapshot(self, id: SnapshotId, mut ends: watch::Receiver<Instant>) {
        let mut shards = JoinSet::new();
        for shard in self.router().shards() {
            let mut health = shard.health();
            shards.spawn(async move {
                let _closed = health.wait_for(|it| *it != ShardHealth::Serving).await;
            });
        }
        loop {
            let end = *ends.borrow_and_update();
            tokio::select! {
                () = tokio::time::sleep_until(end) => {
                    tracing::debug!(%id, "a snapshot's lease has ended");
                    break;
                }
                _ = shards.join_next() => {
                    tracing::info!(%id, "a snapshot is let go, because a shard must be opened anew");
                    break;
                }
                renewed = ends.changed() => {
                    if renewed.is_err() {
                        return; // It was deleted.
                    }
                }
            }
        }
        self.0.snapshots.remove(id);
    }
}

/// Whether there is room for one more beside so many.
fn check_room(held: usize) -> Result<()> {
    if held < SNAPSHOTS_MAX {
        return Ok(());
    }
    let message = format!(
        "too many snapshots: {SNAPSHOTS_MAX} are held; delete some, or wait until a lease ends"
    );
    Err(Error::new(
        ErrorKind::Overloaded,
        "TOO_MANY_SNAPSHOTS",
        message,
    ))
}

fn not_there(id: SnapshotId) -> Error {
    let message = format!(
        "snapshot {id} is not there: its lease has ended, it was deleted, or a shard was opened anew; take another"
    );
    Error::new(ErrorKind::NotFound, "SNAPSHOT_NOT_FOUND", message).at("snapshot")
}
