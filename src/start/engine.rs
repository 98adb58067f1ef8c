//! The storage engine: everything below the gateway, opened together and closed together.

use super::book::ManifestBook;
use super::data_dir::DataDir;
use super::manifest::Manifest;
use crate::actor::ActorRuntime;
use crate::backup::BackupRoot;
use crate::codec::Dictionaries;
use crate::config::Config;
use crate::dedup::Dedup;
use crate::index::IndexOptions;
use crate::log::{Ballast, LogOptions};
use crate::model::{Clock, Error, Result, ScrubReport, ShardId, Version, VersionCounter};
use crate::router::Router;
use crate::service::{DiskGate, Parts, RestoreSource, Service, StoreBook};
use crate::shard::{Homes, ShardHandle, ShardHealth, ShardOptions, Transactions};
use crate::supervise::{ShardKeeper, Watched};
use crate::telemetry::Level;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// More shards than this cost more syncs than they save, on any disk we measured.
const SHARDS_AUTO_MAX: usize = 8;

/// More versions than one shard can have given between two frames of another.
const VERSIONS_UNKNOWN: u64 = 1 << 32;
/// How long a shard may take to close when the server stops; then the log is recovered instead.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);

/// A data directory that is locked and whose manifest is read.
#[derive(Debug)]
pub(super) struct Store {
    pub dir: DataDir,
    pub manifest: Manifest,
}

/// Locks the data directory and reads or makes its manifest.
pub(super) fn open_store(config: &Config) -> Result<Store> {
    let refused = |error: String| Error::invalid("DATA_DIR", error);
    let dir =
        DataDir::open(&config.storage.data_dir).map_err(|error| refused(error.to_string()))?;
    let wanted = config.storage.shards.unwrap_or_else(shards_auto);
    let manifest =
        Manifest::open_or_create(&dir, wanted).map_err(|error| refused(error.to_string()))?;
    let kept = manifest.shards();
    if config.storage.shards.is_some_and(|wanted| wanted != kept) {
        tracing::warn!(
            wanted,
            kept,
            "an existing store keeps its number of shards (storage.shards)"
        );
    }
    Ok(Store { dir, manifest })
}

/// One shard for two cores: a shard is one thread and one stream of syncs.
fn shards_auto() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from((cores / 2).clamp(1, SHARDS_AUTO_MAX)).unwrap_or(1)
}

/// An open store and everything that runs in it.
pub(super) struct Engine {
    service: Service,
    router: Router,
    disk: Arc<DiskGate>,
    ballast: Arc<Ballast>,
    keepers: Vec<ShardKeeper>,
    scrubbed: watch::Sender<ScrubReport>,
    _runtime: Arc<ActorRuntime>,
    /// Last, so that the lock outlives everything in the directory.
    _store: DataDir,
}

impl Engine {
    /// Opens every shard, side by side, and puts the parts together. A shard that is damaged stays
    /// down; its callers are told, the others serve.
    pub async fn open(
        store: Store,
        config: &Config,
        stop: watch::Sender<bool>,
        log_level: Option<Level>,
    ) -> Result<Self> {
        let runtime = actor_threads()?;
        let Store { dir, mut manifest } = store;
        let transactions = Transactions::new(manifest.shards());
        let shared = Shared::new(&dir, &manifest, config, transactions);
        let shards: Vec<Arc<ShardHandle>> = (0..manifest.shards())
            .map(|id| Arc::new(ShardHandle::new(ShardId(id), &config.admission)))
            .collect();
        let keeper = |handle: &Arc<ShardHandle>| {
            let options = shared.shard_options(&dir, &manifest, config, handle.id());
            ShardKeeper::new(handle.clone(), options, runtime.clone(), &config.supervise)
        };
        let keepers: Vec<ShardKeeper> = shards.iter().map(keeper).collect();
        if open_shards(&keepers, &shards).await? {
            manifest
                .note_shards_made(&dir.manifest())
                .map_err(|error| Error::unavailable("MANIFEST", error.to_string()))?;
        } else {
            // What a shard that is not here knows of the counter is not known.
            let past_it = Version(shared.counter.current().0 + VERSIONS_UNKNOWN);
            shared.counter.raise(past_it);
        }
        let Shared {
            clock,
            counter,
            homes,
            ballast,
            dictionaries,
            transactions: _,
        } = shared;
        let router = Router::new(shards, homes, clock, counter);
        let dedup = Dedup::start(
            runtime.clone(),
            Arc::new(router.clone()),
            config.dedup.grace,
        );
        let disk = Arc::new(DiskGate::new(dir.path().to_owned(), config.disk.min_free));
        let scrubbed = watch::Sender::default();
        let parts = Parts {
            router: router.clone(),
            dictionaries,
            dedup,
            disk: disk.clone(),
            backups: Arc::new(BackupRoot::open(&config.backup.dir)?),
            book: Arc::new(ManifestBook::new(dir.manifest(), manifest)),
            scrubbed: scrubbed.subscribe(),
            log_level,
            stop,
        };
        let book = parts.book.clone();
        let service = Service::new(parts, config);
        resume_merge(&service, &*book).await;
        Ok(Self {
            service,
            router,
            disk,
            ballast,
            keepers,
            scrubbed,
            _runtime: runtime,
            _store: dir,
        })
    }

    /// The service.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// What the supervisors look after.
    pub fn watched(&self) -> Watched {
        Watched {
            service: self.service.clone(),
            router: self.router.clone(),
            disk: self.disk.clone(),
            ballast: self.ballast.clone(),
            keepers: self.keepers.clone(),
            scrubbed: self.scrubbed.clone(),
        }
    }

