//! Case 15: an expiry is a command like any other. What has expired is found by rows that follow
//! from the records, goes by a tombstone, and lets go of its content.

use crate::bench::{Bench, digest_of, key, put, seal};
use crate::faults::{arm, disarm};
use crate::house::House;
use shardkeep::codec::{Kind, Space};
use shardkeep::model::{
    Attributes, BlobRef, Command, Existing, Key, Lifetime, PutBody, RefId, Reply, Timestamp,
    Version,
};
use shardkeep::service::{Put, PutRule, RestoreSource};
use std::time::Duration;

const LONG: &[u8] = &[7; 2000];

/// A put of a small value that expires.
fn put_until(name: &str, value: &[u8], at: Timestamp) -> Command {
    Command::Put {
        key: key(name),
        body: PutBody::Small(seal(value)),
        existing: Existing::Replace,
        expiry: Some(at),
        attributes: bytes::Bytes::new(),
    }
}

/// A put of a content of its own that expires.
fn put_content_until(name: &str, value: &[u8], ref_id: u128, at: Timestamp) -> Command {
    let value = seal(value);
    let blob = BlobRef {
        digest: value.digest.unwrap(),
        ref_id: RefId(ref_id),
    };
    Command::Put {
        key: key(name),
        body: PutBody::Home {
            blob,
            info: value.info,
            value: Some(value),
        },
        existing: Existing::Replace,
        expiry: Some(at),
        attributes: bytes::Bytes::new(),
    }
}

fn expire(name: &str) -> Command {
    Command::Expire { key: key(name) }
}

fn due(bench: &Bench, now: Timestamp) -> Vec<Key> {
    bench.reader().due(now, 100).unwrap()
}

fn after(now: Timestamp, ms: u64) -> Timestamp {
    Timestamp(now.0 + ms)
}

/// The live records of a space.
fn live(bench: &Bench, space: Space) -> usize {
    let rows = bench.rows().into_iter();
    rows.filter(|(of, _, row)| *of == space && !row.kind.is_gone())
        .count()
}

#[test]
fn what_has_expired_goes_by_a_tombstone_and_lets_go_of_its_content() {
    let mut bench = Bench::calm();
    let now = bench.clock.now();
    let end = after(now, 60_000);
    bench
        .run(put_content_until("goes", LONG, 100, end))
        .unwrap();
    bench.put_blob(&key("stays"), LONG);
    assert_eq!(
        bench.run(expire("goes")).unwrap(),
        Reply::Missing,
        "not yet"
    );
    assert_eq!(due(&bench, now), []);
    bench.clock.raise(end);
    assert_eq!(due(&bench, end), [key("goes")]);
    let reply = bench.run(expire("goes")).unwrap();
    let Reply::Deleted {
        version,
        previous,
        replaced: Some(replaced),
    } = reply
    else {
        panic!("{reply:?}");
    };
    assert!(version > previous.unwrap() && replaced.dropped);
    assert_eq!(due(&bench, end), []);
    let (_, _, row) = bench
        .rows()
        .into_iter()
        .find(|(_, id, _)| id == "goes")
        .unwrap();
    assert_eq!((row.kind, row.version), (Kind::Tombstone, version));
    let digest = digest_of(LONG);
    bench.run(Command::ReclaimBlob { digest }).unwrap();
    assert_eq!(bench.get("stays").unwrap(), LONG, "another reference holds");
    bench.delete("stays");
    bench.run(Command::ReclaimBlob { digest }).unwrap();
    assert_eq!(
        (live(&bench, Space::Blob), live(&bench, Space::Reference)),
        (0, 0)
    );
    bench.assert_rebuild_is_equal();
}

