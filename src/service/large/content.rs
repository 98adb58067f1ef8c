//! Values whose bytes are there: what is missing of them, and puts that name them.

use super::super::Service;
use super::super::blocking;
use super::super::checked::{check_size, check_sums, size_max};
use super::super::put::{Put, PutDone};
use super::Whole;
use super::intake::{check_chunk_size, check_count};
use super::list::chunk_missing;
use crate::codec::CUT_MIN;
use crate::dedup::HeldContent;
use crate::model::{Chunk, Digest, Error, ErrorKind, Result, ValueInfo};

/// A put of a value whose bytes are there.
#[derive(Debug, Clone)]
pub struct ContentDone {
    /// What it did.
    pub put: PutDone,
    /// Length and checksum of the value.
    pub info: ValueInfo,
}

impl Service {
    /// Which contents are not there, in their order. The others stay for the grace time from now on.
    ///
    /// # Errors
    /// What the shards answer.
    pub async fn find_missing(&self, digests: Vec<Digest>) -> Result<Vec<Digest>> {
        let service = self.clone();
        blocking(move || {
            let mut missing = Vec::new();
            for digest in digests {
                // Held before it is looked for, and for the grace time after.
                drop(service.0.parts.dedup.hold(digest));
                if service.router().find_blob(digest)?.is_none() {
                    missing.push(digest);
                }
            }
            Ok(missing)
        })
        .await
    }

    /// Stores a value that is there under its digest, as a whole or in these chunks. The put's digest
    /// is set, and its own data is empty.
    ///
    /// # Errors
    /// `NotFound` (`CONTENT_NOT_FOUND`), `Conflict` (`CHUNKS_MISSING`), `Invalid` for what is no list of
    /// this value (`CHUNK_SIZE`, `VALUE_NOT_CUT`, `SIZE_MISMATCH`, `DIGEST_MISMATCH`,
    /// `SUM64_MISMATCH`), and as [`Service::put`].
    pub async fn put_by_digest(
        &self,
        put: Put<'_>,
        (digest, size): (Digest, Option<u64>),
        chunks: Vec<Chunk>,
    ) -> Result<ContentDone> {
        self.check_set_allowed()?;
        let server = (self.rules().large_size_max, "server.max_value_size");
        let limit = size_max(put.namespace, server);
        let mut held = Vec::new();
        let whole = match self.router().find_blob(digest)? {
            Some(there) => Whole {
                digest,
                info: there.row.info,
                chunks: chunks.into(),
            },
            None if chunks.is_empty() => return Err(not_there(digest)),
            None => {
                let raw_len = check_chunks(&chunks)?;
                check_size(raw_len, limit.clone())?;
                held = self.hold_chunks(&chunks).await?;
                self.whole_of(digest, raw_len, chunks).await?
            }
        };
        let info = whole.info;
        check_size(info.raw_len, limit)?;
        check_length(size, info.raw_len)?;
        check_sums(&put, info.raw_len, (info.sum64, Some(whole.digest)))?;
        let put = self.put_whole(&put, &whole).await?;
        drop(held);
        Ok(ContentDone { put, info })
    }

    /// Keeps chunks from being reclaimed, all of which must be there.
    async fn hold_chunks(&self, chunks: &[Chunk]) -> Result<Vec<HeldContent>> {
        let mut held = Vec::with_capacity(chunks.len());
        for (number, chunk) in chunks.iter().enumerate() {
            let there = self.hold_content(chunk.digest).await?;
            held.push(there.ok_or_else(|| chunk_missing(chunk.digest))?);
            let stored = self.router().find_blob(chunk.digest)?;
            let size = stored.map_or(0, |stored| stored.row.info.raw_len);
            if size != u64::from(chunk.raw_len) {
                let message = format!(
                    "chunk {} has {size} bytes, the request says {}",
                    chunk.digest, chunk.raw_len
                );
                let field = format!("chunks[{number}].size");
                return Err(Error::invalid("CHUNK_SIZE", message).at(field));
            }
            tokio::task::consume_budget().await;
        }
        Ok(held)
    }
}

/// Bytes of a list of chunks, if a value can have it.
fn check_chunks(chunks: &[Chunk]) -> Result<u64> {
    check_count(chunks.len())?;
    for (number, chunk) in chunks.iter().enumerate() {
        let size = usize::try_from(chunk.raw_len).unwrap_or(usize::MAX);
        let field = format!("chunks[{number}]");
        check_chunk_size(size).map_err(|error| {
            Error::invalid("CHUNK_SIZE", error.message().to_owned()).at(format!("{field}.size"))
        })?;
    }
    let size = chunks.iter().map(|chunk| u64::from(chunk.raw_len)).sum();
    if size > CUT_MIN {
        return Ok(size);
    }
    let message = format!(
        "a value of {size} bytes is not stored in chunks: up to {CUT_MIN} bytes, send it whole"
    );
    Err(Error::invalid("VALUE_NOT_CUT", message).at("chunks"))
}

/// Whether a value has the length that a client says.
pub(super) fn check_length(expected: Option<u64>, size: u64) -> Result<()> {
    match expected.filter(|expected| *expected != size) {
        None => Ok(()),
        Some(expected) => {
            let message = format!(
                "size does not match: the value has {size} bytes, the request says {expected}"
            );
            Err(Error::invalid("SIZE_MISMATCH", message).at("size"))
        }
    }
}

/// That no bytes are there under a digest.
pub(super) fn not_there(digest: Digest) -> Error {
    let message = format!("content {digest} is not there (any more): send its bytes");
    Error::new(ErrorKind::NotFound, "CONTENT_NOT_FOUND", message)
}
