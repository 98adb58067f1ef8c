//! How the shards of a batch come to one result: the gate at which their actors stand.
//!
//! # The steps
//! Each actor that takes part goes through them in its own thread, and stands at the gate after each
//! until all have come, or one has failed:
//!
//! | step | each shard | when all have |
//! |---|---|---|
//! | judge | asks its tests of its records, which stay as they are from now on | one list is to be done |
//! | plan | plans its part of it and takes the room for it | the version is drawn, if anything changes |
//! | prepare | appends its part and syncs | it is committed |
//! | decide | appends the decision behind it and syncs | no reader looks into any of these shards |
//! | show | puts its rows into its index | readers look again |
//!
//! A shard without changes stands until the end, so that what it was asked stays true. If only one
//! has changes, they are a group like any other there. What a crash leaves is resolved by
//! `transactions`; what a failure of one shard leaves, here: before all have prepared it gives the
//! batch up everywhere, and who has prepared logs that. Afterwards the batch is committed, the others
//! go on, and the shard that failed answers no reader until it is open again and shows its part.
//!
//! # Why nobody waits for ever
//! A shard is at one gate at a time (the router sees to it), so gates do not wait for each other. An
//! actor that panics or fails leaves the gate by dropping its [`Seat`]. Up to the commit there is a
//! deadline for all; after it only disks are waited for, and the process ends when one of them hangs
//! for too long.

use super::batch::{Judgement, Refusal};
use super::error::outcome_unknown;
use super::showing::Showing;
use super::transactions::Transactions;
use crate::model::{Error, Result, ShardId, Version, VersionCounter};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The gate of one batch.
#[derive(Debug)]
pub struct Ballot {
    seats: usize,
    deadline: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    judged: usize,
    judgement: Option<Judgement>,
    planned: usize,
    writers: Vec<Writer>,
    version: Option<Version>,
    prepared: usize,
    decided: usize,
    shown: usize,
    /// Why nothing was done.
    end: Option<End>,
}

/// A shard with changes.
#[derive(Debug, Clone)]
struct Writer {
    shard: ShardId,
    showing: Arc<Showing>,
    transactions: Arc<Transactions>,
}

#[derive(Debug, Clone)]
enum End {
    Overtaken,
    Refused(ShardId, Refusal),
    GivenUp(Error),
}

/// What became of a batch over several shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// One of its lists was done.
    Done {
        /// Whether every test held.
        succeeded: bool,
        /// The version of all changes, if there are any.
        version: Option<Version>,
    },
    /// Nothing was done: a test rests on a record that is not there any more.
    Overtaken,
    /// Nothing was done: a put may not replace what is there.
    Refused {
        /// The shard of its key.
        shard: ShardId,
        /// Whether every test held.
        succeeded: bool,
        /// Which operation of the shard's part.
        operation: usize,
        /// The version of the key's live record.
        found: Option<Version>,
    },
}

/// How far one shard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Judge,
    Plan,
    Prepare,
    Decide,
    Show,
    Done,
}

/// What all have planned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Agreed {
    pub version: Version,
    /// Shards with changes.
    pub writers: usize,
}

/// One shard's place at the gate. Dropped before its end it counts as a failure of the shard.
#[derive(Debug)]
pub(super) struct Seat {
    ballot: Arc<Ballot>,
    shard: ShardId,
    step: Step,
    /// For a shard with changes.
    writer: Option<Writer>,
}

