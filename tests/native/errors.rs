//! Errors of the table that say what to do next: brought about in a real server, with their code,
//! reason, field, and when another try is worth it. Errors of bad input stand with their calls.

use crate::blobs::{MIB, blobs, header_of, upload};
use crate::call::{Client, admin, assert_error, client, get_of, put, put_of, user_keys};
use crate::support::{Builder, PATIENCE, Server, SmallDisk, noise};
use shardkeep::codec::slot_of;
use shardkeep::model::ShardId;
use shardkeep::proto::v1;
use shardkeep::proto::v1::backup_service_client::BackupServiceClient;
use shardkeep::proto::v1::blob_service_client::BlobServiceClient;
use shardkeep::proto::v1::operation::Change;
use shardkeep::proto::v1::transaction_service_client::TransactionServiceClient;
use shardkeep::proto::v1::upload_request::Part;
use shardkeep::proto::v1::watch_service_client::WatchServiceClient;
use shardkeep::shard::Homes;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;
use xxhash_rust::xxh3::xxh3_64;

/// What comes back by itself, in moments.
pub const SOON: Option<Duration> = Some(Duration::from_millis(100));
/// What somebody has to make room for.
const LATER: Option<Duration> = Some(Duration::from_secs(5));

/// An error without a field: its code and reason, and after how long another try is worth it.
pub fn assert_told(status: &Status, code: Code, reason: &str, retry: Option<Duration>) {
    assert_error(status, code, reason, None);
    let details = status.get_error_details();
    let told = details.retry_info().and_then(|info| info.retry_delay);
    assert_eq!(told, retry, "{status:?}");
}

/// A key that lives in a shard of two.
fn key_in(shard: u16) -> String {
    key_of_shard(shard, 2)
}

/// A key that lives in a shard of so many.
pub fn key_of_shard(shard: u16, shards: u16) -> String {
    let homes = Homes::even(shards);
    let is_here = |key: &String| homes.shard_of(slot_of(key.as_bytes())) == ShardId(shard);
    let mut keys = (0..).map(|number| format!("key-{number}"));
    keys.find(is_here).unwrap()
}

/// A connection that takes little of each stream before somebody looks.
async fn narrow(server: &Server) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address())).unwrap();
    let endpoint = endpoint.initial_stream_window_size(64 << 10);
    endpoint.connect().await.unwrap()
}

/// What ends a stream of which nothing is taken for longer and longer, until it is cut.
async fn cut_off<T>(mut ask: impl AsyncFnMut() -> Streaming<T>) -> Status {
    let mut wait = Duration::from_secs(2);
    loop {
        let mut slow = ask().await;
        tokio::time::sleep(wait).await;
        loop {
            match slow.message().await {
                Ok(Some(_told)) => {}
                Ok(None) => break,
                Err(status) => return status,
            }
        }
        wait *= 2;
        assert!(wait < PATIENCE, "nobody is cut off");
    }
}

fn impatient() -> Builder {
    user_keys().set("server.keepalive_timeout", "1s")
}

#[tokio::test]
async fn whoever_calls_before_the_store_is_open_is_told_to_come_again() {
    let data_dir = tempfile::tempdir().unwrap();
    let ours = || user_keys().data_dir(data_dir.path());
    let mut before = ours().start().await;
    put(&mut client(&before).await, "k", "1").await;
    before.kill();
    let starting = ours()
        .fail_points("shard::open::000=1*sleep(10000)")
        .launch();
    let address = starting.listening().await;
    let mut early = Client::connect(format!("http://{address}")).await.unwrap();
    let told = early.get(get_of("k")).await.unwrap_err();
    assert_told(&told, Code::Unavailable, "STORE_RECOVERING", SOON);
    let _open = starting.ready().await;
    let found = early.get(get_of("k")).await.unwrap();
    assert_eq!(found.into_inner().value, "1");
}

#[tokio::test]
async fn a_backup_that_fills_its_disk_leaves_nothing_and_says_what_to_do() {
    let Some(disk) = SmallDisk::mount(16) else {
        return;
    };
    let root = disk.path().join("root");
    let server = user_keys()
        .set("backup.dir", root.as_os_str())
        .start()
        .await;
    let mut client = client(&server).await;
    for number in 0..24 {
        put(&mut client, format!("k-{number}"), noise(number, MIB)).await;
    }
    let mut backups = BackupServiceClient::new(server.channel().await);
    let request = v1::CreateBackupRequest {
        path: "full".to_owned(),
        since_version: 0,
    };
    let mut events = backups
        .create_backup(admin(request))
        .await
        .unwrap()
        .into_inner();
    let full = loop {
        match events.message().await {
            Ok(Some(_progress)) => {}
            Ok(None) => panic!("24 MiB went onto a disk of 16"),
            Err(status) => break status,
        }
    };
    assert_told(&full, Code::ResourceExhausted, "BACKUP_DISK_FULL", LATER);
    assert!(full.message().contains("make room there"), "{full:?}");
    let left: Vec<_> = std::fs::read_dir(&root).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    drop(server);
}

