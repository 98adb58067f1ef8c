//! Upload and Download.

use crate::call::{assert_error, client, get_of, only_if, put, user_keys};
use crate::support::{PATIENCE, Server, http2, noise};
use bytes::Bytes;
use shardkeep::proto::v1;
use shardkeep::proto::v1::admin_service_client::AdminServiceClient;
use shardkeep::proto::v1::blob_service_client::BlobServiceClient;
use shardkeep::proto::v1::condition::Requirement::Absent;
use shardkeep::proto::v1::download_response::Part as Sent;
use shardkeep::proto::v1::upload_request::Part;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};
use xxhash_rust::xxh64::xxh64;

pub type Blobs = BlobServiceClient<Channel>;

pub const MIB: usize = 1 << 20;

pub async fn blobs(server: &Server) -> Blobs {
    BlobServiceClient::new(server.channel().await)
}

/// Waits until contents of so many bytes are there.
async fn has_stored(server: &Server, bytes: usize) {
    let mut admin = AdminServiceClient::new(server.channel().await);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stats = admin.get_stats(v1::GetStatsRequest {}).await.unwrap();
        let stored = stats.into_inner().store.unwrap().unique_bytes;
        if stored >= bytes as u64 {
            return;
        }
        assert!(Instant::now() < deadline, "{stored} of {bytes} bytes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn header_of(key: &str) -> v1::UploadHeader {
    v1::UploadHeader {
        key: Bytes::copy_from_slice(key.as_bytes()),
        ..v1::UploadHeader::default()
    }
}

fn message(part: Part) -> v1::UploadRequest {
    v1::UploadRequest { part: Some(part) }
}

/// A header, and the value in messages of 1 MiB.
pub fn messages(header: v1::UploadHeader, value: &[u8]) -> Vec<v1::UploadRequest> {
    let data = value
        .chunks(MIB)
        .map(|piece| message(Part::Data(Bytes::copy_from_slice(piece))));
    [message(Part::Header(header))]
        .into_iter()
        .chain(data)
        .collect()
}

pub async fn send(
    blobs: &mut Blobs,
    messages: Vec<v1::UploadRequest>,
) -> Result<v1::UploadResponse, Status> {
    let sent = blobs.upload(tokio_stream::iter(messages)).await?;
    Ok(sent.into_inner())
}

pub async fn upload(blobs: &mut Blobs, key: &str, value: &[u8]) -> v1::UploadResponse {
    send(blobs, messages(header_of(key), value)).await.unwrap()
}

pub async fn download(
    blobs: &mut Blobs,
    request: v1::DownloadRequest,
) -> Result<(v1::Entry, Vec<u8>), Status> {
    let mut stream = blobs.download(request).await?.into_inner();
    let first = stream.message().await?.unwrap();
    let Some(Sent::Entry(entry)) = first.part else {
        panic!("{first:?}");
    };
    let mut value = Vec::new();
    while let Some(message) = stream.message().await? {
        let Some(Sent::Data(data)) = message.part else {
            panic!("a second entry");
        };
        assert!(!data.is_empty() && data.len() <= MIB);
        value.extend_from_slice(&data);
    }
    Ok((entry, value))
}

pub fn download_of(key: &str) -> v1::DownloadRequest {
    v1::DownloadRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        ..v1::DownloadRequest::default()
    }
}

#[tokio::test]
async fn values_of_any_size_come_back_whole_and_in_part() {
    let server = user_keys().set("storage.shards", "3").start().await;
    let mut blobs = blobs(&server).await;
    let mut client = client(&server).await;
    for size in [0, 1, 5000, MIB, 8 * MIB, 8 * MIB + 1, 20 * MIB] {
        let value = noise(size as u64 + 7, size);
        let key = format!("key-{size}");
        let header = v1::UploadHeader {
            size: Some(size as u64),
            sum64: Some(xxh64(&value, 0)),
            digest: Bytes::copy_from_slice(blake3::hash(&value).as_bytes()),
            value_type: v1::ValueType::Bytes.into(),
            ..header_of(&key)
        };
        let done = send(&mut blobs, messages(header, &value)).await.unwrap();
        let done_put = done.put.unwrap();
        assert_eq!((done.size, done.sum64), (size as u64, xxh64(&value, 0)));
        assert_eq!(done.new_bytes, size as u64);
        assert_eq!(done_put.digest, blake3::hash(&value).as_bytes()[..]);
        let (entry, read) = download(&mut blobs, download_of(&key)).await.unwrap();
        assert!(read == value, "{key}");
        assert_eq!((entry.size, entry.version), (size as u64, done_put.version));
        assert_eq!(entry.value_type(), v1::ValueType::Bytes);
        let head = v1::HeadRequest {
            key: key.clone().into(),
            ..v1::HeadRequest::default()
        };
        let head = client.head(head).await.unwrap().into_inner();
        assert_eq!(head.entry.unwrap(), entry);
        let range = Some(v1::ByteRange {
            offset: size as u64 / 2,
            length: 3 * MIB as u64,
        });
        let part = v1::DownloadRequest {
            range,
            ..download_of(&key)
        };
        let (_, part) = download(&mut blobs, part).await.unwrap();
        let end = size.min(size / 2 + 3 * MIB);
        assert!(part == value[size / 2..end], "{key}");
        let part = v1::GetRequest {
            range,
            ..get_of(key.clone())
        };
        let part = client.get(part).await.unwrap().into_inner();
        assert!(part.value == value[size / 2..end], "{key}");
    }
    let refused = client.get(get_of(format!("key-{}", 20 * MIB))).await;
    let refused = refused.unwrap_err();
    assert_error(
        &refused,
        Code::InvalidArgument,
        "VALUE_NEEDS_DOWNLOAD",
        None,
    );
    let nothing = download(&mut blobs, download_of("nothing")).await;
    assert_error(&nothing.unwrap_err(), Code::NotFound, "KEY_NOT_FOUND", None);
}