impl Ballot {
    /// A gate for so many shards, at most 255, that nobody waits at longer than `patience` before
    /// the batch is committed.
    #[must_use]
    pub fn new(seats: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            seats,
            deadline: Instant::now() + patience,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Gives the batch up, unless it is committed or over.
    pub fn give_up(&self, why: Error) {
        self.end(&mut self.lock(), End::GivenUp(why));
    }

    /// What became of it, once every shard has left.
    ///
    /// # Errors
    /// Why it was given up.
    pub fn outcome(&self) -> Result<Outcome> {
        let state = self.lock();
        let succeeded = state.judgement == Some(Judgement::Holds);
        match state.end.clone() {
            None => Ok(Outcome::Done {
                succeeded,
                version: state.version,
            }),
            Some(End::Overtaken) => Ok(Outcome::Overtaken),
            Some(End::Refused(shard, Refusal { operation, found })) => Ok(Outcome::Refused {
                shard,
                succeeded,
                operation,
                found,
            }),
            Some(End::GivenUp(why)) => Err(why),
        }
    }

    fn end(&self, state: &mut State, end: End) {
        if state.is_over() || state.end.is_some() {
            return;
        }
        if let Some(version) = state.version {
            state.note_decision(version, false);
        }
        state.end = Some(end);
        self.changed.notify_all();
    }

    /// Waits for a step of all, at most until the deadline; whether it came about.
    fn wait_in_time<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        done: impl Fn(&State) -> bool,
    ) -> (MutexGuard<'a, State>, bool) {
        self.changed.notify_all();
        while !done(&state) && state.end.is_none() {
            let Some(left) = self.deadline.checked_duration_since(Instant::now()) else {
                let why = late(state.version.is_some());
                self.end(&mut state, End::GivenUp(why));
                break;
            };
            let waited = self.changed.wait_timeout(state, left);
            state = waited.expect("no code panics while it holds this lock").0;
        }
        let came_about = state.end.is_none();
        (state, came_about)
    }

    fn wait(&self, mut state: MutexGuard<'_, State>, done: impl Fn(&State) -> bool) {
        self.changed.notify_all();
        while !done(&state) && state.end.is_none() {
            let waited = self.changed.wait(state);
            state = waited.expect("no code panics while it holds this lock");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.state.lock();
        state.expect("no code panics while it holds this lock")
    }
}

fn late(may_be_on_disk: bool) -> Error {
    let (reason, what) = match may_be_on_disk {
        true => (
            "OUTCOME_UNKNOWN",
            "the outcome of this batch is unknown; read its keys before you retry",
        ),
        false => ("BATCH_TIMEOUT", "nothing has changed; retry"),
    };
    let message = format!("a shard of this batch did not come in time: {what}");
    Error::unavailable(reason, message)
}

impl State {
    /// Committed, or nothing to commit: there is no way back.
    fn is_over(&self) -> bool {
        match self.writers.len() {
            _ if self.version.is_none() => false,
            1 => self.shown == 1,
            writers => self.prepared == writers,
        }
    }

    /// What the process remembers of a transaction until every log has it.
    fn note_decision(&self, version: Version, committed: bool) {
        let shards: Vec<ShardId> = self.writers.iter().map(|it| it.shard).collect();
        if let [first, _, ..] = &self.writers[..] {
            first.transactions.decided(version, committed, shards);
        }
    }

    fn note_decided(&mut self) {
        self.decided += 1;
        if self.decided == self.writers.len() {
            fail::fail_point!("transaction::unhidden", |_| ());
            self.writers.iter().for_each(|it| it.showing.begin());
        }
    }

    fn note_shown(&mut self) {
        self.shown += 1;
        if self.shown == self.writers.len() && self.decided == self.shown {
            self.writers.iter().for_each(|it| it.showing.end());
        }
    }
}

impl Seat {
    pub fn new(ballot: Arc<Ballot>, shard: ShardId) -> Self {
        Self {
            ballot,
            shard,
            step: Step::Judge,
            writer: None,
        }
    }

    /// What this shard's tests say; whether all tests of all shards hold. `None` when the batch is
    /// over, as from the steps below.
    pub fn judge(&mut self, judgement: Judgement) -> Option<bool> {
        let mut state = self.ballot.lock();
        state.judged += 1;
        state.judgement = state.judgement.max(Some(judgement));
        if state.judgement == Some(Judgement::Overtaken) {
            self.ballot.end(&mut state, End::Overtaken);
        }
        let seats = self.ballot.seats;
        let (state, all) = self.ballot.wait_in_time(state, |it| it.judged == seats);
        self.step = Step::Plan;
        all.then_some(state.judgement == Some(Judgement::Holds))
    }