#[tokio::test]
async fn a_full_disk_is_told_with_when_to_come_back() {
    let server = user_keys().fail_points("log::reserve=return").start().await;
    let mut client = client(&server).await;
    let full = client.put(put_of("k", "1")).await.unwrap_err();
    assert_told(&full, Code::ResourceExhausted, "DISK_FULL", LATER);
    let nothing = client.get(get_of("k")).await.unwrap_err();
    assert_told(&nothing, Code::NotFound, "KEY_NOT_FOUND", None);
}

#[tokio::test]
async fn a_shard_that_fails_too_often_is_told_to_be_down() {
    let server = user_keys()
        .set("storage.shards", "2")
        .set("supervise.restart_budget", "1")
        .fail_points("shard::commit::001=panic")
        .start()
        .await;
    let mut client = client(&server).await;
    let deadline = Instant::now() + PATIENCE;
    let down = loop {
        let refused = client.put(put_of(key_in(1), "1")).await.unwrap_err();
        let details = refused.get_error_details();
        match details.error_info().map(|info| info.reason.as_str()) {
            Some("SHARD_DOWN") => break refused,
            // What may have been done is to be looked at first, and not only to be sent again.
            Some("OUTCOME_UNKNOWN") => {
                assert_told(&refused, Code::Unavailable, "OUTCOME_UNKNOWN", None);
            }
            _ => assert_told(&refused, Code::Unavailable, "SHARD_OPENING", SOON),
        }
        assert!(Instant::now() < deadline, "{refused:?}");
    };
    assert_told(&down, Code::Unavailable, "SHARD_DOWN", SOON);
    put(&mut client, key_in(0), "1").await;
}

#[tokio::test]
async fn a_commit_whose_shards_do_not_come_in_time_changes_nothing_and_may_be_sent_again() {
    // Longer than a batch waits for its shards.
    let server = user_keys()
        .set("storage.shards", "2")
        .fail_points("transaction::begun=2*sleep(11000)->off")
        .start()
        .await;
    let mut commits = TransactionServiceClient::new(server.channel().await);
    let put = |key: String| v1::Operation {
        key: key.into(),
        change: Some(Change::Put(v1::PutOperation::default())),
    };
    let commit = v1::CommitRequest {
        operations: vec![put(key_in(0)), put(key_in(1))],
        ..v1::CommitRequest::default()
    };
    let late = commits.commit(commit.clone()).await.unwrap_err();
    assert_told(&late, Code::Unavailable, "BATCH_TIMEOUT", SOON);
    let mut client = client(&server).await;
    let nothing = client.get(get_of(key_in(0))).await.unwrap_err();
    assert_told(&nothing, Code::NotFound, "KEY_NOT_FOUND", None);
    commits.commit(commit).await.unwrap();
}

#[tokio::test]
async fn an_upload_that_stands_still_is_cut_and_one_too_many_is_put_off() {
    let server = user_keys()
        .set("server.request_timeout", "2s")
        .set("admission.bytes_in_flight", "40 MiB")
        .start()
        .await;
    let mut blobs = blobs(&server).await;
    let begin = |blobs: &BlobServiceClient<Channel>| {
        let (sender, sent) = mpsc::channel(2);
        let header = v1::UploadRequest {
            part: Some(Part::Header(header_of("k"))),
        };
        sender.try_send(header).unwrap();
        let mut blobs = blobs.clone();
        let call = async move { blobs.upload(ReceiverStream::new(sent)).await.unwrap_err() };
        (sender, tokio::spawn(call))
    };
    let (_sender, first) = begin(&blobs);
    let stalled = first.await.unwrap();
    assert_told(&stalled, Code::DeadlineExceeded, "UPLOAD_STALLED", None);
    // The room of an upload is taken until it ends: there is none for as many as this.
    let uploads: Vec<_> = (0..40).map(|_| begin(&blobs)).collect();
    let mut put_off = 0;
    for (_sender, call) in uploads {
        let refused = call.await.unwrap();
        if refused.code() == Code::ResourceExhausted {
            assert_told(
                &refused,
                Code::ResourceExhausted,
                "TOO_MUCH_IN_FLIGHT",
                SOON,
            );
            put_off += 1;
        }
    }
    assert!(put_off > 0);
    upload(&mut blobs, "k", &noise(1, 1000)).await;
}

