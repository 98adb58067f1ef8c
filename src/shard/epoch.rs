//! What a reader saw, believed later: by the writer, that a key was not there; by another read, that
//! a value it keeps is the newest still.
//!
//! The epoch counts the groups that are in the index. A reader notes it before it looks; the writer
//! notes for each key the epoch that last changed it, in a small table without the keys themselves.
//! Keys that share a place there only cost a look-up that was not needed. The table is changed before
//! the index is, and the epoch after: what anybody can have seen of a group is then too new for
//! whatever was kept before it.

use crate::codec::Record;
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

/// The shard's epochs: its readers look, its writer goes on.
#[derive(Debug, Clone)]
pub(super) struct Epochs(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    first: u64,
    now: AtomicU64,
    changed: Box<[AtomicU64]>,
}

impl Epochs {
    pub fn new() -> Self {
        static OPENINGS: AtomicU64 = AtomicU64::new(0);
        let first = OPENINGS.fetch_add(1, Ordering::Relaxed) * OPENING;
        Self(Arc::new(Shared {
            first,
            now: AtomicU64::new(first),
            changed: (0..PLACES).map(|_| AtomicU64::new(first)).collect(),
        }))
    }

    /// To be read before the index is.
    pub fn now(&self) -> Epoch {
        Epoch(self.0.now.load(Ordering::Acquire))
    }

    /// Says which keys the next epoch changes. To be called before the index is changed.
    pub fn announce(&self, records: &[Record]) {
        let next = self.now().0 + 1;
        for record in records.iter().filter(|it| it.kind.is_of_key()) {
            self.0.changed[place_of(&record.id)].store(next, Ordering::Release);
        }
    }

    /// Begins the next epoch: what was announced is in the index now.
    pub fn advance(&self) {
        self.0.now.fetch_add(1, Ordering::Release);
    }

    /// Whether what was seen of a key then is still so.
    pub fn is_unchanged(&self, key: &[u8], then: Epoch) -> bool {
        (self.0.first..=self.now().0).contains(&then.0)
            && self.0.changed[place_of(key)].load(Ordering::Acquire) <= then.0
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

    fn record(key: &[u8]) -> Record {
        let key = Bytes::copy_from_slice(key);
        Record::bookkeeping(Kind::Tombstone, key, Bytes::new())
    }

    #[test]
    fn what_was_seen_before_a_change_is_not_believed_after_it() {
        let epochs = Epochs::new();
        let before = epochs.now();
        assert!(epochs.is_unchanged(b"here", before));
        epochs.announce(&[record(b"here")]);
        assert!(!epochs.is_unchanged(b"here", before));
        assert!(epochs.is_unchanged(b"else", before));
        assert!(
            !epochs.is_unchanged(b"here", epochs.now()),
            "seen during the change"
        );
        epochs.advance();
        assert!(epochs.is_unchanged(b"here", epochs.now()));
        assert!(!epochs.is_unchanged(b"here", before));
    }

    #[test]
    fn what_was_seen_in_another_opening_is_not_believed() {
        let (first, second) = (Epochs::new(), Epochs::new());
        assert!(!second.is_unchanged(b"key", first.now()));
        assert!(!first.is_unchanged(b"key", second.now()));
    }
}
