//! A large value on its way in: hashed and cut on the CPU pool while the next piece arrives, its
//! chunks stored as they come. It holds a few MiB, however large the value is.

use super::super::Service;
use super::super::checked::{Checked, check_size, check_sums, size_max};
use super::super::put::{Form, Put, PutDone};
use super::Whole;
use super::whole::Sums;
use crate::codec::{CUT_MIN, Cutter, digest_of, sum64_of};
use crate::dedup::{HeldContent, Turn};
use crate::model::{Chunk, Command, Error, Namespace, Reply, Result, ValueInfo};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinHandle, JoinSet};

/// Bytes of chunks of one upload that are being stored at once.
const STORING_MAX: usize = 4 << 20;

/// A value that comes in pieces. If it is dropped before its end nothing of it is visible; its chunks
/// stay for the grace time, and are found when it is sent again.
#[derive(Debug)]
pub struct Upload {
    service: Service,
    size: u64,
    size_max: (u64, String),
    compress: bool,
    cutting: JoinHandle<Result<(Cutting, Vec<Bytes>)>>,
    storing: JoinSet<Result<(usize, Kept)>>,
    room: Arc<Semaphore>,
    /// By their place in the value.
    kept: Vec<Option<Kept>>,
}

/// What an upload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadDone {
    /// What its put did.
    pub put: PutDone,
    /// Bytes of the value.
    pub size: u64,
    /// Bytes of it that were not there before, as they came in.
    pub new_bytes: u64,
}

/// A chunk that is there, and stays as long as this lives.
#[derive(Debug)]
pub(super) struct Kept {
    pub chunk: Chunk,
    pub stored: bool,
    _held: HeldContent,
}

/// The part of an upload that needs every byte in its order.
#[derive(Debug, Default)]
struct Cutting {
    sums: Sums,
    cutter: Cutter,
    size: u64,
}

impl Cutting {
    fn take(mut self, piece: &[u8]) -> (Self, Vec<Bytes>) {
        self.size += piece.len() as u64;
        self.sums.update(piece);
        self.cutter.push(piece);
        let mut chunks = Vec::new();
        if self.size > CUT_MIN {
            chunks.extend(std::iter::from_fn(|| self.cutter.next_chunk()));
        }
        (self, chunks)
    }
}

impl Service {
    /// Begins an upload.
    ///
    /// # Errors
    /// `Disabled` (`SET_DISABLED`), `DiskFull` (`DISK_FULL`).
    pub fn upload(&self, namespace: &Namespace) -> Result<Upload> {
        self.check_set_allowed()?;
        let server = (self.rules().large_size_max, "server.max_value_size");
        Ok(Upload {
            service: self.clone(),
            size: 0,
            size_max: size_max(namespace, server),
            compress: namespace.options.compress,
            cutting: tokio::spawn(async { Ok(Default::default()) }),
            storing: JoinSet::new(),
            room: Arc::new(Semaphore::new(STORING_MAX)),
            kept: Vec::new(),
        })
    }

    /// Stores a chunk at its home unless it is there, and keeps it from being reclaimed.
    pub(super) async fn keep_chunk(&self, raw: Bytes, compress: bool) -> Result<Kept> {
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
            let value = self.seal(Checked {
                info: ValueInfo {
                    raw_len: raw_len.into(),
                    sum64,
                },
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

impl Upload {
    /// Takes in the next piece, of at most a few MiB; waits until there is room for it.
    ///
    /// # Errors
    /// `TooLarge` (`VALUE_TOO_LARGE`), `Disabled`, `DiskFull`; what the shards answer. The upload is
    /// over then.
    pub async fn push(&mut self, piece: Bytes) -> Result<()> {
        self.size += piece.len() as u64;
        check_size(self.size, self.size_max.clone())?;
        self.service.check_set_allowed()?;
        let (cutting, chunks) = self.cut().await?;
        let cpu = self.service.0.cpu.clone();
        self.cutting = tokio::spawn(async move { cpu.run(move || cutting.take(&piece)).await });
        self.store(chunks).await
    }

    /// Stores the value under its key, if it is what the put says of it. The put's own data is empty.
    ///
    /// # Errors
    /// `Invalid` (`SUM64_MISMATCH`, `DIGEST_MISMATCH`), and as [`Service::put`].
    pub async fn finish(mut self, put: Put<'_>) -> Result<UploadDone> {
        let (mut cutting, chunks) = self.cut().await?;
        let size = self.size;
        if size <= CUT_MIN {
            let data = cutting.cutter.into_rest();
            let put = self.service.put(Put { data, ..put }).await?;
            let new_bytes = if put.stored { size } else { 0 };
            return Ok(UploadDone {
                put,
                size,
                new_bytes,
            });
        }
        self.store(chunks).await?;
        let last: Vec<Bytes> = std::iter::from_fn(|| cutting.cutter.last_chunk()).collect();
        self.store(last).await?;
        while let Some(stored) = self.storing.join_next().await {
            self.note(stored)?;
        }
        let (digest, sum64) = (cutting.sums.digest.finish(), cutting.sums.sum64.finish());
        check_sums(&put, size, (sum64, Some(digest)))?;
        // Held until the list refers to them.
        let kept: Vec<Kept> = self.kept.into_iter().flatten().collect();
        let info = ValueInfo {
            raw_len: size,
            sum64,
        };
        let whole = Whole {
            digest,
            info,
            chunks: kept.iter().map(|kept| kept.chunk).collect(),
        };
        let done = self.service.put_whole(&put, &whole).await?;
        let new = kept.iter().filter(|kept| kept.stored);
        Ok(UploadDone {
            put: done,
            size,
            new_bytes: new.map(|kept| u64::from(kept.chunk.raw_len)).sum(),
        })
    }

    /// What became of the last piece.
    async fn cut(&mut self) -> Result<(Cutting, Vec<Bytes>)> {
        (&mut self.cutting).await.map_err(lost)?
    }

    async fn store(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        for raw in chunks {
            let bytes = u32::try_from(raw.len()).expect("chunks end at 1 MiB");
            let room = self.room.clone().acquire_many_owned(bytes).await;
            let (service, compress, number) =
                (self.service.clone(), self.compress, self.kept.len());
            self.kept.push(None);
            self.storing.spawn(async move {
                let _room = room;
                Ok((number, service.keep_chunk(raw, compress).await?))
            });
            while let Some(stored) = self.storing.try_join_next() {
                self.note(stored)?;
            }
        }
        Ok(())
    }

    fn note(&mut self, stored: Result<Result<(usize, Kept)>, JoinError>) -> Result<()> {
        let (number, kept) = stored.map_err(lost)??;
        self.kept[number] = Some(kept);
        Ok(())
    }
}

impl Service {
    /// Stores a value of which every chunk is there and held.
    pub(super) async fn put_whole(&self, put: &Put<'_>, whole: &Whole) -> Result<PutDone> {
        let value = Checked {
            data: Bytes::new(),
            info: whole.info,
            digest: Some(whole.digest),
            compress: put.namespace.options.compress,
        };
        self.put_checked(put, &value, Form::List(whole)).await
    }
}

fn lost(error: JoinError) -> Error {
    Error::internal(
        "TASK_FAILED",
        format!("a part of an upload was lost: {error}"),
    )
}
