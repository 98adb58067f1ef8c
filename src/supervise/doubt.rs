//! When an index that fails by itself is made anew.
//!
//! fjall merges tables on threads of its own. When one of them meets a damaged block, all that is
//! told is that the index takes no more writes; opened again, it looks sound until the next merge
//! meets the same block. A device that fails to read a block of a table says no more than that.
//!
//! A rebuild mends both, but it reads the whole log, and the shard is away for as long as that takes. A
//! single failure may have been a moment's (a device that was reset, a thread that could not start),
//! so the first is answered by opening the index again, and only the second by a rebuild: or the first,
//! when it is answered by the last restart that the budget has, since after that nobody mends
//! anything.

use std::time::{Duration, Instant};

/// What is remembered of the failures of one shard's index.
#[derive(Debug)]
pub struct IndexDoubt {
    memory: Duration,
    failed: Option<Instant>,
}

impl IndexDoubt {
    /// Failures that are further apart than `memory` have nothing to do with each other.
    #[must_use]
    pub fn new(memory: Duration) -> Self {
        Self {
            memory,
            failed: None,
        }
    }

    /// Notes that the index failed by itself, with this cause. Why it must be made anew, if it must;
    /// the new one is not in doubt.
    pub fn failed(&mut self, now: Instant, is_last_restart: bool, cause: &str) -> Option<String> {
        let memory = self.memory;
        let is_repeated = self
            .failed
            .replace(now)
            .is_some_and(|it| now.saturating_duration_since(it) < memory);
        if !is_repeated && !is_last_restart {
            return None;
        }
        self.failed = None;
        let times = if is_repeated { "again" } else { "once" };
        Some(format!(
            "the index failed by itself {times}, which may be damage that no read has met: {cause}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Duration = Duration::from_secs(60);

    fn rebuilds(failures: &[(u64, bool)]) -> Vec<bool> {
        let start = Instant::now();
        let mut doubt = IndexDoubt::new(MEMORY);
        let mut failed = |(seconds, is_last): &(u64, bool)| {
            let now = start + Duration::from_secs(*seconds);
            doubt.failed(now, *is_last, "a cause").is_some()
        };
        failures.iter().map(&mut failed).collect()
    }

    #[test]
    fn every_second_failure_makes_an_index_anew() {
        let failures = [(0, false), (5, false), (10, false), (15, false)];
        assert_eq!(rebuilds(&failures), [false, true, false, true]);
    }

    #[test]
    fn failures_that_are_far_apart_do_not() {
        let failures = [(0, false), (60, false), (120, false), (179, false)];
        assert_eq!(rebuilds(&failures), [false, false, false, true]);
    }

    #[test]
    fn the_last_restart_is_not_spent_on_an_index_in_doubt() {
        assert_eq!(rebuilds(&[(0, true), (5, false)]), [true, false]);
    }
}
