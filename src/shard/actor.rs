//! The actor: one thread that orders a shard's writes and commits them in groups.
//!
//! Shape: a `Write` is pushed to `pending` and, for the first, the actor notifies itself with
//! `Commit`; what arrives while a group is synced forms the next one. No timers.

use super::courier::Round;
use super::error::{IndexVerdict, ShardError, outcome_unknown, refused};
use super::gc::{GcJob, GcStep};
use super::handle::{BusySince, ShardHealth};
use super::message::{Close, Commit, Cut, Gc, GcOutcome, GcSlice, ReplyTo, Sync, Write};
use super::meter::Meter;
use super::snapshot::ShardSnapshot;
use super::space::Need;
use super::store::ShardStore;
use crate::actor::end_own_thread;
use crate::log::{LogError, Purpose};
use crate::model::{Error, ErrorKind, SegmentId, ShardId};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// A group is closed at this many commands ...
const GROUP_COMMANDS_MAX: usize = 1024;
/// ... or this many bytes, whichever comes first; one command may be larger.
const GROUP_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Waiting commands; admission keeps it far below.
const MAILBOX_CAPACITY: usize = 16 * 1024;

/// Owns the shard's store. Private to this room: others hold a handle, whose actor can change.
pub(super) struct ShardActor {
    pub(super) id: ShardId,
    /// `None` once closed.
    pub(super) store: Option<ShardStore>,
    pending: VecDeque<Write>,
    health: watch::Sender<ShardHealth>,
    /// Why the shard takes no writes, once it does not.
    poison: Option<String>,
    gc: Option<GcRound>,
    pub(super) busy: Arc<BusySince>,
    meter: Arc<Meter>,
}

/// The writer is at a piece of work for as long as this lives.
pub(super) struct Busy(Arc<BusySince>);

impl Busy {
    pub fn begin(since: &Arc<BusySince>, now: Instant) -> Self {
        since.begin(now);
        Self(since.clone())
    }
}

/// A panic ends the work too: it is not a writer that hangs.
impl Drop for Busy {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A round of GC in progress.
struct GcRound {
    queue: VecDeque<SegmentId>,
    job: Option<GcJob>,
    slice_bytes: u64,
    outcome: GcOutcome,
    reply: ReplyTo<GcOutcome>,
}

impl ShardActor {
    pub fn new(
        store: ShardStore,
        health: watch::Sender<ShardHealth>,
        busy: Arc<BusySince>,
        meter: Arc<Meter>,
    ) -> Self {
        Self {
            id: store.id(),
            store: Some(store),
            pending: VecDeque::new(),
            health,
            poison: None,
            gc: None,
            busy,
            meter,
        }
    }

    /// After this, the shard refuses writes and keeps reading until the supervisor reopens it.
    pub(super) fn poison(&mut self, error: &ShardError) {
        let cause = error.to_string();
        tracing::error!(shard = %self.id, %cause, "shard is poisoned: it takes no writes until it is reopened");
        self.health.send_replace(ShardHealth::Failed {
            cause: cause.clone(),
            index: error.verdict(),
        });
        // GC writes too, and nothing may be written behind a group of unknown fate.
        if let Some(round) = self.gc.take() {
            let _ = round.reply.send(Err(refused(self.id, &cause)));
        }
        self.poison = Some(cause);
    }

    pub(super) fn refusal(&self) -> Option<Error> {
        match (&self.poison, &self.store) {
            (Some(cause), _) => Some(refused(self.id, cause)),
            (None, None) => Some(refused(self.id, "it is closed")),
            (None, Some(_)) => None,
        }
    }

    /// Takes the next group off the queue.
    fn next_group(&mut self) -> Vec<Write> {
        let mut bytes = 0;
        let mut group = Vec::new();
        while let Some(write) = self.pending.front() {
            bytes += write.command.log_size_max();
            let full = group.len() >= GROUP_COMMANDS_MAX || bytes > GROUP_BYTES_MAX;
            if full && !group.is_empty() {
                break;
            }
            group.extend(self.pending.pop_front());
        }
        group
    }

    fn commit_group(&mut self, group: Vec<Write>, started: Instant) {
        let group = match self.admit(group) {
            Ok(group) => group,
            Err(error) => return self.poison(&error),
        };
        let Some(store) = self.store.as_mut().filter(|_| !group.is_empty()) else {
            return;
        };
        for write in &group {
            let wait = started.saturating_duration_since(write.queued);
            self.meter.note_wait(wait);
        }
        let now = group
            .iter()
            .map(|write| write.now)
            .max()
            .unwrap_or_default();
        let mut permits = Vec::with_capacity(group.len());
        let mut commands = Vec::with_capacity(group.len());
        let mut replies = Vec::with_capacity(group.len());
        for Write {
            command,
            absent,
            reply,
            courier,
            _permits,
            ..
        } in group
        {
            commands.push((command, absent));
            replies.push((courier, reply));
            permits.push(_permits);
        }
        let mut round = Round::default();
        match store.execute_seen(commands, now) {
            Ok((answers, cost)) => {
                if let Some(cost) = cost {
                    self.meter.note_group(answers.len(), cost);
                }
                for ((courier, reply), answer) in replies.into_iter().zip(answers) {
                    round.add(courier, reply, Ok(answer));
                }
            }
            Err(error) => {
                let unknown = outcome_unknown(self.id, &error.to_string());
                self.poison(&error);
                for (courier, reply) in replies {
                    round.add(courier, reply, Err(unknown.clone()));
                }
            }
        }
        round.send();
    }

