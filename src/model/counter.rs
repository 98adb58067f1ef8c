//! The store-wide version counter.

use super::Version;
use std::sync::atomic::{AtomicU64, Ordering};

/// One logical counter for the whole store, taken inside the shard actors while they plan. Every
/// change takes one, from 1; a write that changes nothing takes none.
#[derive(Debug, Default)]
pub struct VersionCounter(AtomicU64);

impl VersionCounter {
    /// The next version.
    pub fn draw(&self) -> Version {
        Version(self.0.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// The last version drawn.
    pub fn current(&self) -> Version {
        Version(self.0.load(Ordering::Acquire))
    }

    /// Never draws this version or a lower one again.
    pub fn raise(&self, floor: Version) {
        self.0.fetch_max(floor.0, Ordering::AcqRel);
    }
}
