//! Put and Delete, and their conditions.

use crate::call::{assert_error, client, get, only_if, put, put_of, user_keys};
use crate::support::{Server, noise};
use shardkeep::proto::v1;
use shardkeep::proto::v1::condition::Requirement::{Absent, Digest, Present, Version};
use shardkeep::proto::zstdb::Item;
use tonic::Code;

#[tokio::test]
async fn a_put_tells_its_version_its_digest_and_what_it_replaced() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    let first = client.put(put_of("k", "one")).await.unwrap().into_inner();
    assert_eq!((first.created, first.previous_version), (true, 0));
    assert_eq!(first.digest, blake3::hash(b"one").as_bytes()[..]);
    assert_eq!(first.key, "k");
    let second = client.put(put_of("k", "two")).await.unwrap().into_inner();
    assert!(second.version > first.version && !second.created);
    assert_eq!(second.previous_version, first.version);
    assert_eq!(get(&mut client, "k").await.unwrap(), "two");
}

#[tokio::test]
async fn equal_content_under_another_key_is_deduplicated_wherever_it_lives() {
    let server = user_keys().set("storage.shards", "4").start().await;
    let mut client = client(&server).await;
    for number in 0..16 {
        let key = format!("key-{number}");
        let done = client
            .put(put_of(key.clone(), noise(1, 100_000)))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(done.deduplicated, number > 0, "{key}");
        assert!(done.created);
        assert_eq!(get(&mut client, key).await.unwrap(), noise(1, 100_000));
    }
}

#[tokio::test]
async fn both_fronts_see_the_same_keys() {
    let server = user_keys().start().await;
    let (mut native, mut zstdb) = (client(&server).await, server.client().await);
    let version = put(&mut native, "k", "value").await;
    let item = Item {
        key: "k".into(),
        ..Item::default()
    };
    let found = zstdb.get(item.clone()).await.unwrap().into_inner();
    assert_eq!((&found.data[..], found.ver64), (&b"value"[..], version));
    zstdb.delete(item).await.unwrap();
    assert_eq!(get(&mut native, "k").await, None);
}

#[tokio::test]
async fn a_condition_that_does_not_hold_changes_nothing_and_says_why() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    for size in [10, 100_000] {
        let key = format!("key-{size}");
        let put_if = |condition, seed| v1::PutRequest {
            condition: only_if(condition),
            ..put_of(key.clone(), noise(seed, size))
        };
        let refused = client.put(put_if(Present(true), 1)).await.unwrap_err();
        assert_error(&refused, Code::NotFound, "KEY_NOT_FOUND", None);
        let refused = client.put(put_if(Version(7), 1)).await.unwrap_err();
        assert_error(&refused, Code::Aborted, "VERSION_MISMATCH", None);
        let digest = |seed| Digest(blake3::hash(&noise(seed, size)).as_bytes().to_vec().into());
        let refused = client.put(put_if(digest(1), 1)).await.unwrap_err();
        assert_error(&refused, Code::NotFound, "KEY_NOT_FOUND", None);
        let first = client
            .put(put_if(Absent(true), 1))
            .await
            .unwrap()
            .into_inner();
        let refused = client.put(put_if(Absent(true), 2)).await.unwrap_err();
        assert_error(&refused, Code::AlreadyExists, "KEY_EXISTS", None);
        let refused = client.put(put_if(digest(2), 2)).await.unwrap_err();
        assert_error(&refused, Code::Aborted, "DIGEST_CONFLICT", None);
        assert_eq!(get(&mut client, key.clone()).await.unwrap(), noise(1, size));
        let second = client
            .put(put_if(Version(first.version), 2))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(second.previous_version, first.version);
        client.put(put_if(digest(2), 3)).await.unwrap();
        client.put(put_if(Present(true), 4)).await.unwrap();
        assert_eq!(get(&mut client, key.clone()).await.unwrap(), noise(4, size));
    }
}