    /// Reserves space for the whole group; on a full disk, for what leads out of it.
    fn admit(&mut self, group: Vec<Write>) -> Result<Vec<Write>, ShardError> {
        if let Some(refusal) = self.refusal() {
            refuse(group, &refusal);
            return Ok(Vec::new());
        }
        let is_way_out = |write: &Write| write.command.frees_space();
        if group.iter().all(is_way_out) {
            return self.admit_way_out(group);
        }
        let full = match self.room_for(&group, None) {
            Ok(()) => return Ok(group),
            Err(error) if error.is_disk_full() => disk_full(self.id, &error),
            Err(error) => return fail(group, error, self.id),
        };
        let (group, others) = group.into_iter().partition(is_way_out);
        refuse(others, &full);
        self.admit_way_out(group)
    }

    /// Reserves space for commands that lead out of a full disk.
    fn admit_way_out(&mut self, group: Vec<Write>) -> Result<Vec<Write>, ShardError> {
        match self.room_for(&group, Some(Purpose::Free)) {
            Ok(()) => Ok(group),
            Err(error) if error.is_disk_full() => {
                refuse(group, &disk_full(self.id, &error));
                Ok(Vec::new())
            }
            Err(error) => fail(group, error, self.id),
        }
    }

    fn room_for(&mut self, group: &[Write], way_out: Option<Purpose>) -> Result<(), ShardError> {
        let Some(store) = self.store.as_mut().filter(|_| !group.is_empty()) else {
            return Ok(());
        };
        let commands = group.iter().map(|write| &write.command);
        let need = Need::of(commands, store.inline_max());
        store.reserve_for(need, way_out)
    }

    /// One slice of GC; whether there is more to do.
    fn gc_slice(&mut self) -> bool {
        let (Some(round), Some(store)) = (self.gc.as_mut(), self.store.as_mut()) else {
            return false;
        };
        let stepped = step(round, store);
        match stepped {
            Ok(true) => return true,
            Ok(false) => {
                if let Some(round) = self.gc.take() {
                    let _ = round.reply.send(Ok(round.outcome));
                }
            }
            Err(error) => {
                let round = self.gc.take();
                // A full disk stops this round; the shard itself is well.
                if matches!(error, ShardError::Log(LogError::Full { .. })) {
                    tracing::error!(shard = %self.id, %error, "segment gc stopped");
                } else {
                    self.poison(&error);
                }
                // Whoever is told finds the shard failed.
                if let Some(round) = round {
                    let _ = round.reply.send(Err(error.to_public(self.id)));
                }
            }
        }
        false
    }
}

/// Goes on with the current segment or starts the next; whether there is more to do.
fn step(round: &mut GcRound, store: &mut ShardStore) -> Result<bool, ShardError> {
    fail::fail_point!("shard::gc", |_| Err(ShardError::Contradiction(
        "injected by a fail point".into()
    )));
    let Some(job) = round.job.as_mut() else {
        let Some(id) = round.queue.pop_front() else {
            return Ok(false);
        };
        round.job = store.gc_start(id)?;
        return Ok(true);
    };
    let stepped = match store.gc_slice(job, round.slice_bytes) {
        // One damaged segment must not keep the others from being collected.
        Err(ShardError::Log(error @ LogError::Damaged { .. })) => {
            tracing::error!(segment = %job.id(), %error, "segment gc leaves a damaged segment as it is");
            round.outcome.damaged.push(job.id());
            round.job = None;
            return Ok(true);
        }
        stepped => stepped?,
    };
    match stepped {
        GcStep::More => return Ok(true),
        GcStep::Pinned => round.outcome.pinned.push(job.id()),
        GcStep::Done => round.outcome.removed.push(job.id()),
    }
    round.job = None; // It holds the file, and thereby its space.
    store.refill_reserve();
    Ok(true)
}

fn refuse(group: Vec<Write>, error: &Error) {
    for write in group {
        let _ = write.reply.send(Err(error.clone()));
    }
}

/// Nothing of the group was written, but the shard is no longer sound.
fn fail(group: Vec<Write>, error: ShardError, id: ShardId) -> Result<Vec<Write>, ShardError> {
    refuse(group, &refused(id, &error.to_string()));
    Err(error)
}

pub(super) fn disk_full(id: ShardId, error: &ShardError) -> Error {
    let message = format!(
        "shard {id}: {error}; writes return by themselves when there is room, deletes work"
    );
    Error::new(ErrorKind::DiskFull, "DISK_FULL", message)
}

impl Actor for ShardActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_CAPACITY);
    }
}

