//! A key that is valid by construction.

use super::{Digest, Error};
use bytes::Bytes;
use std::fmt;

/// The longest key in bytes. The index asserts 65,535 for a whole row key; the rest is room for
/// the prefixes of rows to come.
pub const KEY_SIZE_MAX: usize = 65_000;

/// A user's key: 1 to [`KEY_SIZE_MAX`] bytes of anything.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// Checks the length, and copies the bytes so that a small key never keeps a whole network
    /// frame alive.
    ///
    /// # Errors
    /// `Invalid` (`KEY_EMPTY`) or `TooLarge` (`KEY_TOO_LARGE`).
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.is_empty() {
            return Err(Error::invalid(
                "KEY_EMPTY",
                "key is empty: it needs 1 to 65000 bytes",
            ));
        }
        if bytes.len() > KEY_SIZE_MAX {
            return Err(Error::too_large(
                "KEY_TOO_LARGE",
                format!("key too large: size={}, max={KEY_SIZE_MAX}", bytes.len()),
            ));
        }
        Ok(Self(Bytes::copy_from_slice(bytes)))
    }

    /// The key of a content-addressed value: its digest in hex.
    #[must_use]
    pub fn of_digest(digest: Digest) -> Self {
        Self(Bytes::copy_from_slice(&digest.to_hex()))
    }

    /// The digest that this key spells, if it looks like a content key.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        Digest::parse_hex(&self.0)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, shared.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(\"{self}\")")
    }
}

/// Bytes that are not printable ASCII are escaped; long keys are cut for the reader of a message.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 200;
        write!(f, "{}", self.0[..self.0.len().min(SHOWN)].escape_ascii())?;
        if self.0.len() > SHOWN {
            write!(f, "... ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}
