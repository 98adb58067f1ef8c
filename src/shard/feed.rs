//! What a shard's writer tells those who follow its changes.
//!
//! # When all shards' changes can be put in order
//! All shards draw versions from one counter and show them group by group, so a change may be shown
//! later than one of a higher version in another shard. Whoever follows all of them in order must
//! know when no lower version can come any more. So a writer says, before it draws, from which
//! version on it draws, and takes that back in the same instant in which it says how far its log is
//! shown. Who reads the counter first and a shard's [`Standing`] after it then knows: whatever this
//! shard ever draws of the versions that are [settled](Standing::settled) is in its log before `end`.
//!
//! # How GC waits
//! What is followed is the log itself, so nothing is kept in memory for those who follow. GC leaves
//! the segments that somebody has yet to read, unless they are more than [`HELD_MAX`] behind.

use crate::log::Position;
use crate::model::{SegmentId, Version, VersionCounter};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// GC waits for nobody who is more segments behind than this.
const HELD_MAX: u64 = 8;

/// How far a shard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// Everything before this is shown to readers.
    pub end: Position,
    /// The lowest version that a group which is not shown yet may have.
    drawn_from: Option<Version>,
}

impl Standing {
    /// Up to which version everything of this shard is shown, if the counter was read before.
    pub fn settled(&self, counter: Version) -> Version {
        fail::fail_point!("feed::hasty", |_| counter);
        let before = |from: Version| Version(from.0 - 1);
        self.drawn_from.map_or(counter, before).min(counter)
    }
}

/// The writer's side. With it goes the shard's opening, and whoever follows it learns that.
#[derive(Debug)]
pub(super) struct Feed {
    standing: watch::Sender<Standing>,
    holds: Arc<Holds>,
}

impl Feed {
    /// The feed of a log that is shown up to `end`.
    pub fn new(end: Position) -> Self {
        let drawn_from = None;
        Self {
            standing: watch::Sender::new(Standing { end, drawn_from }),
            holds: Arc::default(),
        }
    }

    /// Says that versions will be drawn. To be called before the first one is.
    pub fn draw(&self, counter: &VersionCounter) {
        let from = Version(counter.current().0 + 1);
        self.standing.send_if_modified(|standing| {
            standing.drawn_from = Some(from);
            false
        });
    }

    /// Says that everything that was drawn is shown, up to here.
    pub fn show(&self, end: Position) {
        let drawn_from = None;
        self.standing.send_replace(Standing { end, drawn_from });
    }

    /// For one who follows.
    pub fn subscribe(&self) -> (watch::Receiver<Standing>, Arc<Holds>) {
        (self.standing.subscribe(), self.holds.clone())
    }

    /// The first segment that GC leaves alone, as long as this one is written.
    pub fn held_from(&self, active: SegmentId) -> SegmentId {
        let held = self.holds.lock();
        let near = held.values().filter(|id| id.0 + HELD_MAX >= active.0);
        near.min().copied().unwrap_or(active)
    }
}

/// The segments that those who follow have yet to read.
#[derive(Debug, Default)]
pub(super) struct Holds(Mutex<BTreeMap<u64, SegmentId>>);

impl Holds {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, SegmentId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps GC from the segments from one on, for as long as it lives.
#[derive(Debug)]
pub(super) struct Hold {
    holds: Arc<Holds>,
    number: u64,
    from: SegmentId,
}

impl Hold {
    pub fn new(holds: Arc<Holds>, from: SegmentId) -> Self {
        let mut all = holds.lock();
        let number = all.last_key_value().map_or(0, |(last, _)| last + 1);
        all.insert(number, from);
        drop(all);
        Self {
            holds,
            number,
            from,
        }
    }

    /// What comes before is read.
    pub fn advance(&mut self, from: SegmentId) {
        if self.from != from {
            self.from = from;
            self.holds.lock().insert(self.number, from);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.holds.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Position {
        Position {
            segment: SegmentId(1),
            offset,
        }
    }

    #[test]
    fn what_may_still_be_drawn_is_not_settled_before_it_is_shown() {
        let counter = VersionCounter::default();
        counter.raise(Version(7));
        let feed = Feed::new(at(10));
        let (standing, _holds) = feed.subscribe();
        assert_eq!(standing.borrow().settled(counter.current()), Version(7));
        feed.draw(&counter);
        assert_eq!(counter.draw(), Version(8));
        assert_eq!(standing.borrow().settled(counter.current()), Version(7));
        feed.show(at(20));
        let now = *standing.borrow();
        assert_eq!(
            (now.settled(counter.current()), now.end),
            (Version(8), at(20))
        );
    }

    #[test]
    fn gc_waits_for_the_last_of_those_that_are_near() {
        let feed = Feed::new(at(10));
        let (_standing, holds) = feed.subscribe();
        let active = SegmentId(20);
        assert_eq!(feed.held_from(active), active);
        let mut near = Hold::new(holds.clone(), SegmentId(15));
        let far = Hold::new(holds.clone(), SegmentId(11));
        let _last = Hold::new(holds, SegmentId(18));
        assert_eq!(feed.held_from(active), SegmentId(15));
        near.advance(SegmentId(19));
        drop(far);
        assert_eq!(feed.held_from(active), SegmentId(18));
    }
}