#[tokio::test]
async fn a_peer_that_takes_nothing_of_a_download_or_a_scan_is_cut_off() {
    let server = impatient().start().await;
    upload(&mut blobs(&server).await, "film", &noise(1, 20 * MIB)).await;
    let mut values = client(&server).await;
    for number in 0..20 {
        put(&mut values, format!("k-{number:02}"), noise(number, MIB)).await;
    }
    let mut slow = BlobServiceClient::new(narrow(&server).await);
    let download = v1::DownloadRequest {
        key: "film".into(),
        ..v1::DownloadRequest::default()
    };
    let cut = cut_off(async || slow.download(download.clone()).await.unwrap().into_inner());
    assert_told(&cut.await, Code::Aborted, "DOWNLOAD_TOO_SLOW", None);
    let mut slow = Client::new(narrow(&server).await);
    let scan = v1::StreamScanRequest {
        selection: Some(v1::KeySelection {
            prefix: "k-".into(),
            ..v1::KeySelection::default()
        }),
        ..v1::StreamScanRequest::default()
    };
    let cut = cut_off(async || slow.stream_scan(scan.clone()).await.unwrap().into_inner());
    assert_told(&cut.await, Code::Aborted, "SCAN_TOO_SLOW", None);
}

#[tokio::test]
async fn a_watch_too_many_is_refused_until_another_ends() {
    let server = user_keys().start().await;
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut watches = WatchServiceClient::new(server.channel().await);
        for _ in 0..200 {
            let watch = watches.watch(v1::WatchRequest::default()).await;
            open.push(watch.unwrap());
        }
    }
    let mut watches = WatchServiceClient::new(server.channel().await);
    let refused = watches.watch(v1::WatchRequest::default()).await;
    let refused = refused.unwrap_err();
    assert_told(&refused, Code::ResourceExhausted, "TOO_MANY_WATCHES", SOON);
    open.pop();
    let deadline = Instant::now() + PATIENCE;
    while let Err(refused) = watches.watch(v1::WatchRequest::default()).await {
        assert_told(&refused, Code::ResourceExhausted, "TOO_MANY_WATCHES", SOON);
        assert!(Instant::now() < deadline, "no watch has ended");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_file_that_is_no_backup_and_one_of_a_newer_format_are_told_apart() {
    /// Where the header has its format, and its checksum (see FORMAT.md of backups).
    const FORMAT_AT: usize = 8;
    const SUM_AT: usize = 88;
    let server = user_keys().start().await;
    put(&mut client(&server).await, "k", "1").await;
    let mut backups = BackupServiceClient::new(server.channel().await);
    let request = v1::CreateBackupRequest {
        path: "newer".to_owned(),
        since_version: 0,
    };
    let mut events = backups
        .create_backup(admin(request))
        .await
        .unwrap()
        .into_inner();
    while events.message().await.unwrap().is_some() {}
    let root = server.data_dir().join("backups");
    let found = std::fs::read_dir(&root).unwrap();
    let newer = found
        .map(|it| it.unwrap().path())
        .find(|it| it.is_file())
        .unwrap();
    let mut header = std::fs::read(&newer).unwrap()[..SUM_AT].to_vec();
    header[FORMAT_AT..FORMAT_AT + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let sum = xxh3_64(&header).to_le_bytes();
    let file = std::fs::File::options().write(true).open(&newer).unwrap();
    file.write_all_at(&[&header[..], &sum[..]].concat(), 0)
        .unwrap();
    std::fs::write(root.join("foreign.bak"), "this is not a backup").unwrap();
    let newer = newer.file_name().unwrap().to_str().unwrap();
    for (path, reason) in [
        ("foreign.bak", "BACKUP_FOREIGN"),
        (newer, "BACKUP_NEWER_FORMAT"),
    ] {
        let path = path.to_owned();
        let check = backups.verify_backup(admin(v1::VerifyBackupRequest { path }));
        let told = match check.await {
            Ok(events) => events.into_inner().message().await.unwrap_err(),
            Err(status) => status,
        };
        assert_error(&told, Code::InvalidArgument, reason, Some("path"));
        assert!(told.get_error_details().retry_info().is_none());
    }
}

#[tokio::test]
async fn a_damaged_value_is_data_loss_and_the_others_are_read() {
    let server = user_keys()
        .set("storage.shards", "1")
        .set("dedup.min_size", "128 KiB")
        .start()
        .await;
    let mut client = client(&server).await;
    for number in 0..3 {
        put(&mut client, format!("key-{number}"), noise(number, 60_000)).await;
    }
    let segment = server.data_dir().join("shards/000/log/00000001.seg");
    let file = std::fs::File::options().write(true).open(&segment).unwrap();
    // Within the second of them.
    file.write_all_at(b"damage", 100_000).unwrap();
    let lost = client.get(get_of("key-1")).await.unwrap_err();
    assert_told(&lost, Code::DataLoss, "DATA_DAMAGED", None);
    let many = v1::BatchGetRequest {
        keys: vec!["key-0".into(), "key-1".into()],
        range: Some(v1::ByteRange::default()),
        ..v1::BatchGetRequest::default()
    };
    let lost = client.batch_get(many).await.unwrap_err();
    assert_told(&lost, Code::DataLoss, "DATA_DAMAGED", None);
    for number in [0, 2] {
        let found = client.get(get_of(format!("key-{number}"))).await.unwrap();
        assert_eq!(found.into_inner().value, noise(number, 60_000));
    }
}
