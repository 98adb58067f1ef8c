//! The Rust client, of both protocols: [`Database`] speaks the native one, [`Client`] zstdb's with its
//! loose ends tied.
//!
//! It knows `model` and `proto` only. What it adds to the wire: a small pool of connections, errors
//! that say what to do next, repeated attempts where repeating is harmless, and the promise that no
//! damaged value is ever returned: the checksum of every Get is verified here.
//!
//! Repeated are calls that read, and [`Client::set_content`], which changes nothing the second
//! time. [`Client::set`] and [`Client::delete`] are repeated only when the server said that it did
//! not start them (overloaded): a late repetition could undo what somebody else did in between.
//!
//! | a program wants to | it takes |
//! |---|---|
//! | read and write keys, now or as of a moment | [`Keyspace`], [`Snapshot`] |
//! | change many keys as one, on conditions | [`Batch`] |
//! | read, decide, and write if nothing has changed | [`Transaction`] |
//! | store numbers, texts and JSON as such | [`Typed`] |
//! | move values of any size | [`Keyspace::upload_from`], [`Download`] |
//! | follow what changes | [`Changes`] |
//! | number things | [`Ids`] |

mod again;
mod batch;
mod byte_range;
mod changes;
mod connect;
mod counter;
mod database;
mod delete_range;
mod download;
mod entry;
mod error;
mod ids;
mod keyspace;
mod lane;
mod large;
mod measure;
mod namespace;
mod reply;
mod retry;
mod scan;
mod snapshot;
mod stream;
mod transact;
mod transaction;
mod transaction_state;
mod type_error;
mod typed;
mod upload_source;

pub use batch::{Action, Batch, BatchParts, Committed, KeyChange, OperationDone};
pub use byte_range::Part;
pub(crate) use byte_range::bytes_of;
pub use changes::{Change, ChangeKind, Changes, Step};
pub use counter::CountOptions;
pub use database::Database;
pub use download::Download;
pub use entry::{Entry, Expect, PutOptions, Stay, Stored, Value};
pub use error::{ClientError, Result, cause_of};
pub use ids::Ids;
pub use keyspace::Keyspace;
pub use lane::{Call, Lane, Moved, NativeLane, Pieces, Protocol};
pub use large::{PIECE_SIZE_MAX, Uploaded};
pub use measure::{Measuring, Usage};
pub use namespace::Namespaces;
pub use reply::{Found, Head, Listed, Stats};
pub use scan::{Query, Row, Rows};
pub use snapshot::{Snapshot, SnapshotLease};
pub use transaction::Transaction;
pub use transaction_state::{Conditions, Draft, SNAPSHOT_GONE, Savepoint, Seen, overtaken};
pub use type_error::TypeError;
pub use typed::Typed;
pub(crate) use upload_source::piece_of;

use crate::model::{Digest, StatusReport, Version};
use crate::proto::zstdb::{Item, ItemReply, ListFilter};
use bytes::Bytes;
use connect::{Badger, Pool, sized};
use retry::Repeat;
use std::future::Future;
use tonic::{Response, Status};

/// The largest value in bytes that any server of this protocol takes: 1 GiB.
pub const VALUE_SIZE_MAX: u64 = 1 << 30;

/// What the original answers for a miss, with the same code as for a failure.
const GET_MISS: &[u8] = b"cannot get from bgrdb";

/// A handle to one server. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Pool,
}

impl Client {
    /// Connects to `address` (`HOST:PORT`). The first of `connections` is opened now, so that a
    /// server that is not there is told at once; the others with their first call.
    ///
    /// # Errors
    /// [`ClientError::Address`] or [`ClientError::Unreachable`].
    pub async fn connect(address: &str, connections: usize) -> Result<Self> {
        let pool = Pool::connect(address, connections).await?;
        Ok(Self { pool })
    }

    /// The server's address, as it was given.
    #[must_use]
    pub fn address(&self) -> &str {
        self.pool.address()
    }

    /// The same server by its native protocol, over the same connections.
    #[must_use]
    pub fn database(&self) -> Database {
        let pool = self.pool.clone();
        Database { pool }
    }

