//! `MANIFEST`: what a store says of itself. Small, written whole, and readable with `cat`.
//!
//! It is the first file of a store: a start writes it before it makes `shards/`. So shards without
//! a manifest never come from a crash; they are damage. It changes by [`write_file_synced`], so a
//! crash leaves the old text or the new.

mod slot_table;
mod text;

use super::data_dir::{Contents, DataDir};
use crate::backup::{ChainId, Progress};
use crate::log::{LogError, write_file_synced};
use crate::model::{StoreId, Version};
use crate::service::UnfinishedMerge;
use crate::shard::Homes;
use std::io;
use std::path::{Path, PathBuf};
use text::TextFault;

/// The format of the whole data directory that this program writes, and the only one so far.
pub const FORMAT: u64 = 1;

/// What a store says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The store; every file of it carries this.
    pub store: StoreId,
    /// Which shard each slot belongs to.
    pub homes: Homes,
    /// Whether every shard has been open once: one that is empty later has lost its files.
    pub shards_made: bool,
    /// The chain of its own backups.
    pub chain: ChainId,
    /// An increment of that chain that starts below this would have holes: it becomes a full backup.
    pub chain_floor: Version,
    /// What has been restored into it: one entry a chain.
    pub restored: Vec<Progress>,
    /// The merge that was begun and has not been finished.
    pub merging: Option<UnfinishedMerge>,
}

/// Why there is no manifest to work with.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Made by a later program.
    #[error(
        "{path} is of format {found}, but this shardkeep knows formats up to {FORMAT}: start the \
         newer shardkeep that wrote it; nothing was changed"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u64,
    },
    /// Made by an earlier program.
    #[error(
        "{path} is of format {found}, which this shardkeep (format {FORMAT}) cannot migrate: make \
         a full backup with the shardkeep that wrote it, and `shardkeep restore` it into a new \
         directory; nothing was changed"
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u64,
    },
    /// Not what was written.
    #[error("damaged: {path}: {what}; {REMEDY}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Not there, in a directory where there are shards.
    #[error("damaged: {path} is missing; {REMEDY}")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot read {path}: {source}; check that it is a file and that this user may read it")]
    Read {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The system refused; the manifest is as it was.
    #[error("cannot write the manifest: {0}")]
    Write(#[from] LogError),
    /// A value has no spelling; the manifest is as it was.
    #[error("cannot write {path}: {source}; use paths that are UTF-8")]
    Spelling {
        /// The file.
        path: PathBuf,
        /// What has none.
        source: serde_json::Error,
    },
    /// No store id without randomness.
    #[error("no randomness for a store id: {0}")]
    Random(getrandom::Error),
}

const REMEDY: &str = "put MANIFEST back from a copy of this data directory, or build a new \
                      directory from a backup with `shardkeep restore`; nothing was changed";

impl Manifest {
    /// A new store, not yet written.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn create(shards: u16) -> Result<Self, ManifestError> {
        Ok(Self {
            store: StoreId(random_id()?),
            homes: Homes::even(shards),
            shards_made: false,
            chain: ChainId(random_id()?),
            chain_floor: Version(0),
            restored: Vec::new(),
            merging: None,
        })
    }

    /// The manifest of a data directory; where that is empty, a new store of so many shards.
    /// A store that is there keeps its own number.
    ///
    /// # Errors
    /// When it is missing beside shards, damaged, of another format, or cannot be read or written.
    pub fn open_or_create(data_dir: &DataDir, shards: u16) -> Result<Self, ManifestError> {
        let path = data_dir.manifest();
        match data_dir.contents() {
            Contents::Store => Self::load(&path),
            Contents::Headless => Err(ManifestError::Missing { path }),
            Contents::Empty => {
                let manifest = Self::create(shards)?;
                manifest.save(&path)?;
                Ok(manifest)
            }
        }
    }

    /// Reads `MANIFEST`.
    ///
    /// # Errors
    /// When it is missing, damaged, of another format, or cannot be read.
    pub fn load(path: &Path) -> Result<Self, ManifestError> {
        let path = path.to_owned();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ManifestError::Missing { path });
            }
            Err(source) => return Err(ManifestError::Read { path, source }),
        };
        let parsed = String::from_utf8(bytes)
            .map_err(|_| TextFault::Damaged("it is not text".to_owned()))
            .and_then(|text| text::parse(&text));
        parsed.map_err(|fault| match fault {
            TextFault::Format(found) if found > FORMAT => ManifestError::Newer { path, found },
            TextFault::Format(found) => ManifestError::Older { path, found },
            TextFault::Damaged(what) => ManifestError::Damaged { path, what },
        })
    }

    /// Writes `MANIFEST`, durably.
    ///
    /// # Errors
    /// When the system refuses, or a path in it is not UTF-8; the old text is then still there.
    pub fn save(&self, path: &Path) -> Result<(), ManifestError> {
        let text = text::format(self).map_err(|source| ManifestError::Spelling {
            path: path.to_owned(),
            source,
        })?;
        Ok(write_file_synced(path, text.as_bytes())?)
    }

    /// Notes, durably, that every shard is there.
    ///
    /// # Errors
    /// As [`Manifest::save`].
    pub fn note_shards_made(&mut self, path: &Path) -> Result<(), ManifestError> {
        if !self.shards_made {
            self.shards_made = true;
            self.save(path)?;
        }
        Ok(())
    }

    /// How many shards the store has.
    #[must_use]
    pub fn shards(&self) -> u16 {
        let highest = self.homes.table().iter().max();
        highest.map_or(0, |shard| shard.0.saturating_add(1))
    }
}

fn random_id() -> Result<u128, ManifestError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(ManifestError::Random)?;
    Ok(u128::from_le_bytes(bytes))
}
