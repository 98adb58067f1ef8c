//! The native protocol over one bare connection.

use super::super::keyspace;
use crate::model::{Chunk, Digest};
use crate::proto::v1;
use crate::proto::v1::blob_service_client::BlobServiceClient;
use crate::proto::v1::download_response::Part as Received;
use crate::proto::v1::key_value_service_client::KeyValueServiceClient;
use crate::proto::v1::upload_request::Part;
use crate::proto::zstdb::{Item, ItemReply};
use bytes::Bytes;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio_stream::Stream;
use tonic::transport::Channel;
use tonic::{Response, Status};

/// The generated clients over one connection.
#[derive(Debug, Clone)]
pub struct NativeLane {
    key_value: KeyValueServiceClient<Channel>,
    blob: BlobServiceClient<Channel>,
    request_ids: bool,
}

/// A call that moves more or less than one small value.
pub enum Call {
    /// Read many keys at once.
    BatchGet(Vec<Bytes>),
    /// Read all keys with their values.
    Scan,
    /// Store a value of this many bytes that comes in pieces.
    Upload(Bytes, u64, Pieces),
    /// Read a value in pieces.
    Download(Bytes),
    /// Store a value whose bytes are there: ask what is missing of it, and name it.
    Resend(Bytes, Arc<(Digest, Vec<Chunk>)>),
}

/// The pieces of a value, made when they are sent.
pub type Pieces = Box<dyn Iterator<Item = Bytes> + Send>;

/// What a call moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moved {
    /// Values.
    pub values: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// The key under which a stored value stands.
    pub key: Bytes,
}

impl Call {
    /// What errors call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::BatchGet(_) => "batch get",
            Self::Scan => "scan",
            Self::Upload(..) => "upload",
            Self::Download(_) => "download",
            Self::Resend(..) => "put content",
        }
    }
}

impl NativeLane {
    /// `request_ids`: whether each put has a name of its own.
    pub(super) fn new(channel: Channel, request_ids: bool) -> Self {
        Self {
            key_value: keyspace::wire(channel.clone()),
            blob: BlobServiceClient::new(channel),
            request_ids,
        }
    }

    pub(super) async fn put(&mut self, item: Item) -> Result<Response<ItemReply>, Status> {
        let request = v1::PutRequest {
            key: item.key,
            value: item.data,
            sum64: Some(item.sum64),
            request_id: match self.request_ids {
                true => keyspace::request_id(),
                false => String::new(),
            },
            ..v1::PutRequest::default()
        };
        let reply = |put: v1::PutResponse| ItemReply {
            key: put.key,
            ver64: put.version,
            ..ItemReply::default()
        };
        let put = self.key_value.put(request).await;
        put.map(|done| done.map(reply))
    }

    pub(super) async fn get(&mut self, item: Item) -> Result<ItemReply, Status> {
        let request = v1::GetRequest {
            key: item.key,
            ..v1::GetRequest::default()
        };
        let found = self.key_value.get(request).await?.into_inner();
        let entry = found.entry.unwrap_or_default();
        Ok(ItemReply {
            key: entry.key,
            data: found.value,
            ver64: entry.version,
            sum64: entry.sum64,
            ..ItemReply::default()
        })
    }

    pub(super) async fn call(&mut self, call: Call) -> Result<Moved, Status> {
        match call {
            Call::BatchGet(keys) => self.batch_get(keys).await,
            Call::Scan => self.scan().await,
            Call::Upload(key, size, pieces) => self.upload(key, size, pieces).await,
            Call::Download(key) => self.download(key).await,
            Call::Resend(key, value) => self.resend(key, value).await,
        }
    }

    async fn batch_get(&mut self, keys: Vec<Bytes>) -> Result<Moved, Status> {
        let request = v1::BatchGetRequest {
            keys,
            ..v1::BatchGetRequest::default()
        };
        let found = self.key_value.batch_get(request).await?.into_inner();
        let mut moved = Moved::default();
        for result in found.results.iter().filter(|it| it.entry.is_some()) {
            moved.add(&result.value);
        }
        Ok(moved)
    }

    async fn scan(&mut self) -> Result<Moved, Status> {
        let request = v1::StreamScanRequest::default();
        let mut messages = self.key_value.stream_scan(request).await?.into_inner();
        let mut moved = Moved::default();
        while let Some(message) = messages.message().await? {
            message.results.iter().for_each(|it| moved.add(&it.value));
        }
        Ok(moved)
    }

    async fn upload(&mut self, key: Bytes, size: u64, pieces: Pieces) -> Result<Moved, Status> {
        let header = v1::UploadHeader {
            key,
            size: Some(size),
            ..v1::UploadHeader::default()
        };
        let messages = UploadMessages {
            header: Some(header),
            pieces,
        };
        let done = self.blob.upload(messages).await?.into_inner();
        Ok(Moved {
            values: 1,
            bytes: done.size,
            key: done.put.unwrap_or_default().key,
        })
    }

    async fn download(&mut self, key: Bytes) -> Result<Moved, Status> {
        let request = v1::DownloadRequest {
            key,
            ..v1::DownloadRequest::default()
        };
        let mut messages = self.blob.download(request).await?.into_inner();
        let mut moved = Moved {
            values: 1,
            ..Moved::default()
        };
        while let Some(message) = messages.message().await? {
            if let Some(Received::Data(data)) = message.part {
                moved.bytes += data.len() as u64;
            }
        }
        Ok(moved)
    }

    async fn resend(
        &mut self,
        key: Bytes,
        value: Arc<(Digest, Vec<Chunk>)>,
    ) -> Result<Moved, Status> {
        let (digest, chunks) = &*value;
        let digest = Bytes::copy_from_slice(&digest.0);
        let asked = v1::FindMissingRequest {
            digests: vec![digest.clone()],
        };
        let missing = self.blob.find_missing(asked).await?.into_inner();
        if !missing.missing_digests.is_empty() {
            return Err(Status::aborted("the value is not there any more"));
        }
        let chunk = |chunk: &Chunk| v1::Chunk {
            digest: Bytes::copy_from_slice(&chunk.digest.0),
            size: chunk.raw_len,
        };
        let request = v1::PutContentRequest {
            key,
            digest,
            chunks: chunks.iter().map(chunk).collect(),
            ..v1::PutContentRequest::default()
        };
        let done = self.blob.put_content(request).await?.into_inner();
        Ok(Moved {
            values: 1,
            bytes: done.size,
            key: done.put.unwrap_or_default().key,
        })
    }
}

/// The messages of an upload.
struct UploadMessages {
    header: Option<v1::UploadHeader>,
    pieces: Pieces,
}

impl Stream for UploadMessages {
    type Item = v1::UploadRequest;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let header = self.header.take().map(Part::Header);
        let part = header.or_else(|| self.pieces.next().map(Part::Data));
        Poll::Ready(part.map(|part| v1::UploadRequest { part: Some(part) }))
    }
}

impl Moved {
    fn add(&mut self, value: &Bytes) {
        self.values += 1;
        self.bytes += value.len() as u64;
    }
}
