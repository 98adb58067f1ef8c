//! What a shard can be told to do, and what it answers. A shard is reached by these values only.

use super::{
    Batch, BatchReply, BlobRef, Condition, Digest, Key, Namespace, SealedValue, Timestamp,
    ValueInfo, Version,
};
use bytes::Bytes;

/// What a put does when the key has a record already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Existing {
    /// Any record stays: the put changes nothing.
    Keep,
    /// Any record is replaced, an equal one too.
    Replace,
    /// A record of the same content stays; anything else under the key is replaced. The rule of
    /// content keys: a user may have stored something else under a key that looks like a digest.
    KeepSameContent,
    /// It is replaced if the condition holds; else the put is refused. This one looks at keys
    /// without a record too.
    Require(Condition),
}

/// The value of a put, by where its bytes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutBody {
    /// Below `dedup.min_size`: the bytes stand in the key's own record.
    Small(SealedValue),
    /// A blob whose home is this very shard: blob, reference and record in one commit.
    Home {
        /// The reference to make.
        blob: BlobRef,
        /// Length and checksum of the raw value.
        info: ValueInfo,
        /// The bytes; `None` when the blob was seen to be there.
        value: Option<SealedValue>,
    },
    /// A blob in another shard, already stored there together with this reference.
    Away {
        /// The reference that was made.
        blob: BlobRef,
        /// Length and checksum of the raw value.
        info: ValueInfo,
    },
}

impl PutBody {
    /// The digest of the value, where it was needed.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::Small(value) => value.digest,
            Self::Home { blob, .. } | Self::Away { blob, .. } => Some(blob.digest),
        }
    }

    /// Bytes that it carries.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        match self {
            Self::Small(value)
            | Self::Home {
                value: Some(value), ..
            } => value.payload.len(),
            Self::Home { value: None, .. } | Self::Away { .. } => 0,
        }
    }
}

/// One command to one shard. All of a command's changes are in one commit, or none is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Stores a value under a key.
    Put {
        /// The key; it belongs to this shard.
        key: Key,
        /// The value.
        body: PutBody,
        /// What to do about a record that is there.
        existing: Existing,
        /// When the record expires.
        expiry: Option<Timestamp>,
        /// What the client says of the value, encoded.
        attributes: Bytes,
    },
    /// Removes a key.
    Delete {
        /// The key; it belongs to this shard.
        key: Key,
        /// What must be so; `None` for a delete in any case.
        condition: Option<Condition>,
    },
    /// Changes many keys together, or none of them.
    Batch(Batch),
    /// Removes a key whose record has expired; changes nothing if it has not.
    Expire {
        /// The key; it belongs to this shard.
        key: Key,
    },
    /// Stores a blob, unless it is there, and a reference to it: the first step of a put whose key
    /// lives in another shard.
    StoreBlob {
        /// The reference to make; the digest belongs to this shard.
        blob: BlobRef,
        /// The key whose record will hold the reference, or the list that will.
        owner: Key,
        /// The bytes; `None` when the blob was seen to be there.
        value: Option<SealedValue>,
    },
    /// Stores a blob, unless it is there, without a reference: a chunk of a value that is on its way.
    /// Whoever asks keeps it from being reclaimed.
    KeepBlob {
        /// The blob; it belongs to this shard.
        digest: Digest,
        /// The bytes.
        value: SealedValue,
    },
    /// Drops exactly one reference: the last step of a put or delete, or the sweep's verdict.
    DropReference {
        /// The reference.
        blob: BlobRef,
    },
    /// Removes a blob that has been without references since `since`; the actor checks again.
    ReclaimBlob {
        /// The blob.
        digest: Digest,
    },
    /// Takes over a record with its version, from a backup; what is newer here wins.
    Merge {
        /// The key; it belongs to this shard.
        key: Key,
        /// The record's version in the backup.
        version: Version,
        /// The value, or `None` for a delete.
        body: Option<PutBody>,
        /// When the record expires.
        expiry: Option<Timestamp>,
        /// What the client said of the value, encoded.
        attributes: Bytes,
    },
    /// Removes a key whose namespace was dropped. It takes no version: for all who look, the key went
    /// with its namespace.
    Clear {
        /// The key; it belongs to this shard.
        key: Key,
    },
    /// Makes a namespace, changes its rules, or drops it.
    SetNamespace {
        /// What it is from now on; a version of 0 is drawn, any other is a backup's.
        namespace: Namespace,
    },
    /// Logs that tombstones up to this version may go.
    PurgeTombstones {
        /// The highest version whose tombstone may go.
        horizon: Version,
    },
    /// Logs the version up to which a cut is complete, so that no version at or below it is ever
    /// issued again.
    Mark {
        /// The counter at the cut.
        version: Version,
    },
}

