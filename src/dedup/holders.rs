//! Contents that are not reclaimed for now, whether anything refers to them or not.

use crate::model::Digest;
use dashmap::DashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who holds what.
#[derive(Debug, Clone, Default)]
pub struct Holders(Arc<DashMap<Digest, Holding>>);

/// A content that is not reclaimed, whether anything refers to it or not: a chunk of a value that is
/// on its way, or a list that is being read. From when this is dropped, the grace time begins anew.
#[derive(Debug)]
pub struct HeldContent {
    digest: Digest,
    held: Arc<DashMap<Digest, Holding>>,
}

/// Who holds a content.
#[derive(Debug, Clone, Copy)]
struct Holding {
    count: usize,
    /// When the last one came or went.
    last: Instant,
}

impl Drop for HeldContent {
    fn drop(&mut self) {
        if let Some(mut holders) = self.held.get_mut(&self.digest) {
            holders.count -= 1;
            holders.last = Instant::now();
        }
    }
}

impl Holders {
    /// Holds a content. Who holds it and then takes its turn sees it as it will stay: a reclaim has
    /// the turn too, and looks for holders first.
    #[must_use]
    pub fn hold(&self, digest: Digest) -> HeldContent {
        let last = Instant::now();
        let mut holders = self.0.entry(digest).or_insert(Holding { count: 0, last });
        holders.count += 1;
        holders.last = last;
        drop(holders);
        HeldContent {
            digest,
            held: self.0.clone(),
        }
    }

    /// Whether somebody holds a content, or did so less than `grace` ago.
    #[must_use]
    pub fn is_held(&self, digest: Digest, grace: Duration) -> bool {
        let holders = self.0.get(&digest);
        holders.is_some_and(|it| it.count > 0 || it.last.elapsed() < grace)
    }

    /// Forgets contents that nobody has held for `grace`.
    pub fn forget(&self, grace: Duration) {
        self.0
            .retain(|_, it| it.count > 0 || it.last.elapsed() < grace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_held_until_its_holders_are_gone_and_for_its_grace() {
        const GRACE: Duration = Duration::from_secs(600);
        let holders = Holders::default();
        let digest = Digest([7; 32]);
        assert!(!holders.is_held(digest, GRACE));
        let (one, other) = (holders.hold(digest), holders.hold(digest));
        drop(one);
        holders.forget(Duration::ZERO);
        assert!(holders.is_held(digest, Duration::ZERO));
        drop(other);
        assert!(holders.is_held(digest, GRACE));
        assert!(!holders.is_held(digest, Duration::ZERO));
        holders.forget(Duration::ZERO);
        assert!(!holders.is_held(digest, GRACE));
    }
}
