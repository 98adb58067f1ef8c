//! Values with their types: a number that was stored is read as a number, by any client.
//!
//! What a value is stands with it ([`ValueType`]); its bytes are the same, byte for byte, as those that
//! the Python client makes of the same value. Texts are UTF-8, numbers are decimal digits, as counters
//! are, truth values are `true` and `false`, and all else is JSON without spaces.

use super::{Batch, Entry, Keyspace, PutOptions, Result, Stored, TypeError, Value};
use crate::model::ValueType;
use bytes::Bytes;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use std::io;

/// A value as what it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Typed {
    /// Bytes, and whatever was stored without a type.
    Bytes(Bytes),
    /// A text.
    Text(String),
    /// A 64-bit number; a counter is one.
    Int(i64),
    /// A floating-point number. One that is not finite has no digits and cannot be stored.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// Anything else, such as lists and objects. Integers are of 64 bits, signed or not; a larger one
    /// is read as the nearest floating-point number.
    Json(serde_json::Value),
}

impl Typed {
    /// JSON of anything that can be written as such. A floating-point number in it that is not finite
    /// becomes `null`, which is all that JSON has for it.
    ///
    /// # Errors
    /// [`TypeError::NotJson`] for what JSON cannot hold, such as a map whose keys are no texts.
    pub fn json(value: &impl Serialize) -> Result<Self, TypeError> {
        let json = serde_json::to_value(value).map_err(|error| TypeError::NotJson {
            cause: error.to_string(),
        });
        json.map(Self::Json)
    }

    /// What the value is to all clients.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Bytes(_) => ValueType::Bytes,
            Self::Text(_) => ValueType::Text,
            Self::Int(_) => ValueType::Int64,
            Self::Float(_) => ValueType::Double,
            Self::Bool(_) => ValueType::Bool,
            Self::Json(_) => ValueType::Json,
        }
    }

    /// The bytes that are stored, which stand with [`Typed::value_type`].
    ///
    /// # Errors
    /// [`TypeError::NotFinite`] for such a floating-point number.
    pub fn encode(&self) -> Result<Bytes, TypeError> {
        Ok(match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Self::Int(number) => number.to_string().into(),
            Self::Float(number) if number.is_finite() => digits(*number).into(),
            Self::Float(number) => {
                let number = number.to_string();
                return Err(TypeError::NotFinite { number });
            }
            Self::Bool(is_so) => Bytes::from_static(if *is_so { b"true" } else { b"false" }),
            Self::Json(json) => json_text(json).into(),
        })
    }

    /// The value of bytes that stand under a key with a type.
    ///
    /// # Errors
    /// [`TypeError::Unreadable`] for bytes that are not what their type says.
    pub fn decode(key: &[u8], data: &Bytes, value_type: ValueType) -> Result<Self, TypeError> {
        let read = match value_type {
            ValueType::Unspecified | ValueType::Bytes => Some(Self::Bytes(data.clone())),
            ValueType::Text => text(data).map(|text| Self::Text(text.to_owned())),
            ValueType::Int64 => parsed(data).map(Self::Int),
            ValueType::Double => parsed(data).map(Self::Float),
            ValueType::Bool => parsed(data).map(Self::Bool),
            ValueType::Json => serde_json::from_slice(data).ok().map(Self::Json),
        };
        read.ok_or_else(|| TypeError::unreadable(key, value_type))
    }
}

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

fn parsed<T: std::str::FromStr>(data: &[u8]) -> Option<T> {
    text(data)?.parse().ok()
}

/// The shortest digits that are read back as this number: those of Python's `repr`, which has a point
/// or an exponent in each, and two digits at least and a sign in an exponent.
fn digits(number: f64) -> String {
    // Below 0.0001 and from 10 to the 16th on, both languages go over to exponents.
    let shortest = format!("{number:?}");
    let Some((digits, exponent)) = shortest.split_once('e') else {
        return shortest;
    };
    let exponent: i32 = exponent.parse().expect("Rust writes exponents in digits");
    format!("{digits}e{exponent:+03}")
}

fn json_text(json: &serde_json::Value) -> Vec<u8> {
    let mut written = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut written, Digits);
    json.serialize(&mut serializer)
        .expect("a tree of JSON is written to memory without fail");
    written
}