#[tokio::test]
async fn a_version_with_something_inserted_stores_little_more() {
    let server = user_keys().set("storage.shards", "2").start().await;
    let mut blobs = blobs(&server).await;
    let mut value = noise(1, 24 * MIB);
    upload(&mut blobs, "first", &value).await;
    let middle = value.len() / 2 + 4321;
    value.splice(middle..middle, noise(2, MIB));
    let done = upload(&mut blobs, "second", &value).await;
    assert!(done.new_bytes < 4 * MIB as u64, "{}", done.new_bytes);
    let again = upload(&mut blobs, "third", &value).await;
    assert_eq!(again.new_bytes, 0);
    assert!(again.put.unwrap().deduplicated);
    let (_, read) = download(&mut blobs, download_of("second")).await.unwrap();
    assert!(read == value);
}

#[tokio::test]
async fn a_stream_that_breaks_off_stores_nothing_and_goes_on_where_it_was() {
    let server = user_keys().set("storage.shards", "2").start().await;
    let mut blobs = blobs(&server).await;
    let value = noise(3, 30 * MIB);
    let all = messages(header_of("key"), &value);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let mut own = blobs.clone();
    let cut = tokio::spawn(async move { own.upload(ReceiverStream::new(receiver)).await });
    for message in &all[..26] {
        sender.send(message.clone()).await.unwrap();
    }
    has_stored(&server, 11 * MIB).await;
    cut.abort();
    assert!(cut.await.is_err());
    let nothing = download(&mut blobs, download_of("key")).await;
    assert_error(&nothing.unwrap_err(), Code::NotFound, "KEY_NOT_FOUND", None);
    let done = send(&mut blobs, all).await.unwrap();
    assert!(done.new_bytes < 20 * MIB as u64, "{}", done.new_bytes);
    let (_, read) = download(&mut blobs, download_of("key")).await.unwrap();
    assert!(read == value);
}

/// A value whose size nobody has said ends where the client ends the stream, and nowhere else.
#[tokio::test]
async fn an_upload_that_is_taken_back_is_no_shorter_value() {
    /// RFC 9113, section 7.
    const REASONS: [(&str, u32); 3] = [("no error", 0), ("internal error", 2), ("cancel", 8)];
    let dir = tempfile::tempdir().unwrap();
    let start = || user_keys().data_dir(dir.path()).start();
    let server = start().await;
    for (name, reason) in REASONS {
        for waits in [false, true].repeat(25) {
            let header = message(Part::Header(header_of(&format!("{name} {waits}"))));
            let data = message(Part::Data(noise(1, 5_000).into()));
            let mut frames = http2::headers(1, "/shardkeep.v1.BlobService/Upload", &[]);
            for message in [header, data] {
                let message = http2::grpc_message(&message);
                frames.extend(http2::frame(http2::DATA, 0, 1, &message));
            }
            let mut stream = http2::connect(server.address(), &[]).await;
            if waits {
                stream.write_all(&frames).await.unwrap();
                http2::seen(&mut stream).await;
                frames.clear();
            }
            frames.extend(http2::frame(http2::RST_STREAM, 0, 1, &reason.to_be_bytes()));
            stream.write_all(&frames).await.unwrap();
            http2::seen(&mut stream).await;
        }
    }
    // What was begun is done when the server has ended.
    server.stop().await;
    let server = start().await;
    let scan = v1::ScanRequest::default();
    let found = client(&server).await.scan(scan).await.unwrap().into_inner();
    let keys: Vec<_> = found
        .results
        .into_iter()
        .filter_map(|it| it.entry)
        .collect();
    assert_eq!(keys, []);
}

