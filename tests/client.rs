//! The Rust client of the native protocol against a real server, over ways that break.

mod support;

use shardkeep::client::{
    Batch, ChangeKind, Changes, ClientError, CountOptions, Database, Expect, Ids, Keyspace,
    OperationDone, PutOptions, Query, Stay,
};
use shardkeep::model::{Digest, ValueType, Version};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;
use support::proxy::Proxy;
use support::{Builder, PATIENCE, Server, noise};
use tokio::task::JoinHandle;

fn user_keys() -> Builder {
    Server::builder().flags(["--allow-user-key", "--allow-overwrite"])
}

async fn database(server: &Server) -> Database {
    let address = server.address().to_string();
    Database::connect(&address).await.unwrap()
}

/// The changes up to a version, in their order.
async fn changes_until(changes: &mut Changes, version: Version) -> Vec<(Vec<u8>, u64)> {
    let mut all = Vec::new();
    loop {
        let step = tokio::time::timeout(PATIENCE, changes.next()).await;
        let step = step.expect("the watch tells nothing").unwrap();
        let told = step.changes.into_iter();
        all.extend(told.map(|it| (it.key.to_vec(), it.version.0)));
        if step.version >= version {
            return all;
        }
    }
}

#[tokio::test]
async fn a_put_on_a_condition_is_done_only_while_it_holds() {
    let server = user_keys().start().await;
    let keys = database(&server).await.keyspace("");
    let first = keys.put_if("k", "one", Expect::Absent).await.unwrap();
    assert!(first.created && first.previous.is_none());
    let there = keys.put_if("k", "two", Expect::Absent).await.unwrap_err();
    let reason = |error: ClientError| match error {
        ClientError::Conflict { reason, .. } => reason,
        other => panic!("not a conflict: {other}"),
    };
    assert_eq!(reason(there), "KEY_EXISTS");
    let second = keys.put_if("k", "two", Expect::Version(first.version));
    let second = second.await.unwrap();
    assert_eq!(second.previous, Some(first.version));
    let late = keys.put_if("k", "three", Expect::Version(first.version));
    assert_eq!(reason(late.await.unwrap_err()), "VERSION_MISMATCH");
    let wrong = keys.delete_if("k", Expect::Digest(Digest([7; 32]))).await;
    assert_eq!(reason(wrong.unwrap_err()), "DIGEST_CONFLICT");
    let missing = keys.put_if("other", "x", Expect::Present).await;
    assert!(matches!(missing, Err(ClientError::NotFound { .. })));
    let value = keys.get("k").await.unwrap().unwrap();
    assert_eq!(
        (&value.data[..], value.entry.digest),
        (&b"two"[..], second.digest)
    );
    let removed = keys.delete_if("k", Expect::Digest(second.digest.unwrap()));
    assert_eq!(removed.await.unwrap(), Some(second.version));
    assert!(!keys.delete("k").await.unwrap());
    assert_eq!(keys.get("k").await.unwrap(), None);
}

#[tokio::test]
async fn what_is_said_of_a_value_and_how_long_it_stays_come_back() {
    let server = user_keys().start().await;
    let keys = database(&server).await.keyspace("");
    let options = PutOptions {
        lifetime: Stay::For(Duration::from_secs(3600)),
        value_type: ValueType::Json,
        metadata: BTreeMap::from([("from".to_owned(), "test".to_owned())]),
        ..PutOptions::default()
    };
    keys.put_with("k", "{}", options.clone()).await.unwrap();
    let entry = keys.head("k").await.unwrap().unwrap();
    assert_eq!(
        (entry.value_type, &entry.metadata),
        (ValueType::Json, &options.metadata)
    );
    assert!(entry.expiry.is_some());
    let touched = keys.touch("k", Stay::Default).await.unwrap();
    assert_eq!(touched.expiry, None);
    assert_eq!(keys.increment("n", 5).await.unwrap(), 5);
    assert_eq!(keys.increment("n", -7).await.unwrap(), -2);
    let found = keys.get_many(["n", "none", "k"]).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|it| it.map(|it| it.data)).collect();
    assert_eq!(found, [Some("-2".into()), None, Some("{}".into())]);
}

