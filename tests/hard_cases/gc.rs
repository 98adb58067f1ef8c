//! Case 3: GC needs positive evidence.

use crate::bench::{Bench, SHARD, STORE, key, value_record};
use crate::faults::arm;
use crate::house::House;
use crate::support::{eventually, noise};
use shardkeep::codec::{FLAG_MOVED, Membership, Space};
use shardkeep::index::{Index, IndexOptions, Row};
use shardkeep::log::{GroupContext, Log, LogIdentity, LogOptions, OpenContext};
use shardkeep::model::{Command, SegmentId, Seq, Timestamp, Version};
use shardkeep::shard::ShardError;
use std::future::Future as _;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

/// Case 3: a record without a row is not dead, it is a contradiction: GC stops before it loses it.
#[test]
fn gc_stops_at_a_record_that_no_row_knows() {
    let mut bench = Bench::calm();
    for name in ["a", "b", "c"] {
        bench.put(name, &noise(1, 500));
    }
    bench.next_segment();
    bench.close();
    bench.spoil_index(|index, state| {
        let mut batch = index.batch();
        batch.remove(Space::Key, b"b");
        batch.commit(state).unwrap();
    });
    bench.open();
    assert_eq!(bench.get("b"), None, "the index has lost it");
    let error = bench.store().collect(2.0).unwrap_err();
    assert!(matches!(error, ShardError::Contradiction(_)), "{error}");
    assert!(error.needs_rebuild());
    assert!(bench.segments().contains(&SegmentId(1)), "nothing is gone");
    bench.rebuild();
    for name in ["a", "b", "c"] {
        assert_eq!(bench.get(name), Some(noise(1, 500)), "{name}");
    }
    bench.store().collect(2.0).unwrap();
    assert_eq!(bench.get("b"), Some(noise(1, 500)));
}

/// Case 3: a row that is older than the record is no evidence either.
#[test]
fn gc_stops_at_a_record_whose_row_is_older() {
    let mut bench = Bench::calm();
    bench.put("k", b"old");
    let old: Row = bench.row("k").unwrap();
    bench.put("k", b"new");
    bench.next_segment();
    bench.close();
    bench.spoil_index(|index, state| {
        let mut batch = index.batch();
        batch.put(Space::Key, b"k", &old);
        batch.commit(state).unwrap();
    });
    bench.open();
    let error = bench.store().collect(2.0).unwrap_err();
    assert!(matches!(error, ShardError::Contradiction(_)), "{error}");
    bench.rebuild();
    assert_eq!(bench.get("k").unwrap(), b"new");
}

/// Case 3: the supervisor rebuilds the index of a shard whose GC found a contradiction, and the
/// lost row is there again, while nobody restarted anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_contradiction_found_by_gc_is_mended_by_the_supervisor() {
    let mut house = House::calm().await;
    house.set(b"key", b"value").await;
    let shard = house.router().shard_of_key(&key("key"));
    house.close().await;
    let index = IndexOptions {
        cache_size: 1 << 20,
        write_buffer_size: 1 << 20,
    };
    {
        let index = Index::open(&house.shard_dir(shard).join("index"), index).unwrap();
        let state = index.state().unwrap().unwrap();
        let mut batch = index.batch();
        batch.remove(Space::Key, b"key");
        batch.commit(&state).unwrap();
        index.persist().unwrap();
    }
    house.open().await;
    assert_eq!(house.get(b"key").await, None);
    let handle = house.handle(shard).clone();
    let error = handle.gc(2.0, 1 << 20).await.unwrap_err();
    assert_eq!(error.reason(), "SHARD_FAILED");
    // Between the failure and the reopening the shard may be told apart from a serving one or not.
    let again = || {
        let found = house.router().find(&key("key")).ok().flatten();
        found.map(drop)
    };
    eventually("the rebuilt row", again).await;
    house.serving(shard).await;
    assert_eq!(house.get(b"key").await.unwrap(), b"value");
    assert!(house.shard_dir(shard).join("index.set-aside").exists());
}

