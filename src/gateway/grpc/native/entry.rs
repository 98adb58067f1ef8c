//! What is known of a key, in the words of the wire.

use crate::model::{Digest, Timestamp};
use crate::proto::v1;
use crate::service::{Head, ScanItem};
use bytes::Bytes;

/// A key and what is known of its value.
pub(super) fn entry(key: Bytes, head: &Head) -> v1::Entry {
    v1::Entry {
        key,
        version: head.version.0,
        size: head.raw_len,
        sum64: head.sum64,
        digest: head.digest.map_or_else(Bytes::new, digest),
        expire_time: head.expiry.map(time),
    }
}

/// What a scan or a read of many found.
pub(super) fn entry_and_value(item: ScanItem) -> (v1::Entry, Bytes) {
    let entry = entry(item.key, &item.head);
    (entry, item.data.unwrap_or_default())
}

pub(super) fn digest(digest: Digest) -> Bytes {
    Bytes::copy_from_slice(&digest.0)
}

fn time(at: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(at.0 % 1000 * 1_000_000).expect("less than a second");
    prost_types::Timestamp {
        seconds: i64::try_from(at.0 / 1000).unwrap_or(i64::MAX),
        nanos,
    }
}
