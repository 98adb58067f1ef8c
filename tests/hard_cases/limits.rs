//! Case 2: no index row can fail after the log is written.

use crate::bench::{Bench, seal};
use crate::house::House;
use shardkeep::model::{
    BlobRef, Command, Error, KEY_SIZE_MAX, Key, RefId, Reply, ShardId, Version,
};

/// A key of exactly the limit.
fn longest(byte: u8) -> Key {
    Key::new(&vec![byte; 65_000]).unwrap()
}

/// Case 2: the limit is 65,000, and the door says so before anything is planned.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_one_byte_more_is_refused_at_the_door() {
    let house = House::calm().await;
    assert_eq!(KEY_SIZE_MAX, 65_000);
    let (long, value) = (vec![b'k'; 65_001], b"value");
    let told = |error: Error| {
        assert_eq!(error.reason(), "KEY_TOO_LARGE");
        assert!(error.message().contains("65001"), "{error}");
    };
    told(house.try_set(&long, value).await.unwrap_err());
    told(house.service().get(&long).await.unwrap_err());
    told(house.service().delete(&long).await.unwrap_err());
    assert_eq!(house.router().counter().current(), Version(0));
    assert_eq!(
        house.try_set(b"", value).await.unwrap_err().reason(),
        "KEY_EMPTY"
    );
}

/// Case 2: a key of 65,000 bytes as value, link, tombstone and owner of a reference, through
/// commits, a crash, GC and a rebuild.
#[test]
fn the_longest_keys_pass_through_every_kind_of_row() {
    let mut bench = Bench::calm();
    let (value, link, gone) = (longest(b'v'), longest(0xff), longest(b'g'));
    let small = |key: &Key| Command::Put {
        key: key.clone(),
        body: shardkeep::model::PutBody::Small(seal(b"small")),
        existing: shardkeep::model::Existing::Replace,
        expiry: None,
        attributes: bytes::Bytes::new(),
    };
    bench.run(small(&value)).unwrap();
    bench.run(small(&gone)).unwrap();
    let large = crate::support::noise(1, 5000);
    bench.put_blob(&link, &large);
    let away = seal(&crate::support::noise(2, 5000));
    let blob = BlobRef {
        digest: away.digest.unwrap(),
        ref_id: RefId(u128::MAX),
    };
    let store = Command::StoreBlob {
        blob,
        owner: longest(0),
        value: Some(away),
    };
    assert_eq!(
        bench.run(store).unwrap(),
        Reply::BlobStored { stored: true }
    );
    let deleted = bench
        .run(Command::Delete {
            key: gone.clone(),
            condition: None,
        })
        .unwrap();
    assert!(matches!(deleted, Reply::Deleted { .. }));
    let check = |bench: &Bench| {
        assert_eq!(bench.read(&value).unwrap().unwrap(), b"small");
        assert_eq!(bench.read(&link).unwrap().unwrap(), large);
        assert_eq!(bench.read(&gone).unwrap(), None);
        let reader = bench.reader();
        let owners: Vec<Key> = reader.references().map(|found| found.unwrap().1).collect();
        assert!(owners.contains(&link) && owners.contains(&longest(0)));
    };
    check(&bench);
    bench.crash();
    bench.open();
    check(&bench);
    let collected = bench.store().collect(2.0).unwrap();
    assert!(!collected.removed.is_empty());
    check(&bench);
    bench.assert_rebuild_is_equal();
    check(&bench);
}

/// Case 2: the same over several shards, listed, and after a crash.
#[tokio::test(flavor = "multi_thread")]
async fn the_longest_keys_own_content_in_other_shards() {
    let mut house = House::calm().await;
    let (one, two) = (longest(b'a'), longest(b'z'));
    let value = house.value_away_from(one.as_bytes(), 1);
    house.set(one.as_bytes(), &value).await;
    house.set(two.as_bytes(), b"small").await;
    house.crash().await;
    assert_eq!(house.get(one.as_bytes()).await, Some(value));
    assert_eq!(house.get(two.as_bytes()).await.unwrap(), b"small");
    let listed = house.service().list(one.as_bytes(), 0, 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert!(house.delete(one.as_bytes()).await.is_some());
    assert!(house.references().is_empty());
    for shard in 0..4 {
        house.serving(ShardId(shard)).await;
    }
}
