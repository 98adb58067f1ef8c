//! Parts of values, and keys that lie together.

use crate::small;
use shardkeep::Store;
use shardkeep::client::Query;
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_value_ends_with_it() {
    let place = TempDir::new().unwrap();
    let store = Store::open(place.path(), small()).await.unwrap();
    let keys = store.keyspace("");
    keys.put("k", "0123456789").await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    let then = keys.at(&snapshot);
    let whole = keys.get("k").await.unwrap().unwrap();
    keys.put("k", "another").await.unwrap();

    let part = then.get_range("k", 2..5).await.unwrap().unwrap();
    assert_eq!(part.data, "234");
    assert_eq!(part.entry, whole.entry, "the entry is of the whole value");
    let part = then.get_range("k", 8..).await.unwrap().unwrap();
    assert_eq!(part.data, "89");
    let part = then.get_range("k", ..=1).await.unwrap().unwrap();
    assert_eq!(part.data, "01");
    let part = then.get_range("k", 7..1000).await.unwrap().unwrap();
    assert_eq!(part.data, "789");
    let part = then.get_range("k", 10..).await.unwrap().unwrap();
    assert_eq!(part.data, "");
    assert_eq!(then.get_range("none", 1..2).await.unwrap(), None);
    let behind = then.get_range("k", 11..12).await.unwrap_err();
    assert_eq!(behind.reason(), "RANGE_BEYOND_VALUE", "{behind}");
    let part = keys.get_range("k", 4..).await.unwrap().unwrap();
    assert_eq!(part.data, "her");
    drop(snapshot);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_keys_of_a_selection_are_removed() {
    let place = TempDir::new().unwrap();
    let store = Store::open(place.path(), small()).await.unwrap();
    let keys = store.keyspace("");
    for prefix in ["a", "b", "c"] {
        for number in 0..50 {
            let key = format!("{prefix}/{number:02}");
            keys.put(key, vec![7; 20_000]).await.unwrap();
        }
    }
    let everything = keys.delete_range(&Query::all()).await.unwrap_err();
    assert_eq!(everything.reason(), "SELECTION_EMPTY");
    assert_eq!(keys.delete_range(&Query::prefix("b/")).await.unwrap(), 50);
    let query = Query::range("a/10", "a/30");
    assert_eq!(keys.delete_range(&query).await.unwrap(), 20);
    assert_eq!(keys.delete_range(&query).await.unwrap(), 0);
    assert!(keys.head("a/09").await.unwrap().is_some());
    assert!(keys.head("a/10").await.unwrap().is_none());
    assert!(keys.head("a/30").await.unwrap().is_some());
    assert_eq!(store.status().await.unwrap().store.key_count, 80);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_keys_than_one_moment_takes_are_removed() {
    let place = TempDir::new().unwrap();
    let options = small().unsynced();
    let store = Store::open(place.path(), options).await.unwrap();
    let keys = store.keyspace("");
    for some in 0..26 {
        let mut batch = shardkeep::client::Batch::new();
        for number in 0..400 {
            batch = batch.put(format!("k/{some:02}/{number:03}"), "v");
        }
        keys.commit(batch).await.unwrap();
    }
    keys.put("l", "v").await.unwrap();
    let removed = keys.delete_range(&Query::prefix("k/")).await.unwrap();
    assert_eq!(removed, 26 * 400);
    assert_eq!(store.status().await.unwrap().store.key_count, 1);
    store.close().await.unwrap();
}
