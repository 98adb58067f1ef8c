//! The keys of one namespace: the calls of [`crate::client::Keyspace`], answered by the service of
//! this process.

use super::store::Guard;
use super::{Changes, Measuring, Rows, Snapshot, convert};
use crate::client::{
    Batch, Committed, Entry, Expect, Part, PutOptions, Query, Stay, Stored, Value, bytes_of,
};
use crate::model::{Direction, Key, Namespace, Result, SnapshotId, Version};
use crate::service::{Addition, Located, Moment, Scan, ScanItem, Service, WatchQuery};
use bytes::Bytes;
use std::ops::RangeBounds;
use std::sync::Arc;

/// Keys that are removed as of one moment, which keeps what they held on the disk.
const DELETED_AT_ONCE: u64 = 10_000;

/// The keys of one namespace. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Keyspace {
    pub(super) service: Service,
    guard: Arc<Guard>,
    pub(super) namespace: String,
    /// Where reads are from; `None` for now.
    pub(super) snapshot: Option<SnapshotId>,
}

impl Keyspace {
    pub(super) fn new(service: Service, guard: Arc<Guard>, namespace: String) -> Self {
        Self {
            service,
            guard,
            namespace,
            snapshot: None,
        }
    }

    /// The same keys, read as they were at a snapshot. Writes are of now, as ever.
    #[must_use]
    pub fn at(&self, snapshot: &Snapshot) -> Self {
        self.at_id(snapshot.id())
    }

    pub(super) fn at_id(&self, snapshot: SnapshotId) -> Self {
        Self {
            snapshot: Some(snapshot),
            ..self.clone()
        }
    }

    /// The same keys, read as they are now.
    pub(super) fn now(&self) -> Self {
        Self {
            snapshot: None,
            ..self.clone()
        }
    }

    /// Reads a value; `None` when the key is not there. One that came in a stream may be too large to be
    /// read at once: see [`Keyspace::download`].
    ///
    /// # Errors
    /// `TooLarge` (`VALUE_NEEDS_DOWNLOAD`) for a value in chunks of more than `server.max_upload_size`;
    /// `Corrupt`, naming file and offset; `NotFound` for the namespace or the snapshot; what the shards
    /// answer.
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<Value>> {
        let part = self.get_range(key, ..).await?;
        Ok(part.map(|Part { entry, data }| Value { entry, data }))
    }

    /// Reads a part of a value, up to where it ends: `100..200`, `100..` or `..=9`, in bytes from 0. The
    /// entry is that of the whole value. Of a value in chunks, only those are read that it needs.
    ///
    /// # Errors
    /// `Invalid` (`RANGE_BEYOND_VALUE`) when it begins behind the value's end, and as
    /// [`Keyspace::get`], of the part.
    pub async fn get_range(
        &self,
        key: impl Into<Bytes>,
        range: impl RangeBounds<u64>,
    ) -> Result<Option<Part>> {
        let key = key.into();
        let Some(located) = self.locate(&key).await? else {
            return Ok(None);
        };
        let part = located.part(bytes_of(&range))?;
        let found = self.service.read_part(located, part).await?;
        convert::part(key, found).map(Some)
    }

    /// Where a value is, now or at the snapshot.
    pub(super) async fn locate(&self, key: &Bytes) -> Result<Option<Located>> {
        let namespace = self.namespace()?;
        match self.moment_named()? {
            Some(moment) => self.service.locate_at(moment, &namespace, key).await,
            None => self.service.locate(&namespace, key).await,
        }
    }