/// Case 3: a fault in the middle of a round, as the actor sees it, costs nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_of_gc_that_fails_half_way_loses_nothing() {
    let mut house = House::armed().await;
    for step in 0..20 {
        house
            .set(format!("key-{step}").as_bytes(), &noise(step, 900))
            .await;
    }
    // What was written is in closed segments then.
    house.close().await;
    house.open().await;
    let before = house.contents().await;
    arm("shard::gc", "2*off->1*return");
    let mut failed = 0;
    for shard in house.router().shards() {
        failed += u32::from(shard.gc(2.0, 1000).await.is_err());
        house.serving(shard.id()).await;
    }
    assert_eq!(failed, 1);
    let open = || {
        house
            .router()
            .shards()
            .iter()
            .all(|shard| shard.reader().is_ok())
    };
    let reads = || open().then_some(());
    eventually("all shards", reads).await;
    assert_eq!(house.contents().await, before);
}

/// Case 3: a tombstone's row stays as long as its record, so that no GC takes an older value of
/// the key for a record that was lost, and no rebuild brings it back.
#[test]
fn a_tombstone_keeps_its_row_as_long_as_its_record() {
    let mut bench = Bench::calm();
    bench.put("dead", &noise(1, 500));
    bench.put("live", &noise(2, 500));
    bench.next_segment();
    bench.delete("dead");
    bench.next_segment();
    let has_row = |bench: &Bench| {
        let rows = bench.rows();
        rows.iter()
            .any(|(_, id, row)| id == "dead" && row.kind.is_gone())
    };
    for _ in 0..3 {
        assert!(has_row(&bench));
        bench.store().collect(2.0).unwrap();
        bench.next_segment();
        bench.assert_rebuild_is_equal();
        assert_eq!(bench.get("dead"), None);
        assert_eq!(bench.get("live"), Some(noise(2, 500)));
    }
    assert!(has_row(&bench), "its retention is not over");
}

/// Case 3: in replay as in a rebuild the higher sequence number wins, not the later place: a copy
/// that GC made never overrides what is newer.
#[test]
fn a_moved_record_never_overrides_a_newer_one() {
    let mut bench = Bench::calm();
    bench.crash();
    let dir = bench.shard_dir();
    std::fs::remove_dir_all(&dir).unwrap();
    let owner = LogIdentity {
        store: STORE,
        shard: SHARD,
    };
    let options = LogOptions {
        segment_size: 1 << 20,
    };
    let opened = Log::open(&dir.join("log"), owner, options, OpenContext::default());
    let mut log = opened.unwrap().log;
    let mut moved = value_record("k", b"old", 1, 1);
    moved.flags |= FLAG_MOVED;
    for record in [
        value_record("k", b"old", 1, 1),
        value_record("k", b"new", 2, 2),
        moved,
    ] {
        let context = GroupContext {
            counter: Version(2),
            last_seq: Seq(2),
            now: Timestamp(1),
            membership: Membership::NONE,
        };
        log.reserve(4096, context).unwrap();
        let group = log.prepare(&[record], context);
        log.write(group).unwrap();
        log.sync().unwrap();
    }
    log.close().unwrap();
    drop(log);
    let report = bench.open();
    assert_eq!(report.replayed_groups, 3);
    assert_eq!(bench.get("k").unwrap(), b"new");
    bench.rebuild();
    assert_eq!(bench.get("k").unwrap(), b"new");
    bench.next_segment();
    bench.store().collect(2.0).unwrap();
    assert_eq!(bench.get("k").unwrap(), b"new");
    assert_eq!(bench.row("k").unwrap().version, Version(2));
    bench.assert_rebuild_is_equal();
}

