//! Changes that belong together: all of them or none.

use super::again::Twice;
use super::connect::MESSAGE_SIZE_MAX;
use super::entry::{Entry, Expect, PutOptions, Stay, Stored, version_of, wire_type};
use super::keyspace::request_id;
use super::{Keyspace, Result, sum64};
use crate::model::Version;
use crate::proto::v1;
use crate::proto::v1::operation::Change;
use crate::proto::v1::operation_result::Result as Done;
use crate::proto::v1::transaction_service_client::TransactionServiceClient;
use bytes::Bytes;

/// Changes of any keys of one namespace, and what must be so for them to be done. Up to 10,000 of
/// each and 64 MiB together; each key stands in it once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    parts: BatchParts,
    in_otherwise: bool,
}

/// What a batch is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchParts {
    /// What must be so under which key.
    pub conditions: Vec<(Bytes, Expect)>,
    /// What is done then.
    pub operations: Vec<KeyChange>,
    /// What is done when a condition does not hold.
    pub otherwise: Vec<KeyChange>,
}

/// A key, and what happens to it.
pub type KeyChange = (Bytes, Action);

/// What happens to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A value is put under it; what the options expect is a condition of the whole batch.
    Put(Bytes, PutOptions),
    /// It is removed.
    Delete,
    /// It stays as long as this says; [`Stay::Default`] is for ever here.
    Touch(Stay),
    /// It is added to, as a counter.
    Increment {
        /// What is added.
        delta: i64,
        /// Where a counter that is not there begins, before the addition.
        initial: i64,
    },
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Whether all conditions held: then the operations were done, else those behind
    /// [`Batch::otherwise`].
    pub succeeded: bool,
    /// The version that all changes took; `None` when nothing has changed.
    pub version: Option<Version>,
    /// One for each operation that was done, in their order.
    pub results: Vec<OperationDone>,
}

/// What one operation of a commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationDone {
    /// A value was put.
    Put(Stored),
    /// A key was removed: the version that it had, if it was there.
    Deleted(Option<Version>),
    /// A key got another expiry: what is known of it now.
    Touched(Box<Entry>),
    /// Something was added to a counter: what it is now.
    Counted(i64),
}

impl Batch {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The operations are done only if what is under this key is as expected.
    #[must_use]
    pub fn require(mut self, key: impl Into<Bytes>, expect: Expect) -> Self {
        self.parts.conditions.push((key.into(), expect));
        self
    }

    /// Puts a value.
    #[must_use]
    pub fn put(self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.put_with(key, value, PutOptions::default())
    }

    /// Puts a value as the options say; what they expect of the key is a condition of the whole
    /// batch.
    #[must_use]
    pub fn put_with(
        mut self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        options: PutOptions,
    ) -> Self {
        let (key, mut options) = (key.into(), options);
        if let Some(expect) = options.only_if.take() {
            self = self.require(key.clone(), expect);
        }
        self.with((key, Action::Put(value.into(), options)))
    }

    /// Removes a key; that it is not there is no error.
    #[must_use]
    pub fn delete(self, key: impl Into<Bytes>) -> Self {
        self.with((key.into(), Action::Delete))
    }

    /// Sets how long a key stays, and leaves its value; [`Stay::Default`] is for ever here. When it
    /// is not there, nothing of the batch is done.
    #[must_use]
    pub fn touch(self, key: impl Into<Bytes>, stay: Stay) -> Self {
        self.with((key.into(), Action::Touch(stay)))
    }

    /// Adds to a counter, which begins at 0. When it is no counter, nothing of the batch is done.
    #[must_use]
    pub fn increment(self, key: impl Into<Bytes>, delta: i64) -> Self {
        self.increment_from(0, key, delta)
    }

    /// As [`Batch::increment`], of a counter that begins at `initial`, before the addition.
    #[must_use]
    pub fn increment_from(self, initial: i64, key: impl Into<Bytes>, delta: i64) -> Self {
        self.with((key.into(), Action::Increment { delta, initial }))
    }

