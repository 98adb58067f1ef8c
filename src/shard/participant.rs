//! A shard's actor at the gate of a batch over several shards.

use super::actor::{Busy, ShardActor, disk_full};
use super::ballot::{Agreed, Ballot, Seat};
use super::batch::Changes;
use super::commit::Rows;
use super::error::{ShardError, outcome_unknown, refused};
use super::handle::{BusySince, ShardHandle};
use super::message::ReplyTo;
use super::prepare::Prepared;
use super::space::Need;
use super::store::{Forget, ShardStore};
use crate::codec::FRAME_HEADER_SIZE;
use crate::log::Purpose;
use crate::model::{Batch, Operation, Reply, Result, Timestamp};
use actix::{Handler, Message};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;

/// Frames of a part beside its own: a dictionary's and the decision, with the word that ends it.
const FRAMES_SIZE: u64 = 3 * FRAME_HEADER_SIZE as u64 + 128;

/// One shard's part of a batch.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct TakePart {
    part: Batch,
    now: Timestamp,
    seat: Seat,
    reply: ReplyTo<Vec<Reply>>,
    _permits: Admitted,
}

/// Admission of a part; given back when it is done.
#[derive(Debug)]
pub struct Admitted(#[allow(dead_code, reason = "held, not read")] [OwnedSemaphorePermit; 2]);

impl ShardHandle {
    /// Takes the permits for a part of a batch. Those who need several shards come in their order.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn admit_part(&self, part: &Batch) -> Result<Admitted> {
        self.admit(part.log_size_max()).await.map(Admitted)
    }

    /// Takes part in a batch: what each operation of the list that was done did; nothing when none
    /// was. The caller keeps this shard from every other gate meanwhile.
    ///
    /// # Errors
    /// `Unavailable`; what became of the batch is known to the ballot.
    pub async fn take_part(
        &self,
        ballot: &Arc<Ballot>,
        part: Batch,
        now: Timestamp,
        permits: Admitted,
    ) -> Result<Vec<Reply>> {
        let seat = Seat::new(ballot.clone(), self.id());
        self.ask(|reply| TakePart {
            part,
            now,
            seat,
            reply,
            _permits: permits,
        })
        .await
    }
}

/// A shard at the gate.
struct Participant<'a> {
    store: &'a mut ShardStore,
    busy: Arc<BusySince>,
    now: Timestamp,
    /// Why the shard failed although the batch is committed.
    failed: Option<ShardError>,
}

impl Handler<TakePart> for ShardActor {
    type Result = ();

    fn handle(&mut self, message: TakePart, _: &mut Self::Context) {
        let TakePart {
            part,
            now,
            seat,
            reply,
            _permits,
        } = message;
        fail::fail_point!("transaction::begun");
        let (None, Some(store)) = (self.refusal(), self.store.as_mut()) else {
            let closed = || refused(self.id, "it is closed");
            let refusal = self.refusal().unwrap_or_else(closed);
            seat.give_up(refusal.clone());
            let _ = reply.send(Err(refusal));
            return;
        };
        let mut participant = Participant {
            store,
            busy: self.busy.clone(),
            now,
            failed: None,
        };
        let done = participant.run(seat, part);
        let failed = participant.failed.take();
        let answer = match done {
            Ok(results) => {
                if let Some(error) = failed {
                    self.poison(&error);
                }
                Ok(results)
            }
            Err(error) => {
                self.poison(&error);
                Err(outcome_unknown(self.id, &error.to_string()))
            }
        };
        let _ = reply.send(answer);
    }
}

