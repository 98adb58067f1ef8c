//! A client of the native protocol, and what its errors say.

use crate::support::{Builder, Server, command_of};
pub use crate::support::{admin, with_password};
use bytes::Bytes;
use serde_json::Value;
use shardkeep::proto::v1;
use shardkeep::proto::v1::condition::Requirement;
use shardkeep::proto::v1::key_value_service_client::KeyValueServiceClient;
use std::path::Path;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

pub type Client = KeyValueServiceClient<Channel>;

/// Messages that the tests' clients take.
const MESSAGE_SIZE_MAX: usize = 1 << 30;

/// A server whose clients name the keys, which may be overwritten.
pub fn user_keys() -> Builder {
    Server::builder().flags(["--allow-user-key", "--allow-overwrite"])
}

pub async fn client(server: &Server) -> Client {
    KeyValueServiceClient::new(server.channel().await)
        .max_decoding_message_size(MESSAGE_SIZE_MAX)
        .max_encoding_message_size(MESSAGE_SIZE_MAX)
}

pub fn put_of(key: impl Into<Bytes>, value: impl Into<Bytes>) -> v1::PutRequest {
    v1::PutRequest {
        key: key.into(),
        value: value.into(),
        ..v1::PutRequest::default()
    }
}

pub fn get_of(key: impl Into<Bytes>) -> v1::GetRequest {
    v1::GetRequest {
        key: key.into(),
        ..v1::GetRequest::default()
    }
}

pub fn only_if(requirement: Requirement) -> Option<v1::Condition> {
    Some(v1::Condition {
        requirement: Some(requirement),
    })
}

/// Puts, and gives the version.
pub async fn put(client: &mut Client, key: impl Into<Bytes>, value: impl Into<Bytes>) -> u64 {
    let done = client.put(put_of(key, value)).await.unwrap();
    done.into_inner().version
}

/// The value, if the key is there.
pub async fn get(client: &mut Client, key: impl Into<Bytes>) -> Option<Bytes> {
    match client.get(get_of(key)).await {
        Ok(found) => Some(found.into_inner().value),
        Err(status) => {
            assert_error(&status, Code::NotFound, "KEY_NOT_FOUND", None);
            None
        }
    }
}

/// What is there under many keys, in their order.
pub async fn batch_get(
    client: &mut Client,
    keys: Vec<Bytes>,
    entries_only: bool,
) -> Vec<v1::BatchGetResult> {
    let request = v1::BatchGetRequest {
        keys,
        entries_only,
        ..v1::BatchGetRequest::default()
    };
    let found = client.batch_get(request).await.unwrap();
    found.into_inner().results
}

/// A failed call's code, reason and field.
pub fn assert_error(status: &Status, code: Code, reason: &str, field: Option<&str>) {
    let details = status.get_error_details();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("no reason: {status:?}"));
    assert_eq!(
        (status.code(), info.reason.as_str()),
        (code, reason),
        "{status:?}"
    );
    assert_eq!(info.domain, "shardkeep");
    let violations = details.bad_request().map(|bad| &bad.field_violations[..]);
    let named = violations.unwrap_or_default().first();
    assert_eq!(named.map(|it| it.field.as_str()), field, "{status:?}");
}

/// A fresh server with what a full backup of another one holds.
pub async fn restored_from(server: &Server) -> Server {
    let mut admin = server.client().await;
    let backup = command_of("backup", r#"{"path":"full"}"#);
    let made = admin.admin(backup).await.unwrap().into_inner();
    let made: Value = serde_json::from_slice(&made.data).unwrap();
    let archive = Path::new(made["target"].as_str().unwrap());
    let fresh = user_keys().start().await;
    let here = fresh.data_dir().join("backups").join("full.bak");
    std::fs::copy(archive, &here).unwrap();
    let restore = serde_json::json!({ "path": here }).to_string();
    let mut admin = fresh.client().await;
    let done = admin.admin(command_of("restore", &restore)).await.unwrap();
    let done: Value = serde_json::from_slice(&done.into_inner().data).unwrap();
    assert_eq!(done["target"], "ok", "{done}");
    fresh
}
