//! What a transaction wants to happen: its changes, the last one of each key, and what they require.
//!
//! A save point shares the state with its transaction until that changes something: it costs nothing
//! where nobody rolls back to it, and a copy of the state, without the values, where changes follow.

use super::{Batch, Expect, PutOptions, Seen};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state of a transaction at some moment.
#[derive(Debug, Clone)]
pub struct Savepoint(Arc<Parts>);

/// The state of a transaction.
#[derive(Debug, Default)]
pub(super) struct Own(Arc<Parts>);

/// What the state is made of.
#[derive(Debug, Clone, Default)]
struct Parts {
    required: BTreeMap<Bytes, Expect>,
    changes: BTreeMap<Bytes, Change>,
}

/// What becomes of a key.
#[derive(Debug, Clone)]
enum Change {
    Put(Bytes, PutOptions),
    Delete,
}

impl Own {
    pub(super) fn put(&mut self, key: Bytes, value: Bytes, mut options: PutOptions) {
        if let Some(expect) = options.only_if.take() {
            self.require(key.clone(), expect);
        }
        self.change(key, Change::Put(value, options));
    }

    pub(super) fn delete(&mut self, key: Bytes) {
        self.change(key, Change::Delete);
    }

    pub(super) fn require(&mut self, key: Bytes, expect: Expect) {
        Arc::make_mut(&mut self.0).required.insert(key, expect);
    }

    fn change(&mut self, key: Bytes, change: Change) {
        Arc::make_mut(&mut self.0).changes.insert(key, change);
    }

    /// What a key is by these changes; `None` where they leave it as it is.
    pub(super) fn read(&self, key: &Bytes) -> Option<Option<Seen>> {
        match self.0.changes.get(key)? {
            Change::Put(value, options) => Some(Some(Seen {
                key: key.clone(),
                version: None,
                data: value.clone(),
                value_type: options.value_type,
                metadata: options.metadata.clone(),
            })),
            Change::Delete => Some(None),
        }
    }

    pub(super) fn savepoint(&self) -> Savepoint {
        Savepoint(Arc::clone(&self.0))
    }

    pub(super) fn rollback_to(&mut self, savepoint: &Savepoint) {
        self.0 = Arc::clone(&savepoint.0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.changes.is_empty() && self.0.required.is_empty()
    }

    /// All of it at once, if what is required is so, and what the others are to be.
    pub(super) fn into_commit(
        self,
        mut others: BTreeMap<Bytes, Expect>,
    ) -> (BTreeMap<Bytes, Expect>, Batch) {
        let Parts {
            mut required,
            changes,
        } = Arc::unwrap_or_clone(self.0);
        // What is required stands before the others.
        others.append(&mut required);
        let conditions = others.iter().map(|(key, expect)| (key.clone(), *expect));
        let batch = conditions.fold(Batch::new(), |batch, (key, expect)| {
            batch.require(key, expect)
        });
        let batch = changes
            .into_iter()
            .fold(batch, |batch, (key, change)| match change {
                Change::Put(value, options) => batch.put_with(key, value, options),
                Change::Delete => batch.delete(key),
            });
        (others, batch)
    }
}
