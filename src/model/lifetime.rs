//! How long a record stays.

use super::Timestamp;

/// How long a record stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lifetime {
    /// Until it is replaced or removed.
    Forever,
    /// Until this moment.
    Until(Timestamp),
    /// As long as the record that it replaces.
    Kept,
}

impl Lifetime {
    /// When a record expires whose key's record so far expires at `before`.
    #[must_use]
    pub fn expiry(self, before: Option<Timestamp>) -> Option<Timestamp> {
        match self {
            Self::Forever => None,
            Self::Until(at) => Some(at),
            Self::Kept => before,
        }
    }
}
