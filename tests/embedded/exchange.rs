//! Exports and imports of a store inside a program, and between one and a server.

use crate::support::{Server, noise, program};
use crate::{RULES, small};
use shardkeep::client::{PutOptions, Query, Stay, Typed};
use shardkeep::embedded::{ImportMode, Imported, Keyspace};
use shardkeep::model::{ErrorKind, NamespaceOptions, Timestamp, Version};
use shardkeep::{Store, blocking};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

const MIB: usize = 1 << 20;

/// Everything of a namespace: key, value, expiry, what is said of it.
async fn contents(keys: &Keyspace) -> Vec<(String, Vec<u8>, Option<Timestamp>, String)> {
    let mut rows = keys.scan(Query::all()).await.unwrap();
    let mut all = Vec::new();
    while let Some(page) = rows.next_page().await.unwrap() {
        for row in page {
            let key = String::from_utf8(row.entry.key.to_vec()).unwrap();
            let mut download = keys.download(row.entry.key).await.unwrap().unwrap();
            let mut data = Vec::new();
            while let Some(piece) = download.next().await.unwrap() {
                data.extend_from_slice(&piece);
            }
            let said = format!("{:?} {:?}", row.entry.value_type, row.entry.metadata);
            all.push((key, data, row.entry.expiry, said));
        }
    }
    all
}

/// Values of all sizes, with expiries, types and metadata; two share most of what is in them.
async fn fill(keys: &Keyspace) {
    for number in 0..700u32 {
        let value = noise(number.into(), 10 + number as usize * 3);
        keys.put(format!("small/{number:03}"), value).await.unwrap();
    }
    let options = PutOptions {
        lifetime: Stay::For(std::time::Duration::from_secs(3600)),
        metadata: [("author".to_owned(), "ada".to_owned())].into(),
        ..PutOptions::default()
    };
    keys.put_typed("typed", Typed::Float(1.5), options)
        .await
        .unwrap();
    let film = noise(7, 12 * MIB);
    let longer = [&film[..], &noise(8, 1000)].concat();
    for (key, value) in [("film", film), ("film, longer", longer)] {
        let options = PutOptions::default();
        keys.upload_from(key, &value[..], options).await.unwrap();
    }
}

fn counted() -> (Arc<AtomicU64>, impl Fn(u64) + Send + Sync + 'static) {
    let bytes = Arc::new(AtomicU64::new(0));
    let told = bytes.clone();
    let count = move |more| {
        told.fetch_add(more, Ordering::Relaxed);
    };
    (bytes, count)
}

