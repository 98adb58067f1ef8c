//! What must be so under a key for a change to happen.

use super::Version;

/// A condition on a key's live record. It is judged by the shard's actor, in the order of the
/// shard's commands, so that of two changes with the same condition only one can win.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Condition {
    /// There is none.
    Absent,
    /// There is one.
    Present,
    /// There is one, and it has this version.
    Version(Version),
}

impl Condition {
    /// Whether it holds, for a key whose live record has this version.
    #[must_use]
    pub fn holds(self, found: Option<Version>) -> bool {
        match self {
            Self::Absent => found.is_none(),
            Self::Present => found.is_some(),
            Self::Version(version) => found == Some(version),
        }
    }
}
