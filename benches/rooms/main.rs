//! Criterion benches of single rooms: where the time of a request goes, without a network.
//!
//! `cargo bench --bench rooms`, or a part of them: `cargo bench --bench rooms -- log/`. Compare
//! figures of one run only; `shardkeep bench` measures the whole. Files are written under
//! `CARGO_TARGET_TMPDIR`, on the disk that the build is on. The benches of a package are built with
//! its test dependencies, so fail points are compiled in here and cost some nanoseconds each.

#[path = "../../tests/support/bare_shard.rs"]
mod bare_shard;
mod codec;
mod index;
mod log;
mod plan;
mod shard;
mod value;

use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;
use tempfile::TempDir;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A folder on the disk that the build is on: `/tmp` may be memory.
fn scratch() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("the build's folder can be written")
}

fn short() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = rooms;
    config = short();
    targets = codec::benches, log::benches, index::benches, plan::benches, shard::benches
}
criterion_main!(rooms);
