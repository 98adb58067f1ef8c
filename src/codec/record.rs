//! One record: the newest word about one entity. The same entity's record with the highest
//! sequence number wins, in the live index, in replay and in a rebuild alike.

use super::{Cursor, FormatError, payload_sum};
use crate::model::{
    BlobRef, Codec, Digest, Key, NamespaceId, RefId, SealedValue, Seq, Timestamp, ValueInfo,
    Version,
};
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes of a record's header; its id follows.
pub const RECORD_HEADER_SIZE: usize = 72;
/// The record stands under the content key of its value.
pub const FLAG_CONTENT: u16 = 1;
/// The record was copied here by segment GC.
pub const FLAG_MOVED: u16 = 2;
/// The record came from a backup, and keeps the version that it had there.
pub const FLAG_MERGED: u16 = 4;
/// The tombstone's key was not deleted: it had expired.
pub const FLAG_EXPIRED: u16 = 8;

/// What an id names. Rows of the index begin with its byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// A key of the default namespace.
    Key,
    /// A key of another namespace: the namespace's number, 4 bytes, big-endian, and the key.
    NamespacedKey,
    /// A blob: its digest.
    Blob,
    /// A reference: digest and reference id.
    Reference,
    /// A segment that GC removed: its id, big-endian.
    Purged,
    /// A named mark of the log itself.
    Mark,
    /// A slot: its number, 2 bytes, big-endian.
    Slot,
    /// A transaction: its number, 8 bytes, big-endian.
    Transaction,
    /// A zstd dictionary: its id, 4 bytes, big-endian.
    Dictionary,
    /// A namespace: its number, 4 bytes, big-endian.
    Namespace,
}

impl Space {
    /// All of them, in the order in which they are walked.
    pub const ALL: [Self; 10] = [
        Self::Key,
        Self::NamespacedKey,
        Self::Blob,
        Self::Reference,
        Self::Purged,
        Self::Mark,
        Self::Slot,
        Self::Transaction,
        Self::Dictionary,
        Self::Namespace,
    ];

    /// Those whose ids name keys.
    pub const KEYS: [Self; 2] = [Self::Key, Self::NamespacedKey];

    /// The keys of a namespace.
    #[must_use]
    pub fn of_keys(namespace: NamespaceId) -> Self {
        match namespace {
            NamespaceId::DEFAULT => Self::Key,
            _ => Self::NamespacedKey,
        }
    }

    /// The byte that rows of this space begin with.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        match self {
            Self::Key => b'k',
            Self::NamespacedKey => b'n',
            Self::Blob => b'b',
            Self::Reference => b'r',
            Self::Purged => b'p',
            Self::Mark => b'm',
            Self::Slot => b'h',
            Self::Transaction => b't',
            Self::Dictionary => b'd',
            Self::Namespace => b'g',
        }
    }
}

/// What a record says of its entity. Numbers 14 and 15 are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A key holds the payload.
    Value,
    /// A key holds the blob that the payload (digest and reference id) names.
    Link,
    /// A key is gone.
    Tombstone,
    /// A blob's bytes.
    Blob,
    /// A blob was reclaimed.
    BlobGone,
    /// A reference; the payload is the owner's key.
    Reference,
    /// A reference was dropped.
    ReferenceGone,
    /// GC removed a segment.
    Purged,
    /// Tombstones up to `version` may go.
    Horizon,
    /// The version counter reached `version`.
    Counter,
    /// A slot left this shard: what older records say of its keys and contents is void here.
    SlotLeft,
    /// A transaction was given up: what its prepare says never came to be.
    Aborted,
    /// A namespace: that it is there, its rules, or that it was dropped.
    Namespace,
    /// A zstd dictionary, for as long as the log is there.
    Dictionary = 15,
}

impl Kind {
    const ALL: [Self; 14] = [
        Self::Value,
        Self::Link,
        Self::Tombstone,
        Self::Blob,
        Self::BlobGone,
        Self::Reference,
        Self::ReferenceGone,
        Self::Purged,
        Self::Horizon,
        Self::Counter,
        Self::SlotLeft,
        Self::Aborted,
        Self::Namespace,
        Self::Dictionary,
    ];

