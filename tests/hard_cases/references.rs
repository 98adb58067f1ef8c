//! Case 1: references have names.

use crate::bench::seal;
use crate::faults::{Hold, arm, disarm};
use crate::house::House;
use crate::support::{PATIENCE, Server, eventually, noise, set_of};
use shardkeep::model::{
    BlobRef, Command, Existing, Key, PutBody, RefId, Replaced, Reply, SealedValue,
};
use tokio::task::JoinSet;

/// The two steps of a put whose content lives in another shard; what it replaced is not dropped.
async fn put_without_the_drop(
    house: &House,
    key: &Key,
    value: &SealedValue,
    ref_id: u128,
) -> Option<Replaced> {
    let router = house.router();
    let blob = BlobRef {
        digest: value.digest.unwrap(),
        ref_id: RefId(ref_id),
    };
    let store = Command::StoreBlob {
        blob,
        owner: key.clone(),
        value: Some(value.clone()),
    };
    let home = router.shard_of_digest(blob.digest);
    router.write(home, store).await.unwrap();
    let put = Command::Put {
        key: key.clone(),
        body: PutBody::Away {
            blob,
            info: value.info,
        },
        existing: Existing::Replace,
        expiry: None,
        attributes: bytes::Bytes::new(),
    };
    match router.write(router.shard_of_key(key), put).await.unwrap() {
        Reply::Put { replaced, .. } => replaced,
        other => panic!("{other:?}"),
    }
}

/// Case 1: A, B and A again under one key, and only then the drops: the late drop of the first A
/// does not take the reference of the second.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_drop_of_the_first_reference_leaves_the_second_to_the_same_content() {
    let house = House::calm().await;
    let router = house.router();
    let key = Key::new(b"key").unwrap();
    let (a, b) = (
        house.value_away_from(b"key", 1),
        house.value_away_from(b"key", 2),
    );
    let (a_sealed, b_sealed) = (seal(&a), seal(&b));
    assert_eq!(put_without_the_drop(&house, &key, &a_sealed, 1).await, None);
    let first = put_without_the_drop(&house, &key, &b_sealed, 2).await;
    let second = put_without_the_drop(&house, &key, &a_sealed, 3).await;
    let (first, second) = (first.unwrap(), second.unwrap());
    assert!(!first.dropped && !second.dropped, "they live elsewhere");
    assert_eq!(
        (first.blob.ref_id, second.blob.ref_id),
        (RefId(1), RefId(2))
    );
    router.drop_reference(second.blob).await.unwrap();
    router.drop_reference(first.blob).await.unwrap();
    for value in [&a_sealed, &b_sealed] {
        let digest = value.digest.unwrap();
        let reclaim = Command::ReclaimBlob { digest };
        let home = router.shard_of_digest(digest);
        router.write(home, reclaim).await.unwrap();
    }
    assert_eq!(house.get(b"key").await, Some(a));
    assert_eq!(house.references(), house.named_references());
    let reclaimed = router.find_blob(b_sealed.digest.unwrap()).unwrap();
    assert!(reclaimed.is_none(), "nobody refers to it any more");
}

/// Case 1: a crash between the steps of a put leaves a reference too many, which the sweep drops,
/// and with it the content; never one too few.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_steps_of_a_put_leaves_a_reference_that_the_sweep_drops() {
    let mut house = House::armed().await;
    let kept = house.value_away_from(b"kept", 1);
    house.set(b"kept", &kept).await;
    let value = house.value_away_from(b"key", 2);
    arm("put::stored", "panic");
    let error = house.try_set(b"key", &value).await.unwrap_err();
    assert_eq!(error.reason(), "OUTCOME_UNKNOWN");
    disarm("put::stored");
    house.crash().await;
    assert_eq!(house.get(b"key").await, None);
    assert_eq!(house.references().len(), 2);
    assert_eq!(house.named_references().len(), 1);
    let report = house.service().sweep().await.unwrap();
    assert_eq!((report.references, report.stale), (2, 1));
    assert_eq!(house.references(), house.named_references());
    // Found without references, without any grace it goes with the next sweep at the latest.
    house.service().sweep().await.unwrap();
    let digest = crate::bench::digest_of(&value);
    let reclaimed = || house.router().find_blob(digest).unwrap().is_none();
    eventually("the reclaim", || reclaimed().then_some(())).await;
    assert_eq!(house.get(b"kept").await, Some(kept));
}

