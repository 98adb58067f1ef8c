//! What a client says of a value beside its bytes. The store keeps it and looks at none of it.

use super::{Error, Result};
use std::collections::BTreeMap;

/// Bytes of names and texts of a value's metadata together.
pub const METADATA_SIZE_MAX: usize = 4096;

/// What a value is to its client. The bytes are the client's business: numbers and truth values are
/// texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ValueType {
    /// Nothing was said.
    #[default]
    Unspecified,
    /// Bytes.
    Bytes,
    /// UTF-8.
    Text,
    /// A 64-bit number in decimal digits.
    Int64,
    /// A floating-point number in decimal digits.
    Double,
    /// `true` or `false`.
    Bool,
    /// JSON.
    Json,
}

/// What stands with a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// What the value is.
    pub value_type: ValueType,
    /// Whatever else its client wants to know of it: a text under each name.
    pub metadata: BTreeMap<String, String>,
}

impl Attributes {
    /// Metadata within its limits.
    ///
    /// # Errors
    /// `Invalid` (`METADATA_NAME_EMPTY`) and `TooLarge` (`METADATA_TOO_LARGE`).
    pub fn new(value_type: ValueType, metadata: BTreeMap<String, String>) -> Result<Self> {
        if metadata.contains_key("") {
            let message = "metadata has a text without a name: each needs one";
            return Err(Error::invalid("METADATA_NAME_EMPTY", message).at("metadata"));
        }
        let sizes = metadata.iter().map(|(name, text)| name.len() + text.len());
        let size: usize = sizes.sum();
        if size > METADATA_SIZE_MAX {
            let message = format!(
                "metadata too large: names and texts together are {size} bytes, max={METADATA_SIZE_MAX}; keep more in a value of its own"
            );
            return Err(Error::too_large("METADATA_TOO_LARGE", message).at("metadata"));
        }
        Ok(Self {
            value_type,
            metadata,
        })
    }
}

impl ValueType {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Unspecified,
        Self::Bytes,
        Self::Text,
        Self::Int64,
        Self::Double,
        Self::Bool,
        Self::Json,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, text_len: usize) -> Result<Attributes> {
        let metadata = BTreeMap::from([(name.to_owned(), "x".repeat(text_len))]);
        Attributes::new(ValueType::Text, metadata)
    }

    #[test]
    fn metadata_ends_at_4_kib() {
        assert!(with("n", METADATA_SIZE_MAX - 1).is_ok());
        let refused = with("n", METADATA_SIZE_MAX).unwrap_err();
        assert_eq!(refused.reason(), "METADATA_TOO_LARGE");
        assert_eq!(refused.field(), Some("metadata"));
        assert_eq!(with("", 1).unwrap_err().reason(), "METADATA_NAME_EMPTY");
    }
}
