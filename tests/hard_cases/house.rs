//! A whole store in this process, put together as `start` does, over a directory that outlives it.

use crate::faults::Faults;
use bytes::Bytes;
use shardkeep::actor::ActorRuntime;
use shardkeep::backup::{BackupRoot, ChainId};
use shardkeep::codec::{self, Dictionaries, Kind, Space};
use shardkeep::config::{Config, KeyMode, Layers, Supervise};
use shardkeep::dedup::Dedup;
use shardkeep::index::IndexOptions;
use shardkeep::log::{Ballast, LogOptions};
use shardkeep::model::{
    BlobRef, Clock, Key, Result, ScrubReport, ShardId, StoreId, Version, VersionCounter,
};
use shardkeep::router::Router;
use shardkeep::service::{ChainBook, DiskGate, Parts, Service, StoreBook};
use shardkeep::shard::{Homes, ShardHandle, ShardHealth, ShardOptions, ShardReader, Transactions};
use shardkeep::supervise::ShardKeeper;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

const ADMISSION: shardkeep::config::Admission = shardkeep::config::Admission {
    requests_per_shard: 4096,
    bytes_in_flight: 64 << 20,
};

/// Contents from this size on have a home of their own.
pub const LARGE: usize = 1024;

/// What stays when the process goes.
pub struct House {
    open: Option<Open>,
    shards: u16,
    pub config: Config,
    book: Arc<MemoryBook>,
    dir: tempfile::TempDir,
    _faults: Faults,
}

/// What a process has.
struct Open {
    service: Service,
    router: Router,
    keepers: Vec<ShardKeeper>,
    stop: watch::Sender<bool>,
    supervisors: JoinSet<()>,
    runtime: Arc<ActorRuntime>,
}

/// The book of backups; that it survives in the manifest is tested elsewhere.
#[derive(Debug)]
struct MemoryBook(Mutex<ChainBook>);

impl StoreBook for MemoryBook {
    fn read(&self) -> ChainBook {
        self.0.lock().unwrap().clone()
    }

    fn write(&self, book: ChainBook) -> Result<()> {
        *self.0.lock().unwrap() = book;
        Ok(())
    }
}

impl House {
    /// Collects everything that is closed; what each shard did.
    pub async fn collect(&self) -> Vec<(ShardId, shardkeep::shard::GcOutcome)> {
        let outcomes = self.router().gc(2.0, 1 << 20).await;
        outcomes
            .into_iter()
            .map(|(shard, outcome)| (shard, outcome.unwrap()))
            .collect()
    }

    /// Four shards, user keys, no fail points.
    pub async fn calm() -> Self {
        Self::over(Faults::calm(), 4).await
    }

    /// So many shards, user keys, no fail points.
    pub async fn calm_over(shards: u16) -> Self {
        Self::over(Faults::calm(), shards).await
    }

    /// Four shards, user keys, the process to itself.
    pub async fn armed() -> Self {
        Self::over(Faults::armed(), 4).await
    }

    /// A second store beside another, under the other's right to the process.
    pub async fn beside(_other: &Self) -> Self {
        Self::over(Faults::Second, 4).await
    }

    async fn over(faults: Faults, shards: u16) -> Self {
        let mut config = Layers::new().load().expect("the defaults are valid").config;
        config.keys.mode = KeyMode::User;
        config.keys.overwrite = true;
        config.dedup.min_size = LARGE;
        config.dedup.grace = Duration::ZERO;
        config.storage.segment_size = 256 * 1024;
        config.disk.min_free = 1 << 20;
        config.index.write_buffer_size = 1 << 20;
        config.supervise = Supervise {
            restart_budget: 100,
            restart_window: Duration::from_secs(600),
            writer_timeout: Duration::from_secs(60),
        };
        let id = std::process::id().into();
        let book = ChainBook {
            store: StoreId(id),
            chain: ChainId(rand_id()),
            floor: Version(0),
            restored: Vec::new(),
            merging: None,
        };
        let mut house = Self {
            open: None,
            shards,
            config,
            book: Arc::new(MemoryBook(Mutex::new(book))),
            dir: tempfile::tempdir().unwrap(),
            _faults: faults,
        };
        house.open().await;
        house
    }

