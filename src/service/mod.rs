//! The one door: identity of values, limits, disk gate, sealing, routing.
//!
//! Every protocol front calls this and nothing below it. What comes in is raw and unchecked; what
//! goes on is valid by construction. Request bytes were admitted before they got here (see
//! `gateway`); requests per shard are admitted by the shards' handles.
//!
//! # The path of a Set
//! switch and disk gate -> checksum and digest (on the CPU pool when large) -> is it there already?
//! -> the turn for its content -> seal -> one command to one shard; or, when the content's home is
//! another shard: blob and reference there, record here, the replaced reference dropped, in a task
//! that outlives the request.
//!
//! # The largest debt at the admission limits
//!
//! | debt | bound | with the defaults, one shard |
//! |---|---|---|
//! | memory: request bodies | `admission.bytes_in_flight` | 256 MiB |
//! | memory: their compressed forms, until they are committed | the same again | 256 MiB |
//! | memory: replies that their peers have not taken | the same again | 256 MiB |
//! | memory: what peers send before they are asked | see the limits of `gateway::grpc` | |
//! | memory: values read lately | `storage.value_cache_size` | 32 MiB |
//! | memory: the index | `index.cache_size` + 2 x `index.write_buffer_size` a shard | 48 MiB |
//! | disk: a group that is written and not acknowledged | 16 MiB, or one value or commit, a shard | 16 MiB |
//! | disk: space taken ahead of the log's end | 4 MiB a shard | 4 MiB |
//! | disk: what the index may still flush | 2 x `index.write_buffer_size` a shard, kept free | 16 MiB |
//! | disk: copies that GC made of a segment that is not unlinked yet | one `storage.segment_size` a shard | 256 MiB |

mod backup;
mod backups;
mod catalogue;
mod checked;
mod commit;
mod cpu;
mod delete;
mod delete_range;
mod derived;
mod disk_gate;
mod expire;
mod extent;
mod get;
mod housekeeping;
mod import;
mod increment;
mod large;
mod link;
mod many;
mod measure;
mod merge;
mod namespace;
mod once;
mod page_hint;
mod patience;
mod put;
mod ready;
mod recent;
mod remove;
mod requirement;
mod restore;
mod sampler;
mod scan;
mod sealing;
mod settings;
mod snapshot;
mod store_book;
mod touch;
mod translation;
mod verify;
mod watch;

pub use crate::index::Totals;
pub use crate::router::Moment;
pub use backup::{BackupDone, BackupProgress};
pub use backups::Stored;
pub use commit::{Commit, CommitDone, KeyRequirement, NewEntry, Step, StepDone};
pub use cpu::CpuPool;
pub use delete::DeleteDone;
pub use delete_range::RangeDeleted;
pub use disk_gate::DiskGate;
pub use get::{Found, Head, Located};
pub use increment::{Addition, Increment};
pub use large::{ContentDone, Download, Intake, Pieces, Taken, Upload, UploadDone};
pub use many::LocatedMany;
pub use measure::{Measuring, Usage};
pub use namespace::NamespaceChange;
pub use once::Named;
pub use put::{Put, PutDone, PutRule, Requirement, missing};
pub use restore::{RestoreDone, RestoreSource};
pub use scan::{Page, Scan, ScanItem, ScanStream};
pub use settings::{Settings, SettingsChange};
pub use snapshot::Snapshot;
pub use store_book::{ChainBook, StoreBook, UnfinishedMerge};
pub use verify::{Verification, VerifyStep};
pub use watch::{Happened, WatchEvent, WatchPage, WatchQuery, Watching};

use crate::backup::BackupRoot;
use crate::codec::{Dictionaries, Sealer};
use crate::config::{Config, Durability, KeyMode};
use crate::dedup::Dedup;
use crate::model::{
    DEFAULT_NAMESPACE, Error, Key, Namespace, NamespaceId, NamespaceOptions, Result, ScrubReport,
    Timestamp, Version,
};
use crate::router::Router;
use crate::telemetry::Level;
use catalogue::Catalogue;
use increment::Turns;
use once::Answers;
use page_hint::PageHints;
use patience::patiently;
use recent::RecentValues;
use sealing::Sealing;
use settings::Switches;
use snapshot::Snapshots;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::watch as channel;
use watch::Watches;

/// What the configuration says about requests.
#[derive(Debug, Clone)]
struct Rules {
    value_size_max: u64,
    /// Of values that come in a stream.
    large_size_max: u64,
    /// Whether what is acknowledged may not be on the disk yet.
    unsynced: bool,
    dedup_min: usize,
    offload_size: usize,
    gc_threshold: f64,
    gc_slice: u64,
}

