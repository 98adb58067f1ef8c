//! Parts of values: ranges as programs write them, and as they go over the wire.

use super::entry::{Entry, Value};
use super::{ClientError, Keyspace, Result};
use crate::proto::v1;
use bytes::Bytes;
use std::ops::{Bound, Range, RangeBounds};

/// Bytes of a value. The server has verified what it read them from; there is a checksum of a whole value
/// only, which is verified where the part is all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What is known of the whole value.
    pub entry: Entry,
    /// The bytes.
    pub data: Bytes,
}

impl Keyspace {
    /// Reads these bytes of a value, such as `..1024`; `None` when the key is not there. What lies
    /// behind the value's end is left out.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for a range of nothing, [`ClientError::Server`] for one that begins
    /// behind the value's end, [`ClientError::Damaged`], [`ClientError::Gone`] and those of every call.
    pub async fn get_range(
        &self,
        key: impl Into<Bytes>,
        range: impl RangeBounds<u64>,
    ) -> Result<Option<Part>> {
        let range = wire_range(range)?;
        let Some(found) = self.fetch(key.into(), range).await? else {
            return Ok(None);
        };
        let entry = found.entry.unwrap_or_default();
        if found.value.len() as u64 == entry.size {
            let Value { entry, data } = Value::verified(entry, found.value)?;
            return Ok(Some(Part { entry, data }));
        }
        let entry = Entry::of(entry);
        let size = len_in(range.as_ref(), entry.len);
        if found.value.len() as u64 == size {
            let data = found.value;
            return Ok(Some(Part { entry, data }));
        }
        let message = format!("{} bytes came of {size}", found.value.len());
        Err(ClientError::damaged(&entry.key, message))
    }
}

/// The bytes that a range of a value names; one without an end goes to `u64::MAX`, behind every value's.
pub(crate) fn bytes_of(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Unbounded => 0,
        Bound::Included(first) => *first,
        Bound::Excluded(before) => before.saturating_add(1),
    };
    let end = match range.end_bound() {
        Bound::Unbounded => u64::MAX,
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
    };
    start..end
}

/// A range on the wire; `None` for all.
pub(super) fn wire_range(range: impl RangeBounds<u64>) -> Result<Option<v1::ByteRange>> {
    let Range { start, end } = bytes_of(&range);
    if start >= end {
        // On the wire, a range of nothing is one up to the end.
        let message = "a range of no bytes: to ask for none, ask what is known of the key";
        return Err(ClientError::invalid(message));
    }
    let range = v1::ByteRange {
        offset: start,
        length: if end == u64::MAX { 0 } else { end - start },
    };
    Ok(Some(range).filter(|range| *range != v1::ByteRange::default()))
}

/// How many bytes a range has in a value of so many.
pub(super) fn len_in(range: Option<&v1::ByteRange>, len: u64) -> u64 {
    let Some(range) = range else { return len };
    let left = len.saturating_sub(range.offset);
    match range.length {
        0 => left,
        length => left.min(length),
    }
}

/// What is left of a range of which so many bytes have come, and not all.
pub(super) fn behind(range: Option<v1::ByteRange>, received: u64) -> v1::ByteRange {
    let range = range.unwrap_or_default();
    v1::ByteRange {
        offset: range.offset + received,
        length: range.length.saturating_sub(received),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: impl RangeBounds<u64>) -> Option<(u64, u64)> {
        wire_range(range).unwrap().map(|it| (it.offset, it.length))
    }

    #[test]
    fn every_form_of_a_range_is_told() {
        assert_eq!(of(..), None);
        assert_eq!(of(0..), None);
        assert_eq!(of(..=u64::MAX), None);
        assert_eq!(of(5..), Some((5, 0)));
        assert_eq!(of(..5), Some((0, 5)));
        assert_eq!(of(2..5), Some((2, 3)));
        assert_eq!(of(2..=5), Some((2, 4)));
        assert!(wire_range(5..5).is_err());
        assert!(wire_range((Bound::Excluded(u64::MAX), Bound::Unbounded)).is_err());
    }

    #[test]
    fn what_is_left_of_a_range_ends_where_it_did() {
        let range = wire_range(10..30).unwrap();
        assert_eq!(len_in(range.as_ref(), 100), 20);
        assert_eq!(len_in(range.as_ref(), 15), 5);
        let left = behind(range, 7);
        assert_eq!((left.offset, left.length), (17, 13));
        let left = behind(None, 7);
        assert_eq!((left.offset, left.length), (7, 0));
    }
}
