//! What a value is, as the command line names it.

use super::exit::CliError;
use crate::client::Typed;
use crate::model::ValueType;
use bytes::Bytes;
use clap::builder::{PossibleValuesParser, TypedValueParser};

/// The words; what was said nothing of has none.
const WORDS: [(&str, ValueType); 6] = [
    ("bytes", ValueType::Bytes),
    ("text", ValueType::Text),
    ("int64", ValueType::Int64),
    ("double", ValueType::Double),
    ("bool", ValueType::Bool),
    ("json", ValueType::Json),
];

/// The word of a type.
#[must_use]
pub fn word(value_type: ValueType) -> Option<&'static str> {
    let mut same = WORDS.iter().filter(|(_, it)| *it == value_type);
    same.next().map(|(word, _)| *word)
}

/// Reads a word from the command line.
pub fn parser() -> impl TypedValueParser<Value = ValueType> {
    PossibleValuesParser::new(WORDS.map(|(word, _)| word)).map(|given| {
        let mut same = WORDS.iter().filter(|(word, _)| *word == given);
        same.next().expect("clap lets only these words pass").1
    })
}

/// That a value is what it is said to be, so that every client can read it.
///
/// # Errors
/// It is not.
pub fn check(data: &Bytes, value_type: ValueType) -> Result<(), CliError> {
    let read = Typed::decode(b"", data, value_type);
    read.map(drop).map_err(|_| {
        let word = word(value_type).unwrap_or_default();
        let message = format!("the value cannot be read as {word}: leave --type out, or mend it (a line break at its end counts)");
        CliError::Usage(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_but_none_has_a_word() {
        for value_type in ValueType::ALL {
            let is_said = value_type != ValueType::Unspecified;
            assert_eq!(word(value_type).is_some(), is_said, "{value_type:?}");
        }
    }
}
