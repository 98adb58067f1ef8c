//! Expiry: exact at every read, removed soon after, and Touch.

use crate::call::{
    Client, assert_error, batch_get, client, get, get_of, only_if, put, put_of, restored_from,
    user_keys,
};
use crate::support::{PATIENCE, Server, noise};
use serde_json::Value;
use shardkeep::proto::v1;
use shardkeep::proto::v1::condition::Requirement;
use shardkeep::proto::v1::expiry::Expiry;
use shardkeep::proto::zstdb::Item;
use shardkeep::start::offline;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};
use tonic::Code;

fn ttl(time: Duration) -> Option<v1::Expiry> {
    let ttl = prost_types::Duration {
        seconds: time.as_secs() as i64,
        nanos: time.subsec_nanos() as i32,
    };
    Some(v1::Expiry {
        expiry: Some(Expiry::Ttl(ttl)),
    })
}

const HOUR: Duration = Duration::from_secs(3600);

/// Milliseconds since 1970.
fn millis(at: prost_types::Timestamp) -> u128 {
    Duration::new(at.seconds as u64, at.nanos as u32).as_millis()
}

fn now() -> u128 {
    UNIX_EPOCH.elapsed().unwrap().as_millis()
}

async fn expire_time(client: &mut Client, key: &'static str) -> Option<prost_types::Timestamp> {
    let found = client.get(get_of(key)).await.unwrap().into_inner();
    found.entry.unwrap().expire_time
}

fn touch_of(key: &'static str, expiry: Option<v1::Expiry>) -> v1::TouchRequest {
    v1::TouchRequest {
        key: key.into(),
        expiry,
        ..v1::TouchRequest::default()
    }
}

/// How many keys there are, those that have expired and are not removed yet among them, and how many
/// were removed.
async fn keys_and_removed(server: &Server) -> (u64, u64) {
    let asked = Item {
        key: "stats".into(),
        data: r#"{"with":"details"}"#.into(),
        ..Item::default()
    };
    let stats = server.client().await.status(asked).await.unwrap();
    let stats: Value = serde_json::from_slice(&stats.into_inner().data).unwrap();
    let keys = stats["key_count"].as_str().unwrap().parse().unwrap();
    (
        keys,
        stats["details"]["writes"]["expired_keys"].as_u64().unwrap(),
    )
}