/// JSON without spaces, with the digits of [`digits`].
struct Digits;

impl Formatter for Digits {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, number: f64) -> io::Result<()> {
        writer.write_all(digits(number).as_bytes())
    }
}

impl Value {
    /// The value as what it is.
    ///
    /// # Errors
    /// [`TypeError::Unreadable`] for bytes that are not what their type says.
    pub fn typed(&self) -> Result<Typed, TypeError> {
        let Entry {
            key, value_type, ..
        } = &self.entry;
        Typed::decode(key, &self.data, *value_type)
    }
}

impl Keyspace {
    /// Stores a value with its type, as the options say beside that.
    ///
    /// # Errors
    /// [`TypeError::NotFinite`] for such a floating-point number, and as
    /// [`Keyspace::put_if`].
    pub async fn put_typed(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Typed>,
        options: PutOptions,
    ) -> Result<Stored> {
        let (value, options) = options.of_typed(&value.into())?;
        self.put_with(key, value, options).await
    }

    /// Reads a value as what it is, verified; `None` when the key is not there.
    ///
    /// # Errors
    /// [`TypeError::Unreadable`] for bytes that are not what their type says, and as
    /// [`Keyspace::get`].
    pub async fn get_typed(&self, key: impl Into<Bytes>) -> Result<Option<Typed>> {
        let value = self.get(key).await?;
        Ok(value.map(|value| value.typed()).transpose()?)
    }
}

impl Batch {
    /// Puts a value with its type, as the options say beside that.
    ///
    /// # Errors
    /// [`TypeError::NotFinite`] for such a floating-point number.
    pub fn put_typed(
        self,
        key: impl Into<Bytes>,
        value: impl Into<Typed>,
        options: PutOptions,
    ) -> Result<Self, TypeError> {
        let (value, options) = options.of_typed(&value.into())?;
        Ok(self.put_with(key, value, options))
    }
}

impl PutOptions {
    /// The bytes of a value, and these options with its type.
    ///
    /// # Errors
    /// [`TypeError::NotFinite`] for such a floating-point number.
    pub fn of_typed(mut self, value: &Typed) -> Result<(Bytes, Self), TypeError> {
        self.value_type = value.value_type();
        Ok((value.encode()?, self))
    }
}

impl From<Bytes> for Typed {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Typed {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<&str> for Typed {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Typed {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Typed {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Typed {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Typed {
    fn from(is_so: bool) -> Self {
        Self::Bool(is_so)
    }
}

impl From<serde_json::Value> for Typed {
    fn from(json: serde_json::Value) -> Self {
        Self::Json(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn what_cannot_be_stored_or_read_as_its_type_is_told() {
        for number in [f64::NAN, f64::INFINITY] {
            let refused = Typed::from(number).encode().unwrap_err();
            assert!(matches!(refused, TypeError::NotFinite { .. }), "{refused}");
        }
        let harmed = [
            (ValueType::Text, &b"\xff"[..]),
            (ValueType::Int64, b"1.5"),
            (ValueType::Double, b"much"),
            (ValueType::Bool, b"yes"),
            (ValueType::Json, b"{"),
        ];
        for (value_type, data) in harmed {
            let error = Typed::decode(b"k", &Bytes::from_static(data), value_type).unwrap_err();
            assert!(matches!(error, TypeError::Unreadable { .. }), "{error}");
        }
    }

    #[test]
    fn anything_that_serializes_is_json() {
        #[derive(Serialize)]
        struct Order {
            id: u32,
            paid: bool,
        }
        let order = Typed::json(&Order { id: 7, paid: true }).unwrap();
        assert_eq!(order, Typed::Json(json!({"id": 7, "paid": true})));
    }

    proptest! {
        #[test]
        fn a_float_comes_back_alone_and_in_json(number in any::<f64>()) {
            prop_assume!(number.is_finite());
            for value in [Typed::from(number), Typed::from(json!([number]))] {
                let data = value.encode().unwrap();
                let read = Typed::decode(b"k", &data, value.value_type()).unwrap();
                prop_assert_eq!(read, value);
            }
        }
    }
}