impl Participant<'_> {
    /// Work that waits for nobody but the disk.
    fn busy<T>(&mut self, work: impl FnOnce(&mut ShardStore) -> T) -> T {
        let _busy = Busy::begin(&self.busy, Instant::now());
        work(self.store)
    }

    fn need(&self, part: &Batch) -> Need {
        Need {
            log: part.log_size_max() + FRAMES_SIZE,
            rows: part.rows_size_max(self.store.inline_max()),
        }
    }

    /// Goes through all steps. An error means that the shard is to be opened again; the seat has
    /// told the others by then.
    fn run(&mut self, mut seat: Seat, part: Batch) -> Result<Vec<Reply>, ShardError> {
        let now = self.now;
        let need = self.need(&part);
        let judged = self.busy(|store| store.judge(&part.tests, now));
        let judgement = self.told(&seat, judged)?;
        fail::fail_point!("transaction::judged");
        let Some(succeeded) = seat.judge(judgement) else {
            return Ok(Vec::new());
        };
        let operations = part.branch(succeeded);
        let frees_space = operations.iter().all(Operation::frees_space);
        let way_out = frees_space.then_some(Purpose::Free);
        let reserved = self.busy(|store| store.reserve_for(need, way_out));
        match reserved {
            Err(full) if full.is_disk_full() => {
                seat.give_up(disk_full(self.store.id(), &full));
                return Ok(Vec::new());
            }
            reserved => self.told(&seat, reserved)?,
        }
        let planned = self.busy(|store| store.plan_part(operations, now));
        let (mut changes, rows) = match self.told(&seat, planned)? {
            Ok(planned) => planned,
            Err(refusal) => {
                seat.refuse(refusal);
                return Ok(Vec::new());
            }
        };
        if changes.is_empty() {
            if seat.plan(None, &self.store.options.counter).is_none() {
                return Ok(Vec::new());
            }
            seat.stand();
            return Ok(changes.results);
        }
        let is_ready = self.busy(|store| store.ready_to_draw(&changes.records, now));
        self.told(&seat, is_ready)?;
        let shared = (&self.store.showing, &self.store.options.transactions);
        let planned = seat.plan(Some(shared), &self.store.options.counter);
        let Some(Some(agreed)) = planned else {
            self.store.nothing_drawn();
            return Ok(Vec::new());
        };
        changes.stamp(agreed.version);
        self.write(seat, changes, rows, agreed)
    }

    /// Commits this shard's changes with those of the others, or alone if there are no others.
    fn write(
        &mut self,
        mut seat: Seat,
        changes: Changes,
        rows: Rows,
        agreed: Agreed,
    ) -> Result<Vec<Reply>, ShardError> {
        let Changes { records, results } = changes;
        let now = self.now;
        seat.begin();
        fail::fail_point!("transaction::planned");
        fail::fail_point!(&format!("transaction::planned::{}", self.store.id()));
        if agreed.writers == 1 {
            let committed = self.busy(|store| store.commit(records, rows, Forget::default(), now));
            self.told(&seat, committed)?;
            seat.shown();
            return Ok(results);
        }
        let transaction = (agreed.version, agreed.writers);
        let prepared = self.busy(|store| store.prepare(records, rows, transaction, now));
        let prepared = self.told(&seat, prepared)?;
        fail::fail_point!("transaction::prepared");
        if !seat.prepared() {
            self.busy(|store| store.abandon(&prepared))?;
            return Ok(Vec::new());
        }
        // It is committed: what fails from here on costs this shard its opening and nobody else.
        self.failed = self.finish(seat, prepared).err();
        Ok(results)
    }

    fn finish(&mut self, mut seat: Seat, prepared: Prepared) -> Result<(), ShardError> {
        fail::fail_point!("transaction::committed");
        fail::fail_point!(
            &format!("transaction::committed::{}", self.store.id()),
            |_| Err(super::store::crashed("the commit of a batch"))
        );
        self.busy(|store| store.decide(&prepared))?;
        fail::fail_point!("transaction::decided");
        seat.decided();
        fail::fail_point!("transaction::hidden");
        self.busy(|store| store.show_part(prepared))?;
        fail::fail_point!("transaction::shown");
        seat.shown();
        Ok(())
    }

    /// Lets the others know of a failure of this shard.
    fn told<T>(&self, seat: &Seat, done: Result<T, ShardError>) -> Result<T, ShardError> {
        done.inspect_err(|error| {
            let id = self.store.id();
            seat.give_up(match seat.has_begun() {
                true => outcome_unknown(id, &error.to_string()),
                false => error.to_public(id),
            });
        })
    }
}
