//! What others hold of a shard: admission, the address of whoever is its actor now, its reader.

use super::actor::ShardActor;
use super::courier::Courier;
use super::cut::CutGate;
use super::epoch::Epoch;
use super::error::{IndexVerdict, outcome_unknown};
use super::message::{Close, Cut, Gc, GcOutcome, ReplyTo, Sync, Write};
use super::meter::{GroupStats, Meter};
use super::reader::ShardReader;
use super::snapshot::ShardSnapshot;
use super::store::ShardStore;
use crate::actor::ActorRuntime;
use crate::config;
use crate::model::{Command, Error, ErrorKind, Reply, Result, ShardId, Timestamp};
use actix::Addr;
use arc_swap::ArcSwapOption;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

/// How a shard is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShardHealth {
    /// It is being opened.
    Opening,
    /// It reads and writes.
    Serving,
    /// It takes no writes; the supervisor will reopen it.
    Failed {
        /// What happened.
        cause: String,
        /// What that says of its index.
        index: IndexVerdict,
    },
    /// It stays down until an operator has looked at it.
    Down {
        /// What happened, as callers are told.
        error: String,
        /// Whether its data is damaged.
        damaged: bool,
    },
    /// It was closed in order.
    Closed,
}

/// A shard, reached by commands and queries only.
#[derive(Debug)]
pub struct ShardHandle {
    id: ShardId,
    permits: Arc<Semaphore>,
    /// KiB of values that wait for their group or are in it.
    payload_kib: Arc<Semaphore>,
    payload_kib_max: u32,
    live: ArcSwapOption<Live>,
    health: watch::Sender<ShardHealth>,
    busy: Arc<BusySince>,
    meter: Arc<Meter>,
}

/// Since when a shard's writer has been at one piece of work.
#[derive(Debug)]
pub(super) struct BusySince {
    started: Instant,
    /// Milliseconds after `started`, 0 when idle.
    since_ms: AtomicU64,
}

impl BusySince {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            since_ms: AtomicU64::new(0),
        }
    }

    fn ms_at(&self, now: Instant) -> u64 {
        let after = now.saturating_duration_since(self.started);
        u64::try_from(after.as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// The writer begins a piece of work now.
    pub fn begin(&self, now: Instant) {
        self.since_ms.store(self.ms_at(now), Ordering::Relaxed);
    }

    /// The writer has ended it.
    pub fn end(&self) {
        self.since_ms.store(0, Ordering::Relaxed);
    }

    fn elapsed(&self) -> Duration {
        match self.since_ms.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since_ms => Duration::from_millis(self.ms_at(Instant::now()).saturating_sub(since_ms)),
        }
    }
}

#[derive(Debug)]
struct Live {
    address: Addr<ShardActor>,
    reader: Arc<ShardReader>,
}

impl ShardHandle {
    /// A handle of a shard that is not open yet.
    #[must_use]
    pub fn new(id: ShardId, admission: &config::Admission) -> Self {
        let kib = usize::try_from(admission.bytes_in_flight / 1024).unwrap_or(usize::MAX);
        let health = watch::Sender::new(ShardHealth::Opening);
        Self {
            id,
            permits: Arc::new(Semaphore::new(admission.requests_per_shard)),
            payload_kib: Arc::new(Semaphore::new(kib.clamp(1, Semaphore::MAX_PERMITS))),
            payload_kib_max: u32::try_from(kib.max(1)).unwrap_or(u32::MAX),
            busy: Arc::new(BusySince::new()),
            meter: Arc::default(),
            live: ArcSwapOption::empty(),
            health,
        }
    }