impl Command {
    /// Bytes that it can add to a log at most, frame aside.
    #[must_use]
    pub fn log_size_max(&self) -> u64 {
        self.size_max(usize::MAX)
    }

    /// Bytes of the rows that it can put into an index at most, of which stored values of up to
    /// `inline_max` bytes are a part.
    #[must_use]
    pub fn rows_size_max(&self, inline_max: usize) -> u64 {
        self.size_max(inline_max)
    }

    fn size_max(&self, payload_max: usize) -> u64 {
        let (beside, payload) = match self {
            Self::Batch(batch) => return batch.size_max(payload_max),
            Self::Put {
                key,
                body,
                attributes,
                ..
            }
            | Self::Merge {
                key,
                body: Some(body),
                attributes,
                ..
            } => (key.id().len() + attributes.len(), body.payload_len()),
            Self::StoreBlob { owner, value, .. } => (
                owner.id().len(),
                value.as_ref().map_or(0, |value| value.payload.len()),
            ),
            Self::KeepBlob { value, .. } => (0, value.payload.len()),
            Self::Delete { key, .. }
            | Self::Expire { key }
            | Self::Clear { key }
            | Self::Merge {
                key, body: None, ..
            } => (key.id().len(), 0),
            Self::DropReference { .. }
            | Self::ReclaimBlob { .. }
            | Self::SetNamespace { .. }
            | Self::PurgeTombstones { .. }
            | Self::Mark { .. } => (0, 0),
        };
        size_max(beside, payload.min(payload_max))
    }

    /// Whether it leads out of a full disk: such a command may use the reserve.
    #[must_use]
    pub fn frees_space(&self) -> bool {
        match self {
            Self::Put { .. } | Self::StoreBlob { .. } | Self::KeepBlob { .. } => false,
            Self::Batch(batch) => batch.frees_space(),
            Self::Merge { body, .. } => body.is_none(),
            Self::Delete { .. }
            | Self::Expire { .. }
            | Self::Clear { .. }
            | Self::SetNamespace { .. }
            | Self::DropReference { .. }
            | Self::ReclaimBlob { .. }
            | Self::PurgeTombstones { .. }
            | Self::Mark { .. } => true,
        }
    }
}

/// What a key with what stands beside it, and a payload, take at most.
pub(super) fn size_max(beside: usize, payload: usize) -> u64 {
    /// Four records of bookkeeping around them.
    const OVERHEAD: usize = 4 * 128;
    (OVERHEAD + 2 * beside + payload) as u64
}

/// A reference whose record is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaced {
    /// The reference.
    pub blob: BlobRef,
    /// Whether it was dropped in the same commit; if not, its blob lives in another shard, and the
    /// caller drops it there.
    pub dropped: bool,
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A record was written.
    Put {
        /// The version it took.
        version: Version,
        /// The version of the live record that it replaced.
        previous: Option<Version>,
        /// Whether bytes of the value were stored, rather than found.
        stored: bool,
        /// The reference that the replaced record held.
        replaced: Option<Replaced>,
    },
    /// A record was there and stays.
    Unchanged {
        /// Its version.
        version: Version,
    },
    /// The condition does not hold: nothing has changed.
    Refused {
        /// The version of the key's live record.
        found: Option<Version>,
    },
    /// A record was removed.
    Deleted {
        /// The version the delete took.
        version: Version,
        /// The version of the record that it removed; `None` where a backup's delete met none.
        previous: Option<Version>,
        /// The reference that the removed record held.
        replaced: Option<Replaced>,
    },
    /// There was nothing to remove.
    Missing,
    /// The blob is there and the reference made.
    BlobStored {
        /// Whether its bytes were stored, rather than found.
        stored: bool,
    },
    /// The blob was without references, and is gone.
    Reclaimed,
    /// What a batch did.
    Batch(BatchReply),
    /// The command came without bytes, and the blob is not (any more) there: send it with them.
    BlobMissing,
    /// A namespace is what the command said.
    NamespaceSet {
        /// The version that it took.
        version: Version,
    },
    /// A housekeeping command is done.
    Done,
}
