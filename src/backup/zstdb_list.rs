//! One entry of a backup that zstdb wrote: badger's `KV` message, judged field by field.
//!
//! badger: `pb/badgerpb4.proto` names the fields, `backup.go` says what is put into them, and
//! `value.go` has the bits of `meta`.

use super::wire::{FieldValue, Fields};
use super::zstd_frame;
use crate::model::{Key, Timestamp, Version};
use bytes::Bytes;
use std::ops::Range;

const META_DELETE: u8 = 1 << 0;
/// Says where badger kept the value, not what it is.
const META_VALUE_POINTER: u8 = 1 << 1;
/// Older versions of the key do not count; a delete of the version below follows in the stream.
const META_DISCARD_EARLIER: u8 = 1 << 2;

/// The newest state of a key in a zstdb backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZstdbRecord {
    /// The key that clients use.
    pub key: Key,
    /// The record's version.
    pub version: Version,
    /// When the record expires.
    pub expiry: Option<Timestamp>,
    /// The value, or `None` for a delete.
    pub value: Option<ZstdbValue>,
}

/// A value of a zstdb backup: one whole zstd frame, not yet decompressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZstdbValue {
    /// The frame.
    pub payload: Bytes,
    /// Bytes of the raw value, where the frame states them.
    pub raw_len: Option<u64>,
    /// More than this the frame cannot expand to.
    pub raw_len_max: u64,
}

/// An entry with what only matters within the stream.
pub(super) struct ListEntry {
    pub record: ZstdbRecord,
    /// Keys ascend within a stream; 0 where the writer did not say.
    pub stream: u64,
}

/// The fields of a `KV` message, as they stand.
#[derive(Default)]
struct Raw {
    key: Range<usize>,
    value: Range<usize>,
    user_meta: Range<usize>,
    version: u64,
    expires_at_s: u64,
    meta: Range<usize>,
    stream: u64,
    stream_done: u64,
}

impl ListEntry {
    /// Reads one `KV` message; `None` for the mark that a stream has ended.
    pub fn decode(message: &Bytes) -> Result<Option<Self>, &'static str> {
        let raw = Raw::decode(message)?;
        if raw.stream_done != 0 {
            return if raw.key.is_empty() && raw.value.is_empty() {
                Ok(None)
            } else {
                Err("the end of a stream has a key or a value")
            };
        }
        let meta = flag_byte(&message[raw.meta.clone()])?;
        if meta & !(META_DELETE | META_VALUE_POINTER | META_DISCARD_EARLIER) != 0 {
            return Err("an entry has flags that zstdb never sets");
        }
        if flag_byte(&message[raw.user_meta.clone()])? != 0 {
            return Err("an entry has user flags, which zstdb never sets");
        }
        let key = Key::new(&message[raw.key.clone()])
            .map_err(|_| "a key is empty, or longer than 65000 bytes")?;
        let value = decode_value(&raw, meta, message)?;
        if raw.version == 0 && value.is_some() {
            return Err("a value has no version");
        }
        let record = ZstdbRecord {
            key,
            version: Version(raw.version),
            expiry: raw.expiry(value.is_some())?,
            value,
        };
        let stream = raw.stream;
        Ok(Some(Self { record, stream }))
    }
}

impl Raw {
    fn decode(message: &[u8]) -> Result<Self, &'static str> {
        let mut raw = Self::default();
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, FieldValue::Bytes(range)) => raw.key = range,
                (2, FieldValue::Bytes(range)) => raw.value = range,
                (3, FieldValue::Bytes(range)) => raw.user_meta = range,
                (4, FieldValue::Number(number)) => raw.version = number,
                (5, FieldValue::Number(number)) => raw.expires_at_s = number,
                (6, FieldValue::Bytes(range)) => raw.meta = range,
                (10, FieldValue::Number(number)) => raw.stream = number,
                (11, FieldValue::Number(number)) => raw.stream_done = number,
                _ => return Err("an entry has a field that badger does not write"),
            }
        }
        Ok(raw)
    }

    fn expiry(&self, has_value: bool) -> Result<Option<Timestamp>, &'static str> {
        if self.expires_at_s == 0 || !has_value {
            return Ok(None);
        }
        self.expires_at_s
            .checked_mul(1000)
            .map(|millis| Some(Timestamp(millis)))
            .ok_or("an expiry is beyond all time")
    }
}

/// A delete has no value; nor has a record that had expired when the backup was made.
fn decode_value(raw: &Raw, meta: u8, message: &Bytes) -> Result<Option<ZstdbValue>, &'static str> {
    let payload = message.slice(raw.value.clone());
    match (meta & META_DELETE != 0, payload.is_empty()) {
        (true, true) => Ok(None),
        (true, false) => Err("a delete has a value"),
        (false, true) if raw.expires_at_s > 0 => Ok(None),
        (false, true) => Err("a value is empty, which zstdb never stores"),
        (false, false) => {
            let outline = zstd_frame::outline(&payload)?;
            Ok(Some(ZstdbValue {
                payload,
                raw_len: outline.raw_len,
                raw_len_max: outline.raw_len_max,
            }))
        }
    }
}

fn flag_byte(bytes: &[u8]) -> Result<u8, &'static str> {
    match bytes {
        [] => Ok(0),
        [byte] => Ok(*byte),
        _ => Err("an entry's flags are longer than a byte"),
    }
}