    /// A house over the files as they are now, as if the process had been killed: whoever may write
    /// is held meanwhile.
    pub async fn image(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        crate::support::files::copy_dir(self.dir(), dir.path());
        let mut house = Self {
            open: None,
            shards: self.shards,
            config: self.config.clone(),
            book: self.book.clone(),
            dir,
            _faults: Faults::Second,
        };
        house.open().await;
        house
    }

    /// Kills the process and takes its indexes away, so that the next makes them from the logs.
    pub async fn crash_without_indexes(&mut self) {
        self.end(false).await;
        for shard in (0..self.shards).map(ShardId) {
            std::fs::remove_dir_all(self.shard_dir(shard).join("index")).unwrap();
        }
        self.open().await;
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn shard_dir(&self, shard: ShardId) -> PathBuf {
        self.dir.path().join(format!("shards/{shard}"))
    }

    pub fn backups(&self) -> PathBuf {
        self.dir.path().join("backups")
    }

    /// Opens every shard.
    pub async fn open(&mut self) {
        assert!(self.open.is_none());
        let runtime = Arc::new(ActorRuntime::start().unwrap());
        let (clock, counter): (Arc<Clock>, Arc<VersionCounter>) = Default::default();
        let homes = Arc::new(Homes::even(self.shards));
        let ballast = Arc::new(Ballast::new(self.dir().join("ballast"), 0, 0));
        let handles: Vec<Arc<ShardHandle>> = (0..self.shards)
            .map(|id| Arc::new(ShardHandle::new(ShardId(id), &ADMISSION)))
            .collect();
        let transactions = Arc::new(Transactions::new(self.shards));
        let dictionaries: Arc<Dictionaries> = Arc::default();
        let mut keepers = Vec::new();
        for handle in &handles {
            let options = ShardOptions {
                dir: self.shard_dir(handle.id()),
                store: self.book.read().store,
                id: handle.id(),
                durability: self.config.storage.durability,
                log: LogOptions {
                    segment_size: self.config.storage.segment_size,
                },
                index: IndexOptions {
                    cache_size: 1 << 20,
                    write_buffer_size: self.config.index.write_buffer_size,
                },
                must_exist: false,
                inline_max: self.config.index.inline_max,
                tombstone_retention: self.config.keys.tombstone_retention,
                checkpoint_bytes: self.config.index.checkpoint_bytes,
                space_floor: 0,
                homes: homes.clone(),
                ballast: ballast.clone(),
                clock: clock.clone(),
                counter: counter.clone(),
                dictionaries: dictionaries.clone(),
                transactions: transactions.clone(),
            };
            let keeper = ShardKeeper::new(
                handle.clone(),
                options,
                runtime.clone(),
                &self.config.supervise,
            );
            keepers.push(keeper);
        }
        // At the same time: what a crash left undecided, they resolve together.
        let mut opening = JoinSet::new();
        for keeper in keepers.clone() {
            opening.spawn(async move { keeper.open(None).await });
        }
        for opened in opening.join_all().await {
            opened.expect("the shard opens");
        }
        let router = Router::new(handles, homes, clock, counter);
        let dedup = Dedup::start(
            runtime.clone(),
            Arc::new(router.clone()),
            self.config.dedup.grace,
        );
        let (stop, stopping) = watch::channel(false);
        let mut supervisors = JoinSet::new();
        for keeper in &keepers {
            supervisors.spawn(keeper.clone().run(stopping.clone()));
        }
        let parts = Parts {
            router: router.clone(),
            dictionaries,
            dedup,
            disk: Arc::new(DiskGate::new(
                self.dir().to_owned(),
                self.config.disk.min_free,
            )),
            backups: Arc::new(BackupRoot::open(&self.backups()).unwrap()),
            book: self.book.clone(),
            scrubbed: watch::channel(ScrubReport::default()).1,
            log_level: None,
            stop: stop.clone(),
        };
        self.open = Some(Open {
            service: Service::new(parts, &self.config),
            router,
            keepers,
            stop,
            supervisors,
            runtime,
        });
    }

    /// Ends the process without closing anything, and begins the next.
    pub async fn crash(&mut self) {
        self.end(false).await;
        self.open().await;
    }

    /// Ends the process in order.
    pub async fn close(&mut self) {
        self.end(true).await;
    }

    async fn end(&mut self, in_order: bool) {
        let open = self.open.take().expect("the house is open");
        let Open {
            service,
            router,
            keepers,
            stop,
            mut supervisors,
            runtime,
        } = open;
        stop.send_replace(true);
        while supervisors.join_next().await.is_some() {}
        if in_order {
            for shard in router.shards() {
                shard.close().await.0.expect("the shard closes");
            }
        }
        drop((service, router, keepers));
        // Its end is waited for, which the threads of a runtime may not do.
        tokio::task::spawn_blocking(move || drop(runtime))
            .await
            .unwrap();
    }

    fn now(&self) -> &Open {
        self.open.as_ref().expect("the house is open")
    }

    pub fn service(&self) -> &Service {
        &self.now().service
    }

    pub fn router(&self) -> &Router {
        &self.now().router
    }

    pub fn book(&self) -> ChainBook {
        self.book.read()
    }

    pub fn handle(&self, shard: ShardId) -> &Arc<ShardHandle> {
        &self.router().shards()[usize::from(shard.0)]
    }

    /// Waits until a shard serves (again).
    pub async fn serving(&self, shard: ShardId) {
        let mut health = self.handle(shard).health();
        let serving = health.wait_for(|health| *health == ShardHealth::Serving);
        let waited = tokio::time::timeout(crate::support::PATIENCE, serving).await;
        waited.expect("the shard serves").unwrap();
    }

    pub async fn set(&self, key: &[u8], value: &[u8]) {
        self.try_set(key, value).await.unwrap();
    }

    pub async fn try_set(&self, key: &[u8], value: &[u8]) -> Result<Key> {
        let sum64 = codec::sum64_of(value);
        let data = Bytes::copy_from_slice(value);
        self.service().set(key, data, sum64).await
    }

    pub async fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let found = self.service().get(key).await.unwrap();
        found.map(|found| found.data.to_vec())
    }

