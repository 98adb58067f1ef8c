//! Snapshots: what they show, how long they are held, and what they keep.

use crate::call::{Client, assert_error, client, get, get_of, put, put_of, user_keys};
use crate::support::{PATIENCE, Server, command_of, noise};
use bytes::Bytes;
use shardkeep::proto::v1;
use shardkeep::proto::v1::snapshot_service_client::SnapshotServiceClient;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Status};

type Snapshots = SnapshotServiceClient<Channel>;

const KEYS: u64 = 60;
/// Between two looks at what takes its time.
const PAUSE: Duration = Duration::from_millis(20);

async fn snapshots(server: &Server) -> Snapshots {
    SnapshotServiceClient::new(server.channel().await)
}

fn lease_of(seconds: i64) -> v1::CreateSnapshotRequest {
    let lease = Some(prost_types::Duration { seconds, nanos: 0 });
    v1::CreateSnapshotRequest { lease }
}

async fn take(snapshots: &mut Snapshots, seconds: i64) -> v1::Snapshot {
    let taken = snapshots.create_snapshot(lease_of(seconds)).await;
    taken.unwrap().into_inner()
}

/// Small values, values in their own records, and contents in another shard.
fn value_of(number: u64, generation: u64) -> Vec<u8> {
    let size = [10, 3000, 70_000][(number % 3) as usize];
    noise(number + 1000 * generation, size)
}

async fn fill(client: &mut Client, generation: u64) -> BTreeMap<Bytes, Bytes> {
    let mut model = BTreeMap::new();
    for number in 0..KEYS {
        let (key, value) = (format!("key-{number:03}"), value_of(number, generation));
        put(client, key.clone(), value.clone()).await;
        model.insert(key.into(), value.into());
    }
    model
}

async fn get_at(client: &mut Client, key: &Bytes, snapshot: &str) -> Result<Bytes, Status> {
    let request = v1::GetRequest {
        snapshot: snapshot.to_owned(),
        ..get_of(key.clone())
    };
    Ok(client.get(request).await?.into_inner().value)
}

