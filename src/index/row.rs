//! What the index knows about an entity: its newest record without the payload, and where it is.

use crate::codec::{Cursor, FLAG_CONTENT, FormatError, Kind, Record, list_ref_id, put_varint};
use crate::log::Position;
use crate::model::{Codec, Key, NamespaceId, RefId, SegmentId, Seq, Timestamp, ValueInfo, Version};
use bytes::Bytes;

const CONTENT: u8 = 1;
const INLINE: u8 = 2;
const EXPIRES: u8 = 4;
const ATTRIBUTES: u8 = 8;
const NAMESPACED: u8 = 16;

/// Where a record and its payload stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The record's header.
    pub record: Position,
    /// Its payload, in the same segment.
    pub payload_offset: u64,
    /// Bytes of its payload.
    pub payload_len: u32,
}

/// The newest record of an entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it says.
    pub kind: Kind,
    /// Whether the record stands under the content key of its value.
    pub content: bool,
    /// The namespace that its record names.
    pub namespace: NamespaceId,
    /// How the payload is stored.
    pub codec: Codec,
    /// The order in its shard.
    pub seq: Seq,
    /// The store-wide version.
    pub version: Version,
    /// What a client says of the value, encoded.
    pub attributes: Bytes,
    /// When it expires.
    pub expiry: Option<Timestamp>,
    /// Length and checksum of the raw value.
    pub info: ValueInfo,
    /// XXH3-64 of the payload.
    pub payload_sum: u64,
    /// Where it stands.
    pub place: Place,
    /// The payload, where it is small or bookkeeping.
    pub inline: Option<Bytes>,
}

impl Row {
    /// The row of a record at a place. `inline` is its payload, if it should stand here too; it is
    /// copied, so that no row keeps a network frame alive.
    #[must_use]
    pub fn new(record: &Record, place: Place, inline: Option<&[u8]>) -> Self {
        Self {
            kind: record.kind,
            content: record.flags & FLAG_CONTENT != 0,
            namespace: record.namespace,
            codec: record.codec,
            seq: record.seq,
            version: record.version,
            attributes: record.attributes.clone(),
            expiry: record.expiry,
            info: record.info,
            payload_sum: record.payload_sum,
            place,
            inline: inline.map(Bytes::copy_from_slice),
        }
    }

    /// Whether the record says that its entity is there at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        !self.kind.is_gone() && self.expiry.is_none_or(|expiry| expiry > now)
    }

    /// The key that holds a reference; `None` for the row of anything else.
    #[must_use]
    pub fn owner(&self) -> Option<Key> {
        let id = self.inline.as_deref()?;
        let is_reference = self.kind == Kind::Reference;
        is_reference
            .then(|| Key::of_id(self.namespace, id).ok())
            .flatten()
    }

    /// Whether this is the row of a list that refers to its chunks by this name.
    #[must_use]
    pub fn names_chunks_by(&self, ref_id: RefId) -> bool {
        let is_list = self.kind == Kind::Blob && self.codec == Codec::Chunks;
        is_list && list_ref_id(&self.attributes) == Some(ref_id)
    }

    /// The bytes of a row.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let inline = self.inline.as_deref().unwrap_or_default();
        let mut out = Vec::with_capacity(64 + self.attributes.len() + inline.len());
        let flags = u8::from(self.content) * CONTENT
            + u8::from(self.inline.is_some()) * INLINE
            + u8::from(self.expiry.is_some()) * EXPIRES
            + u8::from(!self.attributes.is_empty()) * ATTRIBUTES
            + u8::from(self.namespace != NamespaceId::DEFAULT) * NAMESPACED;
        out.extend_from_slice(&[self.kind.byte(), self.codec.byte(), flags]);
        for field in [
            self.seq.0,
            self.version.0,
            self.place.record.segment.0,
            self.place.record.offset,
            self.place.payload_offset,
            u64::from(self.place.payload_len),
            self.info.raw_len,
        ] {
            put_varint(&mut out, field);
        }
        if self.namespace != NamespaceId::DEFAULT {
            put_varint(&mut out, u64::from(self.namespace.0));
        }
        if let Some(expiry) = self.expiry {
            put_varint(&mut out, expiry.0);
        }
        if !self.attributes.is_empty() {
            put_varint(&mut out, self.attributes.len() as u64);
            out.extend_from_slice(&self.attributes);
        }
        out.extend_from_slice(&self.info.sum64.to_le_bytes());
        out.extend_from_slice(&self.payload_sum.to_le_bytes());
        out.extend_from_slice(inline);
        out
    }

    /// Reads a row. Attributes and an inline payload are slices of `bytes`.
    ///
    /// # Errors
    /// When these bytes are not a row.
    pub fn decode(bytes: &Bytes) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(bytes);
        let kind = Kind::parse(cursor.u8()?)?;
        let codec = Codec::parse(cursor.u8()?)?;
        let flags = cursor.u8()?;
        let seq = Seq(cursor.varint()?);
        let version = Version(cursor.varint()?);
        let segment = SegmentId(cursor.varint()?);
        let record = Position {
            segment,
            offset: cursor.varint()?,
        };
        let payload_offset = cursor.varint()?;
        let payload_len = cursor.varint()?;
        let payload_len = small(payload_len, "payload length")?;
        let raw_len = cursor.varint()?;
        let namespace = match flags & NAMESPACED {
            0 => NamespaceId::DEFAULT,
            _ => NamespaceId(small(cursor.varint()?, "namespace")?),
        };
        let expiry = match flags & EXPIRES {
            0 => None,
            _ => Some(Timestamp(cursor.varint()?)),
        };
        let attributes = match flags & ATTRIBUTES {
            0 => Bytes::new(),
            _ => {
                let len = usize::try_from(cursor.varint()?).unwrap_or(usize::MAX);
                bytes.slice_ref(cursor.take(len)?)
            }
        };
        let info = ValueInfo {
            raw_len,
            sum64: cursor.u64()?,
        };
        let payload_sum = cursor.u64()?;
        let inline = (flags & INLINE != 0).then(|| bytes.slice_ref(cursor.rest()));
        Ok(Self {
            kind,
            content: flags & CONTENT != 0,
            namespace,
            codec,
            seq,
            version,
            attributes,
            expiry,
            info,
            payload_sum,
            place: Place {
                record,
                payload_offset,
                payload_len,
            },
            inline,
        })
    }
}

fn small(value: u64, field: &'static str) -> Result<u32, FormatError> {
    u32::try_from(value).map_err(|_| FormatError::Field { field, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_back_as_it_was() {
        for (namespace, expiry, attributes, inline) in [
            (0, None, "", None),
            (1, None, "said of it", None),
            (
                u32::MAX,
                Some(Timestamp(99)),
                "said of it",
                Some(Bytes::from_static(b"payload")),
            ),
        ] {
            let row = Row {
                kind: Kind::Value,
                content: true,
                namespace: NamespaceId(namespace),
                codec: Codec::Zstd,
                seq: Seq(1 << 40),
                version: Version(3),
                attributes: attributes.into(),
                expiry,
                info: ValueInfo {
                    raw_len: 1000,
                    sum64: u64::MAX,
                },
                payload_sum: 7,
                place: Place {
                    record: Position {
                        segment: SegmentId(2),
                        offset: 4096,
                    },
                    payload_offset: 5000,
                    payload_len: 7,
                },
                inline,
            };
            assert_eq!(Row::decode(&Bytes::from(row.encode())), Ok(row));
        }
        assert!(Row::decode(&Bytes::from_static(&[1, 0])).is_err());
    }
}
