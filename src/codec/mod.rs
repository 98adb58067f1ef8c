//! Bytes at rest: segment header, group frame, record, sealed values, checksums.
//!
//! This room knows how things are written, not where: no file is opened here. Every offset is
//! drawn in the format document below and tested by golden bytes.
//!
#![doc = include_str!("FORMAT.md")]

mod attributes;
mod checksum;
mod chunk;
mod cursor;
mod cut;
mod dictionary;
mod frame;
mod namespace;
mod record;
mod seal;
mod segment_header;
mod train;

pub use attributes::{ATTRIBUTES_SIZE_MAX, decode_attributes, encode_attributes};
pub use checksum::{
    StreamDigest, StreamSum, digest_of, payload_sum, slot_of, slot_of_id, sum64_of,
};
pub use chunk::{CHUNKS_MAX, decode_chunks, list_attributes, list_ref_id, seal_chunks};
pub use cursor::{Cursor, put_varint};
pub use cut::{CHUNK_SIZE_MAX, CHUNK_SIZE_MIN, CHUNK_SIZE_USUAL, CUT_MIN, Cutter, cut_of};
pub use dictionary::{
    DICTIONARY_SIZE_MAX, Dictionaries, Dictionary, DictionaryEncoder, DictionaryId,
};
pub use frame::{FRAME_HEADER_SIZE, FrameHeader, Membership, Role};
pub use namespace::{decode_namespace, encode_namespace, namespace_record, parse_namespace_id};
pub use record::{
    FLAG_CONTENT, FLAG_EXPIRED, FLAG_MERGED, FLAG_MOVED, Kind, RECORD_HEADER_SIZE, Record,
    RecordHeader, Space, TombstoneNote, decode_blob_ref, encode_blob_ref,
};
pub use seal::{RAW_SIZE_MAX, Sealer, is_noise, open_sealed, unfold};
pub use segment_header::{FORMAT_VERSION, SEGMENT_HEADER_SIZE, SegmentHeader};
pub use train::{Samples, Trained, Training, train};

/// Why bytes at rest are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Fewer bytes than the structure needs.
    #[error("cut short: needs {needed} bytes, has {got}")]
    Short {
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        got: usize,
    },
    /// Another magic number.
    #[error("not a {what}: magic number does not match")]
    Magic {
        /// What was expected.
        what: &'static str,
    },
    /// A checksum does not match.
    #[error("{what} checksum does not match")]
    Checksum {
        /// What is covered by it.
        what: &'static str,
    },
    /// A format of the future.
    #[error(
        "{what} has format version {found}, this program reads up to {known}: use a newer shardkeep"
    )]
    Newer {
        /// What it is.
        what: &'static str,
        /// The version found.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// A field holds what it cannot.
    #[error("field {field} holds the impossible value {value}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
    /// The payload was compressed with a dictionary that is not known here.
    #[error("the zstd dictionary {0} that the payload was compressed with is missing")]
    Dictionary(DictionaryId),
    /// The payload is no value but the list of its chunks.
    #[error("the payload is a list of chunks, and no value by itself")]
    InChunks,
    /// zstd refuses the payload.
    #[error("payload does not decompress: {0}")]
    Decompress(String),
}