    /// This shard's part is planned, and there is room for it. The version that all changes take,
    /// unless there are none.
    pub fn plan(
        &mut self,
        changes: Option<(&Arc<Showing>, &Arc<Transactions>)>,
        counter: &VersionCounter,
    ) -> Option<Option<Agreed>> {
        self.writer = changes.map(|(showing, transactions)| Writer {
            shard: self.shard,
            showing: showing.clone(),
            transactions: transactions.clone(),
        });
        let mut state = self.ballot.lock();
        state.writers.extend(self.writer.clone());
        state.planned += 1;
        let seats = self.ballot.seats;
        if state.planned == seats && state.end.is_none() && !state.writers.is_empty() {
            state.version = Some(counter.draw());
        }
        let (state, all) = self.ballot.wait_in_time(state, |it| it.planned == seats);
        let writers = state.writers.len();
        let agreed = state.version.map(|version| Agreed { version, writers });
        all.then_some(agreed)
    }

    /// This shard begins to write its part.
    pub fn begin(&mut self) {
        self.step = Step::Prepare;
    }

    /// This shard's part is on the disk; whether the batch is committed.
    pub fn prepared(&mut self) -> bool {
        let mut state = self.ballot.lock();
        if state.end.is_none() {
            state.prepared += 1;
        }
        if state.end.is_none()
            && state.is_over()
            && let Some(version) = state.version
        {
            state.note_decision(version, true);
        }
        let (state, committed) = self.ballot.wait_in_time(state, State::is_over);
        drop(state);
        self.step = if committed { Step::Decide } else { Step::Done };
        committed
    }

    /// The decision is in this shard's log. When it is in all, no reader looks.
    pub fn decided(&mut self) {
        let mut state = self.ballot.lock();
        state.note_decided();
        self.step = Step::Show;
        self.ballot.wait(state, |it| it.decided == it.writers.len());
    }

    /// This shard's rows are in its index. When they are in all, readers look again.
    pub fn shown(mut self) {
        let mut state = self.ballot.lock();
        state.note_shown();
        self.step = Step::Done;
        self.ballot.wait(state, |it| it.shown == it.writers.len());
    }

    /// This shard has nothing to change, and stays as it is until the others have.
    pub fn stand(mut self) {
        let state = self.ballot.lock();
        self.step = Step::Done;
        self.ballot.wait(state, |it| it.shown == it.writers.len());
    }

    /// A put of this shard's part may not replace what is there.
    pub fn refuse(mut self, refusal: Refusal) {
        let end = End::Refused(self.shard, refusal);
        self.ballot.end(&mut self.ballot.lock(), end);
        self.step = Step::Done;
    }

    /// Gives the batch up.
    pub fn give_up(&self, why: Error) {
        self.ballot.give_up(why);
    }

    /// What is said of a shard that left without a word.
    fn loss(&self) -> Error {
        if self.has_begun() {
            return outcome_unknown(self.shard, "its part of a batch was lost");
        }
        let message = format!(
            "shard {} failed before a batch began: nothing has changed; retry",
            self.shard
        );
        Error::unavailable("SHARD_FAILED", message)
    }

    /// Whether some of this shard's part may be on the disk.
    pub fn has_begun(&self) -> bool {
        self.step >= Step::Prepare
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.ballot.lock();
        let committed = state.is_over() && state.end.is_none();
        if committed && self.step < Step::Done {
            // The others go on; who reads here is sent away until the shard is open again.
            if let Some(writer) = &self.writer {
                writer.showing.give_up();
                if self.step <= Step::Decide {
                    state.note_decided();
                }
                state.note_shown();
            }
        } else if self.step < Step::Done {
            self.ballot.end(&mut state, End::GivenUp(self.loss()));
        }
        if let (Some(writer), Some(version)) = (&self.writer, state.version)
            && self.step < Step::Prepare
        {
            writer.transactions.ended(version, self.shard);
        }
        self.ballot.changed.notify_all();
    }
}
