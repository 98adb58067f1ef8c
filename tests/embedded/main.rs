//! A store inside a program: the same operations, opened and closed without a server.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod backups;
mod exchange;
mod large;
mod namespaces;
mod ranges;
mod transactions;

use shardkeep::client::{Batch, ChangeKind, Expect, OperationDone, PutOptions, Query, Stay};
use shardkeep::model::{NamespaceOptions, Version};
use shardkeep::{Options, Store, blocking};
use std::time::Duration;
use support::PATIENCE;
use tempfile::TempDir;

const RULES: NamespaceOptions = NamespaceOptions {
    by_content: false,
    overwrite: true,
    default_ttl_ms: None,
    value_size_max: None,
    compress: true,
    dedup: true,
};

fn small() -> Options {
    Options::new().shards(2).set("disk.min_free", "1 MiB")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_when_it_is_opened_again() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("store");
    let store = Store::open(&path, small()).await.unwrap();
    let keys = store.keyspace("");
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200u32 {
        let keys = keys.clone();
        tasks.spawn(async move {
            let value = vec![b'x'; usize::try_from(number).unwrap() * 500];
            keys.put(format!("k/{number:03}"), value).await.unwrap();
        });
    }
    tasks.join_all().await;
    store.close().await.unwrap();
    let after = keys.put("k/late", "x").await.unwrap_err();
    assert_eq!(after.reason(), "STORE_CLOSED", "{after}");

    let store = Store::open(&path, small()).await.unwrap();
    let keys = store.keyspace("");
    let mut rows = keys.scan(Query::prefix("k/").values()).await.unwrap();
    let mut seen = 0usize;
    while let Some(page) = rows.next_page().await.unwrap() {
        for row in page {
            assert_eq!(row.entry.key, format!("k/{seen:03}"));
            assert_eq!(row.data.unwrap().len(), seen * 500);
            seen += 1;
        }
    }
    assert_eq!(seen, 200);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_is_opened_once() {
    let place = TempDir::new().unwrap();
    let store = Store::open(place.path(), small()).await.unwrap();
    let refused = Store::open(place.path(), small()).await.unwrap_err();
    assert_eq!(refused.reason(), "DATA_DIR");
    assert!(refused.to_string().contains("in use"), "{refused}");
    // Clones are the same store: whoever closes it closes it for all.
    let clone = store.clone();
    store.close().await.unwrap();
    clone.close().await.unwrap();
    let again = Store::open(place.path(), small()).await.unwrap();
    again.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_dropped_is_closed_behind_the_scenes() {
    let place = TempDir::new().unwrap();
    let store = Store::open(place.path(), small()).await.unwrap();
    let keys = store.keyspace("");
    keys.put("k", "v").await.unwrap();
    drop((store, keys));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let store = loop {
        match Store::open(place.path(), small()).await {
            Ok(store) => break store,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let value = store.keyspace("").get("k").await.unwrap().unwrap();
    assert_eq!(value.data, "v");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_answers_as_over_the_wire() {
    let place = TempDir::new().unwrap();
    let store = Store::open(place.path(), small()).await.unwrap();
    let keys = store.create_namespace("orders", RULES).await.unwrap();
    let first = keys.put_if("k", "one", Expect::Absent).await.unwrap();
    assert!(first.created);
    let reason = |error: shardkeep::model::Error| error.reason();
    let there = keys.put_if("k", "two", Expect::Absent).await;
    assert_eq!(reason(there.unwrap_err()), "KEY_EXISTS");
    let stale = keys.delete_if("k", Expect::Version(Version(999))).await;
    assert_eq!(reason(stale.unwrap_err()), "VERSION_MISMATCH");
    let options = PutOptions {
        lifetime: Stay::For(Duration::from_secs(60)),
        ..PutOptions::default()
    };
    keys.put_with("short", "x", options).await.unwrap();
    assert!(keys.head("short").await.unwrap().unwrap().expiry.is_some());
    assert_eq!(
        keys.touch("short", Stay::Default).await.unwrap().expiry,
        None
    );
    let stale = keys.touch_if("short", Stay::Default, Expect::Absent).await;
    assert_eq!(reason(stale.unwrap_err()), "KEY_EXISTS");
    let there = keys.touch_if("short", Stay::Default, Expect::Present).await;
    assert_eq!(there.unwrap().expiry, None);
    let never = Stay::For(Duration::ZERO);
    assert_eq!(
        reason(keys.touch("short", never).await.unwrap_err()),
        "TTL_RANGE"
    );
    assert_eq!(keys.increment("n", 41).await.unwrap(), 41);
    assert_eq!(keys.increment("n", 1).await.unwrap(), 42);
    let found = keys.get_many(["n", "none"]).await.unwrap();
    assert_eq!(found[0].as_ref().unwrap().data, "42");
    assert!(found[1].is_none());
    let heads = keys.heads(["none", "n"]).await.unwrap();
    assert!(heads[0].is_none() && heads[1].as_ref().unwrap().len == 2);

    let snapshot = store.snapshot().await.unwrap();
    let batch = Batch::new()
        .require("k", Expect::Version(first.version))
        .put("k", "two")
        .delete("n")
        .touch("short", Stay::For(Duration::from_secs(60)))
        .increment("count", 7)
        .otherwise()
        .put("too late", "x");
    let done = keys.commit(batch.clone()).await.unwrap();
    assert!(done.succeeded);
    assert!(matches!(done.results[1], OperationDone::Deleted(Some(_))));
    let expires =
        |it: &OperationDone| matches!(it, OperationDone::Touched(it) if it.expiry.is_some());
    assert!(expires(&done.results[2]));
    assert_eq!(done.results[3], OperationDone::Counted(7));
    assert!(!keys.commit(batch).await.unwrap().succeeded);
    let then = keys.at(&snapshot);
    assert_eq!(then.get("k").await.unwrap().unwrap().data, "one");
    assert!(then.head("too late").await.unwrap().is_none());

    let after = Some(snapshot.version());
    let mut changes = keys.watch(Query::all().values(), after).await.unwrap();
    assert_eq!(changes.next().await.unwrap().version, snapshot.version());
    let step = changes.next().await.unwrap();
    assert!(
        step.changes.len() >= 2,
        "a commit comes as a whole: {step:?}"
    );
    let deleted = step.changes.iter().find(|it| it.key == "n").unwrap();
    assert_eq!(deleted.kind, ChangeKind::Deleted);

    let upside_down = keys.scan(Query::range("b", "a")).await.unwrap_err();
    assert_eq!(upside_down.reason(), "RANGE_UPSIDE_DOWN");
    store.drop_namespace("orders").await.unwrap();
    assert_eq!(
        reason(keys.get("k").await.unwrap_err()),
        "NAMESPACE_NOT_FOUND"
    );
    let names: Vec<_> = store
        .namespaces()
        .unwrap()
        .iter()
        .map(|it| it.name.clone())
        .collect();
    assert_eq!(names, ["default"]);
    drop((snapshot, changes));
    store.close().await.unwrap();
}

#[test]
fn a_program_without_async_has_the_same() {
    let place = TempDir::new().unwrap();
    let store = blocking::Store::open(place.path().join("one"), small()).unwrap();
    let keys = store.keyspace("");
    for number in 0..2500 {
        keys.put(format!("{number:04}"), number.to_string())
            .unwrap();
    }
    let snapshot = store.snapshot().unwrap();
    let never = keys.touch_if("0001", Stay::Default, Expect::Version(Version(9999)));
    assert_eq!(never.unwrap_err().reason(), "VERSION_MISMATCH");
    keys.delete("0000").unwrap();
    let query = || Query::all().reversed().limit(2400).values();
    let rows: Result<Vec<_>, _> = keys.at(&snapshot).scan(query()).unwrap().collect();
    let rows = rows.unwrap();
    assert_eq!((rows.len(), &rows[0].entry.key[..]), (2400, &b"2499"[..]));
    let mut changes = keys.watch(Query::all(), Some(snapshot.version())).unwrap();
    assert!(changes.next().unwrap().unwrap().changes.is_empty());
    assert_eq!(changes.next().unwrap().unwrap().changes[0].key, "0000");
    assert_eq!(keys.measure(Query::all()).unwrap().keys, 2499);
    let backup = store.backup("all", Version(0)).unwrap();

    let other = blocking::Store::open(place.path().join("two"), small()).unwrap();
    other.restore(&backup.target).unwrap();
    assert_eq!(other.status().unwrap().store.key_count, 2499);
    assert_eq!(
        other.keyspace("").get("2499").unwrap().unwrap().data,
        "2499"
    );
    other.close().unwrap();
    store.close().unwrap();
    assert!(matches!(changes.next(), Some(Err(_))));
    assert!(changes.next().is_none());
}
