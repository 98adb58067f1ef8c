//! Opening and reopening of shards: a factory for each, a bounded number of restarts.

use super::doubt::IndexDoubt;
use super::window::RestartBudget;
use crate::actor::ActorRuntime;
use crate::config;
use crate::index::IndexError;
use crate::log::{LogError, Purpose, free_space};
use crate::model::{Error, Result};
use crate::shard::{
    IndexVerdict, OpenReport, ShardError, ShardHandle, ShardHealth, ShardOptions, ShardStore,
};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long readers of the old store may take to let go of it.
const RELEASE_DEADLINE: Duration = Duration::from_secs(600);
/// How often it is looked whether they have.
const RELEASE_POLL: Duration = Duration::from_millis(20);
/// How often it is looked whether a writer hangs, within the time that it may take.
const WRITER_POLLS: u32 = 12;
/// How long it takes until a shard that did not open is tried again; twice as long every time ...
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// ... up to this.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(4);

/// Opens one shard, and opens it again when it fails.
#[derive(Debug, Clone)]
pub struct ShardKeeper {
    handle: Arc<ShardHandle>,
    options: ShardOptions,
    runtime: Arc<ActorRuntime>,
    budget: Arc<Mutex<RestartBudget>>,
    /// How long a failure of the index is remembered.
    memory: Duration,
    /// A writer that has not ended after this long hangs in the kernel. It is not replaced beside
    /// itself: the process ends, and the next one recovers from the log.
    writer_timeout: Duration,
}

impl ShardKeeper {
    /// A keeper that restarts its shard as often as the configuration allows.
    #[must_use]
    pub fn new(
        handle: Arc<ShardHandle>,
        options: ShardOptions,
        runtime: Arc<ActorRuntime>,
        supervise: &config::Supervise,
    ) -> Self {
        let budget = RestartBudget::new(supervise.restart_budget, supervise.restart_window);
        Self {
            handle,
            options,
            runtime,
            budget: Arc::new(Mutex::new(budget)),
            memory: supervise.restart_window,
            writer_timeout: supervise.writer_timeout,
        }
    }

    /// Opens the shard and starts its actor; `rebuild` says why its index must be made anew. A
    /// damaged shard is down; one that cannot be opened for another reason, such as a disk that
    /// is full or gone, is tried again by [`ShardKeeper::run`].
    ///
    /// # Errors
    /// Why it is not open.
    pub async fn open(&self, rebuild: Option<String>) -> Result<()> {
        match self.open_released(rebuild.clone()).await {
            Ok((store, report)) => {
                tell(&self.options, &report);
                self.handle.start(store, &self.runtime);
                let mut health = self.handle.health();
                let _ = health
                    .wait_for(|health| *health != ShardHealth::Opening)
                    .await;
                Ok(())
            }
            Err(error) => {
                let public = error.to_public(self.handle.id());
                self.handle
                    .set_health(health_unopened(&error, &public, rebuild));
                Err(public)
            }
        }
    }

    fn release_reserve(&self) -> bool {
        self.options.ballast.release(Purpose::Open, u64::MAX)
    }

    /// Whether so little is free that the index may have failed for want of it.
    fn is_disk_short(&self) -> bool {
        free_space(&self.options.dir).is_ok_and(|free| free < self.options.space_floor)
    }

    /// Waits until nobody holds the old store, and gives the reserve back if the disk is full.
    async fn open_released(
        &self,
        rebuild: Option<String>,
    ) -> Result<(ShardStore, OpenReport), ShardError> {
        let deadline = Instant::now() + RELEASE_DEADLINE;
        loop {
            let (options, rebuild) = (self.options.clone(), rebuild.clone());
            let opening = move || {
                fail::fail_point!(&format!("shard::open::{}", options.id), |_| Err(
                    LogError::Io {
                        operation: "open",
                        path: options.dir.clone(),
                        source: std::io::Error::other("injected by a fail point"),
                    }
                    .into()
                ));
                ShardStore::open(options, rebuild.as_deref())
            };
            let opened = tokio::task::spawn_blocking(opening).await;
            let opened =
                opened.unwrap_or_else(|error| Err(ShardError::Contradiction(error.to_string())));
            match opened {
                Err(ShardError::Index(IndexError::Locked)) if Instant::now() < deadline => {
                    tokio::time::sleep(RELEASE_POLL).await;
                }
                Err(error) if error.is_disk_full() && self.release_reserve() => {}
                done => {
                    // What the opening left of it is not for everybody.
                    self.options.ballast.refill();
                    return done;
                }
            }
        }
    }