    /// What follows is done instead, when a condition does not hold.
    #[must_use]
    pub fn otherwise(mut self) -> Self {
        self.in_otherwise = true;
        self
    }

    /// What it is made of.
    #[must_use]
    pub fn into_parts(self) -> BatchParts {
        self.parts
    }

    fn with(mut self, change: KeyChange) -> Self {
        let operations = match self.in_otherwise {
            false => &mut self.parts.operations,
            true => &mut self.parts.otherwise,
        };
        operations.push(change);
        self
    }
}

impl BatchParts {
    fn twice(&self) -> Twice {
        let mut all = self.operations.iter().chain(&self.otherwise);
        let counts = all.any(|(_, action)| matches!(action, Action::Increment { .. }));
        Twice::on_condition(counts || !self.conditions.is_empty())
    }
}

impl Keyspace {
    /// Does a batch: all of it or nothing, seen by nobody in halves.
    ///
    /// When the connection breaks it is sent again under its name, and not done twice. One with
    /// conditions or counters goes only to the same run of the server, which remembers it.
    ///
    /// # Errors
    /// [`Conflict`](super::ClientError::Conflict) where keys keep their first value,
    /// [`Gone`](super::ClientError::Gone) where a key to be touched is not there, and those of every
    /// call. That a condition does not hold is none.
    pub async fn commit(&self, batch: Batch) -> Result<Committed> {
        let parts = batch.into_parts();
        let twice = parts.twice();
        let request = v1::CommitRequest {
            namespace: self.namespace.clone(),
            conditions: parts.conditions.into_iter().map(condition_of).collect(),
            operations: parts.operations.into_iter().map(operation_of).collect(),
            else_operations: parts.otherwise.into_iter().map(operation_of).collect(),
            request_id: request_id(),
            only_run: 0,
        };
        let done = self
            .pool
            .write("commit", (request, twice), |channel, request| {
                let wire = TransactionServiceClient::new(channel);
                let mut wire = wire.max_encoding_message_size(MESSAGE_SIZE_MAX);
                async move { wire.commit(request).await }
            });
        let done = done.await?;
        let done = done.map_err(|status| self.pool.failed("commit", &status))?;
        Ok(Committed {
            succeeded: done.succeeded,
            version: version_of(done.version),
            results: done.results.into_iter().filter_map(result_of).collect(),
        })
    }
}

fn condition_of((key, expect): (Bytes, Expect)) -> v1::KeyCondition {
    v1::KeyCondition {
        key,
        condition: Some(expect.into()),
    }
}

fn operation_of((key, action): KeyChange) -> v1::Operation {
    let change = match action {
        Action::Delete => Change::Delete(v1::DeleteOperation {}),
        Action::Touch(stay) => Change::Touch(v1::TouchOperation {
            expiry: stay.wire(),
        }),
        Action::Increment { delta, initial } => Change::Increment(v1::IncrementOperation {
            delta,
            initial_value: initial,
        }),
        Action::Put(value, options) => Change::Put(v1::PutOperation {
            sum64: Some(sum64(&value)),
            value,
            expiry: options.lifetime.wire(),
            value_type: wire_type(options.value_type).into(),
            metadata: options.metadata,
            ..v1::PutOperation::default()
        }),
    };
    v1::Operation {
        key,
        change: Some(change),
    }
}

fn result_of(told: v1::OperationResult) -> Option<OperationDone> {
    Some(match told.result? {
        Done::Put(put) => OperationDone::Put(Stored::of(put)),
        Done::Delete(delete) => {
            let previous = version_of(delete.previous_version);
            OperationDone::Deleted(previous.filter(|_| delete.deleted))
        }
        Done::Touch(touch) => {
            OperationDone::Touched(Box::new(Entry::of(touch.entry.unwrap_or_default())))
        }
        Done::Increment(increment) => OperationDone::Counted(increment.value),
    })
}
