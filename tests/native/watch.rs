//! Watching: every change once and in order, whatever happens to the watcher, the server, the log.

use crate::call::{Client, assert_error, client, get, put, put_of, user_keys};
use crate::support::{Random, Server, command_of, noise};
use bytes::Bytes;
use shardkeep::proto::v1;
use shardkeep::proto::v1::snapshot_service_client::SnapshotServiceClient;
use shardkeep::proto::v1::watch_service_client::WatchServiceClient;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use v1::WatchEventType as Type;

type Watches = WatchServiceClient<Channel>;
type Stream = Streaming<v1::WatchResponse>;

/// What a test waits for at most, so that a change that never comes ends it.
const PATIENCE: Duration = Duration::from_secs(60);

async fn watches(server: &Server) -> Watches {
    WatchServiceClient::new(server.channel().await)
}

fn after(version: u64) -> v1::WatchRequest {
    v1::WatchRequest {
        after_version: Some(version),
        ..v1::WatchRequest::default()
    }
}

async fn watch(watches: &mut Watches, request: v1::WatchRequest) -> Result<Stream, Status> {
    Ok(watches.watch(request).await?.into_inner())
}

/// The next message, which must come.
async fn next(stream: &mut Stream) -> Result<v1::WatchResponse, Status> {
    let message = tokio::time::timeout(PATIENCE, stream.message()).await;
    let message = message.expect("nothing came of what must come");
    message.map(|it| it.expect("a watch has no end of its own"))
}

/// Events up to a version.
async fn until(stream: &mut Stream, version: u64) -> Vec<v1::WatchEvent> {
    let mut events = Vec::new();
    loop {
        let message = next(stream).await.unwrap();
        events.extend(message.events);
        if message.version >= version {
            return events;
        }
    }
}

async fn end_of(stream: &mut Stream) -> Status {
    loop {
        if let Err(status) = next(stream).await {
            return status;
        }
    }
}

fn put_event(key: &str, version: u64) -> (Type, Bytes, u64) {
    (Type::Put, Bytes::copy_from_slice(key.as_bytes()), version)
}

fn seen(event: &v1::WatchEvent) -> (Type, Bytes, u64) {
    (event.r#type(), event.key.clone(), event.version)
}

async fn delete(client: &mut Client, key: &str) -> u64 {
    let request = v1::DeleteRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        ..v1::DeleteRequest::default()
    };
    client.delete(request).await.unwrap().into_inner().version
}

async fn version_now(server: &Server) -> u64 {
    let mut snapshots = SnapshotServiceClient::new(server.channel().await);
    let taken = snapshots
        .create_snapshot(v1::CreateSnapshotRequest::default())
        .await;
    taken.unwrap().into_inner().version
}

#[tokio::test]
async fn every_kind_of_change_is_told_with_what_it_did() {
    let server = user_keys().set("storage.shards", "3").start().await;
    let (mut client, mut watches) = (client(&server).await, watches(&server).await);
    put(&mut client, "before", "x").await;
    let now = v1::WatchRequest {
        include_values: true,
        ..v1::WatchRequest::default()
    };
    let mut stream = watch(&mut watches, now).await.unwrap();
    let first = next(&mut stream).await.unwrap();
    assert_eq!((first.events.len(), first.version), (0, 1));
    let mut expected = vec![put_event("a", put(&mut client, "a", "one").await)];
    expected.push(put_event(
        "b",
        put(&mut client, "b", noise(1, 200_000)).await,
    ));
    // What changes nothing is no change.
    assert_eq!(delete(&mut client, "nobody").await, 0);
    expected.push((Type::Delete, "a".into(), delete(&mut client, "a").await));
    let short = v1::PutRequest {
        expiry: Some(v1::Expiry {
            expiry: Some(v1::expiry::Expiry::Ttl(prost_types::Duration {
                seconds: 0,
                nanos: 1_000_000,
            })),
        }),
        metadata: BTreeMap::from([("name".to_owned(), "text".to_owned())]),
        ..put_of("c", "")
    };
    let version = client.put(short).await.unwrap().into_inner().version;
    expected.push(put_event("c", version));
    expected.push((Type::Expire, "c".into(), version + 1));
    let events = until(&mut stream, version + 1).await;
    assert_eq!(events.iter().map(seen).collect::<Vec<_>>(), expected);
    let entry = |at: usize| events[at].entry.clone().unwrap();
    assert_eq!(
        (&events[0].value[..], events[0].value_included),
        (&b"one"[..], true)
    );
    assert_eq!((entry(0).size, entry(0).version), (3, events[0].version));
    // A content of its own is to be read, and is there.
    assert!(!events[1].value_included && events[1].value.is_empty());
    let digest = blake3::hash(&noise(1, 200_000));
    assert_eq!(
        (entry(1).size, &entry(1).digest[..]),
        (200_000, &digest.as_bytes()[..])
    );
    assert!(events[2].entry.is_none() && events[4].entry.is_none());
    assert!(events[3].value_included && events[3].value.is_empty());
    assert!(entry(3).expire_time.is_some());
    assert_eq!(entry(3).metadata["name"], "text");
}

