//! A key that is valid by construction.

use super::{Digest, Error, NamespaceId};
use bytes::Bytes;
use std::fmt;

/// The longest key in bytes. The index asserts 65,535 for a whole row key; the rest is room for
/// the prefixes of rows to come.
pub const KEY_SIZE_MAX: usize = 65_000;

/// A user's key: 1 to [`KEY_SIZE_MAX`] bytes of anything, in a namespace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    namespace: NamespaceId,
    id: Bytes,
}

impl Key {
    /// A key of the default namespace. Checks the length, and copies the bytes so that a small key
    /// never keeps a whole network frame alive.
    ///
    /// # Errors
    /// `Invalid` (`KEY_EMPTY`) or `TooLarge` (`KEY_TOO_LARGE`).
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        Self::in_namespace(NamespaceId::DEFAULT, bytes)
    }

    /// A key of a namespace, made as by [`Key::new`].
    ///
    /// # Errors
    /// As [`Key::new`].
    pub fn in_namespace(namespace: NamespaceId, bytes: &[u8]) -> Result<Self, Error> {
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
        let id = match namespace.prefix() {
            None => Bytes::copy_from_slice(bytes),
            Some(prefix) => [&prefix, bytes].concat().into(),
        };
        Ok(Self { namespace, id })
    }

    /// The key of an id in a namespace, as [`Key::id`] gave it.
    ///
    /// # Errors
    /// As [`Key::new`], and `Invalid` (`KEY_NAMESPACE`) for an id of another namespace.
    pub fn of_id(namespace: NamespaceId, id: &[u8]) -> Result<Self, Error> {
        let prefix = namespace.prefix();
        let bytes = match &prefix {
            None => Some(id),
            Some(prefix) => id.strip_prefix(prefix),
        };
        let foreign = || {
            let message = format!("the id of a key is not of its namespace, {namespace}");
            Error::invalid("KEY_NAMESPACE", message)
        };
        Self::in_namespace(namespace, bytes.ok_or_else(foreign)?)
    }

    /// The key of a content-addressed value in the default namespace: its digest in hex.
    #[must_use]
    pub fn of_digest(digest: Digest) -> Self {
        Self {
            namespace: NamespaceId::DEFAULT,
            id: Bytes::copy_from_slice(&digest.to_hex()),
        }
    }

    /// What stands as the owner of the references to a large value's chunks: the list under the
    /// value's digest. Its slot is the digest's, so the list and its name are in one shard.
    #[must_use]
    pub fn of_list(digest: Digest) -> Self {
        let prefix = NamespaceId::LISTS.0.to_be_bytes();
        Self {
            namespace: NamespaceId::LISTS,
            id: [&prefix[..], &digest.to_hex()].concat().into(),
        }
    }

    /// The digest of the list that this stands for, if it is no key of a user's.
    #[must_use]
    pub fn list(&self) -> Option<Digest> {
        match self.namespace {
            NamespaceId::LISTS => self.digest(),
            _ => None,
        }
    }

    /// The digest that this key spells, if it looks like a content key.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        Digest::parse_hex(self.as_bytes())
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> NamespaceId {
        self.namespace
    }

    /// What it is called in logs and indexes: in the default namespace its bytes, in another one
    /// the namespace's number in front of them.
    #[must_use]
    pub fn id(&self) -> &Bytes {
        &self.id
    }

    /// The bytes that the user gave.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.id[self.prefix_size()..]
    }

    /// The bytes that the user gave, shared.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.id.slice(self.prefix_size()..)
    }

    fn prefix_size(&self) -> usize {
        match self.namespace {
            NamespaceId::DEFAULT => 0,
            _ => NamespaceId::PREFIX_SIZE,
        }
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
        let bytes = self.as_bytes();
        write!(f, "{}", bytes[..bytes.len().min(SHOWN)].escape_ascii())?;
        if bytes.len() > SHOWN {
            write!(f, "... ({} bytes)", bytes.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_two_namespaces_are_two_keys_with_the_same_bytes() {
        let (one, two) = (NamespaceId(1), NamespaceId(0x0102_0304));
        let keys = [
            Key::new(b"k").unwrap(),
            Key::in_namespace(one, b"k").unwrap(),
            Key::in_namespace(two, b"k").unwrap(),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(key.as_bytes(), b"k");
            assert_eq!(key.to_bytes(), "k");
            assert_eq!(Key::of_id(key.namespace(), key.id()).unwrap(), *key);
            assert!(
                keys[at + 1..]
                    .iter()
                    .all(|other| other != key && other.id() != key.id())
            );
        }
        assert_eq!(keys[0].id(), "k");
        assert_eq!(&keys[2].id()[..], &[1, 2, 3, 4, b'k']);
        assert!(Key::of_id(one, keys[2].id()).is_err());
        assert!(Key::of_id(one, &[0, 0, 0, 1]).is_err(), "no key in it");
    }
}
