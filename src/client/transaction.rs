//! Transactions: reads at a snapshot, and changes that are kept here until one commit does them all, if
//! what they rest on is still as it was read.
//!
//! The server knows nothing of a transaction before its commit, so that nobody ever waits for one. Whom
//! others were faster than is told by [`ClientError::Conflict`] and begins again.

use super::transaction_state::{Own, Savepoint};
use super::{
    ClientError, Committed, Database, Expect, Keyspace, PutOptions, Result, Snapshot, Typed, Value,
};
use crate::model::{ValueType, Version};
use bytes::Bytes;
use std::collections::BTreeMap;

/// How often [`Keyspace::transact`] begins again.
const ATTEMPTS_MAX: usize = 32;

/// Reads of one moment, and changes of keys of one namespace that rest on them: up to 10,000 keys that
/// were read for update, 10,000 changes, and 64 MiB of them.
///
/// Dropped without a commit, it has done nothing, and its snapshot is let go.
///
/// ```no_run
/// use shardkeep::client::Database;
///
/// # async fn example() -> shardkeep::client::Result<()> {
/// let accounts = Database::connect("127.0.0.1:8282").await?.keyspace("accounts");
/// let mut transfer = accounts.begin().await?;
/// let from = transfer.get_for_update("alice").await?;
/// let to = transfer.get_for_update("bob").await?;
/// println!("from {from:?} to {to:?}");
/// transfer.put("alice", "70");
/// transfer.put("bob", "80");
///
/// // What is tried and taken back.
/// let before = transfer.savepoint();
/// transfer.delete("fees");
/// transfer.rollback_to(&before);
///
/// // A conflict where one of the two has changed since `begin`.
/// transfer.commit().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Transaction {
    /// As it was at the snapshot.
    then: Keyspace,
    snapshot: Snapshot,
    own: Own,
    /// What keys were that were read for update. It outlives a roll back: decisions rest on it.
    seen: BTreeMap<Bytes, Expect>,
}

/// A value as a transaction sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The key.
    pub key: Bytes,
    /// The version of its record; `None` for a value that the transaction has put itself.
    pub version: Option<Version>,
    /// The value.
    pub data: Bytes,
    /// What the value is to its client.
    pub value_type: ValueType,
    /// What else its client says of it.
    pub metadata: BTreeMap<String, String>,
}

impl Keyspace {
    /// Begins a transaction: takes a snapshot of now and holds it, its lease renewed behind the scenes.
    /// (Of now, too, where this keyspace reads at an older one.)
    ///
    /// # Errors
    /// [`ClientError::Unavailable`] while too many snapshots are held, and those of every call.
    pub async fn begin(&self) -> Result<Transaction> {
        let pool = self.pool.clone();
        let snapshot = Database { pool }.snapshot().await?;
        Ok(Transaction {
            then: self.at(&snapshot),
            snapshot,
            own: Own::default(),
            seen: BTreeMap::new(),
        })
    }

    /// Does some work in a transaction and commits it, from the beginning when others were faster, up
    /// to 32 times in all. What the work gives, and what it has done outside of the transaction, is of
    /// its last run.
    ///
    /// ```no_run
    /// # async fn example(keys: shardkeep::client::Keyspace) -> shardkeep::client::Result<()> {
    /// use shardkeep::client::Typed;
    ///
    /// let seats_left = keys
    ///     .transact(async |transaction| {
    ///         let seats = transaction.get_for_update("seats").await?;
    ///         let Some(Typed::Int(seats)) = seats.map(|it| it.typed()).transpose()? else {
    ///             return Ok(0);
    ///         };
    ///         transaction.put_typed("seats", seats - 1)?;
    ///         Ok(seats - 1)
    ///     })
    ///     .await?;
    /// # let _: i64 = seats_left;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Conflict`] after the last attempt, those of the work, and those of
    /// [`Transaction::commit`].
    pub async fn transact<T>(
        &self,
        mut work: impl AsyncFnMut(&mut Transaction) -> Result<T>,
    ) -> Result<T> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.attempt(&mut work).await {
                Err(ClientError::Conflict { .. }) if attempts < ATTEMPTS_MAX => {}
                done => return done,
            }
        }
    }

    async fn attempt<T>(
        &self,
        work: &mut impl AsyncFnMut(&mut Transaction) -> Result<T>,
    ) -> Result<T> {
        let mut transaction = self.begin().await?;
        let done = work(&mut transaction).await?;
        transaction.commit().await?;
        Ok(done)
    }
}

impl Transaction {
    /// Every change up to this version is in what it reads, and none after but its own.
    #[must_use]
    pub fn version(&self) -> Version {
        self.snapshot.version()
    }

    /// What is under a key, with this transaction's own changes on top; `None` when nothing is. Others
    /// may change it before the commit.
    ///
    /// # Errors
    /// [`ClientError::Conflict`] (`SNAPSHOT_NOT_FOUND`) when the server has started anew meanwhile, and
    /// as [`Keyspace::get`].
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<Seen>> {
        let key = key.into();
        match self.own.read(&key) {
            Some(own) => Ok(own),
            None => Ok(self.read(key).await?.map(Seen::of)),
        }
    }

