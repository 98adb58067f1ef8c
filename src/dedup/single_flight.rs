//! Equal content that is uploaded twice at once is compressed and written once.

use crate::model::{Digest, RefId};
use dashmap::mapref::entry::Entry;
use dashmap::{DashMap, DashSet};
use std::sync::Arc;
use tokio::sync::watch;

/// Uploads under way, by content, and references whose put is not over.
#[derive(Debug, Clone, Default)]
pub struct Uploads {
    in_flight: Arc<DashMap<Digest, watch::Receiver<()>>>,
    open: Arc<DashSet<RefId>>,
}

/// Whose turn it is to store a content.
#[derive(Debug)]
pub enum Turn {
    /// The caller's: others wait until this is dropped.
    Mine(Flight),
    /// Somebody else's, who is done now, well or not: look again.
    Passed,
}

/// A content that is being stored. Dropped when it is there, or was given up.
#[derive(Debug)]
pub struct Flight {
    digest: Digest,
    in_flight: Arc<DashMap<Digest, watch::Receiver<()>>>,
    _done: watch::Sender<()>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        // First the entry, then the sender: who wakes finds the place free.
        self.in_flight.remove(&self.digest);
    }
}

/// A reference that sweeps leave alone until its put is over.
#[derive(Debug)]
pub struct OpenReference {
    ref_id: RefId,
    open: Arc<DashSet<RefId>>,
}

impl OpenReference {
    /// Leaves the reference open for the life of the process: its record's fate is unknown, and
    /// only recovery can tell.
    pub fn leave_open(self) {
        std::mem::forget(self);
    }
}

impl Drop for OpenReference {
    fn drop(&mut self) {
        self.open.remove(&self.ref_id);
    }
}

impl Uploads {
    /// Takes the turn for a content, or waits for whoever has it.
    pub async fn take_turn(&self, digest: Digest) -> Turn {
        let mut others = match self.in_flight.entry(digest) {
            Entry::Vacant(place) => {
                let (done, waiting) = watch::channel(());
                place.insert(waiting);
                let in_flight = self.in_flight.clone();
                return Turn::Mine(Flight {
                    digest,
                    in_flight,
                    _done: done,
                });
            }
            Entry::Occupied(taken) => taken.get().clone(),
        };
        // Nothing is ever sent: this returns when the sender is dropped.
        let _ = others.changed().await;
        Turn::Passed
    }

    /// Registers a reference before the first step of its put.
    #[must_use]
    pub fn open_reference(&self, ref_id: RefId) -> OpenReference {
        self.open.insert(ref_id);
        OpenReference {
            ref_id,
            open: self.open.clone(),
        }
    }

    /// Whether a reference's put is under way.
    #[must_use]
    pub fn is_open(&self, ref_id: RefId) -> bool {
        self.open.contains(&ref_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_many_equal_uploads_one_has_the_turn() {
        let uploads = Uploads::default();
        let digest = Digest([7; 32]);
        let Turn::Mine(flight) = uploads.take_turn(digest).await else {
            panic!("the first has it")
        };
        let waiting: Vec<_> = (0..8)
            .map(|_| {
                let uploads = uploads.clone();
                tokio::spawn(async move { uploads.take_turn(digest).await })
            })
            .collect();
        tokio::task::yield_now().await;
        drop(flight);
        for turn in waiting {
            // Who came before the first was done waits; who came after has the turn.
            turn.await.unwrap();
        }
        assert!(matches!(uploads.take_turn(digest).await, Turn::Mine(_)));
    }

    #[test]
    fn a_reference_is_open_until_its_put_is_over() {
        let uploads = Uploads::default();
        let open = uploads.open_reference(RefId(3));
        assert!(uploads.is_open(RefId(3)));
        drop(open);
        assert!(!uploads.is_open(RefId(3)));
    }
}
