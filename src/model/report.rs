//! What work on a whole data directory reports, and what a server tells of its writes. How it looks
//! is the command line's.

use super::Spread;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// What `verify` found in a data directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Segments read.
    pub segments: u64,
    /// Records whose checksums were verified.
    pub records: u64,
    /// Contents with a home of their own.
    pub blobs: u64,
    /// References to them.
    pub references: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Whether the index was rebuilt.
    pub repaired: bool,
    /// What is wrong. After a repair: what still is.
    pub problems: Vec<Problem>,
}

/// Something wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where.
    pub file: PathBuf,
    /// At which byte, when it is known.
    pub offset: Option<u64>,
    /// What does not fit.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// What the scrubber has done and found since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Rounds through all shards.
    pub rounds: u64,
    /// Bytes that were looked at.
    pub bytes: u64,
    /// Problems, each place once; those of files that are gone go with them.
    pub problems: Vec<Problem>,
}

/// What an offline `restore` or `import` built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RestoreReport {
    /// Backup files read.
    pub files: u64,
    /// Records taken over.
    pub records: u64,
    /// Bytes of the backup files.
    pub bytes: u64,
    /// The highest version.
    pub max_version: u64,
}

/// What the groups of writes were like since the start. Times are microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Groups committed.
    pub groups: u64,
    /// Commands in them.
    pub commands: u64,
    /// How many commands share a group, and its sync.
    pub commands_per_group: Spread,
    /// Bytes of a group in the log.
    pub bytes_per_group: Spread,
    /// Syncs of the log, one a group.
    pub sync_us: Spread,
    /// Batches of the index, one a group.
    pub index_us: Spread,
    /// How long commands waited for their group to begin.
    pub wait_us: Spread,
}

/// The groups of one shard.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardGroupReport {
    /// The shard.
    pub shard: u16,
    /// Its groups.
    #[serde(flatten)]
    pub report: GroupReport,
}

/// The groups of a server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WriteReport {
    /// Of all shards together.
    pub total: GroupReport,
    /// Of each.
    pub shards: Vec<ShardGroupReport>,
    /// Keys removed since the start because they had expired; older servers do not say.
    #[serde(default)]
    pub expired_keys: u64,
}

/// What the store holds and takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreReport {
    /// Live keys.
    pub key_count: u64,
    /// The last version given.
    pub max_version: u64,
    /// Bytes of the index on disk.
    pub index_bytes: u64,
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// Raw bytes of all values, equal ones counted each time.
    pub logical_bytes: u64,
    /// Raw bytes of all contents, each once.
    pub unique_bytes: u64,
    /// Compressed bytes of all contents, each once.
    pub stored_bytes: u64,
    /// Bytes in the log that nothing points to any more.
    pub dead_bytes: u64,
    /// Contents with a home of their own.
    pub blobs: u64,
    /// References to them.
    pub references: u64,
    /// Segments of all logs.
    pub segments: u64,
    /// zstd dictionaries that small values are compressed with.
    pub dictionaries: u64,
    /// Their bytes, each once.
    pub dictionary_bytes: u64,
    /// Shards.
    pub shards: u64,
    /// Shards that cannot be read now.
    pub shards_down: u64,
}

/// The state of a server, for people and their dashboards.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// What its store holds.
    pub store: StoreReport,
    /// What its writes were like.
    pub writes: WriteReport,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(offset) = self.offset {
            write!(f, " at offset {offset}")?;
        }
        write!(f, ": {}; {}", self.what, self.remedy)
    }
}
