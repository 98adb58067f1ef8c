//! The file side of backup and restore: what an archive is, where it may stand, and which one may
//! follow which. Pure I/O over files: this room knows the words of `model` and nothing of shards.
//!
//! The invariants it keeps:
//! - Nothing outside the backup root is written or read, whatever path a request names
//!   ([`BackupRoot`]).
//! - A file under a final name is complete and synced ([`ArchiveWriter`]).
//! - What a reader hands out was checked, and verifying and merging read the same open file, so
//!   that a path that is swapped in between changes nothing ([`ArchiveReader`], [`ZstdbReader`]).
//! - An increment is let in only where everything before it is already ([`ChainState`]).
//!
//! The layout of an archive:
#![doc = include_str!("FORMAT.md")]

mod archive;
mod chain;
mod encoder;
mod entry;
mod fault;
mod file;
mod frame;
mod listing;
mod name;
mod path;
mod reader;
mod retention;
mod root;
mod wire;
mod writer;
mod zstd_frame;
mod zstdb;
mod zstdb_list;

pub use archive::{ArchiveHeader, Counts};
pub use chain::{ChainId, ChainState, Link, Origin, Progress};
pub use encoder::ArchiveEncoder;
pub use entry::Entry;
pub use file::{BackupFile, Kind};
pub use listing::{Content, Listed};
pub use name::NamedRange;
pub use reader::{ArchiveReader, ArchiveSummary, Entries};
pub use retention::superfluous;
pub use root::BackupRoot;
pub use writer::{ArchiveWriter, Finished};
pub use zstdb::{ZstdbEntries, ZstdbReader, ZstdbSummary};
pub use zstdb_list::{ZstdbRecord, ZstdbValue};
