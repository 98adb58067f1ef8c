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

mod door;
mod entry;
mod error;
mod read;
mod scan;
mod token;
mod write;

use super::delivery::Delivery;
use crate::model::{Error, Result};
use crate::proto::v1;
use crate::proto::v1::key_value_service_server::{self, KeyValueServiceServer};
use crate::service::Service;
use error::status_of;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tonic::{Request, Response, Status};

/// The paths that the admission treats in their own way.
pub(super) mod path {
    pub(in super::super) const GET: &str = "/shardkeep.v1.KeyValueService/Get";
    pub(in super::super) const BATCH_GET: &str = "/shardkeep.v1.KeyValueService/BatchGet";
    pub(in super::super) const SCAN: &str = "/shardkeep.v1.KeyValueService/Scan";
}

/// The service `KeyValueService`.
pub struct KeyValue {
    service: Arc<OnceLock<Service>>,
    delivery: Delivery,
    stall_timeout: Duration,
}

impl KeyValue {
    /// Answers from `service` once it is set; until then everyone is told that it is recovering.
    pub(super) fn new(
        service: Arc<OnceLock<Service>>,
        delivery: Delivery,
        stall_timeout: Duration,
    ) -> Self {
        Self {
            service,
            delivery,
            stall_timeout,
        }
    }

    /// The service with its message limit.
    pub(super) fn into_server(self, message_size_max: usize) -> KeyValueServiceServer<Self> {
        KeyValueServiceServer::new(self).max_decoding_message_size(message_size_max)
    }

    fn service(&self) -> Result<&Service, Status> {
        self.service.get().ok_or_else(|| {
            let message = "store is recovering: retry, or wait until its health is SERVING";
            status_of(&Error::unavailable("STORE_RECOVERING", message))
        })
    }
}

fn answer<T>(done: Result<T>) -> Result<Response<T>, Status> {
    done.map(Response::new).map_err(|error| status_of(&error))
}

#[tonic::async_trait]
impl key_value_service_server::KeyValueService for KeyValue {
    async fn put(
        &self,
        request: Request<v1::PutRequest>,
    ) -> Result<Response<v1::PutResponse>, Status> {
        answer(write::put(self.service()?, request.into_inner()).await)
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        let desk = self.delivery.desk(&request);
        let done = read::get(self.service()?, desk, request.into_inner()).await;
        done.map_err(|error| status_of(&error))
    }

    async fn head(
        &self,
        request: Request<v1::HeadRequest>,
    ) -> Result<Response<v1::HeadResponse>, Status> {
        answer(read::head(self.service()?, request.into_inner()).await)
    }

    async fn batch_get(
        &self,
        request: Request<v1::BatchGetRequest>,
    ) -> Result<Response<v1::BatchGetResponse>, Status> {
        let desk = self.delivery.desk(&request);
        let done = read::batch_get(self.service()?, desk, request.into_inner()).await;
        done.map_err(|error| status_of(&error))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        answer(write::delete(self.service()?, request.into_inner()).await)
    }

    async fn touch(
        &self,
        request: Request<v1::TouchRequest>,
    ) -> Result<Response<v1::TouchResponse>, Status> {
        answer(write::touch(self.service()?, request.into_inner()).await)
    }

    async fn increment(
        &self,
        request: Request<v1::IncrementRequest>,
    ) -> Result<Response<v1::IncrementResponse>, Status> {
        answer(write::increment(self.service()?, request.into_inner()).await)
    }

    async fn scan(
        &self,
        request: Request<v1::ScanRequest>,
    ) -> Result<Response<v1::ScanResponse>, Status> {
        let desk = self.delivery.desk(&request);
        let done = scan::page(self.service()?, desk, request.into_inner()).await;
        done.map_err(|error| status_of(&error))
    }

    type StreamScanStream = scan::Messages;

    async fn stream_scan(
        &self,
        request: Request<v1::StreamScanRequest>,
    ) -> Result<Response<scan::Messages>, Status> {
        let desk = self.delivery.desk(&request);
        let service = self.service()?;
        answer(scan::stream(service, desk, request.into_inner(), self.stall_timeout).await)
    }
}
