//! The one door: identity, limits, disk gate, byte budget, deadline, seal, route.
// A SKELETON of the API for the rooms above; the bodies come with the storage rooms.
#![allow(clippy::unused_async, missing_docs)]
mod disk_gate;
pub use disk_gate::DiskGate;

use crate::model::{Key, Result, Version};
use bytes::Bytes;

#[derive(Debug, Clone)]
pub struct Service {}

/// A found value.
#[derive(Debug, Clone)]
pub struct Found {
    pub version: Version,
    pub sum64: u64,
    pub data: Bytes,
}

/// What is known without reading the value.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    pub version: Version,
    pub raw_len: u64,
    pub sum64: u64,
}

#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Stats {
    pub key_count: u64,
    pub max_version: u64,
    /// bytes of the index on disk
    pub index_bytes: u64,
    /// bytes of the log on disk
    pub log_bytes: u64,
    // more to come (logical/unique/physical bytes, shards' health...)
}

#[derive(Debug, Clone)]
pub struct BackupDone {
    /// absolute path of the file
    pub target: std::path::PathBuf,
    pub since: Version,
    pub max: Version,
    pub records: u64,
}

impl Service {
    /// Stores. `key` may be anything in content mode (it is ignored there). Returns the key under which it stands.
    /// Errors (kind/reason) in this order: Disabled/SET_DISABLED (operator's switch) and DiskFull/DISK_FULL first;
    /// Invalid/SUM64_MISMATCH; TooLarge/VALUE_TOO_LARGE; Invalid/KEY_EMPTY; TooLarge/KEY_TOO_LARGE;
    /// Overloaded/*, Unavailable/*, Timeout/*, Corrupt/*, Internal/*.
    pub async fn set(&self, _key: &[u8], _data: Bytes, _sum64: u64) -> Result<Key> {
        unimplemented!()
    }
    pub async fn get(&self, _key: &[u8]) -> Result<Option<Found>> {
        unimplemented!()
    }
    pub async fn head(&self, _key: &[u8]) -> Result<Option<Head>> {
        unimplemented!()
    }
    /// `None` on a miss. Disabled/DELETE_DISABLED comes before every other check.
    pub async fn delete(&self, _key: &[u8]) -> Result<Option<Version>> {
        unimplemented!()
    }
    /// Whether Delete is switched off: checked before an empty key is.
    pub fn check_delete_allowed(&self) -> Result<()> {
        unimplemented!()
    }
    /// Whether Set is switched off or the disk is full: checked before anything else of a Set.
    pub fn check_set_allowed(&self) -> Result<()> {
        unimplemented!()
    }
    /// In byte order across shards; `page` from 0.
    pub async fn list(
        &self,
        _prefix: &[u8],
        _page: u64,
        _page_size: usize,
    ) -> Result<Vec<(Key, Version)>> {
        unimplemented!()
    }
    pub async fn count(&self, _prefix: &[u8]) -> Result<u64> {
        unimplemented!()
    }
    pub async fn stats(&self) -> Result<Stats> {
        unimplemented!()
    }
    pub async fn sync(&self) -> Result<()> {
        unimplemented!()
    }
    /// Whether anything was cleaned up.
    pub async fn gc(&self) -> Result<bool> {
        unimplemented!()
    }
    /// `path`: what the user gave; the file is `<path>_[<since>-<max>].zstdb.bak`.
    pub async fn backup(&self, _path: &str, _since: Version) -> Result<BackupDone> {
        unimplemented!()
    }
    pub async fn restore(&self, _path: &str) -> Result<()> {
        unimplemented!()
    }
    /// Asks the process to shut down cleanly; returns at once.
    pub fn stop(&self) {
        unimplemented!()
    }
}
