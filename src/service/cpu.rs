//! Hashing and compressing of large values, on as many threads as there are cores to do it.

use crate::model::{Error, Result};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// A bound on how many values are worked on at once; the threads are the runtime's own.
#[derive(Debug, Clone)]
pub struct CpuPool(Arc<Semaphore>);

impl CpuPool {
    /// A pool of so many threads; `None` for one per core.
    #[must_use]
    pub fn new(threads: Option<usize>) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, Into::into);
        Self(Arc::new(Semaphore::new(
            threads.unwrap_or_else(cores).max(1),
        )))
    }

    /// Runs work when a thread is free.
    ///
    /// # Errors
    /// `Internal` when the work panics.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let permit = self.0.clone().acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await
            .map_err(|error| Error::internal("TASK_FAILED", format!("a cpu task failed: {error}")))
    }
}