    /// As [`Transaction::get`], of a key that must be the same still at the commit: at the same version,
    /// or not there.
    ///
    /// # Errors
    /// As there.
    pub async fn get_for_update(&mut self, key: impl Into<Bytes>) -> Result<Option<Seen>> {
        let key = key.into();
        if let Some(own) = self.own.read(&key) {
            return Ok(own);
        }
        let value = self.read(key.clone()).await?;
        let found = value.as_ref().map(|value| value.entry.version);
        self.seen
            .insert(key, found.map_or(Expect::Absent, Expect::Version));
        Ok(value.map(Seen::of))
    }

    async fn read(&self, key: Bytes) -> Result<Option<Value>> {
        match self.then.get(key).await {
            Err(ClientError::Gone { reason, .. }) if reason == "SNAPSHOT_NOT_FOUND" => {
                Err(snapshot_is_gone(reason))
            }
            read => read,
        }
    }

    /// Puts a value at the commit. The last change of a key counts.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.put_with(key, value, PutOptions::default());
    }

    /// Puts a value at the commit, as the options say; what they expect is a condition of the whole.
    pub fn put_with(
        &mut self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        options: PutOptions,
    ) {
        self.own.put(key.into(), value.into(), options);
    }

    /// Puts a value with its type at the commit.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for a floating-point number that is not finite.
    pub fn put_typed(&mut self, key: impl Into<Bytes>, value: impl Into<Typed>) -> Result<()> {
        let (value, options) = PutOptions::default().of_typed(&value.into())?;
        self.put_with(key, value, options);
        Ok(())
    }

    /// Removes a key at the commit; that it is not there is no error.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.own.delete(key.into());
    }

    /// The commit is done only if what is under this key is as expected then. This stands before what a
    /// read for update has seen there.
    pub fn require(&mut self, key: impl Into<Bytes>, expect: Expect) {
        self.own.require(key.into(), expect);
    }

    /// The changes so far, and what they require, for [`Transaction::rollback_to`].
    #[must_use]
    pub fn savepoint(&self) -> Savepoint {
        self.own.savepoint()
    }

    /// Drops the changes since then, or brings back those that were dropped. What was read for update
    /// is asked for at the commit all the same.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) {
        self.own.rollback_to(savepoint);
    }

    /// Drops all changes, and lets the snapshot go before this returns.
    ///
    /// # Errors
    /// Those of every call; nothing was changed all the same.
    pub async fn rollback(self) -> Result<()> {
        self.snapshot.close().await
    }

    /// Does all changes, if what was read for update is as it was read, and what is required is so. One
    /// that changes and requires nothing is right as of its moment, and nothing is sent.
    ///
    /// # Errors
    /// [`ClientError::Conflict`] (`CONDITION_FAILED`), which names the key that is not as it was;
    /// nothing was changed, and it is to be begun again. Else as [`Keyspace::commit`].
    pub async fn commit(self) -> Result<Committed> {
        if self.own.is_empty() {
            return Ok(Committed {
                succeeded: true,
                version: None,
                results: Vec::new(),
            });
        }
        let (conditions, batch) = self.own.into_commit(self.seen);
        let now = self.then.at_id("");
        let done = now.commit(batch).await?;
        match done.succeeded {
            true => Ok(done),
            false => Err(overtaken(&now, conditions).await),
        }
    }
}

impl Seen {
    fn of(value: Value) -> Self {
        Self {
            key: value.entry.key,
            version: Some(value.entry.version),
            data: value.data,
            value_type: value.entry.value_type,
            metadata: value.entry.metadata,
        }
    }

    /// The value as what it is.
    ///
    /// # Errors
    /// [`ClientError::Unreadable`] for bytes that are not what their type says.
    pub fn typed(&self) -> Result<Typed> {
        Typed::decode(&self.key, &self.data, self.value_type)
    }
}

fn snapshot_is_gone(reason: String) -> ClientError {
    let message =
        "what the transaction reads from is gone, as the server has started anew: begin again";
    ClientError::Conflict {
        reason,
        message: message.to_owned(),
    }
}

/// The error of a commit whose conditions did not hold. The server does not say which one: it is looked
/// for, for the message's sake, so whatever keeps it from being found is left out.
async fn overtaken(now: &Keyspace, conditions: BTreeMap<Bytes, Expect>) -> ClientError {
    let found = now.heads(conditions.keys().cloned()).await;
    let found = found.unwrap_or_default();
    let mut both = conditions.iter().zip(found);
    let differs = both.find(|((_, expect), entry)| !expect.holds(entry.as_ref()));
    let what = differs.map_or_else(
        || "a key was not as it was read".to_owned(),
        |((key, expect), entry)| expect.broken(key, entry.as_ref()),
    );
    ClientError::Conflict {
        reason: "CONDITION_FAILED".to_owned(),
        message: format!("{what}, so nothing was changed: begin the transaction again"),
    }
}
