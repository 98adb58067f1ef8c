//! Case 8: tombstones outlive backups.

use crate::bench::Bench;
use crate::house::House;
use crate::support::noise;
use shardkeep::backup::{ArchiveReader, BackupFile, Entry};
use shardkeep::model::{Command, ShardId, Version};
use shardkeep::service::{BackupDone, RestoreSource};
use std::time::Duration;

async fn backup(house: &House, name: &str, since: Version) -> BackupDone {
    house.service().backup(name, since).await.unwrap()
}

async fn restore(house: &House, done: &BackupDone) -> shardkeep::model::Result<()> {
    let source = RestoreSource::Operator(done.target.clone());
    house.service().restore(source, |_, _| {}).await.map(drop)
}

/// The keys that an archive says are deleted.
fn deleted_in(done: &BackupDone) -> Vec<String> {
    let reader = ArchiveReader::open(BackupFile::open(&done.target).unwrap()).unwrap();
    let deleted = reader.entries().filter_map(|entry| match entry.unwrap() {
        Entry::Tombstone { key, .. } => Some(key.to_string()),
        _ => None,
    });
    deleted.collect()
}

/// Case 8: an increment after a delete holds the delete, after GC and a crash too, and takes it
/// where it is restored.
#[tokio::test(flavor = "multi_thread")]
async fn an_increment_holds_the_deletes_since_the_last_backup() {
    let mut house = House::calm().await;
    for name in ["kept", "gone"] {
        house.set(name.as_bytes(), &noise(1, 2000)).await;
    }
    let full = backup(&house, "full", Version(0)).await;
    house.delete(b"gone").await;
    for _ in 0..2 {
        house.close().await;
        house.open().await;
        house.collect().await;
    }
    house.crash().await;
    let increment = backup(&house, "increment", full.max).await;
    assert_eq!(increment.since, full.max);
    assert_eq!(deleted_in(&increment), ["gone"]);
    let copy = House::beside(&house).await;
    restore(&copy, &full).await.unwrap();
    assert_eq!(copy.contents().await.len(), 2);
    restore(&copy, &increment).await.unwrap();
    assert_eq!(copy.contents().await, house.contents().await);
    assert_eq!(copy.get(b"gone").await, None);
}

/// Case 8: after deletes were purged, an increment from before them would miss them: it becomes a
/// full backup. One from after them stays what it is.
#[tokio::test(flavor = "multi_thread")]
async fn an_increment_from_before_the_horizon_becomes_a_full_backup() {
    let mut house = House::calm().await;
    house.set(b"kept", b"value").await;
    house.set(b"gone", b"value").await;
    let full = backup(&house, "full", Version(0)).await;
    house.delete(b"gone").await;
    house.set(b"late", b"value").await;
    let late = backup(&house, "late", full.max).await;
    let horizon = Version(late.max.0 - 1);
    for shard in 0..4 {
        let purge = Command::PurgeTombstones { horizon };
        house.router().write(ShardId(shard), purge).await.unwrap();
    }
    house.crash().await;
    let next = backup(&house, "next", full.max).await;
    assert_eq!((next.since, next.records), (Version(0), 3));
    let next = backup(&house, "next", late.max).await;
    assert_eq!((next.since, next.records), (late.max, 0));
}

/// Case 8: an archive from before the horizon would bring back what was deleted and purged: it is
/// refused where there is live data, and nothing is changed.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_from_before_the_horizon_is_not_merged_into_live_data() {
    let house = House::calm().await;
    house.set(b"kept", b"value").await;
    house.set(b"gone", b"value").await;
    let old = backup(&house, "old", Version(0)).await;
    house.delete(b"gone").await;
    restore(&house, &old).await.expect("nothing was purged yet");
    assert_eq!(house.get(b"gone").await, None, "the delete is newer");
    let horizon = house.router().counter().current();
    for shard in 0..4 {
        let purge = Command::PurgeTombstones { horizon };
        house.router().write(ShardId(shard), purge).await.unwrap();
    }
    let (book, contents) = (house.book(), house.contents().await);
    let error = restore(&house, &old).await.unwrap_err();
    assert_eq!(error.reason(), "BACKUP_HORIZON", "{error}");
    assert_eq!((house.book(), house.contents().await), (book, contents));
    let fresh = House::beside(&house).await;
    restore(&fresh, &old)
        .await
        .expect("it holds nothing that could come back");
    assert_eq!(fresh.contents().await.len(), 2);
}

/// Case 8: by age they go only with the oldest segment, and the horizon is logged with them: it is
/// there after a rebuild, and never above a delete that is kept.
#[test]
fn a_tombstone_that_goes_by_age_moves_the_horizon() {
    let mut bench = Bench::calm();
    bench.put("old", &noise(1, 300));
    bench.put("live", &noise(2, 300));
    let deleted = bench.delete("old");
    bench.next_segment();
    bench.store().collect(2.0).unwrap();
    bench.next_segment();
    let horizon = |bench: &Bench| bench.reader().horizon().unwrap();
    assert_eq!(horizon(&bench), Version(0), "an hour is not over");
    bench.retention = Duration::ZERO;
    bench.next_segment();
    // The clock must have moved on from the delete; it counts in milliseconds.
    let passed = bench.clock.now();
    while bench.clock.now() == passed {
        std::hint::spin_loop();
    }
    let tombstones = |bench: &Bench| {
        let rows = bench.rows();
        rows.iter()
            .filter(|row| row.2.kind == shardkeep::codec::Kind::Tombstone)
            .count()
    };
    assert_eq!(tombstones(&bench), 1);
    for _ in 0..3 {
        bench.store().collect(2.0).unwrap();
        bench.next_segment();
    }
    assert_eq!((tombstones(&bench), horizon(&bench)), (0, deleted));
    bench.assert_rebuild_is_equal();
    assert_eq!(horizon(&bench), deleted);
    assert_eq!(bench.get("old"), None);
    assert_eq!(bench.get("live"), Some(noise(2, 300)));
}
