//! Transactions: reads at a snapshot, and changes that are kept here until one commit does them all, if
//! what they rest on is still as it was read.
//!
//! The server knows nothing of a transaction before its commit, so that nobody ever waits for one. Whom
//! others were faster than is told by [`ClientError::Conflict`] and begins again.

use super::transaction_state::{Conditions, Draft, SNAPSHOT_GONE, Savepoint, Seen, overtaken};
use super::{
    ClientError, Committed, Database, Expect, Keyspace, PutOptions, Result, Snapshot, Typed,
};
use crate::model::Version;
use bytes::Bytes;

/// Reads of one moment, and changes of keys of one namespace that rest on them: up to 10,000 keys that
/// were got, 10,000 changes, and 64 MiB of them.
///
/// Dropped without a commit, it has done nothing, and its snapshot is let go.
///
/// ```no_run
/// use shardkeep::client::Database;
///
/// # async fn example() -> shardkeep::client::Result<()> {
/// let accounts = Database::connect("127.0.0.1:8282").await?.keyspace("accounts");
/// let mut transfer = accounts.begin().await?;
/// let from = transfer.get("alice").await?;
/// let to = transfer.get("bob").await?;
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
    draft: Draft,
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
            draft: Draft::default(),
        })
    }
}

impl Transaction {
    /// Every change up to this version is in what it reads, and none after but its own.
    #[must_use]
    pub fn version(&self) -> Version {
        self.snapshot.version()
    }

    /// The keys as they were when it began, without its own changes: for scans and parts of values, of
    /// which nothing is checked at the commit. Writes of this are of now, and no part of the commit.
    #[must_use]
    pub fn begun(&self) -> &Keyspace {
        &self.then
    }

    /// What is under a key, with this transaction's own changes on top; `None` when nothing is. The
    /// commit asks for it to be the same still: at the same version, or not there. (Elsewhere this is
    /// called to get for update.)
    ///
    /// # Errors
    /// [`ClientError::Conflict`] (`SNAPSHOT_NOT_FOUND`) when the server has started anew meanwhile, and
    /// as [`Keyspace::get`].
    pub async fn get(&mut self, key: impl Into<Bytes>) -> Result<Option<Seen>> {
        let key = key.into();
        let found = self.peek(key.clone()).await?;
        self.draft.check_at_commit(key, found.as_ref());
        Ok(found)
    }

    /// As [`Transaction::get`], of a key that others may change before the commit.
    ///
    /// # Errors
    /// As there.
    pub async fn peek(&self, key: impl Into<Bytes>) -> Result<Option<Seen>> {
        let key = key.into();
        if let Some(own) = self.draft.own(&key) {
            return Ok(own);
        }
        let value = self.then.get(key).await.map_err(of_snapshot)?;
        Ok(value.map(Seen::of))
    }

    /// As [`Transaction::peek`], of up to 10,000 keys, in their order.
    ///
    /// # Errors
    /// As there.
    pub async fn peek_many<K: Into<Bytes>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Seen>>> {
        let keys: Vec<Bytes> = keys.into_iter().map(Into::into).collect();
        let rest = self.draft.left_alone(&keys);
        let found = match rest.is_empty() {
            true => Vec::new(),
            false => self.then.get_many(rest).await.map_err(of_snapshot)?,
        };
        Ok(self.draft.with_own(&keys, found))
    }

    /// As [`Transaction::get`], of up to 10,000 keys, in their order.
    ///
    /// # Errors
    /// As there.
    pub async fn get_many<K: Into<Bytes>>(
        &mut self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Seen>>> {
        let keys: Vec<Bytes> = keys.into_iter().map(Into::into).collect();
        let found = self.peek_many(keys.clone()).await?;
        for (key, found) in keys.into_iter().zip(&found) {
            self.draft.check_at_commit(key, found.as_ref());
        }
        Ok(found)
    }

    /// Puts a value at the commit. The last change of a key counts. Where the key was not
    /// got, it is put whatever others have put there meanwhile.
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
        self.draft.put(key.into(), value.into(), options);
    }

    /// Puts a value with its type at the commit.
    ///
    /// # Errors
    /// [`TypeError::NotFinite`](super::TypeError::NotFinite) for such a floating-point number.
    pub fn put_typed(&mut self, key: impl Into<Bytes>, value: impl Into<Typed>) -> Result<()> {
        let (value, options) = PutOptions::default().of_typed(&value.into())?;
        self.put_with(key, value, options);
        Ok(())
    }

    /// Removes a key at the commit; that it is not there is no error.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.draft.delete(key.into());
    }

    /// The commit is done only if what is under this key is as expected then. This stands before what was
    /// got there.
    pub fn require(&mut self, key: impl Into<Bytes>, expect: Expect) {
        self.draft.require(key.into(), expect);
    }

    /// The changes so far, and what they require, for [`Transaction::rollback_to`].
    #[must_use]
    pub fn savepoint(&self) -> Savepoint {
        self.draft.savepoint()
    }

    /// Drops the changes since then, or brings back those that were dropped. What was got is
    /// asked for at the commit all the same.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) {
        self.draft.rollback_to(savepoint);
    }

    /// Drops all changes, and lets the snapshot go before this returns.
    ///
    /// # Errors
    /// Those of every call; nothing was changed all the same.
    pub async fn rollback(self) -> Result<()> {
        self.snapshot.close().await
    }

    /// Does all changes, if what was got is as it was then, and what is required is so. One
    /// that changes and requires nothing is right as of its moment, and nothing is sent.
    ///
    /// # Errors
    /// [`ClientError::Conflict`] (`CONDITION_FAILED`), which names the key that is not as it was;
    /// nothing was changed, and it is to be begun again. Else as [`Keyspace::commit`].
    pub async fn commit(self) -> Result<Committed> {
        if self.draft.is_empty() {
            return Ok(Committed {
                succeeded: true,
                version: None,
                results: Vec::new(),
            });
        }
        let (conditions, batch) = self.draft.into_commit();
        let now = self.then.at_id("");
        let done = now.commit(batch).await?;
        match done.succeeded {
            true => Ok(done),
            false => Err(conflict(&now, &conditions).await),
        }
    }
}

/// The error of a read at the snapshot: that it is gone means to begin again.
fn of_snapshot(error: ClientError) -> ClientError {
    match error {
        ClientError::Gone { reason, .. } if reason == "SNAPSHOT_NOT_FOUND" => {
            let message = SNAPSHOT_GONE.to_owned();
            ClientError::Conflict { reason, message }
        }
        other => other,
    }
}

/// The error of a commit whose conditions did not hold. The server does not say which one: it is looked
/// for, for the message's sake, so whatever keeps it from being found is left out.
async fn conflict(now: &Keyspace, conditions: &Conditions) -> ClientError {
    let found = now.heads(conditions.keys().cloned()).await;
    ClientError::Conflict {
        reason: "CONDITION_FAILED".to_owned(),
        message: overtaken(conditions, found.unwrap_or_default()),
    }
}
