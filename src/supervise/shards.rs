//! Opening and reopening of shards: a factory for each, a bounded number of restarts.

use super::window::RestartBudget;
use crate::actor::ActorRuntime;
use crate::config;
use crate::index::IndexError;
use crate::log::LogError;
use crate::model::{Error, Result};
use crate::shard::{OpenReport, ShardError, ShardHandle, ShardHealth, ShardOptions, ShardStore};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A writer that has not ended after this long hangs in the kernel. It is not replaced beside
/// itself: the process ends, and the next one recovers from the log.
const CLOSE_DEADLINE: Duration = Duration::from_secs(60);
/// How long readers of the old store may take to let go of it.
const RELEASE_DEADLINE: Duration = Duration::from_secs(600);
/// How often it is looked whether they have.
const RELEASE_POLL: Duration = Duration::from_millis(20);
/// How often a shard that a full disk keeps closed is tried again.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// Opens one shard, and opens it again when it fails.
#[derive(Debug, Clone)]
pub struct ShardKeeper {
    handle: Arc<ShardHandle>,
    options: ShardOptions,
    runtime: Arc<ActorRuntime>,
    budget: Arc<Mutex<RestartBudget>>,
    /// Whether only a full disk keeps the shard down.
    waits_for_room: Arc<AtomicBool>,
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
            waits_for_room: Arc::default(),
        }
    }

    /// Opens the shard and starts its actor; `rebuild` says why its index must be made anew. A
    /// shard that cannot be opened is down.
    ///
    /// # Errors
    /// Why it is down.
    pub async fn open(&self, rebuild: Option<String>) -> Result<()> {
        let opened = self.open_released(rebuild).await;
        let full = matches!(&opened, Err(error) if error.is_disk_full());
        self.waits_for_room.store(full, Ordering::Relaxed);
        match opened {
            Ok((store, report)) => {
                tell(&self.options, &report);
                self.handle.set_health(ShardHealth::Opening);
                self.handle.start(store, &self.runtime);
                let mut health = self.handle.health();
                let _ = health
                    .wait_for(|health| *health != ShardHealth::Opening)
                    .await;
                Ok(())
            }
            Err(error) => {
                let public = error.to_public(self.handle.id());
                let damaged = matches!(error, ShardError::Log(LogError::Damaged { .. }));
                self.handle.set_health(ShardHealth::Down {
                    error: down_message(&public, damaged),
                    damaged,
                });
                Err(public)
            }
        }
    }

    /// Waits until nobody holds the old store, and gives the reserve back if the disk is full.
    async fn open_released(
        &self,
        rebuild: Option<String>,
    ) -> Result<(ShardStore, OpenReport), ShardError> {
        let deadline = Instant::now() + RELEASE_DEADLINE;
        loop {
            let (options, rebuild) = (self.options.clone(), rebuild.clone());
            let opening = move || ShardStore::open(options, rebuild.as_deref());
            let opened = tokio::task::spawn_blocking(opening).await;
            let opened =
                opened.unwrap_or_else(|error| Err(ShardError::Contradiction(error.to_string())));
            match opened {
                Err(ShardError::Index(IndexError::Locked)) if Instant::now() < deadline => {
                    tokio::time::sleep(RELEASE_POLL).await;
                }
                Err(error) if error.is_disk_full() && self.options.ballast.release() => {}
                done => return done,
            }
        }
    }

    /// Reopens the shard whenever it fails, until told to stop or until it failed too often. One
    /// that found no room to open is tried again until there is some.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        let mut health = self.handle.health();
        loop {
            let failed = tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(FULL_RETRY), if self.waits_for_room.load(Ordering::Relaxed) => None,
                failed = health.wait_for(|health| matches!(health, ShardHealth::Failed { .. })) => {
                    Some(failed.map(|health| health.clone()))
                }
            };
            let (cause, rebuild) = match failed {
                None => {
                    self.try_again().await;
                    continue;
                }
                Some(Ok(ShardHealth::Failed { cause, rebuild })) => (cause, rebuild),
                Some(_) => return,
            };
            if !self.may_restart() {
                self.give_up(&cause).await;
                return;
            }
            self.reopen(&cause, rebuild).await;
        }
    }

    async fn try_again(&self) {
        if self.open(None).await.is_ok() {
            tracing::warn!(shard = %self.handle.id(), "the disk has room: the shard serves again");
        }
    }

    fn may_restart(&self) -> bool {
        let mut budget = self
            .budget
            .lock()
            .expect("no code panics while it holds this lock");
        budget.allow(Instant::now())
    }

    async fn reopen(&self, cause: &str, rebuild: Option<String>) {
        let shard = self.handle.id();
        tracing::warn!(%shard, %cause, "reopening the shard");
        self.handle.set_health(ShardHealth::Opening);
        self.close().await;
        self.handle.set_health(ShardHealth::Opening);
        match self.open(rebuild).await {
            Ok(()) => tracing::warn!(%shard, "the shard serves again"),
            Err(error) => tracing::error!(%shard, %error, "the shard does not open"),
        }
    }

    async fn close(&self) {
        let closing = tokio::time::timeout(CLOSE_DEADLINE, self.handle.close()).await;
        if closing.is_err() {
            tracing::error!(shard = %self.handle.id(), "the shard's writer hangs; ending the process so that the next one can recover");
            std::process::abort();
        }
    }

    async fn give_up(&self, cause: &str) {
        let shard = self.handle.id();
        self.close().await;
        let error = format!(
            "shard {shard} failed too often and stays down (supervise.restart_budget); the last cause: {cause}. \
             Look at the disk, then restart the server"
        );
        tracing::error!(%error);
        self.handle.set_health(ShardHealth::Down {
            error,
            damaged: false,
        });
    }
}

fn down_message(error: &Error, damaged: bool) -> String {
    if damaged {
        return format!(
            "{error}. Stop the server and run `shardkeep verify` on its data directory"
        );
    }
    error.to_string()
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
