//! The offline check of a store: every byte of every log, every row of every index, both against
//! each other, and every reference across shards. It reports; it never panics on what it reads.
//!
//! # What it touches
//! Logs are opened for reading only; nothing in them is cut, copied or removed. fjall has no
//! read-only open, so opening an index lets fjall recover its own journal, as every start does; no
//! row is changed. The index is compared as it stands, together with the groups behind its
//! `applied` position that the next start will replay; a check after a crash needs no start.
//!
//! # Repair
//! The index is the only thing that can be made anew. `repair` rebuilds it from the log, the old
//! one kept as `index.set-aside`, and then checks again. That is a real opening of the shard, so a
//! torn tail is cut and a new segment begun, as every start does. It is not tried where the log is
//! damaged in a way that would stop it half-way: an old index then still serves all the rest.

mod dictionary;
mod index;
mod live;
mod log;
mod record;
mod reference;
mod whole;

pub use live::{Chunk, Place, ROW_BYTES, check_chunk, index_path};
pub use whole::{Together, large_problem, wrong_length};

use super::{ShardOptions, ShardStore};
use crate::log::LogError;
use crate::model::{Problem, ShardId};
use index::CheckedIndex;
use log::CheckedLog;
use std::path::Path;

/// Problems that are listed one by one; the others are only counted.
pub const PROBLEMS_MAX: usize = 10_000;

const REMEDY_LOG: &str = "restore what stood there from a backup; everything else is served";
const REMEDY_INDEX: &str = "the log has the truth: rebuild the index with `verify --repair`";

impl Problem {
    /// A problem of the log.
    #[must_use]
    pub fn of_log(file: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            offset: Some(offset),
            what: what.into(),
            remedy: REMEDY_LOG.to_owned(),
        }
    }

    /// A problem that a rebuild of the index mends.
    #[must_use]
    pub fn of_index(file: &Path, offset: Option<u64>, what: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            offset,
            what: what.into(),
            remedy: REMEDY_INDEX.to_owned(),
        }
    }

    /// The problem that an error of the log tells of.
    #[must_use]
    pub fn of_error(dir: &Path, error: &LogError) -> Self {
        match error {
            LogError::Damaged { path, offset, what } => Self::of_log(path, *offset, what.clone()),
            LogError::Io {
                operation,
                path,
                source,
            } => Self {
                file: path.clone(),
                offset: None,
                what: format!("{operation}: {source}"),
                remedy: "look at the disk and at the file's permissions".to_owned(),
            },
            LogError::Full { path, .. } => Self {
                file: path.clone(),
                offset: None,
                what: error.to_string(),
                remedy: "make room on the disk".to_owned(),
            },
            LogError::Newer { path, offset, .. } => Self {
                file: path.clone(),
                offset: Some(*offset),
                what: error.to_string(),
                remedy: "use the newer shardkeep".to_owned(),
            },
            LogError::IndexStale(_) => Self::of_index(dir, None, error.to_string()),
        }
    }
}

/// Problems, as many as a person can read, and how many there were.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    /// The first [`PROBLEMS_MAX`].
    pub listed: Vec<Problem>,
    /// All of them.
    pub total: u64,
}

impl Problems {
    fn push(&mut self, problem: Problem) {
        self.total += 1;
        if self.listed.len() < PROBLEMS_MAX {
            self.listed.push(problem);
        }
    }
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Segment files.
    pub segments: u64,
    /// Groups.
    pub frames: u64,
    /// Records of every kind, dead ones too.
    pub records: u64,
    /// Records that hold a small value.
    pub values: u64,
    /// Records that hold a blob.
    pub blobs: u64,
    /// Records of references.
    pub references: u64,
    /// Bytes of all payloads.
    pub payload_bytes: u64,
}

/// What was found in one shard.
#[derive(Debug)]
pub struct ShardVerdict {
    /// The shard.
    pub id: ShardId,
    /// What was looked at.
    pub counts: Counts,
    /// Everything that is wrong.
    pub problems: Problems,
    /// What is no damage but worth knowing: a torn tail, groups that wait for their replay.
    pub notes: Vec<String>,
    /// The index, for the check across shards.
    index: Option<CheckedIndex>,
}

