//! The server on a real port, before a store is open: what it says needs none.

use super::*;
use crate::proto::zstdb::Item;
use crate::proto::zstdb::badger_client::BadgerClient;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const MIB: u64 = 1 << 20;

struct Running {
    address: SocketAddr,
    handle: GatewayHandle,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Running {
    async fn start(change: impl FnOnce(&mut config::Server)) -> Self {
        let mut server = config::Server {
            host: [127, 0, 0, 1].into(),
            port: 0,
            max_upload_size: MIB,
            max_value_size: MIB,
            max_streams_per_connection: 256,
            max_connections: 64,
            max_idle_connections: 64,
            max_header_list_size: 16 * 1024,
            stream_window: 4 << 20,
            connection_window: 16 << 20,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
            request_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
        };
        change(&mut server);
        let admission = config::Admission {
            requests_per_shard: 64,
            bytes_in_flight: 64 * MIB,
        };
        let admin = config::Admin { password: None };
        let gateway = Gateway::new(&server, &admission, &admin).await;
        let listener = TcpListener::bind((server.host, server.port)).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        Self {
            address: listener.local_addr().unwrap(),
            handle: gateway.handle(),
            stop,
            served: tokio::spawn(async move {
                let cores = [Handle::current()];
                let stopped = async move {
                    let _ = stopped.await;
                };
                gateway.serve(listener, &cores, stopped).await;
            }),
        }
    }

    async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address));
        endpoint.unwrap().connect().await.unwrap()
    }

    async fn health(&self, service: &str) -> i32 {
        let mut client = HealthClient::new(self.channel().await);
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        client.check(request).await.unwrap().into_inner().status
    }
}

fn item(data: Vec<u8>) -> Item {
    Item {
        data: data.into(),
        ..Item::default()
    }
}

#[tokio::test]
async fn until_a_store_is_open_calls_are_unavailable_and_health_is_not_serving() {
    let running = Running::start(|_| ()).await;
    let mut client = BadgerClient::new(running.channel().await);
    let status = client.ping(Item::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(status.message().contains("recovering"));
    for service in ["", "Badger"] {
        assert_eq!(
            running.health(service).await,
            ServingStatus::NotServing as i32
        );
    }
    running.handle.health.serving().await;
    for service in ["", "Badger"] {
        assert_eq!(running.health(service).await, ServingStatus::Serving as i32);
    }
}

#[tokio::test]
async fn a_set_far_too_large_is_answered_in_the_protocols_words_and_the_connection_lives() {
    let running = Running::start(|_| ()).await;
    let mut client = BadgerClient::new(running.channel().await);
    for _ in 0..5 {
        let reply = client
            .set(item(vec![7; 30 << 20]))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(reply.errcode, 500);
        assert!(reply.key.is_empty());
    }
    let status = client.ping(Item::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
}

#[tokio::test]
async fn a_value_a_little_too_large_reaches_the_service() {
    let running = Running::start(|_| ()).await;
    let mut client = BadgerClient::new(running.channel().await);
    let status = client.set(item(vec![7; (MIB + 1) as usize])).await;
    assert_eq!(status.unwrap_err().code(), tonic::Code::Unavailable);
}

#[tokio::test]
async fn http1_and_noise_are_closed_and_others_are_served() {
    let running = Running::start(|_| ()).await;
    for noise in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        &[0; 4096],
    ] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(noise).await.unwrap();
        let mut said = Vec::new();
        let closed = stream.read_to_end(&mut said);
        let _reset_or_end = tokio::time::timeout(Duration::from_secs(30), closed)
            .await
            .expect("the connection was not closed");
    }
    assert_eq!(running.health("").await, ServingStatus::NotServing as i32);
}

#[tokio::test]
async fn reflection_knows_the_service() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let running = Running::start(|_| ()).await;
    let mut client = ServerReflectionClient::new(running.channel().await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let replies = client.server_reflection_info(tokio_stream::once(request));
    let reply = replies.await.unwrap().into_inner().message().await.unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = reply.unwrap().message_response else {
        panic!("not a list of services");
    };
    let names: Vec<_> = list.service.iter().map(|one| one.name.as_str()).collect();
    for name in ["Badger", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }
}

#[tokio::test]
async fn a_stop_with_idle_clients_is_clean() {
    let running = Running::start(|_| ()).await;
    let _idle = running.channel().await;
    running.stop.send(()).unwrap();
    running.served.await.unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn a_stop_cuts_what_is_stuck_after_the_drain_timeout() {
    let running = Running::start(|server| server.drain_timeout = Duration::from_millis(50)).await;
    let mut client = HealthClient::new(running.channel().await);
    let request = HealthCheckRequest::default();
    let mut watch = client.watch(request).await.unwrap().into_inner();
    watch.message().await.unwrap();
    running.stop.send(()).unwrap();
    running.served.await.unwrap();
    while let Ok(Some(_status)) = watch.message().await {}
}

#[tokio::test]
async fn idle_connections_leave_while_too_many_are_open_and_those_with_a_call_stay() {
    let running = Running::start(|server| server.max_idle_connections = 1).await;
    let mut busy = HealthClient::new(running.channel().await);
    let request = HealthCheckRequest::default();
    let mut watch = busy.watch(request).await.unwrap().into_inner();
    watch.message().await.unwrap();
    // It says nothing and answers nothing, so that it is cut in the end.
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    let mut honest = HealthClient::new(running.channel().await);
    let mut said = Vec::new();
    let closed = silent.read_to_end(&mut said);
    let _reset_or_end = tokio::time::timeout(Duration::from_secs(60), closed)
        .await
        .expect("the silent connection was not closed");
    for _ in 0..20 {
        // One that is told to leave at the very moment of its call makes it again.
        let answered = async {
            let request = HealthCheckRequest::default();
            while honest.check(request.clone()).await.is_err() {}
        };
        let answered = tokio::time::timeout(Duration::from_secs(60), answered);
        answered.await.expect("an honest client is not answered");
        let _another = running.channel().await;
    }
    running.handle.health.serving().await;
    let status = watch.message().await.unwrap().unwrap().status;
    assert_eq!(status, ServingStatus::Serving as i32);
}
