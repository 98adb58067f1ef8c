//! Appending groups: on paper, written, written and synced.

use super::scratch;
use super::value::{key, noise, sealed};
use criterion::{BenchmarkId, Criterion, Throughput};
use shardkeep::codec::{Kind, Membership, Record};
use shardkeep::log::{GroupContext, Log, LogIdentity, LogOptions, OpenContext};
use shardkeep::model::{Seq, ShardId, StoreId, Timestamp, Version};
use std::hint::black_box;
use std::path::Path;

const CONTEXT: GroupContext = GroupContext {
    counter: Version(1),
    last_seq: Seq(1),
    now: Timestamp(1),
    membership: Membership::NONE,
};

fn open(dir: &Path) -> Log {
    let owner = LogIdentity {
        store: StoreId(1),
        shard: ShardId(0),
    };
    let options = LogOptions {
        segment_size: 64 << 20,
    };
    let opened = Log::open(dir, owner, options, OpenContext::default());
    opened.expect("an empty folder is a new log").log
}

/// Reserves, lays out and writes one group; a full segment is removed so that the disk stays free.
fn append(log: &mut Log, records: &[Record], bytes: u64) {
    let before = log.end().segment;
    log.reserve(bytes, CONTEXT).expect("there is room");
    if log.end().segment != before {
        log.retire(before);
        log.unlink(before).expect("it is there");
    }
    let group = log.prepare(records, CONTEXT);
    log.write(group).expect("the disk works");
}

pub fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("log");
    for (name, count, size) in [
        ("1 x 1KiB", 1, 1 << 10),
        ("64 x 1KiB", 64, 1 << 10),
        ("4 x 1MiB", 4, 1 << 20),
    ] {
        let records: Vec<Record> = (0..count)
            .map(|number| {
                let id = key(number).to_bytes();
                Record::of_value(Kind::Value, id, sealed(&noise(number, size)))
            })
            .collect();
        let bytes: u64 = records.iter().map(Record::log_size).sum();
        group.throughput(Throughput::Bytes(bytes));
        let folder = scratch();
        std::fs::create_dir(folder.path().join("log")).expect("a new folder");
        let mut log = open(&folder.path().join("log"));
        group.bench_function(BenchmarkId::new("prepare", name), |b| {
            b.iter(|| black_box(log.prepare(black_box(&records), CONTEXT)));
        });
        group.bench_function(BenchmarkId::new("write", name), |b| {
            b.iter(|| append(&mut log, &records, bytes + 4096));
        });
        group.bench_function(BenchmarkId::new("write and sync", name), |b| {
            b.iter(|| {
                append(&mut log, &records, bytes + 4096);
                log.sync().expect("the disk works");
            });
        });
    }
    group.finish();
}
