//! A shard against a map: random commands, crashes between any two steps, reopens, rebuilds, GC.
//! After each, the shard holds what the map holds, its books equal a recount, and an index rebuilt
//! from the log equals the one that lived.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use shardkeep::codec::{self, Kind, Sealer, Space};
use shardkeep::config::Durability;
use shardkeep::index::{IndexOptions, Place, Row, Totals};
use shardkeep::log::{Ballast, LogOptions, Position};
use shardkeep::model::*;
use shardkeep::shard::{Homes, ShardOptions, ShardStore, Transactions};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone)]
enum Op {
    Put {
        key: u8,
        value: Recipe,
        existing: u8,
        ttl: Option<u8>,
    },
    Content {
        value: Recipe,
    },
    Delete {
        key: u8,
    },
    DeleteContent {
        pick: u8,
    },
    Merge {
        key: u8,
        ahead: u8,
        value: Option<Recipe>,
    },
    Wait {
        ms: u8,
    },
    Expire,
    Reclaim,
    Purge,
    Gc {
        threshold: f64,
    },
    Crash,
    Close,
    Rebuild,
    Fail {
        point: &'static str,
    },
}

/// Later than the clock of any machine, which GC looks at: time goes on only as an operation says.
const BEGINNING: Timestamp = Timestamp(1 << 45);

const POINTS: [&str; 6] = [
    "log::write",
    "log::sync",
    "shard::written",
    "shard::synced",
    "index::commit",
    "gc::purged",
];

/// A value by its recipe, so that a failing history is short enough to read.
#[derive(Debug, Clone, Copy)]
struct Recipe(u8, usize);

impl Recipe {
    fn bytes(self) -> Vec<u8> {
        if self.1 < 1000 {
            vec![self.0; self.1]
        } else {
            noise(self.0, self.1)
        }
    }
}

fn value() -> impl Strategy<Value = Recipe> {
    prop_oneof![
        (any::<u8>(), 1usize..300).prop_map(|(byte, len)| Recipe(byte, len)),
        (0u8..6, 2000usize..2004).prop_map(|(byte, len)| Recipe(byte, len)),
        (0u8..3, 20_000usize..20_002).prop_map(|(byte, len)| Recipe(byte, len)),
    ]
}

fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        30 => (0u8..12, value(), 0u8..2, prop::option::of(1u8..40)).prop_map(|(key, value, existing, ttl)| Op::Put { key, value, existing, ttl }),
        15 => value().prop_map(|value| Op::Content { value }),
        12 => (0u8..12).prop_map(|key| Op::Delete { key }),
        6 => any::<u8>().prop_map(|pick| Op::DeleteContent { pick }),
        5 => (0u8..12, 0u8..6, prop::option::of(value())).prop_map(|(key, ahead, value)| Op::Merge { key, ahead, value }),
        8 => (1u8..20).prop_map(|ms| Op::Wait { ms }),
        8 => Just(Op::Expire),
        6 => Just(Op::Reclaim),
        3 => Just(Op::Purge),
        10 => (0.0f64..1.1).prop_map(|threshold| Op::Gc { threshold }),
        6 => Just(Op::Crash),
        3 => Just(Op::Close),
        5 => Just(Op::Rebuild),
        8 => (0usize..POINTS.len()).prop_map(|point| Op::Fail { point: POINTS[point] }),
    ]
}

/// What the map has of a key. What has expired stays until a command removes it.
#[derive(Debug, Clone, Default)]
struct Kept {
    version: Version,
    value: Option<Vec<u8>>,
    expiry: Option<Timestamp>,
    attributes: Bytes,
}

impl Kept {
    fn has_expired(&self, now: Timestamp) -> bool {
        self.value.is_some() && self.expiry.is_some_and(|at| at <= now)
    }

    fn is_live(&self, now: Timestamp) -> bool {
        self.value.is_some() && !self.has_expired(now)
    }
}