#[tokio::test]
async fn a_touch_and_a_count_on_a_condition_are_done_only_while_it_holds() {
    let server = user_keys().start().await;
    let keys = database(&server).await.keyspace("");
    let first = keys.put("k", "x").await.unwrap().version;
    let hour = Stay::For(Duration::from_secs(3600));
    let touched = keys.touch_if("k", hour, Expect::Version(first)).await;
    assert!(touched.unwrap().expiry.is_some());
    let late = keys.touch_if("k", Stay::Default, Expect::Version(first));
    let late = late.await.unwrap_err();
    assert!(matches!(late, ClientError::Conflict { .. }), "{late}");

    let anew = CountOptions {
        only_if: Some(Expect::Absent),
        initial: 100,
    };
    assert_eq!(keys.increment_with("n", 5, anew).await.unwrap(), 105);
    let there = keys.increment_with("n", 5, anew).await.unwrap_err();
    assert!(matches!(there, ClientError::Conflict { .. }), "{there}");
    let batch = Batch::new().increment_from(7, "m", 1).increment("n", 1);
    let done = keys.commit(batch).await.unwrap();
    let counted = [OperationDone::Counted(8), OperationDone::Counted(106)];
    assert_eq!(done.results, counted);
}

#[tokio::test]
async fn ids_are_given_once_to_whomever_asks() {
    let server = user_keys().start().await;
    let mut takers = Vec::new();
    for _ in 0..4 {
        let keys = database(&server).await.keyspace("");
        let ids = keys.ids("ids", 10).unwrap();
        let taking = async move |ids: Ids| {
            let mut taken = Vec::new();
            for _ in 0..15 {
                taken.push(ids.next().await.unwrap());
            }
            taken
        };
        // Two of one block, and four clients.
        takers.push(tokio::spawn(taking(ids.clone())));
        takers.push(tokio::spawn(taking(ids)));
    }
    let mut all = Vec::new();
    for taker in takers {
        all.extend(taker.await.unwrap());
    }
    all.sort_unstable();
    let count = all.len();
    all.dedup();
    assert_eq!((all.len(), all[0]), (count, 1));
    assert_eq!(*all.last().unwrap(), 120);
    let keys = database(&server).await.keyspace("");
    assert!(matches!(
        keys.ids("ids", 0),
        Err(ClientError::Invalid { .. })
    ));
}

#[tokio::test]
async fn a_commit_does_one_side_of_it_or_the_other() {
    let server = user_keys().start().await;
    let keys = database(&server).await.keyspace("");
    let batch = Batch::new()
        .require("lock", Expect::Absent)
        .put("lock", "mine")
        .delete("nothing")
        .otherwise()
        .put("queue/1", "waits");
    let first = keys.commit(batch.clone()).await.unwrap();
    assert!(first.succeeded);
    assert!(matches!(&first.results[0], OperationDone::Put(put) if put.created));
    assert_eq!(first.results[1], OperationDone::Deleted(None));
    let second = keys.commit(batch).await.unwrap();
    assert!(!second.succeeded);
    assert_eq!(second.results.len(), 1);
    assert_eq!(keys.get("queue/1").await.unwrap().unwrap().data, "waits");
}

#[tokio::test]
async fn a_commit_touches_and_counts() {
    let server = user_keys().start().await;
    let keys = database(&server).await.keyspace("");
    keys.put("session", "x").await.unwrap();
    let batch = Batch::new()
        .touch("session", Stay::For(Duration::from_secs(600)))
        .increment("visits", 3);
    let done = keys.commit(batch.clone()).await.unwrap();
    let [OperationDone::Touched(entry), OperationDone::Counted(3)] = &done.results[..] else {
        panic!("{done:?}");
    };
    assert!(entry.expiry.is_some() && Some(entry.version) == done.version);
    keys.delete("session").await.unwrap();
    let refused = keys.commit(batch).await.unwrap_err();
    assert!(matches!(refused, ClientError::Gone { reason, .. } if reason == "KEY_NOT_FOUND"));
    assert_eq!(keys.increment("visits", 0).await.unwrap(), 3);
}

