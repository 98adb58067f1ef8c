//! Values, or parts of them, on their way from a server, piece by piece.
//!
//! One that is cut off goes on by itself with the byte that comes next, of the same version.

use super::byte_range::{self, wire_range};
use super::entry::Entry;
use super::error::{reason_of, shown};
use super::large::wire;
use super::retry::Repeat;
use super::{ClientError, Keyspace, Result};
use crate::proto::v1;
use crate::proto::v1::download_response::Part as Received;
use bytes::Bytes;
use std::ops::RangeBounds;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};
use xxhash_rust::xxh64::Xxh64;

/// What a server sends.
type Messages = Streaming<v1::DownloadResponse>;

/// A value on its way, piece by piece.
pub struct Download {
    /// What is known of it, as a whole.
    pub entry: Entry,
    keyspace: Keyspace,
    request: v1::DownloadRequest,
    /// `None` after a break.
    messages: Option<Messages>,
    sum64: Xxh64,
    received: u64,
    /// Bytes of what was asked for.
    size: u64,
    /// Tries since something came.
    tries: usize,
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
    /// Begins to read a value; `None` when the key is not there.
    ///
    /// # Errors
    /// [`Gone`](ClientError::Gone) and those of every call.
    pub async fn download(&self, key: impl Into<Bytes>) -> Result<Option<Download>> {
        self.download_range(key, ..).await
    }

    /// Begins to read these bytes of a value, such as `1_000_000..`; `None` when the key is not there.
    /// What lies behind the value's end is left out.
    ///
    /// # Errors
    /// [`Invalid`](ClientError::Invalid) for a range of nothing, [`Server`](ClientError::Server) for one
    /// that begins behind the value's end, [`Gone`](ClientError::Gone) and those of every call.
    pub async fn download_range(
        &self,
        key: impl Into<Bytes>,
        range: impl RangeBounds<u64>,
    ) -> Result<Option<Download>> {
        let request = v1::DownloadRequest {
            namespace: self.namespace.clone(),
            key: key.into(),
            snapshot: self.snapshot.clone(),
            range: wire_range(range)?,
        };
        let begun = self.pool.call(Repeat::Always, |channel| {
            let request = request.clone();
            async move { open(channel, request).await.map(Response::new) }
        });
        let Some((messages, entry)) = self.there("download", begun.await)? else {
            return Ok(None);
        };
        Ok(Some(Download {
            size: byte_range::len_in(request.range.as_ref(), entry.len),
            entry,
            keyspace: self.clone(),
            request,
            messages: Some(messages),
            sum64: Xxh64::new(0),
            received: 0,
            tries: 0,
        }))
    }
}

/// Asks for a value, and waits for what is known of it.
async fn open(channel: Channel, request: v1::DownloadRequest) -> Result<(Messages, Entry), Status> {
    let mut messages = wire(channel).download(request).await?.into_inner();
    let first = messages.message().await?;
    match first.and_then(|first| first.part) {
        Some(Received::Entry(entry)) => Ok((messages, Entry::of(entry))),
        _ => Err(Status::unknown(
            "a download that does not begin with its entry",
        )),
    }
}

impl Download {
    /// The next piece. `None` at the end, when all has come that was asked for; of a whole value its
    /// checksum fits then. One that was cut off goes on by itself, as long as the server comes back
    /// within a few seconds.
    ///
    /// # Errors
    /// [`Damaged`](ClientError::Damaged) at the end, [`Conflict`](ClientError::Conflict)
    /// (`VALUE_CHANGED`) when there is another value by the time it is gone on with, and those of every
    /// call.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.piece().await {
                Ok(Some(piece)) => {
                    self.tries = 0;
                    self.sum64.update(&piece);
                    self.received += piece.len() as u64;
                    return Ok(Some(piece));
                }
                Ok(None) => return self.ended(),
                // Only the end was cut off.
                Err(_) if self.received == self.size => return self.ended(),
                Err(status) => self.go_on(status).await?,
            }
        }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(messages) = &mut self.messages else {
            return Err(Status::unavailable("the download was cut off"));
        };
        let message = messages.message().await?;
        Ok(match message.and_then(|message| message.part) {
            Some(Received::Data(piece)) => Some(piece),
            Some(Received::Entry(_)) | None => None,
        })
    }

    /// Opens it again behind what has come, unless this was tried often enough.
    async fn go_on(&mut self, mut status: Status) -> Result<()> {
        self.messages = None;
        let pool = self.keyspace.pool.clone();
        let request = v1::DownloadRequest {
            range: Some(byte_range::behind(self.request.range, self.received)),
            ..self.request.clone()
        };
        loop {
            pool.pause("download", &status, self.tries).await?;
            self.tries += 1;
            match open(pool.next(), request.clone()).await {
                Ok((messages, entry)) if entry.version == self.entry.version => {
                    self.messages = Some(messages);
                    return Ok(());
                }
                Ok(_) => return Err(self.changed()),
                Err(error) if reason_of(&error) == "KEY_NOT_FOUND" => return Err(self.changed()),
                // The next turn waits for longer, or gives up.
                Err(error) => status = error,
            }
        }
    }

    fn changed(&self) -> ClientError {
        ClientError::Conflict {
            reason: "VALUE_CHANGED".to_owned(),
            message: format!(
                "the value of {} that was on its way is not there any more: read it again",
                shown(&self.entry.key)
            ),
        }
    }

    fn ended(&self) -> Result<Option<Bytes>> {
        let (sum64, entry) = (self.sum64.digest(), &self.entry);
        let is_part = self.size < entry.len;
        if self.received == self.size && (is_part || sum64 == entry.sum64) {
            return Ok(None);
        }
        let message = format!(
            "{} bytes with checksum {sum64:016x} came, stored were {} with {:016x}",
            self.received, entry.len, entry.sum64
        );
        Err(ClientError::damaged(&entry.key, message))
    }
}