/// The shard and the map it is compared with.
struct Bench {
    dir: tempfile::TempDir,
    durability: Durability,
    counter: Arc<VersionCounter>,
    store: Option<ShardStore>,
    now: Timestamp,
    model: BTreeMap<Key, Kept>,
    /// What a write of unknown outcome may have left.
    unsure: Option<(Key, Kept)>,
    fail: bool,
    refs: u128,
}

fn options(dir: &Path, durability: Durability, counter: Arc<VersionCounter>) -> ShardOptions {
    ShardOptions {
        dir: dir.join("shards/000"),
        store: StoreId(1),
        id: ShardId(0),
        durability,
        log: LogOptions {
            segment_size: 64 * 1024,
        },
        index: IndexOptions {
            cache_size: 1 << 20,
            write_buffer_size: 1 << 20,
        },
        must_exist: false,
        inline_max: 128,
        tombstone_retention: Duration::from_secs(3600),
        checkpoint_bytes: 256 * 1024,
        space_floor: 0,
        homes: Arc::new(Homes::even(1)),
        ballast: Arc::new(Ballast::new(dir.join("BALLAST"), 0, 0)),
        clock: Arc::new(Clock::default()),
        counter,
        dictionaries: Arc::default(),
        transactions: Arc::new(Transactions::one_by_one(1)),
    }
}

fn seal(raw: &[u8]) -> SealedValue {
    let info = ValueInfo {
        raw_len: raw.len() as u64,
        sum64: codec::sum64_of(raw),
    };
    let sealer = Sealer {
        level: 1,
        probe_size: 1024,
        min_gain: 0.05,
    };
    sealer.seal(
        Bytes::copy_from_slice(raw),
        info,
        Some(codec::digest_of(raw)),
    )
}

