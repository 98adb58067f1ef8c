//! The protobuf front: every method of both services, over the wire, at a server that runs.

#[path = "../../support/plain.rs"]
#[allow(
    clippy::duplicate_mod,
    reason = "the targets of `fuzz/` have these files and no other room of the tests"
)]
mod plain;

use bytes::Bytes;
use plain::Plain;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// The first byte of an input chooses among these; the rest is the message.
const METHODS: [&str; 16] = [
    "/Badger/Set",
    "/Badger/Get",
    "/Badger/Delete",
    "/Badger/Exists",
    "/Badger/List",
    "/Badger/Status",
    "/Badger/Count",
    "/Badger/Ping",
    "/Badger/Admin",
    "/shardkeep.v1.KeyValueService/Put",
    "/shardkeep.v1.KeyValueService/Get",
    "/shardkeep.v1.KeyValueService/Head",
    "/shardkeep.v1.KeyValueService/BatchGet",
    "/shardkeep.v1.KeyValueService/Delete",
    "/shardkeep.v1.KeyValueService/Scan",
    "/shardkeep.v1.KeyValueService/StreamScan",
];

/// How long any answer may take; this is only for a server that never gives one.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends these bytes.
///
/// # Panics
/// When the server answers with what no message may cause, or not at all.
pub async fn front(channel: &Channel, data: &[u8]) {
    let Some((&choice, message)) = data.split_first() else {
        return;
    };
    let method = METHODS[usize::from(choice) % METHODS.len()];
    let call = call(channel, method, Bytes::copy_from_slice(message));
    let answer = tokio::time::timeout(PATIENCE, call).await;
    let answer = answer.unwrap_or_else(|_| panic!("{method}: no answer"));
    if let Err(status) = answer {
        assert!(is_for_a_client(&status), "{method}: {status:?}");
    }
}

async fn call(channel: &Channel, method: &'static str, message: Bytes) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    let ready = grpc.ready().await;
    ready.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = http::uri::PathAndQuery::from_static(method);
    let replies = grpc.server_streaming(Request::new(message), path, Plain);
    let mut replies = replies.await?.into_inner();
    while replies.message().await?.is_some() {}
    Ok(())
}

/// Whether it is the message that is refused, and not the server that has failed.
fn is_for_a_client(status: &Status) -> bool {
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::Aborted
        | Code::OutOfRange
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::ResourceExhausted => true,
        // What tonic says of a message that does not decode.
        Code::Internal => status.message().contains("failed to decode"),
        _ => false,
    }
}
