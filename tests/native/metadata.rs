//! What clients say of their values: a type and metadata.

use crate::call::{
    Client, assert_error, batch_get, client, get_of, put, put_of, restored_from, user_keys,
};
use crate::support::{Server, noise};
use shardkeep::proto::v1;
use std::collections::BTreeMap;
use tonic::Code::InvalidArgument;

fn metadata() -> BTreeMap<String, String> {
    let entry = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    [
        entry("color", "blue"),
        entry("an empty one", ""),
        entry("\u{e9}", "\u{2603}"),
    ]
    .into()
}

fn described(key: impl Into<bytes::Bytes>, value: Vec<u8>) -> v1::PutRequest {
    v1::PutRequest {
        value_type: v1::ValueType::Json.into(),
        metadata: metadata(),
        ..put_of(key, value)
    }
}

fn assert_described(entry: &v1::Entry) {
    assert_eq!(entry.value_type(), v1::ValueType::Json);
    assert_eq!(entry.metadata, metadata());
}

fn assert_plain(entry: &v1::Entry) {
    assert_eq!(entry.value_type(), v1::ValueType::Unspecified);
    assert!(entry.metadata.is_empty());
}

async fn entry_of(client: &mut Client, key: &str) -> v1::Entry {
    let request = get_of(key.to_owned());
    let entry = client.get(request).await.unwrap().into_inner().entry;
    let head = v1::HeadRequest {
        key: key.to_owned().into(),
        ..v1::HeadRequest::default()
    };
    let head = client.head(head).await.unwrap().into_inner().entry;
    assert_eq!(entry, head);
    entry.unwrap()
}

const SIZES: [usize; 3] = [50, 5000, 300_000];

#[tokio::test]
async fn metadata_comes_back_from_every_read_and_goes_with_the_next_put() {
    let server = user_keys().set("storage.shards", "3").start().await;
    let mut client = client(&server).await;
    for size in SIZES {
        let key = format!("key-{size}");
        client
            .put(described(key.clone(), noise(1, size)))
            .await
            .unwrap();
        for _ in 0..2 {
            assert_described(&entry_of(&mut client, &key).await);
        }
        let many = batch_get(&mut client, vec![key.clone().into()], true).await;
        assert_described(many[0].entry.as_ref().unwrap());
    }
    let scan = v1::ScanRequest {
        keys_only: true,
        ..v1::ScanRequest::default()
    };
    let scanned = client.scan(scan).await.unwrap().into_inner().results;
    assert_eq!(scanned.len(), SIZES.len());
    for result in &scanned {
        assert_described(result.entry.as_ref().unwrap());
    }
    for size in SIZES {
        let key = format!("key-{size}");
        put(&mut client, key.clone(), noise(1, size)).await;
        assert_plain(&entry_of(&mut client, &key).await);
    }
}

#[tokio::test]
async fn touch_and_increment_keep_what_is_said() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    for size in SIZES {
        let key = format!("key-{size}");
        client
            .put(described(key.clone(), noise(2, size)))
            .await
            .unwrap();
        let touch = v1::TouchRequest {
            key: key.clone().into(),
            ..v1::TouchRequest::default()
        };
        let touched = client.touch(touch).await.unwrap().into_inner();
        assert_described(&touched.entry.unwrap());
        assert_described(&entry_of(&mut client, &key).await);
    }
    let increment = |key: &'static str| v1::IncrementRequest {
        key: key.into(),
        delta: 1,
        ..v1::IncrementRequest::default()
    };
    client.put(described("n", b"1".to_vec())).await.unwrap();
    client.increment(increment("n")).await.unwrap();
    assert_described(&entry_of(&mut client, "n").await);
    client.increment(increment("new")).await.unwrap();
    let counter = entry_of(&mut client, "new").await;
    assert_eq!(counter.value_type(), v1::ValueType::Int64);
}

#[tokio::test]
async fn a_content_keeps_what_was_said_of_it_first() {
    let server = Server::builder().start().await;
    let mut client = client(&server).await;
    for size in [100, 300_000] {
        let first = client.put(described("", noise(3, size))).await.unwrap();
        let key = first.into_inner().key;
        let again = client.put(put_of("", noise(3, size))).await.unwrap();
        assert!(!again.into_inner().created);
        let key = String::from_utf8(key.to_vec()).unwrap();
        assert_described(&entry_of(&mut client, &key).await);
    }
}

#[tokio::test]
async fn metadata_of_4_kib_is_stored_and_of_more_refused() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    let with = |metadata: BTreeMap<String, String>| v1::PutRequest {
        metadata,
        ..put_of("k", "value")
    };
    let of_size = |size: usize| BTreeMap::from([("n".to_owned(), "x".repeat(size - 1))]);
    // As many as there can be.
    let names = (0..4096_usize).map_while(|number| {
        let (first, second) = (number / 64, number % 64);
        let letter = |at: usize| char::from(b'0' + u8::try_from(at).unwrap());
        (first < 32).then(|| {
            (
                format!("{}{}", letter(first), letter(second)),
                String::new(),
            )
        })
    });
    let most: BTreeMap<_, _> = names.collect();
    for metadata in [of_size(4096), most] {
        client.put(with(metadata.clone())).await.unwrap();
        assert_eq!(entry_of(&mut client, "k").await.metadata, metadata);
    }
    let before = entry_of(&mut client, "k").await;
    let nameless = BTreeMap::from([(String::new(), "text".to_owned())]);
    let unknown = v1::PutRequest {
        value_type: 7,
        ..put_of("k", "value")
    };
    for (request, reason, field) in [
        (with(of_size(4097)), "METADATA_TOO_LARGE", "metadata"),
        (with(nameless), "METADATA_NAME_EMPTY", "metadata"),
        (unknown, "VALUE_TYPE_UNKNOWN", "value_type"),
    ] {
        let refused = client.put(request).await.unwrap_err();
        assert_error(&refused, InvalidArgument, reason, Some(field));
    }
    assert_eq!(entry_of(&mut client, "k").await, before);
}

/// It stands in the log: neither a kill nor the loss of the index takes it, and a backup has it.
#[tokio::test]
async fn metadata_outlives_a_kill_an_index_and_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let start = || user_keys().data_dir(dir.path()).start();
    let mut server = start().await;
    let mut base = client(&server).await;
    for size in SIZES {
        let request = described(format!("key-{size}"), noise(4, size));
        base.put(request).await.unwrap();
    }
    server.kill();
    let server = start().await;
    assert_all_described(&server).await;
    server.stop().await;
    std::fs::remove_dir_all(dir.path().join("shards/000/index")).unwrap();
    let server = start().await;
    assert_all_described(&server).await;
    let fresh = restored_from(&server).await;
    assert_all_described(&fresh).await;
    server.stop().await;
    let data_dir = dir.path().to_owned();
    let verify = move || shardkeep::start::offline::verify(&data_dir, false, &mut |_, _| {});
    let report = tokio::task::spawn_blocking(verify).await.unwrap().unwrap();
    assert_eq!(report.problems, []);
}

async fn assert_all_described(server: &Server) {
    let mut client = client(server).await;
    for size in SIZES {
        assert_described(&entry_of(&mut client, &format!("key-{size}")).await);
    }
}
