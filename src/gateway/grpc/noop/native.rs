//! The native protocol of the server that does nothing: puts, reads of one and of many, scans, and
//! values in streams, in messages as large as the real ones may be.

use super::super::parted::{self, Carrier as _, Parted};
use super::{Noop, SUM64, VERSION, not_here};
use crate::proto::v1;
use crate::proto::v1::blob_service_server::BlobService;
use crate::proto::v1::download_response::Part as Sent;
use crate::proto::v1::key_value_service_server::KeyValueService;
use crate::proto::v1::upload_request::Part;
use bytes::Bytes;
use std::collections::VecDeque;
use std::pin::Pin;
use tokio_stream::{Stream, iter};
use tonic::{Request, Response, Status, Streaming};

/// Bytes of data in a message.
const DATA_SIZE_MAX: usize = 1 << 20;

type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;
type Answer<M> = Result<Response<M>, Status>;

impl Noop {
    fn entry(&self, key: Bytes, size: usize) -> v1::Entry {
        v1::Entry {
            key,
            version: VERSION,
            size: size as u64,
            sum64: SUM64,
            ..v1::Entry::default()
        }
    }

    fn put_response(&self, key: Bytes) -> v1::PutResponse {
        v1::PutResponse {
            key: match key.is_empty() {
                true => self.content_key.clone(),
                false => key,
            },
            version: VERSION,
            digest: self.content_key.slice(..32),
            created: true,
            ..v1::PutResponse::default()
        }
    }

    /// The keys of a scan, as many in a message as fit.
    fn scanned(self) -> impl Iterator<Item = Result<Vec<(v1::ScanResult, Bytes)>, Status>> {
        let each = (DATA_SIZE_MAX / self.answers.size.max(1)).max(1) as u64;
        let mut left = self.answers.keys;
        std::iter::from_fn(move || {
            let count = left.min(each);
            left -= count;
            let result = |_| {
                let value = self.answers.values.next()?;
                let entry = Some(self.entry(self.content_key.clone(), value.len()));
                let result = v1::ScanResult {
                    entry,
                    ..v1::ScanResult::default()
                };
                Ok((result, value))
            };
            (count > 0).then(|| (0..count).map(result).collect())
        })
    }
}

/// A value of `size` bytes in pieces.
fn pieces_of(size: usize) -> impl Iterator<Item = Bytes> {
    let piece = Bytes::from(vec![0xa5; DATA_SIZE_MAX.min(size)]);
    let offsets = (0..size).step_by(DATA_SIZE_MAX);
    offsets.map(move |at| piece.slice(..DATA_SIZE_MAX.min(size - at)))
}

