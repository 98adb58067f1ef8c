//! Sealing and opening values, and their checksums.

use super::value::{SEALER, noise, sealed, text};
use criterion::{BenchmarkId, Criterion, Throughput};
use shardkeep::codec::{digest_of, open_sealed, payload_sum, sum64_of};
use shardkeep::model::ValueInfo;
use std::hint::black_box;

pub fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    for (name, raw) in [
        ("1KiB noise", noise(1, 1 << 10)),
        ("16KiB text", text(16 << 10)),
        ("1MiB noise", noise(1, 1 << 20)),
    ] {
        group.throughput(Throughput::Bytes(raw.len() as u64));
        let info = ValueInfo {
            raw_len: raw.len() as u64,
            sum64: sum64_of(&raw),
        };
        group.bench_function(BenchmarkId::new("seal", name), |b| {
            b.iter(|| SEALER.seal(black_box(raw.clone()), info, None));
        });
        let value = sealed(&raw);
        group.bench_function(BenchmarkId::new("open", name), |b| {
            b.iter(|| open_sealed(value.codec, black_box(value.payload.clone()), info.raw_len));
        });
        group.bench_function(BenchmarkId::new("digest", name), |b| {
            b.iter(|| digest_of(black_box(&raw)));
        });
        group.bench_function(BenchmarkId::new("sum64", name), |b| {
            b.iter(|| sum64_of(black_box(&raw)));
        });
        group.bench_function(BenchmarkId::new("payload sum", name), |b| {
            b.iter(|| payload_sum(black_box(&raw)));
        });
    }
    group.finish();
}
