//! How often something may be restarted before it stays down: a bounded count in a sliding window.
//!
//! A shard that fails once in a while is reopened for ever; one that fails again and again only
//! wears the disk, and is left for a person to look at.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The restarts that are left to one shard.
#[derive(Debug, Clone)]
pub struct RestartBudget {
    restarts_max: usize,
    window: Duration,
    /// When restarts were allowed, oldest first; never more than `restarts_max`.
    spent: VecDeque<Instant>,
}

impl RestartBudget {
    /// At most `restarts_max` restarts in any `window`.
    #[must_use]
    pub fn new(restarts_max: u32, window: Duration) -> Self {
        Self {
            restarts_max: usize::try_from(restarts_max).unwrap_or(usize::MAX),
            window,
            spent: VecDeque::new(),
        }
    }

    /// Whether there may be a restart now; it is counted if so.
    pub fn allow(&mut self, now: Instant) -> bool {
        let is_past = |it: &Instant| now.saturating_duration_since(*it) >= self.window;
        while self.spent.front().is_some_and(is_past) {
            self.spent.pop_front();
        }
        let is_allowed = self.spent.len() < self.restarts_max;
        if is_allowed {
            self.spent.push_back(now);
        }
        is_allowed
    }

    /// Whether the next restart would not be allowed, as of the last that was.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.spent.len() >= self.restarts_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_budget_comes_back_as_the_window_slides() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut budget = RestartBudget::new(2, Duration::from_secs(60));
        for (seconds, is_allowed) in [
            (0, true),
            (10, true),
            (59, false),
            (60, true),
            (69, false),
            (70, true),
        ] {
            assert_eq!(budget.allow(at(seconds)), is_allowed, "{seconds}");
        }
    }

    #[test]
    fn a_budget_of_none_allows_none() {
        assert!(!RestartBudget::new(0, Duration::from_secs(1)).allow(Instant::now()));
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_the_budget(
            restarts_max in 0_u32..5,
            steps in prop::collection::vec(0_u64..30, 0..80),
        ) {
            let window = Duration::from_secs(60);
            let mut budget = RestartBudget::new(restarts_max, window);
            let mut now = Instant::now();
            let mut allowed: Vec<Instant> = Vec::new();
            for step in steps {
                now += Duration::from_secs(step);
                let recent = allowed.iter().filter(|it| now - **it < window).count();
                let is_allowed = budget.allow(now);
                prop_assert_eq!(is_allowed, recent < restarts_max as usize);
                if is_allowed {
                    allowed.push(now);
                }
            }
        }
    }
}
