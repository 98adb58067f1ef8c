//! The checksums, each with its one job: `sum64` (xxh64) is the client's, `payload_sum` (XXH3-64)
//! finds damage of stored bytes, the digest (BLAKE3) names content, xxh3 spreads keys over slots.

use super::Space;
use crate::model::{Digest, Key, NamespaceId, Slot};
use xxhash_rust::xxh3::xxh3_64;
use xxhash_rust::xxh64::{Xxh64, xxh64};

/// BLAKE3-256 of a raw value.
#[must_use]
pub fn digest_of(raw: &[u8]) -> Digest {
    Digest(*blake3::hash(raw).as_bytes())
}

/// xxh64 of a raw value with seed 0: what zstdb's clients send and expect.
#[must_use]
pub fn sum64_of(raw: &[u8]) -> u64 {
    xxh64(raw, 0)
}

/// XXH3-64 of stored bytes.
#[must_use]
pub fn payload_sum(payload: &[u8]) -> u64 {
    xxh3_64(payload)
}

/// The slot of a key: that of the digest it spells, so that a content-addressed value and its key
/// live in one shard, or else `xxh3(key) % 1024`.
#[must_use]
pub fn slot_of(key: &[u8]) -> Slot {
    slot_of_id(Space::Key, key)
}

/// The slot of a key by its id in a space of keys. In a namespace other than the default one, the
/// namespace is hashed with the key, but a digest's key is still at home where its content is.
#[must_use]
pub fn slot_of_id(space: Space, id: &[u8]) -> Slot {
    let key = match space {
        Space::NamespacedKey => id.get(NamespaceId::PREFIX_SIZE..).unwrap_or_default(),
        _ => id,
    };
    Digest::parse_hex(key).map_or_else(|| reduce(xxh3_64(id)), Digest::slot)
}

impl Key {
    /// The slot that it is in.
    #[must_use]
    pub fn slot(&self) -> Slot {
        slot_of_id(self.space(), self.id())
    }
}

impl Digest {
    /// The slot of a blob: its first eight bytes, which BLAKE3 has mixed well enough.
    #[must_use]
    pub fn slot(self) -> Slot {
        let mut head = [0; 8];
        head.copy_from_slice(&self.0[..8]);
        reduce(u64::from_le_bytes(head))
    }
}

fn reduce(hash: u64) -> Slot {
    Slot(u16::try_from(hash % Slot::COUNT as u64).expect("a remainder of 1024 fits u16"))
}

/// BLAKE3 over data that comes in pieces.
#[derive(Debug, Default)]
pub struct StreamDigest(blake3::Hasher);

impl StreamDigest {
    /// Takes in the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces.
    #[must_use]
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

/// xxh64 over data that comes in pieces, seed 0.
#[derive(Clone)]
pub struct StreamSum(Xxh64);

impl Default for StreamSum {
    fn default() -> Self {
        Self(Xxh64::new(0))
    }
}

impl std::fmt::Debug for StreamSum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamSum").finish_non_exhaustive()
    }
}

impl StreamSum {
    /// Takes in the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The sum of all pieces.
    #[must_use]
    pub fn finish(&self) -> u64 {
        self.0.digest()
    }
}
