//! Get and Head.

use super::recent::Recent;
use super::{Service, blocking};
use crate::codec::{decode_attributes, digest_of};
use crate::model::{Attributes, Digest, Error, Key, Result, Timestamp, Version};
use crate::router::FoundValue;
use crate::shard::Found as Record;
use bytes::Bytes;

/// A found value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What is known of it.
    pub head: Head,
    /// The raw value.
    pub data: Bytes,
}

/// What is known of a value without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its key's version.
    pub version: Version,
    /// Bytes of the raw value.
    pub raw_len: u64,
    /// xxh64 of the raw value.
    pub sum64: u64,
    /// BLAKE3 of the raw value, where the record names it.
    pub digest: Option<Digest>,
    /// When it expires.
    pub expiry: Option<Timestamp>,
    /// What its client says of it, encoded; see [`Head::attributes`].
    pub attributes: Bytes,
}

impl Head {
    /// What the record of a key says.
    pub(super) fn of(key: &Key, record: &Record) -> Self {
        let row = &record.row;
        let spelled = || key.digest().filter(|_| row.content);
        Self {
            version: row.version,
            raw_len: row.info.raw_len,
            sum64: row.info.sum64,
            digest: record.link().map(|link| link.digest).or_else(spelled),
            expiry: row.expiry,
            attributes: row.attributes.clone(),
        }
    }

    /// What its client says of it.
    ///
    /// # Errors
    /// `Corrupt` when the index is not what was written.
    pub fn attributes(&self) -> Result<Attributes> {
        decode_attributes(&self.attributes).map_err(|error| {
            let version = self.version;
            let message = format!(
                "what stands with version {version} cannot be read: {error}; run `shardkeep verify`"
            );
            Error::corrupt("ATTRIBUTES_DAMAGED", message)
        })
    }

    /// With the digest of the raw value, if the record has not named it.
    #[must_use]
    pub(super) fn with_digest_of(self, raw: &[u8]) -> Self {
        let digest = self.digest.or_else(|| Some(digest_of(raw)));
        Self { digest, ..self }
    }
}

impl Service {
    /// The value of a key. Read on this thread when no disk is needed, and opened here when small.
    ///
    /// # Errors
    /// `Invalid` for an impossible key; `Corrupt`, naming file and offset; what the shards answer.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        self.get_key(&Key::new(key)?).await
    }

    /// As [`Service::get`], and the digest is always known.
    ///
    /// # Errors
    /// As [`Service::get`].
    pub async fn get_with_digest(&self, key: &[u8]) -> Result<Option<Found>> {
        let key = Key::new(key).map_err(|error| error.at("key"))?;
        let found = self.get_key(&key).await?;
        Ok(found.map(|found| Found {
            head: found.head.with_digest_of(&found.data),
            ..found
        }))
    }

    /// What is known of a key's value, its digest included. A small value that does not name its
    /// digest is read for it.
    ///
    /// # Errors
    /// As [`Service::get`].
    pub async fn head_with_digest(&self, key: &[u8]) -> Result<Option<Head>> {
        let key = Key::new(key).map_err(|error| error.at("key"))?;
        self.describe(&key).await
    }

    pub(super) async fn describe(&self, key: &Key) -> Result<Option<Head>> {
        let record = self.router().find(key)?;
        match record.map(|record| Head::of(key, &record)) {
            Some(Head { digest: None, .. }) => {
                let found = self.get_key(key).await?;
                Ok(found.map(|found| found.head.with_digest_of(&found.data)))
            }
            known => Ok(known),
        }
    }

    async fn get_key(&self, key: &Key) -> Result<Option<Found>> {
        if let Some(found) = self.recall(key)? {
            return Ok(Some(found));
        }
        let Some(found) = self.router().find_value(key)? else {
            return Ok(None);
        };
        let FoundValue {
            record,
            body,
            shard,
        } = found;
        let cached = self.router().told(shard, body.payload_cached())?;
        let data = match cached {
            Some(payload) if self.is_cheap(&body, &payload) => {
                self.router().told(shard, body.open(payload))?
            }
            Some(payload) => {
                let opened = self.0.cpu.run(move || body.open(payload)).await?;
                self.router().told(shard, opened)?
            }
            None => {
                let router = self.router().clone();
                blocking(move || {
                    let opened = body.payload().and_then(|payload| body.open(payload));
                    router.told(shard, opened)
                })
                .await?
            }
        };
        let head = Head::of(key, &record);
        let found = Found { head, data };
        self.0.recent.keep(key, &record, &found);
        Ok(Some(found))
    }

    /// The value of a key, if this thread keeps it and it is still the newest.
    fn recall(&self, key: &Key) -> Result<Option<Found>> {
        let Some(recent) = self.0.recent.get(key) else {
            return Ok(None);
        };
        let Recent { found, seen } = recent;
        let now = self.router().now();
        let expired = found.head.expiry.is_some_and(|at| at <= now);
        let current = !expired && self.router().is_unchanged(key, seen)?;
        Ok(current.then_some(found))
    }

    /// What is known of a key's value without reading it.
    ///
    /// # Errors
    /// `Invalid` for an impossible key; what the shards answer.
    pub async fn head(&self, key: &[u8]) -> Result<Option<Head>> {
        let key = Key::new(key)?;
        let found = self.router().find(&key)?;
        Ok(found.map(|found| Head::of(&key, &found)))
    }

    fn is_cheap(&self, body: &Record, payload: &Bytes) -> bool {
        let offload = self.rules().offload_size as u64;
        !body.is_compressed() || body.row.info.raw_len.max(payload.len() as u64) < offload
    }
}
