//! One shard without its actor, on a directory that can be looked into and spoiled.

use crate::faults::Faults;
use bytes::Bytes;
use shardkeep::codec::{self, Record, Sealer, Space};
use shardkeep::config::Durability;
use shardkeep::index::{Index, IndexOptions, IndexState, Row};
use shardkeep::log::{Ballast, LogOptions};
use shardkeep::model::{
    BlobRef, Clock, Command, Digest, Existing, Key, PutBody, RefId, Reply, SealedValue, SegmentId,
    ShardId, StoreId, Timestamp, ValueInfo, Version, VersionCounter,
};
use shardkeep::shard::{
    Homes, OpenReport, ShardError, ShardOptions, ShardStore, Transactions, verify_shard,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub const STORE: StoreId = StoreId(0x5e);
pub const SHARD: ShardId = ShardId(0);

/// Values up to this size stand in the index row.
pub const INLINE_MAX: usize = 128;

pub struct Bench {
    // Dropped first: the store, before its directory and the right to the process.
    store: Option<ShardStore>,
    pub counter: Arc<VersionCounter>,
    pub clock: Arc<Clock>,
    pub retention: Duration,
    pub durability: Durability,
    /// Bytes of the reserve for a full disk; counts from the next opening on.
    pub reserve: u64,
    pub space_floor: u64,
    refs: u128,
    dir: Place,
    _faults: Faults,
}

/// A directory of the test's own, or one it was given.
enum Place {
    Own(tempfile::TempDir),
    Given(PathBuf),
}

impl Bench {
    pub fn calm() -> Self {
        Self::over(Faults::calm(), Place::Own(tempfile::tempdir().unwrap()))
    }

    pub fn armed() -> Self {
        Self::over(Faults::armed(), Place::Own(tempfile::tempdir().unwrap()))
    }

    pub fn calm_in(dir: &Path) -> Self {
        Self::over(Faults::calm(), Place::Given(dir.to_owned()))
    }

    pub fn armed_in(dir: &Path) -> Self {
        Self::over(Faults::armed(), Place::Given(dir.to_owned()))
    }

    fn over(faults: Faults, dir: Place) -> Self {
        let mut bench = Self {
            store: None,
            counter: Arc::default(),
            clock: Arc::default(),
            retention: Duration::from_secs(3600),
            durability: Durability::Sync,
            reserve: 0,
            space_floor: 0,
            refs: 0,
            dir,
            _faults: faults,
        };
        bench.open();
        bench
    }

    fn root(&self) -> &Path {
        match &self.dir {
            Place::Own(dir) => dir.path(),
            Place::Given(dir) => dir,
        }
    }

    pub fn reserve_path(&self) -> PathBuf {
        self.root().join("ballast")
    }

    pub fn shard_dir(&self) -> PathBuf {
        self.root().join("shards/000")
    }

    pub fn index_dir(&self) -> PathBuf {
        self.shard_dir().join("index")
    }

    pub fn segment_path(&self, id: SegmentId) -> PathBuf {
        self.shard_dir().join(format!("log/{id}.seg"))
    }

    fn options(&self) -> ShardOptions {
        ShardOptions {
            dir: self.shard_dir(),
            store: STORE,
            id: SHARD,
            durability: self.durability,
            log: LogOptions {
                segment_size: 256 * 1024,
            },
            index: index_options(),
            must_exist: false,
            inline_max: INLINE_MAX,
            tombstone_retention: self.retention,
            checkpoint_bytes: 1 << 30,
            space_floor: self.space_floor,
            homes: Arc::new(Homes::even(1)),
            ballast: Arc::new(Ballast::new(self.reserve_path(), self.reserve, 0)),
            clock: self.clock.clone(),
            counter: self.counter.clone(),
            dictionaries: Arc::default(),
            transactions: Arc::new(Transactions::one_by_one(1)),
        }
    }

    /// Opens the shard as a new process does.
    pub fn try_open(&mut self, rebuild: Option<&str>) -> Result<OpenReport, ShardError> {
        self.store = None;
        self.counter = Arc::default();
        self.clock = Arc::default();
        let (store, report) = ShardStore::open(self.options(), rebuild)?;
        self.store = Some(store);
        Ok(report)
    }

    pub fn open(&mut self) -> OpenReport {
        self.try_open(None).expect("the shard opens")
    }

    pub fn rebuild(&mut self) -> OpenReport {
        let report = self.try_open(Some("the test wants it"));
        report.expect("the shard opens")
    }

    /// As `kill -9` does: nothing is synced or closed.
    pub fn crash(&mut self) {
        self.store = None;
    }

    pub fn close(&mut self) {
        self.store.take().unwrap().close().unwrap();
    }

    /// What comes now stands in a new segment.
    pub fn next_segment(&mut self) {
        self.close();
        self.open();
    }

    pub fn store(&mut self) -> &mut ShardStore {
        self.store.as_mut().expect("the shard is open")
    }

    pub fn reader(&self) -> shardkeep::shard::ShardReader {
        self.store.as_ref().expect("the shard is open").reader()
    }

    pub fn run(&mut self, command: Command) -> Result<Reply, ShardError> {
        let replies = self.run_group(vec![command])?;
        Ok(replies.into_iter().next().unwrap())
    }

    /// One group, as the actor makes it.
    pub fn run_group(&mut self, commands: Vec<Command>) -> Result<Vec<Reply>, ShardError> {
        let now = self.clock.now();
        let store = self.store();
        let size = commands.iter().map(Command::log_size_max).sum();
        store.reserve(size, commands.iter().all(Command::frees_space))?;
        store.execute(commands, now)
    }

    pub fn put(&mut self, key: &str, value: &[u8]) -> Version {
        match self.run(put(key, value)).unwrap() {
            Reply::Put { version, .. } => version,
            other => panic!("{other:?}"),
        }
    }

    /// A value that has a home of its own, here.
    pub fn put_blob(&mut self, key: &Key, value: &[u8]) -> BlobRef {
        self.refs += 1;
        let value = seal(value);
        let blob = BlobRef {
            digest: value.digest.unwrap(),
            ref_id: RefId(self.refs),
        };
        let command = Command::Put {
            key: key.clone(),
            body: PutBody::Home {
                blob,
                info: value.info,
                value: Some(value),
            },
            existing: Existing::Replace,
            expiry: None,
            attributes: Bytes::new(),
        };
        let reply = self.run(command).unwrap();
        assert!(matches!(reply, Reply::Put { .. }), "{reply:?}");
        blob
    }

    pub fn delete(&mut self, key: &str) -> Version {
        let command = Command::Delete {
            key: self::key(key),
            condition: None,
        };
        match self.run(command).unwrap() {
            Reply::Deleted { version, .. } => version,
            other => panic!("{other:?}"),
        }
    }

    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.read(&self::key(key)).unwrap()
    }

    pub fn read(&self, key: &Key) -> Result<Option<Vec<u8>>, ShardError> {
        let reader = self.reader();
        let Some(found) = reader.key(key, Timestamp(0))? else {
            return Ok(None);
        };
        let found = match found.link() {
            Some(link) => reader.blob(link.digest)?.expect("a linked blob is there"),
            None => found,
        };
        Ok(Some(found.open(found.payload()?)?.to_vec()))
    }

    pub fn row(&self, key: &str) -> Option<Row> {
        let found = self.reader().key(&self::key(key), Timestamp(0)).unwrap();
        found.map(|found| found.row)
    }

    /// Every row of the index.
    pub fn rows(&self) -> Vec<(Space, Bytes, Row)> {
        let snapshot = self.reader().snapshot();
        let mut rows = Vec::new();
        for space in Space::ALL {
            let found = snapshot.scan(space, &[], None).map(Result::unwrap);
            rows.extend(found.map(|(id, row)| (space, id, row)));
        }
        rows
    }

    /// The newest segment.
    pub fn last_segment(&self) -> SegmentId {
        let segments = self.reader().segments();
        *segments.last_key_value().expect("there is a segment").0
    }

    /// The segment files that are there.
    pub fn segments(&self) -> Vec<SegmentId> {
        let entries = std::fs::read_dir(self.shard_dir().join("log")).unwrap();
        let id = |path: PathBuf| path.file_stem()?.to_str()?.parse().ok().map(SegmentId);
        let mut found: Vec<SegmentId> = entries
            .filter_map(|entry| id(entry.unwrap().path()))
            .collect();
        found.sort();
        found
    }

    /// Works on the index behind the shard's back; the shard is closed.
    pub fn spoil_index(&mut self, spoil: impl FnOnce(&Index, &IndexState)) {
        assert!(self.store.is_none(), "the shard is closed first");
        let index = Index::open(&self.index_dir(), index_options()).unwrap();
        let state = index.state().unwrap().unwrap();
        spoil(&index, &state);
        index.persist().unwrap();
    }

    /// What the offline check finds wrong. The shard is closed for it.
    pub fn problems(&mut self) -> Vec<String> {
        let was_open = self.store.take().map(|store| store.close().unwrap());
        let verdict = verify_shard(&self.options(), false, &mut |_, _| {});
        let listed = verdict.problems.listed.iter().map(ToString::to_string);
        let found = listed.collect();
        drop(verdict);
        if was_open.is_some() {
            self.open();
        }
        found
    }

    /// Fails unless an index made from the log alone is the one that is there.
    pub fn assert_rebuild_is_equal(&mut self) {
        let (rows, totals) = (self.rows(), self.store().totals());
        self.rebuild();
        assert_eq!(self.rows(), rows, "rows of a rebuilt index");
        assert_eq!(self.store().totals(), totals, "totals of a rebuilt index");
    }
}