    /// The byte on disk.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self as u8 + 1
    }

    /// The kind of a byte on disk.
    ///
    /// # Errors
    /// `Field` for a byte that no kind has.
    pub fn parse(byte: u8) -> Result<Self, FormatError> {
        let unknown = FormatError::Field {
            field: "record kind",
            value: u64::from(byte),
        };
        Self::ALL
            .into_iter()
            .find(|kind| kind.byte() == byte)
            .ok_or(unknown)
    }

    /// What the record's id names in the default namespace.
    const fn space(self) -> Space {
        match self {
            Self::Value | Self::Link | Self::Tombstone => Space::Key,
            Self::Blob | Self::BlobGone => Space::Blob,
            Self::Reference | Self::ReferenceGone => Space::Reference,
            Self::Purged => Space::Purged,
            Self::Horizon | Self::Counter => Space::Mark,
            Self::SlotLeft => Space::Slot,
            Self::Aborted => Space::Transaction,
            Self::Namespace => Space::Namespace,
            Self::Dictionary => Space::Dictionary,
        }
    }

    /// What the record's id names.
    #[must_use]
    pub fn space_in(self, namespace: NamespaceId) -> Space {
        match self.space() {
            Space::Key => Space::of_keys(namespace),
            space => space,
        }
    }

    /// Whether the record is about a key.
    #[must_use]
    pub fn is_of_key(self) -> bool {
        self.space() == Space::Key
    }

    /// Whether the record says that its entity is gone. Such a record carries a
    /// [`TombstoneNote`] as its payload.
    #[must_use]
    pub const fn is_gone(self) -> bool {
        matches!(self, Self::Tombstone | Self::BlobGone | Self::ReferenceGone)
    }

    /// Whether the payload is a value that a client sent, or what opens one, rather than bookkeeping
    /// that the index cannot do without.
    #[must_use]
    pub const fn holds_value(self) -> bool {
        matches!(self, Self::Value | Self::Blob | Self::Dictionary)
    }
}

/// A record on its way to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it says.
    pub kind: Kind,
    /// `FLAG_*`.
    pub flags: u16,
    /// The namespace of its key; of the owner, for a reference.
    pub namespace: NamespaceId,
    /// The order in its shard.
    pub seq: Seq,
    /// The store-wide version, 0 for records that are no change of a user's.
    pub version: Version,
    /// When it expires.
    pub expiry: Option<Timestamp>,
    /// Length and checksum of the raw value (of the blob's, for a link).
    pub info: ValueInfo,
    /// How the payload is stored.
    pub codec: Codec,
    /// XXH3-64 of the payload.
    pub payload_sum: u64,
    /// What the record is about.
    pub id: Bytes,
    /// What a client says of the value, encoded; nothing in most records.
    pub attributes: Bytes,
    /// The payload.
    pub payload: Bytes,
}

impl Record {
    /// A record without a client's value: its payload is bookkeeping, stored raw.
    #[must_use]
    pub fn bookkeeping(kind: Kind, id: Bytes, payload: Bytes) -> Self {
        Self {
            kind,
            flags: 0,
            namespace: NamespaceId::DEFAULT,
            seq: Seq::default(),
            version: Version::default(),
            expiry: None,
            info: ValueInfo {
                raw_len: 0,
                sum64: 0,
            },
            codec: Codec::Raw,
            payload_sum: payload_sum(&payload),
            id,
            attributes: Bytes::new(),
            payload,
        }
    }

    /// A record that carries a client's value.
    #[must_use]
    pub fn of_value(kind: Kind, id: Bytes, value: SealedValue) -> Self {
        Self {
            info: value.info,
            codec: value.codec,
            payload_sum: value.payload_sum,
            payload: value.payload,
            ..Self::bookkeeping(kind, id, Bytes::new())
        }
    }

    /// The same record, in the namespace of a key.
    #[must_use]
    pub fn in_namespace_of(self, key: &Key) -> Self {
        let namespace = key.namespace();
        Self { namespace, ..self }
    }

    /// What it is about.
    #[must_use]
    pub fn space(&self) -> Space {
        self.kind.space_in(self.namespace)
    }

    /// What it is about, and its id there.
    #[must_use]
    pub fn entity(&self) -> (Space, Bytes) {
        (self.space(), self.id.clone())
    }

    /// Bytes that the record takes in a segment, its share of the frame aside.
    #[must_use]
    pub fn log_size(&self) -> u64 {
        (RECORD_HEADER_SIZE + self.id.len() + self.attributes.len() + self.payload.len()) as u64
    }

