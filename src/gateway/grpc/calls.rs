//! The calls of one connection: how many there were, and how many are open.
//!
//! One number holds both, so that the begin of a call is one addition and its end one subtraction,
//! and who looks sees both as of one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Calls that were ever begun are counted above these bits, those that are open in them.
const OPEN_BITS: u32 = 32;

/// The count.
#[derive(Debug, Default)]
pub(super) struct Calls(AtomicU64);

/// What calls there were at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Use {
    /// How many were begun; the number begins again after 2^32.
    pub(super) begun: u64,
    /// How many of them have not ended.
    pub(super) open: u64,
}

/// A call that is open until this is dropped.
#[derive(Debug)]
pub(super) struct Call(Arc<Calls>);

impl Calls {
    /// A call begins.
    pub(super) fn begin(calls: &Arc<Self>) -> Call {
        // Only counts: nothing else is ordered by it.
        calls.0.fetch_add((1 << OPEN_BITS) + 1, Ordering::Relaxed);
        Call(Arc::clone(calls))
    }

    /// What calls there were and are.
    pub(super) fn read(&self) -> Use {
        let both = self.0.load(Ordering::Relaxed);
        Use {
            begun: both >> OPEN_BITS,
            open: both & ((1 << OPEN_BITS) - 1),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_stays_counted_and_what_is_open_does_not() {
        let calls = Arc::new(Calls::default());
        let one = Calls::begin(&calls);
        let other = Calls::begin(&calls);
        assert_eq!(calls.read(), Use { begun: 2, open: 2 });
        drop(one);
        assert_eq!(calls.read(), Use { begun: 2, open: 1 });
        drop(other);
        assert_eq!(calls.read(), Use { begun: 2, open: 0 });
    }
}