    /// Syncs and closes all shards at once.
    pub async fn close(self) -> Result<()> {
        let mut closing = tokio::task::JoinSet::new();
        for shard in self.router.shards() {
            let shard = shard.clone();
            closing.spawn(async move { close_in_time(&shard).await });
        }
        let mut outcome = Ok(());
        while let Some(closed) = closing.join_next().await {
            let lost = |error| Error::internal("TASK_FAILED", format!("closing failed: {error}"));
            outcome = outcome.and(closed.map_err(lost).and_then(|closed| closed));
        }
        outcome
    }
}

fn actor_threads() -> Result<Arc<ActorRuntime>> {
    let failed = |error| {
        let message = format!("cannot start the actor threads: {error}");
        Error::internal("RUNTIME", message)
    };
    ActorRuntime::start().map(Arc::new).map_err(failed)
}

async fn close_in_time(shard: &ShardHandle) -> Result<()> {
    let late = |_| {
        let message = format!(
            "shard {} did not close in time; the next start recovers it",
            shard.id()
        );
        Error::unavailable("SHARD_CLOSE", message)
    };
    let closed = tokio::time::timeout(CLOSE_DEADLINE, shard.close()).await;
    closed.map_err(late).and_then(|(closed, _)| closed)
}

/// What all shards of a store have in common.
pub(super) struct Shared {
    clock: Arc<Clock>,
    counter: Arc<VersionCounter>,
    homes: Arc<Homes>,
    ballast: Arc<Ballast>,
    dictionaries: Arc<Dictionaries>,
    transactions: Arc<Transactions>,
}

impl Shared {
    pub fn new(
        dir: &DataDir,
        manifest: &Manifest,
        config: &Config,
        transactions: Transactions,
    ) -> Self {
        Self {
            clock: Arc::default(),
            counter: Arc::default(),
            homes: Arc::new(manifest.homes.clone()),
            ballast: Arc::new(ballast(dir, manifest, config)),
            dictionaries: Arc::default(),
            transactions: Arc::new(transactions),
        }
    }

    /// Everything that opening one shard needs.
    pub fn shard_options(
        &self,
        dir: &DataDir,
        manifest: &Manifest,
        config: &Config,
        id: ShardId,
    ) -> ShardOptions {
        ShardOptions {
            dir: dir.shard_dir(id),
            store: manifest.store,
            id,
            durability: config.storage.durability,
            log: LogOptions {
                segment_size: config.storage.segment_size,
            },
            must_exist: manifest.shards_made,
            index: index_options(config, manifest.shards()),
            inline_max: config.index.inline_max,
            tombstone_retention: config.keys.tombstone_retention,
            checkpoint_bytes: config.index.checkpoint_bytes,
            space_floor: 2 * config.index.write_buffer_size * u64::from(manifest.shards()),
            homes: self.homes.clone(),
            ballast: self.ballast.clone(),
            clock: self.clock.clone(),
            counter: self.counter.clone(),
            dictionaries: self.dictionaries.clone(),
            transactions: self.transactions.clone(),
        }
    }
}

/// What an index needs of the reserve beside a whole write buffer.
const RESERVE_BESIDE_A_FLUSH: u64 = 1024 * 1024;

/// The reserve: what the configuration says, or as much as lets every index write out its buffer on
/// a full disk. None, if it says none.
fn ballast(dir: &DataDir, manifest: &Manifest, config: &Config) -> Ballast {
    let shards = u64::from(manifest.shards());
    let buffer = config.index.write_buffer_size;
    let size = match config.disk.ballast {
        0 => 0,
        asked_for => asked_for.max(shards * (buffer + RESERVE_BESIDE_A_FLUSH)),
    };
    Ballast::new(dir.ballast(), size, shards * buffer)
}

/// The memory for block caches is one budget for all shards.
fn index_options(config: &Config, shards: u16) -> IndexOptions {
    IndexOptions {
        cache_size: config.index.cache_size / u64::from(shards.max(1)),
        write_buffer_size: config.index.write_buffer_size,
    }
}

/// Opens all shards at once; fails only when none can serve. Whether all do.
async fn open_shards(keepers: &[ShardKeeper], shards: &[Arc<ShardHandle>]) -> Result<bool> {
    let opening: Vec<_> = keepers
        .iter()
        .map(|keeper| {
            let keeper = keeper.clone();
            tokio::spawn(async move { keeper.open(None).await })
        })
        .collect();
    let mut first_error = None;
    for opened in opening {
        let lost =
            |error| Error::internal("TASK_FAILED", format!("opening a shard failed: {error}"));
        if let Err(error) = opened.await.map_err(lost).and_then(|opened| opened) {
            tracing::error!(%error, "a shard does not open");
            first_error.get_or_insert(error);
        }
    }
    let any_serves = shards
        .iter()
        .any(|shard| *shard.health().borrow() == ShardHealth::Serving);
    match first_error {
        Some(error) if !any_serves => Err(error),
        first_error => Ok(first_error.is_none()),
    }
}

/// A merge that a crash interrupted is finished before anybody is let in.
async fn resume_merge(service: &Service, book: &dyn StoreBook) {
    let Some(merge) = book.read().merging else {
        return;
    };
    let file = merge.archive.display().to_string();
    let same = std::fs::metadata(&merge.archive).is_ok_and(|found| found.len() == merge.size);
    if !same {
        tracing::error!(%file, "a restore was interrupted and its backup is not there any more: a part of it is in the store; restore it again");
        return;
    }
    match service
        .restore(RestoreSource::Resumed(merge.archive), |_, _| {})
        .await
    {
        Ok(done) => {
            tracing::info!(%file, records = done.records, "an interrupted restore is finished")
        }
        Err(error) => {
            tracing::error!(%file, %error, "an interrupted restore could not be finished; restore it again")
        }
    }
}
