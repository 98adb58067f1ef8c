//! Values that are larger than a program wants to hold at once: in streams, or in chunks of which only
//! those are stored that are not there.
//!
//! An upload has about 45 MiB in memory, however large its value is; a download up to 2 MiB beside the
//! piece that it has handed out, or all of a value that was put at once.

use super::{Keyspace, convert};
use crate::client::{Entry, PIECE_SIZE_MAX, PutOptions, Stored, Uploaded, bytes_of, piece_of};
use crate::model::{Chunk, Digest, Error, Namespace, Result};
use crate::service::{self, Service, Upload};
use bytes::Bytes;
use std::collections::{HashSet, VecDeque};
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;

/// A value on its way out, piece by piece. What it reads stays on the disk for as long as it lives.
#[derive(Debug)]
pub struct Download {
    /// What is known of the whole value.
    pub entry: Entry,
    ready: VecDeque<Bytes>,
    rest: service::Download,
}

/// A value on its way in.
pub(super) struct Incoming {
    service: Service,
    namespace: Arc<Namespace>,
    key: Bytes,
    options: PutOptions,
    upload: Upload,
}

impl Keyspace {
    /// Stores a value of `size` bytes that comes in pieces, of any length. A sender that goes away
    /// before its last piece stores nothing.
    ///
    /// Values of up to `server.max_value_size` fit, 4 GiB by default. What is larger than 8 MiB is kept
    /// in chunks, each content once: a value that differs a little from one that is there takes little
    /// room.
    ///
    /// # Errors
    /// `TooLarge` (`VALUE_TOO_LARGE`), `Invalid` (`SIZE_MISMATCH`) when other than `size` bytes came, and
    /// as [`Keyspace::put_with`]. Nothing is seen of the value then.
    pub async fn upload(
        &self,
        key: impl Into<Bytes>,
        (size, mut pieces): (u64, mpsc::Receiver<Bytes>),
        options: PutOptions,
    ) -> Result<Uploaded> {
        let mut incoming = Incoming::begin(self, key.into(), options)?;
        while let Some(piece) = pieces.recv().await {
            incoming.push(piece).await?;
        }
        incoming.finish(Some(size)).await
    }

    /// Stores the value that a reader has, to its end.
    ///
    /// # Errors
    /// `Invalid` (`READER_FAILED`) when it cannot be read, and as [`Keyspace::upload`]. Nothing is seen
    /// of the value then.
    pub async fn upload_from(
        &self,
        key: impl Into<Bytes>,
        mut reader: impl AsyncRead + Unpin,
        options: PutOptions,
    ) -> Result<Uploaded> {
        let mut incoming = Incoming::begin(self, key.into(), options)?;
        loop {
            let piece = piece_of(&mut reader).await;
            let piece = piece.map_err(|error| reader_failed(&error))?;
            if piece.is_empty() {
                return incoming.finish(None).await;
            }
            incoming.push(piece).await?;
        }
    }

    /// Begins to read a value; `None` when the key is not there.
    ///
    /// # Errors
    /// As [`Keyspace::get`], however large the value is.
    pub async fn download(&self, key: impl Into<Bytes>) -> Result<Option<Download>> {
        self.download_range(key, ..).await
    }

    /// Begins to read a part of a value, as [`Keyspace::get_range`] names it: to go on with a download
    /// that was left, say.
    ///
    /// # Errors
    /// `Invalid` (`RANGE_BEYOND_VALUE`), and as [`Keyspace::download`].
    pub async fn download_range(
        &self,
        key: impl Into<Bytes>,
        range: impl RangeBounds<u64>,
    ) -> Result<Option<Download>> {
        let key = key.into();
        let Some(located) = self.locate(&key).await? else {
            return Ok(None);
        };
        let part = located.part(bytes_of(&range))?;
        let rest = self.service.download(located, part).await?;
        Ok(Some(Download {
            entry: convert::entry(key, &rest.head)?,
            ready: VecDeque::new(),
            rest,
        }))
    }

