//! What an archive holds, and how one entry becomes the body of a frame. FORMAT.md draws the bodies.
//!
//! A body is a fixed part, then a digest and a key where the kind has them, then the payload. The
//! parts before the payload are small, so a reader can check a value of 1 GiB without holding it.

use super::frame::{FrameKind, take, take_u16, take_u64};
use crate::codec::{decode_namespace, encode_namespace};
use crate::model::{
    Codec, Digest, KEY_SIZE_MAX, Key, Namespace, NamespaceId, SealedValue, Timestamp, ValueInfo,
    Version, check_namespace_name,
};
use bytes::Bytes;

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A large value. It stands in the file once, before every reference to it.
    Blob {
        /// Of the raw value.
        digest: Digest,
        /// The value; its own `digest` is not stored, and comes back as `Some(digest)`.
        value: SealedValue,
    },
    /// A key with its value beside it.
    Value {
        /// The key.
        key: Key,
        /// The record's version.
        version: Version,
        /// When the record expires.
        expiry: Option<Timestamp>,
        /// What a client says of the value, encoded.
        attributes: Bytes,
        /// The value.
        value: SealedValue,
    },
    /// A key whose value is a blob.
    Reference {
        /// The key.
        key: Key,
        /// The record's version.
        version: Version,
        /// When the record expires.
        expiry: Option<Timestamp>,
        /// What a client says of the value, encoded.
        attributes: Bytes,
        /// Of the blob.
        digest: Digest,
        /// Length and checksum of the raw value.
        info: ValueInfo,
    },
    /// A delete.
    Tombstone {
        /// The key.
        key: Key,
        /// The version that the delete took.
        version: Version,
    },
    /// A namespace, before any key in it. Its number is that of the store that was backed up.
    Namespace(Namespace),
}

const BLOB_CODEC_AT: usize = Digest::SIZE;
const BLOB_ZERO_AT: usize = BLOB_CODEC_AT + 1;
const BLOB_INFO_AT: usize = BLOB_ZERO_AT + 7;
const BLOB_SUM_AT: usize = BLOB_INFO_AT + 16;
const BLOB_SIZE: usize = BLOB_SUM_AT + 8;

const VERSION_AT: usize = 0;
const EXPIRY_AT: usize = VERSION_AT + 8;
const INFO_AT: usize = EXPIRY_AT + 8;

const VALUE_SUM_AT: usize = INFO_AT + 16;
const VALUE_KEY_AT: usize = VALUE_SUM_AT + 8;
const VALUE_FLAGS_AT: usize = VALUE_KEY_AT + 2;
const VALUE_CODEC_AT: usize = VALUE_FLAGS_AT + 1;
const VALUE_ATTRIBUTES_AT: usize = VALUE_CODEC_AT + 1;
const VALUE_ZERO_AT: usize = VALUE_ATTRIBUTES_AT + 2;
const VALUE_SIZE: usize = VALUE_ZERO_AT + 2;

const REFERENCE_DIGEST_AT: usize = INFO_AT + 16;
const REFERENCE_FLAGS_AT: usize = REFERENCE_DIGEST_AT + Digest::SIZE;
const REFERENCE_ZERO_AT: usize = REFERENCE_FLAGS_AT + 1;
const REFERENCE_ATTRIBUTES_AT: usize = REFERENCE_ZERO_AT + 5;
const REFERENCE_SIZE: usize = REFERENCE_ATTRIBUTES_AT + 2;

const TOMBSTONE_SIZE: usize = 8;

const NAMESPACE_VERSION_SIZE: usize = 8;
/// Far above what any has.
const NAMESPACE_SIZE_MAX: u64 = 4096;

const HAS_EXPIRY: u8 = 1;
const HAS_DIGEST: u8 = 2;

