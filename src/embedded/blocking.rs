//! A store inside a program without async: the calls of [`crate::Store`], each waited for in this
//! thread, by a runtime of its own.
//!
//! ```
//! use shardkeep::client::Query;
//! use shardkeep::{Options, blocking};
//!
//! # fn main() -> shardkeep::model::Result<()> {
//! # let place = tempfile::tempdir().unwrap();
//! # let path = place.path().join("store");
//! let store = blocking::Store::open(&path, Options::default())?;
//! let users = store.keyspace("");
//! users.put("ada", "1815")?;
//! assert_eq!(users.get("ada")?.unwrap().data, "1815");
//! for row in users.scan(Query::prefix("a").values())? {
//!     let row = row?;
//!     println!("{:?} = {:?}", row.entry.key, row.data);
//! }
//! store.close()
//! # }
//! ```

use super::Options;
use crate::client::{
    Batch, Committed, Entry, Expect, PutOptions, Query, Row, Stay, Step, Stored, Usage, Value,
};
use crate::model::{Error, Namespace, NamespaceOptions, Result, StatusReport, Version};
use crate::service::{BackupDone, RestoreDone};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// [`crate::Store`], for threads that wait. It must not be used inside of a runtime.
#[derive(Debug, Clone)]
pub struct Store {
    store: super::Store,
    runtime: Arc<Runtime>,
}

/// [`super::Keyspace`], for threads that wait.
#[derive(Debug, Clone)]
pub struct Keyspace {
    keys: super::Keyspace,
    runtime: Arc<Runtime>,
}

/// [`super::Snapshot`], for threads that wait.
#[derive(Debug)]
pub struct Snapshot {
    // Before the runtime that its end is told to.
    snapshot: super::Snapshot,
    _runtime: Arc<Runtime>,
}

/// Keys in order, one after the other.
#[derive(Debug)]
pub struct Rows {
    rows: super::Rows,
    page: std::vec::IntoIter<Row>,
    is_over: bool,
    runtime: Arc<Runtime>,
}

/// Changes, a step after the other; it waits for the next one and ends with an error.
#[derive(Debug)]
pub struct Changes {
    changes: super::Changes,
    is_over: bool,
    runtime: Arc<Runtime>,
}

impl Store {
    /// See [`crate::Store::open`].
    ///
    /// # Errors
    /// As there; `Internal` when no threads can be started.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.enable_all().thread_name("shardkeep").build();
        let runtime = runtime.map_err(|error| {
            Error::internal("RUNTIME", format!("cannot start the runtime: {error}"))
        })?;
        let store = runtime.block_on(super::Store::open(path, options))?;
        Ok(Self {
            store,
            runtime: Arc::new(runtime),
        })
    }

    /// See [`crate::Store::close`].
    ///
    /// # Errors
    /// As there.
    pub fn close(self) -> Result<()> {
        self.runtime.block_on(self.store.close())
    }

    /// See [`crate::Store::keyspace`].
    #[must_use]
    pub fn keyspace(&self, namespace: impl Into<String>) -> Keyspace {
        Keyspace {
            keys: self.store.keyspace(namespace),
            runtime: self.runtime.clone(),
        }
    }

    /// See [`crate::Store::create_namespace`].
    ///
    /// # Errors
    /// As there.
    pub fn create_namespace(&self, name: &str, options: NamespaceOptions) -> Result<Keyspace> {
        let made = self.store.create_namespace(name, options);
        self.runtime.block_on(made)?;
        Ok(self.keyspace(name))
    }

    /// See [`crate::Store::namespaces`].
    ///
    /// # Errors
    /// As there.
    pub fn namespaces(&self) -> Result<Vec<Arc<Namespace>>> {
        self.store.namespaces()
    }

    /// See [`crate::Store::drop_namespace`].
    ///
    /// # Errors
    /// As there.
    pub fn drop_namespace(&self, name: &str) -> Result<()> {
        self.runtime.block_on(self.store.drop_namespace(name))
    }

    /// See [`crate::Store::snapshot`].
    ///
    /// # Errors
    /// As there.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot {
            snapshot: self.runtime.block_on(self.store.snapshot())?,
            _runtime: self.runtime.clone(),
        })
    }

    /// See [`crate::Store::sync`].
    ///
    /// # Errors
    /// As there.
    pub fn sync(&self) -> Result<()> {
        self.runtime.block_on(self.store.sync())
    }

    /// See [`crate::Store::status`].
    ///
    /// # Errors
    /// As there.
    pub fn status(&self) -> Result<StatusReport> {
        self.runtime.block_on(self.store.status())
    }

    /// See [`crate::Store::backup`].
    ///
    /// # Errors
    /// As there.
    pub fn backup(&self, name: &str, since: Version) -> Result<BackupDone> {
        self.runtime.block_on(self.store.backup(name, since))
    }

    /// See [`crate::Store::restore`].
    ///
    /// # Errors
    /// As there.
    pub fn restore(&self, file: impl AsRef<Path>) -> Result<RestoreDone> {
        self.runtime.block_on(self.store.restore(file))
    }
}