impl Bench {
    fn new(durability: Durability) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut bench = Self {
            dir,
            durability,
            counter: Arc::default(),
            store: None,
            now: BEGINNING,
            model: BTreeMap::new(),
            unsure: None,
            fail: false,
            refs: 0,
        };
        bench.open(None);
        bench
    }

    fn open(&mut self, rebuild: Option<&str>) {
        self.store = None;
        self.fail = false;
        for point in POINTS {
            fail::remove(point);
        }
        let before = self.counter.current();
        self.counter = Arc::default();
        let options = options(self.dir.path(), self.durability, self.counter.clone());
        let (store, _) = ShardStore::open(options, rebuild).expect("the shard opens");
        self.store = Some(store);
        let highest = self
            .model
            .values()
            .map(|kept| kept.version)
            .max()
            .unwrap_or_default();
        assert!(
            self.counter.current() >= highest,
            "a version would be issued twice"
        );
        assert!(self.counter.current() <= before.max(highest).max(Version(before.0 + 1)));
        self.settle();
        self.check();
    }

    /// After a failure, the key of the failed write holds the old value or the new one.
    fn settle(&mut self) {
        let Some((key, new)) = self.unsure.take() else {
            return;
        };
        let (version, found) = self.read(&key);
        let old = self.model.get(&key).cloned().unwrap_or_default();
        assert!(
            found == new.value || found == old.value,
            "{key}: neither the old value nor the new one"
        );
        if found == new.value && found != old.value {
            self.model.insert(key, Kept { version, ..new });
        } else if let (Some(entry), true) = (self.model.get_mut(&key), version != Version(0))
            && entry.version != version
        {
            *entry = Kept { version, ..new };
        }
    }

    fn read(&self, key: &Key) -> (Version, Option<Vec<u8>>) {
        let reader = self.store.as_ref().unwrap().reader();
        let Some(found) = reader.key(key, Timestamp(0)).unwrap() else {
            return (Version(0), None);
        };
        let version = found.row.version;
        let found = match found.link() {
            Some(link) => reader
                .blob(link.digest)
                .unwrap()
                .expect("a linked blob is there"),
            None => found,
        };
        let raw = found.open(found.payload().unwrap()).unwrap();
        (version, Some(raw.to_vec()))
    }

    fn run(&mut self, command: Command, key: Option<(Key, Kept)>) -> Option<Reply> {
        let store = self.store.as_mut().unwrap();
        let reserved = store.reserve(command.log_size_max(), command.frees_space());
        let done = reserved.and_then(|()| store.execute(vec![command], self.now));
        match done {
            Ok(mut replies) => replies.pop(),
            Err(error) => {
                assert!(self.fail, "only an injected fault fails a command: {error}");
                self.unsure = key;
                self.recover();
                None
            }
        }
    }

    fn recover(&mut self) {
        self.open(None);
    }

    fn body(&mut self, raw: &[u8]) -> PutBody {
        let value = seal(raw);
        if raw.len() < 1000 {
            return PutBody::Small(value);
        }
        self.refs += 1;
        let blob = BlobRef {
            digest: value.digest.unwrap(),
            ref_id: RefId(self.refs),
        };
        PutBody::Home {
            blob,
            info: value.info,
            value: Some(value),
        }
    }

    fn put(&mut self, key: Key, raw: Vec<u8>, existing: Existing, expiry: Option<Timestamp>) {
        let body = self.body(&raw);
        // A shard does not look into them.
        let attributes = Bytes::from(vec![raw[0]; usize::from(raw[0] % 5) * 40]);
        let new = Kept {
            version: Version(0),
            value: Some(raw.clone()),
            expiry,
            attributes: attributes.clone(),
        };
        let live = self.live(&key);
        let command = Command::Put {
            key: key.clone(),
            body,
            existing,
            expiry,
            attributes,
        };
        match self.run(command, Some((key.clone(), new.clone()))) {
            Some(Reply::Put {
                version, previous, ..
            }) => {
                assert!(
                    existing == Existing::Replace
                        || live.as_ref().is_none_or(|live| live.value != new.value)
                        || existing == Existing::Keep && live.is_none()
                );
                assert_eq!(version, self.counter.current());
                assert_eq!(previous, live.map(|live| live.version));
                self.model.insert(key, Kept { version, ..new });
            }
            Some(Reply::Unchanged { version }) => {
                assert_ne!(existing, Existing::Replace);
                assert_eq!(version, live.unwrap().version);
            }
            None => {}
            other => panic!("{other:?}"),
        }
    }

    fn live(&self, key: &Key) -> Option<Kept> {
        let kept = self.model.get(key);
        kept.filter(|kept| kept.is_live(self.now)).cloned()
    }

    fn delete(&mut self, key: Key) {
        let live = self.live(&key).is_some();
        let command = Command::Delete {
            key: key.clone(),
            condition: None,
        };
        self.remove(command, key, live);
    }

    /// Every key is asked to go if it has expired.
    fn expire(&mut self) {
        let keys: Vec<Key> = self.model.keys().cloned().collect();
        for key in keys {
            let expired = self.model[&key].has_expired(self.now);
            let command = Command::Expire { key: key.clone() };
            self.remove(command, key, expired);
        }
    }

    fn remove(&mut self, command: Command, key: Key, removes: bool) {
        match self.run(command, Some((key.clone(), Kept::default()))) {
            Some(Reply::Deleted {
                version, replaced, ..
            }) => {
                assert!(removes && replaced.is_none_or(|replaced| replaced.dropped));
                let gone = Kept {
                    version,
                    ..Kept::default()
                };
                self.model.insert(key, gone);
            }
            Some(Reply::Missing) => assert!(!removes),
            None => {}
            other => panic!("{other:?}"),
        }
    }

    fn merge(&mut self, key: Key, ahead: u8, raw: Option<Vec<u8>>) {
        let version = Version(self.counter.current().0.saturating_sub(3) + u64::from(ahead));
        if version.0 == 0 {
            return;
        }
        self.counter.raise(version);
        let known = self.store.as_ref().unwrap().known(&key).unwrap();
        let body = raw.as_ref().map(|raw| self.body(raw));
        let command = Command::Merge {
            key: key.clone(),
            version,
            body,
            expiry: None,
            attributes: Bytes::new(),
        };
        let new = Kept {
            version,
            value: raw,
            ..Kept::default()
        };
        match self.run(command, Some((key.clone(), new.clone()))) {
            Some(Reply::Unchanged { .. }) => assert!(known.unwrap().version >= version),
            Some(_) => {
                assert!(known.is_none_or(|known| known.version < version));
                self.model.insert(key, new);
            }
            None => {}
        }
    }

    fn apply(&mut self, op: Op) {
        // The same bytes in several namespaces are several keys.
        let user = |key: u8| {
            let namespace = NamespaceId(u32::from(key % 3));
            Key::in_namespace(namespace, format!("key-{}", key / 3).as_bytes()).unwrap()
        };
        match op {
            Op::Put {
                key,
                value,
                existing,
                ttl,
            } => {
                let expiry = ttl.map(|ms| Timestamp(self.now.0 + u64::from(ms)));
                let existing = if existing == 0 {
                    Existing::Replace
                } else {
                    Existing::Keep
                };
                self.put(user(key), value.bytes(), existing, expiry);
            }
            Op::Content { value } => {
                let value = value.bytes();
                let key = Key::of_digest(codec::digest_of(&value));
                self.put(key, value, Existing::KeepSameContent, None);
            }
            Op::Delete { key } => self.delete(user(key)),
            Op::DeleteContent { pick } => {
                let keys: Vec<Key> = self
                    .model
                    .keys()
                    .filter(|key| key.digest().is_some())
                    .cloned()
                    .collect();
                if !keys.is_empty() {
                    self.delete(keys[usize::from(pick) % keys.len()].clone());
                }
            }
            Op::Merge { key, ahead, value } => {
                self.merge(user(key), ahead, value.map(Recipe::bytes))
            }
            Op::Wait { ms } => self.now.0 += u64::from(ms),
            Op::Expire => self.expire(),
            Op::Reclaim => self.reclaim(),
            Op::Purge => {
                let horizon = Version(self.counter.current().0 / 2);
                self.run(Command::PurgeTombstones { horizon }, None);
            }
            Op::Gc { threshold } => match self.store.as_mut().unwrap().collect(threshold) {
                Ok(outcome) => assert!(
                    outcome.pinned.is_empty(),
                    "nobody reads, and yet {outcome:?}"
                ),
                Err(error) => {
                    assert!(self.fail, "only an injected fault stops gc: {error}");
                    self.recover();
                }
            },
            Op::Crash => self.recover(),
            Op::Close => {
                let closed = self.store.take().unwrap().close();
                assert!(self.fail || closed.is_ok());
                self.recover();
            }
            Op::Rebuild => {
                let before = self.dump();
                self.open(Some("the test wants it"));
                self.compare(before);
            }
            Op::Fail { point } => {
                self.fail = true;
                fail::cfg(point, "1*return").unwrap();
            }
        }
    }

    /// Everything closed is rewritten and goes, and nothing is lost by it.
    fn collect_all(&mut self) {
        let store = self.store.as_mut().unwrap();
        let closed = store.gc_candidates(1.1);
        let outcome = store.collect(1.1).unwrap();
        assert_eq!(outcome.removed, closed);
        let left = store.reader().segments();
        assert!(closed.iter().all(|id| !left.contains_key(id)));
        self.check();
    }

    fn reclaim(&mut self) {
        let snapshot = self.store.as_ref().unwrap().reader().snapshot();
        let rows: Vec<_> = snapshot.scan(Space::Blob, &[], None).collect();
        drop(snapshot);
        for row in rows {
            let (id, row) = row.unwrap();
            if row.kind == Kind::Blob {
                let digest = Digest(id[..].try_into().unwrap());
                self.run(Command::ReclaimBlob { digest }, None);
            }
        }
    }

    fn check(&mut self) {
        let keys: Vec<Key> = self.model.keys().cloned().collect();
        for key in &keys {
            let (version, found) = self.read(key);
            let kept = &self.model[key];
            assert_eq!(found, kept.value, "{key}");
            if kept.value.is_some() {
                assert_eq!(version, kept.version, "{key}");
            }
            let reader = self.store.as_ref().unwrap().reader();
            let live = reader.key(key, self.now).unwrap();
            assert_eq!(live.is_some(), kept.is_live(self.now), "{key}");
            let attributes = live.map(|live| live.row.attributes);
            assert!(attributes.is_none_or(|it| it == kept.attributes), "{key}");
        }
        self.check_expiries();
        self.recount();
    }

    /// The rows of expiries are those of the keys that expire, in their order.
    fn check_expiries(&self) {
        let reader = self.store.as_ref().unwrap().reader();
        for now in [self.now, Timestamp(u64::MAX)] {
            let expiring = self.model.iter().filter(|(_, kept)| kept.has_expired(now));
            let expected: BTreeMap<&Key, Option<Timestamp>> =
                expiring.map(|(key, kept)| (key, kept.expiry)).collect();
            let due = reader.due(now, usize::MAX).unwrap();
            let times: Vec<_> = due.iter().map(|key| expected.get(key)).collect();
            assert!(times.is_sorted() && times.iter().all(Option::is_some));
            assert_eq!(due.len(), expected.len());
        }
    }

    /// The books against what the rows say.
    fn recount(&self) {
        let store = self.store.as_ref().unwrap();
        let snapshot = store.reader().snapshot();
        let live = |space| -> Vec<(Bytes, Row)> {
            let rows = snapshot.scan(space, &[], None).map(Result::unwrap);
            rows.filter(|(_, row): &(Bytes, Row)| !row.kind.is_gone())
                .collect()
        };
        let keys = Space::KEYS.map(live).concat();
        let (blobs, references) = (live(Space::Blob), live(Space::Reference));
        let links: Vec<&Row> = keys
            .iter()
            .map(|(_, row)| row)
            .filter(|row| row.kind == Kind::Link)
            .collect();
        let values: Vec<&Row> = keys
            .iter()
            .map(|(_, row)| row)
            .filter(|row| row.kind == Kind::Value)
            .collect();
        assert_eq!(
            keys.len(),
            self.model
                .values()
                .filter(|kept| kept.value.is_some())
                .count()
        );
        assert_eq!(
            links.len(),
            references.len(),
            "references equal a recount of the records"
        );
        for link in &links {
            let id = link.inline.clone().unwrap();
            assert!(
                references.iter().any(|(reference, _)| *reference == id),
                "a dangling link"
            );
        }
        let raw = |rows: &[&Row]| rows.iter().map(|row| row.info.raw_len).sum::<u64>();
        let stored = |rows: &[&Row]| {
            rows.iter()
                .map(|row| u64::from(row.place.payload_len))
                .sum::<u64>()
        };
        let blob_rows: Vec<&Row> = blobs.iter().map(|(_, row)| row).collect();
        let expected = Totals {
            keys: keys.len() as u64,
            logical_bytes: raw(&links) + raw(&values),
            unique_bytes: raw(&blob_rows) + raw(&values),
            stored_bytes: stored(&blob_rows) + stored(&values),
            blobs: blobs.len() as u64,
            references: references.len() as u64,
        };
        assert_eq!(store.totals(), expected);
        let mut sizes: HashMap<SegmentId, u64> = HashMap::new();
        for space in Space::ALL {
            for found in snapshot.scan(space, &[], None) {
                let (id, row) = found.unwrap();
                let beside = id.len() + row.attributes.len();
                let size =
                    (codec::RECORD_HEADER_SIZE + beside) as u64 + u64::from(row.place.payload_len);
                *sizes.entry(row.place.record.segment).or_default() += size;
            }
        }
        for (segment, usage) in store.usage() {
            assert_eq!(
                usage.live_bytes,
                sizes.remove(segment).unwrap_or(0),
                "segment {segment}"
            );
        }
        assert!(
            sizes.is_empty(),
            "rows point into segments without books: {sizes:?}"
        );
    }

    #[allow(clippy::type_complexity)]
    fn dump(
        &self,
    ) -> (
        Vec<(Bytes, Row)>,
        Totals,
        Vec<(SegmentId, shardkeep::index::SegmentUsage)>,
    ) {
        let store = self.store.as_ref().unwrap();
        let snapshot = store.reader().snapshot();
        let mut rows = Vec::new();
        for space in Space::ALL {
            rows.extend(snapshot.scan(space, &[], None).map(Result::unwrap));
        }
        let usage = store
            .usage()
            .iter()
            .map(|(id, usage)| (*id, *usage))
            .collect();
        (rows, store.totals(), usage)
    }

    #[allow(clippy::type_complexity)]
    fn compare(
        &self,
        before: (
            Vec<(Bytes, Row)>,
            Totals,
            Vec<(SegmentId, shardkeep::index::SegmentUsage)>,
        ),
    ) {
        let after = self.dump();
        assert_eq!(before.1, after.1, "totals of a rebuilt index");
        if self.durability == Durability::Sync {
            assert_eq!(before.0, after.0, "rows of a rebuilt index");
            assert_eq!(before.2, after.2, "usage of a rebuilt index");
            return;
        }
        // Groups that were never synced are copied into a new segment: same rows, other places.
        let nowhere = |rows: Vec<(Bytes, Row)>| -> Vec<(Bytes, Row)> {
            let place = Place {
                record: Position::default(),
                payload_offset: 0,
                payload_len: 0,
            };
            rows.into_iter()
                .map(|(id, row)| (id, Row { place, ..row }))
                .collect()
        };
        assert_eq!(
            nowhere(before.0),
            nowhere(after.0),
            "rows of a rebuilt index"
        );
    }
}

