//! Which backup may be restored into which store: pure rules over what the backup says of itself
//! and what the store says it holds.
//!
//! - A full backup may always be restored, but where purged deletes would be undone by it.
//! - An increment may be restored where everything up to its `since` has been: from the same chain,
//!   or in the store that began that chain.
//! - A backup that ends before a delete was purged here would bring back what was deleted: it is
//!   refused where there is live data. So is one whose own purged deletes this store never saw,
//!   where it holds an older part of the same chain.

use super::fault::{Fault, Result};
use crate::model::{self, Version};
use std::fmt;

/// A chain of backups that follow each other without a gap. Drawn at random when a store is made,
/// and anew when the next increment would be incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(pub u128);

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What a backup continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A chain of ours.
    Chain(ChainId),
    /// zstdb's backups, which do not say of which store they are.
    Zstdb,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(chain) => write!(f, "chain {chain}"),
            Self::Zstdb => f.write_str("zstdb"),
        }
    }
}

/// A backup's place in its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// What it continues.
    pub origin: Origin,
    /// It holds the changes after this version; 0 for a full backup.
    pub since: Version,
    /// The version up to which it is complete.
    pub max: Version,
    /// Deletes up to this version are not in it.
    pub horizon: Version,
}

/// How far a chain has been restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The chain.
    pub origin: Origin,
    /// Everything up to this version.
    pub version: Version,
}

impl Progress {
    /// Notes in a list with one entry a chain that a backup has been restored, completely.
    pub fn record(restored: &mut Vec<Self>, link: &Link) {
        let origin = link.origin;
        match restored.iter_mut().find(|held| held.origin == origin) {
            Some(held) => held.version = held.version.max(link.max),
            None => restored.push(Self {
                origin,
                version: link.max,
            }),
        }
    }
}

/// What a store says of itself before a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainState {
    /// The chain of its own backups.
    pub own: ChainId,
    /// Its version counter.
    pub max: Version,
    /// Whether it has no records at all, deletes included.
    pub fresh: bool,
    /// Deletes up to this version have been purged.
    pub horizon: Version,
    /// What has been restored into it: one entry a chain.
    pub restored: Vec<Progress>,
}

impl ChainState {
    /// Whether a backup may be restored now.
    ///
    /// # Errors
    /// `Conflict`: `BACKUP_CHAIN_GAP` names both versions and the backup that is missing,
    /// `BACKUP_HORIZON` the purge that stands in the way.
    pub fn admit(&self, link: &Link) -> model::Result<()> {
        self.admit_horizon(link)?;
        self.admit_since(link)?;
        Ok(())
    }

    /// Notes that a backup has been restored, completely.
    pub fn record(&mut self, link: &Link) {
        Progress::record(&mut self.restored, link);
    }

    /// The version up to which this store holds a chain.
    #[must_use]
    pub fn held(&self, origin: Origin) -> Option<Version> {
        if origin == Origin::Chain(self.own) {
            return Some(self.max);
        }
        let held = self.restored.iter().find(|held| held.origin == origin);
        held.map(|held| held.version)
    }

    fn admit_since(&self, link: &Link) -> Result<()> {
        let Link { origin, since, .. } = link;
        if *since == Version(0) {
            return Ok(());
        }
        match self.held(*origin) {
            Some(held) if *since <= held => Ok(()),
            Some(held) => Err(Fault::Gap(format!(
                "this backup continues {origin} from version {since}, but the store holds it only \
                 up to version {held}: restore the backup that reaches from {held} (or below) to \
                 {since} first, named `..._[{held}-{since}].zstdb.bak`"
            ))),
            None => Err(Fault::Gap(format!(
                "this backup continues {origin} from version {since}, but the store holds nothing \
                 of it (version 0): restore its full backup first, named \
                 `..._[0-{since}].zstdb.bak`, and then what lies between"
            ))),
        }
    }

