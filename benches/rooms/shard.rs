//! A shard's commits in groups, its reads and its scan, without actor or network.

use super::scratch;
use super::value::{key, noise, sealed};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use shardkeep::config::Durability;
use shardkeep::index::IndexOptions;
use shardkeep::log::{Ballast, LogOptions};
use shardkeep::model::{
    Clock, Command, Existing, PutBody, SealedValue, ShardId, StoreId, Timestamp, VersionCounter,
};
use shardkeep::shard::{Homes, ShardOptions, ShardStore, Transactions};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const NOW: Timestamp = Timestamp(1);

fn open(dir: &Path, durability: Durability) -> ShardStore {
    let options = ShardOptions {
        dir: dir.join("shards/000"),
        store: StoreId(1),
        id: ShardId(0),
        durability,
        log: LogOptions {
            segment_size: 256 << 20,
        },
        index: IndexOptions {
            cache_size: 32 << 20,
            write_buffer_size: 8 << 20,
        },
        must_exist: false,
        inline_max: 256,
        tombstone_retention: Duration::from_secs(3600),
        checkpoint_bytes: 64 << 20,
        space_floor: 0,
        homes: Arc::new(Homes::even(1)),
        ballast: Arc::new(Ballast::new(dir.join("BALLAST"), 0, 0)),
        clock: Arc::new(Clock::default()),
        counter: Arc::new(VersionCounter::default()),
        dictionaries: Arc::default(),
        transactions: Arc::new(Transactions::one_by_one(1)),
    };
    let (store, _) = ShardStore::open(options, None).expect("an empty folder is a new shard");
    store
}

/// Puts of one value under new keys.
fn group_of(value: &SealedValue, first: u64, count: u64) -> Vec<Command> {
    (first..first + count)
        .map(|number| Command::Put {
            key: key(number),
            body: PutBody::Small(value.clone()),
            existing: Existing::Replace,
            expiry: None,
            attributes: bytes::Bytes::new(),
        })
        .collect()
}

fn commit(store: &mut ShardStore, commands: Vec<Command>) {
    let bytes = commands.iter().map(Command::log_size_max).sum();
    store.reserve(bytes, false).expect("there is room");
    store.execute(commands, NOW).expect("the disk works");
}

pub fn benches(c: &mut Criterion) {
    let value = sealed(&noise(1, 1 << 10));
    let mut group = c.benchmark_group("shard");
    for (name, durability) in [("sync", Durability::Sync), ("os", Durability::Os)] {
        let folder = scratch();
        let mut store = open(folder.path(), durability);
        let mut next = 0;
        for count in [1, 16, 256] {
            group.throughput(Throughput::Elements(count));
            let id = BenchmarkId::new(format!("commit 1KiB, {name}"), count);
            group.bench_function(id, |b| {
                b.iter_batched(
                    || {
                        next += count;
                        group_of(&value, next, count)
                    },
                    |commands| commit(&mut store, commands),
                    BatchSize::SmallInput,
                );
            });
        }
    }
    reads(&mut group, &value);
    group.finish();
}

fn reads(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    value: &SealedValue,
) {
    const KEYS: u64 = 20_000;
    let folder = scratch();
    let mut store = open(folder.path(), Durability::Os);
    for first in (0..KEYS).step_by(500) {
        commit(&mut store, group_of(value, first, 500));
    }
    let reader = store.reader();
    let mut turn = 0;
    group.throughput(Throughput::Elements(1));
    group.bench_function("get 1KiB", |b| {
        b.iter(|| {
            turn = (turn + 7919) % KEYS;
            let found = reader.key(&key(turn), NOW).expect("the index works");
            let found = found.expect("the key is there");
            black_box(found.payload_cached().expect("the disk works"))
        });
    });
    group.throughput(Throughput::Elements(1000));
    group.bench_function("scan 1000", |b| {
        b.iter(|| {
            let snapshot = reader.snapshot();
            let rows = snapshot.scan(shardkeep::codec::Space::Key, b"bench/", None);
            assert_eq!(black_box(rows.take(1000).count()), 1000);
        });
    });
}
