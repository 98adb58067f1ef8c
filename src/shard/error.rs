//! Why a shard cannot do its work, and what its callers are told.

use crate::index::IndexError;
use crate::log::LogError;
use crate::model::{Error, ErrorKind, ShardId};

/// What a failure says of the shard's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexVerdict {
    /// Nothing.
    Sound,
    /// It failed by itself, for a reason that nobody knows: it may have met damage.
    Doubtful,
    /// It must be made anew, for this reason.
    Useless(String),
}

/// Why a shard operation failed.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The index says what the log does not: it must be rebuilt.
    #[error("index row contradicts the log: {0}")]
    Contradiction(String),
    /// A batch was committed, and the index does not show all of it.
    #[error("a batch is in the index in part: read again when the shard is open again")]
    HalfShown,
    /// A transaction that a crash left undecided cannot be resolved yet.
    #[error(
        "transaction {transaction} is undecided until the log of shard {needed} can be read: see why that shard does not open"
    )]
    Undecided {
        /// The transaction.
        transaction: u64,
        /// The shard that may know.
        needed: ShardId,
    },
}

impl ShardError {
    /// Whether a rebuild of the index from the log mends it.
    #[must_use]
    pub fn needs_rebuild(&self) -> bool {
        match self {
            Self::Contradiction(_) | Self::Log(LogError::IndexStale(_)) => true,
            Self::Index(error) => error.needs_rebuild(),
            Self::Log(
                LogError::Io { .. }
                | LogError::Full { .. }
                | LogError::Damaged { .. }
                | LogError::Newer { .. },
            )
            | Self::HalfShown
            | Self::Undecided { .. } => false,
        }
    }

    /// Whether it goes away by itself when the disk has room.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(
            self,
            Self::Log(LogError::Full { .. }) | Self::Index(IndexError::Full(_))
        )
    }

    /// What it says of the index.
    #[must_use]
    pub fn verdict(&self) -> IndexVerdict {
        match self {
            useless if useless.needs_rebuild() => IndexVerdict::Useless(self.to_string()),
            Self::Index(error) if error.is_unexplained() => IndexVerdict::Doubtful,
            _ => IndexVerdict::Sound,
        }
    }

    /// What a reader is told.
    #[must_use]
    pub fn to_public(&self, shard: ShardId) -> Error {
        let message = format!("shard {shard}: {self}");
        match self {
            Self::Log(LogError::Full { .. }) | Self::Index(IndexError::Full(_)) => {
                Error::new(ErrorKind::DiskFull, "DISK_FULL", message)
            }
            Self::Log(LogError::Damaged { .. }) => Error::corrupt("DATA_DAMAGED", message),
            Self::Log(LogError::Io { .. } | LogError::Newer { .. } | LogError::IndexStale(_))
            | Self::Index(_)
            | Self::Contradiction(_)
            | Self::HalfShown
            | Self::Undecided { .. } => Error::unavailable("SHARD_FAILED", message),
        }
    }
}

/// What a writer is told whose command was in a group that failed after planning.
pub(super) fn outcome_unknown(shard: ShardId, cause: &str) -> Error {
    let message = format!(
        "shard {shard}: the outcome of this write is unknown ({cause}); read the key before you retry"
    );
    Error::unavailable("OUTCOME_UNKNOWN", message)
}

/// What a writer is told whose command was not planned.
pub(super) fn refused(shard: ShardId, cause: &str) -> Error {
    let message = format!("shard {shard} takes no writes until it is reopened ({cause}); retry");
    Error::unavailable("SHARD_POISONED", message)
}
