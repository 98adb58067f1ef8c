//! Case 10: readers pin.

use crate::bench::{Bench, key};
use crate::faults::{Hold, arm, disarm};
use crate::house::House;
use crate::support::{eventually, noise};
use shardkeep::index::IndexError;
use shardkeep::model::{Command, SegmentId, Timestamp, Version};
use shardkeep::shard::{ShardError, ShardHealth};

/// Case 10: a value that was looked up before GC moved it can be read to its last byte; the file
/// is unlinked only when nobody holds it any more.
#[test]
fn a_segment_is_unlinked_only_when_its_last_reader_is_gone() {
    let mut bench = Bench::calm();
    bench.put("k", &noise(1, 5000));
    bench.next_segment();
    let reader = bench.reader();
    let found = reader.key(&key("k"), Timestamp(1)).unwrap().unwrap();
    assert_eq!(found.row.place.record.segment, SegmentId(1));
    let outcome = bench.store().collect(2.0).unwrap();
    assert_eq!(
        (outcome.removed, outcome.pinned),
        (vec![], vec![SegmentId(1)])
    );
    let path = bench.segment_path(SegmentId(1));
    assert!(path.exists());
    let raw = found.open(found.payload().unwrap()).unwrap();
    assert_eq!(raw, noise(1, 5000));
    assert!(
        bench.row("k").unwrap().place.record.segment > SegmentId(1),
        "moved"
    );
    drop(found);
    let outcome = bench.store().collect(2.0).unwrap();
    assert!(outcome.removed.contains(&SegmentId(1)) && outcome.pinned.is_empty());
    assert!(!path.exists());
    assert_eq!(bench.get("k"), Some(noise(1, 5000)));
}

/// Case 10: a cut pins too: a backup reads to its end what GC has collected meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_pins_its_segments() {
    let mut house = House::calm().await;
    for step in 0..20_u64 {
        house
            .set(format!("key-{step}").as_bytes(), &noise(step, 900))
            .await;
    }
    house.close().await;
    house.open().await;
    let cut = house.router().cut().await.unwrap();
    for step in 0..20_u64 {
        house
            .set(format!("key-{step}").as_bytes(), b"replaced")
            .await;
    }
    let outcomes = house.collect().await;
    assert!(
        outcomes
            .iter()
            .any(|(_, outcome)| !outcome.pinned.is_empty())
    );
    for step in 0..20_u64 {
        let found = cut.record(&key(&format!("key-{step}"))).unwrap().unwrap();
        let raw = found.open(found.payload().unwrap()).unwrap();
        assert_eq!(raw, noise(step, 900));
    }
    drop(cut);
    let outcomes = house.collect().await;
    assert!(
        outcomes
            .iter()
            .all(|(_, outcome)| outcome.pinned.is_empty())
    );
}

/// Case 10: a shard cannot be opened while an old reader lives, and that is no reason to rebuild.
#[test]
fn a_shard_is_locked_as_long_as_an_old_reader_lives() {
    let mut bench = Bench::calm();
    bench.put("k", b"value");
    let reader = bench.reader();
    bench.crash();
    for _ in 0..2 {
        let error = bench.try_open(None).unwrap_err();
        assert!(
            matches!(error, ShardError::Index(IndexError::Locked)),
            "{error}"
        );
    }
    assert!(!bench.shard_dir().join("index.set-aside").exists());
    assert!(reader.key(&key("k"), Timestamp(1)).unwrap().is_some());
    drop(reader);
    let report = bench.open();
    assert_eq!(report.rebuilt, None);
}

/// Case 10: the supervisor waits for readers of the shard that failed, and opens it when the last
/// is gone.
#[tokio::test(flavor = "multi_thread")]
async fn reopening_waits_for_the_readers_of_the_old_shard() {
    let house = House::armed().await;
    house.set(b"key", &noise(1, 900)).await;
    let handle = house
        .handle(house.router().shard_of_key(&key("key")))
        .clone();
    let reader = handle.reader().unwrap();
    let mut health = handle.health();
    arm("log::sync", "1*return");
    let error = house.try_set(b"key", b"fails").await.unwrap_err();
    assert_eq!(error.reason(), "OUTCOME_UNKNOWN");
    disarm("log::sync");
    let opening = health.wait_for(|health| *health == ShardHealth::Opening);
    opening.await.unwrap();
    eventually("the end of the old actor", || handle.reader().err()).await;
    let error = house.try_set(b"key", b"refused").await.unwrap_err();
    assert_eq!(error.reason(), "SHARD_OPENING");
    let found = reader.key(&key("key"), Timestamp(1)).unwrap().unwrap();
    assert_eq!(found.open(found.payload().unwrap()).unwrap(), noise(1, 900));
    // The old actor says that it is closed; that the shard is being opened is said again after it.
    let opening = health.wait_for(|health| *health == ShardHealth::Opening);
    opening.await.unwrap();
    drop((found, reader));
    house.serving(handle.id()).await;
    house.set(b"key", b"works").await;
}

/// Case 10: a reader whose content went away between its two look-ups reads the record once more.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_misses_its_content_reads_the_record_again() {
    let house = House::armed().await;
    let (old, new) = (house.value_away_from(b"key", 1), noise(2, 2000));
    house.set(b"key", &old).await;
    let hold = Hold::at("router::between");
    let router = house.router().clone();
    let reading = tokio::task::spawn_blocking(move || router.find_value(&key("key")));
    hold.somebody().await;
    house.set(b"key", &new).await;
    let digest = crate::bench::digest_of(&old);
    let home = house.router().shard_of_digest(digest);
    let reclaim = Command::ReclaimBlob { digest };
    house.router().write(home, reclaim).await.unwrap();
    assert!(house.router().find_blob(digest).unwrap().is_none());
    hold.release();
    let found = reading.await.unwrap().unwrap().unwrap();
    let raw = found.body.open(found.body.payload().unwrap()).unwrap();
    assert_eq!(raw, new);
    assert!(found.record.row.version > Version(1));
}