/// Case 1: a put that is still under way is no crash: its reference is open, and sweeps skip it.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_skips_the_reference_of_a_put_that_is_under_way() {
    let house = House::armed().await;
    let value = house.value_away_from(b"key", 1);
    let hold = Hold::at("put::stored");
    let (service, data) = (house.service().clone(), bytes::Bytes::from(value.clone()));
    let sum64 = shardkeep::codec::sum64_of(&value);
    let putting = tokio::spawn(async move { service.set(b"key", data, sum64).await });
    hold.somebody().await;
    let report = house.service().sweep().await.unwrap();
    assert_eq!((report.references, report.stale), (1, 0));
    hold.release();
    putting.await.unwrap().unwrap();
    let report = house.service().sweep().await.unwrap();
    assert_eq!((report.references, report.stale), (1, 0));
    assert_eq!(house.references(), house.named_references());
    assert_eq!(house.get(b"key").await, Some(value));
}

/// Case 1: a caller who goes away does not stop the steps of its put half way.
#[tokio::test(flavor = "multi_thread")]
async fn the_steps_of_a_put_go_on_when_its_caller_is_gone() {
    let house = House::armed().await;
    let value = house.value_away_from(b"key", 1);
    let hold = Hold::at("put::stored");
    let (service, data) = (house.service().clone(), bytes::Bytes::from(value.clone()));
    let sum64 = shardkeep::codec::sum64_of(&value);
    let putting = tokio::spawn(async move { service.set(b"key", data, sum64).await });
    hold.somebody().await;
    putting.abort();
    let gone = tokio::time::timeout(PATIENCE, putting).await;
    let gone = gone.expect("the caller does not run the steps itself");
    assert!(gone.unwrap_err().is_cancelled());
    hold.release();
    let named = || house.router().find(&Key::new(b"key").unwrap()).unwrap();
    eventually("the last step", named).await;
    assert_eq!(house.references(), house.named_references());
    assert_eq!(house.get(b"key").await, Some(value));
}

/// Case 1: after any concurrent history the references are exactly those that records name.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn references_equal_a_recount_after_a_concurrent_history() {
    let mut house = House::calm().await;
    let writers: Vec<_> = (0..8_u64)
        .map(|writer| {
            let service = house.service().clone();
            tokio::spawn(async move {
                for step in 0..60 {
                    let dice = noise(writer * 1000 + step, 8);
                    let key = format!("key-{}", dice[5] % 5);
                    if dice[6].is_multiple_of(4) {
                        service.delete(key.as_bytes()).await.unwrap();
                        continue;
                    }
                    let value = noise(u64::from(dice[7] % 4), 2000);
                    let sum64 = shardkeep::codec::sum64_of(&value);
                    let set = service.set(key.as_bytes(), value.into(), sum64);
                    set.await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(house.references(), house.named_references());
    let before = house.contents().await;
    house.crash().await;
    assert_eq!(house.references(), house.named_references());
    assert_eq!(house.service().sweep().await.unwrap().stale, 0);
    assert_eq!(house.contents().await, before);
}

/// Case 11: no step of a put waits for a permit with another in its hand, so puts that go from each
/// shard to the other cannot stand in a circle, not even with one permit a shard.
#[tokio::test(flavor = "multi_thread")]
async fn puts_between_two_shards_of_one_permit_each_all_finish() {
    let builder = Server::builder().flags(["--allow-user-key", "--allow-overwrite"]);
    let builder = builder.flags(["--shards", "2"]);
    let builder = builder.set("admission.requests_per_shard", "1");
    let server = builder.start().await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(server.client().await);
    }
    let mut puts = JoinSet::new();
    for number in 0..400_u64 {
        let mut client = clients[number as usize % 4].clone();
        puts.spawn(async move {
            // Every key is put twice, so that references are dropped from shard to shard as well.
            let item = set_of(format!("key-{}", number % 200), noise(number, 10_000));
            let reply = client.set(item).await.unwrap().into_inner();
            assert_eq!(reply.errcode, 0, "{reply:?}");
        });
    }
    let done = tokio::time::timeout(PATIENCE, puts.join_all()).await;
    assert_eq!(done.expect("the puts wait for each other").len(), 400);
}
