//! The shared dedup actor: remembers which content lost a reference, and sweeps.

use super::sweep::{ContentStore, SweepReport, drop_stale};
use super::{HeldContent, Holders, Turn, Uploads};
use crate::actor::{ActorRuntime, end_own_thread};
use crate::model::{Digest, Error, RefId, Result, ShardId};
use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, WrapFuture};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Contents that lost a reference and are remembered for a quick reclaim; what is beyond this
/// waits for the next sweep.
const REMEMBERED_MAX: usize = 1 << 20;

/// The face of this room: uploads, open references, and the actor behind.
#[derive(Debug, Clone)]
pub struct Dedup(Arc<Living>);

/// The actor, or the next one: a panic ends one, and what it remembered the next sweep finds.
struct Living {
    runtime: Arc<ActorRuntime>,
    store: Arc<dyn ContentStore>,
    uploads: Uploads,
    holders: Holders,
    grace: Duration,
    address: RwLock<Addr<DedupActor>>,
}

impl Living {
    fn address(&self) -> Addr<DedupActor> {
        let address = self.address.read().unwrap_or_else(PoisonError::into_inner);
        if address.connected() {
            return address.clone();
        }
        drop(address);
        let mut address = self.address.write().unwrap_or_else(PoisonError::into_inner);
        if !address.connected() {
            tracing::error!("the dedup actor panicked; another takes its place");
            let known = (&self.uploads, &self.holders);
            *address = spawn(&self.runtime, &self.store, known, self.grace);
        }
        address.clone()
    }
}

impl std::fmt::Debug for Living {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Living").finish_non_exhaustive()
    }
}

fn spawn(
    runtime: &ActorRuntime,
    store: &Arc<dyn ContentStore>,
    (uploads, holders): (&Uploads, &Holders),
    grace: Duration,
) -> Addr<DedupActor> {
    let actor = DedupActor {
        store: store.clone(),
        uploads: uploads.clone(),
        holders: holders.clone(),
        grace,
        dropped: VecDeque::new(),
        orphans: HashMap::new(),
        sweeping: false,
    };
    runtime.spawn(move || actor)
}

impl Dedup {
    /// Starts the actor. Content without references is kept for `grace`.
    #[must_use]
    pub fn start(
        runtime: Arc<ActorRuntime>,
        store: Arc<dyn ContentStore>,
        grace: Duration,
    ) -> Self {
        let (uploads, holders) = (Uploads::default(), Holders::default());
        let address = RwLock::new(spawn(&runtime, &store, (&uploads, &holders), grace));
        Self(Arc::new(Living {
            runtime,
            store,
            uploads,
            holders,
            grace,
            address,
        }))
    }

    /// Takes the turn for a content, or waits for whoever has it.
    pub async fn take_turn(&self, digest: Digest) -> Turn {
        self.0.uploads.take_turn(digest).await
    }

    /// Registers a reference before the first step of its put.
    #[must_use]
    pub fn open_reference(&self, ref_id: RefId) -> super::single_flight::OpenReference {
        self.0.uploads.open_reference(ref_id)
    }

    /// Keeps a content from being reclaimed, before it is looked for.
    #[must_use]
    pub fn hold(&self, digest: Digest) -> HeldContent {
        self.0.holders.hold(digest)
    }

    /// Notes that a content lost a reference: it is looked at after the grace time.
    pub fn note_dropped(&self, digest: Digest) {
        self.0.address().do_send(Dropped(digest));
    }

    /// Reclaims noted content whose grace time is over.
    pub fn tidy(&self) {
        self.0.address().do_send(Tidy);
    }

    /// Goes through all references and blobs.
    ///
    /// # Errors
    /// `Unavailable` while another sweep runs or when a shard cannot be read.
    pub async fn sweep(&self) -> Result<SweepReport> {
        let (reply, answer) = oneshot::channel();
        self.0.address().do_send(Sweep(reply));
        answer
            .await
            .unwrap_or_else(|_| Err(Error::unavailable("SWEEP_FAILED", "the dedup actor died")))
    }
}

