//! Keys by their bounds, in the native protocol.

use super::connect::channel;
use super::reply::Head;
use super::retry::{Repeat, repeated};
use super::{ClientError, Result};
use crate::model::Version;
use crate::proto::v1;
use crate::proto::v1::key_value_service_client::KeyValueServiceClient;
use bytes::Bytes;
use std::sync::Arc;
use tonic::{Code, Status, Streaming};

/// Which keys are listed, and in which order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyQuery {
    /// Empty for the default one.
    pub namespace: String,
    /// Only keys that begin with this.
    pub prefix: Bytes,
    /// The first key.
    pub start: Bytes,
    /// The first key that is not listed any more; empty for no end.
    pub end: Bytes,
    /// From the largest key down.
    pub reverse: bool,
    /// At most so many; 0 for all.
    pub limit: u64,
    /// The snapshot to read from; empty for what is there now.
    pub snapshot: String,
}

/// Keys on their way, all of them as of one moment.
#[derive(Debug)]
pub struct Keys {
    address: Arc<str>,
    messages: Streaming<v1::StreamScanResponse>,
}

impl Keys {
    /// Asks the server at `address` (`HOST:PORT`) for keys. That is repeated while the server
    /// cannot answer, and not any more once keys have come.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] for the namespace or the snapshot, [`ClientError::Server`] for a
    /// query that cannot be, and those of every call.
    pub async fn scan(address: &str, query: KeyQuery) -> Result<Self> {
        let wire = KeyValueServiceClient::new(channel(address).await?);
        let request = v1::StreamScanRequest {
            namespace: query.namespace,
            selection: Some(v1::KeySelection {
                start_key: query.start,
                end_key: query.end,
                prefix: query.prefix,
            }),
            reverse: query.reverse,
            keys_only: true,
            limit: query.limit,
            snapshot: query.snapshot,
        };
        let begun = repeated(Repeat::Always, || {
            let (mut wire, request) = (wire.clone(), request.clone());
            async move { wire.stream_scan(request).await }
        });
        let messages = begun.await.map_err(|status| failed(address, &status))?;
        Ok(Self {
            address: address.into(),
            messages: messages.into_inner(),
        })
    }

    /// Some more keys, with what is known of their values; `None` at the end.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn next(&mut self) -> Result<Option<Vec<(Bytes, Head)>>> {
        let message = self.messages.message().await;
        let Some(message) = message.map_err(|status| failed(&self.address, &status))? else {
            return Ok(None);
        };
        let entries = message.results.into_iter().filter_map(|it| it.entry);
        Ok(Some(entries.map(key_and_head).collect()))
    }
}

fn key_and_head(entry: v1::Entry) -> (Bytes, Head) {
    let head = Head {
        version: Version(entry.version),
        len: entry.size,
        sum64: entry.sum64,
    };
    (entry.key, head)
}

fn failed(address: &str, status: &Status) -> ClientError {
    match status.code() {
        Code::NotFound => ClientError::NotFound {
            key: status.message().to_owned(),
        },
        _ => ClientError::from_status("scan", address, status),
    }
}