/// Waits until so many keys are left; how many were removed since the start.
async fn left(server: &Server, keys: u64) -> u64 {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let (there, removed) = keys_and_removed(server).await;
            if there == keys {
                return removed;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    waited.await.expect("what has expired is removed")
}

/// Fails if the offline check finds anything wrong.
async fn assert_sound(data_dir: &Path) {
    let data_dir = data_dir.to_owned();
    let verify = move || offline::verify(&data_dir, false, &mut |_, _| {});
    let report = tokio::task::spawn_blocking(verify).await.unwrap().unwrap();
    assert_eq!(report.problems, []);
}

/// Reads a key that is there until it is gone. Each read has seen it before its time and not after,
/// whatever the machine did meanwhile. How many have seen it.
async fn read_until_gone(client: &mut Client, key: &'static str, end: u128) -> u32 {
    let mut seen = 0;
    loop {
        let before = now();
        match client.get(get_of(key)).await {
            Ok(found) => {
                let told = found.into_inner().entry.unwrap().expire_time;
                assert_eq!(millis(told.unwrap()), end);
                assert!(before < end, "read at {before}, though it ended at {end}");
                seen += 1;
            }
            Err(status) => {
                assert_error(&status, Code::NotFound, "KEY_NOT_FOUND", None);
                let after = now();
                assert!(after >= end, "gone at {after}, before its end at {end}");
                return seen;
            }
        }
    }
}

#[tokio::test]
async fn an_expiry_is_exact_at_every_read() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    put(&mut client, "long", "value").await;
    // On a machine that stood still too long for a single read, a longer life shows it.
    let mut life = Duration::from_millis(200);
    loop {
        let begun = now();
        let short = v1::PutRequest {
            expiry: ttl(life),
            ..put_of("short", "value")
        };
        client.put(short).await.unwrap();
        let end = match client.get(get_of("short")).await {
            Ok(found) => millis(found.into_inner().entry.unwrap().expire_time.unwrap()),
            Err(_) => 0,
        };
        assert!(end == 0 || end >= begun + life.as_millis());
        if end > 0 && read_until_gone(&mut client, "short", end).await > 0 {
            break;
        }
        life *= 2;
    }
    let keys = vec!["short".into(), "long".into()];
    let found = batch_get(&mut client, keys, false).await;
    assert!(found[0].entry.is_none() && found[1].entry.is_some());
    let scanned = client
        .scan(v1::ScanRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(scanned.results.len(), 1);
    let absent = v1::PutRequest {
        condition: only_if(Requirement::Absent(true)),
        ..put_of("short", "again")
    };
    assert!(client.put(absent).await.unwrap().into_inner().created);
}

#[tokio::test]
async fn a_kept_expiry_goes_from_value_to_value() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    let with = |expiry| v1::PutRequest {
        expiry: Some(v1::Expiry {
            expiry: Some(expiry),
        }),
        ..put_of("k", "value")
    };
    let expiry_of = async |client: &mut Client| {
        let found = client.get(get_of("k")).await.unwrap().into_inner();
        found.entry.unwrap().expire_time
    };
    let hour = prost_types::Duration {
        seconds: 3600,
        nanos: 0,
    };
    client
        .put(with(v1::expiry::Expiry::Keep(true)))
        .await
        .unwrap();
    assert_eq!(expiry_of(&mut client).await, None);
    client
        .put(with(v1::expiry::Expiry::Ttl(hour)))
        .await
        .unwrap();
    let set = expiry_of(&mut client).await;
    assert!(set.is_some());
    client
        .put(with(v1::expiry::Expiry::Keep(true)))
        .await
        .unwrap();
    assert_eq!(expiry_of(&mut client).await, set);
    put(&mut client, "k", "value").await;
    assert_eq!(expiry_of(&mut client).await, None);
}

/// What a Touch sets is what every read sees from then on, those from a thread's own memory too.
#[tokio::test]
async fn a_touch_sets_the_expiry_and_keeps_the_value() {
    let server = user_keys().set("storage.shards", "3").start().await;
    let mut client = client(&server).await;
    for (key, size) in [("inline", 50), ("small", 3000), ("own", 300_000)] {
        let value = noise(size as u64, size);
        let first = put(&mut client, key, value.clone()).await;
        for _ in 0..3 {
            assert_eq!(expire_time(&mut client, key).await, None);
        }
        let touched = client.touch(touch_of(key, ttl(HOUR))).await.unwrap();
        let entry = touched.into_inner().entry.unwrap();
        assert!(entry.version > first);
        assert_eq!(entry.size, size as u64);
        assert_eq!(entry.digest, blake3::hash(&value).as_bytes()[..]);
        let found = client.get(get_of(key)).await.unwrap().into_inner();
        assert_eq!(found.entry.as_ref(), Some(&entry));
        assert_eq!(found.value, value);
        let keep = v1::Expiry {
            expiry: Some(Expiry::Keep(true)),
        };
        client.touch(touch_of(key, Some(keep))).await.unwrap();
        assert_eq!(expire_time(&mut client, key).await, entry.expire_time);
        client.touch(touch_of(key, None)).await.unwrap();
        assert_eq!(expire_time(&mut client, key).await, None);
        // Whatever was read before, the end that is set now is the end.
        let soon = Duration::from_millis(50);
        let entry = client.touch(touch_of(key, ttl(soon))).await.unwrap();
        let end = entry.into_inner().entry.unwrap().expire_time.unwrap();
        read_until_gone(&mut client, key, millis(end)).await;
    }
    assert_eq!(left(&server, 0).await, 3);
    let refused = client.touch(touch_of("own", None)).await.unwrap_err();
    assert_error(&refused, Code::NotFound, "KEY_NOT_FOUND", None);
}

