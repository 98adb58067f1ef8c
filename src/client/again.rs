//! How a write under its name is sent again: a server does one request id once, as long as it runs.
//!
//! A write that leaves the same the second time may go to any run of the server. One on a condition,
//! or a count, goes only to the run that it went to first, which remembers it: another one would judge it
//! by what it has changed itself. Which run that is, an earlier answer told.

use super::connect::Pool;
use super::retry::Repeat;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a second write of the same leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Twice {
    /// What the first one has left.
    Same,
    /// Something else, or an error.
    Differs,
}

impl Twice {
    /// Of a write that is done on a condition, or without one.
    pub(super) fn on_condition(is_on_condition: bool) -> Self {
        match is_on_condition {
            true => Self::Differs,
            false => Self::Same,
        }
    }
}

/// The tries of one write.
#[derive(Debug)]
pub(super) struct Tries {
    /// When it is sent again.
    pub(super) repeat: Repeat,
    /// The only run that it is sent to again; 0 for any.
    run: u64,
    was_sent: AtomicBool,
}

impl Tries {
    /// Those of a write with this name.
    pub(super) fn of(pool: &Pool, request_id: &str, twice: Twice) -> Self {
        let (repeat, run) = match (twice, pool.run()) {
            _ if request_id.is_empty() => (Repeat::IfNotStarted, 0),
            (Twice::Same, _) => (Repeat::Always, 0),
            (Twice::Differs, None) => (Repeat::IfNotStarted, 0),
            (Twice::Differs, Some(run)) => (Repeat::Named, run.get()),
        };
        Self {
            repeat,
            run,
            was_sent: AtomicBool::new(false),
        }
    }

    /// The only run that may do the next try; 0 for any, as the first one's.
    pub(super) fn only_run(&self) -> u64 {
        match self.was_sent.swap(true, Ordering::Relaxed) {
            true => self.run,
            false => 0,
        }
    }
}
