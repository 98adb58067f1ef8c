//! Transactions that a crash left undecided, resolved by all shards of a store together.
//!
//! # The rule
//! A transaction that was prepared durably in every shard that takes part is committed; one that was
//! not is given up. Its prepare is the last frame of a log until its decision follows, so an
//! undecided one is found at the log's end, holds back the index's `applied`, and is resolved before
//! the shard serves. Every shard asks the same logs, as the start found them, and so finds the same.
//!
//! # What fails where
//! | crash | durable fact | every shard finds |
//! |---|---|---|
//! | before the last prepare is synced | fewer prepares than participants | given up; nobody was answered |
//! | after it | all prepares, or a decision | committed |
//! | while shards resolve | decisions in some of them | what those say |
//!
//! While the process lives, its memory knows what was decided until every shard that took part has
//! its decision on the disk: a shard that failed in between and is opened again asks here, not the
//! logs of its neighbours, which go on meanwhile.
//!
//! A shard whose log cannot be read may hold the missing prepare: who needs it does not serve until
//! it is back, and no shard's GC removes a segment with a frame of a transaction meanwhile.

use super::error::ShardError;
use crate::codec::Membership;
use crate::log::{LogExtent, Vote};
use crate::model::{ShardId, Version};
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long a shard waits for the logs of its neighbours, which are opened at the same time.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the shards of one store tell each other while they open.
#[derive(Debug)]
pub struct Transactions {
    shards: Mutex<Vec<Neighbour>>,
    changed: Condvar,
    /// Transactions of this process that are decided, and not yet in every log.
    unended: Mutex<BTreeMap<u64, Unended>>,
}

/// A decision that some shards may not have on the disk yet.
#[derive(Debug)]
struct Unended {
    committed: bool,
    shards: Vec<ShardId>,
}

/// A shard as the others see it.
#[derive(Debug, Clone, Default)]
struct Neighbour {
    /// It is on its way.
    awaited: bool,
    /// Its log; forgotten once nobody can ask for it any more.
    log: Option<LogExtent>,
    /// Nothing in it is undecided.
    resolved: bool,
}

impl Transactions {
    /// For a store whose shards are all opened at the same time.
    #[must_use]
    pub fn new(shards: u16) -> Self {
        Self::of(shards, true)
    }

    /// For tools that open one shard after the other: nobody waits for a neighbour.
    #[must_use]
    pub fn one_by_one(shards: u16) -> Self {
        Self::of(shards, false)
    }

    fn of(shards: u16, awaited: bool) -> Self {
        let neighbour = Neighbour {
            awaited,
            ..Neighbour::default()
        };
        Self {
            shards: Mutex::new(vec![neighbour; usize::from(shards)]),
            changed: Condvar::new(),
            unended: Mutex::default(),
        }
    }

    /// A shard's log is open, and all of it is durable.
    pub(super) fn log_opened(&self, shard: ShardId, log: LogExtent) {
        let unresolved = |it: &mut Neighbour| !it.resolved;
        self.change(shard, |it| it.log = Some(log).filter(|_| unresolved(it)));
    }

    /// A shard does not open for now.
    pub(super) fn not_opened(&self, shard: ShardId) {
        self.change(shard, |_| {});
    }

    /// Nothing is undecided in a shard, durably.
    pub(super) fn resolved(&self, shard: ShardId) {
        self.end(shard, |_| true);
        self.change(shard, |it| it.resolved = true);
        let mut shards = self.lock();
        if shards.iter().all(|it| it.resolved) {
            shards.iter_mut().for_each(|it| it.log = None);
        }
    }

    /// Whether a shard may yet ask what became of a transaction.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.lock().iter().any(|it| !it.resolved) || !self.decisions().is_empty()
    }

    /// What became of a transaction, before any of these shards acts on it.
    pub(super) fn decided(&self, transaction: Version, committed: bool, shards: Vec<ShardId>) {
        let decision = Unended { committed, shards };
        self.decisions().insert(transaction.0, decision);
    }

    /// A shard has the decision in its log, durably, or no part of the transaction.
    pub(super) fn ended(&self, transaction: Version, shard: ShardId) {
        self.end(shard, |it| it == transaction.0);
    }

    fn end(&self, shard: ShardId, is_meant: impl Fn(u64) -> bool) {
        self.decisions().retain(|transaction, it| {
            if is_meant(*transaction) {
                it.shards.retain(|unended| *unended != shard);
            }
            !it.shards.is_empty()
        });
    }

    fn decisions(&self) -> MutexGuard<'_, BTreeMap<u64, Unended>> {
        let unended = self.unended.lock();
        unended.expect("no code panics while it holds this lock")
    }

    /// Whether a transaction that was prepared here is committed.
    ///
    /// # Errors
    /// `Undecided` when that needs the log of a shard that does not open; `Log` when one cannot be
    /// read.
    pub(super) fn is_committed(&self, prepared: Membership) -> Result<bool, ShardError> {
        if let Some(decision) = self.decisions().get(&prepared.transaction) {
            return Ok(decision.committed);
        }
        let logs = self.logs();
        let mut prepares = 0;
        let mut unread = None;
        for (shard, log) in logs {
            match log.map(|log| log.vote(prepared.transaction)).transpose()? {
                Some(Vote::Committed) => return Ok(true),
                Some(Vote::Aborted) => return Ok(false),
                Some(Vote::Prepared) => prepares += 1,
                Some(Vote::Nothing) => {}
                None => unread = Some(shard),
            }
        }
        match unread {
            _ if prepares >= prepared.participants => Ok(true),
            None => Ok(false),
            Some(needed) => Err(ShardError::Undecided {
                transaction: prepared.transaction,
                needed,
            }),
        }
    }

    /// The logs of all shards, once each has opened or failed to, or has taken too long.
    fn logs(&self) -> Vec<(ShardId, Option<LogExtent>)> {
        let deadline = Instant::now() + PATIENCE;
        let mut shards = self.lock();
        while shards.iter().any(|it| it.awaited)
            && let Some(left) = deadline.checked_duration_since(Instant::now())
        {
            let waited = self.changed.wait_timeout(shards, left);
            shards = waited.expect("no code panics while it holds this lock").0;
        }
        let numbered = (0..).map(ShardId).zip(shards.iter());
        numbered.map(|(id, it)| (id, it.log.clone())).collect()
    }

    fn change(&self, shard: ShardId, change: impl FnOnce(&mut Neighbour)) {
        if let Some(neighbour) = self.lock().get_mut(usize::from(shard.0)) {
            neighbour.awaited = false;
            change(neighbour);
        }
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Neighbour>> {
        let shards = self.shards.lock();
        shards.expect("no code panics while it holds this lock")
    }
}