async fn open(place: &Path, name: &str) -> Store {
    Store::open(place.join(name), small()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_to_another_store_and_twice_changes_nothing() {
    let place = TempDir::new().unwrap();
    let file = place.path().join("orders.export");
    let store = open(place.path(), "here").await;
    let rules = NamespaceOptions {
        default_ttl_ms: Some(1 << 40),
        ..RULES
    };
    let orders = store.create_namespace("orders", rules).await.unwrap();
    fill(&orders).await;
    let (bytes, told) = counted();
    let done = orders.export_to(&file, Query::all(), told).await.unwrap();
    assert_eq!(done.keys, 703);
    assert_eq!(done.bytes, std::fs::metadata(&file).unwrap().len());
    assert!(bytes.load(Ordering::Relaxed) > 12 << 20);
    // What the two films share stands in it once.
    assert!(done.bytes < 15 << 20, "{done:?}");

    let other = open(place.path(), "there").await;
    let there = other.keyspace("orders");
    let (bytes, told) = counted();
    let done = there.import_from(&file, ImportMode::Replace, told).await;
    let written = Imported {
        written: 703,
        ..Imported::default()
    };
    assert_eq!(done.unwrap(), written);
    assert!(bytes.load(Ordering::Relaxed) > 12 << 20);
    assert!(contents(&there).await == contents(&orders).await);
    let made = other.describe_namespace("orders").await.unwrap();
    assert_eq!(made.namespace.options, rules);
    let again = there.import_from(&file, ImportMode::Replace, |_| {}).await;
    assert_eq!(again.unwrap().unchanged, 703);
    store.close().await.unwrap();
    other.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_as_of_a_snapshot_is_taken_in_beside_keys_that_stay() {
    let place = TempDir::new().unwrap();
    let file = place.path().join("part.export");
    let store = open(place.path(), "store").await;
    let keys = store.keyspace("");
    for key in ["a/1", "a/2", "b/1"] {
        keys.put(key, "old").await.unwrap();
    }
    let snapshot = store.snapshot().await.unwrap();
    keys.put("a/1", "new").await.unwrap();
    keys.put("a/3", "new").await.unwrap();
    let then = keys.at(&snapshot);
    let done = then.export_to(&file, Query::prefix("a/"), |_| {}).await;
    let done = done.unwrap();
    assert_eq!((done.keys, done.version), (2, snapshot.version()));
    keys.delete("a/2").await.unwrap();
    // Whatever it reads from, it writes to now.
    let kept = then.import_from(&file, ImportMode::Keep, |_| {}).await;
    let kept = kept.unwrap();
    assert_eq!((kept.written, kept.kept), (1, 1));
    assert_eq!(keys.get("a/1").await.unwrap().unwrap().data, "new");
    assert_eq!(keys.get("a/2").await.unwrap().unwrap().data, "old");
    let replaced = keys.import_from(&file, ImportMode::Replace, |_| {}).await;
    let replaced = replaced.unwrap();
    assert_eq!((replaced.written, replaced.unchanged), (1, 1));
    assert_eq!(keys.get("a/1").await.unwrap().unwrap().data, "old");
    drop(snapshot);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_whole_export_changes_nothing_and_is_named() {
    let place = TempDir::new().unwrap();
    let file = place.path().join("all.export");
    let store = open(place.path(), "store").await;
    let keys = store.keyspace("");
    let put = keys.put("k", noise(1, 5000)).await.unwrap();
    keys.export_to(&file, Query::all(), |_| {}).await.unwrap();
    let whole = std::fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let cases = [&whole[..whole.len() - 1], &flipped[..], b"", b"no archive"];
    for (number, bytes) in cases.into_iter().enumerate() {
        std::fs::write(&file, bytes).unwrap();
        let refused = keys.import_from(&file, ImportMode::Replace, |_| {}).await;
        let refused = refused.unwrap_err();
        let kinds = [ErrorKind::Corrupt, ErrorKind::Invalid];
        assert!(kinds.contains(&refused.kind()), "{number}: {refused}");
        assert!(refused.message().contains("all.export"), "{refused}");
    }
    store.backup("full", Version(0)).await.unwrap();
    let backups = store.backups().await.unwrap();
    let backup = place.path().join("store/backups").join(&backups[0].path);
    let refused = keys.import_from(&backup, ImportMode::Replace, |_| {}).await;
    assert_eq!(refused.unwrap_err().reason(), "NOT_AN_EXPORT");
    let nowhere = place.path().join("no/such/folder");
    let refused = keys.export_to(&nowhere, Query::all(), |_| {}).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.reason(), "EXPORT_FILE");
    assert!(refused.message().contains("no/such/folder"), "{refused}");
    let found = keys.head("k").await.unwrap().unwrap();
    assert_eq!(found.version, put.version);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_and_a_server_take_each_others_files() {
    let place = TempDir::new().unwrap();
    let (ours, theirs) = (place.path().join("ours"), place.path().join("theirs"));
    let store = open(place.path(), "store").await;
    let keys = store.create_namespace("orders", RULES).await.unwrap();
    fill(&keys).await;
    keys.export_to(&ours, Query::all(), |_| {}).await.unwrap();
    let server = Server::builder().start().await;
    program::output(server.address(), &["import", program::text(&ours)]);
    let export = [
        "export",
        "--namespace",
        "orders",
        "--out",
        program::text(&theirs),
    ];
    program::output(server.address(), &export);
    let back = store.keyspace("back");
    back.import_from(&theirs, ImportMode::Replace, |_| {})
        .await
        .unwrap();
    assert!(contents(&back).await == contents(&keys).await);
    server.stop().await;
    store.close().await.unwrap();
}

#[test]
fn threads_that_wait_export_and_import_too() {
    let place = TempDir::new().unwrap();
    let file = place.path().join("all.export");
    let store = blocking::Store::open(place.path().join("store"), small()).unwrap();
    let keys = store.keyspace("");
    keys.put("k", "1").unwrap();
    let done = keys.export_to(&file, Query::all(), |_| {}).unwrap();
    assert_eq!(done.keys, 1);
    keys.delete("k").unwrap();
    let done = keys.import_from(&file, ImportMode::Keep, |_| {}).unwrap();
    assert_eq!(done.written, 1);
    assert_eq!(keys.get("k").unwrap().unwrap().data, "1");
    store.close().unwrap();
}
