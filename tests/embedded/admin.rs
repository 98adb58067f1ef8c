//! What an administrator asks.

use crate::small;
use crate::support::noise;
use shardkeep::client::Query;
use shardkeep::embedded::SettingsChange;
use shardkeep::{Store, blocking};
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_administrated_while_it_is_open() {
    let place = TempDir::new().unwrap();
    let options = small()
        .unsynced()
        .set("server.max_upload_size", "4 MiB")
        .set("storage.segment_size", "4 MiB");
    let store = Store::open(place.path(), options).await.unwrap();
    let keys = store.keyspace("");
    for number in 0..2000u32 {
        let value = noise(number.into(), 7000);
        keys.put(format!("{number:04}"), value).await.unwrap();
    }
    let most = Query::range("0000", "1950");
    assert_eq!(keys.delete_range(&most).await.unwrap(), 1950);
    store.sync().await.unwrap();
    store.purge_tombstones().await.unwrap();
    let before = store.status().await.unwrap().store.segments;
    assert!(store.compact().await.unwrap());
    assert!(store.status().await.unwrap().store.segments < before);
    assert_eq!(store.status().await.unwrap().store.key_count, 50);

    let mut check = store.verify().await.unwrap();
    let mut last = None;
    while let Some(step) = check.next().await.unwrap() {
        assert_eq!(step.problems, []);
        last = Some(step);
    }
    let last = last.unwrap();
    assert!(last.done > 0 && last.done <= last.total, "{last:?}");
    assert_eq!(store.scrub_report().unwrap().problems, []);
    drop(check);
    store.clone().close().await.unwrap();
    let closed = store.scrub_report().unwrap_err();
    assert_eq!(closed.reason(), "STORE_CLOSED");
    assert_eq!(store.compact().await.unwrap_err().reason(), "STORE_CLOSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_holds_from_the_next_call_on() {
    let place = TempDir::new().unwrap();
    let store = Store::open(place.path(), small()).await.unwrap();
    let keys = store.keyspace("");
    assert!(!store.settings().unwrap().set_disabled);
    let change = SettingsChange {
        set_disabled: Some(true),
        ..SettingsChange::default()
    };
    let now = store.update_settings(change).unwrap();
    assert!(now.set_disabled && !now.delete_disabled);
    assert_eq!(store.settings().unwrap(), now);
    let refused = keys.put("k", "v").await.unwrap_err();
    assert_eq!(refused.reason(), "SET_DISABLED");
    assert!(!keys.delete("k").await.unwrap());

    // A level that nobody would hear of is refused, and what was named beside it with it.
    let change = SettingsChange {
        set_disabled: Some(false),
        delete_disabled: None,
        log_level: Some("debug".to_owned()),
    };
    let refused = store.update_settings(change).unwrap_err();
    assert_eq!(refused.reason(), "LOG_LEVEL", "{refused}");
    assert_eq!(store.settings().unwrap(), now);
    store.close().await.unwrap();
}

#[test]
fn a_program_without_async_has_it_too() {
    let place = TempDir::new().unwrap();
    let store = blocking::Store::open(place.path(), small()).unwrap();
    store.keyspace("").put("k", "v").unwrap();
    store.sync().unwrap();
    store.purge_tombstones().unwrap();
    assert!(!store.compact().unwrap());
    assert_eq!(store.verify().unwrap(), []);
    assert_eq!(store.scrub_report().unwrap().problems, []);
    let change = SettingsChange {
        delete_disabled: Some(true),
        ..SettingsChange::default()
    };
    store.update_settings(change).unwrap();
    assert!(store.settings().unwrap().delete_disabled);
    let query = Query::prefix("k");
    let refused = store.keyspace("").delete_range(&query).unwrap_err();
    assert_eq!(refused.reason(), "DELETE_DISABLED");
    store.close().unwrap();
}
