//! Whatever panics in the server, its callers hear of it, nothing hangs, nothing is done twice, and
//! the neighbours serve: fail points in every handler of the actors, in GC, backups and the scrub,
//! each of which panics twice under load. The second time proves that what panicked came back.

use crate::registers::{Call, Histories, Outcome, What, builder, judge, number_of, value};
use crate::run::{cases, seed};
use crate::support::{PATIENCE, Random, Server, command_of, key_of, set_of};
use bytes::Bytes;
use shardkeep::codec::slot_of;
use shardkeep::model::ShardId;
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use shardkeep::shard::Homes;
use shardkeep::start::offline;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::Channel;

const CLIENTS: u64 = 12;
/// A history has a bit for each call of unknown outcome, and for each client.
const CALLERS_MAX: u64 = 64;
/// Keys of values that lie in one shard only ...
const SMALL: u64 = 24;
/// ... and of values that lie in two.
const LARGE: u64 = 8;
const SHARDS: u16 = 3;
/// An answer takes no longer, whatever panics.
const DEADLINE: Duration = PATIENCE;

/// The fail points, and after how many passes each panics.
const POINTS: &[(&str, u32)] = &[
    ("shard::write", 200),
    ("shard::commit", 100),
    ("shard::written", 100),
    ("shard::synced", 100),
    ("shard::indexed", 100),
    ("index::commit", 100),
    ("log::reserve", 2),
    ("log::write", 100),
    ("log::sync", 100),
    ("shard::cut", 4),
    ("shard::sync", 6),
    ("shard::gc_begin", 4),
    ("shard::gc", 10),
    ("gc::moved", 2),
    ("gc::retired", 1),
    ("gc::sealed", 1),
    ("gc::purged", 1),
    ("gc::persisted", 1),
    ("gc::unlinked", 1),
    ("put::stored", 20),
    ("backup::records", 2),
    ("backup::synced", 1),
    ("scrub::chunk", 3),
    ("dedup::dropped", 20),
    ("dedup::tidy", 0),
    ("dedup::sweep", 0),
    ("dedup::swept", 0),
];

/// What the tasks of one run share.
#[derive(Default)]
struct Shared {
    histories: Histories,
    /// The next caller's number.
    callers: AtomicU64,
    over: AtomicBool,
    answered: AtomicU64,
    refused: AtomicU64,
}

