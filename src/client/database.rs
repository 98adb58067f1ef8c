//! The native protocol: one server's keyspaces and snapshots.

use super::connect::Pool;
use super::keyspace::Keyspace;
use super::{Result, Snapshot};
use std::time::Duration;

/// A handle to one server by its native protocol. Clones share its connections.
///
/// ```no_run
/// use shardkeep::client::{Batch, Database, Expect, Query};
///
/// # async fn example() -> shardkeep::client::Result<()> {
/// let db = Database::connect("127.0.0.1:8282").await?;
/// let orders = db.keyspace("orders");
///
/// // A value, and one that is stored only if the other is still as it was.
/// let first = orders.put("1001", "open").await?;
/// orders
///     .put_if("1001", "paid", Expect::Version(first.version))
///     .await?;
///
/// // All of it or nothing, and nobody sees half.
/// let move_on = Batch::new()
///     .require("1001", Expect::Present)
///     .delete("1001")
///     .put("archive/1001", "paid");
/// assert!(orders.commit(move_on).await?.succeeded);
///
/// // Reads that belong together. The snapshot is held until it is closed or dropped.
/// let snapshot = db.snapshot().await?;
/// let then = orders.at(&snapshot);
/// let mut rows = then.scan(Query::prefix("archive/").values()).await?;
/// while let Some(page) = rows.next_page().await? {
///     for row in page {
///         println!("{:?} = {:?}", row.entry.key, row.data);
///     }
/// }
///
/// // Every change after it, as it comes; the watch goes on by itself after a break.
/// let mut changes = orders.watch(Query::all(), Some(snapshot.version())).await?;
/// snapshot.close().await?;
/// let step = changes.next().await?;
/// println!("{} changes up to {}", step.changes.len(), step.version);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Database {
    pub(super) pool: Pool,
}

impl Database {
    /// Connects to `address` (`HOST:PORT`) with one connection.
    ///
    /// # Errors
    /// [`Address`](super::ClientError::Address) or [`Unreachable`](super::ClientError::Unreachable).
    pub async fn connect(address: &str) -> Result<Self> {
        Self::connect_pool(address, 1).await
    }

    /// As [`Database::connect`], with several connections that take turns, for many large values at
    /// a time. The first is opened now, the others with their first call.
    ///
    /// # Errors
    /// As there.
    pub async fn connect_pool(address: &str, connections: usize) -> Result<Self> {
        let pool = Pool::connect(address, connections.max(1)).await?;
        Ok(Self { pool })
    }

    /// The server's address, as it was given.
    #[must_use]
    pub fn address(&self) -> &str {
        self.pool.address()
    }

    /// The keys of a namespace; of the default one when the name is empty. Nothing is asked yet:
    /// that there is no such namespace is told by the first call.
    #[must_use]
    pub fn keyspace(&self, namespace: impl Into<String>) -> Keyspace {
        Keyspace::new(self.pool.clone(), namespace.into())
    }

    /// Takes a snapshot of the whole store and holds it, its lease renewed behind the scenes, until
    /// it is closed or dropped.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        const LEASE: Duration = Duration::from_secs(60);
        Snapshot::hold(self.clone(), LEASE).await
    }
}
