//! Backups that are looked after by the program.

use crate::small;
use shardkeep::embedded::StoredBackup;
use shardkeep::model::Version;
use shardkeep::{Store, blocking};
use tempfile::TempDir;

fn paths(of: &[StoredBackup]) -> Vec<&str> {
    of.iter().map(|it| it.path.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_are_listed_checked_purged_and_deleted() {
    let place = TempDir::new().unwrap();
    let store = Store::open(place.path(), small()).await.unwrap();
    let keys = store.keyspace("");
    assert_eq!(store.backups().await.unwrap(), []);
    for name in ["a", "b", "c"] {
        keys.put(name, "v").await.unwrap();
        store.backup(name, Version(0)).await.unwrap();
    }
    let all = store.backups().await.unwrap();
    let records: Vec<u64> = all.iter().map(|it| it.records).collect();
    assert_eq!(records, [1, 2, 3]);
    let checked = store.verify_backup(&all[1].path).await.unwrap();
    assert_eq!(checked, all[1]);

    let file = place.path().join("backups").join(&all[2].path);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let damaged = store.verify_backup(&all[2].path).await.unwrap_err();
    assert_eq!(damaged.kind(), shardkeep::model::ErrorKind::Corrupt);
    store.delete_backup(&all[2].path).await.unwrap();
    assert!(!file.exists());

    let nothing = store.purge_backups("", 0).await.unwrap_err();
    assert_eq!(nothing.reason(), "KEEP_NOTHING");
    let purged = store.purge_backups("", 1).await.unwrap();
    assert_eq!(purged, [all[0].path.clone()]);
    let left = store.backups().await.unwrap();
    assert_eq!(paths(&left), [all[1].path.clone()]);
    let outside = store.delete_backup("../MANIFEST").await.unwrap_err();
    assert_eq!(outside.kind(), shardkeep::model::ErrorKind::Invalid);
    store.close().await.unwrap();
}

#[test]
fn a_program_without_async_has_them_too() {
    let place = TempDir::new().unwrap();
    let store = blocking::Store::open(place.path(), small()).unwrap();
    store.keyspace("").put("k", "v").unwrap();
    store.backup("one", Version(0)).unwrap();
    store.backup("two", Version(0)).unwrap();
    let all = store.backups().unwrap();
    assert_eq!(store.verify_backup(&all[0].path).unwrap(), all[0]);
    assert_eq!(store.purge_backups("", 1).unwrap().len(), 1);
    let left = store.backups().unwrap();
    store.delete_backup(&left[0].path).unwrap();
    assert_eq!(store.backups().unwrap(), []);
    store.close().unwrap();
}