    fn admit_horizon(&self, link: &Link) -> Result<()> {
        let Link {
            since,
            max,
            horizon,
            ..
        } = link;
        if Version(0) < *since && since < horizon {
            return Err(Fault::Horizon(format!(
                "this backup starts after version {since}, but deletes up to version {horizon} had \
                 been purged when it was made, so some are missing: restore a full backup instead"
            )));
        }
        if self.fresh {
            return Ok(());
        }
        if *max < self.horizon {
            return Err(Fault::Horizon(format!(
                "this backup ends at version {max}, and deletes up to version {} have been purged \
                 from this store: what they deleted would come back; restore into an empty data \
                 directory instead",
                self.horizon
            )));
        }
        match self.held(link.origin) {
            Some(held) if held < *horizon => Err(Fault::Horizon(format!(
                "this store holds the chain up to version {held}, and deletes up to version \
                 {horizon} are not in this backup: what they deleted would stay; restore into an \
                 empty data directory instead"
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const OTHER: Origin = Origin::Chain(ChainId(7));

    fn fresh() -> ChainState {
        ChainState {
            own: ChainId(1),
            max: Version(0),
            fresh: true,
            horizon: Version(0),
            restored: Vec::new(),
        }
    }

    fn link(origin: Origin, since: u64, max: u64) -> Link {
        Link {
            origin,
            since: Version(since),
            max: Version(max),
            horizon: Version(0),
        }
    }

    fn reason(result: model::Result<()>) -> &'static str {
        result.map_or_else(|error| error.reason(), |()| "")
    }

    #[test]
    fn a_gap_is_refused_with_both_versions() {
        let mut state = fresh();
        state.record(&link(OTHER, 0, 24));
        let refused = state.admit(&link(OTHER, 27, 30)).expect_err("a gap");
        assert_eq!(refused.reason(), "BACKUP_CHAIN_GAP");
        assert!(refused.message().contains("27"), "{refused}");
        assert!(
            refused.message().contains("_[24-27].zstdb.bak"),
            "{refused}"
        );
    }

    #[test]
    fn an_increment_of_another_chain_is_refused() {
        let mut state = fresh();
        state.record(&link(OTHER, 0, 24));
        assert_eq!(
            reason(state.admit(&link(Origin::Zstdb, 24, 27))),
            "BACKUP_CHAIN_GAP"
        );
        assert_eq!(reason(state.admit(&link(OTHER, 24, 27))), "");
    }

    #[test]
    fn a_store_takes_back_its_own_increments() {
        let mut state = fresh();
        state.fresh = false;
        state.max = Version(50);
        let own = Origin::Chain(state.own);
        assert_eq!(reason(state.admit(&link(own, 24, 27))), "");
        assert_eq!(reason(state.admit(&link(own, 51, 60))), "BACKUP_CHAIN_GAP");
    }

    #[test]
    fn what_was_purged_does_not_come_back() {
        let mut state = fresh();
        state.horizon = Version(40);
        assert_eq!(reason(state.admit(&link(OTHER, 0, 39))), "");
        state.fresh = false;
        assert_eq!(reason(state.admit(&link(OTHER, 0, 39))), "BACKUP_HORIZON");
        assert_eq!(reason(state.admit(&link(OTHER, 0, 40))), "");
    }

    #[test]
    fn a_backup_without_the_deletes_that_a_store_still_needs_is_refused() {
        let mut state = fresh();
        let mut purged = link(OTHER, 0, 60);
        purged.horizon = Version(40);
        assert_eq!(reason(state.admit(&purged)), "");
        state.fresh = false;
        state.record(&link(OTHER, 0, 24));
        assert_eq!(reason(state.admit(&purged)), "BACKUP_HORIZON");
        state.record(&link(OTHER, 24, 40));
        assert_eq!(reason(state.admit(&purged)), "");
        purged.since = Version(39);
        assert_eq!(reason(state.admit(&purged)), "BACKUP_HORIZON");
    }

    proptest! {
        /// What is held is a whole prefix of each chain, however restores are ordered.
        #[test]
        fn no_order_of_restores_leaves_a_hole(
            links in prop::collection::vec((0_u8..3, 0_u64..12, 0_u64..12), 0..40),
        ) {
            let mut state = fresh();
            let mut model = [const { BTreeSet::new() }; 3];
            let origins = [OTHER, Origin::Chain(ChainId(8)), Origin::Zstdb];
            for (origin, since, size) in links {
                let held: &mut BTreeSet<u64> = &mut model[usize::from(origin)];
                let link = link(origins[usize::from(origin)], since, since + size);
                let whole = since == 0 || (1..=since).all(|version| held.contains(&version));
                prop_assert_eq!(state.admit(&link).is_ok(), whole);
                if whole {
                    state.record(&link);
                    state.fresh = false;
                    held.extend(since + 1..=since + size);
                }
                let prefix = held.last().copied().unwrap_or_default();
                prop_assert_eq!(held.len() as u64, prefix);
                let recorded = state.held(link.origin).unwrap_or_default();
                prop_assert_eq!(recorded, Version(prefix));
            }
        }
    }
}
