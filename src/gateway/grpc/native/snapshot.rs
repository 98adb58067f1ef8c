//! The service `SnapshotService`, and the moment that a read is of.

use super::{Native, answer, door, entry};
use crate::model::{Error, Result, SnapshotId};
use crate::proto::v1;
use crate::proto::v1::snapshot_service_server::SnapshotService;
use crate::service::{Moment, Service, Snapshot};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The moment that a read asks for, if it names a snapshot.
pub(super) fn named(service: &Service, snapshot: &str) -> Result<Option<Arc<Moment>>> {
    if snapshot.is_empty() {
        return Ok(None);
    }
    service.moment_of(id_of(snapshot, "snapshot")?).map(Some)
}

/// The moment of a read of many keys: the snapshot's, or now.
pub(super) async fn moment(service: &Service, snapshot: &str) -> Result<Arc<Moment>> {
    match named(service, snapshot)? {
        Some(moment) => Ok(moment),
        None => service.moment().await,
    }
}

fn id_of(text: &str, field: &'static str) -> Result<SnapshotId> {
    text.parse().map_err(|error: Error| error.at(field))
}

fn message(of: &Snapshot) -> v1::Snapshot {
    v1::Snapshot {
        id: of.id.to_string(),
        version: of.version.0,
        create_time: Some(entry::time(of.created)),
        expire_time: Some(entry::time(of.expiry)),
    }
}

async fn create(service: &Service, request: v1::CreateSnapshotRequest) -> Result<v1::Snapshot> {
    let lease = door::lease(request.lease)?;
    service.create_snapshot(lease).await.map(|it| message(&it))
}

fn renew(service: &Service, request: v1::RenewSnapshotRequest) -> Result<v1::Snapshot> {
    let lease = door::lease(request.lease)?;
    let id = id_of(&request.id, "id")?;
    service.renew_snapshot(id, lease).map(|it| message(&it))
}

fn delete(
    service: &Service,
    request: &v1::DeleteSnapshotRequest,
) -> Result<v1::DeleteSnapshotResponse> {
    let id = id_of(&request.id, "id")?;
    service.delete_snapshot(id)?;
    Ok(v1::DeleteSnapshotResponse {})
}

#[tonic::async_trait]
impl SnapshotService for Native {
    async fn create_snapshot(
        &self,
        request: Request<v1::CreateSnapshotRequest>,
    ) -> Result<Response<v1::Snapshot>, Status> {
        answer(create(self.service()?, request.into_inner()).await)
    }

    async fn renew_snapshot(
        &self,
        request: Request<v1::RenewSnapshotRequest>,
    ) -> Result<Response<v1::Snapshot>, Status> {
        answer(renew(self.service()?, request.into_inner()))
    }

    async fn delete_snapshot(
        &self,
        request: Request<v1::DeleteSnapshotRequest>,
    ) -> Result<Response<v1::DeleteSnapshotResponse>, Status> {
        answer(delete(self.service()?, request.get_ref()))
    }

    async fn list_snapshots(
        &self,
        _request: Request<v1::ListSnapshotsRequest>,
    ) -> Result<Response<v1::ListSnapshotsResponse>, Status> {
        let snapshots = self.service()?.snapshots();
        let snapshots = snapshots.iter().map(message).collect();
        Ok(Response::new(v1::ListSnapshotsResponse { snapshots }))
    }
}
