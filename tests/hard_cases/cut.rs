//! Case 7: the cut.

use crate::bench::{key, put};
use crate::faults::Hold;
use crate::house::House;
use crate::support::{PATIENCE, noise};
use shardkeep::model::{Command, Key, Reply, Version};
use shardkeep::router::{Cut, Router};
use shardkeep::service::RestoreSource;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Every change that was acknowledged: key, version, what it wrote.
type History = Arc<Mutex<Vec<(String, Version, u64)>>>;

async fn write(router: &Router, history: &History, name: String, number: u64) {
    let shard = router.shard_of_key(&key(&name));
    let put = put(&name, &number.to_le_bytes());
    match router.write(shard, put).await.unwrap() {
        Reply::Put { version, .. } => history.lock().unwrap().push((name, version, number)),
        other => panic!("{other:?}"),
    }
}

fn number_in(cut: &Cut, name: &str) -> Option<(Version, u64)> {
    let found = cut.record(&key(name)).unwrap()?;
    let raw = found.open(found.payload().unwrap()).unwrap();
    Some((
        found.row.version,
        u64::from_le_bytes(raw[..].try_into().unwrap()),
    ))
}

/// Case 7: under concurrent writers over four shards, a cut has every change up to W and none
/// after, and never the second of two writes without the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cut_holds_exactly_the_changes_up_to_its_version() {
    const WRITERS: u64 = 6;
    let house = House::calm().await;
    let history = History::default();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (router, history) = (house.router().clone(), history.clone());
            let stop = stop.clone();
            tokio::spawn(async move {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    write(&router, &history, format!("first-{writer}"), number).await;
                    write(&router, &history, format!("second-{writer}"), number).await;
                }
            })
        })
        .collect();
    let mut cuts = Vec::new();
    for _ in 0..25 {
        cuts.push(house.router().cut().await.unwrap());
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let history = history.lock().unwrap();
    for cut in cuts {
        let mut expected: BTreeMap<&str, (Version, u64)> = BTreeMap::new();
        for (name, version, number) in history.iter().filter(|it| it.1 <= cut.version) {
            let newest = expected.entry(name).or_default();
            *newest = (*newest).max((*version, *number));
        }
        for writer in 0..WRITERS {
            let names = [format!("first-{writer}"), format!("second-{writer}")];
            let [first, second] = [&names[0], &names[1]].map(|name| {
                let found = number_in(&cut, name);
                assert_eq!(found, expected.get(name.as_str()).copied(), "{name}");
                found.map_or(0, |found| found.1)
            });
            assert!(
                second <= first && first <= second + 1,
                "{second} without {first}"
            );
        }
    }
}

/// Case 7: the version that a cut names is never issued again, even if no other group knows of it
/// and the process dies right after.
#[tokio::test(flavor = "multi_thread")]
async fn the_version_of_a_cut_is_never_issued_again() {
    let mut house = House::calm().await;
    house.set(b"key", b"value").await;
    // Drawn by plans whose groups failed, so that no frame carries it.
    house.router().counter().raise(Version(1000));
    let cut = house.router().cut().await.unwrap();
    assert_eq!(cut.version, Version(1000));
    drop(cut);
    house.crash().await;
    assert_eq!(house.router().counter().current(), Version(1000));
    let shard = house.router().shard_of_key(&key("key"));
    let reply = house.router().write(shard, put("key", b"next")).await;
    assert!(
        matches!(
            reply,
            Ok(Reply::Put {
                version: Version(1001),
                ..
            })
        ),
        "{reply:?}"
    );
}

/// Case 7: cuts that are asked for at the same time do not wait for each other in a circle.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cuts_at_the_same_time_all_succeed() {
    let house = House::calm().await;
    house.set(b"key", b"value").await;
    for _ in 0..10 {
        let cutting: Vec<_> = (0..4)
            .map(|_| {
                let router = house.router().clone();
                tokio::spawn(async move { router.cut().await.map(|cut| cut.version) })
            })
            .collect();
        for cut in cutting {
            assert_eq!(cut.await.unwrap().unwrap(), Version(1));
        }
    }
}

