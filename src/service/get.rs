//! Get and Head.

use super::checked::key_in;
use super::large::{Pieces, needs_download};
use super::patience::patiently;
use super::put::{ATTEMPTS_MAX, missing};
use super::recent::Recent;
use super::{Service, blocking};
use crate::codec::{decode_attributes, digest_of};
use crate::model::{
    Attributes, Digest, Error, ErrorKind, Key, Namespace, Result, Timestamp, Version, indices_of,
    part_in,
};
use crate::router::{FoundValue, Moment};
use crate::shard::Found as Record;
use bytes::Bytes;
use std::future::ready;
use std::ops::Range;
use std::sync::Arc;

/// Payloads up to this size are read on the core that asks, if they are in the page cache. A larger
/// one is copied from there for longer than the core's other connections should wait.
const READ_HERE_MAX: u32 = 256 * 1024;

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
}

impl Found {
    /// What of a range lies in the value.
    pub(super) fn part(&self, range: &Range<u64>) -> Range<u64> {
        part_in(self.head.raw_len, range)
    }

    /// With the digest of the raw value, if the record has not named it.
    #[must_use]
    pub fn with_digest(mut self) -> Self {
        let digest = &mut self.head.digest;
        digest.get_or_insert_with(|| digest_of(&self.data));
        self
    }
}

/// A value that was found and not read yet. It pins what it can read.
#[derive(Debug)]
pub struct Located {
    key: Key,
    place: Place,
    /// When it was found; now, without one.
    moment: Option<Arc<Moment>>,
}

/// Where a value was found.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is moved once, and a box would cost every Get an allocation"
)]
enum Place {
    /// Among the values that this thread has read lately.
    Recent(Found),
    /// In a shard.
    Stored(FoundValue),
}

impl Located {
    fn head(&self) -> Head {
        match &self.place {
            Place::Recent(found) => found.head.clone(),
            Place::Stored(found) => Head::of(&self.key, &found.record),
        }
    }

    /// Bytes of the raw value.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.place {
            Place::Recent(found) => found.data.len() as u64,
            Place::Stored(found) => found.record.row.info.raw_len,
        }
    }

    /// What there is of a range of the raw value, which may end behind it. One that ends before it
    /// begins is empty.
    ///
    /// # Errors
    /// `Invalid` (`RANGE_BEYOND_VALUE`) when it begins behind the value's end.
    pub fn part(&self, range: Range<u64>) -> Result<Range<u64>> {
        part_of(self.size(), range)
    }

    pub(super) fn is_in_chunks(&self) -> bool {
        matches!(&self.place, Place::Stored(found) if found.body.is_in_chunks())
    }
}

fn part_of(size: u64, range: Range<u64>) -> Result<Range<u64>> {
    if range.start > size {
        let offset = range.start;
        let message = format!("range begins behind the value's end: offset={offset}, size={size}");
        return Err(Error::invalid("RANGE_BEYOND_VALUE", message).at("range.offset"));
    }
    Ok(part_in(size, &range))
}

impl Service {
    /// Where the value of a key is and how large, so that room for it can be made before it is read.
    ///
    /// # Errors
    /// `Invalid` for an impossible key; what the shards answer.
    pub async fn locate(&self, namespace: &Namespace, key: &[u8]) -> Result<Option<Located>> {
        let key = key_in(namespace, key)?;
        patiently(|| ready(self.locate_key(key.clone()))).await
    }

    /// As [`Service::locate`], at a moment. May wait for the disk, which is asked on another thread.
    ///
    /// # Errors
    /// As [`Service::locate`].
    pub async fn locate_at(
        &self,
        moment: Arc<Moment>,
        namespace: &Namespace,
        key: &[u8],
    ) -> Result<Option<Located>> {
        let key = key_in(namespace, key)?;
        blocking(move || {
            let Some(record) = moment.find(&key)? else {
                return Ok(None);
            };
            let place = Place::Stored(moment.value_of(&key, record)?);
            let moment = Some(moment);
            Ok(Some(Located { key, place, moment }))
        })
        .await
    }

    fn locate_key(&self, key: Key) -> Result<Option<Located>> {
        let place = match self.recall(&key)? {
            Some(found) => Some(Place::Recent(found)),
            None => self.router().find_value(&key)?.map(Place::Stored),
        };
        let moment = None;
        Ok(place.map(|place| Located { key, place, moment }))
    }

    /// A located value. Read on this thread when it is not large and no disk is needed, and opened
    /// here when small.
    ///
    /// # Errors
    /// `Corrupt`, naming file and offset; what the shards answer.
    pub async fn read(&self, located: Located) -> Result<Found> {
        if located.is_in_chunks() {
            let whole = 0..located.size();
            self.size_to_read(&located, &whole)?;
            let (head, pieces) = self.open_chunked(located, whole).await?;
            let data = pieces.collect().await?;
            return Ok(Found { head, data });
        }
        let Located { key, place, .. } = located;
        let FoundValue {
            record,
            body,
            shard,
        } = match place {
            Place::Recent(found) => return Ok(found),
            Place::Stored(found) => found,
        };
        let cached = match body.row.place.payload_len > READ_HERE_MAX {
            true => None,
            false => self.router().told(shard, body.payload_cached())?,
        };
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
        let head = Head::of(&key, &record);
        let found = Found { head, data };
        self.0.recent.keep(&key, &record, &found);
        Ok(found)
    }

