//! A large value on its way in: hashed and cut on the CPU pool while the next piece arrives, its
//! chunks stored as they come. It holds a few MiB, however large the value is.

use super::super::Service;
use super::super::checked::{Checked, check_size, check_sums, size_max};
use super::super::put::{Form, Put, PutDone};
use super::Whole;
use super::content::check_length;
use super::intake::{Intake, Kept, lost, taken};
use super::whole::Sums;
use crate::codec::{CUT_MIN, Cutter};
use crate::model::{Namespace, Result, ValueInfo};
use bytes::Bytes;
use tokio::task::JoinHandle;

/// A value that comes in pieces. If it is dropped before its end nothing of it is visible; its chunks
/// stay for the grace time, and are found when it is sent again.
#[derive(Debug)]
pub struct Upload {
    service: Service,
    size: u64,
    size_max: (u64, String),
    cutting: JoinHandle<Result<(Cutting, Vec<Bytes>)>>,
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
            cutting: tokio::spawn(async { Ok(Default::default()) }),
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
        let (cutting, chunks) = self.cut().await?;
        let cpu = self.service.0.cpu.clone();
        self.cutting = tokio::spawn(async move { cpu.run(move || cutting.take(&piece)).await });
        self.store(chunks).await
    }

    /// Stores the value under its key, if it is what the put says of it and has the length that is
    /// `expected`. The put's own data is empty.
    ///
    /// # Errors
    /// `Invalid` (`SIZE_MISMATCH`, `SUM64_MISMATCH`, `DIGEST_MISMATCH`), and as [`Service::put`].
    pub async fn finish(mut self, put: Put<'_>, expected: Option<u64>) -> Result<UploadDone> {
        check_length(expected, self.size)?;
        let (mut cutting, chunks) = self.cut().await?;
        let size = self.size;
        let sum64 = cutting.sums.sum64.finish();
        if size <= CUT_MIN {
            let data = cutting.cutter.into_rest();
            let put = self.service.put(Put { data, ..put }).await?;
            let new_bytes = if put.stored { size } else { 0 };
            return Ok(UploadDone {
                put,
                size,
                sum64,
                new_bytes,
            });
        }
        self.store(chunks).await?;
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

    /// What became of the last piece.
    async fn cut(&mut self) -> Result<(Cutting, Vec<Bytes>)> {
        (&mut self.cutting).await.map_err(lost)?
    }

    async fn store(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        for raw in chunks {
            self.intake.push(raw, None).await?;
        }
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
