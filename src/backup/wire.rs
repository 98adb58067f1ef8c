//! Just enough of protobuf's wire format to read badger's backups, and stricter than protobuf: what
//! badger's encoder never writes is damage, since its stream carries no checksum.
//!
//! The format: <https://protobuf.dev/programming-guides/encoding/>.

use std::ops::Range;

/// Field 1, length-delimited: the tag before every entry of a list.
pub(super) const LIST_ENTRY_TAG: u8 = 1 << 3 | WIRE_BYTES as u8;

pub(super) const WIRE_VARINT: u64 = 0;
pub(super) const WIRE_BYTES: u64 = 2;

/// A varint that is put together byte by byte.
#[derive(Debug, Default)]
pub(super) struct Varint {
    value: u64,
    size: u32,
}

impl Varint {
    /// Takes the next byte; the value, if it was the last one.
    pub fn push(&mut self, byte: u8) -> Result<Option<u64>, &'static str> {
        let bits = u64::from(byte & 0x7f);
        let shift = self.size * 7;
        if shift == 63 && byte > 1 {
            return Err("a number is over 64 bits");
        }
        if byte == 0 && self.size > 0 {
            return Err("a number is longer than it needs to be");
        }
        self.value |= bits << shift;
        self.size += 1;
        Ok((byte & 0x80 == 0).then_some(self.value))
    }
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FieldValue {
    Number(u64),
    /// Where the bytes stand in the message.
    Bytes(Range<usize>),
}

/// The fields of one message, which ascend and do not repeat.
pub(super) struct Fields<'a> {
    message: &'a [u8],
    at: usize,
    last: u64,
}

impl<'a> Fields<'a> {
    pub fn new(message: &'a [u8]) -> Self {
        Self {
            message,
            at: 0,
            last: 0,
        }
    }

    /// The next field's number and value; `None` at the end.
    pub fn next(&mut self) -> Result<Option<(u64, FieldValue)>, &'static str> {
        if self.at == self.message.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let (number, wire_type) = (tag >> 3, tag & 7);
        if number <= self.last {
            return Err("fields are repeated or out of order");
        }
        self.last = number;
        let value = match wire_type {
            WIRE_VARINT => FieldValue::Number(self.varint()?),
            WIRE_BYTES => {
                let size = self.varint()?;
                let left = self.message.len() - self.at;
                let size = usize::try_from(size)
                    .ok()
                    .filter(|size| *size <= left)
                    .ok_or("a field is longer than its entry")?;
                self.at += size;
                FieldValue::Bytes(self.at - size..self.at)
            }
            _ => return Err("a field has a type that is never written"),
        };
        Ok(Some((number, value)))
    }

    fn varint(&mut self) -> Result<u64, &'static str> {
        let mut varint = Varint::default();
        while let Some(byte) = self.message.get(self.at) {
            self.at += 1;
            if let Some(value) = varint.push(*byte)? {
                return Ok(value);
            }
        }
        Err("a number is cut")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Result<u64, &'static str> {
        Fields::new(bytes).varint()
    }

    #[test]
    fn numbers_are_read_in_their_shortest_form_only() {
        assert_eq!(decode(&[0]), Ok(0));
        assert_eq!(decode(&[0xac, 0x02]), Ok(300));
        let mut longest = [0xff; 10];
        longest[9] = 1;
        assert_eq!(decode(&longest), Ok(u64::MAX));
        longest[9] = 2;
        assert!(decode(&longest).is_err());
        assert!(decode(&[0x80, 0x00]).is_err());
        assert!(decode(&[0xff; 11]).is_err());
        assert!(decode(&[0x80]).is_err());
        assert!(decode(&[]).is_err());
    }
}
