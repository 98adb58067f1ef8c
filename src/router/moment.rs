//! One moment across all shards for reading, taken beside the writers.
//!
//! Snapshots are taken one after the other. If no version was drawn between the first and the last,
//! they are of one moment: a change that one of them shows and another lacks began after the other
//! was taken, and would have drawn its version meanwhile. A batch over several shards draws its version
//! before any of them shows it, so it is asked too whether one came meanwhile. Only where writers leave no such pause do
//! all shards stand still for it. Nothing is synced and no version named, as a [`Cut`](super::Cut)
//! does.

use super::merge::{Merged, Part};
use super::{FoundValue, Router, content_missing};
use crate::index::IndexError;
use crate::model::{
    BlobRef, ChunkList, Digest, Direction, Key, KeyRange, NamespaceId, Result, ShardId, Timestamp,
    Version, indices_of,
};
use crate::shard::{Found, ShardReader, ShardSnapshot, Still, payloads};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// All of any value.
const WHOLE: Range<u64> = 0..u64::MAX;

/// How often it is tried beside the writers.
const ATTEMPTS_MAX: usize = 8;

/// All shards at one moment. Hold it only as long as a request lasts, or let it go when a shard does
/// not serve: it pins what it can read, and a shard cannot be reopened before.
#[derive(Debug)]
pub struct Moment {
    shards: Vec<ShardSnapshot>,
    now: Timestamp,
    pub(super) router: Router,
}

impl Router {
    /// This moment.
    ///
    /// # Errors
    /// `Unavailable` when a shard cannot be read, or does not come to a stand in time.
    pub async fn moment(&self) -> Result<Moment> {
        for _ in 0..ATTEMPTS_MAX {
            let before = self.counter.current();
            let (shards, is_whole) = self.each(|reader| {
                fail::fail_point!("moment::between");
                reader.freeze()
            })?;
            if is_whole && (self.shards.len() == 1 || self.counter.current() == before) {
                return Ok(self.moment_of(shards));
            }
        }
        let (_version, shards) = self.stand_still().await?;
        Ok(self.moment_of(shards))
    }

    /// This moment by its name: every change up to this version is in it, and none after. The
    /// version is durable, and never issued again.
    ///
    /// # Errors
    /// As [`Router::cut`].
    pub async fn named_moment(&self) -> Result<(Version, Moment)> {
        let cut = self.cut().await?;
        Ok((cut.version, self.moment_of(cut.shards)))
    }

    /// What is taken of each shard, and whether no batch came into any of them meanwhile: then all
    /// of it is of one side of every batch.
    pub(super) fn each<T>(&self, take: impl Fn(&ShardReader) -> T) -> Result<(Vec<T>, bool)> {
        self.beside_batches(|readers| readers.iter().map(|reader| take(reader)).collect())
    }

    /// What is found while nobody writes, without a snapshot of anything: that time is its moment.
    /// `None` when a version was drawn or a batch shown meanwhile.
    ///
    /// # Errors
    /// Those of `look`; `Unavailable` when a shard cannot be read.
    pub fn undisturbed<T>(&self, look: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        let before = self.counter.current();
        let (found, is_whole) = self.beside_batches(|_| look())?;
        let found = found?;
        Ok((is_whole && self.counter.current() == before).then_some(found))
    }

    fn beside_batches<T>(&self, look: impl FnOnce(&[Arc<ShardReader>]) -> T) -> Result<(T, bool)> {
        let readers = self.readers()?;
        let still: Result<Vec<Still>> = readers
            .iter()
            .map(|reader| self.told(reader.id(), reader.still()))
            .collect();
        let still = still?;
        let found = look(&readers);
        let mut pairs = readers.iter().zip(still);
        let is_whole = pairs.all(|(reader, still)| reader.is_still(still));
        Ok((found, is_whole))
    }

    fn moment_of(&self, shards: Vec<ShardSnapshot>) -> Moment {
        Moment {
            shards,
            now: self.now(),
            router: self.clone(),
        }
    }
}

impl Moment {
    /// The live record of a key.
    ///
    /// # Errors
    /// When its shard cannot be read.
    pub fn find(&self, key: &Key) -> Result<Option<Found>> {
        let shard = self.router.shard_of_key(key);
        let found = self.router.told(shard, self.at(shard).record(key))?;
        Ok(found.filter(|found| found.row.is_live(self.now)))
    }

    /// The record of a key, with the record that holds its bytes. May wait for the disk.
    ///
    /// # Errors
    /// `Corrupt` when it names a content that is not there; when a shard cannot be read.
    pub fn value_of(&self, key: &Key, record: Found) -> Result<FoundValue> {
        let Some(link) = record.link() else {
            return Ok(FoundValue::alone(record, self.router.shard_of_key(key)));
        };
        let shard = self.router.shard_of_digest(link.digest);
        let body = self.router.told(shard, self.at(shard).blob(link.digest))?;
        let body = body.ok_or_else(|| content_missing(shard, key))?;
        Ok(FoundValue {
            record,
            body,
            shard,
        })
    }

    /// The bytes that a content takes where it is stored, as far as it is there.
    ///
    /// # Errors
    /// When its shard cannot be read.
    pub fn stored_len(&self, digest: Digest) -> Result<u64> {
        let shard = self.router.shard_of_digest(digest);
        let blob = self.router.told(shard, self.at(shard).blob(digest))?;
        Ok(blob.map_or(0, |blob| u64::from(blob.row.place.payload_len)))
    }