    /// Asks whether the server answers.
    ///
    /// # Errors
    /// Whatever kept it from answering.
    pub async fn ping(&self) -> Result<()> {
        self.ask("ping", Repeat::Always, Item::default(), send_ping)
            .await?;
        Ok(())
    }

    /// Stores a value under a key and returns the key under which it stands: in content mode the
    /// value's digest, whatever key was given. Empty values are not stored by this protocol.
    ///
    /// # Errors
    /// [`ClientError::TooLarge`], [`ClientError::Refused`] and those of every call.
    pub async fn set(&self, key: Bytes, data: Bytes, sum64: u64) -> Result<Bytes> {
        self.store(Repeat::IfNotStarted, key, data, sum64).await
    }

    /// Stores a value under its digest. Sending the key makes it right in both of a server's modes.
    ///
    /// # Errors
    /// As [`Client::set`].
    pub async fn set_content(&self, digest: Digest, data: Bytes, sum64: u64) -> Result<Bytes> {
        let key = Bytes::copy_from_slice(&digest.to_hex());
        self.store(Repeat::Always, key, data, sum64).await
    }

    async fn store(&self, repeat: Repeat, key: Bytes, data: Bytes, sum64: u64) -> Result<Bytes> {
        let size = data.len();
        let item = Item {
            key,
            data,
            ver64: 0,
            sum64,
        };
        let result = self.ask("set", repeat, item, send_set).await;
        match result {
            Err(ClientError::Server { message, .. }) if message.contains("large") => {
                Err(ClientError::TooLarge { size, message })
            }
            other => other.map(|reply| reply.key),
        }
    }

    /// Reads a value and verifies its checksum.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Damaged`] and those of every call.
    pub async fn get(&self, key: &[u8]) -> Result<Found> {
        let reply = self
            .call("get", Repeat::Always, keyed(key), send_get)
            .await?;
        if reply.errcode == 500 && &reply.status[..] == GET_MISS {
            return Err(ClientError::not_found(key));
        }
        let reply = reply::accept("get", self.address(), key, reply)?;
        reply::verified(key, reply)
    }