impl Entry {
    /// The record's version; a blob has none.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        match self {
            // The whole catalogue stands in every archive, whatever its range.
            Self::Blob { .. } | Self::Namespace(_) => None,
            Self::Value { version, .. }
            | Self::Reference { version, .. }
            | Self::Tombstone { version, .. } => Some(*version),
        }
    }

    pub(super) fn kind(&self) -> FrameKind {
        match self {
            Self::Blob { .. } => FrameKind::Blob,
            Self::Value { .. } => FrameKind::Value,
            Self::Reference { .. } => FrameKind::Reference,
            Self::Tombstone { .. } => FrameKind::Tombstone,
            Self::Namespace(_) => FrameKind::Namespace,
        }
    }

    /// The namespace of its key, or the one that it describes.
    pub(super) fn namespace(&self) -> NamespaceId {
        match self {
            Self::Blob { .. } => NamespaceId::DEFAULT,
            Self::Value { key, .. } | Self::Reference { key, .. } | Self::Tombstone { key, .. } => {
                key.namespace()
            }
            Self::Namespace(namespace) => namespace.id,
        }
    }

    /// The value, of the kinds that have one.
    pub(super) fn value(&self) -> Option<&SealedValue> {
        match self {
            Self::Blob { value, .. } | Self::Value { value, .. } => Some(value),
            Self::Reference { .. } | Self::Tombstone { .. } | Self::Namespace(_) => None,
        }
    }

    /// Appends everything of the body that stands before the payload.
    pub(super) fn encode_front(&self, out: &mut Vec<u8>) {
        match self {
            Self::Blob { digest, value } => {
                out.extend_from_slice(&digest.0);
                out.push(codec_byte(value.codec));
                out.extend_from_slice(&[0; BLOB_INFO_AT - BLOB_ZERO_AT]);
                push_info(out, value.info);
                out.extend_from_slice(&value.payload_sum.to_le_bytes());
            }
            Self::Value {
                key,
                version,
                expiry,
                attributes,
                value,
            } => {
                push_version(out, *version, *expiry);
                push_info(out, value.info);
                out.extend_from_slice(&value.payload_sum.to_le_bytes());
                let key_size = u16::try_from(key.as_bytes().len()).expect("a key fits 16 bits");
                out.extend_from_slice(&key_size.to_le_bytes());
                out.push(
                    flag(expiry.is_some(), HAS_EXPIRY) | flag(value.digest.is_some(), HAS_DIGEST),
                );
                out.push(codec_byte(value.codec));
                push_len(out, attributes);
                out.extend_from_slice(&[0; VALUE_SIZE - VALUE_ZERO_AT]);
                if let Some(digest) = value.digest {
                    out.extend_from_slice(&digest.0);
                }
                out.extend_from_slice(key.as_bytes());
                out.extend_from_slice(attributes);
            }
            Self::Reference {
                key,
                version,
                expiry,
                attributes,
                digest,
                info,
            } => {
                push_version(out, *version, *expiry);
                push_info(out, *info);
                out.extend_from_slice(&digest.0);
                out.push(flag(expiry.is_some(), HAS_EXPIRY));
                out.extend_from_slice(&[0; REFERENCE_ATTRIBUTES_AT - REFERENCE_ZERO_AT]);
                push_len(out, attributes);
                out.extend_from_slice(key.as_bytes());
                out.extend_from_slice(attributes);
            }
            Self::Tombstone { key, version } => {
                out.extend_from_slice(&version.0.to_le_bytes());
                out.extend_from_slice(key.as_bytes());
            }
            Self::Namespace(namespace) => {
                out.extend_from_slice(&namespace.version.0.to_le_bytes());
                out.extend_from_slice(&encode_namespace(namespace));
            }
        }
    }

    /// The entry of a front and a payload, as [`FrameKind::front_size`] divided them.
    pub(super) fn decode(
        (kind, namespace): (FrameKind, NamespaceId),
        front: &[u8],
        payload: Bytes,
    ) -> Result<Self, &'static str> {
        match kind {
            FrameKind::Blob if namespace != NamespaceId::DEFAULT => Err("a blob of a namespace"),
            FrameKind::Blob => decode_blob(front, payload),
            FrameKind::Value => decode_value(namespace, front, payload),
            FrameKind::Reference => decode_reference(namespace, front),
            FrameKind::Tombstone => Ok(Self::Tombstone {
                version: Version(take_u64(front, VERSION_AT)),
                key: decode_key(namespace, &front[TOMBSTONE_SIZE..])?,
            }),
            FrameKind::Namespace => decode_described(namespace, front),
        }
    }
}