/// What was found in a store.
#[derive(Debug)]
pub struct StoreVerdict {
    /// Shard by shard.
    pub shards: Vec<ShardVerdict>,
    /// Links without their reference or blob.
    pub problems: Problems,
    /// References whose owner has moved on: the sweep will drop them. No damage.
    pub stale_references: u64,
    /// Whether references could be checked: every shard's index was usable.
    pub references_checked: bool,
}

impl StoreVerdict {
    /// All problems there were.
    #[must_use]
    pub fn problem_count(&self) -> u64 {
        let in_shards: u64 = self.shards.iter().map(|shard| shard.problems.total).sum();
        in_shards + self.problems.total
    }

    /// The problems that are listed.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        let in_shards = self.shards.iter().flat_map(|shard| &shard.problems.listed);
        in_shards.chain(&self.problems.listed)
    }
}

/// Told how far a check is: bytes done and bytes there are.
pub type Progress<'a> = dyn FnMut(u64, u64) + 'a;

/// Checks all shards of a store, and the references between them. All must be closed.
pub fn verify_store(
    shards: &[ShardOptions],
    repair: bool,
    progress: &mut Progress<'_>,
) -> StoreVerdict {
    let sizes: Vec<u64> = shards.iter().map(|shard| log_bytes(&shard.dir)).collect();
    let total = sizes.iter().sum();
    let mut before = 0;
    let mut verdicts = Vec::with_capacity(shards.len());
    for (options, size) in shards.iter().zip(sizes) {
        let mut step = |done: u64, _| progress(before + done.min(size), total);
        verdicts.push(verify_shard(options, repair, &mut step));
        before += size;
    }
    let mut verdict = StoreVerdict {
        shards: verdicts,
        problems: Problems::default(),
        stale_references: 0,
        references_checked: false,
    };
    if let Some(options) = shards.first() {
        reference::check(&mut verdict, &options.homes);
    }
    progress(total, total);
    verdict
}

/// Checks one shard, which must be closed; `repair` rebuilds its index first.
pub fn verify_shard(
    options: &ShardOptions,
    repair: bool,
    progress: &mut Progress<'_>,
) -> ShardVerdict {
    let mut verdict = empty_verdict(options.id);
    let mut log = log::check(options, &mut verdict, progress);
    if repair {
        match rebuild(options, log.as_ref()) {
            Ok(note) => {
                verdict = empty_verdict(options.id);
                log = log::check(options, &mut verdict, progress);
                verdict.notes.push(note);
            }
            Err(problem) => verdict.problems.push(problem),
        }
    }
    if let Some(log) = log {
        verdict.index = index::check(options, &log, &mut verdict);
    }
    verdict
}

fn empty_verdict(id: ShardId) -> ShardVerdict {
    ShardVerdict {
        id,
        counts: Counts::default(),
        problems: Problems::default(),
        notes: Vec::new(),
        index: None,
    }
}

/// Opens the shard with a new index, and closes it again.
fn rebuild(options: &ShardOptions, log: Option<&CheckedLog>) -> Result<String, Problem> {
    let refused = |what: String| Problem {
        file: options.dir.clone(),
        offset: None,
        what,
        remedy: REMEDY_LOG.to_owned(),
    };
    if log.is_none_or(|log| log.blocks_rebuild) {
        let what = "the index was not rebuilt: the damage in the log would stop the rebuild, and \
            the old index still serves what is whole";
        return Err(refused(what.to_owned()));
    }
    let opened = ShardStore::open(options.clone(), Some("verify --repair"));
    let (store, report) = opened.map_err(|error| refused(format!("rebuild failed: {error}")))?;
    let closed = store.close();
    closed.map_err(|error| refused(format!("closing after the rebuild failed: {error}")))?;
    Ok(format!(
        "the index was rebuilt from {} groups; the old one is kept as index.set-aside",
        report.replayed_groups
    ))
}

/// Bytes of the segment files, for the progress bar.
fn log_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir.join("log")) else {
        return 0;
    };
    let sizes = entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
    sizes.sum()
}
