//! Bad input and bad clients: a clear error for them, and everyone else is served.

mod support;

use bytes::Bytes;
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use shardkeep::proto::zstdb::{Item, ListFilter};
use std::time::Duration;
use support::{PATIENCE, Server, http2, key_of, noise, process, raw, set_of};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

const MIB: usize = 1 << 20;

async fn keyed(flags: &[&str]) -> Server {
    let builder = Server::builder().flag("--allow-user-key");
    builder.flags(flags).start().await
}

#[tokio::test]
async fn a_wrong_checksum_is_refused_with_the_key_and_stores_nothing() {
    let server = keyed(&[]).await;
    let mut client = server.client().await;
    let mut item = set_of("k", "value");
    item.sum64 += 1;
    let reply = client.set(item).await.unwrap().into_inner();
    assert_eq!((reply.errcode, reply.key.as_ref()), (501, &b"k"[..]));
    let reply = client.get(key_of("k")).await.unwrap().into_inner();
    assert_eq!(reply.errcode, 500);
    server.assert_answers().await;
}

#[tokio::test]
async fn exactly_the_limit_is_stored_and_a_byte_more_is_refused() {
    let server = keyed(&["--max-upload-size-mb", "2"]).await;
    let mut client = server.client().await;
    let value = noise(1, 2 * MIB);
    let reply = client.set(set_of("k", value.clone())).await.unwrap();
    assert_eq!(reply.into_inner().errcode, 0);
    let reply = client.get(key_of("k")).await.unwrap().into_inner();
    assert!(reply.data == value);
    for size in [2 * MIB + 1, 3 * MIB, 4 * MIB, 40 * MIB] {
        let reply = client.set(set_of("k", noise(2, size))).await.unwrap();
        let reply = reply.into_inner();
        assert_eq!((reply.errcode, reply.key.len()), (500, 0), "{size} bytes");
        assert!(!reply.status.is_empty());
    }
    let reply = client.get(key_of("k")).await.unwrap().into_inner();
    assert!(reply.data == value);
    server.assert_answers().await;
}

#[tokio::test]
async fn empty_and_70000_byte_keys_are_answered_by_every_method() {
    let server = keyed(&[]).await;
    let mut client = server.client().await;
    let long = Bytes::from(vec![b'k'; 70_000]);
    for key in [Bytes::new(), long.clone()] {
        let reply = client.set(set_of(key.clone(), "v")).await.unwrap();
        let reply = reply.into_inner();
        assert_eq!((reply.errcode, reply.key.len()), (500, 0));
        client.delete(key_of(key.clone())).await.unwrap();
        client.exists(key_of(key.clone())).await.unwrap();
        client.count(key_of(key)).await.unwrap();
    }
    let reply = client.get(key_of(long)).await.unwrap().into_inner();
    assert_eq!(reply.errcode, 500);
    let prefix = "k".repeat(70_000);
    let filter = ListFilter { prefix, pagenum: 1 };
    let _empty_or_refused = client.list(filter).await;
    let longest = vec![b'k'; 65_000];
    let reply = client.set(set_of(longest.clone(), "v")).await.unwrap();
    assert_eq!(reply.into_inner().errcode, 0);
    let reply = client.get(key_of(longest)).await.unwrap().into_inner();
    assert_eq!(reply.data.as_ref(), b"v");
    server.assert_answers().await;
}

#[tokio::test]
async fn a_message_that_is_no_item_is_a_grpc_error() {
    let server = keyed(&[]).await;
    let channel = server.channel().await;
    for message in [
        &b"\xff\xff\xff\xff"[..],
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01k",
        b"\x0a\x7fshort",
        b"\x0b\x0b\x0b\x0b",
    ] {
        for method in ["Set", "Get", "List", "Admin"] {
            let error = raw::call(&channel, method, Bytes::from_static(message)).await;
            assert!(error.is_err(), "{method} took {message:?}");
        }
    }
    let error = raw::call(&channel, "NoSuchMethod", Bytes::new()).await;
    assert_eq!(error.unwrap_err().code(), Code::Unimplemented);
    server.assert_answers().await;
}

#[tokio::test]
async fn garbage_frames_and_http1_end_their_own_connection_only() {
    let server = keyed(&[]).await;
    let with_preface = |bytes: &[u8]| [http2::PREFACE, bytes].concat();
    let settings = http2::frame(http2::SETTINGS, 0, 0, b"");
    for garbage in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"POST /Badger/Set HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n".to_vec(),
        vec![0; 100_000],
        noise(3, 100_000),
        with_preface(&noise(4, 100_000)),
        with_preface(&[0xff; 9]),
        with_preface(&[&settings[..], &http2::frame(http2::DATA, 0, 0, b"x")].concat()),
        with_preface(
            &[
                &settings[..],
                &http2::frame(http2::HEADERS, 4, 1, &[0xff; 50]),
            ]
            .concat(),
        ),
        with_preface(
            &[
                &settings[..],
                &http2::frame(http2::WINDOW_UPDATE, 0, 0, &[0; 4]),
            ]
            .concat(),
        ),
    ] {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        // The server may hang up before it has read it all.
        let _ = stream.write_all(&garbage).await;
        let ended = http2::read_to_end(&mut stream);
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        assert!(ended.is_ok(), "left open after {:?}", &garbage[..40]);
        server.assert_answers().await;
    }
}