#[tokio::test]
async fn what_is_not_what_its_header_says_is_refused() {
    let server = user_keys()
        .set("server.max_value_size", "10 MiB")
        .start()
        .await;
    let mut blobs = blobs(&server).await;
    let value = noise(4, 9 * MIB);
    let mut refused = async |header: v1::UploadHeader, value: &[u8], reason, field| {
        let refused = send(&mut blobs, messages(header, value)).await;
        assert_error(&refused.unwrap_err(), Code::InvalidArgument, reason, field);
    };
    for value in [&value[..], b"small"] {
        let header = v1::UploadHeader {
            size: Some(7),
            ..header_of("k")
        };
        refused(header, value, "SIZE_MISMATCH", Some("header.size")).await;
        let header = v1::UploadHeader {
            sum64: Some(7),
            ..header_of("k")
        };
        refused(header, value, "SUM64_MISMATCH", Some("header.sum64")).await;
        let header = v1::UploadHeader {
            digest: Bytes::from_static(&[7; 32]),
            ..header_of("k")
        };
        refused(header, value, "DIGEST_MISMATCH", Some("header.digest")).await;
    }
    refused(header_of(""), b"", "KEY_EMPTY", Some("header.key")).await;
    let large = noise(5, 11 * MIB);
    refused(header_of("k"), &large, "VALUE_TOO_LARGE", Some("value")).await;
    let order = vec![message(Part::Data(Bytes::from_static(b"data")))];
    let error = send(&mut blobs, order).await.unwrap_err();
    assert_error(&error, Code::InvalidArgument, "UPLOAD_ORDER", Some("part"));
    let header = || message(Part::Header(header_of("k")));
    let error = send(&mut blobs, vec![header(), header()])
        .await
        .unwrap_err();
    assert_error(&error, Code::InvalidArgument, "UPLOAD_ORDER", Some("part"));
    let long = vec![header(), message(Part::Data(vec![0; MIB + 1].into()))];
    let error = send(&mut blobs, long).await.unwrap_err();
    assert_error(&error, Code::InvalidArgument, "DATA_SIZE", Some("data"));
    let nothing = download(&mut blobs, download_of("k")).await.unwrap_err();
    assert_error(&nothing, Code::NotFound, "KEY_NOT_FOUND", None);
    let mut client = client(&server).await;
    put(&mut client, "k", "there").await;
    for value in [&value[..], b"small"] {
        let header = v1::UploadHeader {
            condition: only_if(Absent(true)),
            ..header_of("k")
        };
        let refused = send(&mut blobs, messages(header, value)).await;
        let refused = refused.unwrap_err();
        assert_error(&refused, Code::AlreadyExists, "KEY_EXISTS", None);
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill_and_what_was_cut_by_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        user_keys()
            .set("storage.shards", "2")
            .data_dir(dir.path())
            .start()
    };
    let mut server = start().await;
    let value = noise(6, 12 * MIB);
    let mut before = blobs(&server).await;
    upload(&mut before, "there", &value).await;
    let next = noise(7, 30 * MIB);
    let all = messages(header_of("cut"), &next);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let cut = tokio::spawn(async move { before.upload(ReceiverStream::new(receiver)).await });
    for message in &all[..26] {
        sender.send(message.clone()).await.unwrap();
    }
    has_stored(&server, (12 + 11) * MIB).await;
    server.kill();
    let server = start().await;
    drop(sender);
    assert!(cut.await.unwrap().is_err());
    let mut blobs = blobs(&server).await;
    let (_, read) = download(&mut blobs, download_of("there")).await.unwrap();
    assert!(read == value);
    let nothing = download(&mut blobs, download_of("cut")).await.unwrap_err();
    assert_error(&nothing, Code::NotFound, "KEY_NOT_FOUND", None);
    let done = send(&mut blobs, all).await.unwrap();
    assert!(done.new_bytes < 20 * MIB as u64, "{}", done.new_bytes);
    let (_, read) = download(&mut blobs, download_of("cut")).await.unwrap();
    assert!(read == next);
}

#[tokio::test]
async fn a_download_at_a_snapshot_is_of_that_moment() {
    use shardkeep::proto::v1::snapshot_service_client::SnapshotServiceClient;
    let server = user_keys().start().await;
    let mut blobs = blobs(&server).await;
    let (old, new) = (noise(8, 9 * MIB), noise(9, 10 * MIB));
    upload(&mut blobs, "k", &old).await;
    let mut snapshots = SnapshotServiceClient::new(server.channel().await);
    let made = snapshots.create_snapshot(v1::CreateSnapshotRequest::default());
    let snapshot = made.await.unwrap().into_inner().id;
    upload(&mut blobs, "k", &new).await;
    let then = v1::DownloadRequest {
        snapshot,
        ..download_of("k")
    };
    assert!(download(&mut blobs, then).await.unwrap().1 == old);
    assert!(download(&mut blobs, download_of("k")).await.unwrap().1 == new);
}
