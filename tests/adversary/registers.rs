//! One key behaves like one register, however often the server is killed: histories of concurrent
//! clients on a few keys, each checked for linearizability.
//!
//! The checker is the just-in-time linearization of Lowe ("Testing for linearizability", 2017), by
//! key: it goes through the calls and returns in order and keeps every state the register may be
//! in, together with the calls that must have taken effect for it. A call whose outcome is unknown
//! may take effect until its server is gone, or never.

use crate::run::{cases, seed};
use crate::support::{Builder, Random, Server, command_of, key_of, set_of};
use bytes::Bytes;
use shardkeep::proto::zstdb::ItemReply;
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::Channel;

const CLIENTS: u64 = 64;
const CONNECTIONS: usize = 8;
const KEYS: u64 = 16;

/// What a register holds: a number that is written once, or nothing.
pub type Held = Option<u64>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Write(Held),
    Read(Held),
}

/// A call from outside.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Which client's: it has no other at the time.
    pub client: u64,
    pub what: What,
    pub begun: u64,
    /// When it was answered, or when its server was gone.
    pub ended: u64,
    /// Whether it was answered.
    pub answered: bool,
}

/// A state of the register, and a bit for each client whose open call has taken effect.
type Possible = (Held, u64);

/// Whether there is an order of the calls that explains every answer; if not, the call that none
/// explains.
fn linearizable(calls: &[Call]) -> Result<(), usize> {
    let mut moments = BTreeMap::new();
    for (number, call) in calls.iter().enumerate() {
        moments.insert(call.begun, (number, false));
        moments.insert(call.ended, (number, true));
    }
    let mut open: Vec<usize> = Vec::new();
    let mut possible = HashSet::from([(None, 0)]);
    for (number, is_end) in moments.into_values() {
        if !is_end {
            open.push(number);
            continue;
        }
        let mut next = HashSet::new();
        let mut seen = HashSet::new();
        let bit = 1 << calls[number].client;
        for state in possible {
            if !calls[number].answered {
                // It has taken effect, or never will.
                next.insert((state.0, state.1 & !bit));
            }
            let open = open.iter().map(|number| calls[*number]);
            let open: Vec<Call> = open.collect();
            effects(&open, bit, state, &mut seen, &mut next);
        }
        open.retain(|it| *it != number);
        if next.is_empty() {
            return Err(number);
        }
        possible = next;
    }
    Ok(())
}

/// Every state in which the call with this bit has taken effect, after any others that are open.
fn effects(
    open: &[Call],
    bit: u64,
    state: Possible,
    seen: &mut HashSet<Possible>,
    found: &mut HashSet<Possible>,
) {
    let mut waiting = vec![state];
    while let Some((held, mut done)) = waiting.pop() {
        // A read changes nothing: what can be read now is best read now.
        let reads = open.iter().filter(|it| it.what == What::Read(held));
        done |= reads.fold(0, |bits, it| bits | 1 << it.client);
        if done & bit != 0 {
            found.insert((held, done & !bit));
            continue;
        }
        if !seen.insert((held, done)) {
            continue;
        }
        for call in open.iter().filter(|it| done & 1 << it.client == 0) {
            if let What::Write(value) = call.what {
                waiting.push((value, done | 1 << call.client));
            }
        }
    }
}

/// The calls of every key.
#[derive(Debug, Default)]
pub struct Histories {
    clock: AtomicU64,
    pub fresh: AtomicU64,
    calls: Mutex<BTreeMap<Bytes, Vec<Call>>>,
}

impl Histories {
    pub fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    pub fn add(&self, key: &Bytes, call: Call) {
        let mut calls = self.calls.lock().unwrap();
        calls.entry(key.clone()).or_default().push(call);
    }

    /// What no order explains, and how many calls there were.
    pub fn check(&self) -> Result<usize, String> {
        let calls = self.calls.lock().unwrap();
        for (key, calls) in &*calls {
            if let Err(number) = linearizable(calls) {
                let call = calls[number];
                let near = calls
                    .iter()
                    .filter(|it| it.ended + 200 > call.begun && it.begun < call.ended);
                let near: Vec<_> = near.collect();
                return Err(format!(
                    "{key:?}: no order explains {call:?}, near it are {near:#?}"
                ));
            }
        }
        Ok(calls.values().map(Vec::len).sum())
    }
}

pub fn builder(dir: &Path) -> Builder {
    Server::builder()
        .flags(["--allow-user-key", "--allow-overwrite", "--shards", "3"])
        .flags(["--max-upload-size-mb", "1"])
        .set("storage.segment_size", "1 MiB")
        .set("index.checkpoint_bytes", "1 MiB")
        .set("gc.live_threshold", "0.9")
        .set("gc.check_interval", "100ms")
        .set("dedup.grace", "1s")
        .set("dedup.sweep_interval", "1s")
        .data_dir(dir)
}

