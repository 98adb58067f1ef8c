//! Deciding what a command does, against records in memory.

use super::bare_shard::BareShard;
use super::value::{key, noise, sealed};
use criterion::{BatchSize, Criterion};
use shardkeep::model::{BlobRef, Command, Existing, PutBody, RefId, Timestamp, Version};
use shardkeep::shard::plan::{PlanContext, plan};

pub fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("plan");
    let value = sealed(&noise(1, 1 << 10));
    let blob = BlobRef {
        digest: value.digest.expect("it was computed"),
        ref_id: RefId(1),
    };
    let small = PutBody::Small(value.clone());
    let home = PutBody::Home {
        blob,
        info: value.info,
        value: Some(value),
    };
    for (name, body) in [("put small", small), ("put blob", home)] {
        let command = Command::Put {
            key: key(1),
            body,
            existing: Existing::Replace,
            expiry: None,
            attributes: bytes::Bytes::new(),
        };
        group.bench_function(name, |b| {
            let context = PlanContext { now: Timestamp(1) };
            b.iter_batched(
                || command.clone(),
                |command| plan(&mut BareShard(None), command, context, &mut || Version(1)),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}
