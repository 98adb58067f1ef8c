//! The scrubber of a running shard: it finds damage to cold data, in the log and between log and
//! index, and nothing where there is none.

#[allow(dead_code, reason = "each test file uses its own part")]
#[path = "damage/store.rs"]
mod store;

use shardkeep::actor::ActorRuntime;
use shardkeep::config::Scrub;
use shardkeep::model::{ScrubReport, ShardId};
use shardkeep::router::Router;
use shardkeep::shard::{Homes, ShardHandle, ShardStore};
use shardkeep::supervise::scrub;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::{Image, options};
use tokio::sync::watch;

/// What the scrubber says after two rounds over a running shard.
async fn after_two_rounds(dir: &Path) -> ScrubReport {
    let runtime = ActorRuntime::start().unwrap();
    let shard = Arc::new(ShardHandle::new(ShardId(0), &admission()));
    let (store, _) = ShardStore::open(options(dir), None).unwrap();
    shard.start(store, &runtime);
    let (report, mut seen) = watch::channel(ScrubReport::default());
    let (stop, stopped) = watch::channel(false);
    let config = Scrub {
        rate: 1 << 30,
        interval: Duration::ZERO,
    };
    let task = tokio::spawn(scrub(router_of(&shard), config, report, stopped));
    let waiting = tokio::time::timeout(
        Duration::from_secs(60),
        seen.wait_for(|report| report.rounds >= 2),
    );
    let report = waiting.await.unwrap().unwrap().clone();
    stop.send_replace(true);
    task.await.unwrap();
    shard.close().await.0.unwrap();
    report
}

fn router_of(shard: &Arc<ShardHandle>) -> Router {
    let homes = Arc::new(Homes::even(1));
    Router::new(vec![shard.clone()], homes, Arc::default(), Arc::default())
}

fn admission() -> shardkeep::config::Admission {
    shardkeep::config::Admission {
        requests_per_shard: 8,
        bytes_in_flight: 1 << 20,
    }
}

fn write(files: &BTreeMap<PathBuf, Image>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    store::write(files, dir.path());
    dir
}

#[tokio::test]
async fn a_sound_shard_is_read_to_its_end_and_nothing_is_found() {
    for base in store::bases() {
        let dir = write(&base.now.files);
        let report = after_two_rounds(dir.path()).await;
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        let closed: usize = base.ends.values().sum();
        assert!(report.bytes > closed as u64, "{} of {closed}", report.bytes);
    }
}

/// The clock stands still but where the scrubber rests, so time is what it rested.
#[tokio::test(start_paused = true)]
async fn a_round_reads_no_more_than_its_rate_and_a_chunk_ahead() {
    const RATE: u64 = 16 * 1024;
    /// What a chunk reads at this rate, and a group that begins within it.
    const CHUNK: u64 = 64 * 1024 + 16 * 1024;
    let dir = write(&store::bases().swap_remove(0).now.files);
    let runtime = ActorRuntime::start().unwrap();
    let shard = Arc::new(ShardHandle::new(ShardId(0), &admission()));
    let (store, _) = ShardStore::open(options(dir.path()), None).unwrap();
    shard.start(store, &runtime);
    let (report, mut seen) = watch::channel(ScrubReport::default());
    let (stop, stopped) = watch::channel(false);
    let config = Scrub {
        rate: RATE,
        interval: Duration::from_secs(3600),
    };
    let began = tokio::time::Instant::now();
    let task = tokio::spawn(scrub(router_of(&shard), config, report, stopped));
    let mut chunks = 0;
    loop {
        seen.changed().await.unwrap();
        let report = seen.borrow_and_update().clone();
        let allowed = began.elapsed().as_secs_f64() * RATE as f64;
        if report.rounds > 0 {
            assert!(
                report.bytes as f64 <= allowed,
                "{} > {allowed}",
                report.bytes
            );
            break;
        }
        chunks += 1;
        let ahead = report.bytes as f64 - allowed;
        assert!(ahead <= CHUNK as f64, "chunk {chunks}: {ahead} bytes ahead");
    }
    assert!(chunks >= 3, "{chunks} chunks");
    stop.send_replace(true);
    task.await.unwrap();
    shard.close().await.0.unwrap();
}

#[tokio::test]
async fn a_flipped_bit_in_a_cold_segment_is_found_once_with_its_place() {
    let base = store::bases().swap_remove(0);
    let mut files = base.now.files.clone();
    let segment = PathBuf::from("log/00000001.seg");
    let at = base.ends[&segment] - 1;
    files.get_mut(&segment).unwrap().bytes[at] ^= 4;
    let dir = write(&files);
    let report = after_two_rounds(dir.path()).await;
    let [problem] = &report.problems[..] else {
        panic!("{:?}", report.problems);
    };
    assert_eq!(problem.file, dir.path().join(segment));
    assert!(problem.offset.is_some_and(|offset| offset <= at as u64));
    assert!(problem.what.contains("payload checksum"), "{problem}");
}

#[tokio::test]
async fn an_index_whose_rows_are_of_other_records_is_found_in_both_directions() {
    // Two histories of equal shape, so that positions are the same and only the records differ.
    let sound = store::one_of("first");
    let other = store::one_of("other");
    let mut files = sound;
    files.retain(|name, _| name.starts_with("log"));
    files.extend(
        other
            .into_iter()
            .filter(|(name, _)| name.starts_with("index")),
    );
    let dir = write(&files);
    let report = after_two_rounds(dir.path()).await;
    let text: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    let text = text.join("\n");
    assert!(
        text.contains("no row says what became of this record"),
        "{text}"
    );
    assert!(text.contains("does not match the record"), "{text}");
}
