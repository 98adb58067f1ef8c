//! Keys as one checked file, and back: export and import, wherever the keys are.
//!
//! An export is an archive as backups are, of values that stand with their keys, and belongs to no
//! chain: an import puts what is in it as anybody would. It is read as of one moment, and appears under its
//! name only when it is complete, synced and read back. Before an import writes its first key, every byte of
//! the file is checked, and every value unfolded and compared with its checksum; a key that has the very
//! same value, expiry and metadata already is left alone, so that one that was cut short is gone on with by
//! another.
//!
//! Whose keys they are, a server's or those of a store in the program, is behind [`Keys`].

mod archive;
mod chunked;
mod contents;
mod export;
mod import;
mod incoming;
mod keys;
mod now;
mod partial_file;

pub use archive::chunk_of;
pub use chunked::{ChunkSource, put_chunked};
pub use export::{Export, Exported, OWN_NAMESPACE};
pub use import::{Import, ImportFile, Imported};
pub use keys::{Keys, KeysError, Pages, Pieces, Report};
pub use now::now;
pub use partial_file::{PartialFile, temporary_name};
