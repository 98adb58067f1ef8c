//! The changes of all shards in the order of their versions.
//!
//! Each shard says up to which version everything of it is known (see `shard::feed`). What lies at
//! or below that in all of them is given out, lowest version first; nothing lower can follow. Named
//! as a place to go on from are only versions that are in a log, so that no later start issues them
//! again: those of changes that were given out, and those that something else has taken meanwhile, a
//! namespace or a snapshot.

use super::Router;
use crate::model::{Result, Version};
use crate::shard::{Change, Follower};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Changes of one shard that are read ahead; the rest of their group comes on top.
const AHEAD_MAX: usize = 256;

/// A watch over all shards.
#[derive(Debug)]
pub struct Watch {
    router: Router,
    lanes: Vec<Lane>,
    /// Every change up to here was given out.
    version: Version,
}

/// One shard of a watch.
#[derive(Debug)]
struct Lane {
    follower: Follower,
    queue: VecDeque<Change>,
}

impl Router {
    /// All changes after a version, as they come.
    ///
    /// # Errors
    /// `Conflict` (`WATCH_COMPACTED`) when they are no longer all there; `Unavailable` when a shard
    /// does not serve.
    pub fn watch(&self, after: Version) -> Result<Watch> {
        let lane = |shard: &std::sync::Arc<crate::shard::ShardHandle>| {
            Ok(Lane {
                follower: shard.reader()?.follow(after)?,
                queue: VecDeque::new(),
            })
        };
        Ok(Watch {
            router: self.clone(),
            lanes: self.shards.iter().map(lane).collect::<Result<_>>()?,
            version: after,
        })
    }
}

impl Watch {
    /// Every change up to this version was given out.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Waits until a shard has shown something new.
    pub async fn changed(&mut self) {
        let changed = self.lanes.iter_mut().map(|lane| lane.follower.changed());
        first_of(changed.map(|it| Box::pin(it) as Pin<Box<_>>).collect()).await;
    }

    /// The next changes, lowest version first; all of a version or none. None when there is nothing
    /// new: then the watch is as far as the logs are. Reads the logs: may wait for the disk.
    ///
    /// # Errors
    /// As [`Follower::read_on`].
    pub fn read_on(&mut self, count_max: usize) -> Result<Vec<Change>> {
        let settled = self.read_lanes()?;
        let mut changes: Vec<Change> = Vec::new();
        while let Some(lane) = self.lowest(settled) {
            let is_whole = |change: &Change| change.version != self.version;
            let next = self.lanes[lane].queue.front();
            if changes.len() >= count_max && next.is_some_and(is_whole) {
                break;
            }
            changes.extend(self.lanes[lane].queue.pop_front());
            self.version = changes.last().map_or(self.version, |change| change.version);
        }
        if changes.is_empty() {
            let logged = self.lanes.iter().map(|lane| lane.follower.logged()).max();
            self.version = self.version.max(settled.min(logged.unwrap_or(settled)));
        }
        Ok(changes)
    }

    /// Reads on in all lanes. Returns up to which version every change is in a queue, or was.
    ///
    /// What a shard shows after the counter was read may stand above it, so it is not settled; but it
    /// was read, and nobody wakes the watch for it once more. Where nothing else is to be given out,
    /// the counter is read again.
    fn read_lanes(&mut self) -> Result<Version> {
        loop {
            let counter = self.router.counter.current();
            let mut settled = counter;
            for lane in &mut self.lanes {
                let Lane {
                    follower, queue, ..
                } = lane;
                settled = settled.min(follower.read_on(counter, queue, AHEAD_MAX)?);
            }
            let is_above = |lane: &Lane| {
                let next = lane.queue.front().map(|change| change.version);
                next.max(Some(lane.follower.logged())) > Some(counter)
            };
            if self.lowest(settled).is_some() || !self.lanes.iter().any(is_above) {
                return Ok(settled);
            }
        }
    }

    /// The lane whose next change has the lowest version, if that is settled.
    fn lowest(&self, settled: Version) -> Option<usize> {
        let heads = self.lanes.iter().enumerate();
        let heads = heads.filter_map(|(at, lane)| Some((lane.queue.front()?.version, at)));
        let (version, lane) = heads.min()?;
        (version <= settled).then_some(lane)
    }
}

/// Resolves with the first of these.
async fn first_of(mut all: Vec<Pin<Box<impl Future<Output = ()>>>>) {
    poll_fn(|cx| {
        let ready = all.iter_mut().any(|one| one.as_mut().poll(cx).is_ready());
        if ready {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