#[tonic::async_trait]
impl KeyValueService for Noop {
    async fn put(&self, request: Request<v1::PutRequest>) -> Answer<v1::PutResponse> {
        Ok(Response::new(self.put_response(request.into_inner().key)))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Answer<v1::GetResponse> {
        let value = self.answers.values.next()?;
        let entry = Some(self.entry(request.into_inner().key, value.len()));
        let message = v1::GetResponse {
            entry,
            value: Bytes::new(),
        };
        Ok(self.reply(message, value))
    }

    async fn batch_get(
        &self,
        request: Request<v1::BatchGetRequest>,
    ) -> Answer<v1::BatchGetResponse> {
        let result = |key| {
            let value = self.answers.values.next()?;
            let entry = Some(self.entry(key, value.len()));
            Ok(v1::BatchGetResult { entry, value })
        };
        let results: Result<_, Status> =
            request.into_inner().keys.into_iter().map(result).collect();
        Ok(Response::new(v1::BatchGetResponse { results: results? }))
    }

    type StreamScanStream = Messages<v1::StreamScanResponse>;

    async fn stream_scan(
        &self,
        _request: Request<v1::StreamScanRequest>,
    ) -> Answer<Self::StreamScanStream> {
        let messages = self.clone().scanned();
        if !self.parts_values {
            let whole = |results: Vec<(v1::ScanResult, Bytes)>| {
                let results = results.into_iter();
                let results = results.map(|(result, value)| result.with(value));
                v1::StreamScanResponse {
                    results: results.collect(),
                }
            };
            let messages = messages.map(move |results| results.map(whole));
            return Ok(Response::new(Box::pin(iter(messages))));
        }
        let message =
            |results: Vec<_>| Parted::list(&v1::StreamScanResponse::default(), results.into_iter());
        let messages = messages.map(move |results| results.map(message));
        let replies = parted::replies::<v1::StreamScanResponse>(iter(messages));
        Ok(replies.map(|none| Box::pin(none) as Self::StreamScanStream))
    }

    async fn head(&self, _: Request<v1::HeadRequest>) -> Answer<v1::HeadResponse> {
        Err(not_here())
    }

    async fn delete(&self, _: Request<v1::DeleteRequest>) -> Answer<v1::DeleteResponse> {
        Err(not_here())
    }

    async fn delete_range(
        &self,
        _: Request<v1::DeleteRangeRequest>,
    ) -> Answer<v1::DeleteRangeResponse> {
        Err(not_here())
    }

    async fn touch(&self, _: Request<v1::TouchRequest>) -> Answer<v1::TouchResponse> {
        Err(not_here())
    }

    async fn increment(&self, _: Request<v1::IncrementRequest>) -> Answer<v1::IncrementResponse> {
        Err(not_here())
    }

    async fn scan(&self, _: Request<v1::ScanRequest>) -> Answer<v1::ScanResponse> {
        Err(not_here())
    }

    type MeasureStream = Messages<v1::MeasureResponse>;

    async fn measure(&self, _: Request<v1::MeasureRequest>) -> Answer<Self::MeasureStream> {
        Err(not_here())
    }
}

#[tonic::async_trait]
impl BlobService for Noop {
    async fn upload(
        &self,
        request: Request<Streaming<v1::UploadRequest>>,
    ) -> Answer<v1::UploadResponse> {
        let mut messages = request.into_inner();
        let (mut key, mut size) = (Bytes::new(), 0);
        while let Some(message) = messages.message().await? {
            match message.part {
                Some(Part::Header(header)) => key = header.key,
                Some(Part::Data(data)) => size += data.len() as u64,
                None => {}
            }
        }
        Ok(Response::new(v1::UploadResponse {
            put: Some(self.put_response(key)),
            size,
            sum64: SUM64,
            new_bytes: size,
        }))
    }

    type DownloadStream = Messages<v1::DownloadResponse>;

    async fn download(
        &self,
        request: Request<v1::DownloadRequest>,
    ) -> Answer<Self::DownloadStream> {
        let size = self.answers.size;
        let entry = Sent::Entry(self.entry(request.into_inner().key, size));
        let first = v1::DownloadResponse { part: Some(entry) };
        let data = pieces_of(size);
        if !self.parts_values {
            let data = data.map(|piece| v1::DownloadResponse::default().with(piece));
            let messages = std::iter::once(first).chain(data);
            return Ok(Response::new(Box::pin(iter(messages.map(Ok)))));
        }
        let first = Parted::new(&first, VecDeque::new());
        let message = |piece| Parted::new(&v1::DownloadResponse::default(), [piece].into());
        let messages = std::iter::once(first).chain(data.map(message));
        let replies = parted::replies::<v1::DownloadResponse>(iter(messages.map(Ok)));
        Ok(replies.map(|none| Box::pin(none) as Self::DownloadStream))
    }

    async fn find_missing(
        &self,
        _: Request<v1::FindMissingRequest>,
    ) -> Answer<v1::FindMissingResponse> {
        Err(not_here())
    }

    async fn upload_chunks(
        &self,
        _: Request<Streaming<v1::UploadChunksRequest>>,
    ) -> Answer<v1::UploadChunksResponse> {
        Err(not_here())
    }

    async fn put_content(
        &self,
        _: Request<v1::PutContentRequest>,
    ) -> Answer<v1::PutContentResponse> {
        Err(not_here())
    }
}