/// A value that says its number, at sizes that are stored differently.
pub fn value(number: u64) -> Bytes {
    let sizes = [0, 300, 5_000, 20_000];
    let mut value = format!("{number:020}").into_bytes();
    value.extend(crate::support::noise(number, sizes[number as usize % 4]));
    value.into()
}

pub fn number_of(data: &[u8]) -> u64 {
    let digits = std::str::from_utf8(&data[..20]).unwrap();
    let number = digits.parse().unwrap();
    assert_eq!(data, value(number), "wrong bytes");
    number
}

/// What became of a call.
pub enum Outcome {
    Answered(ItemReply),
    /// It has had no effect.
    Refused,
    /// Nobody knows.
    Unknown,
}

pub fn judge(reply: Result<tonic::Response<ItemReply>, Status>) -> Outcome {
    let reply = match reply {
        Ok(reply) => reply.into_inner(),
        Err(_status) => return Outcome::Unknown,
    };
    let absent = reply.status.as_ref() == b"cannot get from bgrdb";
    if reply.errcode == 0 || absent {
        return Outcome::Answered(reply);
    }
    let text = String::from_utf8_lossy(&reply.status);
    // The cause that an unknown outcome names may speak of an index that is to be opened again.
    let is_known = !text.contains("outcome of this write is unknown");
    match is_known && text.contains("opened") && text.contains("retry") {
        true => Outcome::Refused,
        false => Outcome::Unknown,
    }
}

/// What one life of the server shares.
#[derive(Default)]
struct Life {
    /// Set before it is killed.
    gone: AtomicBool,
    /// Faults are injected: not every call is answered while it lives.
    may_fail: bool,
    /// Of calls that were refused.
    refused: AtomicU64,
}

