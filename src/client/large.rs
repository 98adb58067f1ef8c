//! Values that are larger than one message: in streams, or in chunks of which only those are sent that
//! the server lacks.

use super::connect::Pool;
use super::entry::{Entry, PutOptions, Stored, wire_type};
use super::error::reason_of;
use super::keyspace::{repeat_of, request_id};
use super::retry::Repeat;
use super::{ClientError, Keyspace, Result};
use crate::model::{Chunk, Digest};
use crate::proto::v1;
use crate::proto::v1::blob_service_client::BlobServiceClient;
use crate::proto::v1::download_response::Part as Received;
use crate::proto::v1::upload_request::Part;
use bytes::Bytes;
use std::collections::HashSet;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{StreamExt as _, iter};
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use xxhash_rust::xxh64::Xxh64;

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

/// A value on its way, piece by piece.
pub struct Download {
    /// What is known of it.
    pub entry: Entry,
    messages: Streaming<v1::DownloadResponse>,
    sum64: Xxh64,
    received: u64,
    pool: Pool,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Download");
        shown.field("entry", &self.entry);
        shown.field("received", &self.received);
        shown.finish_non_exhaustive()
    }
}

impl Keyspace {
    /// Stores a value of `size` bytes that comes in pieces of up to [`PIECE_SIZE_MAX`]. A sender that
    /// goes away before its last piece stores nothing. Whoever sends the value again sends all of it, and
    /// the server stores what it lacks.
    ///
    /// # Errors
    /// [`Conflict`](ClientError::Conflict) and those of every call.
    pub async fn upload(
        &self,
        key: impl Into<Bytes>,
        (size, pieces): (u64, mpsc::Receiver<Bytes>),
        options: PutOptions,
    ) -> Result<Uploaded> {
        let header = v1::UploadHeader {
            namespace: self.namespace.clone(),
            key: key.into(),
            condition: options.only_if.map(Into::into),
            expiry: options.lifetime.wire(),
            size: Some(size),
            value_type: wire_type(options.value_type).into(),
            metadata: options.metadata,
            ..v1::UploadHeader::default()
        };
        let message = |part| v1::UploadRequest { part: Some(part) };
        let data = ReceiverStream::new(pieces).map(move |piece| message(Part::Data(piece)));
        let messages = iter([message(Part::Header(header))]).chain(data);
        let sent = wire(self.pool.next()).upload(messages).await;
        let sent = sent.map_err(|status| self.pool.failed("upload", &status))?;
        let sent = sent.into_inner();
        Ok(Uploaded {
            stored: Stored::of(sent.put.unwrap_or_default()),
            new_bytes: sent.new_bytes,
        })
    }

    /// Begins to read a value; `None` when the key is not there.
    ///
    /// # Errors
    /// [`Gone`](ClientError::Gone) and those of every call.
    pub async fn download(&self, key: impl Into<Bytes>) -> Result<Option<Download>> {
        let request = v1::DownloadRequest {
            namespace: self.namespace.clone(),
            key: key.into(),
            snapshot: self.snapshot.clone(),
            range: None,
        };
        let begun = self.pool.call(Repeat::Always, |channel| {
            let request = request.clone();
            async move { wire(channel).download(request).await }
        });
        let mut messages = match begun.await {
            Ok(messages) => messages,
            Err(status) if reason_of(&status) == "KEY_NOT_FOUND" => return Ok(None),
            Err(status) => return Err(self.pool.failed("download", &status)),
        };
        let first = messages.message().await;
        let first = first.map_err(|status| self.pool.failed("download", &status))?;
        let Some(Received::Entry(entry)) = first.and_then(|first| first.part) else {
            let status = Status::unknown("a download that does not begin with its entry");
            return Err(self.pool.failed("download", &status));
        };
        Ok(Some(Download {
            entry: Entry::of(entry),
            messages,
            sum64: Xxh64::new(0),
            received: 0,
            pool: self.pool.clone(),
        }))
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
    /// [`Gone`](ClientError::Gone) and [`Conflict`](ClientError::Conflict) (`CHUNKS_MISSING`) when it has
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
        let stored = self.pool.call(repeat_of(options.only_if), |channel| {
            let request = request.clone();
            async move { wire(channel).put_content(request).await }
        });
        let stored = stored.await;
        let stored = stored.map_err(|status| self.pool.failed("put content", &status))?;
        Ok(Stored::of(stored.put.unwrap_or_default()))
    }
}

impl Download {
    /// The next piece. `None` at the end, when the value has come whole and its checksum fits.
    ///
    /// # Errors
    /// [`Damaged`](ClientError::Damaged) at the end, and those of every call.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let message = self.messages.message().await;
        let message = message.map_err(|status| self.pool.failed("download", &status))?;
        if let Some(Received::Data(piece)) = message.and_then(|message| message.part) {
            self.sum64.update(&piece);
            self.received += piece.len() as u64;
            return Ok(Some(piece));
        }
        let (sum64, entry) = (self.sum64.digest(), &self.entry);
        if (self.received, sum64) == (entry.len, entry.sum64) {
            return Ok(None);
        }
        let message = format!(
            "{} bytes with checksum {sum64:016x} came, stored were {} with {:016x}",
            self.received, entry.len, entry.sum64
        );
        Err(ClientError::damaged(&entry.key, message))
    }
}

fn wire(channel: Channel) -> BlobServiceClient<Channel> {
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