#[tokio::test]
async fn half_open_connections_keep_nobody_out() {
    let server = keyed(&[]).await;
    let mut silent = Vec::new();
    for said in 0..60 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let beginning = &http2::PREFACE[..said.min(http2::PREFACE.len())];
        stream.write_all(beginning).await.unwrap();
        silent.push(stream);
    }
    for _ in 0..20 {
        // Says that a call begins, and nothing more.
        let mut stream = http2::connect(server.address(), &[]).await;
        let headers = http2::call_headers(1, "Set", &[]);
        stream.write_all(&headers).await.unwrap();
        silent.push(stream);
    }
    let mut client = server.client().await;
    let reply = client.set(set_of("k", "v")).await.unwrap().into_inner();
    assert_eq!(reply.errcode, 0);
    server.assert_answers().await;
}

/// A client that vanished said nothing of it: its connection is open, and nothing comes by it any
/// more. Only a ping that is not answered tells it from one that is idle.
#[tokio::test]
async fn a_connection_whose_client_vanished_is_closed_and_an_idle_one_is_not() {
    let server = Server::builder().flag("--allow-user-key");
    let server = server.set("server.keepalive_interval", "1s");
    let server = server.set("server.keepalive_timeout", "5s").start().await;
    let mut idle = http2::connect(server.address(), &[]).await;
    let (answered, mut pings) = tokio::sync::watch::channel(0);
    let _answering = tokio::spawn(async move {
        while let Some((kind, flags, _, payload)) = http2::read_frame(&mut idle).await {
            if (kind, flags) == (http2::PING, 0) {
                let pong = http2::frame(http2::PING, http2::ACK, 0, &payload);
                idle.write_all(&pong).await.unwrap();
                answered.send_modify(|pings| *pings += 1);
            }
        }
    });
    let mut vanished = Vec::new();
    for step in 0..20 {
        let mut stream = http2::connect(server.address(), &[]).await;
        if step % 2 == 0 {
            // In the middle of a call.
            let headers = http2::call_headers(1, "Set", &[]);
            stream.write_all(&headers).await.unwrap();
        }
        vanished.push(stream);
    }
    for stream in &mut vanished {
        let ended = tokio::time::timeout(PATIENCE, http2::read_to_end(stream)).await;
        assert!(ended.is_ok(), "left open");
    }
    let so_far = *pings.borrow_and_update();
    let one_more = tokio::time::timeout(PATIENCE, pings.wait_for(|pings| *pings > so_far)).await;
    assert!(one_more.unwrap().is_ok(), "the idle connection was closed");
    server.assert_answers().await;
}

#[tokio::test]
async fn a_client_that_stops_reading_costs_bounded_memory_and_harms_nobody() {
    const GETS: u32 = 200;
    let server = keyed(&[]).await;
    let mut client = server.client().await;
    let value = noise(5, 8 * MIB);
    let reply = client.set(set_of("k", value.clone())).await.unwrap();
    assert_eq!(reply.into_inner().errcode, 0);
    let mut stuck = Vec::new();
    for _ in 0..4 {
        // A stream window so large that only the connection's own holds the server back.
        let mut stream = http2::connect(server.address(), &[(4, (1 << 31) - 1)]).await;
        for call in 0..GETS {
            let id = call * 2 + 1;
            let message = http2::grpc_message(&key_of("k"));
            let headers = http2::call_headers(id, "Get", &[]);
            let data = http2::frame(http2::DATA, http2::END_STREAM, id, &message);
            stream.write_all(&[headers, data].concat()).await.unwrap();
        }
        stuck.push(stream);
    }
    for _ in 0..20 {
        let reply = tokio::time::timeout(PATIENCE, client.get(key_of("k"))).await;
        let reply = reply.expect("no answer to a get").unwrap().into_inner();
        assert!(reply.data == value);
        let pong = client.ping(Item::default()).await.unwrap().into_inner();
        assert_eq!(pong.data.as_ref(), b"ok");
    }
    let peak = process::resident_peak(server.pid());
    assert!(peak < 1 << 30, "{} MiB", peak / MIB);
    drop(stuck);
    server.assert_answers().await;
}

