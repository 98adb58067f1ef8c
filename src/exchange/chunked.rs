//! Puts a large value in chunks, of which only those are sent that are not there: one that was
//! interrupted goes on where it was, and a new version of a file costs what is new in it.
//!
//! It knows nothing of where the chunks come from, only that they can be read again: a store may have
//! let go of some before the value that names them all is there.

use super::keys::{Keys, KeysError, Report};
use crate::client::{PutOptions, Stored};
use crate::model::{Chunk, Digest, Error};
use bytes::Bytes;
use std::collections::HashSet;
use tokio::sync::mpsc;

/// Chunks that are read ahead of what is sent.
const READ_AHEAD: usize = 4;
/// Chunks of one stream.
const STREAM_CHUNKS_MAX: usize = 60_000;
/// How often chunks may be gone again, or the way to the keys, before it is given up.
const ATTEMPTS_MAX: usize = 3;

/// A large value of which every chunk can be read, as often as it takes.
pub trait ChunkSource: Clone + Send + Sync + 'static {
    /// What goes wrong with reading.
    type Error: Send + 'static;

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
    ) -> Result<(), Self::Error>;
}

/// Puts a value under a key; whether any byte of it was sent, and what its put did.
///
/// # Errors
/// What the keys answer; the chunks cannot be read.
pub async fn put_chunked<K, S>(
    (keys, key): (&K, &Bytes),
    source: &S,
    options: &PutOptions,
    report: &impl Report,
) -> Result<(bool, Stored), K::Error>
where
    K: Keys,
    S: ChunkSource,
    K::Error: From<S::Error>,
{
    let (mut tries, mut is_sent) = (0, false);
    loop {
        let digest = source.digest();
        if !keys.find_missing(&[digest]).await?.is_empty() {
            is_sent = true;
            match send_missing(keys, source, report).await {
                // What has come is stored: only the rest is sent, once the way is there again.
                Err(error) if error.is_lost() && tries < ATTEMPTS_MAX => {
                    tries += 1;
                    continue;
                }
                sent => sent?,
            }
        }
        let put = keys.put_content(key.clone(), digest, source.chunks(), options.clone());
        match put.await {
            Ok(stored) => return Ok((is_sent, stored)),
            Err(error) if error.reason() == "CHUNKS_MISSING" && tries < ATTEMPTS_MAX => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

async fn send_missing<K, S>(keys: &K, source: &S, report: &impl Report) -> Result<(), K::Error>
where
    K: Keys,
    S: ChunkSource,
    K::Error: From<S::Error>,
{
    let digests: Vec<Digest> = source.chunks().iter().map(|chunk| chunk.digest).collect();
    let missing = keys.find_missing(&digests).await?;
    report.begin(bytes_of(source.chunks(), &missing).max(1));
    let missing: Vec<Digest> = missing.into_iter().collect();
    for some in missing.chunks(STREAM_CHUNKS_MAX) {
        send(keys, source, some.iter().copied().collect(), report).await?;
    }
    Ok(())
}

/// Bytes of these chunks, each once.
fn bytes_of(chunks: &[Chunk], wanted: &HashSet<Digest>) -> u64 {
    let mut left = wanted.clone();
    let once = chunks.iter().filter(|chunk| left.remove(&chunk.digest));
    once.map(|chunk| u64::from(chunk.raw_len)).sum()
}

async fn send<K, S>(
    keys: &K,
    source: &S,
    wanted: HashSet<Digest>,
    report: &impl Report,
) -> Result<(), K::Error>
where
    K: Keys,
    S: ChunkSource,
    K::Error: From<S::Error>,
{
    let (sender, chunks) = mpsc::channel(READ_AHEAD);
    let (source, report) = (source.clone(), report.share());
    let reading = tokio::task::spawn_blocking(move || {
        source.read_chunks(wanted, |digest, raw| {
            report.advance(raw.len() as u64);
            sender.blocking_send((digest, raw)).is_ok()
        })
    });
    let sent = keys.upload_chunks(chunks).await;
    // It ends early only with the runtime.
    let lost = |error| Error::internal("TASK_FAILED", format!("a task failed: {error}"));
    reading.await.map_err(lost)??;
    sent?;
    Ok(())
}
