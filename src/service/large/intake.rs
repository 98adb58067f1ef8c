//! Chunks on their way in: stored at their homes, many at once, a few MiB of them in memory.

use super::super::Service;
use super::super::checked::Checked;
use crate::codec::{CHUNK_SIZE_MAX, CHUNKS_MAX, digest_of, sum64_of};
use crate::dedup::{HeldContent, Turn};
use crate::model::{Chunk, Command, Digest, Error, Reply, Result, ValueInfo};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

/// Bytes of chunks that are being stored at once: fewer make small groups, each of which waits for
/// the disk.
const STORING_MAX: usize = 16 << 20;

/// Chunks that are being stored, or are and stay as long as this lives.
#[derive(Debug)]
pub struct Intake {
    service: Service,
    compress: bool,
    storing: JoinSet<Result<(usize, Kept)>>,
    room: Arc<Semaphore>,
    /// In the order in which they came.
    kept: Vec<Option<Kept>>,
}

/// What came in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Chunks.
    pub chunks: usize,
    /// Bytes of them that were not there before.
    pub new_bytes: u64,
}

/// A chunk that is there, and stays as long as this lives.
#[derive(Debug)]
pub(super) struct Kept {
    pub chunk: Chunk,
    stored: bool,
    _held: HeldContent,
}

impl Service {
    /// Takes in chunks for a put that will name them.
    ///
    /// # Errors
    /// `Disabled` (`SET_DISABLED`), `DiskFull` (`DISK_FULL`).
    pub fn intake(&self) -> Result<Intake> {
        self.check_set_allowed()?;
        Ok(Intake::new(self, true))
    }
}

impl Intake {
    pub(super) fn new(service: &Service, compress: bool) -> Self {
        Self {
            service: service.clone(),
            compress,
            storing: JoinSet::new(),
            room: Arc::new(Semaphore::new(STORING_MAX)),
            kept: Vec::new(),
        }
    }

    /// Takes in the next chunk; waits until there is room for it.
    ///
    /// # Errors
    /// `Invalid` (`CHUNK_SIZE`, `DIGEST_MISMATCH` where a digest is given), `TooLarge`
    /// (`TOO_MANY_CHUNKS`), `Disabled`, `DiskFull`; what the shards answer, about this chunk or one
    /// before.
    pub async fn push(&mut self, raw: Bytes, digest: Option<Digest>) -> Result<()> {
        check_chunk_size(raw.len())?;
        check_count(self.kept.len() + 1)?;
        self.service.check_set_allowed()?;
        let bytes = u32::try_from(raw.len()).expect("chunks end at 1 MiB");
        let room = self.room.clone().acquire_many_owned(bytes).await;
        let (service, compress, number) = (self.service.clone(), self.compress, self.kept.len());
        self.kept.push(None);
        self.storing.spawn(async move {
            let _room = room;
            let kept = service.keep_chunk(raw, compress).await?;
            check_digest(digest, kept.chunk.digest)?;
            Ok((number, kept))
        });
        while let Some(stored) = self.storing.try_join_next() {
            self.note(stored)?;
        }
        Ok(())
    }

    /// Waits until all of them are stored.
    ///
    /// # Errors
    /// As [`Intake::push`].
    pub async fn finish(mut self) -> Result<Taken> {
        let kept = self.finish_held().await?;
        Ok(taken(&kept))
    }

    /// As [`Intake::finish`]; they stay as long as what it gives.
    pub(super) async fn finish_held(&mut self) -> Result<Vec<Kept>> {
        while let Some(stored) = self.storing.join_next().await {
            self.note(stored)?;
        }
        Ok(std::mem::take(&mut self.kept)
            .into_iter()
            .flatten()
            .collect())
    }

    /// Waits until one more of them is stored; false when all are.
    pub(super) async fn stored_one(&mut self) -> Result<bool> {
        let Some(stored) = self.storing.join_next().await else {
            return Ok(false);
        };
        self.note(stored)?;
        Ok(true)
    }

    fn note(&mut self, stored: Result<Result<(usize, Kept)>, JoinError>) -> Result<()> {
        let (number, kept) = stored.map_err(lost)??;
        self.kept[number] = Some(kept);
        Ok(())
    }
}

pub(super) fn taken(kept: &[Kept]) -> Taken {
    let new = kept.iter().filter(|kept| kept.stored);
    Taken {
        chunks: kept.len(),
        new_bytes: new.map(|kept| u64::from(kept.chunk.raw_len)).sum(),
    }
}

impl Service {
    /// Stores a chunk at its home unless it is there, and keeps it from being reclaimed.
    async fn keep_chunk(&self, raw: Bytes, compress: bool) -> Result<Kept> {
        let raw_len = u32::try_from(raw.len()).expect("chunks end at 1 MiB");
        let hashed = raw.clone();
        let hash = move || (digest_of(&hashed), sum64_of(&hashed));
        let (digest, sum64) = self.0.cpu.run(hash).await?;
        let dedup = &self.0.parts.dedup;
        let held = dedup.hold(digest);
        let _turn = loop {
            if let Turn::Mine(turn) = dedup.take_turn(digest).await {
                break turn;
            }
        };
        let mut stored = false;
        if self.router().find_blob(digest)?.is_none() {
            let info = ValueInfo {
                raw_len: raw_len.into(),
                sum64,
            };
            let value = self.seal(Checked {
                info,
                data: raw,
                digest: Some(digest),
                compress,
            });
            let value = value.await?;
            let keep = Command::KeepBlob { digest, value };
            let home = self.router().shard_of_digest(digest);
            stored = self.router().write(home, keep).await? == Reply::BlobStored { stored: true };
        }
        Ok(Kept {
            chunk: Chunk { digest, raw_len },
            stored,
            _held: held,
        })
    }
}

/// Whether a chunk can have so many bytes.
pub(super) fn check_chunk_size(size: usize) -> Result<()> {
    if (1..=CHUNK_SIZE_MAX).contains(&size) {
        return Ok(());
    }
    let message = format!("a chunk has {size} bytes: it needs 1 to {CHUNK_SIZE_MAX}");
    Err(Error::invalid("CHUNK_SIZE", message).at("data"))
}

/// Whether a value can have so many chunks.
pub(super) fn check_count(count: usize) -> Result<()> {
    if count <= CHUNKS_MAX {
        return Ok(());
    }
    let message = format!(
        "too many chunks: count={count}, max={CHUNKS_MAX}; make them larger, 1 MiB at most"
    );
    Err(Error::too_large("TOO_MANY_CHUNKS", message).at("chunks"))
}

fn check_digest(expected: Option<Digest>, digest: Digest) -> Result<()> {
    match expected.filter(|expected| *expected != digest) {
        None => Ok(()),
        Some(expected) => {
            let message = format!(
                "digest does not match: BLAKE3 of the chunk received is {digest}, the request says {expected}"
            );
            Err(Error::invalid("DIGEST_MISMATCH", message).at("digest"))
        }
    }
}

pub(super) fn lost(error: JoinError) -> Error {
    Error::internal(
        "TASK_FAILED",
        format!("a part of a large value was lost: {error}"),
    )
}
