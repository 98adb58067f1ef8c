//! Puts a large value in chunks, of which only those are sent that the server lacks: one that was
//! interrupted goes on where it was, and a new version of a file costs what is new in it.
//!
//! It knows nothing of where the chunks come from, only that they can be read again: a server may have
//! let go of some before the value that names them all is there.

use super::exit::CliError;
use super::progress::Progress;
use super::upload::How;
use crate::client::{self, ClientError, Keyspace, PutOptions};
use crate::model::{Chunk, Digest};
use bytes::Bytes;
use std::collections::HashSet;
use tokio::sync::mpsc;

/// Chunks that are read ahead of what is sent.
const READ_AHEAD: usize = 4;
/// Chunks of one stream.
const STREAM_CHUNKS_MAX: usize = 60_000;
/// How often chunks may be gone again, or the way to the server, before it is given up.
const ATTEMPTS_MAX: usize = 3;

/// A large value of which every chunk can be read, as often as it takes.
pub trait ChunkSource: Clone + Send + 'static {
    /// Of the whole.
    fn digest(&self) -> Digest;

    /// All chunks, in their order.
    fn chunks(&self) -> &[Chunk];

    /// Reads these chunks, each once, until nobody takes them. Blocks.
    ///
    /// # Errors
    /// One cannot be read, or is not what it was.
    fn read_chunks(
        &self,
        wanted: HashSet<Digest>,
        take: impl FnMut(Digest, Bytes) -> bool,
    ) -> Result<(), CliError>;
}

/// Puts a value under a key; whether any byte of it was sent, and what its put did.
///
/// # Errors
/// The server's; the chunks cannot be read.
pub async fn put_chunked(
    (keyspace, key): (&Keyspace, &Bytes),
    source: &impl ChunkSource,
    options: &PutOptions,
    progress: &Progress,
) -> Result<(How, client::Stored), CliError> {
    let (mut tries, mut how) = (0, How::Duplicate);
    loop {
        let digest = source.digest();
        if !keyspace.find_missing(&[digest]).await?.is_empty() {
            how = How::Sent;
            match send_missing(keyspace, source, progress).await {
                // What has come is stored: only the rest is sent, once the server is there again.
                Err(error) if is_lost(&error) && tries < ATTEMPTS_MAX => {
                    tries += 1;
                    continue;
                }
                sent => sent?,
            }
        }
        let put = keyspace.put_content(key.clone(), digest, source.chunks(), options.clone());
        match put.await {
            Ok(stored) => return Ok((how, stored)),
            Err(ClientError::Conflict { reason, .. })
                if reason == "CHUNKS_MISSING" && tries < ATTEMPTS_MAX =>
            {
                tries += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_lost(error: &CliError) -> bool {
    use ClientError::{Unavailable, Unreachable};
    matches!(
        error,
        CliError::Client(Unreachable { .. } | Unavailable { .. })
    )
}

async fn send_missing(
    keyspace: &Keyspace,
    source: &impl ChunkSource,
    progress: &Progress,
) -> Result<(), CliError> {
    let digests: Vec<Digest> = source.chunks().iter().map(|chunk| chunk.digest).collect();
    let missing = keyspace.find_missing(&digests).await?;
    progress.at(0, bytes_of(source.chunks(), &missing).max(1));
    progress.message("sending");
    let missing: Vec<Digest> = missing.into_iter().collect();
    for some in missing.chunks(STREAM_CHUNKS_MAX) {
        send(keyspace, source, some.iter().copied().collect(), progress).await?;
    }
    Ok(())
}

/// Bytes of these chunks, each once.
fn bytes_of(chunks: &[Chunk], wanted: &HashSet<Digest>) -> u64 {
    let mut left = wanted.clone();
    let once = chunks.iter().filter(|chunk| left.remove(&chunk.digest));
    once.map(|chunk| u64::from(chunk.raw_len)).sum()
}

async fn send(
    keyspace: &Keyspace,
    source: &impl ChunkSource,
    wanted: HashSet<Digest>,
    progress: &Progress,
) -> Result<(), CliError> {
    let (sender, chunks) = mpsc::channel(READ_AHEAD);
    let (source, progress) = (source.clone(), progress.share());
    let reading = tokio::task::spawn_blocking(move || {
        source.read_chunks(wanted, |digest, raw| {
            progress.advance(raw.len() as u64);
            sender.blocking_send((digest, raw)).is_ok()
        })
    });
    let sent = keyspace.upload_chunks(chunks).await;
    reading.await.expect("reading does not panic")?;
    sent?;
    Ok(())
}