/// One client: a call at a time until the server is gone, or nobody knows what became of a write:
/// it may take effect as long as the server lives, and its client can have no other until then.
async fn call_on(
    (histories, life): (Arc<Histories>, Arc<Life>),
    number: u64,
    mut client: BadgerClient<Channel>,
    mut random: Random,
) -> Option<(Bytes, Call)> {
    loop {
        let key = Bytes::from(format!("register/{}", random.within(0..KEYS)));
        let item = key_of(key.clone());
        let begun = histories.now();
        let (what, reply) = match random.within(0..100) {
            0..=49 => (What::Read(None), client.get(item).await),
            50..=89 => {
                let fresh = histories.fresh.fetch_add(1, Ordering::SeqCst);
                let set = client.set(set_of(key.clone(), value(fresh)));
                (What::Write(Some(fresh)), set.await)
            }
            _ => (What::Write(None), client.delete(item).await),
        };
        let ended = histories.now();
        let told = format!("{reply:?}");
        let judged = judge(reply);
        let what = match (&judged, what) {
            (Outcome::Answered(reply), What::Read(_)) if reply.errcode == 0 => {
                What::Read(Some(number_of(&reply.data)))
            }
            (_, what) => what,
        };
        let call = Call {
            client: number,
            what,
            begun,
            ended,
            answered: matches!(judged, Outcome::Answered(_)),
        };
        if call.answered {
            histories.add(&key, call);
            continue;
        }
        let is_gone = life.gone.load(Ordering::SeqCst);
        assert!(is_gone || life.may_fail, "{told}");
        if matches!((&judged, what), (Outcome::Unknown, What::Write(_))) {
            return Some((key, call));
        }
        if is_gone {
            return None;
        }
        life.refused.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// An operator who never rests, until the server is gone: GC, and backups, of which none is kept.
async fn operate(mut client: BadgerClient<Channel>, life: Arc<Life>) {
    while !life.gone.load(Ordering::SeqCst) {
        let order = command_of("backup", r#"{"path":"registers","since":"0"}"#);
        for command in [command_of("gc", ""), order] {
            let done = client.admin(command).await.map(tonic::Response::into_inner);
            // Refused while another runs, or a shard is opened.
            let Ok(done) = done else { continue };
            if let Ok(made) = serde_json::from_slice::<BTreeMap<String, String>>(&done.data) {
                made.get("target").map(std::fs::remove_file);
            }
        }
    }
}

/// What is done to the server beside kills, in the words of the `fail` crate; nothing where empty.
async fn run(cycles: u64, random: &mut Random, faults: &str) -> Histories {
    let dir = TempDir::new().unwrap();
    let histories = Arc::new(Histories::default());
    let mut refused = 0;
    for _ in 0..cycles {
        let builder = builder(dir.path()).set("supervise.restart_budget", "1000000");
        let mut server = builder.fail_points(faults).start().await;
        let life = Arc::new(Life {
            may_fail: !faults.is_empty(),
            ..Life::default()
        });
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(server.client().await);
        }
        let operator = tokio::spawn(operate(server.client().await, life.clone()));
        let mut tasks = JoinSet::new();
        for number in 0..CLIENTS {
            let client = clients[number as usize % CONNECTIONS].clone();
            let shared = (histories.clone(), life.clone());
            tasks.spawn(call_on(shared, number, client, random.fork()));
        }
        tokio::time::sleep(Duration::from_millis(random.within(5..500))).await;
        life.gone.store(true, Ordering::SeqCst);
        server.kill();
        // A client that has failed ends the test here.
        for (key, call) in tasks.join_all().await.into_iter().flatten() {
            // The process is gone: from here on it takes no effect that it has not taken.
            let ended = histories.now();
            histories.add(&key, Call { ended, ..call });
        }
        operator.await.unwrap();
        refused += life.refused.load(Ordering::SeqCst);
    }
    eprintln!("{refused} calls were refused without effect");
    Arc::into_inner(histories).unwrap()
}

/// So many kills of a server with these faults, and what the checker says of its history.
async fn linearized(test: &str, cycles: u64, faults: &str) {
    let mut random = Random::seeded(seed(test));
    let histories = run(cycles, &mut random, faults).await;
    let calls = histories.check().unwrap();
    let unknown = histories.calls.into_inner().unwrap();
    let unknown = unknown.values().flatten().filter(|call| !call.answered);
    let unknown = unknown.count();
    eprintln!(
        "{cycles} kills, {calls} calls of {CLIENTS} clients on {KEYS} keys, {unknown} unknown"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_one_register_through_kills() {
    linearized("registers", cases(4), "").await;
}

/// Beside the kills, one step of a commit in some hundreds fails, or panics, and its shard is opened
/// again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_one_register_through_faults() {
    const FAULTS: &str = "log::write=0.2%return;log::sync=0.2%return;index::commit=0.2%return;shard::commit=0.1%panic;put::stored=0.1%panic";
    linearized("registers with faults", cases(4), FAULTS).await;
}

/// Planted in a real history: one read that answers what was overwritten before it began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_read_is_found() {
    let histories = run(1, &mut Random::seeded(5), "").await;
    histories.check().unwrap();
    let mut planted = false;
    for calls in histories.calls.lock().unwrap().values_mut() {
        let written = |call: &Call| matches!(call.what, What::Write(Some(_))) && call.answered;
        let Some(first) = calls.iter().find(|call| written(call)).copied() else {
            continue;
        };
        let over = calls
            .iter()
            .filter(|call| written(call) && call.begun > first.ended);
        let Some(over) = over.map(|call| call.ended).min() else {
            continue;
        };
        let What::Write(old) = first.what else {
            unreachable!()
        };
        let is_late = |call: &&mut Call| matches!(call.what, What::Read(_)) && call.begun > over;
        if let Some(read) = calls.iter_mut().find(is_late) {
            read.what = What::Read(old);
            planted = true;
            break;
        }
    }
    assert!(planted);
    histories.check().unwrap_err();
}

#[test]
fn the_checker_knows_what_a_register_may_do() {
    let call = |what, begun, ended, answered| Call {
        client: begun,
        what,
        begun,
        ended,
        answered,
    };
    let write = |value, begun, ended| call(What::Write(value), begun, ended, true);
    let read = |value, begun, ended| call(What::Read(value), begun, ended, true);
    let unknown = |value, begun, ended| call(What::Write(value), begun, ended, false);
    for allowed in [
        vec![read(None, 0, 1), write(Some(1), 2, 3), read(Some(1), 4, 5)],
        // Two writes at once may come in either order.
        vec![
            write(Some(1), 0, 2),
            write(Some(2), 1, 3),
            read(Some(1), 4, 5),
        ],
        vec![
            write(Some(1), 0, 2),
            write(Some(2), 1, 3),
            read(Some(2), 4, 5),
        ],
        // An unknown write may show, or not.
        vec![unknown(Some(1), 0, 2), read(Some(1), 3, 4)],
        vec![unknown(Some(1), 0, 2), read(None, 3, 4)],
        vec![
            write(Some(1), 0, 1),
            unknown(None, 2, 9),
            read(Some(1), 3, 4),
            read(None, 5, 6),
        ],
    ] {
        assert_eq!(linearizable(&allowed), Ok(()), "{allowed:?}");
    }
    for refused in [
        // Lost.
        vec![write(Some(1), 0, 1), read(None, 2, 3)],
        // Stale.
        vec![
            write(Some(1), 0, 1),
            write(Some(2), 2, 3),
            read(Some(1), 4, 5),
        ],
        // Back and forth.
        vec![
            write(Some(1), 0, 1),
            write(Some(2), 2, 9),
            read(Some(2), 3, 4),
            read(Some(1), 5, 6),
        ],
        // Resurrected: not there after the kill, there later.
        vec![
            unknown(Some(1), 0, 2),
            read(None, 3, 4),
            read(Some(1), 5, 6),
        ],
        vec![read(Some(7), 0, 1)],
    ] {
        assert!(linearizable(&refused).is_err(), "{refused:?}");
    }
}
