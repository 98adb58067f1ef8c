//! The native protocol, `shardkeep.v1`.
//!
//! What a message says is checked at the door, with the field named; what is to be done is asked
//! from the service, which zstdb's front asks too. Errors are gRPC statuses with `google.rpc`
//! details: always an `ErrorInfo`, a `BadRequest` where a field is wrong, a `RetryInfo` where time
//! helps.
//!
//! | kind of error | status | details |
//! |---|---|---|
//! | the key is not there | `NOT_FOUND` | |
//! | it is there already | `ALREADY_EXISTS` | |
//! | a condition does not hold | `ABORTED` | |
//! | a field is wrong or too large | `INVALID_ARGUMENT` | `BadRequest` |
//! | the operator has switched it off | `FAILED_PRECONDITION` | |
//! | the disk is full, or too much is in flight | `RESOURCE_EXHAUSTED` | `RetryInfo` |
//! | a shard restarts | `UNAVAILABLE` | `RetryInfo` unless the outcome is unknown |
//! | stored data is damaged | `DATA_LOSS` | |

mod admin;
mod backup;
mod blob;
mod content;
mod door;
mod entry;
mod error;
mod key_value;
mod measure;
mod namespace;
mod once;
mod outbox;
mod progress;
mod read;
mod scan;
mod snapshot;
mod token;
mod transaction;
mod watch;
mod write;

use super::access::{Access, sum64_of};
use super::admission::{Admitted, Gate};
use super::connection::Peer;
use super::delivery::Delivery;
use crate::model::{Error, Result};
use crate::proto::v1::admin_service_server::AdminServiceServer;
use crate::proto::v1::backup_service_server::BackupServiceServer;
use crate::proto::v1::blob_service_server::BlobServiceServer;
use crate::proto::v1::key_value_service_server::KeyValueServiceServer;
use crate::proto::v1::namespace_service_server::NamespaceServiceServer;
use crate::proto::v1::snapshot_service_server::SnapshotServiceServer;
use crate::proto::v1::transaction_service_server::TransactionServiceServer;
use crate::proto::v1::watch_service_server::WatchServiceServer;
use crate::service::Service;
pub(super) use error::status_of;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// The paths that the admission treats in their own way.
pub(super) mod path {
    /// Of all of the protocol's.
    pub(in super::super) const PREFIX: &str = "/shardkeep.v1.";
    pub(in super::super) const GET: &str = "/shardkeep.v1.KeyValueService/Get";
    pub(in super::super) const BATCH_GET: &str = "/shardkeep.v1.KeyValueService/BatchGet";
    pub(in super::super) const UPLOAD: &str = "/shardkeep.v1.BlobService/Upload";
    pub(in super::super) const UPLOAD_CHUNKS: &str = "/shardkeep.v1.BlobService/UploadChunks";
    pub(in super::super) const COMPACT: &str = "/shardkeep.v1.AdminService/Compact";
    pub(in super::super) const SCAN: &str = "/shardkeep.v1.KeyValueService/Scan";
    pub(in super::super) const COMMIT: &str = "/shardkeep.v1.TransactionService/Commit";
}

/// The metadata that brings an administrator's password.
const ADMIN_PASSWORD: &str = "admin-password-bin";

/// A commit's keys and values are 64 MiB at most, beside which stand their fields.
pub(super) const COMMIT_MESSAGE_SIZE_MAX: usize = 66 * 1024 * 1024;

/// A message of a stream carries up to 1 MiB of data, a list of 65,536 chunks has 3 MiB.
pub(super) const BLOB_MESSAGE_SIZE_MAX: usize = 4 << 20;

/// What an upload holds in memory at most: the blocks of which the value's chunks are cut, hashed,
/// compressed and stored (25 MiB, see `service::large`), and the messages before them.
pub(super) const UPLOAD_HELD: usize = 32 << 20;

/// All services of the protocol: each has a file of its own.
#[derive(Clone)]
pub struct Native {
    service: Arc<OnceLock<Service>>,
    delivery: Delivery,
    access: Arc<Access>,
    timeouts: Timeouts,
}

/// How long peers of streams are waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// One that takes nothing of what it asked for.
    pub stall: Duration,
    /// One that sends nothing of what it began to send.
    pub message: Duration,
}

impl Native {
    /// Answers from `service` once it is set; until then everyone is told that it is recovering.
    pub(super) fn new(
        service: Arc<OnceLock<Service>>,
        delivery: Delivery,
        access: Arc<Access>,
        timeouts: Timeouts,
    ) -> Self {
        Self {
            service,
            delivery,
            access,
            timeouts,
        }
    }

    /// Adds the services, behind the gate and with its message limit.
    pub(super) fn add_to(self, routes: Routes, gate: &Arc<Gate>) -> Routes {
        let size_max = gate.message_size_max;
        let admin = AdminServiceServer::new(self.clone());
        let backup = BackupServiceServer::new(self.clone());
        let blob = BlobServiceServer::new(self.clone());
        let blob = blob.max_decoding_message_size(BLOB_MESSAGE_SIZE_MAX);
        let snapshot = SnapshotServiceServer::new(self.clone());
        let namespace = NamespaceServiceServer::new(self.clone());
        let watch = WatchServiceServer::new(self.clone());
        let transaction = TransactionServiceServer::new(self.clone());
        let transaction = transaction.max_decoding_message_size(COMMIT_MESSAGE_SIZE_MAX);
        let key_value = KeyValueServiceServer::new(self).max_decoding_message_size(size_max);
        routes
            .add_service(Admitted::new(key_value, gate.clone()))
            .add_service(Admitted::new(admin, gate.clone()))
            .add_service(Admitted::new(backup, gate.clone()))
            .add_service(Admitted::new(blob, gate.clone()))
            .add_service(Admitted::new(namespace, gate.clone()))
            .add_service(Admitted::new(snapshot, gate.clone()))
            .add_service(Admitted::new(watch, gate.clone()))
            .add_service(Admitted::new(transaction, gate.clone()))
    }

    fn service(&self) -> Result<&Service, Status> {
        self.service.get().ok_or_else(|| {
            let message = "store is recovering: retry, or wait until its health is SERVING";
            status_of(&Error::unavailable("STORE_RECOVERING", message))
        })
    }

    /// The service, for an administrator.
    fn administrated<T>(&self, request: &Request<T>) -> Result<&Service, Status> {
        let password = request.metadata().get_bin(ADMIN_PASSWORD);
        let password = password.and_then(|password| password.to_bytes().ok());
        let peer = request.extensions().get::<Peer>();
        let sum64 = password.map(|password| sum64_of(&password));
        let checked = self.access.check(peer, sum64);
        checked.map_err(|error| status_of(&error))?;
        self.service()
    }
}

fn answer<T>(done: Result<T>) -> Result<Response<T>, Status> {
    respond(done.map(Response::new))
}

fn respond<T>(done: Result<Response<T>>) -> Result<Response<T>, Status> {
    done.map_err(|error| status_of(&error))
}
