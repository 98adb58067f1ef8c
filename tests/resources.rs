//! What the real process takes: memory, threads, file handles; and that it gives them back.

mod support;

use bytes::{Bytes, BytesMut};
use shardkeep::proto::v1;
use shardkeep::proto::v1::blob_service_client::BlobServiceClient;
use shardkeep::proto::v1::upload_request::Part;
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use std::time::Instant;
use support::{PATIENCE, Server, eventually, http2, key_of, noise, process, set_of};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

const MIB: usize = 1 << 20;

/// What a process holds that could leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    threads: usize,
    files: usize,
}

fn held(pid: u32) -> Held {
    Held {
        threads: process::threads(pid),
        files: process::open_files(pid),
    }
}

/// Waits until the process holds no more than before. Threads of the blocking pool end when they
/// had nothing to do for a while; `spare` is room for what a clock opens meanwhile.
async fn gives_back(pid: u32, before: Held, spare: usize) {
    eventually("a return to the threads and files of before", || {
        let now = held(pid);
        let is_back = now.threads <= before.threads + spare && now.files <= before.files + spare;
        is_back.then_some(())
    })
    .await;
}

async fn keyed() -> Server {
    Server::builder().flag("--allow-user-key").start().await
}

/// Stores a value of its own and reads it back.
async fn round_trip(mut client: BadgerClient<Channel>, number: u64) {
    let key = format!("key-{number}");
    let value = noise(number, 1024);
    let reply = client.set(set_of(key.clone(), value.clone())).await;
    let reply = reply.unwrap().into_inner();
    assert_eq!(reply.errcode, 0, "{reply:?}");
    let reply = client.get(key_of(key)).await.unwrap().into_inner();
    assert!(reply.errcode == 0 && reply.data == value);
}