#[tokio::test]
async fn a_snapshot_is_held_until_it_is_closed_or_dropped() {
    let server = user_keys().start().await;
    let db = database(&server).await;
    let keys = db.keyspace("");
    keys.put("a", "old").await.unwrap();
    let snapshot = db.snapshot().await.unwrap();
    let then = keys.at(&snapshot);
    keys.put("a", "new").await.unwrap();
    keys.put("b", "new").await.unwrap();
    assert_eq!(then.get("a").await.unwrap().unwrap().data, "old");
    let mut rows = then.scan(Query::all().values()).await.unwrap();
    let page = rows.next_page().await.unwrap().unwrap();
    assert_eq!(page.len(), 1);
    assert_eq!(page[0].data.as_deref(), Some(&b"old"[..]));
    assert!(rows.next_page().await.unwrap().is_none());

    // What is dropped is let go all the same, shortly after.
    let other = db.snapshot().await.unwrap();
    assert_eq!(db.list_snapshots().await.unwrap().len(), 2);
    drop(other);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while db.list_snapshots().await.unwrap().len() > 1 {
        assert!(tokio::time::Instant::now() < deadline, "it is still held");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    snapshot.close().await.unwrap();
    assert_eq!(db.list_snapshots().await.unwrap(), []);
    let gone = then.get("a").await.unwrap_err();
    assert!(matches!(gone, ClientError::Gone { reason, .. } if reason == "SNAPSHOT_NOT_FOUND"));
}

#[tokio::test]
async fn a_lease_is_renewed_for_as_long_as_it_is_asked_to() {
    let server = user_keys().start().await;
    let db = database(&server).await;
    let short = Duration::from_secs(60);
    let taken = db.create_snapshot(short).await.unwrap();
    let renewed = db.renew_snapshot(&taken.id, short * 2).await.unwrap();
    assert!(renewed.expiry > taken.expiry);
    assert_eq!(renewed.version, taken.version);
    db.delete_snapshot(&taken.id).await.unwrap();
    let gone = db.renew_snapshot(&taken.id, short).await.unwrap_err();
    assert!(matches!(gone, ClientError::Gone { .. }), "{gone}");
}

#[tokio::test]
async fn calls_that_may_be_made_twice_survive_a_cut_connection() {
    let server = user_keys().start().await;
    let proxy = Proxy::to(server.address()).await;
    let db = Database::connect(&proxy.address().to_string())
        .await
        .unwrap();
    let keys = db.keyspace("");
    for number in 0..20u64 {
        let stored = keys.put("k", number.to_string()).await.unwrap();
        proxy.cut();
        let value = keys.get("k").await.unwrap().unwrap();
        assert_eq!(value.data, number.to_string());
        assert_eq!(value.entry.version, stored.version);
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_done_once_and_told_as_it_was() {
    let server = user_keys()
        .fail_points("shard::commit=sleep(40)")
        .start()
        .await;
    let proxy = Proxy::to(server.address()).await;
    let db = Database::connect(&proxy.address().to_string())
        .await
        .unwrap();
    let keys = db.keyspace("");
    let mut seen = keys.put("n", "0").await.unwrap().version;
    for number in 1..=10u64 {
        let batch = Batch::new()
            .require("n", Expect::Version(seen))
            .put("n", number.to_string())
            .otherwise()
            .put("overtaken", number.to_string());
        let cut = async {
            // The commit may be on its way, at work or done: each is met once in a while.
            tokio::time::sleep(Duration::from_millis(number * 8)).await;
            proxy.cut();
        };
        let (done, ()) = tokio::join!(keys.commit(batch), cut);
        let done = done.unwrap();
        assert!(done.succeeded, "commit {number} was judged by itself");
        seen = done.version.unwrap();
        assert_eq!(
            keys.get("n").await.unwrap().unwrap().data,
            number.to_string()
        );
    }
    assert_eq!(keys.get("overtaken").await.unwrap(), None);
}

/// A server behind a proxy that does a few commits and holds the answer of the next one; a client of it.
/// An answer that has not come by now is held.
const HELD_AFTER: Duration = Duration::from_secs(10);

struct Held {
    place: tempfile::TempDir,
    server: Server,
    proxy: Proxy,
    keys: Keyspace,
}

impl Held {
    async fn start() -> Self {
        let place = tempfile::TempDir::new().unwrap();
        let server = Self::server_in(&place, "shard::indexed=5*off->pause").await;
        let proxy = Proxy::to(server.address()).await;
        let db = Database::connect(&proxy.address().to_string()).await;
        Self {
            keys: db.unwrap().keyspace(""),
            place,
            server,
            proxy,
        }
    }

    async fn server_in(place: &tempfile::TempDir, actions: &'static str) -> Server {
        let builder = user_keys().data_dir(place.path().join("data"));
        builder.fail_points(actions).start().await
    }

    /// The server is killed and started anew, and does not do again what waited for its answer.
    async fn is_left_alone_by_a_new_run<T: Debug>(
        &mut self,
        hung: JoinHandle<Result<T, ClientError>>,
    ) {
        self.proxy.hold();
        self.server.kill();
        self.server = Self::server_in(&self.place, "").await;
        self.proxy.lead_to(self.server.address());
        let told = hung.await.unwrap().unwrap_err();
        assert!(told.to_string().contains("started anew"), "{told}");
    }
}

#[tokio::test]
async fn a_commit_on_conditions_is_not_done_again_by_a_server_that_has_forgotten_it() {
    let mut held = Held::start().await;
    let keys = held.keys.clone();
    keys.commit(Batch::new().put("other", "x")).await.unwrap();
    let mut lock = 0;
    // Commits until one does not come back: it is on the disk, and its answer is held.
    let hung = loop {
        lock += 1;
        let batch = Batch::new()
            .require(format!("lock {lock}"), Expect::Absent)
            .put(format!("lock {lock}"), "mine")
            .otherwise()
            .put("overtaken", "by itself");
        let keys = keys.clone();
        let mut committing = tokio::spawn(async move { keys.commit(batch).await });
        match tokio::time::timeout(HELD_AFTER, &mut committing).await {
            Ok(done) => assert!(done.unwrap().unwrap().succeeded),
            Err(_) => break committing,
        }
    };
    held.is_left_alone_by_a_new_run(hung).await;
    let there = keys.get(format!("lock {lock}")).await.unwrap();
    assert_eq!(there.unwrap().data, "mine");
    assert_eq!(keys.get("overtaken").await.unwrap(), None);
}

/// Writes that would not do the same twice, cut off from their answers, each by its number.
#[tokio::test]
async fn counts_and_writes_on_conditions_whose_answers_are_lost_are_done_once() {
    let server = user_keys()
        .fail_points("shard::commit=sleep(40)")
        .start()
        .await;
    let proxy = Proxy::to(server.address()).await;
    let db = Database::connect(&proxy.address().to_string())
        .await
        .unwrap();
    let keys = db.keyspace("");
    let mut seen = keys.put("k", "0").await.unwrap().version;
    for number in 1..=10u64 {
        let cut = async || {
            // The write may be on its way, at work or done: each is met once in a while.
            tokio::time::sleep(Duration::from_millis(number * 8)).await;
            proxy.cut();
        };
        let (counted, ()) = tokio::join!(keys.increment("n", 1), cut());
        assert_eq!(counted.unwrap(), i64::try_from(number).unwrap());
        let put = keys.put_if("k", number.to_string(), Expect::Version(seen));
        let (stored, ()) = tokio::join!(put, cut());
        seen = stored.unwrap().version;
        let (deleted, ()) = tokio::join!(keys.delete_if("k", Expect::Version(seen)), cut());
        assert_eq!(deleted.unwrap(), Some(seen));
        let put = keys.put_if("k", "again", Expect::Absent);
        let (stored, ()) = tokio::join!(put, cut());
        seen = stored.unwrap().version;
    }
}

/// A client that has not written yet does not know which run of the server may do its write again.
#[tokio::test]
async fn the_first_count_of_a_client_is_done_once_too() {
    let server = user_keys()
        .fail_points("shard::commit=sleep(40)")
        .start()
        .await;
    let proxy = Proxy::to(server.address()).await;
    for number in 1..=10u64 {
        let db = Database::connect(&proxy.address().to_string())
            .await
            .unwrap();
        let keys = db.keyspace("");
        let cut = async {
            // The count may be on its way, at work or done: each is met once in a while.
            tokio::time::sleep(Duration::from_millis(number * 8)).await;
            proxy.cut();
        };
        // In a commit or alone.
        let number = i64::try_from(number).unwrap();
        let count = async {
            if number % 2 == 0 {
                return keys.increment("n", 1).await.unwrap();
            }
            let done = keys.commit(Batch::new().increment("n", 1)).await.unwrap();
            match done.results[..] {
                [OperationDone::Counted(count)] => count,
                _ => panic!("{done:?}"),
            }
        };
        let (counted, ()) = tokio::join!(count, cut);
        assert_eq!(counted, number);
    }
}

#[tokio::test]
async fn a_count_is_not_done_again_by_a_server_that_has_forgotten_it() {
    let mut held = Held::start().await;
    let keys = held.keys.clone();
    keys.put("other", "x").await.unwrap();
    let mut counted = 0;
    // Counts until one does not come back: it is on the disk, and its answer is held.
    let hung = loop {
        counted += 1;
        let keys = keys.clone();
        let mut counting = tokio::spawn(async move { keys.increment("n", 1).await });
        match tokio::time::timeout(HELD_AFTER, &mut counting).await {
            Ok(done) => assert_eq!(done.unwrap().unwrap(), counted),
            Err(_) => break counting,
        }
    };
    held.is_left_alone_by_a_new_run(hung).await;
    assert_eq!(keys.increment("n", 0).await.unwrap(), counted);
}

#[tokio::test]
async fn a_watch_goes_on_over_cuts_and_a_killed_server_and_tells_each_change_once() {
    let place = tempfile::TempDir::new().unwrap();
    let data_dir = place.path().join("data");
    let start = || user_keys().data_dir(&data_dir).start();
    let mut server = start().await;
    let proxy = Proxy::to(server.address()).await;
    let far = Database::connect(&proxy.address().to_string())
        .await
        .unwrap();
    let mut watch = far.keyspace("").watch(Query::all(), None).await.unwrap();

    let mut expected = Vec::new();
    for round in 0..6u64 {
        if round == 3 {
            server.kill();
            server = start().await;
            proxy.lead_to(server.address());
        }
        let near = database(&server).await.keyspace("");
        let single = near.put(format!("single/{round}"), "x").await.unwrap();
        expected.push((format!("single/{round}").into_bytes(), single.version.0));
        // Its changes need several messages, between which the connection is cut.
        let keys: Vec<String> = (0..4000).map(|n| format!("{round}/{n:0>90}")).collect();
        let batch = keys
            .iter()
            .fold(Batch::new(), |batch, key| batch.put(key.clone(), "v"));
        let version = near.commit(batch).await.unwrap().version.unwrap();
        expected.extend(keys.into_iter().map(|key| (key.into_bytes(), version.0)));
        let cutting = async {
            for _ in 0..round * 3 {
                proxy.cut();
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        };
        let (told, ()) = tokio::join!(changes_until(&mut watch, version), cutting);
        let mut told = told;
        assert!(told.is_sorted_by_key(|(_, version)| *version));
        told.sort();
        expected.sort();
        assert!(
            told == expected,
            "round {round}: {} told of {}",
            told.len(),
            expected.len()
        );
        expected.clear();
    }
}

#[tokio::test]
async fn a_watch_tells_what_became_of_keys_and_their_values() {
    let server = user_keys().start().await;
    let keys = database(&server).await.keyspace("");
    let begun = keys.put("other", "x").await.unwrap().version;
    keys.put("a/1", "one").await.unwrap();
    keys.put("b/1", "not asked for").await.unwrap();
    let last = keys.put("a/2", "two").await.unwrap().version;
    keys.delete("a/1").await.unwrap();
    let query = Query::prefix("a/").values();
    let mut watch = keys.watch(query, Some(begun)).await.unwrap();
    assert_eq!(watch.next().await.unwrap().version, begun);
    let mut told = Vec::new();
    while told.len() < 3 {
        told.extend(watch.next().await.unwrap().changes);
    }
    let value = |index: usize| match &told[index].kind {
        ChangeKind::Put { value, .. } => value.clone(),
        other => panic!("no put: {other:?}"),
    };
    // A later delete of the first has left nothing of its value to be read with it.
    assert_eq!(
        (value(1).as_deref(), told[1].version),
        (Some(&b"two"[..]), last)
    );
    assert_eq!(
        (&told[2].key[..], &told[2].kind),
        (&b"a/1"[..], &ChangeKind::Deleted)
    );
    let ahead = keys.watch(Query::all(), Some(Version(1 << 40))).await;
    assert!(matches!(ahead, Err(ClientError::Server { .. })));
    let nowhere = database(&server).await.keyspace("nowhere");
    let nowhere = nowhere.watch(Query::all(), None).await.unwrap_err();
    assert!(matches!(nowhere, ClientError::Gone { reason, .. } if reason == "NAMESPACE_NOT_FOUND"));
}

#[tokio::test]
async fn what_others_share_is_not_freed() {
    let server = user_keys().set("storage.shards", "3").start().await;
    let keys = database(&server).await.keyspace("");
    const LARGE: u64 = 100_000;
    let value = |seed| noise(seed, usize::try_from(LARGE).unwrap());
    // One content twice inside, one inside and outside, one only outside; and a small value.
    for (key, seed) in [
        ("in/1", 1),
        ("in/2", 1),
        ("in/3", 2),
        ("out/1", 2),
        ("out/2", 3),
    ] {
        keys.put(key, value(seed)).await.unwrap();
    }
    keys.put("in/small", "tiny").await.unwrap();
    let measure = async |query: Query| {
        let mut measuring = keys.measure(query).await.unwrap();
        let mut last = None;
        while let Some(usage) = measuring.next().await.unwrap() {
            last = Some(usage);
        }
        let last = last.expect("it tells something");
        assert!(last.is_whole);
        (
            last.keys,
            last.logical_bytes,
            last.stored_bytes,
            last.freed_bytes,
        )
    };
    let inside = measure(Query::prefix("in/")).await;
    assert_eq!(inside, (4, 3 * LARGE + 4, 2 * LARGE + 4, LARGE + 4));
    let one = measure(Query::range("in/2", "in/3")).await;
    assert_eq!(one, (1, LARGE, LARGE, 0));
    let all = measure(Query::all()).await;
    assert_eq!(all, (6, 5 * LARGE + 4, 3 * LARGE + 4, 3 * LARGE + 4));
    // Who is gone shares nothing.
    keys.delete("out/1").await.unwrap();
    assert_eq!(measure(Query::prefix("in/")).await.3, 2 * LARGE + 4);
    assert_eq!(measure(Query::prefix("none")).await, (0, 0, 0, 0));
}

#[tokio::test]
async fn chunks_that_versions_share_count_once_and_are_freed_with_the_last() {
    let server = user_keys().set("storage.shards", "3").start().await;
    let db = database(&server).await;
    let keys = db.keyspace("");
    let old = noise(1, 12 << 20);
    let new = [&old[..6 << 20], b"inserted", &old[6 << 20..]].concat();
    for (key, value) in [("a/old", &old), ("a/same", &old), ("b/new", &new)] {
        let (sender, pieces) = tokio::sync::mpsc::channel(1);
        let value = bytes::Bytes::copy_from_slice(value);
        let size = value.len() as u64;
        let sending = async move {
            for start in (0..value.len()).step_by(1 << 20) {
                let piece = value.slice(start..value.len().min(start + (1 << 20)));
                sender.send(piece).await.unwrap();
            }
        };
        let upload = keys.upload(key, (size, pieces), PutOptions::default());
        tokio::join!(sending, async { upload.await.unwrap() });
    }
    let measure = async |query: Query| {
        let mut measuring = keys.measure(query).await.unwrap();
        let mut last = None;
        while let Some(usage) = measuring.next().await.unwrap() {
            last = Some(usage);
        }
        let last = last.unwrap();
        (last.stored_bytes, last.freed_bytes)
    };
    let len = old.len() as u64;
    let (all, all_freed) = measure(Query::all()).await;
    assert!(all > len && all < len * 3 / 2, "{all}");
    assert_eq!(all, all_freed);
    let (a, a_freed) = measure(Query::prefix("a/")).await;
    assert!(a >= len && a < all, "{a}");
    assert!(
        a_freed > 0 && a_freed < len / 2,
        "only what the new one lacks: {a_freed}"
    );
    let (b, b_freed) = measure(Query::prefix("b/")).await;
    assert!(b >= len && b_freed < len / 2, "{b} {b_freed}");
    assert_eq!(measure(Query::range("a/same", "b")).await.1, 0);
    keys.delete("b/new").await.unwrap();
    assert_eq!(measure(Query::prefix("a/")).await, (a, a));
}
