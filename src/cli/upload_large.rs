//! Stores large files in chunks, and sends only those that the server lacks: an upload that was
//! interrupted goes on where it was, and a new version of a file costs what is new in it.

use super::exit::CliError;
use super::outline::Outline;
use super::progress::Progress;
use super::upload::{How, Naming, Stored, Uploader, check_key, expect_key};
use crate::client::{ClientError, Keyspace, PutOptions};
use crate::codec::CUT_MIN;
use crate::model::Digest;
use bytes::Bytes;
use std::collections::HashSet;
use std::path::Path;
use tokio::sync::mpsc;

/// Chunks that are read ahead of what is sent.
const READ_AHEAD: usize = 4;
/// Chunks of one stream.
const STREAM_CHUNKS_MAX: usize = 60_000;
/// How often chunks may be gone again before it is given up.
const ATTEMPTS_MAX: usize = 3;

/// Whether a file of this size is sent in chunks, and never in memory as a whole.
#[must_use]
pub fn is_large(len: u64) -> bool {
    len > CUT_MIN
}

impl Uploader {
    /// Stores a large file under its name: a path relative to a folder, or a key.
    ///
    /// # Errors
    /// The server's, or that it names values in another way; the file cannot be read.
    pub async fn store_large(
        &self,
        name: &[u8],
        path: &Path,
        progress: Progress,
    ) -> Result<Stored, CliError> {
        let (owned, shown) = (path.to_owned(), progress.share());
        let outline = tokio::task::spawn_blocking(move || Outline::of(&owned, &shown));
        let outline = outline.await.expect("reading does not panic")?;
        let key = match self.naming() {
            Naming::Content => Bytes::copy_from_slice(&outline.digest.to_hex()),
            Naming::User { prefix } => Bytes::from([prefix, name].concat()),
        };
        check_key(&key)?;
        let (_, repeated) = self.content(outline.digest);
        let stored = |how| Stored {
            key: key.to_vec(),
            len: outline.len,
            how,
            repeated,
        };
        let before = self.client().head(&key).await?;
        if before.is_some_and(|head| (head.len, head.sum64) == (outline.len, outline.sum64)) {
            return Ok(stored(How::Present));
        }
        let keyspace = self.client().database().keyspace("");
        let how = self
            .put_outline(&keyspace, &key, &outline, &progress)
            .await?;
        Ok(stored(how))
    }

    async fn put_outline(
        &self,
        keyspace: &Keyspace,
        key: &Bytes,
        outline: &Outline,
        progress: &Progress,
    ) -> Result<How, CliError> {
        let mut tries = 0;
        loop {
            let mut how = How::Duplicate;
            if !keyspace.find_missing(&[outline.digest]).await?.is_empty() {
                how = How::Sent;
                send_missing(keyspace, outline, progress).await?;
            }
            let options = PutOptions::default();
            let put = keyspace.put_content(key.clone(), outline.digest, &outline.chunks, options);
            match put.await {
                Ok(stored) => {
                    expect_key(key, &stored.key)?;
                    return Ok(how);
                }
                Err(ClientError::Conflict { reason, .. })
                    if reason == "CHUNKS_MISSING" && tries < ATTEMPTS_MAX =>
                {
                    tries += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

async fn send_missing(
    keyspace: &Keyspace,
    outline: &Outline,
    progress: &Progress,
) -> Result<(), CliError> {
    let digests: Vec<Digest> = outline.chunks.iter().map(|chunk| chunk.digest).collect();
    let missing = keyspace.find_missing(&digests).await?;
    progress.at(0, outline.bytes_of(&missing).max(1));
    progress.message("sending");
    let missing: Vec<Digest> = missing.into_iter().collect();
    for some in missing.chunks(STREAM_CHUNKS_MAX) {
        send(keyspace, outline, some.iter().copied().collect(), progress).await?;
    }
    Ok(())
}

async fn send(
    keyspace: &Keyspace,
    outline: &Outline,
    wanted: HashSet<Digest>,
    progress: &Progress,
) -> Result<(), CliError> {
    let (sender, chunks) = mpsc::channel(READ_AHEAD);
    let (outline, progress) = (outline.clone(), progress.share());
    let reading = tokio::task::spawn_blocking(move || {
        outline.read_chunks(wanted, |digest, raw| {
            progress.advance(raw.len() as u64);
            sender.blocking_send((digest, raw)).is_ok()
        })
    });
    let sent = keyspace.upload_chunks(chunks).await;
    reading.await.expect("reading does not panic")?;
    sent?;
    Ok(())
}
