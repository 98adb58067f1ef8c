//! Get and Head.

use super::{Service, blocking};
use crate::model::{Key, Result, Version};
use crate::router::FoundValue;
use bytes::Bytes;

/// A found value.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its key's version.
    pub version: Version,
    /// xxh64 of the raw value.
    pub sum64: u64,
    /// The raw value.
    pub data: Bytes,
}

/// What is known of a value without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its key's version.
    pub version: Version,
    /// Bytes of the raw value.
    pub raw_len: u64,
    /// xxh64 of the raw value.
    pub sum64: u64,
}

impl Service {
    /// The value of a key. Read on this thread when no disk is needed, and opened here when small.
    ///
    /// # Errors
    /// `Invalid` for an impossible key; `Corrupt`, naming file and offset; what the shards answer.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        let key = Key::new(key)?;
        if let Some(found) = self.recall(&key)? {
            return Ok(Some(found));
        }
        let Some(found) = self.router().find_value(&key)? else {
            return Ok(None);
        };
        let record = found.record.clone();
        let cached = self
            .router()
            .told(found.shard, found.body.payload_cached())?;
        let data = match cached {
            Some(payload) if self.is_cheap(&found, &payload) => {
                self.router().told(found.shard, found.body.open(payload))?
            }
            Some(payload) => self.open_on_pool(found, payload).await?,
            None => {
                let router = self.router().clone();
                blocking(move || {
                    let opened = found
                        .body
                        .payload()
                        .and_then(|payload| found.body.open(payload));
                    router.told(found.shard, opened)
                })
                .await?
            }
        };
        self.0.recent.keep(key, &record, &data);
        Ok(Some(Found {
            version: record.row.version,
            sum64: record.row.info.sum64,
            data,
        }))
    }

    /// The value of a key, if this thread keeps it and it is still the newest.
    fn recall(&self, key: &Key) -> Result<Option<Found>> {
        let Some(recent) = self.0.recent.get(key) else {
            return Ok(None);
        };
        let expired = recent.expiry.is_some_and(|at| at <= self.router().now());
        if expired || !self.router().is_unchanged(key, recent.seen)? {
            return Ok(None);
        }
        Ok(Some(Found {
            version: recent.version,
            sum64: recent.sum64,
            data: recent.data,
        }))
    }

    /// What is known of a key's value without reading it.
    ///
    /// # Errors
    /// `Invalid` for an impossible key; what the shards answer.
    pub async fn head(&self, key: &[u8]) -> Result<Option<Head>> {
        let found = self.router().find(&Key::new(key)?)?;
        Ok(found.map(|found| Head {
            version: found.row.version,
            raw_len: found.row.info.raw_len,
            sum64: found.row.info.sum64,
        }))
    }

    fn is_cheap(&self, found: &FoundValue, payload: &Bytes) -> bool {
        let offload = self.rules().offload_size as u64;
        !found.body.is_compressed()
            || found.body.row.info.raw_len.max(payload.len() as u64) < offload
    }

    async fn open_on_pool(&self, found: FoundValue, payload: Bytes) -> Result<Bytes> {
        let shard = found.shard;
        let opened = self.0.cpu.run(move || found.body.open(payload)).await?;
        self.router().told(shard, opened)
    }
}