#[tokio::test]
async fn a_touch_on_a_condition_changes_only_what_was_meant() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    let old = put(&mut client, "k", "old").await;
    let new = put(&mut client, "k", "new").await;
    let digest = |value: &[u8]| Requirement::Digest(blake3::hash(value).as_bytes().to_vec().into());
    let touch_if = |requirement| v1::TouchRequest {
        condition: only_if(requirement),
        ..touch_of("k", ttl(HOUR))
    };
    for (requirement, code, reason) in [
        (Requirement::Version(old), Code::Aborted, "VERSION_MISMATCH"),
        (digest(b"old"), Code::Aborted, "DIGEST_CONFLICT"),
        (Requirement::Absent(true), Code::AlreadyExists, "KEY_EXISTS"),
    ] {
        let refused = client.touch(touch_if(requirement)).await.unwrap_err();
        assert_error(&refused, code, reason, None);
        assert_eq!(expire_time(&mut client, "k").await, None);
    }
    client
        .touch(touch_if(Requirement::Version(new)))
        .await
        .unwrap();
    client.touch(touch_if(digest(b"new"))).await.unwrap();
    client
        .touch(touch_if(Requirement::Present(true)))
        .await
        .unwrap();
    assert!(expire_time(&mut client, "k").await.is_some());
    assert_eq!(get(&mut client, "k").await.unwrap(), "new");
}

#[tokio::test]
async fn a_touch_works_where_keys_keep_their_first_value_and_under_contents() {
    let keeping = Server::builder().flag("--allow-user-key").start().await;
    let mut keeping_client = client(&keeping).await;
    put(&mut keeping_client, "k", "first").await;
    let touched = keeping_client.touch(touch_of("k", ttl(HOUR))).await;
    touched.unwrap();
    let refused = keeping_client.put(put_of("k", "second")).await;
    assert_error(
        &refused.unwrap_err(),
        Code::AlreadyExists,
        "KEY_EXISTS",
        None,
    );
    let by_content = Server::builder().start().await;
    let mut client = client(&by_content).await;
    for size in [100, 300_000] {
        let done = client.put(put_of("", noise(size as u64, size))).await;
        let key = done.unwrap().into_inner().key;
        let touch = v1::TouchRequest {
            key: key.clone(),
            expiry: ttl(HOUR),
            ..v1::TouchRequest::default()
        };
        client.touch(touch).await.unwrap();
        let again = client.put(put_of("", noise(size as u64, size))).await;
        let again = again.unwrap().into_inner();
        assert!(again.deduplicated && !again.created, "{again:?}");
        assert_eq!(
            get(&mut client, key).await.unwrap(),
            noise(size as u64, size)
        );
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_touch_is_refused() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    put(&mut client, "k", "value").await;
    let refused = client.touch(touch_of("", None)).await.unwrap_err();
    assert_error(&refused, Code::InvalidArgument, "KEY_EMPTY", Some("key"));
    let never = touch_of("k", ttl(Duration::ZERO));
    let refused = client.touch(never).await.unwrap_err();
    assert_error(
        &refused,
        Code::InvalidArgument,
        "TTL_RANGE",
        Some("expiry.ttl"),
    );
    let elsewhere = v1::TouchRequest {
        namespace: "nowhere".to_owned(),
        ..touch_of("k", None)
    };
    let refused = client.touch(elsewhere).await.unwrap_err();
    assert_error(&refused, Code::NotFound, "NAMESPACE_NOT_FOUND", None);
    let closed = user_keys().flag("--disable-set").start().await;
    let mut client = crate::call::client(&closed).await;
    let refused = client.touch(touch_of("k", None)).await.unwrap_err();
    assert_error(&refused, Code::FailedPrecondition, "SET_DISABLED", None);
}

/// Keys that expire while the server is killed again and again are all removed in the end, contents
/// that they share included, and nothing else is.
#[tokio::test]
async fn what_has_expired_is_removed_through_kill_9() {
    const ROUNDS: u64 = 4;
    const KEYS: u64 = 300;
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let builder = user_keys().set("storage.shards", "2");
        let builder = builder.set("dedup.grace", "1s").data_dir(dir.path());
        builder.start()
    };
    for round in 0..ROUNDS {
        let mut server = start().await;
        let base = client(&server).await;
        let mut clients = base.clone();
        put(&mut clients, format!("stays-{round}"), noise(1, 100_000)).await;
        let puts = (0..KEYS).map(|number| {
            let mut client = base.clone();
            // Every third shares a content with those that stay, or with others that go.
            let value = match number % 3 {
                0 => noise(1 + number % 2, 100_000),
                _ => noise(number, 200),
            };
            let request = v1::PutRequest {
                expiry: ttl(Duration::from_millis(1 + number * 5)),
                ..put_of(format!("goes-{round}-{number}"), value)
            };
            tokio::spawn(async move { client.put(request).await.unwrap() })
        });
        for done in puts.collect::<Vec<_>>() {
            done.await.unwrap();
        }
        // The rounds of removals begin about now; each kill meets them at another point.
        tokio::time::sleep(Duration::from_millis(400 * round)).await;
        server.kill();
    }
    let server = start().await;
    left(&server, ROUNDS).await;
    let mut client = client(&server).await;
    for round in 0..ROUNDS {
        let value = get(&mut client, format!("stays-{round}")).await;
        assert_eq!(value.unwrap(), noise(1, 100_000));
    }
    server.stop().await;
    assert_sound(dir.path()).await;
    // The log holds the same, without the index that says so.
    for shard in ["000", "001"] {
        std::fs::remove_dir_all(dir.path().join("shards").join(shard).join("index")).unwrap();
    }
    let server = start().await;
    assert_eq!(keys_and_removed(&server).await, (ROUNDS, 0));
    server.stop().await;
}

