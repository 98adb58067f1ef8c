//! Large values on their way to a server: in a stream, or in chunks of which only those are sent that
//! the server lacks.

use super::again::Twice;
use super::entry::{PutOptions, Stored, wire_type};
use super::keyspace::request_id;
use super::retry::Repeat;
use super::{Keyspace, Result};
use crate::model::{Chunk, Digest};
use crate::proto::v1;
use crate::proto::v1::blob_service_client::BlobServiceClient;
use crate::proto::v1::upload_request::Part;
use bytes::Bytes;
use std::collections::HashSet;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{StreamExt as _, iter};
use tonic::transport::Channel;
use tonic::{Response, Status};

/// Digests that are asked for at once.
const DIGESTS_MAX: usize = 10_000;
/// Bytes of data in a message.
pub const PIECE_SIZE_MAX: usize = 1 << 20;

/// What an upload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// What its put did.
    pub stored: Stored,
    /// Bytes of it that the server did not have.
    pub new_bytes: u64,
}

impl Keyspace {
    /// Stores a value of `size` bytes that comes in pieces of up to [`PIECE_SIZE_MAX`]. A sender that
    /// goes away before its last piece stores nothing. Whoever sends the value again sends all of it, and
    /// the server stores what it lacks.
    ///
    /// # Errors
    /// [`Conflict`](super::ClientError::Conflict) and those of every call.
    pub async fn upload(
        &self,
        key: impl Into<Bytes>,
        (size, pieces): (u64, mpsc::Receiver<Bytes>),
        options: PutOptions,
    ) -> Result<Uploaded> {
        let header = self.upload_header(key.into(), size, options);
        let sent = send(self.pool.next(), header, pieces).await;
        let sent = sent.map_err(|status| self.pool.failed("upload", &status))?;
        Ok(Uploaded::of(sent.into_inner()))
    }

    pub(super) fn upload_header(
        &self,
        key: Bytes,
        size: u64,
        options: PutOptions,
    ) -> v1::UploadHeader {
        v1::UploadHeader {
            namespace: self.namespace.clone(),
            key,
            condition: options.only_if.map(Into::into),
            expiry: options.lifetime.wire(),
            size: Some(size),
            value_type: wire_type(options.value_type).into(),
            metadata: options.metadata,
            ..v1::UploadHeader::default()
        }
    }

    /// Which contents the server lacks. The others stay for its grace time.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn find_missing(&self, digests: &[Digest]) -> Result<HashSet<Digest>> {
        let mut missing = HashSet::new();
        for some in digests.chunks(DIGESTS_MAX) {
            let digests = some.iter().map(wire_digest).collect();
            let request = v1::FindMissingRequest { digests };
            let found = self.pool.call(Repeat::Always, |channel| {
                let request = request.clone();
                async move { wire(channel).find_missing(request).await }
            });
            let found = found.await;
            let found = found.map_err(|status| self.pool.failed("find missing", &status))?;
            let digests = found.missing_digests.iter();
            missing.extend(digests.filter_map(|it| Some(Digest(it[..].try_into().ok()?))));
        }
        Ok(missing)
    }

    /// Stores chunks, of up to [`PIECE_SIZE_MAX`] each, for a put that will name them. Bytes of them
    /// that the server did not have.
    ///
    /// # Errors
    /// Those of every call; chunks that came before are stored.
    pub async fn upload_chunks(&self, chunks: mpsc::Receiver<(Digest, Bytes)>) -> Result<u64> {
        let message = |(digest, data)| v1::UploadChunksRequest {
            data,
            digest: wire_digest(&digest),
        };
        let messages = ReceiverStream::new(chunks).map(message);
        let sent = wire(self.pool.next()).upload_chunks(messages).await;
        let sent = sent.map_err(|status| self.pool.failed("upload chunks", &status))?;
        Ok(sent.into_inner().new_bytes)
    }

    /// Stores a value without its bytes, which the server has: as a whole, or in these chunks.
    ///
    /// # Errors
    /// [`Gone`](super::ClientError::Gone) and [`Conflict`](super::ClientError::Conflict) (`CHUNKS_MISSING`) when it has
    /// not, and those of every call.
    pub async fn put_content(
        &self,
        key: impl Into<Bytes>,
        digest: Digest,
        chunks: &[Chunk],
        options: PutOptions,
    ) -> Result<Stored> {
        let request = v1::PutContentRequest {
            namespace: self.namespace.clone(),
            key: key.into(),
            condition: options.only_if.map(Into::into),
            expiry: options.lifetime.wire(),
            digest: wire_digest(&digest),
            chunks: chunks.iter().map(wire_chunk).collect(),
            value_type: wire_type(options.value_type).into(),
            metadata: options.metadata,
            request_id: request_id(),
            ..v1::PutContentRequest::default()
        };
        let twice = Twice::on_condition(options.only_if.is_some());
        let stored = self.pool.write(
            "put content",
            (request, twice),
            |channel, request| async move { wire(channel).put_content(request).await },
        );
        let stored = stored.await?;
        let stored = stored.map_err(|status| self.pool.failed("put content", &status))?;
        Ok(Stored::of(stored.put.unwrap_or_default()))
    }
}

/// Sends a value whose pieces come one after the other.
pub(super) async fn send(
    channel: Channel,
    header: v1::UploadHeader,
    pieces: mpsc::Receiver<Bytes>,
) -> Result<Response<v1::UploadResponse>, Status> {
    let message = |part| v1::UploadRequest { part: Some(part) };
    let data = ReceiverStream::new(pieces).map(move |piece| message(Part::Data(piece)));
    let messages = iter([message(Part::Header(header))]).chain(data);
    wire(channel).upload(messages).await
}

impl Uploaded {
    pub(super) fn of(sent: v1::UploadResponse) -> Self {
        Self {
            stored: Stored::of(sent.put.unwrap_or_default()),
            new_bytes: sent.new_bytes,
        }
    }
}

/// The generated client over one connection.
pub(super) fn wire(channel: Channel) -> BlobServiceClient<Channel> {
    BlobServiceClient::new(channel)
}

fn wire_digest(digest: &Digest) -> Bytes {
    Bytes::copy_from_slice(&digest.0)
}

fn wire_chunk(chunk: &Chunk) -> v1::Chunk {
    v1::Chunk {
        digest: wire_digest(&chunk.digest),
        size: chunk.raw_len,
    }
}