#[tokio::test]
async fn a_delete_on_a_condition_removes_only_what_was_meant() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    let delete_if = |condition| v1::DeleteRequest {
        key: "k".into(),
        condition,
        ..v1::DeleteRequest::default()
    };
    let missed = client.delete(delete_if(None)).await.unwrap().into_inner();
    let nothing = v1::DeleteResponse {
        run: missed.run,
        ..v1::DeleteResponse::default()
    };
    assert_eq!((missed, missed.run == 0), (nothing, false));
    let refused = client
        .delete(delete_if(only_if(Present(true))))
        .await
        .unwrap_err();
    assert_error(&refused, Code::NotFound, "KEY_NOT_FOUND", None);
    let old = put(&mut client, "k", "old").await;
    let new = put(&mut client, "k", "new").await;
    let refused = client
        .delete(delete_if(only_if(Version(old))))
        .await
        .unwrap_err();
    assert_error(&refused, Code::Aborted, "VERSION_MISMATCH", None);
    let digest = |value: &[u8]| only_if(Digest(blake3::hash(value).as_bytes().to_vec().into()));
    let refused = client.delete(delete_if(digest(b"old"))).await.unwrap_err();
    assert_error(&refused, Code::Aborted, "DIGEST_CONFLICT", None);
    assert_eq!(get(&mut client, "k").await.unwrap(), "new");
    let done = client
        .delete(delete_if(digest(b"new")))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((done.deleted, done.previous_version), (true, new));
    assert!(done.version > new);
    assert_eq!(get(&mut client, "k").await, None);
}

#[tokio::test]
async fn of_many_writers_with_one_condition_exactly_one_wins_each_round() {
    let server = user_keys().set("storage.shards", "2").start().await;
    let base = client(&server).await;
    let mut version = put(&mut base.clone(), "counter", "0").await;
    for round in 0..20 {
        let writers = (0..8).map(|writer| {
            let mut client = base.clone();
            let request = v1::PutRequest {
                condition: only_if(Version(version)),
                ..put_of("counter", format!("{round} by {writer}"))
            };
            tokio::spawn(async move { client.put(request).await })
        });
        let mut won = Vec::new();
        for writer in writers.collect::<Vec<_>>() {
            match writer.await.unwrap() {
                Ok(done) => won.push(done.into_inner().version),
                Err(status) => assert_error(&status, Code::Aborted, "VERSION_MISMATCH", None),
            }
        }
        assert_eq!(won.len(), 1, "round {round}");
        version = won[0];
    }
}

#[tokio::test]
async fn in_content_mode_the_digest_is_the_key() {
    let server = Server::builder().start().await;
    let mut client = client(&server).await;
    let hex = blake3::hash(b"content").to_hex().to_string();
    let first = client
        .put(put_of("", "content"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first.key, hex);
    assert!(first.created && !first.deduplicated);
    let again = client
        .put(put_of(hex.clone(), "content"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((again.created, again.deduplicated), (false, true));
    assert_eq!(again.version, first.version);
    let refused = client.put(put_of("name", "content")).await.unwrap_err();
    assert_error(
        &refused,
        Code::InvalidArgument,
        "KEY_NOT_DIGEST",
        Some("key"),
    );
    let on_version = v1::PutRequest {
        condition: only_if(Version(first.version)),
        ..put_of("", "content")
    };
    let refused = client.put(on_version).await.unwrap_err();
    assert_error(
        &refused,
        Code::InvalidArgument,
        "CONDITION_ON_CONTENT",
        Some("condition"),
    );
}

#[tokio::test]
async fn where_keys_keep_their_first_value_another_put_is_an_error() {
    let server = Server::builder().flag("--allow-user-key").start().await;
    let mut client = client(&server).await;
    let version = put(&mut client, "k", "first").await;
    let refused = client.put(put_of("k", "second")).await.unwrap_err();
    assert_error(&refused, Code::AlreadyExists, "KEY_EXISTS", None);
    let replace = v1::PutRequest {
        condition: only_if(Version(version)),
        ..put_of("k", "second")
    };
    let refused = client.put(replace).await.unwrap_err();
    assert_error(
        &refused,
        Code::FailedPrecondition,
        "OVERWRITE_DISABLED",
        None,
    );
    assert_eq!(get(&mut client, "k").await.unwrap(), "first");
}

#[tokio::test]
async fn what_the_operator_has_switched_off_says_so() {
    let server = user_keys()
        .flags(["--disable-set", "--disable-delete"])
        .start()
        .await;
    let mut client = client(&server).await;
    let refused = client.put(put_of("", "")).await.unwrap_err();
    assert_error(&refused, Code::FailedPrecondition, "SET_DISABLED", None);
    let refused = client
        .delete(v1::DeleteRequest::default())
        .await
        .unwrap_err();
    assert_error(&refused, Code::FailedPrecondition, "DELETE_DISABLED", None);
}
