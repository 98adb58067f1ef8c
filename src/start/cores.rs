//! The threads that requests are served on: a runtime of one thread for every core.
//!
//! Nothing moves between them: a connection, its requests and what they wait for stay on one core,
//! without the wake-ups and the work stealing of a shared runtime.

use crate::model::{Error, Result};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// After so many tasks a core looks which connections have something for it, however much it has to
/// do. With tokio's own 61, those that come wait for 61 tasks of one that has 200.
const TASKS_PER_LOOK: u32 = 8;
/// After so many tasks of its own it runs one that another thread has made ready: a shard's answer, a
/// value that was read. Tokio's own is 31, by which an answer waits for 31 tasks of others.
const TASKS_PER_ANSWER: u32 = 5;

/// Running cores. They go on, with everything spawned on them, until this is dropped: what a
/// request left to do may outlive the server's front.
#[derive(Debug)]
pub(super) struct Cores {
    handles: Vec<Handle>,
    _release: Vec<oneshot::Sender<()>>,
}

impl Cores {
    /// Starts one for every core of the machine.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be had.
    pub fn start() -> Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let mut cores = Self {
            handles: Vec::with_capacity(count),
            _release: Vec::with_capacity(count),
        };
        for core in 0..count {
            let (release, released) = oneshot::channel();
            cores.handles.push(start_core(core, released)?);
            cores._release.push(release);
        }
        Ok(cores)
    }

    /// The cores.
    pub fn handles(&self) -> &[Handle] {
        &self.handles
    }
}

/// Starts a thread that runs until `released` resolves. It is not joined: what still runs by then
/// is a request whose client was cut, and a thread of its own may wait for a disk that never
/// answers.
fn start_core(core: usize, released: oneshot::Receiver<()>) -> Result<Handle> {
    let failed = |error: std::io::Error| {
        Error::internal("RUNTIME", format!("cannot start core {core}: {error}"))
    };
    let runtime = Builder::new_current_thread()
        .enable_all()
        .thread_name(format!("blocking-{core}"))
        .event_interval(TASKS_PER_LOOK)
        .global_queue_interval(TASKS_PER_ANSWER)
        .build()
        .map_err(failed)?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name(format!("core-{core}"))
        .spawn(move || {
            // An error is the release: nothing is ever sent.
            let _ = runtime.block_on(released);
            runtime.shutdown_background();
        })
        .map_err(failed)?;
    Ok(handle)
}
