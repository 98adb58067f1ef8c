//! The words everyone speaks: keys, versions, digests, commands, replies, errors, the clock.
//!
//! This room knows no I/O and no other room. What is valid by construction is made here, once, so
//! that nobody downstream checks a key's length or a digest's spelling again.

mod attributes;
mod batch;
mod clock;
mod command;
mod condition;
mod counter;
mod error;
mod histogram;
mod id;
mod key;
mod lifetime;
mod namespace;
mod range;
mod report;
mod value;

pub use attributes::{Attributes, METADATA_SIZE_MAX, ValueType};
pub use batch::{Batch, BatchReply, Change, NewValue, Operation, Question, Test};
pub use clock::{Clock, Timestamp};
pub use command::{Command, Existing, PutBody, Replaced, Reply};
pub use condition::Condition;
pub use counter::VersionCounter;
pub use error::{Error, ErrorKind, Result, system_remedy};
pub use histogram::{Distribution, Histogram, Spread};
pub use id::{BlobRef, Digest, RefId, SegmentId, Seq, ShardId, Slot, SnapshotId, StoreId, Version};
pub use key::{KEY_SIZE_MAX, Key};
pub use lifetime::{Lifetime, TTL_MAX_MS};
pub use namespace::{
    DEFAULT_NAMESPACE, Namespace, NamespaceId, NamespaceOptions, check_namespace_name,
};
pub use range::{Direction, KeyRange};
pub use report::{
    GroupReport, Problem, RestoreReport, ScrubReport, ShardGroupReport, StatusReport, StoreReport,
    VerifyReport, WriteReport,
};
pub use value::{Chunk, ChunkList, Codec, SealedValue, ValueInfo, indices_of, part_in};
