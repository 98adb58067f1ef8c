//! Deciding what a command does, against records in memory.

use super::value::{key, noise, sealed};
use criterion::{BatchSize, Criterion};
use shardkeep::index::IndexError;
use shardkeep::model::{
    BlobRef, Command, Digest, Existing, Key, PutBody, RefId, Timestamp, Version,
};
use shardkeep::shard::plan::{Current, Known, PlanContext, plan};

/// A shard without anything in it.
struct Empty;

impl Current for Empty {
    fn key(&mut self, _key: &Key) -> Result<Option<Known>, IndexError> {
        Ok(None)
    }

    fn blob(&mut self, _digest: Digest) -> Result<Option<Known>, IndexError> {
        Ok(None)
    }

    fn reference(&mut self, _blob: BlobRef) -> Result<Option<Known>, IndexError> {
        Ok(None)
    }

    fn is_referenced(&mut self, _digest: Digest) -> Result<bool, IndexError> {
        Ok(false)
    }

    fn horizon(&mut self) -> Result<Version, IndexError> {
        Ok(Version(0))
    }

    fn is_home(&self, _digest: Digest) -> bool {
        true
    }
}

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
        };
        group.bench_function(name, |b| {
            let context = PlanContext { now: Timestamp(1) };
            b.iter_batched(
                || command.clone(),
                |command| plan(&mut Empty, command, context, &mut || Version(1)),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}
