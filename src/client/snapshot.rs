//! Snapshots: the store as it was at one moment, held under a lease.

use super::entry::{duration, timestamp_of};
use super::retry::Repeat;
use super::{ClientError, Database, Result};
use crate::model::{Timestamp, Version};
use crate::proto::v1;
use crate::proto::v1::snapshot_service_client::SnapshotServiceClient;
use std::time::Duration;
use tokio::task::JoinHandle;

/// What the server says of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotLease {
    /// Its name.
    pub id: String,
    /// Every change up to this version is in it, and none after.
    pub version: Version,
    /// When it was taken.
    pub created: Timestamp,
    /// When its lease ends.
    pub expiry: Timestamp,
}

/// A snapshot that is held: its lease is renewed until this is closed or dropped. When the server
/// or a shard of it starts anew the snapshot is gone all the same, and reads say so.
#[derive(Debug)]
pub struct Snapshot {
    database: Database,
    lease: SnapshotLease,
    renewing: JoinHandle<()>,
    is_closed: bool,
}

impl Snapshot {
    pub(super) async fn hold(database: Database, lease: Duration) -> Result<Self> {
        let taken = database.create_snapshot(lease).await?;
        let renewing = tokio::spawn(renew(database.clone(), taken.id.clone(), lease));
        Ok(Self {
            database,
            lease: taken,
            renewing,
            is_closed: false,
        })
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.lease.id
    }

    /// Every change up to this version is in it, and none after: a watch goes on from here.
    #[must_use]
    pub fn version(&self) -> Version {
        self.lease.version
    }

    /// Lets it go.
    ///
    /// # Errors
    /// Those of every call; that it is gone already is none.
    pub async fn close(mut self) -> Result<()> {
        self.is_closed = true;
        self.renewing.abort();
        match self.database.delete_snapshot(self.id()).await {
            Err(ClientError::Gone { .. }) => Ok(()),
            deleted => deleted,
        }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.renewing.abort();
        // Where nothing runs any more, the end of the lease does it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !self.is_closed
        {
            let (database, id) = (self.database.clone(), self.lease.id.clone());
            runtime.spawn(async move {
                let _gone_with_its_lease = database.delete_snapshot(&id).await;
            });
        }
    }
}

/// Renews a lease three times in its time, until the snapshot is gone.
async fn renew(database: Database, id: String, lease: Duration) {
    loop {
        tokio::time::sleep(lease / 3).await;
        if let Err(ClientError::Gone { .. }) = database.renew_snapshot(&id, lease).await {
            return;
        }
    }
}

impl Database {
    /// Takes a snapshot that is there until its lease ends: 1 s to 1 hour.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn create_snapshot(&self, lease: Duration) -> Result<SnapshotLease> {
        let lease = Some(duration(lease));
        let request = v1::CreateSnapshotRequest { lease };
        // One that is lost on its way goes with its lease.
        let made = self.pool.call(Repeat::Always, |channel| async move {
            SnapshotServiceClient::new(channel)
                .create_snapshot(request)
                .await
        });
        let made = made.await;
        made.map(lease_of)
            .map_err(|status| self.pool.failed("create snapshot", &status))
    }

    /// Gives a snapshot a new lease, from now on.
    ///
    /// # Errors
    /// [`ClientError::Gone`] and those of every call.
    pub async fn renew_snapshot(&self, id: &str, lease: Duration) -> Result<SnapshotLease> {
        let request = v1::RenewSnapshotRequest {
            id: id.to_owned(),
            lease: Some(duration(lease)),
        };
        let renewed = self.pool.call(Repeat::Always, |channel| {
            let request = request.clone();
            async move {
                SnapshotServiceClient::new(channel)
                    .renew_snapshot(request)
                    .await
            }
        });
        let renewed = renewed.await;
        renewed
            .map(lease_of)
            .map_err(|status| self.pool.failed("renew snapshot", &status))
    }

    /// Lets a snapshot go.
    ///
    /// # Errors
    /// [`ClientError::Gone`] and those of every call.
    pub async fn delete_snapshot(&self, id: &str) -> Result<()> {
        let request = v1::DeleteSnapshotRequest { id: id.to_owned() };
        let deleted = self.pool.call(Repeat::Always, |channel| {
            let request = request.clone();
            async move {
                SnapshotServiceClient::new(channel)
                    .delete_snapshot(request)
                    .await
            }
        });
        let deleted = deleted.await;
        deleted
            .map(drop)
            .map_err(|status| self.pool.failed("delete snapshot", &status))
    }

    /// The snapshots that the server holds, the oldest first.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn list_snapshots(&self) -> Result<Vec<SnapshotLease>> {
        let listed = self.pool.call(Repeat::Always, |channel| async move {
            SnapshotServiceClient::new(channel)
                .list_snapshots(v1::ListSnapshotsRequest {})
                .await
        });
        let listed = listed.await;
        let listed = listed.map_err(|status| self.pool.failed("list snapshots", &status))?;
        Ok(listed.snapshots.into_iter().map(lease_of).collect())
    }
}

fn lease_of(told: v1::Snapshot) -> SnapshotLease {
    SnapshotLease {
        id: told.id,
        version: Version(told.version),
        created: told.create_time.map(timestamp_of).unwrap_or_default(),
        expiry: told.expire_time.map(timestamp_of).unwrap_or_default(),
    }
}
