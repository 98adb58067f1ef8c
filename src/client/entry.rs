//! Keys and values as programs see them, and what goes over the wire for them.

use super::error::shown;
use super::{ClientError, Result, sum64};
use crate::model::{Digest, Timestamp, ValueType, Version};
use crate::proto::v1;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// The version of its record.
    pub version: Version,
    /// Bytes of the value.
    pub len: u64,
    /// xxh64 of the value.
    pub sum64: u64,
    /// BLAKE3 of the value, where it was told.
    pub digest: Option<Digest>,
    /// When the key goes by itself.
    pub expiry: Option<Timestamp>,
    /// What the value is to its client.
    pub value_type: ValueType,
    /// What else its client says of it.
    pub metadata: BTreeMap<String, String>,
}

/// A value that arrived whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// What is known of it.
    pub entry: Entry,
    /// The value; its checksum was verified.
    pub data: Bytes,
}

/// How a value is put: what must be so under its key, how long it stays, what is said of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// What must be so under the key; `None` for whatever is there.
    pub only_if: Option<Expect>,
    /// How long the key stays.
    pub lifetime: Stay,
    /// What the value is to its client.
    pub value_type: ValueType,
    /// What else its client says of it: names and texts of 4 KiB together.
    pub metadata: BTreeMap<String, String>,
}

/// What must be so under a key for a change to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// There is no value.
    Absent,
    /// There is one.
    Present,
    /// There is one of this version.
    Version(Version),
    /// There is one with this BLAKE3 digest.
    Digest(Digest),
}

/// How long a key stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stay {
    /// As its namespace says: for ever, unless it has a default.
    #[default]
    Default,
    /// So long from now on: 1 ms to 100 years.
    For(Duration),
    /// Until this moment.
    Until(Timestamp),
    /// As long as what it replaces would have.
    Kept,
}

/// What a put did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The key under which the value stands.
    pub key: Bytes,
    /// The version of its record.
    pub version: Version,
    /// BLAKE3 of the value.
    pub digest: Option<Digest>,
    /// Whether the key was not there before.
    pub created: bool,
    /// Whether the value's bytes were there already, so that none were stored.
    pub deduplicated: bool,
    /// The version that was replaced.
    pub previous: Option<Version>,
}

impl Entry {
    pub(super) fn of(entry: v1::Entry) -> Self {
        let value_type = type_of(entry.value_type());
        Self {
            key: entry.key,
            version: Version(entry.version),
            len: entry.size,
            sum64: entry.sum64,
            digest: digest_of(&entry.digest),
            expiry: entry.expire_time.map(timestamp_of),
            value_type,
            metadata: entry.metadata,
        }
    }
}

impl Value {
    /// A value that has its checksum.
    pub(super) fn verified(entry: v1::Entry, data: Bytes) -> Result<Self> {
        let entry = Entry::of(entry);
        let found = sum64(&data);
        if found == entry.sum64 {
            return Ok(Self { entry, data });
        }
        let message = format!(
            "its checksum is {found:016x}, stored was {:016x}",
            entry.sum64
        );
        Err(ClientError::damaged(&entry.key, message))
    }
}

impl Stored {
    pub(super) fn of(put: v1::PutResponse) -> Self {
        Self {
            key: put.key,
            version: Version(put.version),
            digest: digest_of(&put.digest),
            created: put.created,
            deduplicated: put.deduplicated,
            previous: version_of(put.previous_version),
        }
    }
}

impl Expect {
    /// Whether it is so of a key of which this is known, its digest included; `None` for one that is
    /// not there.
    pub(super) fn holds(&self, found: Option<&Entry>) -> bool {
        match self {
            Self::Absent => found.is_none(),
            Self::Present => found.is_some(),
            Self::Version(version) => found.is_some_and(|it| it.version == *version),
            Self::Digest(digest) => found.is_some_and(|it| it.digest.as_ref() == Some(digest)),
        }
    }

    /// That it is not so, in words.
    pub(super) fn broken(&self, key: &[u8], found: Option<&Entry>) -> String {
        let wanted = match self {
            Self::Absent => "not to be there".to_owned(),
            Self::Present => "to be there".to_owned(),
            Self::Version(version) => format!("to be at version {version}"),
            Self::Digest(digest) => format!("to have the digest {digest}"),
        };
        let found = found.map_or_else(
            || "is not there".to_owned(),
            |entry| format!("is at version {}", entry.version),
        );
        format!("key {} was {wanted} and {found}", shown(key))
    }
}

impl From<Expect> for v1::Condition {
    fn from(expect: Expect) -> Self {
        use v1::condition::Requirement;
        let requirement = match expect {
            Expect::Absent => Requirement::Absent(true),
            Expect::Present => Requirement::Present(true),
            Expect::Version(version) => Requirement::Version(version.0),
            Expect::Digest(digest) => Requirement::Digest(Bytes::copy_from_slice(&digest.0)),
        };
        Self {
            requirement: Some(requirement),
        }
    }
}

impl Stay {
    pub(super) fn wire(self) -> Option<v1::Expiry> {
        use v1::expiry::Expiry;
        let expiry = match self {
            Self::Default => return None,
            Self::For(time) => Expiry::Ttl(duration(time)),
            Self::Until(at) => Expiry::ExpireTime(prost_types::Timestamp {
                seconds: i64::try_from(at.0 / 1000).unwrap_or(i64::MAX),
                nanos: i32::try_from(at.0 % 1000 * 1_000_000).expect("less than a second"),
            }),
            Self::Kept => Expiry::Keep(true),
        };
        Some(v1::Expiry {
            expiry: Some(expiry),
        })
    }
}

/// A time as the wire says it; one that it cannot say is longer than the server takes.
pub(super) fn duration(time: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(time.subsec_nanos()).expect("less than a second"),
    }
}

/// A moment in whole milliseconds.
pub(super) fn timestamp_of(at: prost_types::Timestamp) -> Timestamp {
    let seconds = u64::try_from(at.seconds).unwrap_or_default();
    let nanos = u64::try_from(at.nanos).unwrap_or_default();
    Timestamp(seconds.saturating_mul(1000) + nanos / 1_000_000)
}

/// A version; 0 is none.
pub(super) fn version_of(version: u64) -> Option<Version> {
    (version > 0).then_some(Version(version))
}

fn digest_of(bytes: &[u8]) -> Option<Digest> {
    bytes.try_into().ok().map(Digest)
}

fn type_of(wire: v1::ValueType) -> ValueType {
    match wire {
        v1::ValueType::Unspecified => ValueType::Unspecified,
        v1::ValueType::Bytes => ValueType::Bytes,
        v1::ValueType::Text => ValueType::Text,
        v1::ValueType::Int64 => ValueType::Int64,
        v1::ValueType::Double => ValueType::Double,
        v1::ValueType::Bool => ValueType::Bool,
        v1::ValueType::Json => ValueType::Json,
    }
}

pub(super) fn wire_type(of: ValueType) -> v1::ValueType {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_does_not_fit_its_checksum_is_never_returned() {
        let entry = v1::Entry {
            sum64: sum64(b"value"),
            ..v1::Entry::default()
        };
        let whole = Value::verified(entry.clone(), Bytes::from_static(b"value"));
        assert_eq!(whole.unwrap().data, "value");
        let error = Value::verified(entry, Bytes::from_static(b"valuE")).unwrap_err();
        assert!(matches!(error, ClientError::Damaged { .. }));
    }

    #[test]
    fn every_type_comes_back() {
        for of in ValueType::ALL {
            assert_eq!(type_of(wire_type(of)), of);
        }
    }
}