#[tokio::test]
async fn a_request_past_its_deadline_ends_and_the_connection_lives() {
    let server = keyed(&[]).await;
    let mut stream = http2::connect(server.address(), &[]).await;
    // Half a message, and 50 ms to do it in.
    let headers = http2::call_headers(1, "Set", &[("grpc-timeout", "50m")]);
    let message = http2::grpc_message(&set_of("k", noise(6, 10_000)));
    let half = http2::frame(http2::DATA, 0, 1, &message[..5000]);
    stream.write_all(&[headers, half].concat()).await.unwrap();
    let answered = async {
        while let Some((kind, flags, id, _payload)) = http2::read_frame(&mut stream).await {
            if kind == http2::HEADERS && id == 1 {
                return flags & http2::END_STREAM != 0;
            }
        }
        false
    };
    assert!(tokio::time::timeout(PATIENCE, answered).await.unwrap());

    let mut client = server.client().await;
    let mut request = tonic::Request::new(set_of("k", "v"));
    request.set_timeout(Duration::from_nanos(1));
    assert!(client.set(request).await.is_err());
    let pong = client.ping(Item::default()).await.unwrap();
    assert_eq!(pong.into_inner().data.as_ref(), b"ok");
    server.assert_answers().await;
}

/// Stores a value of its own and reads it back.
async fn round_trip(mut client: BadgerClient<Channel>, number: u64) {
    let key = format!("key-{number}");
    let value = noise(number, 1024);
    let item = set_of(key.clone(), value.clone());
    let reply = client.set(item).await.unwrap().into_inner();
    assert_eq!(reply.errcode, 0, "{reply:?}");
    let reply = client.get(key_of(key)).await.unwrap().into_inner();
    assert!(reply.errcode == 0 && reply.data == value);
}

#[tokio::test]
async fn two_thousand_requests_at_once_on_one_connection_are_all_answered() {
    let server = keyed(&[]).await;
    let client = server.client().await;
    let mut calls = JoinSet::new();
    for number in 0..2000 {
        calls.spawn(round_trip(client.clone(), number));
    }
    let done = tokio::time::timeout(2 * PATIENCE, calls.join_all()).await;
    assert_eq!(done.unwrap().len(), 2000);
    server.assert_answers().await;
}

#[tokio::test]
async fn two_thousand_requests_at_once_on_a_hundred_connections_are_all_answered() {
    let server = keyed(&[]).await;
    let mut calls = JoinSet::new();
    for connection in 0..100 {
        let client = server.client().await;
        for call in 0..20 {
            calls.spawn(round_trip(client.clone(), connection * 20 + call));
        }
    }
    let done = tokio::time::timeout(2 * PATIENCE, calls.join_all()).await;
    assert_eq!(done.unwrap().len(), 2000);
    server.assert_answers().await;
}

#[tokio::test]
async fn two_hundred_connections_leave_no_thread_and_no_file_behind() {
    let server = keyed(&[]).await;
    let visit = |number| {
        let server = &server;
        async move { round_trip(server.client().await, number).await }
    };
    for number in 0..20 {
        visit(number).await;
    }
    let pid = server.pid();
    let files = process::open_files(pid);
    let threads = process::threads(pid);
    for number in 20..220 {
        visit(number).await;
    }
    // Room for a segment that was opened meanwhile and for threads that blocking reads came by.
    support::eventually("a return to the files and threads of before", || {
        let is_back = process::open_files(pid) <= files + 8 && process::threads(pid) <= threads + 8;
        is_back.then_some(())
    })
    .await;
    server.assert_answers().await;
}

#[tokio::test]
async fn memory_stays_bounded_while_64_clients_send_and_fetch_16_mib_each() {
    // However long a busy machine takes for 2 GiB: what is looked at is the memory.
    let server = Server::builder().flag("--allow-user-key");
    let server = server.set("server.request_timeout", "10m");
    let server = server.set("server.keepalive_timeout", "5m").start().await;
    let value = Bytes::from(noise(7, 16 * MIB));
    let mut calls = JoinSet::new();
    for number in 0..64 {
        let mut client = server.client().await;
        let item = set_of(format!("key-{number}"), value.clone());
        let key = item.key.clone();
        let value = value.clone();
        calls.spawn(async move {
            let reply = client.set(item).await.unwrap().into_inner();
            assert_eq!(reply.errcode, 0, "{reply:?}");
            let reply = client.get(key_of(key)).await.unwrap().into_inner();
            assert!(reply.errcode == 0 && reply.data == value);
        });
    }
    let done = tokio::time::timeout(2 * PATIENCE, calls.join_all()).await;
    assert_eq!(done.unwrap().len(), 64);
    let peak = process::resident_peak(server.pid());
    assert!(peak < 1 << 30, "{} MiB", peak / MIB);
    server.assert_answers().await;
}