    /// Reopens the shard whenever it fails, until told to stop or until it failed too often. A
    /// shard that does not open is tried again for as long as that takes: only what failed while
    /// it served is counted, and not while the disk is full.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        let mut health = self.handle.health();
        let mut opens_failed = 0;
        let mut doubt = IndexDoubt::new(self.memory);
        loop {
            let failed = tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                failed = health.wait_for(|health| matches!(health, ShardHealth::Failed { .. })) => {
                    failed.map(|health| health.clone())
                }
            };
            let Ok(ShardHealth::Failed { cause, index }) = failed else {
                return;
            };
            let is_short = self.is_disk_short();
            if opens_failed > 0 {
                tokio::select! {
                    _ = stopping.wait_for(|stop| *stop) => return,
                    () = tokio::time::sleep(retry_pause(opens_failed)) => {}
                }
            } else if is_short {
                // The index writes in the background too, and needs room for that.
                self.release_reserve();
                tokio::time::sleep(RETRY_PAUSE).await;
            } else if !self.may_restart() {
                self.give_up(&cause).await;
                return;
            }
            let rebuild = match index {
                IndexVerdict::Useless(reason) => Some(reason),
                // What failed for want of room is not in doubt.
                IndexVerdict::Doubtful if !is_short => {
                    doubt.failed(Instant::now(), self.is_last_restart(), &cause)
                }
                IndexVerdict::Doubtful | IndexVerdict::Sound => None,
            };
            let is_open = tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                is_open = self.reopen(&cause, rebuild) => is_open,
            };
            opens_failed = if is_open { 0 } else { opens_failed + 1 };
        }
    }

    /// Looks whether the shard's writer hangs, in the kernel or in the index: nobody else would
    /// notice, for it neither fails nor answers.
    pub async fn watch_writer(self, mut stopping: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(self.writer_timeout / WRITER_POLLS) => {}
            }
            if self.handle.busy_for() > self.writer_timeout {
                self.end_process();
            }
        }
    }

    fn end_process(&self) {
        tracing::error!(shard = %self.handle.id(), "the shard's writer hangs (supervise.writer_timeout); ending the process so that the next one can recover");
        std::process::abort();
    }

    fn may_restart(&self) -> bool {
        self.budget().allow(Instant::now())
    }

    fn is_last_restart(&self) -> bool {
        self.budget().is_spent()
    }

    fn budget(&self) -> MutexGuard<'_, RestartBudget> {
        self.budget
            .lock()
            .expect("no code panics while it holds this lock")
    }

    /// Whether it is open again.
    async fn reopen(&self, cause: &str, rebuild: Option<String>) -> bool {
        let shard = self.handle.id();
        tracing::warn!(%shard, %cause, "reopening the shard");
        self.handle.set_health(ShardHealth::Opening);
        self.close().await;
        self.handle.set_health(ShardHealth::Opening);
        match self.open(rebuild).await {
            Ok(()) => {
                tracing::warn!(%shard, "the shard serves again");
                true
            }
            Err(error) => {
                tracing::error!(%shard, %error, "the shard does not open");
                false
            }
        }
    }

    async fn close(&self) {
        let closing = tokio::time::timeout(self.writer_timeout, self.handle.close()).await;
        if closing.is_err() {
            self.end_process();
        }
    }

    async fn give_up(&self, cause: &str) {
        let shard = self.handle.id();
        self.close().await;
        let error = format!(
            "shard {shard} failed too often and stays down (supervise.restart_budget); the last cause: {cause}. \
             Mend the cause, then restart the server"
        );
        tracing::error!(%error);
        self.handle.set_health(ShardHealth::Down {
            error,
            damaged: false,
        });
    }
}

/// What a failed open means: a fault of the system may pass, one of the data does not.
fn health_unopened(error: &ShardError, public: &Error, rebuild: Option<String>) -> ShardHealth {
    let down = |damaged| ShardHealth::Down {
        error: format!(
            "{public}. Stop the server and run `shardkeep verify` on its data directory"
        ),
        damaged,
    };
    match error {
        ShardError::Log(LogError::Damaged { .. } | LogError::Newer { .. }) => down(true),
        // What is still so after the index was made anew will be so the next time too.
        ShardError::Contradiction(_)
        | ShardError::Log(LogError::IndexStale(_))
        | ShardError::Index(IndexError::Row(_) | IndexError::File { .. } | IndexError::Panicked) => {
            down(false)
        }
        ShardError::HalfShown
        | ShardError::Undecided { .. }
        | ShardError::Log(LogError::Io { .. } | LogError::Full { .. })
        | ShardError::Index(
            IndexError::Database(_)
            | IndexError::Locked
            | IndexError::Full(_)
            | IndexError::Poisoned,
        ) => ShardHealth::Failed {
            cause: public.to_string(),
            index: rebuild.map_or_else(|| error.verdict(), IndexVerdict::Useless),
        },
    }
}

fn retry_pause(opens_failed: u32) -> Duration {
    let doubled = RETRY_PAUSE.saturating_mul(1 << (opens_failed - 1).min(16));
    doubled.min(RETRY_PAUSE_MAX)
}

fn tell(options: &ShardOptions, report: &OpenReport) {
    let shard = options.id;
    if let Some(reason) = &report.rebuilt {
        tracing::warn!(%shard, %reason, groups = report.replayed_groups, "the index was rebuilt from the log");
    }
    if report.torn_bytes > 0 || report.adopted_groups > 0 {
        tracing::warn!(
            %shard,
            torn_bytes = report.torn_bytes,
            adopted_groups = report.adopted_groups,
            "the last run did not end in order: a torn, never acknowledged tail was cut, groups of unproven durability were copied and synced"
        );
    }
    tracing::info!(%shard, replayed_groups = report.replayed_groups, "shard open");
}