    pub async fn delete(&self, key: &[u8]) -> Option<Version> {
        self.service().delete(key).await.unwrap()
    }

    fn readers(&self) -> Vec<Arc<ShardReader>> {
        let shards = self.router().shards().iter();
        shards.map(|shard| shard.reader().unwrap()).collect()
    }

    /// Every reference and its owner.
    pub fn references(&self) -> BTreeMap<BlobRef, Key> {
        let readers = self.readers();
        let references = readers.iter().flat_map(|reader| reader.references());
        references.map(Result::unwrap).collect()
    }

    /// Every reference that a record names, and the record's key.
    pub fn named_references(&self) -> BTreeMap<BlobRef, Key> {
        let mut named = BTreeMap::new();
        for reader in self.readers() {
            for found in reader.snapshot().scan(Space::Key, &[], None) {
                let (id, row) = found.unwrap();
                if row.kind == Kind::Link {
                    let link = codec::decode_blob_ref(row.inline.as_deref().unwrap()).unwrap();
                    named.insert(link, Key::new(&id).unwrap());
                }
            }
        }
        named
    }

    /// Everything that a user can read.
    pub async fn contents(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut contents = BTreeMap::new();
        for (key, _) in self.service().list(b"", 0, usize::MAX).await.unwrap() {
            let value = self
                .get(key.as_bytes())
                .await
                .expect("a listed key is there");
            contents.insert(key.as_bytes().to_vec(), value);
        }
        contents
    }

    /// A value of [`LARGE`] bytes or more whose home is not the shard of `key`.
    pub fn value_away_from(&self, key: &[u8], seed: u64) -> Vec<u8> {
        let own = self.router().shard_of_key(&Key::new(key).unwrap());
        let candidates = (0..).map(|step| crate::support::noise(seed * 1000 + step, 2 * LARGE));
        let mut away = candidates
            .filter(|value| self.router().shard_of_digest(codec::digest_of(value)) != own);
        away.next().unwrap()
    }
}

/// An id that no other house has.
fn rand_id() -> u128 {
    use std::hash::{BuildHasher as _, RandomState};
    u128::from(RandomState::new().hash_one(0))
}