struct DedupActor {
    store: Arc<dyn ContentStore>,
    uploads: Uploads,
    holders: Holders,
    grace: Duration,
    /// Contents that lost a reference, oldest first.
    dropped: VecDeque<(Instant, Digest)>,
    /// Blobs that the last sweep found without references, and since when they are known to be.
    orphans: HashMap<Digest, Instant>,
    sweeping: bool,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Dropped(Digest);

#[derive(Message)]
#[rtype(result = "()")]
struct Tidy;

#[derive(Message)]
#[rtype(result = "()")]
struct Sweep(oneshot::Sender<Result<SweepReport>>);

/// The sweep's findings, back in the actor.
#[derive(Message)]
#[rtype(result = "()")]
struct Swept {
    found: Vec<Digest>,
    outcome: Result<SweepReport>,
    reply: oneshot::Sender<Result<SweepReport>>,
}

impl Actor for DedupActor {
    type Context = Context<Self>;
}

impl Drop for DedupActor {
    fn drop(&mut self) {
        end_own_thread();
    }
}

impl DedupActor {
    /// Reclaims in the background; a blob that is referenced again by then stays.
    fn reclaim(&self, due: Vec<Digest>, ctx: &mut Context<Self>) {
        let (store, grace) = (self.store.clone(), self.grace);
        let (uploads, holders) = (self.uploads.clone(), self.holders.clone());
        let own = ctx.address();
        let work = async move {
            for digest in due {
                match reclaim_one(&*store, (&uploads, &holders), digest, grace).await {
                    // Chunks of a list that went, and contents that somebody held.
                    Ok(later) => later.into_iter().for_each(|it| own.do_send(Dropped(it))),
                    Err(error) => {
                        tracing::warn!(%digest, %error, "content was not reclaimed; the next sweep tries again");
                    }
                }
            }
        };
        ctx.spawn(work.into_actor(self));
    }
}

/// Reclaims a content unless somebody holds it. It has the content's turn meanwhile, so who holds it
/// from now on and waits for the turn sees what became of it. Contents to look at later.
async fn reclaim_one(
    store: &dyn ContentStore,
    (uploads, holders): (&Uploads, &Holders),
    digest: Digest,
    grace: Duration,
) -> Result<Vec<Digest>> {
    let _turn = loop {
        if let Turn::Mine(turn) = uploads.take_turn(digest).await {
            break turn;
        }
    };
    if holders.is_held(digest, grace) {
        return Ok(vec![digest]);
    }
    fail::fail_point!("dedup::reclaiming");
    store.reclaim(digest).await
}

impl Handler<Dropped> for DedupActor {
    type Result = ();

    fn handle(&mut self, Dropped(digest): Dropped, _: &mut Self::Context) {
        fail::fail_point!("dedup::dropped");
        if self.dropped.len() < REMEMBERED_MAX {
            self.dropped.push_back((Instant::now(), digest));
        }
    }
}

impl Handler<Tidy> for DedupActor {
    type Result = ();

    fn handle(&mut self, _: Tidy, ctx: &mut Self::Context) {
        fail::fail_point!("dedup::tidy");
        self.holders.forget(self.grace);
        let mut due = Vec::new();
        while self
            .dropped
            .front()
            .is_some_and(|(at, _)| at.elapsed() >= self.grace)
        {
            due.extend(self.dropped.pop_front().map(|(_, digest)| digest));
        }
        if !due.is_empty() {
            self.reclaim(due, ctx);
        }
    }
}

impl Handler<Sweep> for DedupActor {
    type Result = ();

    fn handle(&mut self, Sweep(reply): Sweep, ctx: &mut Self::Context) {
        fail::fail_point!("dedup::sweep");
        if self.sweeping {
            let busy = Error::unavailable("SWEEP_BUSY", "a sweep is running already");
            let _ = reply.send(Err(busy));
            return;
        }
        self.sweeping = true;
        let (store, uploads, own) = (self.store.clone(), self.uploads.clone(), ctx.address());
        let work = async move {
            let mut found = Vec::new();
            let outcome = sweep_all(&*store, &uploads, &mut found).await;
            own.do_send(Swept {
                found,
                outcome,
                reply,
            });
        };
        ctx.spawn(work.into_actor(self));
    }
}

async fn sweep_all(
    store: &dyn ContentStore,
    uploads: &Uploads,
    found: &mut Vec<Digest>,
) -> Result<SweepReport> {
    let mut report = SweepReport::default();
    let mut outcome = Ok(());
    for shard in store.shards() {
        // A shard that is down keeps the others from nothing.
        let swept = sweep_one(store, uploads, shard, found, &mut report).await;
        outcome = outcome.and(swept);
    }
    outcome.map(|()| report)
}

async fn sweep_one(
    store: &dyn ContentStore,
    uploads: &Uploads,
    shard: ShardId,
    found: &mut Vec<Digest>,
    report: &mut SweepReport,
) -> Result<()> {
    drop_stale(store, uploads, shard, report).await?;
    for orphan in store.orphans(shard)?.take(REMEMBERED_MAX) {
        found.push(orphan?);
        report.orphans += 1;
    }
    Ok(())
}

impl Handler<Swept> for DedupActor {
    type Result = ();

    /// An orphan that an earlier sweep knew and whose grace is over goes; the others are kept in
    /// mind for the next one.
    fn handle(&mut self, swept: Swept, ctx: &mut Self::Context) {
        fail::fail_point!("dedup::swept");
        self.sweeping = false;
        let known = std::mem::take(&mut self.orphans);
        let mut due = Vec::new();
        for digest in swept.found {
            let since = known.get(&digest).copied().unwrap_or_else(Instant::now);
            if since.elapsed() >= self.grace {
                due.push(digest);
            } else {
                self.orphans.insert(digest, since);
                self.dropped.push_back((since, digest));
            }
        }
        if !due.is_empty() {
            self.reclaim(due, ctx);
        }
        let _ = swept.reply.send(swept.outcome);
    }
}
