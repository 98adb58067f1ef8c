//! The service `KeyValueService`: which function answers which call.

use super::outbox::Messages;
use super::{Native, answer, measure, read, respond, scan, write};
use crate::proto::v1;
use crate::proto::v1::key_value_service_server::KeyValueService;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl KeyValueService for Native {
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
        respond(done)
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
        respond(done)
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        answer(write::delete(self.service()?, request.into_inner()).await)
    }

    async fn delete_range(
        &self,
        request: Request<v1::DeleteRangeRequest>,
    ) -> Result<Response<v1::DeleteRangeResponse>, Status> {
        answer(write::delete_range(self.service()?, request.into_inner()).await)
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
        respond(done)
    }

    type StreamScanStream = scan::Answered;

    async fn stream_scan(
        &self,
        request: Request<v1::StreamScanRequest>,
    ) -> Result<Response<Self::StreamScanStream>, Status> {
        let desk = self.delivery.desk(&request);
        let service = self.service()?;
        respond(scan::stream(service, desk, request.into_inner(), self.timeouts.stall).await)
    }

    type MeasureStream = Messages<v1::MeasureResponse>;

    async fn measure(
        &self,
        request: Request<v1::MeasureRequest>,
    ) -> Result<Response<Self::MeasureStream>, Status> {
        let service = self.service()?;
        answer(measure::stream(service, request.into_inner(), self.timeouts.stall).await)
    }
}
