//! Large values: chunks before their list before their key, and a reclaim that races none of them.

use crate::faults::{Hold, arm, disarm};
use crate::house::House;
use crate::support::{eventually, noise};
use bytes::Bytes;
use shardkeep::codec::{self, CHUNK_SIZE_MAX, CUT_MIN, Kind, Space};
use shardkeep::model::{Attributes, Codec, Key, Lifetime, Result, Version};
use shardkeep::service::{Put, PutRule, RestoreSource, Service, UploadDone};
use std::collections::BTreeMap;

const SIZE: usize = CUT_MIN as usize + (1 << 20);

fn put_of<'a>(service: &'a Service, key: &'a [u8]) -> Put<'a> {
    Put {
        namespace: service.default_namespace(),
        key,
        data: Bytes::new(),
        sum64: None,
        digest: None,
        rule: PutRule::Free,
        lifetime: Lifetime::Forever,
        attributes: Attributes::default(),
    }
}

async fn upload_to(service: &Service, key: &[u8], value: &[u8]) -> Result<UploadDone> {
    let put = Put {
        sum64: Some(codec::sum64_of(value)),
        digest: Some(codec::digest_of(value)),
        ..put_of(service, key)
    };
    let mut upload = service.upload(&put)?;
    for piece in value.chunks(700_000) {
        upload.push(Bytes::copy_from_slice(piece)).await?;
    }
    upload.finish(put, Some(value.len() as u64)).await
}

async fn upload(house: &House, key: &[u8], value: &[u8]) -> UploadDone {
    upload_to(house.service(), key, value).await.unwrap()
}

/// A large value, and the same with something inserted in its middle.
fn versions() -> (Vec<u8>, Vec<u8>) {
    let first = noise(1, SIZE);
    let mut second = first.clone();
    second.splice(SIZE / 2..SIZE / 2, noise(2, 100_000));
    (first, second)
}

/// Contents that are there, and how many of them are lists.
fn contents(house: &House) -> (usize, usize) {
    let mut found = (0, 0);
    for shard in house.router().shards() {
        let snapshot = shard.reader().unwrap().snapshot();
        for row in snapshot.scan(Space::Blob, &[], None) {
            let (_, row) = row.unwrap();
            if row.kind == Kind::Blob {
                found.0 += 1;
                found.1 += usize::from(row.codec == Codec::Chunks);
            }
        }
    }
    found
}

/// Sweeps until neither contents nor references are there.
async fn swept_clean(house: &House) {
    for _ in 0..1000 {
        house.service().sweep().await.unwrap();
        house.service().tidy();
        if contents(house) == (0, 0) && house.references().is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("left: {:?}, {:?}", contents(house), house.references());
}

async fn stale(house: &House) -> u64 {
    house.service().sweep().await.unwrap().stale
}

fn unique_bytes(house: &House) -> u64 {
    let shards = house.router().stats().into_iter();
    shards
        .map(|(_, stats)| stats.unwrap().totals.unique_bytes)
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_a_large_value_share_what_is_equal() {
    let mut house = House::calm().await;
    let (first, second) = versions();
    let done = upload(&house, b"first", &first).await;
    assert_eq!((done.size, done.new_bytes), (SIZE as u64, SIZE as u64));
    assert!(done.put.stored);
    let done = upload(&house, b"second", &second).await;
    let changed = 100_000 + 3 * CHUNK_SIZE_MAX as u64;
    assert!(done.new_bytes < changed, "{done:?}");
    assert_eq!(unique_bytes(&house), SIZE as u64 + done.new_bytes);
    let again = upload(&house, b"again", &second).await;
    assert_eq!((again.new_bytes, again.put.stored), (0, false));
    let expected: BTreeMap<Vec<u8>, Vec<u8>> =
        [("first", &first), ("second", &second), ("again", &second)]
            .map(|(key, value)| (key.into(), value.clone()))
            .into();
    assert_eq!(house.contents().await, expected);
    assert_eq!(stale(&house).await, 0);
    assert_eq!(contents(&house).1, 2);
    let before = unique_bytes(&house);
    house.collect().await;
    house.crash_without_indexes().await;
    assert_eq!(house.contents().await, expected);
    assert_eq!((unique_bytes(&house), stale(&house).await), (before, 0));
    for key in ["first", "again"] {
        house.delete(key.as_bytes()).await;
    }
    eventually("the first list's end", || {
        house.service().tidy();
        (contents(&house).1 == 1).then_some(())
    })
    .await;
    assert_eq!(house.get(b"second").await, Some(second));
    house.delete(b"second").await;
    swept_clean(&house).await;
}

/// A crash between chunks, list and key leaves nothing to see, and nothing that the sweep does not
/// find.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_steps_of_a_large_put_leaves_nothing_that_stays() {
    let mut house = House::armed().await;
    for point in ["list::referred", "put::stored"] {
        arm(point, "panic");
        // Of some values the list lives in the shard of its key: all or nothing anyway.
        let key = (0..).map(|number| format!("key-{number}"));
        let value = noise(3, SIZE);
        let home = house.router().shard_of_digest(codec::digest_of(&value));
        let of = |key: &String| {
            house
                .router()
                .shard_of_key(&Key::new(key.as_bytes()).unwrap())
        };
        let key = key.into_iter().find(|key| of(key) != home).unwrap();
        let error = upload_to(house.service(), key.as_bytes(), &value).await;
        assert_eq!(error.unwrap_err().reason(), "OUTCOME_UNKNOWN", "{point}");
        disarm(point);
        house.crash().await;
        assert_eq!(house.get(key.as_bytes()).await, None, "{point}");
        assert!(contents(&house).0 > 0 && !house.references().is_empty());
        swept_clean(&house).await;
    }
}

/// A list that went without dropping its references leaves them to the sweep.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_behind_the_end_of_a_list_leaves_references_that_the_sweep_drops() {
    let mut house = House::armed().await;
    upload(&house, b"key", &noise(4, SIZE)).await;
    arm("reclaim::list_gone", "return");
    house.delete(b"key").await;
    eventually("the list's end", || {
        house.service().tidy();
        (contents(&house).1 == 0).then_some(())
    })
    .await;
    disarm("reclaim::list_gone");
    assert!(!house.references().is_empty());
    house.crash().await;
    swept_clean(&house).await;
}