    /// The version of a key's record, if there is one.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn exists(&self, key: &[u8]) -> Result<Option<Version>> {
        let item = keyed(key);
        let reply = self
            .call("exists", Repeat::Always, item, send_exists)
            .await?;
        if reply.errcode == 404 {
            return Ok(None);
        }
        let reply = reply::accept("exists", self.address(), key, reply)?;
        Ok(Some(Version(reply.ver64)))
    }

    /// What is known of a key without reading its value.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn head(&self, key: &[u8]) -> Result<Option<Head>> {
        let item = Item {
            data: Bytes::from_static(br#"{"mode":1}"#),
            ..keyed(key)
        };
        let reply = self
            .call("exists", Repeat::Always, item, send_exists)
            .await?;
        if reply.errcode == 404 {
            return Ok(None);
        }
        let reply = reply::accept("exists", self.address(), key, reply)?;
        reply::head(self.address(), &reply)
    }

    /// Removes a key. The protocol does not tell whether it was there.
    ///
    /// # Errors
    /// [`ClientError::Refused`] and those of every call.
    pub async fn delete(&self, key: &[u8]) -> Result<()> {
        self.ask("delete", Repeat::IfNotStarted, keyed(key), send_delete)
            .await?;
        Ok(())
    }

    /// A page of at most 1,000 keys with a prefix, in byte order; `page` counts from 1, and the
    /// page after the last is empty. Keys that are not UTF-8 are left out by the protocol.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn list(&self, prefix: &str, page: i32) -> Result<Vec<Listed>> {
        let filter = ListFilter {
            prefix: prefix.to_owned(),
            pagenum: page,
        };
        let reply = self.pool.call(Repeat::Always, |channel| {
            let (mut badger, filter) = (sized(channel), filter.clone());
            async move { badger.list(filter).await }
        });
        let reply = reply.await;
        let reply = reply.map_err(|status| self.pool.failed("list", &status))?;
        let keys = reply.keys.into_iter();
        keys.map(|line| reply::listed(self.address(), &line))
            .collect()
    }

    /// How many keys have a prefix. The protocol does not count without one.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn count(&self, prefix: &[u8]) -> Result<u64> {
        let reply = self
            .ask("count", Repeat::Always, keyed(prefix), send_count)
            .await?;
        reply::number("count", self.address(), &reply.data)
    }

    /// The store's size and counters. Needs no password.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn stats(&self) -> Result<Stats> {
        Ok(self.status(keyed(b"stats")).await?.0)
    }

    /// As [`Client::stats`], with what only shardkeep knows, if the server is one.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn stats_in_detail(&self) -> Result<(Stats, Option<StatusReport>)> {
        let asked = Item {
            data: Bytes::from_static(br#"{"with":"details"}"#),
            ..keyed(b"stats")
        };
        self.status(asked).await
    }

    async fn status(&self, item: Item) -> Result<(Stats, Option<StatusReport>)> {
        let reply = self
            .ask("status", Repeat::Always, item, send_status)
            .await?;
        reply::stats(self.address(), &reply.data)
    }

    /// Runs an administration command and returns its JSON answer. Without a password the server
    /// answers loopback peers, if it has none configured either.
    ///
    /// # Errors
    /// [`ClientError::Denied`] and those of every call.
    pub async fn admin(
        &self,
        command: &'static str,
        data: Bytes,
        password: Option<&str>,
    ) -> Result<Bytes> {
        let item = Item {
            key: Bytes::from_static(command.as_bytes()),
            data,
            ver64: 0,
            sum64: password.map_or(0, |password| sum64(password.as_bytes())),
        };
        let repeat = match command {
            "status" => Repeat::Always,
            _ => Repeat::IfNotStarted,
        };
        let reply = self.ask(command, repeat, item, send_admin).await?;
        Ok(reply.data)
    }

    /// One call whose every non-zero code is an error.
    async fn ask<F, A>(
        &self,
        call: &'static str,
        repeat: Repeat,
        item: Item,
        send: F,
    ) -> Result<ItemReply>
    where
        F: Fn(Badger, Item) -> A,
        A: Future<Output = Result<Response<ItemReply>, Status>>,
    {
        let key = item.key.clone();
        let reply = self.call(call, repeat, item, send).await?;
        reply::accept(call, self.address(), &key, reply)
    }

    async fn call<F, A>(
        &self,
        call: &'static str,
        repeat: Repeat,
        item: Item,
        send: F,
    ) -> Result<ItemReply>
    where
        F: Fn(Badger, Item) -> A,
        A: Future<Output = Result<Response<ItemReply>, Status>>,
    {
        let sent = |channel| send(sized(channel), item.clone());
        let answer = self.pool.call(repeat, sent).await;
        answer.map_err(|status| self.pool.failed(call, &status))
    }
}

/// xxh64 with seed 0: the protocol's checksum of values and of passwords.
#[must_use]
pub fn sum64(data: &[u8]) -> u64 {
    xxhash_rust::xxh64::xxh64(data, 0)
}

fn keyed(key: &[u8]) -> Item {
    Item {
        key: Bytes::copy_from_slice(key),
        ..Item::default()
    }
}

type Sent = Result<Response<ItemReply>, Status>;

async fn send_ping(mut badger: Badger, item: Item) -> Sent {
    badger.ping(item).await
}

async fn send_set(mut badger: Badger, item: Item) -> Sent {
    badger.set(item).await
}

async fn send_get(mut badger: Badger, item: Item) -> Sent {
    badger.get(item).await
}

async fn send_exists(mut badger: Badger, item: Item) -> Sent {
    badger.exists(item).await
}

async fn send_delete(mut badger: Badger, item: Item) -> Sent {
    badger.delete(item).await
}

async fn send_count(mut badger: Badger, item: Item) -> Sent {
    badger.count(item).await
}

async fn send_status(mut badger: Badger, item: Item) -> Sent {
    badger.status(item).await
}

async fn send_admin(mut badger: Badger, item: Item) -> Sent {
    badger.admin(item).await
}
