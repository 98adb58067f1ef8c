//! What work on a whole data directory reports. How it looks is the command line's.

use serde::Serialize;
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

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(offset) = self.offset {
            write!(f, " at offset {offset}")?;
        }
        write!(f, ": {}; {}", self.what, self.remedy)
    }
}
