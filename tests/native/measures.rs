//! Measure, as its peer takes it. What it counts is tested with the clients.

use crate::call::{Client, assert_error, client, user_keys};
use crate::support::PATIENCE;
use shardkeep::proto::v1;
use shardkeep::proto::v1::operation::Change;
use shardkeep::proto::v1::transaction_service_client::TransactionServiceClient;
use std::time::Duration;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};

/// Keys that are walked for one message are 16,384.
const MESSAGES: u64 = 4;

/// What a measurement ends with if that is an error.
async fn error_of(messages: &mut Streaming<v1::MeasureResponse>) -> Option<Status> {
    loop {
        match messages.message().await {
            Ok(Some(_told)) => {}
            Ok(None) => return None,
            Err(status) => return Some(status),
        }
    }
}

#[tokio::test]
async fn a_peer_that_takes_nothing_of_a_measurement_is_cut_off() {
    let server = user_keys()
        .set("server.keepalive_timeout", "1s")
        .set("storage.durability", "os")
        .start()
        .await;
    let mut commits = TransactionServiceClient::new(server.channel().await);
    let keys: Vec<u64> = (0..MESSAGES * 16_384).collect();
    for some in keys.chunks(8192) {
        let put = |key: &u64| v1::Operation {
            key: format!("{key:06}").into(),
            change: Some(Change::Put(v1::PutOperation::default())),
        };
        let commit = v1::CommitRequest {
            operations: some.iter().map(put).collect(),
            ..v1::CommitRequest::default()
        };
        commits.commit(commit).await.unwrap();
    }
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address())).unwrap();
    // A window that is full with the first byte.
    let channel = endpoint.initial_stream_window_size(1).connect().await;
    let mut hurried = Client::new(channel.unwrap());
    // On a machine that walks the keys for longer than the peer waits, a longer wait shows it.
    let mut wait = Duration::from_secs(3);
    let refused = loop {
        let asked = hurried.measure(v1::MeasureRequest::default()).await;
        let mut slow = asked.unwrap().into_inner();
        tokio::time::sleep(wait).await;
        if let Some(status) = error_of(&mut slow).await {
            break status;
        }
        wait *= 2;
        assert!(wait < PATIENCE, "nobody is cut off");
    };
    assert_error(&refused, Code::Aborted, "MEASURE_TOO_SLOW", None);
    // Whoever takes it gets all of it.
    let mut client = client(&server).await;
    let asked = client.measure(v1::MeasureRequest::default()).await;
    let mut told = asked.unwrap().into_inner();
    let mut last = None;
    while let Some(message) = told.message().await.unwrap() {
        last = Some(message);
    }
    let last = last.unwrap();
    assert!(last.whole && last.key_count == MESSAGES * 16_384);
}
