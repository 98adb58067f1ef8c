//! What must not follow from a loss: a shard's folder that is gone, a content that is gone, a power
//! loss between two shards.

use crate::faults::{arm, disarm};
use crate::house::{House, LARGE};
use crate::support::bare_shard::BareShard;
use crate::support::{Server, key_of, noise, set_of};
use shardkeep::config::Durability;
use shardkeep::model::{
    BlobRef, Codec, Command, Digest, Existing, Key, PutBody, RefId, Reply, SealedValue, ShardId,
    Timestamp, ValueInfo, Version,
};
use shardkeep::shard::plan::{Known, PlanContext, plan};
use std::time::Duration;

/// A shard whose folder is gone is damaged, and not empty: its keys are no misses, for a sweep
/// would drop what they refer to. When the folder is back, so is everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_whose_folder_is_gone_is_damaged_and_not_empty() {
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let flags = ["--allow-user-key", "--shards", "2"];
        Server::builder().flags(flags).data_dir(dir.path())
    };
    let server = start().start().await;
    let mut client = server.client().await;
    for step in 0..20_u64 {
        let item = set_of(format!("key-{step}"), noise(step, 20_000));
        assert_eq!(client.set(item).await.unwrap().into_inner().errcode, 0);
    }
    server.stop().await;
    let (there, away) = (dir.path().join("shards/001"), dir.path().join("away"));
    std::fs::rename(&there, &away).unwrap();

    let server = start().start().await;
    let mut client = server.client().await;
    let (mut served, mut refused) = (0, 0);
    for step in 0..20_u64 {
        let reply = client.get(key_of(format!("key-{step}"))).await.unwrap();
        let reply = reply.into_inner();
        match reply.errcode {
            0 => served += 1,
            _ => {
                let said = String::from_utf8_lossy(&reply.status).into_owned();
                assert!(said.contains("put its folder back"), "{said}");
                refused += 1;
            }
        }
    }
    assert!(served > 0 && refused > 0, "{served} {refused}");
    server.stop().await;
    assert!(!there.exists(), "nothing was made in its place");
    std::fs::rename(&away, &there).unwrap();

    let server = start().start().await;
    let mut client = server.client().await;
    for step in 0..20_u64 {
        let reply = client.get(key_of(format!("key-{step}"))).await.unwrap();
        assert!(reply.into_inner().data == noise(step, 20_000), "key-{step}");
    }
    server.stop().await;
}

/// With `durability = "os"` shards sync in any order: a reference is dropped only when the record
/// that lets go of it is on the disk, or a power loss brings back a key without its content.
#[tokio::test(flavor = "multi_thread")]
async fn a_reference_outlives_the_sync_of_the_record_that_lets_go_of_it() {
    let mut house = House::armed().await;
    house.close().await;
    house.config.storage.durability = Durability::Os;
    house.open().await;
    let value = house.value_away_from(b"k", 1);
    house.set(b"k", &value).await;
    house.service().sync().await.unwrap();
    let before = house.references();
    assert_eq!(before.len(), 1);
    arm("log::sync", "return");
    house.delete(b"k").await;
    disarm("log::sync");
    for shard in 0..4 {
        house.serving(ShardId(shard)).await;
    }
    assert_eq!(house.references(), before);
}

/// A panic in the middle of a commit is not a writer that hangs.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_panicked_in_a_commit_is_not_taken_for_one_that_hangs() {
    let house = House::armed().await;
    arm("shard::written", "1*panic");
    let key = b"key";
    let shard = house.router().shard_of_key(&Key::new(key).unwrap());
    let mut health = house.handle(shard).health();
    let refused = house.try_set(key, b"value").await.unwrap_err();
    assert_eq!(refused.reason(), "OUTCOME_UNKNOWN");
    disarm("shard::written");
    // The caller hears of a panic before the shard does.
    health.changed().await.unwrap();
    house.serving(shard).await;
    assert_eq!(house.handle(shard).busy_for(), Duration::ZERO);
}

/// Whoever stores a content again whose bytes were lost is not told "it is there".
#[test]
fn a_content_that_was_lost_is_stored_again() {
    let digest = Digest([7; Digest::SIZE]);
    let old = BlobRef {
        digest,
        ref_id: RefId(1),
    };
    let blob = BlobRef {
        ref_id: RefId(2),
        ..old
    };
    let info = ValueInfo {
        raw_len: LARGE as u64,
        sum64: 5,
    };
    let value = SealedValue {
        info,
        digest: Some(digest),
        codec: Codec::Raw,
        payload_sum: 6,
        payload: noise(1, LARGE).into(),
    };
    let command = |existing| Command::Put {
        key: Key::of_digest(digest),
        body: PutBody::Home {
            blob,
            info,
            value: Some(value.clone()),
        },
        existing,
        expiry: None,
        attributes: bytes::Bytes::new(),
    };
    let context = PlanContext { now: Timestamp(1) };
    let mut lost = BareShard(Some(Known {
        kind: shardkeep::codec::Kind::Link,
        content: true,
        version: Version(1),
        expiry: None,
        link: Some(old),
    }));
    let mut planned = |existing| {
        let command = command(existing);
        plan(&mut lost, command, context, &mut || Version(9)).unwrap()
    };
    // A key that keeps its first value keeps it, whatever became of that or of the new one.
    let kept = planned(Existing::Keep);
    assert!(kept.records.is_empty() && matches!(kept.reply, Reply::Unchanged { .. }));
    let planned = planned(Existing::KeepSameContent);
    assert!(matches!(planned.reply, Reply::Put { stored: true, .. }));
    assert!(!planned.records.is_empty());
}