#[tokio::test]
async fn a_watch_of_some_keys_tells_how_far_it_is() {
    let server = user_keys().set("storage.shards", "2").start().await;
    let (mut client, mut watches) = (client(&server).await, watches(&server).await);
    let interval = prost_types::Duration {
        seconds: 0,
        nanos: 100_000_000,
    };
    let request = v1::WatchRequest {
        selection: Some(v1::KeySelection {
            prefix: "mine/".into(),
            ..v1::KeySelection::default()
        }),
        progress_interval: Some(interval),
        ..after(0)
    };
    let mut stream = watch(&mut watches, request).await.unwrap();
    let mine = put(&mut client, "mine/1", "x").await;
    let mut last = 0;
    for number in 0..50 {
        last = put(&mut client, format!("others/{number}"), "x").await;
    }
    let events = until(&mut stream, last).await;
    assert_eq!(
        events.iter().map(seen).collect::<Vec<_>>(),
        [put_event("mine/1", mine)]
    );
}

/// Random puts and deletes of 40 keys; what was answered, by version.
async fn busy(mut client: Client, seed: u64, count: u64) -> BTreeMap<u64, (Type, Bytes)> {
    let mut random = Random::seeded(seed);
    let mut answered = BTreeMap::new();
    for number in 0..count {
        let key = format!("key-{}", random.within(0..40));
        let size = [10, 3_000, 70_000][random.within(0..3) as usize];
        let (kind, version) = match random.percent(30) {
            true => (Type::Delete, delete(&mut client, &key).await),
            false => {
                let value = noise(seed * 1000 + number, size);
                (Type::Put, put(&mut client, key.clone(), value).await)
            }
        };
        if version > 0 {
            answered.insert(version, (kind, key.into()));
        }
    }
    answered
}

