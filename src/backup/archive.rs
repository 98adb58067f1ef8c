//! The two ends of an archive: its header and its footer. FORMAT.md draws them.

use super::chain::{ChainId, Link, Origin};
use super::frame::{take_u32, take_u64, take_u128};
use crate::model::{StoreId, Timestamp, Version};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The newest archive format that is known, and the one that is written.
pub(super) const FORMAT_VERSION: u32 = 4;

const MAGIC_SIZE: usize = 8;
pub(super) const HEADER_MAGIC: [u8; MAGIC_SIZE] = *b"skbackup";
const FOOTER_MAGIC: [u8; MAGIC_SIZE] = *b"skfooter";
const END_MAGIC: [u8; MAGIC_SIZE] = *b"skbakend";

const FORMAT_AT: usize = MAGIC_SIZE;
const FLAGS_AT: usize = FORMAT_AT + 4;
const STORE_AT: usize = FLAGS_AT + 4;
const CHAIN_AT: usize = STORE_AT + 16;
const SINCE_AT: usize = CHAIN_AT + 16;
const MAX_AT: usize = SINCE_AT + 8;
const HORIZON_AT: usize = MAX_AT + 8;
const CREATED_AT: usize = HORIZON_AT + 8;
const SALT_AT: usize = CREATED_AT + 8;
const HEADER_SUM_AT: usize = SALT_AT + 8;
pub(super) const HEADER_SIZE: usize = HEADER_SUM_AT + 8;

const COUNTS_AT: usize = MAGIC_SIZE;
const LENGTH_AT: usize = COUNTS_AT + 5 * 8;
const HASH_AT: usize = LENGTH_AT + 8;
const FOOTER_SUM_AT: usize = HASH_AT + 16;
const END_AT: usize = FOOTER_SUM_AT + 8;
pub(super) const FOOTER_SIZE: usize = END_AT + MAGIC_SIZE;

/// What an archive says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveHeader {
    /// The store that it was taken from.
    pub store: StoreId,
    /// The chain that it belongs to.
    pub chain: ChainId,
    /// It holds the changes after this version; 0 for a full backup.
    pub since: Version,
    /// The version up to which it is complete.
    pub max: Version,
    /// Deletes up to this version had been purged when it was taken.
    pub horizon: Version,
    /// When it was taken.
    pub created_at: Timestamp,
}

impl ArchiveHeader {
    /// The header of an export, which is of no chain: keys of one namespace as of a version, for any
    /// store to take in under new versions. No store and no chain has the ids that it names.
    #[must_use]
    pub fn of_export(version: Version, now: Timestamp) -> Self {
        Self {
            store: StoreId(0),
            chain: ChainId(0),
            since: Version(0),
            max: version,
            horizon: Version(0),
            created_at: now,
        }
    }

    /// Whether it is an export.
    #[must_use]
    pub fn is_export(&self) -> bool {
        self.store == StoreId(0) && self.chain == ChainId(0)
    }

    /// Its place in its chain.
    #[must_use]
    pub fn link(&self) -> Link {
        Link {
            origin: Origin::Chain(self.chain),
            since: self.since,
            max: self.max,
            horizon: self.horizon,
        }
    }