impl FrameKind {
    /// Bytes of the part that every body of this kind begins with.
    pub(super) fn fixed_size(self) -> usize {
        match self {
            Self::Blob => BLOB_SIZE,
            Self::Value => VALUE_SIZE,
            Self::Reference => REFERENCE_SIZE,
            Self::Tombstone => TOMBSTONE_SIZE,
            Self::Namespace => NAMESPACE_VERSION_SIZE,
        }
    }

    /// Bytes before the payload, of a body of `length` bytes that begins with `fixed`.
    pub(super) fn front_size(self, fixed: &[u8], length: u64) -> Result<usize, &'static str> {
        let rest = length - fixed.len() as u64;
        let more = match self {
            Self::Blob => 0,
            Self::Value => {
                let has_digest = fixed[VALUE_FLAGS_AT] & HAS_DIGEST != 0;
                u64::from(take_u16(fixed, VALUE_KEY_AT))
                    + u64::from(take_u16(fixed, VALUE_ATTRIBUTES_AT))
                    + if has_digest { Digest::SIZE as u64 } else { 0 }
            }
            Self::Reference
                if rest
                    > KEY_SIZE_MAX as u64 + u64::from(take_u16(fixed, REFERENCE_ATTRIBUTES_AT)) =>
            {
                return Err("a key is longer than keys can be");
            }
            Self::Tombstone if rest > KEY_SIZE_MAX as u64 => {
                return Err("a key is longer than keys can be");
            }
            Self::Namespace if rest > NAMESPACE_SIZE_MAX => {
                return Err("a namespace is longer than one can be");
            }
            Self::Reference | Self::Tombstone | Self::Namespace => rest,
        };
        if more > rest {
            return Err("a key is longer than its frame");
        }
        Ok(fixed.len() + usize::try_from(more).expect("a key and a digest fit memory"))
    }
}

fn decode_blob(front: &[u8], payload: Bytes) -> Result<Entry, &'static str> {
    check_zero(&front[BLOB_ZERO_AT..BLOB_INFO_AT])?;
    let digest = Digest(take(front, 0));
    let value = SealedValue {
        info: decode_info(front, BLOB_INFO_AT),
        digest: Some(digest),
        codec: decode_codec(front[BLOB_CODEC_AT])?,
        payload_sum: take_u64(front, BLOB_SUM_AT),
        payload,
    };
    Ok(Entry::Blob { digest, value })
}

fn decode_value(
    namespace: NamespaceId,
    front: &[u8],
    payload: Bytes,
) -> Result<Entry, &'static str> {
    check_zero(&front[VALUE_ZERO_AT..VALUE_SIZE])?;
    let flags = front[VALUE_FLAGS_AT];
    check_zero(&[flags & !(HAS_EXPIRY | HAS_DIGEST)])?;
    let (digest, rest) = if flags & HAS_DIGEST == 0 {
        (None, &front[VALUE_SIZE..])
    } else {
        (
            Some(Digest(take(front, VALUE_SIZE))),
            &front[VALUE_SIZE + Digest::SIZE..],
        )
    };
    let (key, attributes) = divide(rest, take_u16(front, VALUE_ATTRIBUTES_AT))?;
    Ok(Entry::Value {
        key: decode_key(namespace, key)?,
        attributes,
        version: Version(take_u64(front, VERSION_AT)),
        expiry: decode_expiry(front, flags)?,
        value: SealedValue {
            info: decode_info(front, INFO_AT),
            digest,
            codec: decode_codec(front[VALUE_CODEC_AT])?,
            payload_sum: take_u64(front, VALUE_SUM_AT),
            payload,
        },
    })
}