    /// The shard.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// How the shard is, and every change of it.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<ShardHealth> {
        self.health.subscribe()
    }

    /// How long the shard's writer has been at one group or slice.
    #[must_use]
    pub fn busy_for(&self) -> Duration {
        self.busy.elapsed()
    }

    /// What the shard's groups were like since the start, whether it is open now or not.
    #[must_use]
    pub fn group_stats(&self) -> GroupStats {
        self.meter.read()
    }

    /// Says how the shard is, for the supervisor, who alone knows while no actor lives.
    pub fn set_health(&self, health: ShardHealth) {
        self.health.send_replace(health);
    }

    /// Says that what was read contradicts the log, so that the supervisor reopens the shard.
    pub fn fail(&self, cause: &str) {
        let serving = |health: &mut ShardHealth| {
            let was_serving = *health == ShardHealth::Serving;
            if was_serving {
                *health = ShardHealth::Failed {
                    cause: cause.to_owned(),
                    index: IndexVerdict::Useless(cause.to_owned()),
                };
            }
            was_serving
        };
        self.health.send_if_modified(serving);
    }

    /// Gives an opened store to a new actor, lets callers in, and only then says that it serves.
    pub fn start(&self, store: ShardStore, runtime: &ActorRuntime) {
        let reader = Arc::new(store.reader());
        let (health, busy) = (self.health.clone(), self.busy.clone());
        let meter = self.meter.clone();
        let address = runtime.spawn(move || ShardActor::new(store, health, busy, meter));
        self.live.store(Some(Arc::new(Live { address, reader })));
        // An actor that has failed by now has said so itself.
        self.health.send_if_modified(|health| {
            let opening = *health == ShardHealth::Opening;
            if opening {
                *health = ShardHealth::Serving;
            }
            opening
        });
    }

    /// Sends callers away and closes the actor. What is returned is dead when nobody reads from
    /// the old store any more; only then may it be opened again.
    ///
    /// # Errors
    /// When the last sync failed; the store is closed all the same.
    pub async fn close(&self) -> (Result<()>, Option<Weak<ShardReader>>) {
        let Some(live) = self.live.swap(None) else {
            return (Ok(()), None);
        };
        let (reply, answer) = oneshot::channel();
        live.address.do_send(Close { reply });
        // An actor that panicked has no answer, and nothing that could still be closed.
        let closed = answer.await.unwrap_or(Ok(()));
        (closed, Some(Arc::downgrade(&live.reader)))
    }

    /// Runs a command: admission, the actor's next group, its answer.
    ///
    /// # Errors
    /// `Unavailable` (`SHARD_*`, `OUTCOME_UNKNOWN`), `DiskFull`.
    pub async fn write(&self, command: Command, now: Timestamp) -> Result<Reply> {
        self.write_new(command, now, None).await
    }

    /// As [`ShardHandle::write`]; `absent` says when the key was seen to have no record, if it was.
    ///
    /// # Errors
    /// As [`ShardHandle::write`].
    pub async fn write_new(
        &self,
        command: Command,
        now: Timestamp,
        absent: Option<Epoch>,
    ) -> Result<Reply> {
        // The permits go with the command: one whose request was cancelled is in the queue still.
        let permits = self.admit(command.log_size_max()).await?;
        let write = |reply| Write {
            command,
            now,
            queued: Instant::now(),
            absent,
            reply,
            courier: Courier::here(),
            _permits: permits,
        };
        self.ask(write).await
    }

    /// The permits for a command of so many bytes.
    pub(super) async fn admit(&self, bytes: u64) -> Result<[OwnedSemaphorePermit; 2]> {
        let closed = |_| self.not_open();
        let kib = u32::try_from(bytes / 1024).unwrap_or(u32::MAX);
        let kib = kib.clamp(1, self.payload_kib_max);
        let request = self.permits.clone().acquire_owned().await.map_err(closed)?;
        let payload = self.payload_kib.clone().acquire_many_owned(kib);
        Ok([request, payload.await.map_err(closed)?])
    }

    /// A reader. Hold it only as long as a request lasts: the shard cannot be reopened before.
    ///
    /// # Errors
    /// `Unavailable` while the shard is being reopened, `Corrupt` when it is down by damage.
    pub fn reader(&self) -> Result<Arc<ShardReader>> {
        self.live
            .load()
            .as_ref()
            .map(|live| live.reader.clone())
            .ok_or_else(|| self.not_open())
    }

    /// Parks the shard at a gate; its snapshot is of that moment.
    ///
    /// # Errors
    /// `Unavailable` when the shard does not serve or the cut failed.
    pub async fn cut(&self, gate: Arc<CutGate>) -> Result<ShardSnapshot> {
        self.ask(|reply| Cut { gate, reply }).await
    }

    /// Makes everything written durable.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn sync(&self) -> Result<()> {
        self.ask(|reply| Sync { reply }).await
    }

    /// Collects segments whose live share is under the threshold, in slices of about this size.
    ///
    /// # Errors
    /// `Unavailable` when one is running; what stopped it.
    pub async fn gc(&self, live_threshold: f64, slice_bytes: u64) -> Result<GcOutcome> {
        self.ask(|reply| Gc {
            live_threshold,
            slice_bytes,
            reply,
        })
        .await
    }

    pub(super) async fn ask<M, T>(&self, message: impl FnOnce(ReplyTo<T>) -> M) -> Result<T>
    where
        M: actix::Message<Result = ()> + Send + 'static,
        ShardActor: actix::Handler<M>,
    {
        let (reply, answer) = oneshot::channel();
        {
            let live = self.live.load();
            let live = live.as_ref().ok_or_else(|| self.not_open())?;
            live.address.do_send(message(reply));
        }
        answer
            .await
            .unwrap_or_else(|_| Err(outcome_unknown(self.id, "its actor died")))
    }

    fn not_open(&self) -> Error {
        match &*self.health.borrow() {
            ShardHealth::Down {
                error,
                damaged: true,
            } => Error::corrupt("SHARD_DAMAGED", error.clone()),
            ShardHealth::Down {
                error,
                damaged: false,
            } => Error::new(ErrorKind::Unavailable, "SHARD_DOWN", error.clone()),
            ShardHealth::Failed { cause, .. } => {
                let message = format!("shard {} waits to be reopened ({cause}); retry", self.id);
                Error::unavailable("SHARD_OPENING", message)
            }
            ShardHealth::Opening | ShardHealth::Serving | ShardHealth::Closed => {
                let message = format!("shard {} is being opened; retry", self.id);
                Error::unavailable("SHARD_OPENING", message)
            }
        }
    }
}
