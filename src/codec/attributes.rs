//! What a client says of a value, as it stands in the value's record, in its row and in archives.
//! Nothing of it is no bytes at all. Tags that a later program adds are passed over.

use super::{Cursor, FormatError, put_varint};
use crate::model::{Attributes, ValueType};
use bytes::Bytes;

/// Bytes of encoded attributes at most: 4 KiB of metadata in the most entries that they can be.
pub const ATTRIBUTES_SIZE_MAX: usize = 32 * 1024;

/// One byte: what the value is.
const VALUE_TYPE: u8 = 1;
/// A length, the name in so many bytes, and the text.
const METADATA: u8 = 2;

// 3 is the name of a list's references, which stands beside blobs only: see `chunk`.

/// The bytes of attributes: `tag, length, bytes` for each.
#[must_use]
pub fn encode_attributes(attributes: &Attributes) -> Bytes {
    let mut out = Vec::new();
    if attributes.value_type != ValueType::Unspecified {
        push(&mut out, VALUE_TYPE, &[attributes.value_type as u8]);
    }
    for (name, text) in &attributes.metadata {
        let mut entry = Vec::with_capacity(3 + name.len() + text.len());
        put_varint(&mut entry, name.len() as u64);
        entry.extend_from_slice(name.as_bytes());
        entry.extend_from_slice(text.as_bytes());
        push(&mut out, METADATA, &entry);
    }
    out.into()
}

fn push(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what [`encode_attributes`] wrote.
///
/// # Errors
/// When these bytes are not attributes.
pub fn decode_attributes(bytes: &[u8]) -> Result<Attributes, FormatError> {
    let mut attributes = Attributes::default();
    let mut cursor = Cursor::new(bytes);
    while !cursor.rest().is_empty() {
        let tag = cursor.u8()?;
        let entry = take(&mut cursor)?;
        match tag {
            VALUE_TYPE => attributes.value_type = value_type(entry)?,
            METADATA => {
                let (name, text) = named(entry)?;
                attributes.metadata.insert(name, text);
            }
            _ => {}
        }
    }
    Ok(attributes)
}

fn value_type(entry: &[u8]) -> Result<ValueType, FormatError> {
    let byte = Cursor::new(entry).u8()?;
    let known = ValueType::ALL.into_iter().find(|it| *it as u8 == byte);
    known.ok_or(FormatError::Field {
        field: "value type",
        value: u64::from(byte),
    })
}

fn named(entry: &[u8]) -> Result<(String, String), FormatError> {
    let mut cursor = Cursor::new(entry);
    let name = text(take(&mut cursor)?)?;
    Ok((name, text(cursor.rest())?))
}

fn take<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], FormatError> {
    let len = cursor.varint()?;
    cursor.take(usize::try_from(len).unwrap_or(usize::MAX))
}

fn text(bytes: &[u8]) -> Result<String, FormatError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| FormatError::Field {
        field: "metadata text that is not UTF-8, of length",
        value: bytes.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::METADATA_SIZE_MAX;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn attributes_come_back(
            metadata in prop::collection::btree_map(".{1,9}", ".{0,300}", 0..9),
            of in 0usize..ValueType::ALL.len(),
        ) {
            let attributes = Attributes { value_type: ValueType::ALL[of], metadata };
            let bytes = encode_attributes(&attributes);
            prop_assert_eq!(decode_attributes(&bytes), Ok(attributes));
        }

        #[test]
        fn any_bytes_are_attributes_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..99)) {
            let _ = decode_attributes(&bytes);
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_format_document() {
        assert_eq!(encode_attributes(&Attributes::default()), "");
        let metadata = BTreeMap::from([("a".to_owned(), "bc".to_owned())]);
        let value_type = ValueType::Json;
        let bytes = encode_attributes(&Attributes {
            value_type,
            metadata,
        });
        assert_eq!(&bytes[..], [1, 1, 6, 2, 4, 1, b'a', b'b', b'c']);
    }

    #[test]
    fn a_tag_of_the_future_is_passed_over() {
        let known = decode_attributes(&[99, 2, 7, 7, 1, 1, 2]).unwrap();
        assert_eq!(known.value_type, ValueType::Text);
        assert!(decode_attributes(&[1, 1, 200]).is_err());
        assert!(decode_attributes(&[2, 9, 1]).is_err());
    }

    #[test]
    fn the_most_that_the_door_lets_in_fits() {
        let name = |number: usize| char::from_u32(0x20 + number as u32).map(String::from);
        let names: Vec<String> = (0..4000).filter_map(name).collect();
        let mut metadata = BTreeMap::new();
        let mut size = 0;
        for name in names {
            if size + name.len() <= METADATA_SIZE_MAX {
                size += name.len();
                metadata.insert(name, String::new());
            }
        }
        assert!(size > METADATA_SIZE_MAX - 3);
        let attributes = Attributes::new(ValueType::Json, metadata).unwrap();
        assert!(encode_attributes(&attributes).len() <= ATTRIBUTES_SIZE_MAX);
    }
}
