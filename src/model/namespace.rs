//! Namespaces: key spaces of their own.

use std::fmt;

/// The number of a namespace. It is given once in a store, and never again when its namespace is
/// gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NamespaceId(pub u32);

impl NamespaceId {
    /// The namespace that is always there.
    pub const DEFAULT: Self = Self(0);
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
