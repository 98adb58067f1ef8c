//! The list of the chunks of a large value: the payload of a blob whose codec says so.
//!
//! A list stands under the digest of the whole value, whose length and `sum64` are its record's. Each
//! chunk is a blob of its own, with a reference of the list's. `FORMAT.md` draws the payload.

use super::{Cursor, FormatError, payload_sum};
use crate::model::{Chunk, ChunkList, Codec, Digest, RefId, SealedValue, ValueInfo};
use bytes::Bytes;

const REF_ID_SIZE: usize = 16;
/// Bytes of one chunk in a list.
const ENTRY_SIZE: usize = Digest::SIZE + 4;
/// The tag and the length of a list's attribute.
const ATTRIBUTE_HEAD: [u8; 2] = [3, 16];

/// Chunks of one value at most, so that a list is small enough to be read at once.
pub const CHUNKS_MAX: usize = 1 << 16;

/// The stored form of a large value of which every chunk is stored. `info` and `digest` are the
/// whole value's.
#[must_use]
pub fn seal_chunks(list: &ChunkList, info: ValueInfo, digest: Digest) -> SealedValue {
    let mut payload = Vec::with_capacity(REF_ID_SIZE + list.chunks.len() * ENTRY_SIZE);
    payload.extend_from_slice(&list.ref_id.0.to_le_bytes());
    for chunk in &list.chunks {
        payload.extend_from_slice(&chunk.digest.0);
        payload.extend_from_slice(&chunk.raw_len.to_le_bytes());
    }
    SealedValue {
        info,
        digest: Some(digest),
        codec: Codec::Chunks,
        payload_sum: payload_sum(&payload),
        payload: payload.into(),
    }
}

/// The list in the payload of a value of `raw_len` bytes.
///
/// # Errors
/// `Short` and `Field` for what is no such list: chunks of no bytes, too many, or of other bytes
/// together than the value has.
pub fn decode_chunks(payload: &[u8], raw_len: u64) -> Result<ChunkList, FormatError> {
    let wrong = |field, value| Err(FormatError::Field { field, value });
    let mut cursor = Cursor::new(payload);
    let ref_id = RefId(cursor.u128()?);
    let count = cursor.rest().len() / ENTRY_SIZE;
    if !cursor.rest().len().is_multiple_of(ENTRY_SIZE) || count > CHUNKS_MAX {
        return wrong("chunk list length", payload.len() as u64);
    }
    let mut chunks = Vec::with_capacity(count);
    let mut total = 0;
    for _ in 0..count {
        let digest = Digest(cursor.array()?);
        let raw_len = cursor.u32()?;
        if raw_len == 0 {
            return wrong("chunk length", 0);
        }
        total += u64::from(raw_len);
        chunks.push(Chunk { digest, raw_len });
    }
    if total != raw_len {
        return wrong("raw length", raw_len);
    }
    Ok(ChunkList { ref_id, chunks })
}

/// What stands as attributes beside a blob, so that its row tells by what name a list refers to its
/// chunks; nothing for what is no list.
#[must_use]
pub fn list_attributes(value: &SealedValue) -> Bytes {
    match value.payload.get(..REF_ID_SIZE) {
        Some(ref_id) if value.codec == Codec::Chunks => [&ATTRIBUTE_HEAD, ref_id].concat().into(),
        _ => Bytes::new(),
    }
}

/// The name that [`list_attributes`] wrote.
#[must_use]
pub fn list_ref_id(attributes: &[u8]) -> Option<RefId> {
    let ref_id = attributes.strip_prefix(&ATTRIBUTE_HEAD)?;
    Some(RefId(Cursor::new(ref_id).u128().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(number: u8, raw_len: u32) -> Chunk {
        let digest = Digest([number; 32]);
        Chunk { digest, raw_len }
    }

    fn list(chunks: &[Chunk]) -> ChunkList {
        let chunks = chunks.to_vec();
        ChunkList {
            ref_id: RefId(7 << 64 | 8),
            chunks,
        }
    }

    fn sealed(chunks: &[Chunk], raw_len: u64) -> SealedValue {
        let info = ValueInfo { raw_len, sum64: 9 };
        seal_chunks(&list(chunks), info, Digest([3; 32]))
    }

    #[test]
    fn a_list_comes_back_in_its_order() {
        let chunks = [chunk(2, 5), chunk(1, 70_000), chunk(2, 1)];
        let sealed = sealed(&chunks, 70_006);
        assert_eq!(sealed.payload.len(), 16 + 3 * 36);
        let read = decode_chunks(&sealed.payload, 70_006).unwrap();
        assert_eq!(read, list(&chunks));
        assert_eq!(read.references().len(), 2);
        let attributes = list_attributes(&sealed);
        assert_eq!(list_ref_id(&attributes), Some(read.ref_id));
        assert!(super::super::decode_attributes(&attributes).is_ok());
        let opened = super::super::open_sealed(sealed.codec, sealed.payload, 70_006);
        assert_eq!(opened, Err(FormatError::InChunks));
    }

    #[test]
    fn what_does_not_add_up_is_no_list() {
        let whole = sealed(&[chunk(1, 5), chunk(2, 6)], 11).payload;
        assert!(decode_chunks(&whole, 11).is_ok());
        assert!(decode_chunks(&whole, 12).is_err());
        assert!(decode_chunks(&whole[..87], 11).is_err());
        assert!(decode_chunks(&whole[..52], 11).is_err());
        assert!(decode_chunks(&whole[..9], 11).is_err());
        let empty = sealed(&[chunk(1, 11), chunk(2, 0)], 11).payload;
        assert!(decode_chunks(&empty, 11).is_err());
        let many = vec![chunk(1, 1); CHUNKS_MAX + 1];
        let many = sealed(&many, CHUNKS_MAX as u64 + 1).payload;
        assert!(decode_chunks(&many, CHUNKS_MAX as u64 + 1).is_err());
    }
}
