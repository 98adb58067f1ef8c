//! What a transaction has seen and wants to happen: its changes, the last one of each key, and what they
//! require. Transactions of a client and those of a store inside the program keep the same.
//!
//! A save point shares the changes with its transaction until that changes something: it costs nothing
//! where nobody rolls back to it, and a copy of them, without the values, where changes follow.

use super::{Batch, Entry, Expect, PutOptions, TypeError, Typed, Value};
use crate::model::{ValueType, Version};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What must be so under which key for a transaction to be done.
pub type Conditions = BTreeMap<Bytes, Expect>;

/// The changes of a transaction at some moment, and what they require.
#[derive(Debug, Clone)]
pub struct Savepoint(Arc<Parts>);

/// What a transaction has seen and wants.
#[derive(Debug, Default)]
pub struct Draft {
    /// What keys were that were got, not peeked at. It outlives a roll back: decisions rest on it.
    seen: Conditions,
    own: Arc<Parts>,
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

/// What the changes are made of.
#[derive(Debug, Clone, Default)]
struct Parts {
    required: Conditions,
    changes: BTreeMap<Bytes, Change>,
}

/// What becomes of a key.
#[derive(Debug, Clone)]
enum Change {
    Put(Bytes, PutOptions),
    Delete,
}

impl Draft {
    /// What a key is by these changes; `None` where they leave it as it is.
    #[must_use]
    pub fn own(&self, key: &Bytes) -> Option<Option<Seen>> {
        match self.own.changes.get(key)? {
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

    /// Those keys that these changes leave as they are, in their order.
    #[must_use]
    pub fn left_alone(&self, keys: &[Bytes]) -> Vec<Bytes> {
        let rest = keys
            .iter()
            .filter(|key| !self.own.changes.contains_key(*key));
        rest.cloned().collect()
    }

    /// What keys are: by these changes, or what was found of [`Draft::left_alone`].
    #[must_use]
    pub fn with_own(&self, keys: &[Bytes], found: Vec<Option<Value>>) -> Vec<Option<Seen>> {
        let mut found = found.into_iter();
        let seen = |key| match self.own(key) {
            Some(own) => own,
            None => found.next().flatten().map(Seen::of),
        };
        keys.iter().map(seen).collect()
    }

    /// The commit asks for a key to be as it was found, unless that is these changes' own doing.
    pub fn check_at_commit(&mut self, key: Bytes, found: Option<&Seen>) {
        if !self.own.changes.contains_key(&key) {
            let version = found.and_then(|seen| seen.version);
            let as_found = version.map_or(Expect::Absent, Expect::Version);
            self.seen.insert(key, as_found);
        }
    }

    /// A value is put; what the options expect is a condition of the whole.
    pub fn put(&mut self, key: Bytes, value: Bytes, mut options: PutOptions) {
        if let Some(expect) = options.only_if.take() {
            self.require(key.clone(), expect);
        }
        self.change(key, Change::Put(value, options));
    }

    /// A key is removed.
    pub fn delete(&mut self, key: Bytes) {
        self.change(key, Change::Delete);
    }

    /// Something must be so.
    pub fn require(&mut self, key: Bytes, expect: Expect) {
        Arc::make_mut(&mut self.own).required.insert(key, expect);
    }

    fn change(&mut self, key: Bytes, change: Change) {
        Arc::make_mut(&mut self.own).changes.insert(key, change);
    }

    /// The changes so far.
    #[must_use]
    pub fn savepoint(&self) -> Savepoint {
        Savepoint(Arc::clone(&self.own))
    }

    /// The changes are those of then.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) {
        self.own = Arc::clone(&savepoint.0);
    }

    /// Whether nothing is changed or required.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.own.changes.is_empty() && self.own.required.is_empty()
    }

    /// All of it at once, and what must be so for it. What is required stands before what was seen.
    #[must_use]
    pub fn into_commit(self) -> (Conditions, Batch) {
        let Parts {
            mut required,
            changes,
        } = Arc::unwrap_or_clone(self.own);
        let mut conditions = self.seen;
        conditions.append(&mut required);
        let asked = conditions
            .iter()
            .map(|(key, expect)| (key.clone(), *expect));
        let batch = asked.fold(Batch::new(), |batch, (key, expect)| {
            batch.require(key, expect)
        });
        let batch = changes
            .into_iter()
            .fold(batch, |batch, (key, change)| match change {
                Change::Put(value, options) => batch.put_with(key, value, options),
                Change::Delete => batch.delete(key),
            });
        (conditions, batch)
    }
}

impl Seen {
    /// A value that was read.
    #[must_use]
    pub fn of(value: Value) -> Self {
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
    /// [`TypeError::Unreadable`] for bytes that are not what their type says.
    pub fn typed(&self) -> Result<Typed, TypeError> {
        Typed::decode(&self.key, &self.data, self.value_type)
    }
}

/// Why nothing was changed where conditions did not all hold, as far as what is found under their keys
/// now tells; nothing found where that is not known.
#[must_use]
pub fn overtaken(conditions: &Conditions, found: Vec<Option<Entry>>) -> String {
    let mut both = conditions.iter().zip(found);
    let differs = both.find(|((_, expect), entry)| !expect.holds(entry.as_ref()));
    let what = differs.map_or_else(
        || "a key was not as it was read".to_owned(),
        |((key, expect), entry)| expect.broken(key, entry.as_ref()),
    );
    format!("{what}, so nothing was changed: begin the transaction again")
}

/// What a read of a transaction says when its snapshot is gone.
pub const SNAPSHOT_GONE: &str =
    "what the transaction reads from is gone, as its store has been opened anew: begin it again";
