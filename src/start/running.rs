//! An open store with its supervisors: what a server serves from, and what a program has in itself.

use super::engine::{Engine, Store};
use crate::config::Config;
use crate::model::Result;
use crate::service::Service;
use crate::supervise::{self, Supervisors};
use crate::telemetry::Level;
use std::time::Duration;
use tokio::sync::watch;

/// How long supervisors may take to end once they are told to.
const SUPERVISORS_DEADLINE: Duration = Duration::from_secs(1);

/// A store that is open and looked after.
pub struct Running {
    engine: Engine,
    supervisors: Supervisors,
    stop: watch::Sender<bool>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

impl Running {
    /// Opens the store that a configuration names, in the runtime that this is called in.
    ///
    /// # Errors
    /// When the directory is in use, is no store, or no shard of it can serve.
    pub async fn open(mut config: Config) -> Result<Self> {
        super::memory::fit(&mut config);
        let (stop, _) = watch::channel(false);
        let store = super::engine::open_store(&config)?;
        Self::of(store, &config, stop, None).await
    }

    /// Opens a store whose directory is locked. `stop` is told when somebody asks it to stop.
    pub(super) async fn of(
        store: Store,
        config: &Config,
        stop: watch::Sender<bool>,
        level: Option<Level>,
    ) -> Result<Self> {
        let engine = Engine::open(store, config, stop.clone(), level).await?;
        let supervisors = supervise::start(&engine.watched(), config, &stop.subscribe());
        Ok(Self {
            engine,
            supervisors,
            stop,
        })
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &Service {
        self.engine.service()
    }

    /// Ends the supervisors, then syncs and closes the shards. What still asks the service is told
    /// that it stops.
    ///
    /// # Errors
    /// What a shard answers that could not be closed; the next start recovers it.
    pub async fn close(self) -> Result<()> {
        self.stop.send_replace(true);
        let ended = tokio::time::timeout(SUPERVISORS_DEADLINE, self.supervisors.join());
        if ended.await.is_err() {
            tracing::warn!("a supervisor was still at work after {SUPERVISORS_DEADLINE:?}");
        }
        self.engine.close().await
    }
}
