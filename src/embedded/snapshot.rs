//! The store as of one moment, held for as long as somebody has it.

use crate::model::{Result, SnapshotId, Version};
use crate::service::Service;
use std::time::Duration;
use tokio::task::JoinHandle;

const LEASE: Duration = Duration::from_secs(3600);

/// A snapshot that is held until it is dropped. What it shows stays on the disk meanwhile, overwritten
/// or deleted. When a shard must be opened anew it is let go all the same, and reads say so
/// (`SNAPSHOT_NOT_FOUND`).
#[derive(Debug)]
pub struct Snapshot {
    service: Service,
    id: SnapshotId,
    version: Version,
    renewing: JoinHandle<()>,
}

impl Snapshot {
    pub(super) async fn take(service: Service) -> Result<Self> {
        let taken = service.create_snapshot(LEASE).await?;
        let (id, renewed) = (taken.id, service.clone());
        let renewing = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LEASE / 3).await;
                if renewed.renew_snapshot(id, LEASE).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            service,
            id,
            version: taken.version,
            renewing,
        })
    }

    /// Every change up to this version is in it, and none after: a watch goes on from here.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    pub(super) fn id(&self) -> SnapshotId {
        self.id
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.renewing.abort();
        // An error says that it is gone already.
        let _ = self.service.delete_snapshot(self.id);
    }
}