impl Snapshot {
    /// See [`super::Snapshot::version`].
    #[must_use]
    pub fn version(&self) -> Version {
        self.snapshot.version()
    }
}

impl Keyspace {
    /// See [`super::Keyspace::at`].
    #[must_use]
    pub fn at(&self, snapshot: &Snapshot) -> Self {
        Self {
            keys: self.keys.at(&snapshot.snapshot),
            runtime: self.runtime.clone(),
        }
    }

    /// See [`super::Keyspace::get`].
    ///
    /// # Errors
    /// As there.
    pub fn get(&self, key: impl Into<Bytes>) -> Result<Option<Value>> {
        self.runtime.block_on(self.keys.get(key))
    }

    /// See [`super::Keyspace::head`].
    ///
    /// # Errors
    /// As there.
    pub fn head(&self, key: impl Into<Bytes>) -> Result<Option<Entry>> {
        self.runtime.block_on(self.keys.head(key))
    }

    /// See [`super::Keyspace::get_many`].
    ///
    /// # Errors
    /// As there.
    pub fn get_many<K: Into<Bytes>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Value>>> {
        self.runtime.block_on(self.keys.get_many(keys))
    }

    /// See [`super::Keyspace::heads`].
    ///
    /// # Errors
    /// As there.
    pub fn heads<K: Into<Bytes>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Entry>>> {
        self.runtime.block_on(self.keys.heads(keys))
    }

    /// See [`super::Keyspace::put`].
    ///
    /// # Errors
    /// As there.
    pub fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<Stored> {
        self.runtime.block_on(self.keys.put(key, value))
    }

    /// See [`super::Keyspace::put_if`].
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

    /// See [`super::Keyspace::put_with`].
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

    /// See [`super::Keyspace::delete`].
    ///
    /// # Errors
    /// As there.
    pub fn delete(&self, key: impl Into<Bytes>) -> Result<bool> {
        self.runtime.block_on(self.keys.delete(key))
    }

    /// See [`super::Keyspace::delete_if`].
    ///
    /// # Errors
    /// As there.
    pub fn delete_if(&self, key: impl Into<Bytes>, expect: Expect) -> Result<Option<Version>> {
        self.runtime.block_on(self.keys.delete_if(key, expect))
    }

    /// See [`super::Keyspace::touch`].
    ///
    /// # Errors
    /// As there.
    pub fn touch(&self, key: impl Into<Bytes>, stay: Stay) -> Result<Entry> {
        self.runtime.block_on(self.keys.touch(key, stay))
    }

    /// See [`super::Keyspace::increment`].
    ///
    /// # Errors
    /// As there.
    pub fn increment(&self, key: impl Into<Bytes>, delta: i64) -> Result<i64> {
        self.runtime.block_on(self.keys.increment(key, delta))
    }

    /// See [`super::Keyspace::commit`].
    ///
    /// # Errors
    /// As there.
    pub fn commit(&self, batch: Batch) -> Result<Committed> {
        self.runtime.block_on(self.keys.commit(batch))
    }

    /// See [`super::Keyspace::scan`].
    ///
    /// # Errors
    /// As there.
    pub fn scan(&self, query: Query) -> Result<Rows> {
        Ok(Rows {
            rows: self.runtime.block_on(self.keys.scan(query))?,
            page: Vec::new().into_iter(),
            is_over: false,
            runtime: self.runtime.clone(),
        })
    }

    /// See [`super::Keyspace::watch`].
    ///
    /// # Errors
    /// As there.
    pub fn watch(&self, query: Query, after: Option<Version>) -> Result<Changes> {
        Ok(Changes {
            changes: self.runtime.block_on(self.keys.watch(query, after))?,
            is_over: false,
            runtime: self.runtime.clone(),
        })
    }

    /// See [`super::Keyspace::measure`]; waits until all keys were walked.
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
}

impl Iterator for Rows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.page.next() {
                return Some(Ok(row));
            }
            if self.is_over {
                return None;
            }
            match self.runtime.block_on(self.rows.next_page()) {
                Ok(Some(page)) => self.page = page.into_iter(),
                Ok(None) => self.is_over = true,
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Iterator for Changes {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let step = self.runtime.block_on(self.changes.next());
        self.is_over = step.is_err();
        Some(step)
    }
}
