//! The protobuf front: every method of every service, over the wire, at a server that runs.

#[path = "../../support/plain.rs"]
#[allow(
    clippy::duplicate_mod,
    reason = "the targets of `fuzz/` have these files and no other room of the tests"
)]
mod plain;

use bytes::Bytes;
use plain::Plain;
use std::time::Duration;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// The first byte of an input chooses among these; the rest is the message, or, cut at each byte 0xff,
/// the messages of a stream. `Stop` is not among them.
pub const METHODS: [&str; 50] = [
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
    "/shardkeep.v1.KeyValueService/DeleteRange",
    "/shardkeep.v1.KeyValueService/Touch",
    "/shardkeep.v1.KeyValueService/Increment",
    "/shardkeep.v1.KeyValueService/Measure",
    "/shardkeep.v1.BlobService/Upload",
    "/shardkeep.v1.BlobService/Download",
    "/shardkeep.v1.BlobService/FindMissing",
    "/shardkeep.v1.BlobService/UploadChunks",
    "/shardkeep.v1.BlobService/PutContent",
    "/shardkeep.v1.TransactionService/Commit",
    "/shardkeep.v1.SnapshotService/CreateSnapshot",
    "/shardkeep.v1.SnapshotService/RenewSnapshot",
    "/shardkeep.v1.SnapshotService/DeleteSnapshot",
    "/shardkeep.v1.SnapshotService/ListSnapshots",
    "/shardkeep.v1.NamespaceService/CreateNamespace",
    "/shardkeep.v1.NamespaceService/GetNamespace",
    "/shardkeep.v1.NamespaceService/ListNamespaces",
    "/shardkeep.v1.NamespaceService/UpdateNamespace",
    "/shardkeep.v1.NamespaceService/DropNamespace",
    "/shardkeep.v1.WatchService/Watch",
    "/shardkeep.v1.AdminService/GetStats",
    "/shardkeep.v1.AdminService/GetSettings",
    "/shardkeep.v1.AdminService/UpdateSettings",
    "/shardkeep.v1.AdminService/Sync",
    "/shardkeep.v1.AdminService/Compact",
    "/shardkeep.v1.AdminService/PurgeTombstones",
    "/shardkeep.v1.AdminService/Verify",
    "/shardkeep.v1.AdminService/GetScrubReport",
    "/shardkeep.v1.BackupService/CreateBackup",
    "/shardkeep.v1.BackupService/ListBackups",
    "/shardkeep.v1.BackupService/VerifyBackup",
    "/shardkeep.v1.BackupService/DeleteBackup",
    "/shardkeep.v1.BackupService/PurgeBackups",
    "/shardkeep.v1.BackupService/RestoreBackup",
];

/// Methods that take a stream of messages.
const STREAMED: [&str; 2] = [
    "/shardkeep.v1.BlobService/Upload",
    "/shardkeep.v1.BlobService/UploadChunks",
];

/// A method whose answers never end; it is not waited for.
const ENDLESS: &str = "/shardkeep.v1.WatchService/Watch";
/// How long it is looked at.
const GLANCE: Duration = Duration::from_millis(5);

/// A method that may leave a server behind which refuses writes, or says too much.
const SETTING: &str = "/shardkeep.v1.AdminService/UpdateSettings";

/// Its message that undoes that: both switches off, and the log level `error`.
const USUAL_SETTINGS: &[u8] = b"\x08\x00\x10\x00\x1a\x05error";

/// What servers are started with that are asked here.
const PASSWORD: &str = "123";

/// How long any answer may take; this is only for a server that never gives one.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends these bytes.
///
/// # Panics
/// When the server answers with what no message may cause, or not at all.
pub async fn front(channel: &Channel, data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    let method = METHODS[usize::from(choice) % METHODS.len()];
    let messages = match STREAMED.contains(&method) {
        true => rest
            .split(|byte| *byte == 0xff)
            .map(Bytes::copy_from_slice)
            .collect(),
        false => vec![Bytes::copy_from_slice(rest)],
    };
    ask(channel, method, messages).await;
    if method == SETTING {
        ask(channel, method, vec![Bytes::from_static(USUAL_SETTINGS)]).await;
    }
}

async fn ask(channel: &Channel, method: &'static str, messages: Vec<Bytes>) {
    let call = call(channel, method, messages);
    if method == ENDLESS {
        if let Ok(Err(status)) = tokio::time::timeout(GLANCE, call).await {
            assert!(is_for_a_client(&status), "{method}: {status:?}");
        }
        return;
    }
    let answer = tokio::time::timeout(PATIENCE, call).await;
    let answer = answer.unwrap_or_else(|_| panic!("{method}: no answer"));
    if let Err(status) = answer {
        assert!(is_for_a_client(&status), "{method}: {status:?}");
    }
}

async fn call(channel: &Channel, method: &'static str, messages: Vec<Bytes>) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    let ready = grpc.ready().await;
    ready.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = http::uri::PathAndQuery::from_static(method);
    let mut request = Request::new(tokio_stream::iter(messages));
    let password = MetadataValue::from_bytes(PASSWORD.as_bytes());
    request
        .metadata_mut()
        .insert_bin("admin-password-bin", password);
    let replies = grpc.streaming(request, path, Plain);
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
        // What the server says to one who asks for another run of it (`only_run`).
        Code::Unavailable => status.message().starts_with("the server was started anew"),
        // What tonic says of a message that does not decode.
        Code::Internal => status.message().contains("failed to decode"),
        _ => false,
    }
}