#[test]
fn only_a_record_that_has_expired_itself_is_removed() {
    let mut bench = Bench::calm();
    let end = after(bench.clock.now(), 60_000);
    for name in ["anew", "longer", "forever", "deleted"] {
        bench.run(put_until(name, b"old", end)).unwrap();
    }
    bench
        .run(put_until("longer", b"new", after(end, 1)))
        .unwrap();
    bench.put("forever", b"new");
    bench.delete("deleted");
    bench.clock.raise(end);
    bench.run(put_until("anew", b"new", after(end, 2))).unwrap();
    assert_eq!(due(&bench, end), [], "no row of an old record is left");
    for name in ["anew", "longer", "forever", "deleted", "unknown"] {
        assert_eq!(bench.run(expire(name)).unwrap(), Reply::Missing, "{name}");
    }
    assert_eq!(due(&bench, after(end, 9)), [key("longer"), key("anew")]);
    bench.assert_rebuild_is_equal();
    assert_eq!(due(&bench, after(end, 9)), [key("longer"), key("anew")]);
}

#[test]
fn a_put_over_what_has_expired_lets_go_of_its_content() {
    let mut bench = Bench::calm();
    let end = after(bench.clock.now(), 60_000);
    bench.run(put_content_until("k", LONG, 100, end)).unwrap();
    bench.clock.raise(end);
    match bench.run(put("k", b"new")).unwrap() {
        Reply::Put {
            previous, replaced, ..
        } => {
            assert_eq!(previous, None, "for the client there was nothing");
            assert!(replaced.unwrap().dropped);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(live(&bench, Space::Reference), 0);
}

#[test]
fn a_rebuild_a_replay_and_gc_leave_every_expiry_its_row() {
    let mut bench = Bench::calm();
    let now = bench.clock.now();
    let mut expected = Vec::new();
    for number in 0..60_u64 {
        let name = format!("key-{number:02}");
        let end = after(now, 1000 + number);
        bench.run(put_until(&name, &[1; 9000], end)).unwrap();
        if number % 3 == 0 {
            bench.put(&name, b"for ever");
        } else {
            expected.push(key(&name));
        }
    }
    let far = after(now, 1 << 40);
    assert_eq!(due(&bench, far), expected);
    bench.crash();
    bench.open();
    assert_eq!(due(&bench, far), expected, "after a replay");
    bench.rebuild();
    assert_eq!(due(&bench, far), expected, "after a rebuild");
    bench.next_segment();
    let collected = bench.store().collect(1.1).unwrap();
    assert!(!collected.removed.is_empty());
    assert_eq!(due(&bench, far), expected, "after gc");
    bench.rebuild();
    assert_eq!(due(&bench, far), expected, "of moved records");
    assert_eq!(bench.problems(), [""; 0]);
}

/// A crash at any step of an expiry leaves the key expired or gone; the next round removes it.
#[test]
fn a_crash_at_any_step_of_an_expiry_loses_nothing_and_it_is_done_again() {
    for point in [
        "log::write",
        "log::sync",
        "shard::written",
        "shard::synced",
        "index::commit",
    ] {
        for rebuild in [None, Some("the test wants it")] {
            let mut bench = Bench::armed();
            let end = after(bench.clock.now(), 60_000);
            bench.put("stays", b"value");
            bench.run(put_content_until("k", LONG, 100, end)).unwrap();
            bench.clock.raise(end);
            arm(point, "1*return");
            assert!(bench.run(expire("k")).is_err(), "{point}");
            disarm(point);
            bench.crash();
            bench.try_open(rebuild).unwrap();
            bench.clock.raise(end);
            for key in due(&bench, end) {
                let reply = bench.run(Command::Expire { key }).unwrap();
                assert!(matches!(reply, Reply::Deleted { .. }), "{point}: {reply:?}");
            }
            assert_eq!(due(&bench, end), [], "{point}");
            assert_eq!(live(&bench, Space::Reference), 0, "{point}");
            assert_eq!(bench.get("k"), None, "{point}");
            assert_eq!(bench.get("stays").unwrap(), b"value", "{point}");
            bench.assert_rebuild_is_equal();
            assert_eq!(bench.problems(), [""; 0], "{point}");
        }
    }
}

/// The check knows the rows of expiries: it finds one that is missing, and one too many.
#[test]
fn a_check_finds_a_row_of_an_expiry_that_is_missing_or_too_many() {
    use shardkeep::index::Expiry;
    use shardkeep::model::{NamespaceId, Seq};
    let mut bench = Bench::calm();
    let at = after(bench.clock.now(), 60_000);
    bench.run(put_until("k", b"value", at)).unwrap();
    let seq = bench.row("k").unwrap().seq;
    bench.close();
    let change = |bench: &mut Bench, expiry: Expiry, key: Option<&[u8]>| {
        bench.spoil_index(|index, state| {
            let mut batch = index.batch();
            batch.put_expiry(expiry, key);
            batch.commit(state).unwrap();
        });
    };
    let namespace = NamespaceId::DEFAULT;
    let own = Expiry { at, seq, namespace };
    let stray = Expiry {
        at,
        seq: Seq(999),
        namespace,
    };
    for (expiry, wrong, right) in [
        (own, None, Some(&b"k"[..])),
        (own, Some(&b"other"[..]), Some(b"k")),
        (stray, Some(b"k"), None),
    ] {
        change(&mut bench, expiry, wrong);
        let found = bench.problems();
        assert!(!found.is_empty(), "{expiry:?} {wrong:?}");
        assert!(found[0].contains("goes"), "{found:?}");
        change(&mut bench, expiry, right);
        assert_eq!(bench.problems(), [""; 0]);
    }
}

/// An expiry has a version of its own, so that increments of backups carry it.
#[test]
fn an_expiry_takes_one_version() {
    let mut bench = Bench::calm();
    let end = after(bench.clock.now(), 60_000);
    bench.run(put_until("k", b"value", end)).unwrap();
    bench.clock.raise(end);
    let before = bench.counter.current();
    bench.run(expire("k")).unwrap();
    assert_eq!(bench.counter.current(), Version(before.0 + 1));
    assert_eq!(bench.run(expire("k")).unwrap(), Reply::Missing);
    assert_eq!(bench.counter.current(), Version(before.0 + 1));
}

async fn put_until_in(house: &House, name: &str, value: Vec<u8>, at: Timestamp) {
    let service = house.service();
    let put = Put {
        namespace: service.default_namespace(),
        key: name.as_bytes(),
        data: value.into(),
        sum64: None,
        digest: None,
        rule: PutRule::Free,
        lifetime: Lifetime::Until(at),
        attributes: Attributes::default(),
    };
    service.put(put).await.unwrap();
}

/// Removes so many keys, which are due by now or very soon.
async fn expire_all(house: &House, count: u64) {
    let removing = async {
        let mut removed = 0;
        while removed < count {
            removed += house.service().expire_due().await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        removed
    };
    let removed = tokio::time::timeout(crate::support::PATIENCE, removing).await;
    assert_eq!(removed.expect("what is due is removed"), count);
}

/// Whatever shard a content lives in, the key that goes lets go of it, and of nothing else. The next
/// increment says so: where it is restored, the key is gone and not only past its time.
#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_goes_over_all_shards_and_into_the_next_increment() {
    let house = House::calm().await;
    // Late enough that the full backup has the keys as they were: it leaves out what has expired.
    let soon = Timestamp(house.router().now().0 + 3000);
    let hour = Timestamp(soon.0 + 3_600_000);
    for number in 0..20 {
        let name = format!("key-{number}");
        let value = house.value_away_from(name.as_bytes(), number % 4);
        let at = if number % 2 == 0 { soon } else { hour };
        put_until_in(&house, &name, value, at).await;
    }
    house.set(b"small", b"value").await;
    let full = house.service().backup("full", Version(0)).await.unwrap();
    expire_all(&house, 10).await;
    assert_eq!(house.service().expire_due().await.unwrap(), 0);
    assert_eq!(house.contents().await.len(), 11);
    assert_eq!(house.references(), house.named_references());
    assert_eq!(house.references().len(), 10);
    let next = house.service().backup("next", full.max).await.unwrap();
    let copy = House::beside(&house).await;
    for done in [&full, &next] {
        let source = RestoreSource::Operator(done.target.clone());
        copy.service().restore(source, |_, _| {}).await.unwrap();
    }
    assert_eq!(
        copy.service().expire_due().await.unwrap(),
        0,
        "all are gone"
    );
    assert_eq!(copy.contents().await, house.contents().await);
    assert_eq!(copy.references().len(), 10);
}
