//! What is known of a key, in the words of the wire.

use crate::model::{Digest, Result, Timestamp, ValueType};
use crate::proto::v1;
use crate::service::{Head, ScanItem};
use bytes::Bytes;

/// A key and what is known of its value.
pub(super) fn entry(key: Bytes, head: &Head) -> Result<v1::Entry> {
    let attributes = head.attributes()?;
    Ok(v1::Entry {
        key,
        version: head.version.0,
        size: head.raw_len,
        sum64: head.sum64,
        digest: head.digest.map_or_else(Bytes::new, digest),
        expire_time: head.expiry.map(time),
        value_type: value_type(attributes.value_type).into(),
        metadata: attributes.metadata,
    })
}

/// What a scan or a read of many found.
pub(super) fn entry_and_value(item: ScanItem) -> Result<(v1::Entry, Bytes)> {
    let entry = entry(item.key, &item.head)?;
    Ok((entry, item.data.unwrap_or_default()))
}

/// A value's type in the words of the wire.
pub(super) fn value_type(of: ValueType) -> v1::ValueType {
    match of {
        ValueType::Unspecified => v1::ValueType::Unspecified,
        ValueType::Bytes => v1::ValueType::Bytes,
        ValueType::Text => v1::ValueType::Text,
        ValueType::Int64 => v1::ValueType::Int64,
        ValueType::Double => v1::ValueType::Double,
        ValueType::Bool => v1::ValueType::Bool,
        ValueType::Json => v1::ValueType::Json,
    }
}

pub(super) fn digest(digest: Digest) -> Bytes {
    Bytes::copy_from_slice(&digest.0)
}

/// A moment in the words of the wire.
pub(super) fn time(at: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = seconds(at.0);
    prost_types::Timestamp { seconds, nanos }
}

/// Milliseconds in the words of the wire.
pub(super) fn duration(ms: u64) -> prost_types::Duration {
    let (seconds, nanos) = seconds(ms);
    prost_types::Duration { seconds, nanos }
}

/// Milliseconds as whole seconds and the nanoseconds that are left.
fn seconds(ms: u64) -> (i64, i32) {
    let nanos = i32::try_from(ms % 1000 * 1_000_000).expect("less than a second");
    (i64::try_from(ms / 1000).unwrap_or(i64::MAX), nanos)
}