pub fn index_options() -> IndexOptions {
    IndexOptions {
        cache_size: 1 << 20,
        write_buffer_size: 1 << 20,
    }
}

pub fn key(name: &str) -> Key {
    Key::new(name.as_bytes()).unwrap()
}

pub fn put(name: &str, value: &[u8]) -> Command {
    put_with(name, value, Existing::Replace)
}

pub fn put_with(name: &str, value: &[u8], existing: Existing) -> Command {
    Command::Put {
        key: key(name),
        body: PutBody::Small(seal(value)),
        existing,
        expiry: None,
        attributes: Bytes::new(),
    }
}

pub fn seal(raw: &[u8]) -> SealedValue {
    let info = ValueInfo {
        raw_len: raw.len() as u64,
        sum64: codec::sum64_of(raw),
    };
    let sealer = Sealer {
        level: 1,
        probe_size: 1024,
        min_gain: 0.05,
    };
    let digest = codec::digest_of(raw);
    sealer.seal(Bytes::copy_from_slice(raw), info, Some(digest))
}

pub fn digest_of(raw: &[u8]) -> Digest {
    codec::digest_of(raw)
}

/// A record of a small value, as the log holds it.
pub fn value_record(name: &str, value: &[u8], seq: u64, version: u64) -> Record {
    let mut record = Record::of_value(codec::Kind::Value, key(name).to_bytes(), seal(value));
    record.seq = shardkeep::model::Seq(seq);
    record.version = Version(version);
    record
}

/// Puts a directory in the place of another.
pub fn replace_dir(from: &Path, to: &Path) {
    std::fs::remove_dir_all(to).unwrap();
    crate::support::files::copy_dir(from, to);
}