    /// Appends header, id and attributes.
    pub fn encode_meta(&self, salt: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        for field in [
            self.payload_sum,
            self.seq.0,
            self.version.0,
            self.expiry.map_or(0, |at| at.0),
            self.info.sum64,
            self.info.raw_len,
        ] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        let payload_len = u32::try_from(self.payload.len()).expect("values end at 1 GiB");
        let id_len = u16::try_from(self.id.len()).expect("keys end at 65,000 bytes");
        out.extend_from_slice(&payload_len.to_le_bytes());
        out.extend_from_slice(&id_len.to_le_bytes());
        out.push(self.kind.byte());
        out.push(self.codec.byte());
        out.extend_from_slice(&self.namespace.0.to_le_bytes());
        out.extend_from_slice(&self.flags.to_le_bytes());
        let attributes_len = u16::try_from(self.attributes.len()).expect("they end at 32 KiB");
        out.extend_from_slice(&attributes_len.to_le_bytes());
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&self.attributes);
        let sum = xxh3_64_with_seed(&out[start + 8..], salt);
        out[start..start + 8].copy_from_slice(&sum.to_le_bytes());
    }
}

/// A record as it stands in a segment, without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader {
    /// Everything but the payload, which is empty here.
    pub record: Record,
    /// Bytes of the payload.
    pub payload_len: u32,
}

impl RecordHeader {
    /// Reads header, id and attributes, and moves the cursor behind them.
    ///
    /// # Errors
    /// When these bytes are not a record written under this salt.
    pub fn decode(cursor: &mut Cursor<'_>, salt: u64) -> Result<Self, FormatError> {
        let all = cursor.rest();
        let sum = cursor.u64()?;
        let payload_sum = cursor.u64()?;
        let seq = Seq(cursor.u64()?);
        let version = Version(cursor.u64()?);
        let expiry = cursor.u64()?;
        let info = ValueInfo {
            sum64: cursor.u64()?,
            raw_len: cursor.u64()?,
        };
        let payload_len = cursor.u32()?;
        let id_len = usize::from(cursor.u16()?);
        let kind = cursor.u8()?;
        let codec = cursor.u8()?;
        let namespace = NamespaceId(cursor.u32()?);
        let flags = cursor.u16()?;
        let attributes_len = usize::from(cursor.u16()?);
        let id = cursor.take(id_len)?;
        let attributes = cursor.take(attributes_len)?;
        let summed = &all[8..RECORD_HEADER_SIZE + id_len + attributes_len];
        if sum != xxh3_64_with_seed(summed, salt) {
            return Err(FormatError::Checksum {
                what: "record header",
            });
        }
        let kind = Kind::parse(kind)?;
        check_id(kind, namespace, id)?;
        let record = Record {
            kind,
            flags,
            namespace,
            seq,
            version,
            expiry: (expiry != 0).then_some(Timestamp(expiry)),
            info,
            codec: Codec::parse(codec)?,
            payload_sum,
            id: Bytes::copy_from_slice(id),
            attributes: Bytes::copy_from_slice(attributes),
            payload: Bytes::new(),
        };
        Ok(Self {
            record,
            payload_len,
        })
    }

    /// Bytes that the record takes in a segment, its share of the frame aside.
    #[must_use]
    pub fn log_size(&self) -> u64 {
        let record = &self.record;
        (RECORD_HEADER_SIZE + record.id.len() + record.attributes.len()) as u64
            + u64::from(self.payload_len)
    }
}

/// The id of a key begins with its namespace.
fn check_id(kind: Kind, namespace: NamespaceId, id: &[u8]) -> Result<(), FormatError> {
    let prefix = namespace.prefix().filter(|_| kind.is_of_key());
    if prefix.is_none_or(|prefix| id.starts_with(&prefix)) {
        return Ok(());
    }
    Err(FormatError::Field {
        field: "namespace",
        value: u64::from(namespace.0),
    })
}

impl Key {
    /// Which of the spaces it is in.
    #[must_use]
    pub fn space(&self) -> Space {
        Space::of_keys(self.namespace())
    }
}

/// The payload of a record that says "gone": what GC must know before it may forget it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TombstoneNote {
    /// When its entity went.
    pub at: Timestamp,
}

impl TombstoneNote {
    /// The 8 bytes.
    #[must_use]
    pub fn encode(self) -> Bytes {
        Bytes::copy_from_slice(&self.at.0.to_le_bytes())
    }

