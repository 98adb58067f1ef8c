//! Namespaces: key spaces of their own, each with its rules.

use super::{Error, Result, Timestamp, Version};
use std::fmt;

/// The number of a namespace. It is given once in a store, and never again when its namespace is
/// gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NamespaceId(pub u32);

impl NamespaceId {
    /// The namespace that is always there.
    pub const DEFAULT: Self = Self(0);
    /// The highest number; archives have 24 bits for it.
    pub const MAX: Self = Self((1 << 24) - 1);
    /// Where lists of chunks stand as owners of references. No namespace has this number, and no
    /// record of a key is in it.
    pub const LISTS: Self = Self(u32::MAX);
    /// Bytes of a [`NamespaceId::prefix`].
    pub const PREFIX_SIZE: usize = 4;

    /// What the ids of its keys begin with; nothing in the default namespace.
    #[must_use]
    pub fn prefix(self) -> Option<[u8; Self::PREFIX_SIZE]> {
        (self != Self::DEFAULT).then(|| self.0.to_be_bytes())
    }
}

impl fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The rules of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamespaceOptions {
    /// Whether values stand under their digest. It never changes.
    pub by_content: bool,
    /// Whether a key takes another value.
    pub overwrite: bool,
    /// Milliseconds that a key stays when its put says nothing of it; `None` for ever.
    pub default_ttl_ms: Option<u64>,
    /// Bytes of the largest value; `None` for what the server takes.
    pub value_size_max: Option<u64>,
    /// Whether values are compressed.
    pub compress: bool,
    /// Whether equal values are stored once, and shared with the other namespaces.
    pub dedup: bool,
}

/// A namespace as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Its number in this store.
    pub id: NamespaceId,
    /// Drawn at random when it was made: it is the same one in every store that its backups come to.
    pub uid: u128,
    /// Its name.
    pub name: String,
    /// Its rules.
    pub options: NamespaceOptions,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether it was dropped: nothing of it is seen any more.
    pub dropped: bool,
    /// The version of its last change.
    pub version: Version,
}

/// The name of the namespace that is always there.
pub const DEFAULT_NAMESPACE: &str = "default";
/// Bytes of the longest name of a namespace.
const NAME_SIZE_MAX: usize = 63;

/// Checks the name of a namespace: a lower-case letter, then letters, digits, `-` and `_`.
///
/// # Errors
/// `Invalid` (`NAMESPACE_NAME`).
pub fn check_namespace_name(name: &str) -> Result<()> {
    let is_other = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_lowercase());
    if begins && name.len() <= NAME_SIZE_MAX && name.bytes().all(is_other) {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_SIZE_MAX + 1).collect();
    let message = format!(
        "{shown:?} is no name of a namespace: it needs 1 to {NAME_SIZE_MAX} of a-z, 0-9, - and _, the first a letter"
    );
    Err(Error::invalid("NAMESPACE_NAME", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_the_pattern_says() {
        let longest = "n".repeat(63);
        for name in ["a", "orders", "o-2_x", "default", &longest] {
            assert!(check_namespace_name(name).is_ok(), "{name}");
        }
        let too_long = "n".repeat(64);
        for name in [
            "", "A", "1a", "-a", "_a", "a b", "a/b", "ä", "a\0", &too_long,
        ] {
            let refused = check_namespace_name(name).unwrap_err();
            assert_eq!(refused.reason(), "NAMESPACE_NAME", "{name:?}");
        }
    }
}
