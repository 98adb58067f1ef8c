//! Connections that are idle while too many are open: they leave in order, without a call lost, and
//! those with an open call stay.

use crate::call::{client, put, user_keys};
use crate::support::{PATIENCE, Server, eventually, http2, process, set_of};
use shardkeep::client::Database;
use shardkeep::proto::v1;
use shardkeep::proto::v1::watch_service_client::WatchServiceClient;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// Idle connections that the server keeps.
const KEPT: usize = 32;
/// What the server may have beside them: those on their way out, and those of the tests.
const BESIDE: usize = 20;

async fn server() -> Server {
    let builder = user_keys().set("server.max_idle_connections", KEPT.to_string());
    builder.start().await
}

fn sockets(server: &Server) -> usize {
    let paths = process::open_paths(server.pid());
    paths.iter().filter(|it| it.starts_with("socket:")).count()
}

/// Connections that say what HTTP/2 wants to hear and nothing more.
async fn idle(server: &Server, count: usize) -> Vec<TcpStream> {
    let mut idle = Vec::new();
    for _ in 0..count {
        idle.push(http2::connect(server.address(), &[]).await);
    }
    idle
}

/// A connection on which a call has been answered: the server knows that its peer is in earnest.
async fn called(server: &Server) -> TcpStream {
    let mut stream = http2::connect(server.address(), &[]).await;
    let message = http2::frame(http2::DATA, http2::END_STREAM, 1, &[0; 5]);
    let call = [http2::call_headers(1, "Ping", &[]), message].concat();
    stream.write_all(&call).await.unwrap();
    // The headers of the reply, and those behind it.
    for _ in 0..2 {
        read_until(&mut stream, http2::HEADERS).await;
    }
    stream
}

/// Reads frames until one of a kind comes.
async fn read_until(stream: &mut TcpStream, kind: u8) -> Vec<u8> {
    let reading = async {
        loop {
            let (found, _, _, payload) = http2::read_frame(stream).await.expect("it is open");
            if found == kind {
                return payload;
            }
        }
    };
    let read = tokio::time::timeout(PATIENCE, reading).await;
    read.expect("the frame does not come")
}

#[tokio::test]
async fn idle_connections_are_told_to_leave_and_those_that_do_not_are_cut() {
    let server = server().await;
    let before = sockets(&server);
    let mut first = called(&server).await;
    let _idle = idle(&server, 300).await;
    let goaway = read_until(&mut first, http2::GOAWAY).await;
    // Every call that it may have begun meanwhile is answered: the last stream is the greatest.
    assert_eq!(goaway[..8], [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    let few = || (sockets(&server) <= before + KEPT + BESIDE).then_some(());
    eventually("few connections", few).await;
    server.stop().await;
}

#[tokio::test]
async fn a_call_that_is_open_keeps_its_connection() {
    let server = server().await;
    let mut watches = WatchServiceClient::new(server.channel().await);
    let watch = watches.watch(v1::WatchRequest::default()).await.unwrap();
    let mut watch = watch.into_inner();
    watch.message().await.unwrap();
    let mut slow = called(&server).await;
    let message = http2::grpc_message(&set_of("slow", vec![7; 1000]));
    let headers = http2::call_headers(3, "Set", &[]);
    let begun = http2::frame(http2::DATA, 0, 3, &message[..500]);
    slow.write_all(&[headers, begun].concat()).await.unwrap();
    http2::seen(&mut slow).await;

    let before = sockets(&server);
    let _idle = idle(&server, 300).await;
    let few = || (sockets(&server) <= before + KEPT + BESIDE).then_some(());
    eventually("few connections", few).await;

    let rest = http2::frame(http2::DATA, http2::END_STREAM, 3, &message[500..]);
    slow.write_all(&rest).await.unwrap();
    read_until(&mut slow, http2::HEADERS).await;
    let mut client = client(&server).await;
    let version = put(&mut client, "key", "value").await;
    loop {
        let told = tokio::time::timeout(PATIENCE, watch.message()).await;
        if told.unwrap().unwrap().unwrap().version >= version {
            break;
        }
    }
    server.stop().await;
}

/// A client of gRPC may have begun a call at the very moment when it is told to leave; ours sends
/// such a call again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_was_idle_too_long_loses_no_call() {
    let server = server().await;
    let address = server.address().to_string();
    let mut honest = Vec::new();
    for _ in 0..8 {
        let database = Database::connect(&address).await.unwrap();
        honest.push(database.keyspace(""));
    }
    let mut kept = Vec::new();
    for round in 0..30 {
        let key = format!("key-{round}");
        for keys in &honest {
            keys.put(key.clone(), "value").await.unwrap();
        }
        // Enough that all who did not call since are told to leave.
        kept.extend(idle(&server, KEPT + BESIDE).await);
        for keys in &honest {
            let found = keys.get(key.clone()).await.unwrap().unwrap();
            assert_eq!(found.data, "value");
        }
    }
    server.stop().await;
}
