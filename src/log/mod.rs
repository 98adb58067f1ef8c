//! The truth of a shard: an append-only log of groups in segments.
//!
//! This room knows files and positions; it does not know what a record means to the index. Its
//! invariant: what [`Log::sync`] returned for is read back by every later [`Log::open`], or the
//! open fails with [`LogError::Damaged`]; what it did not return for is there whole or not at all.
//!
//! # What makes a tail group "never acknowledged"
//! A group is acknowledged after its sync (`durability = "sync"`), so a frame that no proof reaches
//! was never acknowledged. The proofs are positions: the `durable` position that later frames carry
//! and the one that the index stores with every batch. A bad frame at or behind every proof is a
//! torn tail and is cut; a bad frame before any proof is damage. With `durability = "os"` a group is
//! acknowledged after its write; the same rule then cuts what a power loss took, which is what that
//! mode says.
//!
//! # What only the page cache vouches for
//! After a failed `fsync` the kernel may mark a page clean that never reached the disk. So frames
//! behind the last proof are read with `O_DIRECT`, and only what is on the disk is copied into a
//! new segment, which is synced before anything of it is indexed. A cut tail is never appended to.

mod file;
mod group;
mod inspect;
mod open;
mod scan;
mod segment;
mod shelf;
mod space;
mod tail;
mod transaction;
mod writer;

pub use file::{create_dir_synced, rename_synced, sync_dir, write_file_synced};
pub use group::{Placed, PreparedGroup};
pub use inspect::{FrameWalk, Inspection, Step, check_header, end_of, inspect, is_zero_from};
pub use open::{OpenContext, Opened};
pub use scan::{Frame, FrameScanner, Payloads, ScannedRecord};
pub use segment::{Segment, SegmentMap, SharedSegments};
pub use space::{Ballast, Purpose, free_space, reserve_behind};
pub use transaction::{LogExtent, Vote, aborted};
pub use writer::{GroupContext, Log, LogOptions};

use crate::codec::FormatError;
use crate::model::{SegmentId, ShardId, StoreId, system_remedy};
use std::path::{Path, PathBuf};

/// A place in a shard's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The segment.
    pub segment: SegmentId,
    /// The byte in it.
    pub offset: u64,
}

/// Whose log it is; every header names both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogIdentity {
    /// The store.
    pub store: StoreId,
    /// The shard.
    pub shard: ShardId,
}

/// Why a log operation failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refused.
    #[error("{operation} {path}: {source}{}", system_remedy(source))]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Its answer.
        source: std::io::Error,
    },
    /// No space left; nothing was written.
    #[error("disk full: no room for {needed} bytes in {path}")]
    Full {
        /// Where.
        path: PathBuf,
        /// How much was needed.
        needed: u64,
    },
    /// Bytes that were acknowledged are not what was written.
    #[error("damaged: {path} at offset {offset}: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// Sound bytes that only a newer program understands; they are left as they are.
    #[error("{path} at offset {offset}: {what}: start the newer shardkeep that wrote it")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What it is.
        what: String,
    },
    /// The index is not of this log's state; it must be rebuilt.
    #[error("the index is {0}: it must be rebuilt from the log")]
    IndexStale(&'static str),
}

impl LogError {
    fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }

    fn damaged(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            offset,
            what: what.into(),
        }
    }

    /// A shard that had a log and has none, which must not pass for an empty one.
    pub(crate) fn lost(dir: &Path) -> Self {
        let what = "the log of this shard is gone: put its folder back, or restore a backup into a new directory";
        Self::damaged(dir, 0, what)
    }

    fn format(path: &Path, offset: u64) -> impl FnOnce(FormatError) -> Self {
        let path = path.to_owned();
        move |error| {
            let what = error.to_string();
            match error {
                FormatError::Newer { .. } => Self::Newer { path, offset, what },
                _ => Self::Damaged { path, offset, what },
            }
        }
    }
}