/// What an answer says; `Err` when there was none in time.
async fn outcome<T>(
    deadline: Duration,
    what: &str,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<Result<T, Status>, String> {
    let answered = tokio::time::timeout(deadline, call).await;
    answered.map_err(|_| format!("{what} hangs for {deadline:?}"))
}

/// One client, a call at a time. It gives the calls that nobody knows the outcome of, and the
/// shards in which a small key was not served.
struct Caller {
    shared: Arc<Shared>,
    client: BadgerClient<Channel>,
    random: Random,
    number: u64,
    deadline: Duration,
    unknown: Vec<(Bytes, Call)>,
    troubled: BTreeSet<ShardId>,
}

impl Caller {
    fn key(&mut self) -> (Bytes, bool) {
        let small = self.random.percent(70);
        let name = match small {
            true => format!("small/{}", self.random.within(0..SMALL)),
            false => format!("large/{}", self.random.within(0..LARGE)),
        };
        (name.into(), small)
    }

    async fn run(mut self) -> Result<Self, String> {
        while !self.shared.over.load(Ordering::SeqCst) && self.number < CALLERS_MAX {
            self.call().await?;
        }
        Ok(self)
    }

    async fn call(&mut self) -> Result<(), String> {
        let (key, small) = self.key();
        let chance = self.random.within(0..100);
        let histories = &self.shared.histories;
        let item = key_of(key.clone());
        let begun = histories.now();
        let (what, reply) = match chance {
            0..=39 => {
                let get = outcome(self.deadline, "Get", self.client.get(item)).await?;
                (What::Read(None), get)
            }
            40..=89 => {
                let fresh = fresh(histories, small);
                let set = self.client.set(set_of(key.clone(), value(fresh)));
                let set = outcome(self.deadline, "Set", set).await?;
                (What::Write(Some(fresh)), set)
            }
            _ => {
                let delete = outcome(self.deadline, "Delete", self.client.delete(item)).await?;
                (What::Write(None), delete)
            }
        };
        let judged = judge(reply);
        let what = match (&judged, what) {
            (Outcome::Answered(reply), What::Read(_)) if reply.errcode == 0 => {
                What::Read(Some(number_of(&reply.data)))
            }
            (_, what) => what,
        };
        let call = Call {
            client: self.number,
            what,
            begun,
            ended: histories.now(),
            answered: matches!(judged, Outcome::Answered(_)),
        };
        self.note(key, small, call, &judged).await;
        Ok(())
    }

    async fn note(&mut self, key: Bytes, small: bool, call: Call, judged: &Outcome) {
        let counter = match judged {
            Outcome::Answered(_) => &self.shared.answered,
            Outcome::Refused | Outcome::Unknown => &self.shared.refused,
        };
        counter.fetch_add(1, Ordering::SeqCst);
        if call.answered {
            return self.shared.histories.add(&key, call);
        }
        if small {
            let home = Homes::even(SHARDS).shard_of(slot_of(&key));
            self.troubled.insert(home);
        }
        if matches!(judged, Outcome::Unknown) && matches!(call.what, What::Write(_)) {
            self.unknown.push((key, call));
            // The call may take effect as long as the run lasts; its caller's next one is another's.
            self.number = self.shared.callers.fetch_add(1, Ordering::SeqCst);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A value that no other write has: a small one lies with its key, a large one in a home of its own.
fn fresh(histories: &Histories, small: bool) -> u64 {
    loop {
        let number = histories.fresh.fetch_add(1, Ordering::SeqCst);
        if (number % 4 < 2) == small {
            return number;
        }
    }
}

/// An administrator who never rests: whatever is answered, it is answered in time.
async fn orders(
    shared: Arc<Shared>,
    mut client: BadgerClient<Channel>,
    deadline: Duration,
) -> Result<(), String> {
    while !shared.over.load(Ordering::SeqCst) {
        for (command, data) in ORDERS {
            let order = client.admin(command_of(command, data));
            let _whatever = outcome(deadline, command, order).await?;
        }
    }
    Ok(())
}

const ORDERS: [(&str, &str); 3] = [
    ("gc", ""),
    ("sync", ""),
    ("backup", r#"{"path":"panics","since":"0"}"#),
];

/// How often a fail point panicked.
fn panics(log: &str, point: &str) -> usize {
    log.matches(&format!("failpoint {point} panic")).count()
}

/// The shards that the log says were opened again.
fn reopened(log: &str) -> BTreeSet<ShardId> {
    let lines = log
        .lines()
        .filter(|line| line.contains("reopening the shard"));
    let shard = |line: &str| {
        let (_, number) = line.split_once("shard=")?;
        Some(ShardId(number.get(..3)?.parse().ok()?))
    };
    lines.filter_map(shard).collect()
}

/// A server under load whose fail points are armed, until `is_over` says so of its log; what is
/// wrong with it, if anything.
async fn run(
    points: &str,
    deadline: Duration,
    random: &mut Random,
    is_over: impl Fn(&str) -> bool,
) -> Result<String, String> {
    let dir = TempDir::new().unwrap();
    let server = builder(dir.path())
        .set("scrub.interval", "1s")
        .set("scrub.rate", "64 MiB")
        .fail_points(points)
        .start()
        .await;
    let shared = Arc::new(Shared::default());
    shared.callers.store(CLIENTS, Ordering::SeqCst);
    let mut callers = JoinSet::new();
    for number in 0..CLIENTS {
        let caller = Caller {
            shared: shared.clone(),
            client: server.client().await,
            random: random.fork(),
            number,
            deadline,
            unknown: Vec::new(),
            troubled: BTreeSet::new(),
        };
        callers.spawn(caller.run());
    }
    let orders = orders(shared.clone(), server.client().await, deadline);
    let orders = tokio::spawn(orders);
    let end = Instant::now() + PATIENCE;
    while !is_over(&server.log()) && !orders.is_finished() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A while longer, so that what came back is used.
    tokio::time::sleep(Duration::from_millis(300)).await;
    shared.over.store(true, Ordering::SeqCst);
    let mut troubled = BTreeSet::new();
    for caller in callers.join_all().await {
        let caller = caller?;
        troubled.extend(caller.troubled);
        for (key, call) in caller.unknown {
            let ended = shared.histories.now();
            shared.histories.add(&key, Call { ended, ..call });
        }
    }
    orders.await.unwrap()?;
    let log = server.log();
    if !is_over(&log) {
        return Err(format!("it never came so far:\n{log}"));
    }
    if !troubled.is_subset(&reopened(&log)) {
        return Err(format!("{troubled:?} did not serve:\n{log}"));
    }
    settle(server, &shared, &dir).await?;
    let calls = shared.histories.check()?;
    let refused = shared.refused.load(Ordering::SeqCst);
    Ok(format!("{calls} calls, {refused} refused"))
}

/// All is as it was before: every order is done, every key is read, and nothing is wrong on disk.
async fn settle(server: Server, shared: &Shared, dir: &TempDir) -> Result<(), String> {
    let mut client = server.client().await;
    for (command, data) in ORDERS {
        let end = Instant::now() + PATIENCE;
        loop {
            let reply = client.admin(command_of(command, data)).await.unwrap();
            let reply = reply.into_inner();
            let nothing_to_do = reply.data.starts_with(b"{\"done\":0}");
            if reply.errcode == 0 || nothing_to_do {
                break;
            }
            if Instant::now() > end {
                return Err(format!("{command}: {}", reply.status.escape_ascii()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let small = (0..SMALL).map(|number| format!("small/{number}"));
    let large = (0..LARGE).map(|number| format!("large/{number}"));
    for key in small.chain(large).map(Bytes::from) {
        let begun = shared.histories.now();
        let Outcome::Answered(reply) = judge(client.get(key_of(key.clone())).await) else {
            return Err(format!("{key:?} is not served"));
        };
        let held = (reply.errcode == 0).then(|| number_of(&reply.data));
        let call = Call {
            client: 0,
            what: What::Read(held),
            begun,
            ended: shared.histories.now(),
            answered: true,
        };
        shared.histories.add(&key, call);
    }
    server.stop().await;
    let report = offline::verify(dir.path(), false, &mut |_, _| {}).unwrap();
    match report.problems.is_empty() {
        true => Ok(()),
        false => Err(format!("{:?}", report.problems)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_stays_where_it_is() {
    let mut random = Random::seeded(seed("panics"));
    let first = random.within(0..POINTS.len() as u64);
    for case in first..first + cases(6) {
        let (point, passes) = POINTS[case as usize % POINTS.len()];
        let actions = format!("{point}={passes}*off->1*panic->{passes}*off->1*panic");
        let twice = |log: &str| panics(log, point) == 2;
        let began = Instant::now();
        let found = run(&actions, DEADLINE, &mut random, twice).await;
        let figures = found.unwrap_or_else(|why| panic!("{actions}: {why}"));
        eprintln!("{actions}: {figures}, {:?}", began.elapsed());
    }
}

/// A writer that panics while it is closed, after it was given up already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_a_close_stays_there() {
    let points = "log::sync=60*off->1*return->60*off->1*return;shard::close=2*panic";
    let twice = |log: &str| panics(log, "shard::close") == 2;
    let found = run(points, DEADLINE, &mut Random::seeded(seed("closes")), twice).await;
    eprintln!("{}", found.unwrap());
}

/// Planted: a handler that never comes back, and that no watchdog knows of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_hangs_is_found() {
    let short = Duration::from_secs(3);
    let found = run(
        "shard::write=100*off->pause",
        short,
        &mut Random::seeded(1),
        |_| false,
    )
    .await;
    assert!(found.unwrap_err().contains("hangs"));
}

/// Planted: shards that refuse for a while, without having been opened again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbour_that_does_not_serve_is_found() {
    let points = "log::reserve=10*return";
    let found = run(points, DEADLINE, &mut Random::seeded(1), |log| {
        log.contains("removed=")
    })
    .await;
    assert!(found.unwrap_err().contains("did not serve"));
}