/// The parts that `start` has made and the service works with.
#[derive(Debug)]
pub struct Parts {
    /// All shards.
    pub router: Router,
    /// The dictionaries that the shards' logs hold.
    pub dictionaries: Arc<Dictionaries>,
    /// Content across shards.
    pub dedup: Dedup,
    /// Whether the disk has room.
    pub disk: Arc<DiskGate>,
    /// Where backups are.
    pub backups: Arc<BackupRoot>,
    /// What the data directory remembers of backups.
    pub book: Arc<dyn StoreBook>,
    /// What the scrubber has done and found.
    pub scrubbed: channel::Receiver<ScrubReport>,
    /// The level of the program's log, where there is one.
    pub log_level: Option<Level>,
    /// Set to true when somebody asks the process to stop.
    pub stop: channel::Sender<bool>,
}

#[derive(Debug)]
struct Inner {
    parts: Parts,
    rules: Rules,
    switches: Switches,
    sealing: Sealing,
    cpu: CpuPool,
    pages: PageHints,
    recent: RecentValues,
    counters: Turns,
    snapshots: Snapshots,
    watches: Watches,
    answers: Answers,
    catalogue: Arc<Catalogue>,
    /// Keys removed since the start because they had expired.
    expired: AtomicU64,
    /// One backup, restore or gc at a time.
    chores: Arc<tokio::sync::Mutex<()>>,
}

/// The storage service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Service(Arc<Inner>);

impl Service {
    /// Puts the parts together as the configuration says.
    #[must_use]
    pub fn new(parts: Parts, config: &Config) -> Self {
        let rules = Rules {
            value_size_max: config.server.max_upload_size,
            large_size_max: config.server.max_value_size,
            unsynced: config.storage.durability == Durability::Os,
            dedup_min: config.dedup.min_size,
            offload_size: config.compression.offload_size,
            gc_threshold: config.gc.live_threshold,
            gc_slice: config.gc.slice_size,
        };
        let sealer = Sealer {
            level: config.compression.level,
            probe_size: config.compression.probe_size,
            min_gain: config.compression.min_gain,
        };
        let sealing = Sealing::new(
            sealer,
            config.compression.dictionary_size,
            parts.dictionaries.clone(),
            parts.router.counter().clone(),
        );
        let cpu = CpuPool::new(config.compression.threads);
        Self(Arc::new(Inner {
            parts,
            rules,
            switches: Switches::new(&config.access),
            sealing,
            cpu,
            pages: PageHints::default(),
            recent: RecentValues::new(config.storage.value_cache_size),
            counters: Turns::default(),
            snapshots: Snapshots::default(),
            watches: Watches::default(),
            answers: Answers::default(),
            catalogue: Arc::new(Catalogue::new(default_namespace(config))),
            expired: AtomicU64::default(),
            chores: Arc::default(),
        }))
    }

    fn router(&self) -> &Router {
        &self.0.parts.router
    }

    /// The time at the door.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.router().now()
    }

    fn rules(&self) -> &Rules {
        &self.0.rules
    }

    /// One page of the live keys with a prefix, in byte order over all shards; `page` from 0.
    ///
    /// # Errors
    /// What the shards answer.
    pub async fn list(
        &self,
        prefix: &[u8],
        page: u64,
        page_size: usize,
    ) -> Result<Vec<(Key, Version)>> {
        patiently(|| {
            let (service, prefix) = (self.clone(), prefix.to_vec());
            blocking(move || service.list_page(&prefix, page, page_size))
        })
        .await
    }

    fn list_page(&self, prefix: &[u8], page: u64, page_size: usize) -> Result<Vec<(Key, Version)>> {
        let counter = self.router().counter().current();
        let found = match self.0.pages.take(prefix, page, counter) {
            Some(before) => self.router().list_after(prefix, &before, page_size)?,
            None => self.router().list(prefix, page, page_size)?,
        };
        if let Some((last, _)) = found.last().filter(|_| found.len() == page_size) {
            self.0.pages.note(prefix, page + 1, counter, last.clone());
        }
        Ok(found)
    }

    /// How many live keys have a prefix.
    ///
    /// # Errors
    /// What the shards answer.
    pub async fn count(&self, prefix: &[u8]) -> Result<u64> {
        let (router, prefix) = (self.router().clone(), prefix.to_vec());
        blocking(move || router.count(&prefix)).await
    }

    /// Asks the process to shut down in order; returns at once.
    pub fn stop(&self) {
        self.0.parts.stop.send_replace(true);
    }
}

/// The namespace that is always there, as the configuration says.
fn default_namespace(config: &Config) -> Namespace {
    Namespace {
        id: NamespaceId::DEFAULT,
        uid: 0,
        name: DEFAULT_NAMESPACE.to_owned(),
        options: NamespaceOptions {
            by_content: config.keys.mode == KeyMode::Content,
            overwrite: config.keys.overwrite,
            default_ttl_ms: None,
            value_size_max: None,
            compress: true,
            dedup: true,
        },
        created_at: Timestamp(0),
        dropped: false,
        version: Version(0),
    }
}

/// Runs what may wait for the disk off the request threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let lost = |error: tokio::task::JoinError| {
        Error::internal("TASK_FAILED", format!("a task failed: {error}"))
    };
    tokio::task::spawn_blocking(work).await.map_err(lost)?
}
