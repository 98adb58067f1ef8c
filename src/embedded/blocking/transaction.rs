//! Transactions, for threads that wait.

use super::Keyspace;
use crate::client::{Committed, Expect, PutOptions, Savepoint, Seen, Typed};
use crate::embedded;
use crate::model::{ErrorKind, Result, Version};
use bytes::Bytes;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// [`embedded::Transaction`], for threads that wait.
#[derive(Debug)]
pub struct Transaction {
    // Before the runtime that its end is told to.
    transaction: embedded::Transaction,
    /// The keys as they were when it began.
    begun: Keyspace,
    runtime: Arc<Runtime>,
}

impl Keyspace {
    /// See [`embedded::Keyspace::begin`].
    ///
    /// # Errors
    /// As there.
    pub fn begin(&self) -> Result<Transaction> {
        let transaction = self.runtime.block_on(self.keys.begin())?;
        Ok(Transaction {
            begun: Self {
                keys: transaction.begun().clone(),
                runtime: self.runtime.clone(),
            },
            transaction,
            runtime: self.runtime.clone(),
        })
    }

    /// See [`embedded::Keyspace::transact`].
    ///
    /// # Errors
    /// As there.
    pub fn transact<T>(&self, mut work: impl FnMut(&mut Transaction) -> Result<T>) -> Result<T> {
        let mut attempt = || -> Result<T> {
            let mut transaction = self.begin()?;
            let done = work(&mut transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        for _ in 1..embedded::ATTEMPTS_MAX {
            match attempt() {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                done => return done,
            }
        }
        attempt()
    }
}

impl Transaction {
    /// See [`embedded::Transaction::version`].
    #[must_use]
    pub fn version(&self) -> Version {
        self.transaction.version()
    }

    /// See [`embedded::Transaction::begun`].
    #[must_use]
    pub fn begun(&self) -> &Keyspace {
        &self.begun
    }

    /// See [`embedded::Transaction::get`].
    ///
    /// # Errors
    /// As there.
    pub fn get(&mut self, key: impl Into<Bytes>) -> Result<Option<Seen>> {
        self.runtime.block_on(self.transaction.get(key))
    }

    /// See [`embedded::Transaction::peek`].
    ///
    /// # Errors
    /// As there.
    pub fn peek(&self, key: impl Into<Bytes>) -> Result<Option<Seen>> {
        self.runtime.block_on(self.transaction.peek(key))
    }

    /// See [`embedded::Transaction::get_many`].
    ///
    /// # Errors
    /// As there.
    pub fn get_many<K: Into<Bytes>>(
        &mut self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Seen>>> {
        self.runtime.block_on(self.transaction.get_many(keys))
    }

    /// See [`embedded::Transaction::peek_many`].
    ///
    /// # Errors
    /// As there.
    pub fn peek_many<K: Into<Bytes>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Seen>>> {
        self.runtime.block_on(self.transaction.peek_many(keys))
    }

    /// See [`embedded::Transaction::put`].
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.transaction.put(key, value);
    }

    /// See [`embedded::Transaction::put_with`].
    pub fn put_with(
        &mut self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        options: PutOptions,
    ) {
        self.transaction.put_with(key, value, options);
    }

    /// See [`embedded::Transaction::put_typed`].
    ///
    /// # Errors
    /// As there.
    pub fn put_typed(&mut self, key: impl Into<Bytes>, value: impl Into<Typed>) -> Result<()> {
        self.transaction.put_typed(key, value)
    }

    /// See [`embedded::Transaction::delete`].
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.transaction.delete(key);
    }

    /// See [`embedded::Transaction::require`].
    pub fn require(&mut self, key: impl Into<Bytes>, expect: Expect) {
        self.transaction.require(key, expect);
    }

    /// See [`embedded::Transaction::savepoint`].
    #[must_use]
    pub fn savepoint(&self) -> Savepoint {
        self.transaction.savepoint()
    }

    /// See [`embedded::Transaction::rollback_to`].
    pub fn rollback_to(&mut self, savepoint: &Savepoint) {
        self.transaction.rollback_to(savepoint);
    }

    /// See [`embedded::Transaction::commit`].
    ///
    /// # Errors
    /// As there.
    pub fn commit(self) -> Result<Committed> {
        self.runtime.block_on(self.transaction.commit())
    }
}
