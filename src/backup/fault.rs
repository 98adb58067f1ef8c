//! What can go wrong with a backup file, named once and turned into the public error once.

use crate::model::{Error, ErrorKind, Version};
use std::io;
use std::path::PathBuf;

/// A failure inside this room.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(
        "backup path {path:?} is refused: {why}; name a file under the backup root {}", root.display()
    )]
    Path {
        path: String,
        why: &'static str,
        root: PathBuf,
    },
    #[error("backup {} does not exist{near}", file.display())]
    Missing { file: PathBuf, near: String },
    #[error("backup {} is damaged at offset {offset}: {what}", file.display())]
    Damaged {
        file: PathBuf,
        offset: u64,
        what: String,
    },
    #[error(
        "{} is not a backup ({why}): only shardkeep's and zstdb's own backups can be restored",
        file.display()
    )]
    Foreign { file: PathBuf, why: &'static str },
    #[error(
        "backup {} has format {found}, newer than the newest known, {known}: use the shardkeep that \
         wrote it, or a newer one",
        file.display()
    )]
    Newer {
        file: PathBuf,
        found: u32,
        known: u32,
    },
    #[error("cannot {action} {}: {source}", file.display())]
    Io {
        action: &'static str,
        file: PathBuf,
        source: io::Error,
    },
    #[error(
        "entry of version {version} is outside of the archive's range: since={since}, max={max}"
    )]
    OutOfRange {
        version: Version,
        since: Version,
        max: Version,
    },
    #[error("the payload of {what} differs from its checksum: the stored value is damaged")]
    Payload { what: String },
    #[error("{what} of {size} bytes is over the archive's limit of {max}")]
    TooLarge {
        what: &'static str,
        size: u64,
        max: u64,
    },
    #[error("no randomness: {0}")]
    Random(getrandom::Error),
    #[error("chain broken: {0}")]
    Gap(String),
    #[error("purged deletes: {0}")]
    Horizon(String),
}

pub(super) type Result<T, E = Fault> = std::result::Result<T, E>;

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let (kind, reason) = match &fault {
            Fault::Path { .. } => (ErrorKind::Invalid, "BACKUP_PATH"),
            Fault::Missing { .. } => (ErrorKind::NotFound, "BACKUP_MISSING"),
            Fault::Damaged { .. } => (ErrorKind::Corrupt, "BACKUP_DAMAGED"),
            Fault::Foreign { .. } => (ErrorKind::Invalid, "BACKUP_FOREIGN"),
            Fault::Newer { .. } => (ErrorKind::Invalid, "BACKUP_NEWER_FORMAT"),
            Fault::Io { source, .. } => io_kind(source),
            Fault::OutOfRange { .. } => (ErrorKind::Internal, "BACKUP_VERSION"),
            Fault::Payload { .. } => (ErrorKind::Corrupt, "PAYLOAD_DAMAGED"),
            Fault::TooLarge { .. } => (ErrorKind::TooLarge, "BACKUP_ENTRY_TOO_LARGE"),
            Fault::Random(_) => (ErrorKind::Internal, "RANDOM"),
            Fault::Gap(_) => (ErrorKind::Conflict, "BACKUP_CHAIN_GAP"),
            Fault::Horizon(_) => (ErrorKind::Conflict, "BACKUP_HORIZON"),
        };
        let mut message = fault.to_string();
        if kind == ErrorKind::DiskFull {
            message += ": make room there, and try again; nothing of this try is left";
        }
        Self::new(kind, reason, message)
    }
}

fn io_kind(source: &io::Error) -> (ErrorKind, &'static str) {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::DiskFull, "BACKUP_DISK_FULL")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (ErrorKind::Denied, "BACKUP_ACCESS")
        }
        _ => (ErrorKind::Internal, "BACKUP_IO"),
    }
}