/// Case 3: whatever says "gone" outlives every older copy of what it is about, however old it is
/// itself: else a rebuild would bring back the key, the reference and the content.
#[test]
fn what_says_gone_outlives_every_older_copy() {
    let mut bench = Bench::calm();
    bench.retention = Duration::ZERO;
    bench.next_segment();
    bench.put("dead", &noise(1, 500));
    let blob = bench.put_blob(&key("dead-link"), &noise(2, 500));
    for step in 0..20 {
        bench.put(&format!("live-{step}"), &noise(step, 500));
    }
    let old = bench.last_segment();
    bench.next_segment();
    bench.delete("dead");
    bench.delete("dead-link");
    let digest = blob.digest;
    bench.run(Command::ReclaimBlob { digest }).unwrap();
    for step in 0..5 {
        bench.put("replaced", &noise(step, 3000));
    }
    bench.delete("replaced");
    let new = bench.last_segment();
    bench.next_segment();
    let passed = bench.clock.now();
    while bench.clock.now() == passed {
        std::hint::spin_loop();
    }
    let assert_gone = |bench: &Bench| {
        assert_eq!(bench.get("dead"), None);
        assert_eq!(bench.get("dead-link"), None);
        assert!(bench.reader().blob(digest).unwrap().is_none());
        assert_eq!(bench.reader().references().count(), 0);
    };
    let outcome = bench.store().collect(0.5).unwrap();
    assert_eq!(outcome.removed, [new], "the old segment is mostly live");
    assert!(bench.segments().contains(&old));
    assert_gone(&bench);
    bench.assert_rebuild_is_equal();
    assert_gone(&bench);
    bench.store().collect(2.0).unwrap();
    assert_gone(&bench);
}

/// What the shard's writer does, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Slice,
    Commit,
}

/// A put that comes while GC is at a slice is committed before GC has gone on by more than one more.
#[tokio::test(flavor = "multi_thread")]
async fn gc_yields_to_a_put_after_one_more_slice() {
    const PUTS: usize = 10;
    let mut house = House::armed().await;
    let name = key("key");
    let shard = house.router().shard_of_key(&name);
    for step in 0..100 {
        let small = noise(step, 900);
        house.set(format!("key-{step}").as_bytes(), &small).await;
    }
    // What was written is in closed segments then.
    house.close().await;
    house.open().await;
    let steps = Arc::new(Mutex::new(Vec::new()));
    let (came, arrivals) = mpsc::channel();
    let (let_go, leave) = mpsc::channel::<()>();
    let leave = Mutex::new(leave);
    let seen = steps.clone();
    let slice = move || {
        seen.lock().unwrap().push(Step::Slice);
        let _ = came.send(());
        // Nobody holds it any more once the sender is gone.
        let _ = leave.lock().unwrap().recv();
    };
    let seen = steps.clone();
    let commit = move || seen.lock().unwrap().push(Step::Commit);
    fail::cfg_callback("shard::gc", slice).unwrap();
    fail::cfg_callback(format!("shard::commit::{shard}"), commit).unwrap();
    let handle = house.handle(shard).clone();
    let collecting = tokio::spawn(async move { handle.gc(2.0, 1).await });
    let mut puts = Vec::new();
    for _ in 0..PUTS {
        arrivals.recv_timeout(Duration::from_secs(60)).unwrap();
        let mut put = Box::pin(house.set(b"key", b"value"));
        // Polled once, it is in the shard's queue.
        let once = std::future::poll_fn(|cx| Poll::Ready(put.as_mut().poll(cx).is_ready())).await;
        assert!(!once, "the writer is held");
        puts.push(put);
        let_go.send(()).unwrap();
    }
    drop(let_go);
    for put in puts {
        put.await;
    }
    collecting.await.unwrap().unwrap();
    let steps = steps.lock().unwrap().clone();
    let last = steps.iter().rposition(|step| *step == Step::Commit);
    let mut slices = 0;
    for step in &steps[..=last.unwrap()] {
        slices = if *step == Step::Slice { slices + 1 } else { 0 };
        assert!(slices <= 2, "{steps:?}");
    }
    let all = steps.iter().filter(|step| **step == Step::Slice).count();
    assert!(
        all > PUTS + 2,
        "{steps:?}: the round was over before the puts"
    );
}