    /// The list of a content's chunks, if it is in chunks. May wait for the disk.
    ///
    /// # Errors
    /// `Corrupt` when it is no such list; when its shard cannot be read.
    pub fn chunks_of(&self, digest: Digest) -> Result<Option<ChunkList>> {
        let shard = self.router.shard_of_digest(digest);
        let blob = self.router.told(shard, self.at(shard).blob(digest))?;
        let list = blob.filter(Found::is_in_chunks).map(|blob| blob.chunks());
        self.router.told(shard, list.transpose())
    }

    /// What has a content, one for each reference: live keys, and lists of chunks, by the key that
    /// stands for them. May wait for the disk.
    pub fn owners(&self, digest: Digest) -> impl Iterator<Item = Result<(BlobRef, Key)>> {
        let shard = self.router.shard_of_digest(digest);
        let references = self.at(shard).references_to(digest);
        let owner = move |found: Result<(BlobRef, Key), IndexError>| {
            let (blob, key) = self.router.told(shard, found.map_err(Into::into))?;
            // A reference that its owner does not name any more is a late or a lost one.
            Ok(self.names(&key, blob)?.then_some((blob, key)))
        };
        references.filter_map(move |found| owner(found).transpose())
    }

    fn names(&self, owner: &Key, blob: BlobRef) -> Result<bool> {
        let Some(list) = owner.list() else {
            let record = self.find(owner)?;
            return Ok(record.is_some_and(|record| record.link() == Some(blob)));
        };
        let shard = self.router.shard_of_digest(list);
        let list = self.router.told(shard, self.at(shard).blob(list))?;
        Ok(list.is_some_and(|list| list.row.names_chunks_by(blob.ref_id)))
    }

    /// The raw value; one in chunks is put together. May wait for the disk.
    ///
    /// # Errors
    /// `Corrupt`, naming file and offset.
    pub fn read(&self, found: &FoundValue) -> Result<Bytes> {
        if found.body.is_in_chunks() {
            return self.assemble(found, found.part(&WHOLE));
        }
        let body = &found.body;
        let opened = body.payload().and_then(|payload| body.open(payload));
        self.router.told(found.shard, opened)
    }

    /// The raw values of many, in their order: what stands together in the log is read together, into
    /// one buffer, which each of them keeps. May wait for the disk.
    ///
    /// # Errors
    /// As [`Moment::read`].
    pub fn read_all(&self, found: &[FoundValue]) -> Result<Vec<Bytes>> {
        self.read_each(found, &WHOLE, |value, _whole| value)
    }

    /// A range of the raw values of many, as far as it lies in each, in their order. They are copies,
    /// which keep nothing else of the values. May wait for the disk; of a value in chunks, only those
    /// are read that the range needs.
    ///
    /// # Errors
    /// As [`Moment::read`].
    pub fn read_parts(&self, found: &[FoundValue], range: &Range<u64>) -> Result<Vec<Bytes>> {
        self.read_each(found, range, |value, part| {
            Bytes::copy_from_slice(&value[indices_of(&part)])
        })
    }

    fn read_each(
        &self,
        found: &[FoundValue],
        range: &Range<u64>,
        cut: impl Fn(Bytes, Range<u64>) -> Bytes,
    ) -> Result<Vec<Bytes>> {
        let is_plain = |it: &&FoundValue| !it.body.is_in_chunks() && !it.part(range).is_empty();
        let plain: Vec<&Found> = found.iter().filter(is_plain).map(|it| &it.body).collect();
        let mut payloads = payloads(&plain).into_iter();
        let value = |it: &FoundValue| match it.part(range) {
            part if part.is_empty() => Ok(Bytes::new()),
            part if it.body.is_in_chunks() => self.assemble(it, part),
            part => {
                let payload = payloads.next().expect("there is one for each of them");
                let opened = payload.and_then(|payload| it.body.open(payload));
                Ok(cut(self.router.told(it.shard, opened)?, part))
            }
        };
        found.iter().map(value).collect()
    }

    /// A walk over the live records of a namespace's keys in a range.
    #[must_use]
    pub fn walk(
        self: &Arc<Self>,
        namespace: NamespaceId,
        range: &KeyRange,
        direction: Direction,
    ) -> Walk {
        let part = |shard: &ShardSnapshot| {
            let rows: Rows = Box::new(shard.range(namespace, range, direction));
            Part {
                shard: shard.id(),
                rows: rows.peekable(),
            }
        };
        let parts = self.shards.iter().map(part).collect();
        Walk {
            moment: self.clone(),
            merged: Merged::new(parts, direction),
        }
    }

    pub(super) fn at(&self, shard: ShardId) -> &ShardSnapshot {
        &self.shards[usize::from(shard.0)]
    }
}

type Rows = Box<dyn Iterator<Item = Result<(Bytes, Found), IndexError>> + Send>;

/// Live records in key order over all shards, or against it, at one moment.
pub struct Walk {
    moment: Arc<Moment>,
    merged: Merged<Rows>,
}

impl std::fmt::Debug for Walk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walk").finish_non_exhaustive()
    }
}

impl Walk {
    /// The moment that is walked.
    #[must_use]
    pub fn moment(&self) -> &Arc<Moment> {
        &self.moment
    }

    /// The next live record. May wait for the disk.
    ///
    /// # Errors
    /// When a shard cannot be read.
    pub fn next_live(&mut self) -> Result<Option<(Key, Found)>> {
        while let Some((id, found)) = self.merged.next(&self.moment.router)? {
            if found.row.is_live(self.moment.now) {
                let key = Key::of_id(found.row.namespace, &id)?;
                return Ok(Some((key, found)));
            }
        }
        Ok(None)
    }
}