    pub(super) fn encode(&self, salt: u64) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        bytes[..FORMAT_AT].copy_from_slice(&HEADER_MAGIC);
        bytes[FORMAT_AT..FLAGS_AT].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[STORE_AT..CHAIN_AT].copy_from_slice(&self.store.0.to_le_bytes());
        bytes[CHAIN_AT..SINCE_AT].copy_from_slice(&self.chain.0.to_le_bytes());
        bytes[SINCE_AT..MAX_AT].copy_from_slice(&self.since.0.to_le_bytes());
        bytes[MAX_AT..HORIZON_AT].copy_from_slice(&self.max.0.to_le_bytes());
        bytes[HORIZON_AT..CREATED_AT].copy_from_slice(&self.horizon.0.to_le_bytes());
        bytes[CREATED_AT..SALT_AT].copy_from_slice(&self.created_at.0.to_le_bytes());
        bytes[SALT_AT..HEADER_SUM_AT].copy_from_slice(&salt.to_le_bytes());
        let sum = xxh3_64(&bytes[..HEADER_SUM_AT]);
        bytes[HEADER_SUM_AT..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The header and the salt of the file's checksums.
    pub(super) fn decode(bytes: &[u8; HEADER_SIZE]) -> Result<(Self, u64), HeaderFault> {
        if bytes[..MAGIC_SIZE] != HEADER_MAGIC {
            return Err(HeaderFault::Damaged("the magic at its start is wrong"));
        }
        if take_u64(bytes, HEADER_SUM_AT) != xxh3_64(&bytes[..HEADER_SUM_AT]) {
            return Err(HeaderFault::Damaged("the header's checksum does not match"));
        }
        let format = take_u32(bytes, FORMAT_AT);
        if format > FORMAT_VERSION {
            return Err(HeaderFault::Newer(format));
        }
        let header = Self {
            store: StoreId(take_u128(bytes, STORE_AT)),
            chain: ChainId(take_u128(bytes, CHAIN_AT)),
            since: Version(take_u64(bytes, SINCE_AT)),
            max: Version(take_u64(bytes, MAX_AT)),
            horizon: Version(take_u64(bytes, HORIZON_AT)),
            created_at: Timestamp(take_u64(bytes, CREATED_AT)),
        };
        if format == 0 || take_u32(bytes, FLAGS_AT) != 0 {
            return Err(HeaderFault::Damaged("the header's flags are unknown"));
        }
        if header.since > header.max {
            return Err(HeaderFault::Damaged("the header's since is above its max"));
        }
        Ok((header, take_u64(bytes, SALT_AT)))
    }
}

pub(super) enum HeaderFault {
    Newer(u32),
    Damaged(&'static str),
}

/// How many entries of each kind an archive holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Large values, each content once.
    pub blobs: u64,
    /// Small values, with their keys.
    pub values: u64,
    /// Keys whose values are blobs.
    pub references: u64,
    /// Deletes.
    pub tombstones: u64,
    /// Bytes of all payloads.
    pub payload_bytes: u64,
}

impl Counts {
    /// Entries that name a key.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.values + self.references + self.tombstones
    }
}

/// What stands at the very end, so that a cut or lengthened file shows at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    pub counts: Counts,
    /// Of the whole file, footer included.
    pub length: u64,
    /// Over everything before the footer.
    pub hash: u128,
}

impl Footer {
    pub fn encode(&self, salt: u64) -> [u8; FOOTER_SIZE] {
        let counts = &self.counts;
        let mut bytes = [0; FOOTER_SIZE];
        bytes[..COUNTS_AT].copy_from_slice(&FOOTER_MAGIC);
        let numbers = [
            counts.blobs,
            counts.values,
            counts.references,
            counts.tombstones,
            counts.payload_bytes,
            self.length,
        ];
        for (place, number) in bytes[COUNTS_AT..HASH_AT].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes[HASH_AT..FOOTER_SUM_AT].copy_from_slice(&self.hash.to_le_bytes());
        let sum = xxh3_64_with_seed(&bytes[..FOOTER_SUM_AT], salt);
        bytes[FOOTER_SUM_AT..END_AT].copy_from_slice(&sum.to_le_bytes());
        bytes[END_AT..].copy_from_slice(&END_MAGIC);
        bytes
    }

    pub fn decode(bytes: &[u8; FOOTER_SIZE], salt: u64) -> Result<Self, &'static str> {
        if bytes[..COUNTS_AT] != FOOTER_MAGIC || bytes[END_AT..] != END_MAGIC {
            return Err("there is no footer: the file is cut, or was never finished");
        }
        let sum = xxh3_64_with_seed(&bytes[..FOOTER_SUM_AT], salt);
        if take_u64(bytes, FOOTER_SUM_AT) != sum {
            return Err("the footer's checksum does not match");
        }
        let number = |index: usize| take_u64(bytes, COUNTS_AT + 8 * index);
        Ok(Self {
            counts: Counts {
                blobs: number(0),
                values: number(1),
                references: number(2),
                tombstones: number(3),
                payload_bytes: number(4),
            },
            length: take_u64(bytes, LENGTH_AT),
            hash: take_u128(bytes, HASH_AT),
        })
    }
}