/// Case 7: a shard that cannot take part fails the cut; the others are not held at the gate until
/// its deadline, which is later than this test waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_without_a_shard_fails_and_lets_the_others_go() {
    let house = House::armed().await;
    let broken = house.router().shards().last().unwrap().clone();
    broken.close().await.0.unwrap();
    let cut = tokio::time::timeout(Duration::from_secs(8), house.router().cut()).await;
    let error = cut.expect("nobody waits at the gate").unwrap_err();
    assert_eq!(error.kind(), shardkeep::model::ErrorKind::Unavailable);
    for shard in &house.router().shards()[..3] {
        shard.sync().await.unwrap();
    }
}

/// Case 7: a backup that is asked for while another is made is refused clearly; the first is whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_beside_another_is_refused_clearly() {
    let house = House::armed().await;
    for step in 0..50_u64 {
        house
            .set(format!("key-{step}").as_bytes(), &noise(step, 2000))
            .await;
    }
    // The first is held where it logs the version of its cut.
    let hold = Hold::at("shard::commit");
    let service = house.service().clone();
    let first = tokio::spawn(async move { service.backup("first", Version(0)).await });
    hold.somebody().await;
    for _ in 0..3 {
        // One that is let in would wait where the first is held.
        let second = house.service().backup("second", Version(0));
        let second = tokio::time::timeout(PATIENCE, second).await;
        let error = second.expect("no answer").unwrap_err();
        assert_eq!(error.reason(), "CHORE_BUSY", "{error}");
    }
    hold.release();
    let done = first.await.unwrap().unwrap();
    assert_eq!((done.records, done.max), (50, Version(50)));
    let second = house.service().backup("second", Version(0)).await.unwrap();
    assert_eq!((second.records, second.max), (50, Version(50)));
}

/// Case 7: a restore into live data brings in versions at or below the last backup's: the next
/// increment becomes a full backup, and the counter is above everything that came.
#[tokio::test(flavor = "multi_thread")]
async fn the_increment_after_a_restore_into_live_data_is_a_full_backup() {
    let other = House::calm().await;
    other.set(b"theirs", b"value").await;
    let theirs = other.service().backup("theirs", Version(0)).await.unwrap();
    let mut house = House::beside(&other).await;
    for step in 0..5 {
        house.set(format!("ours-{step}").as_bytes(), b"value").await;
    }
    let full = house.service().backup("ours", Version(0)).await.unwrap();
    let empty = house.service().backup("ours", full.max).await.unwrap();
    assert_eq!(
        (empty.since, empty.records),
        (full.max, 0),
        "an increment so far"
    );
    let chain = house.book().chain;
    let source = RestoreSource::Operator(theirs.target);
    house.service().restore(source, |_, _| {}).await.unwrap();
    assert_ne!(house.book().chain, chain, "a new chain");
    let next = house.service().backup("ours", full.max).await.unwrap();
    assert_eq!((next.since, next.records), (Version(0), 6));
    let after = house.service().backup("ours", next.max).await.unwrap();
    assert_eq!(
        (after.since, after.records),
        (next.max, 0),
        "the new chain goes on"
    );
    house.crash().await;
    assert!(house.router().counter().current() >= full.max);
    let shard = house.router().shard_of_key(&Key::new(b"x").unwrap());
    let reply = house.router().write(shard, put("x", b"y")).await.unwrap();
    assert!(matches!(reply, Reply::Put { version, .. } if version > next.max));
    let delete = Command::Delete {
        key: key("theirs"),
        condition: None,
    };
    let shard = house.router().shard_of_key(&key("theirs"));
    let reply = house.router().write(shard, delete).await.unwrap();
    assert!(matches!(reply, Reply::Deleted { .. }));
}
