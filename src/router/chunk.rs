//! The chunks of large values, now and at a moment.

use super::{FoundValue, Moment, Router};
use crate::model::{Chunk, Error, Result, ShardId};
use crate::shard::{Found, ShardError};
use bytes::{Bytes, BytesMut};
use std::ops::Range;

impl Router {
    /// The raw bytes of a chunk. May wait for the disk.
    ///
    /// # Errors
    /// `Corrupt` when it is damaged or not there; what its shard answers.
    pub fn chunk(&self, chunk: &Chunk) -> Result<Bytes> {
        let shard = self.shard_of_digest(chunk.digest);
        let found = self.find_blob(chunk.digest)?;
        self.open_chunk(shard, chunk, found)
    }

    fn open_chunk(&self, shard: ShardId, chunk: &Chunk, found: Option<Found>) -> Result<Bytes> {
        let found = found.ok_or_else(|| missing(shard, chunk))?;
        let opened = found.payload().and_then(|payload| found.open(payload));
        let raw = self.told(shard, opened)?;
        if raw.len() as u64 == u64::from(chunk.raw_len) {
            return Ok(raw);
        }
        Err(missing(shard, chunk))
    }
}

impl Moment {
    /// As [`Router::chunk`], at this moment.
    ///
    /// # Errors
    /// As there.
    pub fn chunk(&self, chunk: &Chunk) -> Result<Bytes> {
        let shard = self.router.shard_of_digest(chunk.digest);
        let found: Result<_, ShardError> = self.at(shard).blob(chunk.digest);
        let found = self.router.told(shard, found)?;
        self.router.open_chunk(shard, chunk, found)
    }

    /// A range of the raw value of a list's chunks, which lies in it. Only those are read that it
    /// needs.
    pub(super) fn assemble(&self, found: &FoundValue, range: Range<u64>) -> Result<Bytes> {
        let list = self.router.told(found.shard, found.body.chunks())?;
        let size = usize::try_from(range.end - range.start).unwrap_or_default();
        let mut value = BytesMut::with_capacity(size);
        for (chunk, part) in list.parts(range) {
            value.extend_from_slice(&self.chunk(&chunk)?[part]);
        }
        Ok(value.freeze())
    }
}

fn missing(shard: ShardId, chunk: &Chunk) -> Error {
    let message = format!(
        "shard {shard}: chunk {} of {} bytes is not there; run `shardkeep verify`",
        chunk.digest, chunk.raw_len
    );
    Error::corrupt("CONTENT_MISSING", message)
}
