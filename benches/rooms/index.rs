//! Rows in and out of the index.

use super::scratch;
use super::value::{key, noise, sealed};
use criterion::{BenchmarkId, Criterion, Throughput};
use shardkeep::codec::{Kind, Record, Space};
use shardkeep::index::{Index, IndexOptions, IndexState, Place, Row};
use shardkeep::log::Position;
use shardkeep::model::SegmentId;
use std::hint::black_box;

const KEYS: u64 = 100_000;

fn row(number: u64) -> Row {
    let record = Record::of_value(
        Kind::Value,
        key(number).to_bytes(),
        sealed(&noise(number, 200)),
    );
    let place = Place {
        record: Position {
            segment: SegmentId(1),
            offset: number * 300,
        },
        payload_offset: number * 300 + 100,
        payload_len: 200,
    };
    Row::new(&record, place, None)
}

fn put(index: &Index, numbers: impl Iterator<Item = u64>, row: &Row) {
    let mut batch = index.batch();
    for number in numbers {
        batch.put(Space::Key, key(number).as_bytes(), row);
    }
    batch
        .commit(&IndexState::default())
        .expect("the disk works");
}

pub fn benches(c: &mut Criterion) {
    let folder = scratch();
    let options = IndexOptions {
        cache_size: 32 << 20,
        write_buffer_size: 8 << 20,
    };
    let index = Index::open(folder.path(), options).expect("an empty folder is a new index");
    let row = row(1);
    for first in (0..KEYS).step_by(1000) {
        put(&index, first..first + 1000, &row);
    }
    let mut group = c.benchmark_group("index");
    let mut turn = 0;
    group.bench_function("get", |b| {
        b.iter(|| {
            turn = (turn + 7919) % KEYS;
            black_box(index.get(Space::Key, key(turn).as_bytes())).expect("the row is good")
        });
    });
    for size in [1, 16, 256] {
        group.throughput(Throughput::Elements(size));
        group.bench_function(BenchmarkId::new("put batch", size), |b| {
            b.iter(|| {
                turn = (turn + 7919) % KEYS;
                put(&index, turn..turn + size, &row);
            });
        });
    }
    group.throughput(Throughput::Elements(1000));
    group.bench_function("scan 1000", |b| {
        b.iter(|| {
            let snapshot = index.snapshot();
            let rows = snapshot.scan(Space::Key, b"bench/", None);
            assert_eq!(black_box(rows.take(1000).count()), 1000);
        });
    });
    group.finish();
}