fn by_version(events: Vec<v1::WatchEvent>) -> BTreeMap<u64, (Type, Bytes)> {
    let mut found = BTreeMap::new();
    let mut last = 0;
    for event in events {
        assert!(event.version > last, "{} after {last}", event.version);
        last = event.version;
        found.insert(event.version, (event.r#type(), event.key));
    }
    found
}

/// Sixteen writers; what they were answered, and what a watch from the beginning and one from now
/// on have told.
async fn watched_under_load(server: &Server) -> [BTreeMap<u64, (Type, Bytes)>; 3] {
    let mut watches = watches(server).await;
    let mut live = watch(&mut watches, v1::WatchRequest::default())
        .await
        .unwrap();
    let writers: Vec<_> = (0..16).map(|seed| (seed, server.channel())).collect();
    let mut answered = BTreeMap::new();
    let mut running = tokio::task::JoinSet::new();
    for (seed, channel) in writers {
        let client = Client::new(channel.await);
        running.spawn(busy(client, seed, 60));
    }
    let (finish, mut last) = tokio::sync::watch::channel(u64::MAX);
    let live = tokio::spawn(async move {
        let mut events = Vec::new();
        let mut told = 0;
        while told < *last.borrow_and_update() {
            tokio::select! {
                message = next(&mut live) => {
                    let message = message.unwrap();
                    events.extend(message.events);
                    told = message.version;
                }
                changed = last.changed() => changed.unwrap(),
            }
        }
        events
    });
    while let Some(done) = running.join_next().await {
        answered.extend(done.unwrap());
    }
    let last = *answered.last_key_value().unwrap().0;
    finish.send(last).unwrap();
    let mut late = watch(&mut watches, after(0)).await.unwrap();
    let late = until(&mut late, last).await;
    let live = live.await.unwrap();
    [answered, by_version(live), by_version(late)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_many_writers_is_told_once_and_in_order() {
    let server = user_keys().set("storage.shards", "4").start().await;
    let [answered, live, late] = watched_under_load(&server).await;
    assert_eq!(live, answered);
    assert_eq!(late, answered);
}

/// Planted: changes are told without waiting for lower versions that are on their way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_waits_for_no_shard_is_found() {
    let server = user_keys()
        .set("storage.shards", "4")
        .fail_points("feed::hasty=return;shard::synced=1%sleep(5)")
        .start()
        .await;
    let mut watches = watches(&server).await;
    let mut live = watch(&mut watches, v1::WatchRequest::default())
        .await
        .unwrap();
    let mut running = tokio::task::JoinSet::new();
    for seed in 0..16 {
        let client = Client::new(server.channel().await);
        running.spawn(busy(client, seed, 200));
    }
    let mut last = 0;
    let mut out_of_order = false;
    while !out_of_order {
        for event in next(&mut live).await.unwrap().events {
            out_of_order |= event.version < last;
            last = event.version;
        }
    }
}

#[tokio::test]
async fn a_watch_goes_on_after_any_version() {
    let server = user_keys().set("storage.shards", "3").start().await;
    let mut watches = watches(&server).await;
    let answered = busy(client(&server).await, 7, 60).await;
    let last = *answered.last_key_value().unwrap().0;
    for from in 0..last {
        let mut stream = watch(&mut watches, after(from)).await.unwrap();
        let told = by_version(until(&mut stream, last).await);
        let expected = answered.range(from + 1..);
        assert!(told.iter().eq(expected), "after {from}");
    }
}

#[tokio::test]
async fn a_watch_goes_on_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let builder = || user_keys().set("storage.shards", "3").data_dir(dir.path());
    let mut server = builder().start().await;
    let mut told = Vec::new();
    let mut version = 0;
    let mut answered = BTreeMap::new();
    for round in 0..4 {
        let mut watches = watches(&server).await;
        let mut stream = watch(&mut watches, after(version)).await.unwrap();
        answered.extend(busy(client(&server).await, round, 40).await);
        // Some of it is told before the kill, the rest after the next start.
        for _ in 0..3 {
            let message = next(&mut stream).await.unwrap();
            told.extend(message.events);
            version = message.version;
        }
        server.kill();
        server = builder().start().await;
    }
    let mut watches = watches(&server).await;
    let mut stream = watch(&mut watches, after(version)).await.unwrap();
    told.extend(until(&mut stream, *answered.last_key_value().unwrap().0).await);
    assert_eq!(by_version(told), answered);
}

async fn gc(server: &Server) {
    let mut admin = server.client().await;
    admin.admin(command_of("gc", "")).await.unwrap();
}

#[tokio::test]
async fn gc_waits_for_a_watch_that_reads_and_one_that_comes_too_late_is_told() {
    let server = user_keys()
        .set("storage.shards", "2")
        .set("dedup.grace", "0s")
        .set("server.max_upload_size", "1 MiB")
        .set("storage.segment_size", "2 MiB")
        .start()
        .await;
    let (mut client, mut watches) = (client(&server).await, watches(&server).await);
    let mut live = watch(&mut watches, after(0)).await.unwrap();
    let mut versions = Vec::new();
    for round in 0..12 {
        for number in 0..4 {
            let value = noise(round * 10 + number, 500_000);
            versions.push(put(&mut client, format!("key-{number}"), value).await);
        }
        gc(&server).await;
    }
    let last = *versions.last().unwrap();
    let told = by_version(until(&mut live, last).await);
    assert!(told.keys().eq(&versions), "{told:?}");
    drop(live);
    let compacted = loop {
        gc(&server).await;
        if let Err(refused) = watch(&mut watches, after(0)).await {
            break refused;
        }
    };
    assert_error(&compacted, Code::Aborted, "WATCH_COMPACTED", None);
    let now = version_now(&server).await;
    let mut stream = watch(&mut watches, after(now)).await.unwrap();
    let next = put(&mut client, "key-0", "x").await;
    assert_eq!(until(&mut stream, next).await.len(), 1);
}

#[tokio::test]
async fn a_merged_backup_ends_a_watch_and_does_not_end_the_next() {
    let server = user_keys().set("storage.shards", "2").start().await;
    let mut client = client(&server).await;
    let old = put(&mut client, "key", "old").await;
    put(&mut client, "other", "x").await;
    let mut admin = server.client().await;
    let order = r#"{"path":"full"}"#;
    let made = admin.admin(command_of("backup", order)).await.unwrap();
    let made: serde_json::Value = serde_json::from_slice(&made.into_inner().data).unwrap();
    // Elsewhere, where the key is not there yet and the counter is lower.
    let elsewhere = user_keys().set("storage.shards", "2").start().await;
    let copy = elsewhere.data_dir().join("backups").join("full.bak");
    std::fs::copy(made["target"].as_str().unwrap(), &copy).unwrap();
    let mut client = crate::call::client(&elsewhere).await;
    let mut watches = WatchServiceClient::new(elsewhere.channel().await);
    let here = put(&mut client, "here", "x").await;
    let mut stream = watch(&mut watches, after(0)).await.unwrap();
    assert_eq!(until(&mut stream, here).await.len(), 1);
    let mut admin = elsewhere.client().await;
    let order = serde_json::json!({ "path": copy }).to_string();
    admin.admin(command_of("restore", &order)).await.unwrap();
    let status = end_of(&mut stream).await;
    assert_error(&status, Code::Aborted, "WATCH_RESTORED", None);
    assert!(old > 0 && get(&mut client, "key").await.unwrap() == "old");
    let mut again = watch(&mut watches, after(here)).await.unwrap();
    let status = end_of(&mut again).await;
    assert_error(&status, Code::Aborted, "WATCH_RESTORED", None);
    let now = version_now(&elsewhere).await;
    let mut stream = watch(&mut watches, after(now)).await.unwrap();
    let version = put(&mut client, "key", "new").await;
    let events = until(&mut stream, version).await;
    assert_eq!(
        events.iter().map(seen).collect::<Vec<_>>(),
        [put_event("key", version)]
    );
}

#[tokio::test]
async fn a_watcher_that_takes_nothing_is_cut_off_and_can_go_on() {
    let server = user_keys()
        .set("server.keepalive_timeout", "3s")
        .start()
        .await;
    let mut client = client(&server).await;
    // With windows that are soon full.
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address())).unwrap();
    let endpoint = endpoint
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535);
    let channel = endpoint.connect().await.unwrap();
    let mut watches = WatchServiceClient::new(channel);
    let request = v1::WatchRequest {
        include_values: true,
        ..after(0)
    };
    let mut slow = watch(&mut watches, request.clone()).await.unwrap();
    let mut versions = Vec::new();
    for number in 0..1_000 {
        let value = noise(number, 1_000);
        versions.push(put(&mut client, format!("key-{number:05}"), value).await);
    }
    tokio::time::sleep(Duration::from_secs(8)).await;
    let mut told = Vec::new();
    let mut version = 0;
    let status = loop {
        match next(&mut slow).await {
            Ok(message) => {
                told.extend(message.events);
                version = message.version;
            }
            Err(status) => break status,
        }
    };
    assert_error(&status, Code::Aborted, "WATCH_TOO_SLOW", None);
    assert!(told.len() < versions.len());
    let rest = v1::WatchRequest {
        after_version: Some(version),
        ..request
    };
    let mut stream = watch(&mut watches, rest).await.unwrap();
    told.extend(until(&mut stream, *versions.last().unwrap()).await);
    assert!(by_version(told).keys().eq(&versions));
}

