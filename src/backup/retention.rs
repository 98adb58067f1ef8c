//! Which backups may go when only the newest are to be kept: a pure rule over what they say of
//! themselves.
//!
//! A backup that is kept needs what it continues. So each increment keeps, of its own chain, what
//! leads to it from a full backup: archives that were made no later and end no later than it, each
//! reaching back as far as any.

use super::archive::ArchiveHeader;
use crate::model::Version;

/// The indices of the backups that are not needed by the `keep` newest, in order.
#[must_use]
pub fn superfluous(backups: &[ArchiveHeader], keep: usize) -> Vec<usize> {
    let mut by_age: Vec<usize> = (0..backups.len()).collect();
    by_age.sort_by_key(|index| {
        let backup = &backups[*index];
        std::cmp::Reverse((backup.created_at, backup.max))
    });
    let mut is_needed = vec![false; backups.len()];
    for newest in by_age.iter().take(keep) {
        let mut at = Some(*newest);
        while let Some(index) = at {
            is_needed[index] = true;
            at = leading_to(backups, index, &backups[*newest]);
        }
    }
    let spare = |index: &usize| !is_needed[*index];
    (0..backups.len()).filter(spare).collect()
}

/// The backup to be restored right before one of those that lead to `last`.
fn leading_to(backups: &[ArchiveHeader], index: usize, last: &ArchiveHeader) -> Option<usize> {
    let since = backups[index].since;
    if since == Version(0) {
        return None;
    }
    let leads = |it: &&(usize, &ArchiveHeader)| {
        let (_, it) = it;
        let is_before = it.created_at <= last.created_at && it.max <= last.max;
        is_before && it.chain == last.chain && it.since < since && since <= it.max
    };
    let candidates = backups.iter().enumerate();
    let best = candidates.collect::<Vec<_>>();
    let best = best.iter().filter(leads).min_by_key(|(_, it)| it.since);
    best.map(|(index, _)| *index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::{ChainId, ChainState};
    use crate::model::{StoreId, Timestamp};
    use proptest::prelude::*;

    fn backup(chain: u128, since: u64, max: u64, created: u64) -> ArchiveHeader {
        ArchiveHeader {
            store: StoreId(1),
            chain: ChainId(chain),
            since: Version(since),
            max: Version(max),
            horizon: Version(0),
            created_at: Timestamp(created),
        }
    }

    #[test]
    fn an_increment_keeps_what_it_continues() {
        let all = [
            backup(1, 0, 10, 1),
            backup(1, 10, 20, 2),
            backup(1, 0, 30, 3),
            backup(1, 30, 40, 4),
            backup(2, 0, 40, 5),
        ];
        assert_eq!(superfluous(&all, 1), [0, 1, 2, 3]);
        assert_eq!(superfluous(&all, 2), [0, 1]);
        assert_eq!(superfluous(&all, 3), [0, 1]);
        assert_eq!(superfluous(&all, 4), [0; 0]);
        assert_eq!(superfluous(&all, 9), [0; 0]);
        assert_eq!(superfluous(&all[..2], 1), [0; 0]);
        assert_eq!(superfluous(&all, 0), [0, 1, 2, 3, 4]);
    }

    /// Whether the state of a backup can be had from those that are there.
    fn is_restorable(there: &[ArchiveHeader], backup: &ArchiveHeader) -> bool {
        let mut store = ChainState {
            own: ChainId(u128::MAX),
            max: Version(0),
            fresh: true,
            horizon: Version(0),
            restored: Vec::new(),
        };
        let usable = || {
            let is_before =
                |it: &&ArchiveHeader| it.created_at <= backup.created_at && it.max <= backup.max;
            let same = |it: &&ArchiveHeader| it.chain == backup.chain;
            there.iter().filter(is_before).filter(same)
        };
        for _ in there {
            for next in usable() {
                if store.admit(&next.link()).is_ok() {
                    store.record(&next.link());
                }
            }
        }
        there.contains(backup) && store.admit(&backup.link()).is_ok()
    }

    proptest! {
        #[test]
        fn what_could_be_restored_of_the_newest_still_can_be(
            drawn in prop::collection::vec((0_u8..2, 0_u64..8, 1_u64..8), 0..16),
            keep in 1_usize..6,
        ) {
            let all: Vec<_> = (1..).zip(drawn).map(|(created, (chain, since, size))| {
                backup(chain.into(), since, since + size, created)
            }).collect();
            let spare = superfluous(&all, keep);
            let left: Vec<_> = (0..all.len()).filter(|it| !spare.contains(it)).map(|it| all[it]).collect();
            for newest in all.iter().rev().take(keep) {
                prop_assert_eq!(is_restorable(&all, newest), is_restorable(&left, newest));
            }
        }
    }
}
