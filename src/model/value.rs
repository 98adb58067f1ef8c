//! A value as it moves inside the house: sealed once at the door, opened once on its way out.

use super::{BlobRef, Digest, RefId};
use bytes::Bytes;

/// How a payload is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// The raw bytes.
    Raw,
    /// One zstd frame of the raw bytes.
    Zstd,
    /// The list of the chunks that the raw bytes are made of, each a blob of its own.
    Chunks,
}

/// What is known of a value without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ValueInfo {
    /// Bytes of the raw value.
    pub raw_len: u64,
    /// xxh64 of the raw value, seed 0: the client's checksum.
    pub sum64: u64,
}

/// A value with everything the log needs to store it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedValue {
    /// Length and checksum of the raw value.
    pub info: ValueInfo,
    /// BLAKE3 of the raw value, where it was needed.
    pub digest: Option<Digest>,
    /// How `payload` is stored.
    pub codec: Codec,
    /// XXH3-64 of `payload`, made at the door so that damage on the way to the disk shows too.
    pub payload_sum: u64,
    /// The stored bytes.
    pub payload: Bytes,
}

/// A piece of a large value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Of the raw piece, which is a blob of its own.
    pub digest: Digest,
    /// Bytes of the raw piece.
    pub raw_len: u32,
}

/// What a large value is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkList {
    /// The name of the list's references: it has one to each of its chunks, all by this name.
    pub ref_id: RefId,
    /// The pieces in their order; one may come again.
    pub chunks: Vec<Chunk>,
}

impl ChunkList {
    /// The list's references, each once.
    #[must_use]
    pub fn references(&self) -> Vec<BlobRef> {
        let ref_id = self.ref_id;
        let mut digests: Vec<Digest> = self.chunks.iter().map(|chunk| chunk.digest).collect();
        digests.sort_unstable();
        digests.dedup();
        let blob = |digest| BlobRef { digest, ref_id };
        digests.into_iter().map(blob).collect()
    }
}