#[tokio::test]
async fn an_idle_server_takes_less_than_100_mib() {
    for shards in ["auto", "8"] {
        let server = Server::builder().flags(["--shards", shards]).start().await;
        let resident = process::resident(server.pid());
        eprintln!("idle with {shards} shards: {} MiB", resident / MIB);
        assert!(resident < 100 * MIB, "{} MiB", resident / MIB);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_bounded_while_64_clients_send_different_values_of_16_mib() {
    // However long a busy machine takes for 2 GiB: what is looked at is the memory.
    let server = Server::builder().flags(["--shards", "2"]);
    let server = server.set("server.request_timeout", "10m");
    let server = server.set("server.keepalive_timeout", "5m").start().await;
    let base = Bytes::from(noise(7, 16 * MIB));
    let mut calls = JoinSet::new();
    for number in 0..64_u64 {
        let (mut client, base) = (server.client().await, base.clone());
        calls.spawn(async move {
            let mut value = BytesMut::from(base);
            value[..8].copy_from_slice(&number.to_le_bytes());
            let value = value.freeze();
            let key = set_when_there_is_room(&mut client, &value).await;
            let reply = client.get(key_of(key)).await.unwrap().into_inner();
            assert!(reply.errcode == 0 && reply.data == value);
        });
    }
    let done = tokio::time::timeout(4 * PATIENCE, calls.join_all()).await;
    assert_eq!(done.unwrap().len(), 64);
    let peak = process::resident_peak(server.pid());
    eprintln!("64 x 16 MiB: peak {} MiB", peak / MIB);
    assert!(peak < 1 << 30, "{} MiB", peak / MIB);
    server.stop().await;
}

/// A client that comes back when it is told that too much is in flight, as it should.
async fn set_when_there_is_room(client: &mut BadgerClient<Channel>, value: &Bytes) -> Bytes {
    loop {
        match client.set(set_of("", value.clone())).await {
            Ok(reply) => {
                let reply = reply.into_inner();
                assert_eq!(reply.errcode, 0, "{}", reply.status.escape_ascii());
                return reply.key;
            }
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status}"),
        }
    }
}

/// Messages of an upload of so many MiB, none of which is in another.
fn upload_of(number: u64, mibs: u64, base: Bytes) -> impl Iterator<Item = v1::UploadRequest> {
    const STRETCH: usize = 32 << 10;
    let header = v1::UploadHeader {
        key: format!("upload-{number}").into(),
        ..v1::UploadHeader::default()
    };
    let data = (0..mibs).map(move |mib| {
        let mut piece = BytesMut::from(&base[..]);
        for (place, stretch) in piece.chunks_mut(STRETCH).enumerate() {
            let stamp = (number << 32 | mib << 8) + place as u64;
            stretch[..8].copy_from_slice(&stamp.to_le_bytes());
        }
        Part::Data(piece.freeze())
    });
    let parts = [Part::Header(header)].into_iter().chain(data);
    parts.map(|part| v1::UploadRequest { part: Some(part) })
}

/// An upload's memory is that of its blocks, used again and again, however long it is and however
/// many there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_takes_the_memory_of_its_blocks_however_long_it_is() {
    const MIBS: u64 = 256;
    let base = Bytes::from(noise(9, MIB));
    for uploads in [1_u64, 4] {
        // What is freed is given back at once: what is counted is what is held.
        let builder = Server::builder().env("MIMALLOC_PURGE_DELAY", "0");
        let server = builder.flag("--allow-user-key").start().await;
        server.assert_answers().await;
        let idle = process::resident(server.pid());
        let mut calls = JoinSet::new();
        for number in 0..uploads {
            let mut blobs = BlobServiceClient::new(server.channel().await);
            let messages = upload_of(number, MIBS / uploads, base.clone());
            calls.spawn(async move {
                let done = blobs.upload(tokio_stream::iter(messages)).await;
                done.unwrap().into_inner()
            });
        }
        let done = tokio::time::timeout(4 * PATIENCE, calls.join_all()).await;
        let new_bytes: u64 = done.unwrap().iter().map(|it| it.new_bytes).sum();
        assert_eq!(new_bytes, MIBS << 20);
        let above = process::resident_peak(server.pid()) - idle;
        eprintln!("{uploads} uploads: {} MiB above idle", above / MIB);
        // What each is let in for, and what the first requests of a server take.
        let most = 32 * uploads as usize + 14;
        assert!(above < most * MIB, "{} MiB, at most {most}", above / MIB);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_thousand_connections_leave_no_thread_and_no_file_behind() {
    let server = keyed().await;
    let pid = server.pid();
    for number in 0..20 {
        round_trip(server.client().await, number).await;
    }
    let before = held(pid);
    for number in 20..1020 {
        match number % 4 {
            0 => {
                // Gone in the middle of the preface.
                let mut stream = TcpStream::connect(server.address()).await.unwrap();
                stream.write_all(&http2::PREFACE[..10]).await.unwrap();
            }
            1 => {
                // Gone in the middle of a message.
                let mut stream = http2::connect(server.address(), &[]).await;
                let headers = http2::call_headers(1, "Set", &[]);
                let message = http2::grpc_message(&set_of("k", noise(number, 10_000)));
                let half = http2::frame(http2::DATA, 0, 1, &message[..5000]);
                stream.write_all(&[headers, half].concat()).await.unwrap();
            }
            _ => round_trip(server.client().await, number).await,
        }
    }
    gives_back(pid, before, 4).await;
    server.assert_answers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_at_once_on_four_connections_are_all_answered() {
    let server = keyed().await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(server.client().await);
    }
    let mut calls = JoinSet::new();
    for number in 0..10_000 {
        calls.spawn(round_trip(clients[number as usize % 4].clone(), number));
    }
    let done = tokio::time::timeout(4 * PATIENCE, calls.join_all()).await;
    assert_eq!(done.unwrap().len(), 10_000);
    let peak = process::resident_peak(server.pid());
    eprintln!("10,000 at once: peak {} MiB", peak / MIB);
    assert!(peak < 256 * MIB, "{} MiB", peak / MIB);
    server.assert_answers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reopening_a_shard_leaves_no_thread_and_no_file_behind() {
    for cause in [
        "shard::commit::000=10*off->1*panic",
        "log::sync=10*off->1*return",
    ] {
        let (point, failure) = cause.split_once('=').unwrap();
        let points = format!("{point}={}", [failure; 3].join("->"));
        let builder = Server::builder().flags(["--allow-user-key", "--shards", "2"]);
        let server = builder.fail_points(&points).start().await;
        let pid = server.pid();
        let mut client = server.client().await;
        client.set(set_of("first", "value")).await.unwrap();
        let before = held(pid);
        let paths = process::open_paths(pid);
        let elsewhere = paths.iter().filter(|it| !it.contains("/shards/")).count();
        let (mut number, deadline) = (0, Instant::now() + PATIENCE);
        // Of the three failures, one may hit a shard that is just opened again: it is tried once more.
        let overcome =
            |log: &str| ["serves again", "does not open"].map(|told| log.matches(told).count());
        while overcome(&server.log()).iter().sum::<usize>() < 3 {
            assert!(Instant::now() < deadline, "{}", server.log());
            number += 1;
            let key = Bytes::from(format!("key-{number}"));
            // Refused during an outage.
            client.set(set_of(key, "value")).await.unwrap();
        }
        // Each opening starts a segment, which is a file that is open once, as all are.
        eventually("no thread more, no file twice or deleted", || {
            let in_data_dir = |path: &&String| path.contains("/shards/");
            let paths = process::open_paths(pid);
            let mut once: Vec<_> = paths.iter().filter(in_data_dir).collect();
            let count = once.len();
            once.dedup();
            let is_sound = once.len() == count
                && !once.iter().any(|path| path.ends_with("(deleted)"))
                && paths.len() - count <= elsewhere
                && process::threads(pid) <= before.threads;
            is_sound.then_some(())
        })
        .await;
        let writers = process::threads_named(pid, "actix-rt").len();
        assert_eq!(writers, 3, "two shards and the dedup actor");
        server.stop().await;
    }
}

/// A system that gives no more open files is no damage: the shard waits for them, its index stays
/// where it is, and it comes back by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_ran_out_of_open_files_comes_back_with_its_index() {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    let server = Server::builder()
        .flags(["--allow-user-key", "--max-upload-size-mb", "1"])
        .set("storage.segment_size", "1 MiB")
        .start()
        .await;
    let mut client = server.client().await;
    // Answered, and so accepted: with no handle left, nobody else is.
    server.assert_answers().await;
    let first = client.set(set_of("first", "value")).await.unwrap();
    assert_eq!(first.into_inner().errcode, 0);
    let limit_to = |current| {
        let pid = Pid::from_raw(server.pid().cast_signed());
        let limit = Rlimit {
            current: Some(current),
            ..getrlimit(Resource::Nofile)
        };
        prlimit(pid, Resource::Nofile, limit).unwrap();
    };
    limit_to(1);
    let mut stored = Vec::new();
    let refused = loop {
        let key = format!("key-{}", stored.len());
        let item = set_of(key.clone(), noise(stored.len() as u64, 300_000));
        let reply = client.set(item).await.unwrap().into_inner();
        if reply.errcode != 0 {
            break String::from_utf8(reply.status.to_vec()).unwrap();
        }
        stored.push(key);
        assert!(stored.len() < 100, "no segment was ever started");
    };
    assert!(refused.contains("Too many open files"), "{refused}");
    assert!(refused.contains("raise `ulimit -n`"), "{refused}");
    eventually("the shard was tried in vain", || {
        (server.log().matches("the shard does not open").count() >= 2).then_some(())
    })
    .await;
    let log = server.log();
    assert!(log.contains("raise `ulimit -n`") && !log.contains("`shardkeep verify`"));
    limit_to(1000);
    let deadline = std::time::Instant::now() + PATIENCE;
    while client
        .set(set_of("again", "value"))
        .await
        .unwrap()
        .into_inner()
        .errcode
        != 0
    {
        assert!(std::time::Instant::now() < deadline, "{}", server.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    for (step, key) in stored.iter().enumerate() {
        let found = client.get(key_of(key.clone())).await.unwrap().into_inner();
        assert!(found.data == noise(step as u64, 300_000), "{key}");
    }
    assert!(
        !server.log().contains("rebuilding the index"),
        "{}",
        server.log()
    );
    let aside = server.data_dir().join("shards/000/index.set-aside");
    assert!(!aside.exists());
    server.stop().await;
}
