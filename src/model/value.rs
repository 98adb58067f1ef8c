//! A value as it moves inside the house: sealed once at the door, opened once on its way out.

use super::Digest;
use bytes::Bytes;

/// How a payload is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// The raw bytes.
    Raw,
    /// One zstd frame of the raw bytes.
    Zstd,
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
