//! Changes of many keys that happen together or not at all, and what must be so for them to happen.

use super::command::size_max;
use super::{Command, Condition, Existing, Key, Lifetime, PutBody, Reply, Timestamp, Version};
use bytes::Bytes;

/// Tests, what is done when all of them hold, and what is done when one does not. No key stands
/// twice in one of the two lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// What is asked of keys; none of it holds always.
    pub tests: Vec<Test>,
    /// Done when every test holds.
    pub operations: Vec<Operation>,
    /// Done when one does not.
    pub otherwise: Vec<Operation>,
}

/// One question about a key's live record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// The key.
    pub key: Key,
    /// The question.
    pub question: Question,
}

/// What a test asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Whether the condition holds.
    Record(Condition),
    /// It was answered from the record of this version, or from the lack of one, and is to be asked
    /// anew when the key has another by now.
    Seen {
        /// What the key's live record was.
        version: Option<Version>,
        /// The answer then.
        holds: bool,
    },
}

/// One change of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The key.
    pub key: Key,
    /// What happens to it.
    pub change: Change,
}

/// What an operation does to its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A value is stored under it.
    Put(Box<NewValue>),
    /// It is removed.
    Delete,
    /// Nothing: whoever made the batch has seen that it cannot be done, so its list is not either.
    Refused,
}

/// What is stored under a key of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewValue {
    /// The value; a content with a home of its own has been stored there.
    pub body: PutBody,
    /// What to do about a record that is there.
    pub existing: Existing,
    /// How long the record stays.
    pub lifetime: Lifetime,
    /// What the client says of the value, encoded.
    pub attributes: Bytes,
}

/// What a batch did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchReply {
    /// One of its two lists was done.
    Done {
        /// Whether every test held.
        succeeded: bool,
        /// The version that all changes took; `None` when nothing has changed.
        version: Option<Version>,
        /// What each operation of the list did, in its order.
        results: Vec<Reply>,
    },
    /// Nothing was done, because a key has another record by now than a test was answered from.
    Overtaken,
    /// Nothing was done, because a put may not replace what is there, or an operation is refused.
    Refused {
        /// Whether every test held.
        succeeded: bool,
        /// Which operation of the list.
        operation: usize,
        /// The version of its key's live record.
        found: Option<Version>,
    },
}

impl Batch {
    /// What is done.
    #[must_use]
    pub fn branch(self, succeeded: bool) -> Vec<Operation> {
        match succeeded {
            true => self.operations,
            false => self.otherwise,
        }
    }

    /// Bytes that it can add to a log at most, frames aside.
    #[must_use]
    pub fn log_size_max(&self) -> u64 {
        self.size_max(usize::MAX)
    }

    /// Bytes of the rows that it can put into an index at most, of which stored values of up to
    /// `inline_max` bytes are a part.
    #[must_use]
    pub fn rows_size_max(&self, inline_max: usize) -> u64 {
        self.size_max(inline_max)
    }

    /// Whether it leads out of a full disk, whatever the tests say.
    #[must_use]
    pub fn frees_space(&self) -> bool {
        let mut all = self.operations.iter().chain(&self.otherwise);
        all.all(Operation::frees_space)
    }

    pub(super) fn size_max(&self, payload_max: usize) -> u64 {
        let of_list = |list: &[Operation]| list.iter().map(|it| it.size_max(payload_max)).sum();
        let operations: u64 = of_list(&self.operations);
        operations.max(of_list(&self.otherwise))
    }
}

impl Operation {
    /// Whether it leads out of a full disk.
    #[must_use]
    pub fn frees_space(&self) -> bool {
        matches!(self.change, Change::Delete | Change::Refused)
    }

    /// The operation as a command of its own, for a key whose record so far expires at `before`;
    /// `None` where it is refused.
    #[must_use]
    pub fn into_command(self, before: Option<Timestamp>) -> Option<Command> {
        let key = self.key;
        match self.change {
            Change::Put(value) => Some(Command::Put {
                key,
                body: value.body,
                existing: value.existing,
                expiry: value.lifetime.expiry(before),
                attributes: value.attributes,
            }),
            Change::Delete => Some(Command::Delete {
                key,
                condition: None,
            }),
            Change::Refused => None,
        }
    }

    fn size_max(&self, payload_max: usize) -> u64 {
        let key = self.key.id().len();
        match &self.change {
            Change::Put(value) => {
                let payload = value.body.payload_len().min(payload_max);
                size_max(key + value.attributes.len(), payload)
            }
            Change::Delete | Change::Refused => size_max(key, 0),
        }
    }
}