/// A reclaim that has begun has the content's turn: an upload of the same chunk waits for it, and then
/// stores what is gone.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_beside_the_reclaim_of_its_own_chunks_is_whole() {
    let house = House::armed().await;
    let value = noise(5, SIZE);
    upload(&house, b"old", &value).await;
    house.delete(b"old").await;
    let hold = eventually("the list's end", || {
        house.service().tidy();
        (contents(&house).1 == 0).then(|| Hold::at("dedup::reclaiming"))
    })
    .await;
    house.service().tidy();
    hold.somebody().await;
    let (service, data) = (house.service().clone(), value.clone());
    let putting = tokio::spawn(async move { upload_to(&service, b"new", &data).await });
    hold.release();
    putting.await.unwrap().unwrap();
    for _ in 0..5 {
        house.service().sweep().await.unwrap();
        house.service().tidy();
    }
    assert_eq!(house.get(b"new").await, Some(value));
    assert_eq!(stale(&house).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_cut_leaves_nothing_to_see_and_resumes() {
    let mut house = House::calm().await;
    house.config.dedup.grace = std::time::Duration::from_secs(600);
    house.crash().await;
    let value = noise(6, SIZE + (5 << 20));
    let put = put_of(house.service(), b"key");
    let mut cut = house.service().upload(&put).unwrap();
    for piece in value[..value.len() - 1000].chunks(1 << 20) {
        cut.push(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    eventually("chunks that are stored", || {
        (contents(&house).0 > 10).then_some(())
    })
    .await;
    drop(cut);
    assert!(house.contents().await.is_empty() && house.references().is_empty());
    let before = contents(&house).0;
    // An orphan goes at the second sweep that finds it, when its grace is over; a reclaim takes a
    // commit, so there are some of these too.
    for number in 0..10 {
        house.service().sweep().await.unwrap();
        house.set(b"another", &[number]).await;
    }
    // A chunk that was under way may have come, and none goes.
    let there = contents(&house).0;
    assert!(there >= before, "{there} of {before}");
    let done = upload(&house, b"key", &value).await;
    assert!(done.new_bytes < 8 << 20, "{done:?}");
    assert_eq!(house.get(b"key").await, Some(value));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_holds_the_chunks_before_their_list_and_gives_large_values_back() {
    let house = House::calm().await;
    let (first, second) = versions();
    upload(&house, b"first", &first).await;
    upload(&house, b"gone", &noise(9, SIZE)).await;
    house.delete(b"gone").await;
    house.set(b"small", b"value").await;
    let full = house.service().backup("chain", Version(0)).await.unwrap();
    upload(&house, b"second", &second).await;
    upload(&house, b"again", &first).await;
    let increment = house.service().backup("chain", full.max).await.unwrap();
    assert!(
        full.bytes < 2 * SIZE as u64,
        "what nobody names is not in it"
    );
    let mut copy = House::beside(&house).await;
    for done in [full, increment] {
        let source = RestoreSource::Operator(done.target);
        copy.service().restore(source, |_, _| {}).await.unwrap();
    }
    assert_eq!(copy.contents().await, house.contents().await);
    assert_eq!(stale(&copy).await, 0);
    copy.crash_without_indexes().await;
    assert_eq!(copy.contents().await, house.contents().await);
    for key in ["first", "second", "again", "small"] {
        copy.delete(key.as_bytes()).await;
    }
    swept_clean(&copy).await;
}
