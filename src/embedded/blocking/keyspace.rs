//! The keys of one namespace, for threads that wait.

use super::{Changes, Rows, Snapshot};
use crate::client::{
    Batch, Committed, Entry, Expect, Part, PutOptions, Query, Stay, Stored, Typed, Usage, Value,
};
use crate::embedded;
use crate::model::{Result, Version};
use bytes::Bytes;
use std::ops::RangeBounds;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// [`embedded::Keyspace`], for threads that wait.
#[derive(Debug, Clone)]
pub struct Keyspace {
    pub(super) keys: embedded::Keyspace,
    pub(super) runtime: Arc<Runtime>,
}

impl Keyspace {
    /// See [`embedded::Keyspace::at`].
    #[must_use]
    pub fn at(&self, snapshot: &Snapshot) -> Self {
        Self {
            keys: self.keys.at(&snapshot.snapshot),
            runtime: self.runtime.clone(),
        }
    }

    /// See [`embedded::Keyspace::get`].
    ///
    /// # Errors
    /// As there.
    pub fn get(&self, key: impl Into<Bytes>) -> Result<Option<Value>> {
        self.runtime.block_on(self.keys.get(key))
    }

    /// See [`embedded::Keyspace::get_range`].
    ///
    /// # Errors
    /// As there.
    pub fn get_range(
        &self,
        key: impl Into<Bytes>,
        range: impl RangeBounds<u64>,
    ) -> Result<Option<Part>> {
        self.runtime.block_on(self.keys.get_range(key, range))
    }

    /// See [`embedded::Keyspace::head`].
    ///
    /// # Errors
    /// As there.
    pub fn head(&self, key: impl Into<Bytes>) -> Result<Option<Entry>> {
        self.runtime.block_on(self.keys.head(key))
    }

    /// See [`embedded::Keyspace::get_many`].
    ///
    /// # Errors
    /// As there.
    pub fn get_many<K: Into<Bytes>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Value>>> {
        self.runtime.block_on(self.keys.get_many(keys))
    }

    /// See [`embedded::Keyspace::heads`].
    ///
    /// # Errors
    /// As there.
    pub fn heads<K: Into<Bytes>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Entry>>> {
        self.runtime.block_on(self.keys.heads(keys))
    }

    /// See [`embedded::Keyspace::put`].
    ///
    /// # Errors
    /// As there.
    pub fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<Stored> {
        self.runtime.block_on(self.keys.put(key, value))
    }

    /// See [`embedded::Keyspace::put_if`].
    ///
    /// # Errors
    /// As there.
    pub fn put_if(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        expect: Expect,
    ) -> Result<Stored> {
        self.runtime.block_on(self.keys.put_if(key, value, expect))
    }

    /// See [`embedded::Keyspace::put_with`].
    ///
    /// # Errors
    /// As there.
    pub fn put_with(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        options: PutOptions,
    ) -> Result<Stored> {
        let put = self.keys.put_with(key, value, options);
        self.runtime.block_on(put)
    }

    /// See [`embedded::Keyspace::delete`].
    ///
    /// # Errors
    /// As there.
    pub fn delete(&self, key: impl Into<Bytes>) -> Result<bool> {
        self.runtime.block_on(self.keys.delete(key))
    }

    /// See [`embedded::Keyspace::delete_if`].
    ///
    /// # Errors
    /// As there.
    pub fn delete_if(&self, key: impl Into<Bytes>, expect: Expect) -> Result<Option<Version>> {
        self.runtime.block_on(self.keys.delete_if(key, expect))
    }

    /// See [`embedded::Keyspace::delete_range`].
    ///
    /// # Errors
    /// As there.
    pub fn delete_range(&self, query: &Query) -> Result<u64> {
        self.runtime.block_on(self.keys.delete_range(query))
    }

    /// See [`embedded::Keyspace::touch`].
    ///
    /// # Errors
    /// As there.
    pub fn touch(&self, key: impl Into<Bytes>, stay: Stay) -> Result<Entry> {
        self.runtime.block_on(self.keys.touch(key, stay))
    }

    /// See [`embedded::Keyspace::touch_if`].
    ///
    /// # Errors
    /// As there.
    pub fn touch_if(&self, key: impl Into<Bytes>, stay: Stay, expect: Expect) -> Result<Entry> {
        self.runtime.block_on(self.keys.touch_if(key, stay, expect))
    }

    /// See [`embedded::Keyspace::increment`].
    ///
    /// # Errors
    /// As there.
    pub fn increment(&self, key: impl Into<Bytes>, delta: i64) -> Result<i64> {
        self.runtime.block_on(self.keys.increment(key, delta))
    }

    /// See [`embedded::Keyspace::commit`].
    ///
    /// # Errors
    /// As there.
    pub fn commit(&self, batch: Batch) -> Result<Committed> {
        self.runtime.block_on(self.keys.commit(batch))
    }

    /// See [`embedded::Keyspace::scan`].
    ///
    /// # Errors
    /// As there.
    pub fn scan(&self, query: Query) -> Result<Rows> {
        let rows = self.runtime.block_on(self.keys.scan(query))?;
        Ok(Rows::new(rows, self.runtime.clone()))
    }

    /// See [`embedded::Keyspace::watch`].
    ///
    /// # Errors
    /// As there.
    pub fn watch(&self, query: Query, after: Option<Version>) -> Result<Changes> {
        let changes = self.runtime.block_on(self.keys.watch(query, after))?;
        Ok(Changes::new(changes, self.runtime.clone()))
    }

    /// See [`embedded::Keyspace::measure`]; waits until all keys were walked.
    ///
    /// # Errors
    /// As there.
    pub fn measure(&self, query: Query) -> Result<Usage> {
        self.runtime.block_on(async {
            let mut measuring = self.keys.measure(query).await?;
            let mut whole = Usage::default();
            while let Some(usage) = measuring.next().await? {
                whole = usage;
            }
            Ok(whole)
        })
    }

    /// See [`embedded::Keyspace::put_typed`].
    ///
    /// # Errors
    /// As there.
    pub fn put_typed(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Typed>,
        options: PutOptions,
    ) -> Result<Stored> {
        self.runtime
            .block_on(self.keys.put_typed(key, value, options))
    }

    /// See [`embedded::Keyspace::get_typed`].
    ///
    /// # Errors
    /// As there.
    pub fn get_typed(&self, key: impl Into<Bytes>) -> Result<Option<Typed>> {
        self.runtime.block_on(self.keys.get_typed(key))
    }
}