    /// What is known of a key without its value; `None` when it is not there.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub async fn head(&self, key: impl Into<Bytes>) -> Result<Option<Entry>> {
        let (key, namespace) = (key.into(), self.namespace()?);
        let head = match self.moment_named()? {
            Some(moment) => self.service.head_at(moment, &namespace, &key).await?,
            None => self.service.head_with_digest(&namespace, &key).await?,
        };
        head.map(|head| convert::entry(key, &head)).transpose()
    }

    /// Reads many keys as of one moment, in their order, up to 64 MiB of values; `None` for one that
    /// is not there.
    ///
    /// # Errors
    /// `TooLarge` (`REPLY_TOO_LARGE`), and as [`Keyspace::get`].
    pub async fn get_many<K: Into<Bytes>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Value>>> {
        let found = self.read_many(keys, false).await?.into_iter();
        let value = |row: crate::client::Row| Value {
            data: row.data.unwrap_or_default(),
            entry: row.entry,
        };
        found
            .map(|item| item.map(|item| convert::row(item).map(value)).transpose())
            .collect()
    }

    /// What is known of many keys as of one moment, in their order; `None` for one that is not there.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub async fn heads<K: Into<Bytes>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Entry>>> {
        let found = self.read_many(keys, true).await?.into_iter();
        found
            .map(|item| {
                item.map(convert::row)
                    .transpose()
                    .map(|row| row.map(|row| row.entry))
            })
            .collect()
    }

    async fn read_many<K: Into<Bytes>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        heads_only: bool,
    ) -> Result<Vec<Option<ScanItem>>> {
        let namespace = self.namespace()?;
        let keys = keys.into_iter().map(Into::into);
        let keys = keys.map(|key: Bytes| Key::in_namespace(namespace.id, &key));
        let keys = keys.collect::<Result<Vec<Key>>>()?;
        let moment = self.moment_named()?;
        let located = self.service.locate_many(moment, keys, heads_only).await?;
        self.service.read_many(located).await
    }

    /// Stores a value, whatever was there.
    ///
    /// # Errors
    /// `DiskFull`; `TooLarge` (`VALUE_TOO_LARGE`) above `server.max_upload_size`, see
    /// [`Keyspace::upload`]; what the shards answer.
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<Stored> {
        self.put_with(key, value, PutOptions::default()).await
    }

    /// Stores a value if what is under its key is as expected.
    ///
    /// # Errors
    /// `Conflict`, `AlreadyExists`, `NotFound`, and as [`Keyspace::put`].
    pub async fn put_if(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        expect: Expect,
    ) -> Result<Stored> {
        let options = PutOptions {
            only_if: Some(expect),
            ..PutOptions::default()
        };
        self.put_with(key, value, options).await
    }

    /// Stores a value as the options say.
    ///
    /// # Errors
    /// As [`Keyspace::put_if`].
    pub async fn put_with(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        options: PutOptions,
    ) -> Result<Stored> {
        let (key, namespace) = (key.into(), self.namespace()?);
        let (place, now) = ((&*namespace, &*key), self.service.now());
        let put = convert::put(place, value.into(), options, now)?;
        self.service.put(put).await.map(convert::stored)
    }

    /// Removes a key, and tells whether it was there.
    ///
    /// # Errors
    /// What the shards answer.
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<bool> {
        let (key, namespace) = (key.into(), self.namespace()?);
        let done = self.service.delete_if(&namespace, &key, None);
        Ok(done.await?.is_some())
    }

    /// Removes a key if what is under it is as expected; the version that was removed.
    ///
    /// # Errors
    /// `Conflict`, `NotFound`, and what the shards answer.
    pub async fn delete_if(
        &self,
        key: impl Into<Bytes>,
        expect: Expect,
    ) -> Result<Option<Version>> {
        let (key, namespace) = (key.into(), self.namespace()?);
        let requirement = Some(convert::requirement(expect)?);
        let done = self.service.delete_if(&namespace, &key, requirement);
        Ok(done.await?.and_then(|done| done.previous))
    }

    /// Sets how long a key stays, and leaves its value; [`Stay::Default`] is for ever here.
    ///
    /// # Errors
    /// `NotFound` (`KEY_NOT_FOUND`), and what the shards answer.
    pub async fn touch(&self, key: impl Into<Bytes>, stay: Stay) -> Result<Entry> {
        self.touch_now(key.into(), stay, None).await
    }

    /// As [`Keyspace::touch`], if what is under the key is as expected.
    ///
    /// # Errors
    /// `Conflict`, and as there.
    pub async fn touch_if(
        &self,
        key: impl Into<Bytes>,
        stay: Stay,
        expect: Expect,
    ) -> Result<Entry> {
        self.touch_now(key.into(), stay, Some(expect)).await
    }

    async fn touch_now(&self, key: Bytes, stay: Stay, only_if: Option<Expect>) -> Result<Entry> {
        let namespace = self.namespace()?;
        let requirement = only_if.map(convert::requirement).transpose()?;
        let lifetime = convert::lifetime_said(stay, self.service.now())?;
        let head = self.service.touch(&namespace, &key, requirement, lifetime);
        let head = head.await?;
        convert::entry(key, &head)
    }

    /// Adds to a counter, which begins at 0, and tells what it is then.
    ///
    /// # Errors
    /// `Invalid` (`NOT_A_COUNTER`, `COUNTER_OVERFLOW`), and what the shards answer.
    pub async fn increment(&self, key: impl Into<Bytes>, delta: i64) -> Result<i64> {
        let namespace = self.namespace()?;
        let addition = Addition { delta, initial: 0 };
        let key = key.into();
        let counted = self.service.increment(&namespace, &key, None, addition);
        Ok(counted.await?.value)
    }

    /// Does a batch: all of it or nothing, seen by nobody in halves.
    ///
    /// # Errors
    /// `TooLarge` (`COMMIT_TOO_LARGE`), `Invalid` (`KEY_TWICE`), and what the shards answer. That a
    /// condition does not hold is none.
    pub async fn commit(&self, batch: Batch) -> Result<Committed> {
        let namespace = self.namespace()?;
        let now = self.service.now();
        let commit = convert::commit(batch.into_parts(), &namespace, now)?;
        let done = self.service.commit(&namespace, commit).await?;
        convert::committed(done)
    }

    /// Removes the keys of a query's selection, of which a bound or a prefix must be set; how many.
    /// Its order and limit mean nothing here.
    ///
    /// Each key is removed by itself: a value that is put meanwhile may stay, and an error may leave a
    /// part done.
    ///
    /// # Errors
    /// `Invalid` (`SELECTION_EMPTY`, `RANGE_UPSIDE_DOWN`), `Disabled` (`DELETE_DISABLED`), and what the
    /// shards answer.
    pub async fn delete_range(&self, query: &Query) -> Result<u64> {
        let namespace = self.namespace()?;
        let mut range = convert::range(query)?.bounded()?;
        let mut deleted = 0;
        loop {
            let some = self
                .service
                .delete_range(namespace.clone(), range.clone(), DELETED_AT_ONCE);
            let some = some.await?;
            deleted += some.deleted;
            match some.last {
                Some(last) => range = range.after(last.as_bytes(), Direction::Forward),
                None => return Ok(deleted),
            }
        }
    }

    /// Walks keys, all of them as of now or of the snapshot.
    ///
    /// # Errors
    /// `Invalid` (`RANGE_UPSIDE_DOWN`), and what the shards answer.
    pub async fn scan(&self, query: Query) -> Result<Rows> {
        let scan = Scan {
            namespace: self.namespace()?,
            range: convert::range(&query)?,
            direction: match query.reverse {
                false => Direction::Forward,
                true => Direction::Backward,
            },
            keys_only: !query.with_values,
            limit: match query.limit {
                0 => u64::MAX,
                limit => limit,
            },
        };
        let moment = self.moment().await?;
        self.service.scan(&moment, &scan).await.map(Rows)
    }

    /// Watches the keys of a query from now on, or after a version: of a snapshot, a put, or the
    /// last that another watch has told. Of the query, the selection counts and whether values are
    /// asked for.
    ///
    /// # Errors
    /// `Invalid` (`WATCH_AHEAD`), `Conflict` (`WATCH_COMPACTED`), and what the shards answer.
    pub async fn watch(&self, query: Query, after: Option<Version>) -> Result<Changes> {
        let watch = WatchQuery {
            namespace: self.namespace()?,
            range: convert::range(&query)?,
            after,
            values: query.with_values,
        };
        self.service.watch(watch).await.map(Changes::new)
    }

    /// Measures what keys hold, and what deleting them would free.
    ///
    /// # Errors
    /// What the shards answer.
    pub async fn measure(&self, query: Query) -> Result<Measuring> {
        let (namespace, range) = (self.namespace()?, convert::range(&query)?);
        let moment = self.moment().await?;
        Ok(Measuring(self.service.measure(moment, namespace, range)))
    }

    pub(super) fn namespace(&self) -> Result<Arc<Namespace>> {
        self.guard.check()?;
        self.service.namespace(&self.namespace)
    }

    fn moment_named(&self) -> Result<Option<Arc<Moment>>> {
        let id = self.snapshot;
        id.map(|id| self.service.moment_of(id)).transpose()
    }

    async fn moment(&self) -> Result<Arc<Moment>> {
        match self.moment_named()? {
            Some(moment) => Ok(moment),
            None => self.service.moment().await,
        }
    }
}