fn drive(ops: Vec<Op>, durability: Durability) {
    let scenario = fail::FailScenario::setup();
    run(ops, durability);
    scenario.teardown();
}

fn run(ops: Vec<Op>, durability: Durability) {
    let mut bench = Bench::new(durability);
    for op in ops {
        bench.apply(op);
    }
    bench.recover();
    bench.collect_all();
    let before = bench.dump();
    bench.open(Some("the test wants it"));
    bench.compare(before);
}

/// Random histories of up to so many operations, unless somebody wants others; says how many
/// operations there were.
fn histories(length_max: usize, durability: Durability) {
    let length_max = set("SHARDKEEP_MODEL_LENGTH").unwrap_or(length_max);
    let config = ProptestConfig {
        failure_persistence: None,
        cases: cases(),
        max_shrink_iters: 400,
        ..ProptestConfig::default()
    };
    let histories = prop::collection::vec(op(), 1..length_max);
    let operations = Cell::new(0);
    let tried = TestRunner::new(config).run(&histories, |ops| {
        operations.set(operations.get() + ops.len());
        drive(ops, durability);
        Ok(())
    });
    eprintln!("{durability:?}: {} operations", operations.get());
    tried.unwrap_or_else(|failure| panic!("{failure}"));
}

/// How many histories there are.
fn cases() -> u32 {
    set("SHARDKEEP_MODEL_CASES").unwrap_or(12)
}

fn set<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn a_shard_holds_what_a_map_holds_through_crashes() {
    histories(80, Durability::Sync);
}

#[test]
fn a_shard_holds_what_a_map_holds_without_syncs() {
    histories(60, Durability::Os);
}

/// The planted fault: a key that is overwritten or deleted never lets go of its content.
#[test]
fn a_reference_that_is_leaked_is_found() {
    let large = Recipe(1, 2_000);
    let existing = 0;
    let put = |key, ttl| Op::Put {
        key,
        value: large,
        existing,
        ttl,
    };
    for last in [
        vec![put(1, None)],
        vec![Op::Delete { key: 1 }],
        vec![Op::Wait { ms: 50 }, Op::Expire],
    ] {
        let scenario = fail::FailScenario::setup();
        let ops = || [vec![put(1, Some(40))], last.clone()].concat();
        run(ops(), Durability::Sync);
        fail::cfg("plan::leaked", "return").unwrap();
        let leaked = std::panic::catch_unwind(|| run(ops(), Durability::Sync));
        let why = leaked.expect_err("the leak was not found");
        let why = why.downcast_ref::<String>().expect("a message");
        assert!(why.contains("references equal a recount"), "{why}");
        scenario.teardown();
    }
}
