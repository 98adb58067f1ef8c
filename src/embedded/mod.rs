//! A store inside a program, without a server: the same engine, the same service, the same words as
//! [`crate::client`], and nothing between.
//!
//! This room opens, looks after and closes ([`Store`]), and hands on what the service answers
//! ([`Keyspace`]). It decides nothing about values. [`blocking`] is its twin for programs without async.
//!
//! ```
//! use shardkeep::client::{Batch, Expect, PutOptions, Query};
//! use shardkeep::{Options, Store};
//!
//! # #[tokio::main(flavor = "multi_thread")]
//! # async fn main() -> shardkeep::model::Result<()> {
//! # let place = tempfile::tempdir().unwrap();
//! # let path = place.path().join("store");
//! let store = Store::open(&path, Options::default()).await?;
//! let orders = store.keyspace("");
//!
//! let first = orders.put("1001", "open").await?;
//! orders.put_if("1001", "paid", Expect::Version(first.version)).await?;
//! let late = orders.put_if("1001", "lost", Expect::Version(first.version)).await;
//! assert_eq!(late.unwrap_err().reason(), "VERSION_MISMATCH");
//!
//! // All of it or nothing.
//! let batch = Batch::new().delete("1001").put("archive/1001", "paid");
//! orders.commit(batch).await?;
//!
//! // The store as of one moment.
//! let snapshot = store.snapshot().await?;
//! orders.put("1002", "open").await?;
//! let mut rows = orders.at(&snapshot).scan(Query::all().values()).await?;
//! let page = rows.next_page().await?.unwrap();
//! assert_eq!(page.len(), 1);
//! assert_eq!(page[0].data.as_deref(), Some(&b"paid"[..]));
//!
//! // Every change since.
//! let mut changes = orders.watch(Query::all(), Some(snapshot.version())).await?;
//! assert_eq!(changes.next().await?.version, snapshot.version());
//! let step = changes.next().await?;
//! assert_eq!(step.changes[0].key, "1002");
//!
//! // A value of any size goes in from a reader and comes out in pieces.
//! let file = tokio::fs::File::open("Cargo.toml").await.unwrap();
//! orders.upload_from("scans/1001", file, PutOptions::default()).await?;
//! let mut download = orders.download("scans/1001").await?.unwrap();
//! let mut size = 0;
//! while let Some(piece) = download.next().await? {
//!     size += piece.len() as u64;
//! }
//! assert_eq!(size, download.entry.len);
//! orders.delete_range(&Query::prefix("scans/")).await?;
//! # drop((changes, rows, snapshot));
//! store.close().await?;
//! # Ok(())
//! # }
//! ```

mod admin;
mod backup;
pub mod blocking;
mod changes;
mod convert;
mod exchange;
mod keyspace;
mod large;
mod namespace;
mod options;
mod rows;
mod snapshot;
mod store;
mod transaction;
mod typed;

pub use crate::exchange::{Exported, Imported};
pub use crate::service::{
    BackupDone, NamespaceChange, RestoreDone, Settings, SettingsChange, Stored as StoredBackup,
    Totals, Verification, VerifyStep,
};
pub use changes::Changes;
pub use exchange::ImportMode;
pub use keyspace::Keyspace;
pub use large::Download;
pub use namespace::NamespaceInfo;
pub use options::Options;
pub use rows::{Measuring, Rows};
pub use snapshot::Snapshot;
pub use store::Store;
use transaction::ATTEMPTS_MAX;
pub use transaction::Transaction;
