//! A namespace in the payload of its record. FORMAT.md draws it.

use super::{Cursor, FormatError, Kind, Record};
use crate::model::{Namespace, NamespaceId, NamespaceOptions, Timestamp, Version};
use bytes::Bytes;

const BY_CONTENT: u8 = 1;
const OVERWRITE: u8 = 2;
const COMPRESS: u8 = 4;
const DEDUP: u8 = 8;
/// Bytes before the name.
const FIXED_SIZE: usize = 48;

/// The record of a namespace.
#[must_use]
pub fn namespace_record(namespace: &Namespace) -> Record {
    let id = Bytes::copy_from_slice(&namespace.id.0.to_be_bytes());
    Record {
        version: namespace.version,
        ..Record::bookkeeping(Kind::Namespace, id, encode_namespace(namespace))
    }
}

/// The bytes that say everything of a namespace but its number and version.
#[must_use]
pub fn encode_namespace(namespace: &Namespace) -> Bytes {
    let options = &namespace.options;
    let flags = u8::from(options.by_content) * BY_CONTENT
        + u8::from(options.overwrite) * OVERWRITE
        + u8::from(options.compress) * COMPRESS
        + u8::from(options.dedup) * DEDUP;
    let mut out = Vec::with_capacity(FIXED_SIZE + namespace.name.len());
    out.extend_from_slice(&[u8::from(namespace.dropped), flags, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&namespace.uid.to_le_bytes());
    for field in [
        namespace.created_at.0,
        options.default_ttl_ms.unwrap_or_default(),
        options.value_size_max.unwrap_or_default(),
    ] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(namespace.name.as_bytes());
    out.into()
}

/// Reads what [`encode_namespace`] wrote.
///
/// # Errors
/// When these bytes are no namespace.
pub fn decode_namespace(
    id: NamespaceId,
    version: Version,
    bytes: &[u8],
) -> Result<Namespace, FormatError> {
    let wrong = |field, value| FormatError::Field { field, value };
    let mut cursor = Cursor::new(bytes);
    let (state, flags) = (cursor.u8()?, cursor.u8()?);
    if state > 1 || flags > BY_CONTENT + OVERWRITE + COMPRESS + DEDUP {
        let value = u64::from(state) << 8 | u64::from(flags);
        return Err(wrong("flags of a namespace", value));
    }
    cursor.take(6)?;
    let uid = cursor.u128()?;
    let created_at = Timestamp(cursor.u64()?);
    let some = |number: u64| (number > 0).then_some(number);
    let options = NamespaceOptions {
        by_content: flags & BY_CONTENT != 0,
        overwrite: flags & OVERWRITE != 0,
        default_ttl_ms: some(cursor.u64()?),
        value_size_max: some(cursor.u64()?),
        compress: flags & COMPRESS != 0,
        dedup: flags & DEDUP != 0,
    };
    let name = cursor.rest().to_vec();
    let size = name.len() as u64;
    let name = String::from_utf8(name).map_err(|_| wrong("name of a namespace", size))?;
    Ok(Namespace {
        id,
        uid,
        name,
        options,
        created_at,
        dropped: state == 1,
        version,
    })
}

/// The number that the id of a namespace's record names.
///
/// # Errors
/// `Short`.
pub fn parse_namespace_id(id: &[u8]) -> Result<NamespaceId, FormatError> {
    Ok(NamespaceId(u32::from_be_bytes(Cursor::new(id).array()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_comes_back_as_it_was() {
        for (dropped, number) in [(false, None), (true, Some(77))] {
            let namespace = Namespace {
                id: NamespaceId(7),
                uid: 1 << 127,
                name: "orders".to_owned(),
                options: NamespaceOptions {
                    by_content: dropped,
                    overwrite: !dropped,
                    default_ttl_ms: number,
                    value_size_max: number,
                    compress: dropped,
                    dedup: !dropped,
                },
                created_at: Timestamp(5),
                dropped,
                version: Version(9),
            };
            let record = namespace_record(&namespace);
            assert_eq!(parse_namespace_id(&record.id).unwrap(), namespace.id);
            let read = decode_namespace(namespace.id, record.version, &record.payload);
            assert_eq!(read.unwrap(), namespace);
            for cut in 0..FIXED_SIZE {
                let cut = &record.payload[..cut];
                assert!(decode_namespace(namespace.id, record.version, cut).is_err());
            }
        }
    }
}