/// A panic drops the actor without closing it: that is how the supervisor learns of it.
impl Drop for ShardActor {
    fn drop(&mut self) {
        if self.store.is_some() && self.poison.is_none() {
            let cause = "its actor panicked".to_owned();
            tracing::error!(shard = %self.id, "shard actor panicked");
            self.health.send_replace(ShardHealth::Failed {
                cause,
                index: IndexVerdict::Sound,
            });
        }
        end_own_thread();
    }
}

impl Handler<Write> for ShardActor {
    type Result = ();

    fn handle(&mut self, write: Write, ctx: &mut Self::Context) {
        fail::fail_point!("shard::write");
        if self.pending.is_empty() {
            ctx.notify(Commit);
        }
        self.pending.push_back(write);
    }
}

impl Handler<Commit> for ShardActor {
    type Result = ();

    fn handle(&mut self, _: Commit, ctx: &mut Self::Context) {
        fail::fail_point!("shard::commit");
        fail::fail_point!(&format!("shard::commit::{}", self.id));
        let started = Instant::now();
        let busy = Busy::begin(&self.busy, started);
        let group = self.next_group();
        self.commit_group(group, started);
        drop(busy);
        if !self.pending.is_empty() {
            ctx.notify(Commit);
        }
    }
}

impl Handler<Cut> for ShardActor {
    type Result = ();

    /// A shard that waits to be reopened still reads, but a cut promises that what it shows is
    /// durable, so it takes no part.
    fn handle(&mut self, cut: Cut, _: &mut Self::Context) {
        fail::fail_point!("shard::cut");
        if let Some(refusal) = self.refusal() {
            let _ = cut.reply.send(Err(refusal));
            return;
        }
        let Some(store) = self.store.as_mut() else {
            return;
        };
        let busy = Busy::begin(&self.busy, Instant::now());
        let synced = store.sync();
        drop(busy);
        if let Err(error) = synced {
            self.poison(&error);
            let _ = cut.reply.send(Err(error.to_public(self.id)));
            return;
        }
        let snapshot = ShardSnapshot::take(&store.reader());
        let answer = if cut.gate.park() {
            Ok(snapshot)
        } else {
            let message = "a consistent cut needs every shard, and one did not come in time; retry";
            Err(Error::unavailable("CUT_FAILED", message))
        };
        let _ = cut.reply.send(answer);
    }
}

impl Handler<Sync> for ShardActor {
    type Result = ();

    fn handle(&mut self, message: Sync, _: &mut Self::Context) {
        fail::fail_point!("shard::sync");
        let answer = match (self.refusal(), self.store.as_mut()) {
            (None, Some(store)) => {
                let _busy = Busy::begin(&self.busy, Instant::now());
                store.sync()
            }
            (refusal, _) => {
                let _ = message.reply.send(Err(
                    refusal.unwrap_or_else(|| refused(self.id, "it is closed"))
                ));
                return;
            }
        };
        if let Err(error) = &answer {
            self.poison(error);
        }
        let _ = message
            .reply
            .send(answer.map_err(|error| error.to_public(self.id)));
    }
}

impl Handler<Gc> for ShardActor {
    type Result = ();

    fn handle(&mut self, message: Gc, ctx: &mut Self::Context) {
        fail::fail_point!("shard::gc_begin");
        let (None, Some(store), None) = (self.refusal(), self.store.as_ref(), self.gc.as_ref())
        else {
            let busy = Error::unavailable(
                "GC_BUSY",
                "segment gc cannot run now: one is running, or the shard takes no writes",
            );
            let _ = message.reply.send(Err(busy));
            return;
        };
        self.gc = Some(GcRound {
            queue: store.gc_candidates(message.live_threshold).into(),
            job: None,
            slice_bytes: message.slice_bytes,
            outcome: GcOutcome::default(),
            reply: message.reply,
        });
        ctx.notify(GcSlice);
    }
}

impl Handler<GcSlice> for ShardActor {
    type Result = ();

    /// One slice, then back into the queue behind whatever users have sent meanwhile.
    fn handle(&mut self, _: GcSlice, ctx: &mut Self::Context) {
        let busy = Busy::begin(&self.busy, Instant::now());
        let more = self.gc_slice();
        drop(busy);
        if more {
            ctx.notify(GcSlice);
        }
    }
}

impl Handler<Close> for ShardActor {
    type Result = ();

    fn handle(&mut self, message: Close, ctx: &mut Self::Context) {
        fail::fail_point!("shard::close");
        while self.poison.is_none() && !self.pending.is_empty() {
            let group = self.next_group();
            self.commit_group(group, Instant::now());
        }
        refuse(
            std::mem::take(&mut self.pending).into(),
            &refused(self.id, "it is closing"),
        );
        self.gc = None;
        let closed = match (self.store.take(), &self.poison) {
            (Some(store), None) => store.close().map_err(|error| error.to_public(self.id)),
            _ => Ok(()),
        };
        self.health.send_replace(ShardHealth::Closed);
        let _ = message.reply.send(closed);
        ctx.stop();
    }
}
