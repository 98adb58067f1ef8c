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

mod admin;
mod backup;
mod changes;
mod exchange;
mod keyspace;
mod large;
mod namespace;
mod rows;
mod transaction;

pub use changes::Changes;
pub use keyspace::Keyspace;
pub use large::Download;
pub use rows::Rows;
pub use transaction::Transaction;

use super::Options;
use crate::model::{Error, Result, Version};
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// [`crate::Store`], for threads that wait. It must not be used inside of a runtime.
#[derive(Debug, Clone)]
pub struct Store {
    store: super::Store,
    runtime: Arc<Runtime>,
}

/// [`super::Snapshot`], for threads that wait.
#[derive(Debug)]
pub struct Snapshot {
    // Before the runtime that its end is told to.
    snapshot: super::Snapshot,
    _runtime: Arc<Runtime>,
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
}

impl Snapshot {
    /// See [`super::Snapshot::version`].
    #[must_use]
    pub fn version(&self) -> Version {
        self.snapshot.version()
    }
}
