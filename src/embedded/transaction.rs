//! Transactions: reads at a snapshot, and changes that are kept here until one commit does them all, if
//! what they rest on is still as it was read.
//!
//! The store knows nothing of a transaction before its commit, so that nobody ever waits for one. Whom
//! others were faster than is told by a conflict and begins again.

use super::{Keyspace, Snapshot};
use crate::client::{
    Committed, Draft, Expect, PutOptions, SNAPSHOT_GONE, Savepoint, Seen, Typed, overtaken,
};
use crate::model::{Error, ErrorKind, Result, Version};
use bytes::Bytes;

/// How often work is tried.
pub(super) const ATTEMPTS_MAX: usize = 32;

/// Reads of one moment, and changes of keys of one namespace that rest on them: up to 10,000 keys that
/// were got, 10,000 changes, and 64 MiB of them.
///
/// Dropped without a commit, it has done nothing, and its snapshot is let go.
///
/// ```
/// use shardkeep::client::Typed;
/// use shardkeep::{Options, Store};
///
/// # #[tokio::main(flavor = "multi_thread")]
/// # async fn main() -> shardkeep::model::Result<()> {
/// # let place = tempfile::tempdir().unwrap();
/// # let path = place.path().join("store");
/// let store = Store::open(&path, Options::default()).await?;
/// let seats = store.keyspace("");
/// seats.put_typed("free", 2, Default::default()).await?;
///
/// // Begun again where others were faster.
/// let left = seats
///     .transact(async |transaction| {
///         let free = transaction.get("free").await?;
///         let Some(Typed::Int(free)) = free.map(|it| it.typed()).transpose()? else {
///             return Ok(0);
///         };
///         transaction.put("seat of ada", "1");
///         transaction.put_typed("free", free - 1)?;
///         Ok(free - 1)
///     })
///     .await?;
/// assert_eq!(left, 1);
/// assert_eq!(seats.get_typed("free").await?, Some(Typed::Int(1)));
/// # store.close().await?;
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
    /// Begins a transaction: takes a snapshot of now and holds it. (Of now, too, where this keyspace
    /// reads at an older one.)
    ///
    /// # Errors
    /// `NotFound` (`NAMESPACE_NOT_FOUND`), and as [`crate::Store::snapshot`].
    pub async fn begin(&self) -> Result<Transaction> {
        self.namespace()?;
        let snapshot = Snapshot::take(self.service.clone()).await?;
        Ok(Transaction {
            then: self.at(&snapshot),
            snapshot,
            draft: Draft::default(),
        })
    }

    /// Does some work in a transaction and commits it, from the beginning when others were faster, up
    /// to 32 times in all. What the work gives, and what it has done outside of the transaction, is of
    /// its last run.
    ///
    /// # Errors
    /// `Conflict` after the last attempt, those of the work, and those of [`Transaction::commit`].
    pub async fn transact<T>(
        &self,
        mut work: impl AsyncFnMut(&mut Transaction) -> Result<T>,
    ) -> Result<T> {
        for _ in 1..ATTEMPTS_MAX {
            match self.attempt(&mut work).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                done => return done,
            }
        }
        self.attempt(&mut work).await
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

    /// The keys as they were when it began, without its own changes: for scans and parts of values, of
    /// which nothing is checked at the commit. Writes of this are of now, and no part of the commit.
    #[must_use]
    pub fn begun(&self) -> &Keyspace {
        &self.then
    }

    /// What is under a key, with this transaction's own changes on top; `None` when nothing is. The
    /// commit asks for it to be the same still: at the same version, or not there.
    ///
    /// # Errors
    /// `Conflict` (`SNAPSHOT_NOT_FOUND`) when a shard was opened anew meanwhile, and as
    /// [`Keyspace::get`].
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

    /// As [`Transaction::get`], of many keys, in their order, up to 64 MiB of values.
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

    /// As [`Transaction::peek`], of many keys, in their order, up to 64 MiB of values.
    ///
    /// # Errors
    /// As there.
    pub async fn peek_many<K: Into<Bytes>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Seen>>> {
        let keys: Vec<Bytes> = keys.into_iter().map(Into::into).collect();
        let rest = self.draft.left_alone(&keys);
        let found = self.then.get_many(rest).await.map_err(of_snapshot)?;
        Ok(self.draft.with_own(&keys, found))
    }

    /// Puts a value at the commit. The last change of a key counts. Where the key was not got, it is put
    /// whatever others have put there meanwhile.
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
    /// `Invalid` (`VALUE_TYPE`) for a floating-point number that is not finite.
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

    /// Drops the changes since then, or brings back those that were dropped. What was got is asked for
    /// at the commit all the same.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) {
        self.draft.rollback_to(savepoint);
    }

    /// Does all changes, if what was got is as it was then, and what is required is so. One that changes
    /// and requires nothing is right as of its moment, and nothing is done.
    ///
    /// # Errors
    /// `Conflict` (`CONDITION_FAILED`), which names the key that is not as it was; nothing was changed,
    /// and it is to be begun again. Else as [`Keyspace::commit`].
    pub async fn commit(self) -> Result<Committed> {
        if self.draft.is_empty() {
            return Ok(Committed {
                succeeded: true,
                version: None,
                results: Vec::new(),
            });
        }
        let (conditions, batch) = self.draft.into_commit();
        let now = self.then.now();
        let done = now.commit(batch).await?;
        if done.succeeded {
            return Ok(done);
        }
        // Which one it was is looked for, for the message's sake.
        let found = now.heads(conditions.keys().cloned()).await;
        let message = overtaken(&conditions, found.unwrap_or_default());
        Err(Error::new(ErrorKind::Conflict, "CONDITION_FAILED", message))
    }
}

/// The error of a read at the snapshot: that it is gone means to begin again.
fn of_snapshot(error: Error) -> Error {
    match error.reason() {
        reason @ "SNAPSHOT_NOT_FOUND" => Error::new(ErrorKind::Conflict, reason, SNAPSHOT_GONE),
        _ => error,
    }
}