    /// Which contents are not there. The others stay for the grace time (`dedup.grace`).
    ///
    /// # Errors
    /// What the shards answer.
    pub async fn find_missing(&self, digests: &[Digest]) -> Result<HashSet<Digest>> {
        self.namespace()?;
        let missing = self.service.find_missing(digests.to_vec()).await?;
        Ok(missing.into_iter().collect())
    }

    /// Stores chunks, of 1 byte to 1 MiB each, for a put that will name them; up to 65,536 in a call.
    /// Bytes of them that were not there.
    ///
    /// # Errors
    /// `Invalid` (`CHUNK_SIZE`, `DIGEST_MISMATCH`), `TooLarge` (`TOO_MANY_CHUNKS`), `DiskFull`, and what
    /// the shards answer; chunks that came before are stored.
    pub async fn upload_chunks(&self, mut chunks: mpsc::Receiver<(Digest, Bytes)>) -> Result<u64> {
        self.namespace()?;
        let mut intake = self.service.intake()?;
        while let Some((digest, data)) = chunks.recv().await {
            intake.push(data, Some(digest)).await?;
        }
        Ok(intake.finish().await?.new_bytes)
    }

    /// Stores a value without its bytes, which are there: as a whole, or in these chunks.
    ///
    /// # Errors
    /// `NotFound` (`CONTENT_NOT_FOUND`) and `Conflict` (`CHUNKS_MISSING`) when they are not; `Invalid`
    /// (`CHUNK_SIZE`, `VALUE_NOT_CUT`, `DIGEST_MISMATCH`) for what is no list of this value; and as
    /// [`Keyspace::put_with`].
    pub async fn put_content(
        &self,
        key: impl Into<Bytes>,
        digest: Digest,
        chunks: &[Chunk],
        options: PutOptions,
    ) -> Result<Stored> {
        let (key, namespace) = (key.into(), self.namespace()?);
        let (place, now) = ((&*namespace, &*key), self.service.now());
        let mut put = convert::put(place, Bytes::new(), options, now)?;
        put.digest = Some(digest);
        let done = self
            .service
            .put_by_digest(put, (digest, None), chunks.to_vec());
        Ok(convert::stored(done.await?.put))
    }
}

impl Download {
    /// The next piece, of up to [`PIECE_SIZE_MAX`]; `None` at the end, or behind an error. Each chunk is
    /// compared with its checksum before it comes. May be dropped and called again.
    ///
    /// # Errors
    /// `Corrupt`, naming what is damaged or not there; what the shards answer. The download is over then.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.ready.is_empty()
            && let Some(some) = self.rest.next(PIECE_SIZE_MAX).await?
        {
            self.ready = some;
        }
        Ok(self.ready.pop_front())
    }
}

impl Incoming {
    /// Begins, in a runtime.
    pub fn begin(keys: &Keyspace, key: Bytes, options: PutOptions) -> Result<Self> {
        let (service, namespace) = (keys.service.clone(), keys.namespace()?);
        let (place, now) = ((&*namespace, &*key), service.now());
        let put = convert::put(place, Bytes::new(), options.clone(), now)?;
        Ok(Self {
            upload: service.upload(&put)?,
            service,
            namespace,
            key,
            options,
        })
    }

    pub async fn push(&mut self, mut piece: Bytes) -> Result<()> {
        while !piece.is_empty() {
            let some = piece.split_to(piece.len().min(PIECE_SIZE_MAX));
            self.upload.push(some).await?;
        }
        Ok(())
    }

    /// Stores what came, if it has the size that was said.
    pub async fn finish(self, size: Option<u64>) -> Result<Uploaded> {
        let (place, now) = ((&*self.namespace, &*self.key), self.service.now());
        let put = convert::put(place, Bytes::new(), self.options, now)?;
        let done = self.upload.finish(put, size).await?;
        Ok(Uploaded {
            stored: convert::stored(done.put),
            new_bytes: done.new_bytes,
        })
    }
}

/// That a value could not be read: what is left of its reader is another one.
pub(super) fn reader_failed(error: &io::Error) -> Error {
    let message = format!("the value's reader failed: {error}; nothing of it is stored");
    Error::invalid("READER_FAILED", message)
}
