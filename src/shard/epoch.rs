//! What a reader saw, believed by the writer: a key that was looked up and not there need not be
//! looked up again, if nothing of it was committed since.
//!
//! The epoch counts the groups that are in the index. A reader notes it before it looks; the writer
//! notes for each key the epoch that last changed it, in a small table without the keys themselves.
//! Keys that share a place there only cost a look-up that was not needed.

use crate::codec::{Record, Space};
use crate::model::Key;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use xxhash_rust::xxh3::xxh3_64;

/// Places of the table: many more than the keys of the groups between a look and its commit.
const PLACES: usize = 4096;
/// Epochs of one opening of a shard; what a reader of another opening saw is not believed.
const OPENING: u64 = 1 << 40;

/// How many groups were in the index when a reader looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(u64);

/// The shard's epoch, as readers see it.
#[derive(Debug, Clone)]
pub(super) struct EpochClock(Arc<AtomicU64>);

impl EpochClock {
    /// To be read before the index is.
    pub fn now(&self) -> Epoch {
        Epoch(self.0.load(Ordering::Acquire))
    }
}

/// The writer's side.
#[derive(Debug)]
pub(super) struct Epochs {
    clock: EpochClock,
    first: Epoch,
    changed: Box<[Epoch]>,
}

impl Epochs {
    pub fn new() -> Self {
        static OPENINGS: AtomicU64 = AtomicU64::new(0);
        let first = OPENINGS.fetch_add(1, Ordering::Relaxed) * OPENING;
        Self {
            clock: EpochClock(Arc::new(AtomicU64::new(first))),
            first: Epoch(first),
            changed: vec![Epoch(first); PLACES].into(),
        }
    }

    pub fn clock(&self) -> EpochClock {
        self.clock.clone()
    }

    /// Begins the next epoch: these records are in the index now.
    pub fn advance(&mut self, records: &[Record]) {
        let next = Epoch(self.clock.now().0 + 1);
        for record in records.iter().filter(|it| it.kind.space() == Space::Key) {
            self.changed[place_of(&record.id)] = next;
        }
        self.clock.0.store(next.0, Ordering::Release);
    }

    /// Whether a key that was not there then is still not there.
    pub fn is_still_absent(&self, key: &Key, then: Epoch) -> bool {
        (self.first..=self.clock.now()).contains(&then)
            && self.changed[place_of(key.as_bytes())] <= then
    }
}

fn place_of(key: &[u8]) -> usize {
    xxh3_64(key) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Kind;
    use bytes::Bytes;

    fn record(key: &Key) -> Record {
        Record::bookkeeping(Kind::Tombstone, key.to_bytes(), Bytes::new())
    }

    #[test]
    fn what_was_seen_before_a_change_is_not_believed_after_it() {
        let [here, other] = [b"here", b"else"].map(|key| Key::new(key).unwrap());
        let mut epochs = Epochs::new();
        let before = epochs.clock().now();
        assert!(epochs.is_still_absent(&here, before));
        epochs.advance(&[record(&here)]);
        assert!(!epochs.is_still_absent(&here, before));
        assert!(epochs.is_still_absent(&other, before));
        let after = epochs.clock().now();
        assert!(epochs.is_still_absent(&here, after));
    }

    #[test]
    fn what_was_seen_in_another_opening_is_not_believed() {
        let key = Key::new(b"key").unwrap();
        let (first, second) = (Epochs::new(), Epochs::new());
        assert!(!second.is_still_absent(&key, first.clock().now()));
        assert!(!first.is_still_absent(&key, second.clock().now()));
    }
}
