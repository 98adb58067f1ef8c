//! One bare connection, for load generators: no pool, no second attempts, no checksum, so that what
//! is measured is the server.

mod native;

pub use native::{Call, Moved, NativeLane, Pieces};

use super::connect::{self, Badger};
use super::{ClientError, Result, reply};
use crate::proto::etcd::kv_client::KvClient;
use crate::proto::etcd::{PutRequest, RangeRequest};
use crate::proto::zstdb::{Item, ItemReply};
use std::sync::Arc;
use tonic::Status;
use tonic::transport::Channel;

/// What the other side speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// zstdb's, and so ours.
    Zstdb,
    /// Our own.
    Native {
        /// Whether each put has a name, as those of [`Keyspace`](super::Keyspace) have.
        request_ids: bool,
    },
    /// etcd's key-value service.
    Etcd,
}

/// A connection of its own. Clones share it.
#[derive(Debug, Clone)]
pub struct Lane {
    address: Arc<str>,
    wire: Wire,
}

#[derive(Debug, Clone)]
enum Wire {
    Zstdb(Badger),
    Native(NativeLane),
    Etcd(KvClient<Channel>),
}

impl Lane {
    /// Opens a connection to `address` (`HOST:PORT`).
    ///
    /// # Errors
    /// [`ClientError::Address`] or [`ClientError::Unreachable`].
    pub async fn connect(address: &str, protocol: Protocol) -> Result<Self> {
        let channel = connect::channel(address).await?;
        let wire = match protocol {
            Protocol::Zstdb => Wire::Zstdb(connect::sized(channel)),
            Protocol::Native { request_ids } => Wire::Native(NativeLane::new(channel, request_ids)),
            Protocol::Etcd => Wire::Etcd(KvClient::new(channel)),
        };
        Ok(Self {
            address: address.into(),
            wire,
        })
    }

    /// Stores a value; the reply's key is where it stands.
    ///
    /// # Errors
    /// What the server or the connection answers.
    pub async fn set(&mut self, item: Item) -> Result<ItemReply> {
        let (key, sent) = match &mut self.wire {
            Wire::Zstdb(badger) => (item.key.clone(), badger.set(item).await),
            Wire::Native(native) => (item.key.clone(), native.put(item).await),
            Wire::Etcd(kv) => {
                let key = item.key;
                let put = PutRequest {
                    key: key.clone(),
                    value: item.data,
                };
                let put = kv.put(put).await;
                let reply = ItemReply {
                    key: key.clone(),
                    ..ItemReply::default()
                };
                (key, put.map(|done| done.map(|_| reply)))
            }
        };
        let answered = sent.map_err(|status| self.lost("set", &status))?;
        reply::accept("set", &self.address, &key, answered.into_inner())
    }

    /// Reads a value. Its checksum is not verified.
    ///
    /// # Errors
    /// What the server or the connection answers; a miss is an error too.
    pub async fn get(&mut self, item: Item) -> Result<ItemReply> {
        let key = item.key.clone();
        let sent = match &mut self.wire {
            Wire::Zstdb(badger) => badger.get(item).await.map(tonic::Response::into_inner),
            Wire::Native(native) => native.get(item).await,
            Wire::Etcd(kv) => range(kv, item).await,
        };
        let answered = sent.map_err(|status| self.lost("get", &status))?;
        reply::accept("get", &self.address, &key, answered)
    }

    /// Makes a call that only the native protocol has.
    ///
    /// # Errors
    /// What the server or the connection answers.
    pub async fn call(&mut self, call: Call) -> Result<Moved> {
        let name = call.name();
        let done = match &mut self.wire {
            Wire::Native(native) => native.call(call).await,
            Wire::Zstdb(_) | Wire::Etcd(_) => Err(Status::unimplemented("not in this protocol")),
        };
        done.map_err(|status| self.lost(name, &status))
    }

    fn lost(&self, call: &'static str, status: &Status) -> ClientError {
        ClientError::from_status(call, &self.address, status)
    }
}

async fn range(kv: &mut KvClient<Channel>, item: Item) -> Result<ItemReply, Status> {
    let request = RangeRequest {
        key: item.key,
        ..RangeRequest::default()
    };
    let mut found = kv.range(request).await?.into_inner().kvs;
    let found = found
        .pop()
        .ok_or_else(|| Status::not_found("no such key"))?;
    Ok(ItemReply {
        key: found.key,
        data: found.value,
        ..ItemReply::default()
    })
}