fn decode_reference(namespace: NamespaceId, front: &[u8]) -> Result<Entry, &'static str> {
    check_zero(&front[REFERENCE_ZERO_AT..REFERENCE_ATTRIBUTES_AT])?;
    let flags = front[REFERENCE_FLAGS_AT];
    check_zero(&[flags & !HAS_EXPIRY])?;
    let attributes_len = take_u16(front, REFERENCE_ATTRIBUTES_AT);
    let (key, attributes) = divide(&front[REFERENCE_SIZE..], attributes_len)?;
    Ok(Entry::Reference {
        key: decode_key(namespace, key)?,
        attributes,
        version: Version(take_u64(front, VERSION_AT)),
        expiry: decode_expiry(front, flags)?,
        digest: Digest(take(front, REFERENCE_DIGEST_AT)),
        info: decode_info(front, INFO_AT),
    })
}

/// A key, and the attributes of so many bytes behind it.
fn divide(bytes: &[u8], attributes_len: u16) -> Result<(&[u8], Bytes), &'static str> {
    let key_len = bytes.len().checked_sub(usize::from(attributes_len));
    let (key, attributes) =
        bytes.split_at(key_len.ok_or("attributes are longer than their frame")?);
    Ok((key, Bytes::copy_from_slice(attributes)))
}

fn push_len(out: &mut Vec<u8>, attributes: &Bytes) {
    let len = u16::try_from(attributes.len()).expect("attributes end at 32 KiB");
    out.extend_from_slice(&len.to_le_bytes());
}

fn decode_described(id: NamespaceId, front: &[u8]) -> Result<Entry, &'static str> {
    let version = Version(take_u64(front, 0));
    let described = decode_namespace(id, version, &front[NAMESPACE_VERSION_SIZE..]);
    let described = described.map_err(|_| "a namespace that cannot be read")?;
    let is_sound = id != NamespaceId::DEFAULT && check_namespace_name(&described.name).is_ok();
    match is_sound {
        true => Ok(Entry::Namespace(described)),
        false => Err("a namespace that cannot be"),
    }
}

fn decode_key(namespace: NamespaceId, bytes: &[u8]) -> Result<Key, &'static str> {
    Key::in_namespace(namespace, bytes).map_err(|_| "a key is empty, or longer than keys can be")
}

fn decode_info(front: &[u8], at: usize) -> ValueInfo {
    ValueInfo {
        raw_len: take_u64(front, at),
        sum64: take_u64(front, at + 8),
    }
}

fn decode_expiry(front: &[u8], flags: u8) -> Result<Option<Timestamp>, &'static str> {
    let millis = take_u64(front, EXPIRY_AT);
    match (flags & HAS_EXPIRY != 0, millis) {
        (true, _) => Ok(Some(Timestamp(millis))),
        (false, 0) => Ok(None),
        (false, _) => Err("an expiry without its flag"),
    }
}

fn decode_codec(byte: u8) -> Result<Codec, &'static str> {
    match byte {
        0 => Ok(Codec::Raw),
        1 => Ok(Codec::Zstd),
        2 => Ok(Codec::Chunks),
        _ => Err("a payload of an unknown codec"),
    }
}

fn codec_byte(codec: Codec) -> u8 {
    match codec {
        Codec::Raw => 0,
        Codec::Zstd => 1,
        Codec::Chunks => 2,
    }
}

fn check_zero(bytes: &[u8]) -> Result<(), &'static str> {
    if bytes.iter().all(|byte| *byte == 0) {
        Ok(())
    } else {
        Err("unknown flags in an entry")
    }
}

fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

fn push_version(out: &mut Vec<u8>, version: Version, expiry: Option<Timestamp>) {
    out.extend_from_slice(&version.0.to_le_bytes());
    out.extend_from_slice(&expiry.unwrap_or_default().0.to_le_bytes());
}

fn push_info(out: &mut Vec<u8>, info: ValueInfo) {
    out.extend_from_slice(&info.raw_len.to_le_bytes());
    out.extend_from_slice(&info.sum64.to_le_bytes());
}