    /// Reads the 8 bytes.
    ///
    /// # Errors
    /// `Short`.
    pub fn decode(payload: &[u8]) -> Result<Self, FormatError> {
        Ok(Self {
            at: Timestamp(Cursor::new(payload).u64()?),
        })
    }
}

/// Digest and reference id: the id of a reference, and the payload of a link.
#[must_use]
pub fn encode_blob_ref(blob: BlobRef) -> Bytes {
    let mut bytes = [0; 48];
    bytes[..32].copy_from_slice(&blob.digest.0);
    bytes[32..].copy_from_slice(&blob.ref_id.0.to_le_bytes());
    Bytes::copy_from_slice(&bytes)
}

/// Reads what [`encode_blob_ref`] wrote.
///
/// # Errors
/// `Short`.
pub fn decode_blob_ref(bytes: &[u8]) -> Result<BlobRef, FormatError> {
    let mut cursor = Cursor::new(bytes);
    Ok(BlobRef {
        digest: Digest(cursor.array()?),
        ref_id: RefId(cursor.u128()?),
    })
}

impl Codec {
    /// The byte on disk.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
            Self::Chunks => 2,
        }
    }

    /// The codec of a byte on disk.
    ///
    /// # Errors
    /// `Field` for a byte that no codec has.
    pub fn parse(byte: u8) -> Result<Self, FormatError> {
        match byte {
            0 => Ok(Self::Raw),
            1 => Ok(Self::Zstd),
            2 => Ok(Self::Chunks),
            other => Err(FormatError::Field {
                field: "codec",
                value: u64::from(other),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Record {
        Record {
            kind: Kind::Value,
            flags: FLAG_CONTENT,
            namespace: NamespaceId(27),
            seq: Seq(21),
            version: Version(22),
            expiry: Some(Timestamp(23)),
            info: ValueInfo {
                raw_len: 24,
                sum64: 25,
            },
            codec: Codec::Zstd,
            payload_sum: 26,
            id: Bytes::from_static(b"\0\0\0\x1bthe key"),
            attributes: Bytes::from_static(b"said of it"),
            payload: Bytes::from_static(b"payload"),
        }
    }

    #[test]
    fn a_record_comes_back_and_every_flipped_bit_is_found() {
        let mut meta = Vec::new();
        sample().encode_meta(7, &mut meta);
        let header = RecordHeader::decode(&mut Cursor::new(&meta), 7).unwrap();
        assert_eq!(
            header.record,
            Record {
                payload: Bytes::new(),
                ..sample()
            }
        );
        assert_eq!(header.payload_len, 7);
        for bit in 0..meta.len() * 8 {
            let mut damaged = meta.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(
                RecordHeader::decode(&mut Cursor::new(&damaged), 7).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn the_offsets_are_those_of_the_format_document() {
        let mut meta = Vec::new();
        sample().encode_meta(7, &mut meta);
        for (at, field) in [(8, 26u64), (16, 21), (24, 22), (32, 23), (40, 25), (48, 24)] {
            assert_eq!(meta[at..at + 8], field.to_le_bytes(), "field at {at}");
        }
        assert_eq!(meta[56..60], 7u32.to_le_bytes());
        assert_eq!(meta[60..62], 11u16.to_le_bytes());
        assert_eq!((meta[62], meta[63]), (1, 1));
        assert_eq!(meta[64..68], 27u32.to_le_bytes());
        assert_eq!(meta[68..70], FLAG_CONTENT.to_le_bytes());
        assert_eq!(meta[70..72], 10u16.to_le_bytes());
        assert_eq!(&meta[72..], b"\0\0\0\x1bthe keysaid of it");
    }

    #[test]
    fn a_key_outside_its_namespace_is_no_record() {
        let mut meta = Vec::new();
        let record = Record {
            namespace: NamespaceId(28),
            ..sample()
        };
        record.encode_meta(7, &mut meta);
        assert!(RecordHeader::decode(&mut Cursor::new(&meta), 7).is_err());
    }

    #[test]
    fn every_kind_has_its_own_byte() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.byte()), Ok(kind));
        }
        assert!(Kind::parse(0).is_err());
        assert!(
            (14..=15)
                .chain(17..=255)
                .all(|byte| Kind::parse(byte).is_err())
        );
        assert_eq!(Kind::Dictionary.byte(), 16);
    }
}
