//! A large value as it is known before it has a list: its sums, and that its chunks make them.

use super::super::Service;
use crate::codec::{StreamDigest, StreamSum};
use crate::model::{Chunk, Digest, Error, Key, Result, ValueInfo};
use std::sync::Arc;

/// A value in chunks.
#[derive(Debug, Clone)]
pub(in super::super) struct Whole {
    pub digest: Digest,
    pub info: ValueInfo,
    /// In their order.
    pub chunks: Arc<[Chunk]>,
}

/// Chunks that are hashed before others get their turn on the CPU.
const CHUNKS_A_TURN: usize = 8;

/// What a whole value's sums are computed with, piece by piece.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub digest: StreamDigest,
    pub sum64: StreamSum,
}

impl Sums {
    pub fn update(&mut self, piece: &[u8]) {
        self.digest.update(piece);
        self.sum64.update(piece);
    }
}

impl Service {
    /// The value that stored chunks make up, if it has this digest.
    ///
    /// # Errors
    /// `Invalid` (`DIGEST_MISMATCH`); what the shards answer.
    pub(in super::super) async fn whole_of(
        &self,
        digest: Digest,
        raw_len: u64,
        chunks: Vec<Chunk>,
    ) -> Result<Whole> {
        let mut sums = Sums::default();
        for turn in chunks.chunks(CHUNKS_A_TURN) {
            let (router, turn) = (self.router().clone(), turn.to_vec());
            let work = move || -> Result<Sums> {
                for chunk in &turn {
                    sums.update(&router.chunk(chunk)?);
                }
                Ok(sums)
            };
            sums = self.0.cpu.run(work).await??;
        }
        let (actual, sum64) = (sums.digest.finish(), sums.sum64.finish());
        if actual != digest {
            let message = format!(
                "digest does not match: BLAKE3 of the chunks together is {actual}, the request says {digest}"
            );
            return Err(Error::invalid("DIGEST_MISMATCH", message).at("digest"));
        }
        let info = ValueInfo { raw_len, sum64 };
        Ok(Whole {
            digest,
            info,
            chunks: chunks.into(),
        })
    }
}

/// That a value does not fit an answer.
pub(in super::super) fn needs_download(key: &Key, size: u64, max: u64) -> Error {
    let message = format!(
        "the value of key {key} is too large for one answer: size={size}, max={max} (server.max_upload_size); read it with Download, or a part of it with a range"
    );
    Error::too_large("VALUE_NEEDS_DOWNLOAD", message)
}