    /// Bytes that are in memory while a range of a located value is read.
    ///
    /// # Errors
    /// `TooLarge` (`VALUE_NEEDS_DOWNLOAD`) when that part of it fits no answer.
    pub fn size_to_read(&self, located: &Located, range: &Range<u64>) -> Result<usize> {
        let size = match located.is_in_chunks() {
            true => range.end.saturating_sub(range.start),
            false => located.size(),
        };
        let max = self.rules().value_size_max;
        if located.is_in_chunks() && size > max {
            return Err(needs_download(&located.key, located.size(), max));
        }
        Ok(usize::try_from(size).unwrap_or(usize::MAX))
    }

    /// A range of a located value, which lies in it. Of a value in chunks, only those are read that
    /// it needs.
    ///
    /// # Errors
    /// As [`Service::size_to_read`] and [`Service::read`].
    pub async fn read_part(&self, located: Located, range: Range<u64>) -> Result<Found> {
        if located.is_in_chunks() {
            self.size_to_read(&located, &range)?;
            let (head, pieces) = self.open_chunked(located, range).await?;
            let data = pieces.collect().await?;
            return Ok(Found { head, data });
        }
        let found = self.read(located).await?.with_digest();
        let data = found.data.slice(indices_of(&range));
        Ok(Found { data, ..found })
    }

    /// The pieces of a range of a value in chunks.
    pub(super) async fn open_chunked(
        &self,
        mut located: Located,
        range: Range<u64>,
    ) -> Result<(Head, Pieces)> {
        for _ in 0..ATTEMPTS_MAX {
            let head = located.head();
            let Located { key, place, moment } = located;
            let Place::Stored(found) = place else { break };
            let pieces = self.pieces((&key, &found), moment, range.clone());
            if let Some(pieces) = pieces.await? {
                return Ok((head, pieces));
            }
            // It was replaced and reclaimed since it was found.
            let again = self.locate_key(key.clone())?;
            located = again.ok_or_else(|| missing(&key))?;
            if located.size() != head.raw_len || !located.is_in_chunks() {
                break;
            }
        }
        let message = "the value was replaced while it was read; read it again";
        Err(Error::new(ErrorKind::Conflict, "VALUE_REPLACED", message))
    }

    /// The value of a key.
    ///
    /// # Errors
    /// As [`Service::locate`] and [`Service::read`].
    pub async fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        self.get_key(Key::new(key)?).await
    }

    pub(super) async fn get_key(&self, key: Key) -> Result<Option<Found>> {
        match self.locate_key(key)? {
            Some(located) => self.read(located).await.map(Some),
            None => Ok(None),
        }
    }

    /// What is known of a key's value, its digest included. A small value that does not name its
    /// digest is read for it.
    ///
    /// # Errors
    /// As [`Service::get`].
    pub async fn head_with_digest(
        &self,
        namespace: &Namespace,
        key: &[u8],
    ) -> Result<Option<Head>> {
        self.describe(&key_in(namespace, key)?).await
    }

    /// As [`Service::head_with_digest`], at a moment.
    ///
    /// # Errors
    /// As [`Service::get`].
    pub async fn head_at(
        &self,
        moment: Arc<Moment>,
        namespace: &Namespace,
        key: &[u8],
    ) -> Result<Option<Head>> {
        let Some(located) = self.locate_at(moment, namespace, key).await? else {
            return Ok(None);
        };
        match located.head() {
            Head { digest: None, .. } => {
                let found = self.read(located).await?;
                Ok(Some(found.with_digest().head))
            }
            known => Ok(Some(known)),
        }
    }

    pub(super) async fn describe(&self, key: &Key) -> Result<Option<Head>> {
        let record = self.find_patiently(key).await?;
        match record.map(|record| Head::of(key, &record)) {
            Some(Head { digest: None, .. }) => {
                let found = self.get_key(key.clone()).await?;
                Ok(found.map(|found| found.with_digest().head))
            }
            known => Ok(known),
        }
    }

    async fn find_patiently(&self, key: &Key) -> Result<Option<Record>> {
        patiently(|| ready(self.router().find(key))).await
    }

    /// The value of a key, if this thread keeps it and it is still the newest.
    pub(super) fn recall(&self, key: &Key) -> Result<Option<Found>> {
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
        let found = self.find_patiently(&key).await?;
        Ok(found.map(|found| Head::of(&key, &found)))
    }

    fn is_cheap(&self, body: &Record, payload: &Bytes) -> bool {
        let offload = self.rules().offload_size as u64;
        !body.is_compressed() || body.row.info.raw_len.max(payload.len() as u64) < offload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_with_the_value() {
        assert_eq!(part_of(10, 0..u64::MAX).unwrap(), 0..10);
        assert_eq!(part_of(10, 2..5).unwrap(), 2..5);
        assert_eq!(part_of(10, 8..11).unwrap(), 8..10);
        assert_eq!(part_of(10, 10..15).unwrap(), 10..10);
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is asked for")]
        let upside_down = part_of(10, 5..2);
        assert_eq!(upside_down.unwrap(), 5..5);
        let error = part_of(10, 11..12).unwrap_err();
        assert_eq!(error.field(), Some("range.offset"));
    }
}
