//! That a value and its type do not fit, wherever it is: behind a server, or in a store of the program.

use super::ClientError;
use super::error::shown;
use crate::model::{Error, ValueType};

/// Why a value is not written or read as what it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    /// A floating-point number that is not finite.
    #[error("{number} has no decimal digits: store it as a text")]
    NotFinite {
        /// The number, in words.
        number: String,
    },
    /// Something that JSON cannot hold.
    #[error("no JSON: {cause}")]
    NotJson {
        /// What it is.
        cause: String,
    },
    /// The value is not what stands with it.
    #[error(
        "the value of {key} is not of its type, {value_type:?}: read it as bytes, or as who wrote it does"
    )]
    Unreadable {
        /// The key, escaped.
        key: String,
        /// What stands with it.
        value_type: ValueType,
    },
}

impl TypeError {
    pub(super) fn unreadable(key: &[u8], value_type: ValueType) -> Self {
        let key = shown(key);
        Self::Unreadable { key, value_type }
    }
}

impl From<TypeError> for ClientError {
    fn from(error: TypeError) -> Self {
        Self::Type(error)
    }
}

/// The error of a store inside the program.
impl From<TypeError> for Error {
    fn from(error: TypeError) -> Self {
        Self::invalid("VALUE_TYPE", error.to_string())
    }
}
