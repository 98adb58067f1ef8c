//! A large value on its way in: hashed and cut on the CPU pool while the next piece arrives, its
//! chunks stored as they come. It holds its blocks, however large the value is.

use super::super::Service;
use super::super::checked::{Checked, check_size, check_sums, key_in, size_max};
use super::super::put::{Form, Put, PutDone};
use super::Whole;
use super::blocks::{BLOCK_SIZE, Blocks};
use super::content::check_length;
use super::intake::{Intake, Kept, lost, taken};
use super::whole::Sums;
use crate::codec::{CUT_MIN, Cutter};
use crate::model::{Result, ValueInfo};
use bytes::{Bytes, BytesMut};
use tokio::task::JoinHandle;

/// A value that comes in pieces. If it is dropped before its end nothing of it is visible; its chunks
/// stay for the grace time, and are found when it is sent again.
#[derive(Debug)]
pub struct Upload {
    service: Service,
    size: u64,
    size_max: (u64, String),
    cutting: JoinHandle<Result<Cut>>,
    blocks: Blocks,
    intake: Intake,
}

/// What an upload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadDone {
    /// What its put did.
    pub put: PutDone,
    /// Bytes of the value.
    pub size: u64,
    /// xxh64 of the value.
    pub sum64: u64,
    /// Bytes of it that were not there before, as they came in.
    pub new_bytes: u64,
}

/// The part of an upload that needs every byte in its order.
#[derive(Debug, Default)]
struct Cutting {
    sums: Sums,
    cutter: Cutter,
    size: u64,
}

/// What came of a piece.
#[derive(Debug, Default)]
struct Cut {
    cutting: Cutting,
    chunks: Vec<Bytes>,
    /// A block that was filled.
    filled: Option<BytesMut>,
    /// The piece, for the thread that made it: memory that another gives back lies idle for a while.
    _taken: Bytes,
}

impl Cut {
    /// Before the first piece.
    fn begin() -> Self {
        let mut begun = Self::default();
        begun.cutting.cutter.move_to(Blocks::first());
        begun
    }
}

impl Cutting {
    /// Takes in a piece; what has no room goes to the next block.
    fn take(mut self, piece: Bytes, next: Option<BytesMut>) -> Cut {
        self.size += piece.len() as u64;
        self.sums.update(&piece);
        let fits = self.cutter.room().min(piece.len());
        let (here, there) = piece.split_at(fits);
        self.cutter.push(here);
        let mut chunks = Vec::new();
        if self.size > CUT_MIN {
            chunks.extend(std::iter::from_fn(|| self.cutter.next_chunk()));
        }
        let filled = next.map(|next| {
            chunks.extend(std::iter::from_fn(|| self.cutter.certain_chunk()));
            self.cutter.move_to(next)
        });
        self.cutter.push(there);
        Cut {
            cutting: self,
            chunks,
            filled,
            _taken: piece,
        }
    }
}

impl Service {
    /// Begins the upload of a value for a put, whose key can be one.
    ///
    /// # Errors
    /// `Disabled` (`SET_DISABLED`), `DiskFull` (`DISK_FULL`); `Invalid` for an impossible key.
    pub fn upload(&self, put: &Put<'_>) -> Result<Upload> {
        self.check_set_allowed()?;
        let namespace = put.namespace;
        if !namespace.options.by_content {
            key_in(namespace, put.key)?;
        }
        let server = (self.rules().large_size_max, "server.max_value_size");
        Ok(Upload {
            service: self.clone(),
            size: 0,
            size_max: size_max(namespace, server),
            cutting: tokio::spawn(async { Ok(Cut::begin()) }),
            blocks: Blocks::default(),
            intake: Intake::new(self, namespace.options.compress),
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
        let cutting = self.cut().await?;
        let next = match cutting.cutter.room() < piece.len() {
            true => Some(self.next_block().await?),
            false => None,
        };
        let cpu = self.service.0.cpu.clone();
        let take = move || cutting.take(piece, next);
        self.cutting = tokio::spawn(async move { cpu.run(take).await });
        Ok(())
    }

    /// Waits for a block that is free.
    async fn next_block(&mut self) -> Result<BytesMut> {
        loop {
            if let Some(block) = self.blocks.take() {
                return Ok(block);
            }
            if !self.intake.stored_one().await? {
                return Ok(self.blocks.replace());
            }
        }
    }

    /// Stores the value under its key, if it is what the put says of it and has the length that is
    /// `expected`. The put's own data is empty.
    ///
    /// # Errors
    /// `Invalid` (`SIZE_MISMATCH`, `SUM64_MISMATCH`, `DIGEST_MISMATCH`), and as [`Service::put`].
    pub async fn finish(mut self, put: Put<'_>, expected: Option<u64>) -> Result<UploadDone> {
        check_length(expected, self.size)?;
        let mut cutting = self.cut().await?;
        let size = self.size;
        let sum64 = cutting.sums.sum64.finish();
        if size <= CUT_MIN {
            let data = alone(cutting.cutter.into_rest());
            let put = self.service.put(Put { data, ..put }).await?;
            let new_bytes = if put.stored { size } else { 0 };
            return Ok(UploadDone {
                put,
                size,
                sum64,
                new_bytes,
            });
        }
        let last: Vec<Bytes> = std::iter::from_fn(|| cutting.cutter.last_chunk()).collect();
        self.store(last).await?;
        // Held until the list refers to them.
        let kept: Vec<Kept> = self.intake.finish_held().await?;
        let digest = cutting.sums.digest.finish();
        check_sums(&put, size, (sum64, Some(digest)))?;
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
        Ok(UploadDone {
            put: done,
            size,
            sum64,
            new_bytes: taken(&kept).new_bytes,
        })
    }

    /// What became of the last piece; its chunks are being stored.
    async fn cut(&mut self) -> Result<Cutting> {
        let cut = (&mut self.cutting).await.map_err(lost)??;
        self.blocks.extend(cut.filled);
        self.store(cut.chunks).await?;
        Ok(cut.cutting)
    }

    async fn store(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        for raw in chunks {
            self.intake.push(raw, None).await?;
        }
        Ok(())
    }
}

/// The data of a value that is not cut, which does not keep a whole block if it is small.
fn alone(data: Bytes) -> Bytes {
    match data.len() < BLOCK_SIZE {
        true => Bytes::copy_from_slice(&data),
        false => data,
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