/// Every way to read shows exactly this.
async fn assert_shows(client: &mut Client, snapshot: &str, model: &BTreeMap<Bytes, Bytes>) {
    let snapshot = snapshot.to_owned();
    for (key, value) in model {
        assert_eq!(get_at(client, key, &snapshot).await.unwrap(), value);
        let head = v1::HeadRequest {
            key: key.clone(),
            snapshot: snapshot.clone(),
            ..v1::HeadRequest::default()
        };
        let head = client.head(head).await.unwrap().into_inner().entry.unwrap();
        assert_eq!(head.digest, blake3::hash(value).as_bytes()[..]);
    }
    let many = v1::BatchGetRequest {
        keys: model.keys().cloned().collect(),
        snapshot: snapshot.clone(),
        ..v1::BatchGetRequest::default()
    };
    let many = client.batch_get(many).await.unwrap().into_inner().results;
    assert!(many.iter().map(|it| &it.value).eq(model.values()));
    let mut page = v1::ScanRequest {
        page_size: 7,
        snapshot: snapshot.clone(),
        ..v1::ScanRequest::default()
    };
    let mut paged = BTreeMap::new();
    loop {
        let found = client.scan(page.clone()).await.unwrap().into_inner();
        let results = found.results.into_iter();
        paged.extend(results.map(|it| (it.entry.unwrap().key, it.value)));
        page.page_token = found.next_page_token;
        if page.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(&paged, model);
    let stream = v1::StreamScanRequest {
        snapshot,
        ..v1::StreamScanRequest::default()
    };
    let mut stream = client.stream_scan(stream).await.unwrap().into_inner();
    let mut streamed = BTreeMap::new();
    while let Some(message) = stream.message().await.unwrap() {
        let results = message.results.into_iter();
        streamed.extend(results.map(|it| (it.entry.unwrap().key, it.value)));
    }
    assert_eq!(&streamed, model);
}

async fn gc(server: &Server) {
    let mut admin = server.client().await;
    // One that runs already is as good.
    admin.admin(command_of("gc", "")).await.unwrap();
}

fn log_bytes(server: &Server) -> u64 {
    let shards = std::fs::read_dir(server.data_dir().join("shards")).unwrap();
    let logs = shards.map(|it| it.unwrap().path().join("log"));
    let segments = logs.flat_map(|log| std::fs::read_dir(log).unwrap());
    // A segment may go between its name and its size.
    segments
        .filter_map(|it| Some(it.unwrap().metadata().ok()?.len()))
        .sum()
}

#[tokio::test]
async fn a_snapshot_shows_what_was_there_whatever_comes_after() {
    let quick = user_keys()
        .set("storage.shards", "3")
        .set("dedup.grace", "0s")
        .set("server.max_upload_size", "1 MiB")
        .set("storage.segment_size", "2 MiB");
    let server = quick.start().await;
    let (mut client, mut snapshots) = (client(&server).await, snapshots(&server).await);
    let first = fill(&mut client, 1).await;
    let snapshot = take(&mut snapshots, 600).await;
    let second = fill(&mut client, 2).await;
    put(&mut client, "later", "x").await;
    let deleted = v1::DeleteRequest {
        key: "key-005".into(),
        ..v1::DeleteRequest::default()
    };
    client.delete(deleted).await.unwrap();
    for _ in 0..3 {
        gc(&server).await;
    }
    assert_shows(&mut client, &snapshot.id, &first).await;
    let later = get_at(&mut client, &"later".into(), &snapshot.id).await;
    assert_error(&later.unwrap_err(), Code::NotFound, "KEY_NOT_FOUND", None);
    // What is there now is another thing.
    assert_eq!(
        get(&mut client, "key-001").await.unwrap(),
        second[&Bytes::from("key-001")]
    );
    assert_eq!(get(&mut client, "key-005").await, None);
    let newer = take(&mut snapshots, 600).await;
    assert!(newer.version > snapshot.version);
    let listed = snapshots.list_snapshots(v1::ListSnapshotsRequest {}).await;
    assert_eq!(listed.unwrap().into_inner().snapshots, [snapshot, newer]);
}

#[tokio::test]
async fn a_forgotten_snapshot_expires_and_frees_its_space() {
    let quick = user_keys()
        .set("dedup.grace", "0s")
        .set("server.max_upload_size", "1 MiB")
        .set("storage.segment_size", "2 MiB");
    let server = quick.start().await;
    let (mut client, mut snapshots) = (client(&server).await, snapshots(&server).await);
    let value = |number| noise(number, 900_000);
    for number in 0..8 {
        put(&mut client, "key", value(number)).await;
    }
    let renewed = take(&mut snapshots, 10).await;
    let renew = v1::RenewSnapshotRequest {
        id: renewed.id.clone(),
        lease: lease_of(600).lease,
    };
    let renewed = snapshots.renew_snapshot(renew).await.unwrap().into_inner();
    let forgotten = take(&mut snapshots, 10).await;
    for number in 8..12 {
        put(&mut client, "key", value(number)).await;
    }
    let key = Bytes::from("key");
    assert_eq!(
        get_at(&mut client, &key, &forgotten.id).await.unwrap(),
        value(7)
    );
    let gone = loop {
        match get_at(&mut client, &key, &forgotten.id).await {
            Ok(shown) => assert_eq!(shown, value(7)),
            Err(status) => break status,
        }
        tokio::time::sleep(PAUSE).await;
    };
    assert_error(&gone, Code::NotFound, "SNAPSHOT_NOT_FOUND", None);
    // The renewed one is held still, and what it shows.
    gc(&server).await;
    assert_eq!(
        get_at(&mut client, &key, &renewed.id).await.unwrap(),
        value(7)
    );
    let held = log_bytes(&server);
    let delete = v1::DeleteSnapshotRequest {
        id: renewed.id.clone(),
    };
    snapshots.delete_snapshot(delete.clone()).await.unwrap();
    let twice = snapshots.delete_snapshot(delete).await.unwrap_err();
    assert_error(&twice, Code::NotFound, "SNAPSHOT_NOT_FOUND", None);
    while log_bytes(&server) >= held {
        gc(&server).await;
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test]
async fn a_snapshot_does_not_hold_up_a_shard_that_must_be_opened_anew() {
    let server = user_keys()
        .set("storage.shards", "2")
        .fail_points("shard::commit::000=20*off->1*panic->off")
        .start()
        .await;
    let (mut client, mut snapshots) = (client(&server).await, snapshots(&server).await);
    put(&mut client, "before", "1").await;
    let snapshot = take(&mut snapshots, 600).await;
    for number in 0.. {
        let written = client.put(put_of(format!("key-{number}"), "x")).await;
        if written.is_err() {
            break;
        }
    }
    let mut number = 0;
    while client
        .put(put_of(format!("again-{number}"), "x"))
        .await
        .is_err()
        || number < 40
    {
        number += 1;
    }
    let gone = get_at(&mut client, &"before".into(), &snapshot.id).await;
    assert_error(
        &gone.unwrap_err(),
        Code::NotFound,
        "SNAPSHOT_NOT_FOUND",
        None,
    );
    assert_eq!(get(&mut client, "before").await.unwrap(), "1");
    // The shard may be on its way still, with its writes before it.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while let Err(status) = snapshots.create_snapshot(lease_of(600)).await {
        assert_error(&status, Code::Unavailable, "SHARD_OPENING", None);
        assert!(tokio::time::Instant::now() < deadline, "{status}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_snapshot_is_said_with_its_field() {
    let server = user_keys().start().await;
    let (mut client, mut snapshots) = (client(&server).await, snapshots(&server).await);
    for seconds in [0, -1, 3601] {
        let refused = snapshots.create_snapshot(lease_of(seconds)).await;
        let refused = refused.unwrap_err();
        assert_error(
            &refused,
            Code::InvalidArgument,
            "LEASE_RANGE",
            Some("lease"),
        );
    }
    let nobody = "00000000000000000000000000000001";
    for text in [
        "1",
        "+0000000000000000000000000000001",
        &format!("{nobody}0"),
    ] {
        let refused = get_at(&mut client, &"key".into(), text).await.unwrap_err();
        let field = Some("snapshot");
        assert_error(&refused, Code::InvalidArgument, "SNAPSHOT_MALFORMED", field);
    }
    let refused = get_at(&mut client, &"key".into(), nobody).await;
    assert_error(
        &refused.unwrap_err(),
        Code::NotFound,
        "SNAPSHOT_NOT_FOUND",
        None,
    );
    for _ in 0..1000 {
        take(&mut snapshots, 600).await;
    }
    let refused = snapshots.create_snapshot(lease_of(600)).await.unwrap_err();
    assert_error(
        &refused,
        Code::ResourceExhausted,
        "TOO_MANY_SNAPSHOTS",
        None,
    );
}