#[tokio::test]
async fn a_server_that_stops_ends_its_watches_at_once() {
    let server = user_keys().set("server.drain_timeout", "10m").start().await;
    let mut watches = watches(&server).await;
    let mut stream = watch(&mut watches, v1::WatchRequest::default())
        .await
        .unwrap();
    let stopped = tokio::spawn(async move { server.stop().await });
    let status = end_of(&mut stream).await;
    assert_error(&status, Code::Unavailable, "SERVER_STOPPING", None);
    drop((stream, watches));
    stopped.await.unwrap();
}

#[tokio::test]
async fn a_shard_that_is_opened_anew_ends_a_watch_that_can_go_on() {
    let server = user_keys()
        .set("storage.shards", "2")
        .fail_points("shard::commit::000=20*off->1*panic->off")
        .start()
        .await;
    let (mut client, mut watches) = (client(&server).await, watches(&server).await);
    let mut stream = watch(&mut watches, after(0)).await.unwrap();
    let mut answered = Vec::new();
    let mut told = Vec::new();
    let mut version = 0;
    for number in 0..200 {
        if let Ok(done) = client.put(put_of(format!("key-{number}"), "x")).await {
            answered.push(done.into_inner().version);
        }
    }
    let status = loop {
        match next(&mut stream).await {
            Ok(message) => {
                told.extend(message.events);
                version = message.version;
            }
            Err(status) => break status,
        }
    };
    assert_error(&status, Code::Unavailable, "SHARD_OPENING", None);
    let last = loop {
        if let Ok(done) = client.put(put_of("last", "x")).await {
            break done.into_inner().version;
        }
    };
    answered.push(last);
    let mut stream = loop {
        match watch(&mut watches, after(version)).await {
            Ok(stream) => break stream,
            Err(status) => assert_eq!(status.code(), Code::Unavailable),
        }
    };
    told.extend(until(&mut stream, last).await);
    let told = by_version(told);
    assert!(answered.iter().all(|version| told.contains_key(version)));
}

