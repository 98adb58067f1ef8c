//! The keys of one namespace: the calls of [`crate::client::Keyspace`], answered by the service of
//! this process.

use super::store::Guard;
use super::{Changes, Measuring, Rows, Snapshot, convert};
use crate::client::{Batch, Committed, Entry, Expect, PutOptions, Query, Stay, Stored, Value};
use crate::model::{Direction, Key, Namespace, Result, SnapshotId, Version};
use crate::service::{Addition, Moment, Put, PutRule, Scan, ScanItem, Service, WatchQuery};
use bytes::Bytes;
use std::sync::Arc;

/// The keys of one namespace. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Keyspace {
    service: Service,
    guard: Arc<Guard>,
    namespace: String,
    /// Where reads are from; `None` for now.
    snapshot: Option<SnapshotId>,
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
        Self {
            snapshot: Some(snapshot.id()),
            ..self.clone()
        }
    }

    /// Reads a value; `None` when the key is not there.
    ///
    /// # Errors
    /// `Corrupt`, naming file and offset; `NotFound` for the namespace or the snapshot; what the
    /// shards answer.
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<Value>> {
        let (key, namespace) = (key.into(), self.namespace()?);
        let located = match self.moment_named()? {
            Some(moment) => self.service.locate_at(moment, &namespace, &key).await?,
            None => self.service.locate(&namespace, &key).await?,
        };
        let Some(located) = located else {
            return Ok(None);
        };
        let found = self.service.read(located).await?;
        convert::value(key, found.with_digest()).map(Some)
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
    /// `DiskFull`, `TooLarge`, and what the shards answer.
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
        let rule = match options.only_if {
            None => PutRule::Free,
            Some(expect) => PutRule::If(convert::requirement(expect)?),
        };
        let now = self.service.now();
        let put = Put {
            namespace: &namespace,
            key: &key,
            data: value.into(),
            sum64: None,
            digest: None,
            rule,
            lifetime: convert::lifetime(options.lifetime, &namespace, now)?,
            attributes: convert::attributes(options)?,
        };
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
        let (key, namespace) = (key.into(), self.namespace()?);
        let lifetime = convert::lifetime_said(stay, self.service.now())?;
        let head = self.service.touch(&namespace, &key, None, lifetime).await?;
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

    fn namespace(&self) -> Result<Arc<Namespace>> {
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
