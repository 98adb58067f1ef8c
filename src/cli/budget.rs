//! How much of a folder is in flight: requests, and bytes in memory.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of values in memory at one time. A larger value passes alone.
const MEMORY_MAX: u64 = 128 << 20;
/// What a value takes that is never in memory as a whole.
pub const LARGE_IN_MEMORY: u64 = 8 << 20;
/// Semaphores count in 32 bits: pages of this size keep the largest value far inside.
const PAGE: u64 = 1024;
const PAGES: u32 = (MEMORY_MAX / PAGE) as u32;

/// The limits of one run.
#[derive(Debug)]
pub struct Budget {
    jobs: Arc<Semaphore>,
    pages: Arc<Semaphore>,
}

/// A place in flight; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    _job: OwnedSemaphorePermit,
    _pages: OwnedSemaphorePermit,
}

impl Budget {
    /// A budget of `jobs` requests and the program's memory limit.
    #[must_use]
    pub fn new(jobs: u16) -> Self {
        Self {
            jobs: Arc::new(Semaphore::new(usize::from(jobs))),
            pages: Arc::new(Semaphore::new(PAGES as usize)),
        }
    }

    /// Waits for a request's place, before its value's size is known.
    pub async fn job(&self) -> OwnedSemaphorePermit {
        let jobs = Arc::clone(&self.jobs);
        jobs.acquire_owned().await.expect("never closed")
    }

    /// Waits for room for a value, in the order of asking.
    pub async fn memory(&self, bytes: u64) -> OwnedSemaphorePermit {
        let pages = u32::try_from(bytes.div_ceil(PAGE)).map_or(PAGES, |pages| pages.min(PAGES));
        let all = Arc::clone(&self.pages);
        all.acquire_many_owned(pages).await.expect("never closed")
    }

    /// Waits for both.
    pub async fn place(&self, bytes: u64) -> Place {
        Place {
            _job: self.job().await,
            _pages: self.memory(bytes).await,
        }
    }
}
