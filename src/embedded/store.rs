//! Open, look after, close.

use super::{Keyspace, Options, Snapshot};
use crate::model::{Error, Result};
use crate::service::Service;
use crate::start::Running;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::runtime::Handle;

/// A store inside this program. Clones are the same store; it is closed with [`Store::close`], or
/// behind the scenes when the last clone and the last keyspace of it are dropped.
///
/// It needs a tokio runtime with several threads, for its supervisors and for readers that wait for
/// the disk. What is wrong with a store at run time is told through `tracing`. A writer that hangs in
/// the system for `supervise.writer_timeout` ends the process, as it ends a server.
#[derive(Debug, Clone)]
pub struct Store {
    service: Service,
    guard: Arc<Guard>,
}

/// Closes the store with the last who has it.
#[derive(Debug)]
pub(super) struct Guard {
    running: Mutex<Option<Running>>,
    is_closed: AtomicBool,
    runtime: Handle,
}

impl Guard {
    /// That the store is open.
    pub(super) fn check(&self) -> Result<()> {
        if !self.is_closed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let message = "the store was closed: open it again";
        Err(Error::unavailable("STORE_CLOSED", message))
    }

    fn take(&self) -> Option<Running> {
        self.is_closed.store(true, Ordering::Relaxed);
        let mut running = self.running.lock();
        running.as_mut().map_or(None, |running| running.take())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(running) = self.take() {
            self.runtime.spawn(async move {
                if let Err(error) = running.close().await {
                    tracing::warn!(%error, "a store was not closed in order; its next opening recovers it");
                }
            });
        }
    }
}

impl Store {
    /// Opens the store at a path, and makes it if there is none. Returns when it has recovered.
    ///
    /// # Errors
    /// `Invalid` (`DATA_DIR`) when the path is open already, in this process or another, or holds
    /// something else; `Invalid` (`CONFIG`) for an option that cannot be; `Corrupt` and `Unavailable`
    /// when no shard of it can serve.
    pub async fn open(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        let config = options.config(path.as_ref())?;
        let running = Running::open(config).await?;
        Ok(Self {
            service: running.service().clone(),
            guard: Arc::new(Guard {
                running: Mutex::new(Some(running)),
                is_closed: AtomicBool::new(false),
                runtime: Handle::current(),
            }),
        })
    }

    /// Closes the store, whoever else has a clone of it: what is acknowledged is synced, and the path
    /// is free to be opened again. Calls that come later are told so (`STORE_CLOSED`).
    ///
    /// # Errors
    /// What a shard answers that could not be closed in order; the next opening recovers it. That
    /// somebody else has closed it is none.
    pub async fn close(self) -> Result<()> {
        let running = self.guard.take();
        // Its own share of what must be gone before the directory is.
        drop(self.service);
        match running {
            Some(running) => running.close().await,
            None => Ok(()),
        }
    }

    /// The keys of a namespace; of the default one when the name is empty. That there is no such
    /// namespace is told by the first call.
    #[must_use]
    pub fn keyspace(&self, namespace: impl Into<String>) -> Keyspace {
        Keyspace::new(self.service.clone(), self.guard.clone(), namespace.into())
    }

    /// The whole store as it is now, for reads that belong together, until it is dropped.
    ///
    /// # Errors
    /// `Overloaded` (`TOO_MANY_SNAPSHOTS`), and what the shards answer.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::take(self.service()?.clone()).await
    }

    pub(super) fn service(&self) -> Result<&Service> {
        self.guard.check()?;
        Ok(&self.service)
    }
}