#[tokio::test]
async fn what_is_wrong_with_a_watch_is_said_with_its_field() {
    let server = user_keys().start().await;
    let mut watches = watches(&server).await;
    let refused = watch(&mut watches, after(1)).await.unwrap_err();
    let field = Some("after_version");
    assert_error(&refused, Code::InvalidArgument, "WATCH_AHEAD", field);
    for (seconds, nanos) in [(0, 0), (-1, 0), (3601, 0)] {
        let request = v1::WatchRequest {
            progress_interval: Some(prost_types::Duration { seconds, nanos }),
            ..v1::WatchRequest::default()
        };
        let refused = watch(&mut watches, request).await.unwrap_err();
        let field = Some("progress_interval");
        assert_error(
            &refused,
            Code::InvalidArgument,
            "PROGRESS_INTERVAL_RANGE",
            field,
        );
    }
    let elsewhere = v1::WatchRequest {
        namespace: "elsewhere".to_owned(),
        ..v1::WatchRequest::default()
    };
    let refused = watch(&mut watches, elsewhere).await.unwrap_err();
    assert_error(&refused, Code::NotFound, "NAMESPACE_NOT_FOUND", None);
}

/// Namespaces take versions too, and a snapshot names the last: a watch of an idle store gets there.
#[tokio::test]
async fn a_watch_comes_to_the_version_of_a_snapshot_although_no_key_changes() {
    let server = user_keys().set("storage.shards", "3").start().await;
    let (mut client, mut watches) = (client(&server).await, watches(&server).await);
    let first = put(&mut client, "k", "value").await;
    let soon = v1::WatchRequest {
        progress_interval: Some(prost_types::Duration {
            seconds: 0,
            nanos: 100_000_000,
        }),
        ..after(first)
    };
    let mut stream = watch(&mut watches, soon).await.unwrap();
    let mut namespaces =
        v1::namespace_service_client::NamespaceServiceClient::new(server.channel().await);
    for name in ["one", "two"] {
        let made = namespaces.create_namespace(v1::CreateNamespaceRequest {
            name: name.to_owned(),
            options: None,
        });
        let version = made.await.unwrap().into_inner().version;
        assert!(version > first);
        assert_eq!(until(&mut stream, version).await, []);
        assert_eq!(version_now(&server).await, version);
    }
    let mut again = watch(&mut watches, after(first)).await.unwrap();
    let next_put = put(&mut client, "next", "value").await;
    let events = until(&mut again, next_put).await;
    assert_eq!(
        events.iter().map(seen).collect::<Vec<_>>(),
        [put_event("next", next_put)]
    );
}

/// A change may be shown between the moment when a watch looks how far the versions are and the moment
/// when it reads the logs, which watches do when they begin.
#[tokio::test]
async fn a_watch_that_begins_is_told_of_the_one_change_that_comes_meanwhile() {
    let server = user_keys().set("storage.shards", "2").start().await;
    let (mut client, mut watches) = (client(&server).await, watches(&server).await);
    for round in 0..200 {
        let mut streams = Vec::new();
        for _ in 0..20 {
            let now = v1::WatchRequest::default();
            streams.push(watch(&mut watches, now).await.unwrap());
        }
        let version = put(&mut client, format!("key-{round}"), "value").await;
        for stream in &mut streams {
            let told = until(stream, version).await;
            let expected = put_event(&format!("key-{round}"), version);
            assert_eq!(told.iter().map(seen).collect::<Vec<_>>(), [expected]);
        }
    }
}