/// An index made from the log alone knows what is still to go.
#[tokio::test]
async fn a_rebuilt_index_removes_what_has_expired() {
    let dir = tempfile::tempdir().unwrap();
    let start = || user_keys().data_dir(dir.path()).start();
    let server = start().await;
    let mut client = client(&server).await;
    put(&mut client, "stays", "value").await;
    let mut end = 0;
    for number in 0..50 {
        let request = v1::PutRequest {
            expiry: ttl(Duration::from_secs(2)),
            ..put_of(format!("goes-{number}"), noise(number, 100_000))
        };
        // It ends so long after the server has seen it, which is later than this.
        end = now() + 2000;
        client.put(request).await.unwrap();
    }
    server.stop().await;
    std::fs::remove_dir_all(dir.path().join("shards/000/index")).unwrap();
    let server = start().await;
    left(&server, 1).await;
    assert!(now() >= end, "none goes before its time");
    server.stop().await;
    assert_sound(dir.path()).await;
}

/// A backup keeps when each key goes, and what was removed by then stays away.
#[tokio::test]
async fn a_backup_and_a_restore_keep_every_expiry() {
    let server = user_keys().start().await;
    let mut base = client(&server).await;
    put(&mut base, "forever", "value").await;
    for (key, time) in [("soon", Duration::from_millis(1)), ("later", HOUR)] {
        let request = v1::PutRequest {
            expiry: ttl(time),
            ..put_of(key, "value")
        };
        base.put(request).await.unwrap();
    }
    let end = expire_time(&mut base, "later").await;
    let fresh = restored_from(&server).await;
    left(&fresh, 2).await;
    let mut client = client(&fresh).await;
    assert_eq!(get(&mut client, "soon").await, None);
    assert_eq!(get(&mut client, "forever").await.unwrap(), "value");
    assert_eq!(expire_time(&mut client, "later").await, end);
}
