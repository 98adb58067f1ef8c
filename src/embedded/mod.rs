//! A store inside a program, without a server: the same engine, the same service, the same words as
//! [`crate::client`], and nothing between.
//!
//! This room opens and closes ([`Store`]), and hands on what the service answers ([`Keyspace`]). It
//! decides nothing about values. [`blocking`] is its twin for programs without async.
//!
//! ```
//! use shardkeep::client::{Batch, Expect, Query};
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
//! # drop((changes, rows, snapshot));
//! store.close().await?;
//! # Ok(())
//! # }
//! ```

pub mod blocking;
mod changes;
mod convert;
mod keyspace;
mod options;
mod rows;
mod snapshot;
mod store;

pub use changes::Changes;
pub use keyspace::Keyspace;
pub use options::Options;
pub use rows::{Measuring, Rows};
pub use snapshot::Snapshot;
pub use store::Store;
