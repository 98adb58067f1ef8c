//! The index is only a cache: whatever becomes of its files, at any moment, the next start serves what
//! the log says, and tells of it where a part was missing.
//!
//! Clients with keys of their own put, delete and read, some for a moment only, beside GC and
//! backups. The server is killed or stopped, and the index of a shard is harmed, after that or while
//! the server still runs. After each start every Get, the scans in both directions, the versions and
//! the count must be what the clients were told, and after each kill the offline check finds nothing.

use crate::index_harm::{Harm, copy, must_be_told};
use crate::run::{cases, quick_dir, seed};
use crate::support::{Builder, PATIENCE, Random, Server, command_of, noise};
use bytes::Bytes;
use shardkeep::model::Problem;
use shardkeep::proto::v1;
use shardkeep::proto::v1::key_value_service_client::KeyValueServiceClient;
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use shardkeep::start::offline;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};

type Keys = KeyValueServiceClient<Channel>;

const SHARDS: u64 = 3;
const CLIENTS: u64 = 6;
const KEYS: u64 = 40;
/// Older copies that are kept of each shard's index.
const COPIES_MAX: usize = 4;
/// How long a key stays that goes by itself.
const MOMENT: Duration = Duration::from_millis(300);
/// What the log says of an index that is made anew.
const REBUILDING: &str = "rebuilding the index from the log";
/// What the offline check says of an index whose bytes are not what was written.
const UNREAD: &str = "cannot be read";

fn builder(dir: &Path) -> Builder {
    Server::builder()
        .flags(["--allow-user-key", "--allow-overwrite", "--shards", "3"])
        .flags(["--max-upload-size-mb", "1"])
        .set("storage.segment_size", "1 MiB")
        .set("index.write_buffer_size", "64 KiB")
        .set("index.inline_max", "16 KiB")
        .set("index.checkpoint_bytes", "1 MiB")
        .set("gc.live_threshold", "0.9")
        .set("gc.check_interval", "100ms")
        .set("dedup.grace", "0s")
        .set("dedup.sweep_interval", "1s")
        .data_dir(dir)
}

/// In the index, in the log, and in a home of its own.
fn value(id: u64) -> Bytes {
    let size = [0, 200, 3_000, 12_000, 70_000][(id % 5) as usize];
    [&id.to_le_bytes()[..], &noise(id, size)].concat().into()
}

/// What may stand under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    id: u64,
    /// Where an answer told it.
    version: Option<u64>,
    /// It goes by itself then, if it does.
    ends: Option<Instant>,
}

/// What all tasks of a life share.
#[derive(Default)]
struct Life {
    stop: AtomicBool,
    /// The server is gone or its index harmed: it may fail, but not answer wrongly.
    may_fail: AtomicBool,
}

impl Life {
    fn failed(&self, what: &str, status: &Status) -> Result<(), String> {
        if self.may_fail.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(format!("{what}: {status}"))
    }
}

/// A client with keys of its own, and all that may stand under each.
struct Tenant {
    number: u64,
    random: Random,
    fresh: Arc<AtomicU64>,
    held: BTreeMap<String, Vec<Option<Held>>>,
}

impl Tenant {
    fn key(&mut self) -> String {
        format!("{}/{}", self.number, self.random.within(0..KEYS))
    }

    fn states(&mut self, key: &str) -> &mut Vec<Option<Held>> {
        self.held.entry(key.to_owned()).or_insert(vec![None])
    }

    async fn run(mut self, mut keys: Keys, life: Arc<Life>) -> Result<Self, String> {
        while !life.stop.load(Ordering::SeqCst) {
            let key = self.key();
            match self.random.within(0..100) {
                0..=64 => self.put(&mut keys, key, &life).await?,
                65..=84 => self.delete(&mut keys, key, &life).await?,
                _ => match look(&mut keys, &key).await {
                    Ok(seen) => drop(self.judge(&key, seen)?),
                    Err(status) => life.failed("a Get", &status)?,
                },
            }
        }
        Ok(self)
    }

    async fn put(&mut self, keys: &mut Keys, key: String, life: &Life) -> Result<(), String> {
        let id = self.fresh.fetch_add(1, Ordering::Relaxed);
        let goes = self.random.percent(4);
        let stays = Duration::from_secs(3600);
        let ttl = match goes {
            true => Some(MOMENT),
            false => self.random.percent(10).then_some(stays),
        };
        let request = v1::PutRequest {
            key: key.clone().into(),
            value: value(id),
            expiry: ttl.map(|ttl| v1::Expiry {
                expiry: Some(v1::expiry::Expiry::Ttl(ttl.try_into().unwrap())),
            }),
            ..v1::PutRequest::default()
        };
        let mut held = Held {
            id,
            version: None,
            ends: None,
        };
        self.states(&key).push(Some(held));
        let done = keys.put(request).await;
        held.ends = goes.then(|| Instant::now() + MOMENT);
        match done {
            Ok(done) => held.version = Some(done.into_inner().version),
            Err(status) => {
                *self.states(&key).last_mut().unwrap() = Some(held);
                return life.failed("a Put", &status);
            }
        }
        *self.states(&key) = vec![Some(held)];
        Ok(())
    }

    async fn delete(&mut self, keys: &mut Keys, key: String, life: &Life) -> Result<(), String> {
        let request = v1::DeleteRequest {
            key: key.clone().into(),
            ..v1::DeleteRequest::default()
        };
        match keys.delete(request).await {
            Err(status) if status.code() != Code::NotFound => {
                self.states(&key).push(None);
                life.failed("a Delete", &status)
            }
            _done => {
                *self.states(&key) = vec![None];
                Ok(())
            }
        }
    }

    /// Which of what may stand under a key does.
    fn judge(&mut self, key: &str, seen: Option<Seen>) -> Result<Option<Held>, String> {
        let now = Instant::now();
        let is = |held: &&Option<Held>| match (held, &seen) {
            (Some(held), Some((version, bytes))) => {
                value(held.id) == *bytes && held.version.is_none_or(|it| it == *version)
            }
            (Some(held), None) => held.ends.is_some_and(|ends| ends < now + MOMENT),
            (None, seen) => seen.is_none(),
        };
        let states = self.states(key);
        let found = states.iter().rev().find(is).copied();
        let found = found.ok_or_else(|| {
            let seen = seen.as_ref().map(|(version, bytes)| (version, bytes.len()));
            format!("{key} is {seen:?}, may be one of {states:?}")
        })?;
        Ok(found)
    }
}

/// A version and a value.
type Seen = (u64, Bytes);

async fn look(keys: &mut Keys, key: &str) -> Result<Option<Seen>, Status> {
    let request = v1::GetRequest {
        key: key.to_owned().into(),
        ..v1::GetRequest::default()
    };
    match keys.get(request).await {
        Ok(found) => {
            let found = found.into_inner();
            Ok(Some((found.entry.unwrap().version, found.value)))
        }
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}

async fn scan(keys: &mut Keys, reverse: bool) -> Result<Vec<(Bytes, Seen)>, Status> {
    let request = v1::StreamScanRequest {
        reverse,
        ..v1::StreamScanRequest::default()
    };
    let mut stream = keys.stream_scan(request).await?.into_inner();
    let mut found = Vec::new();
    while let Some(message) = stream.message().await? {
        for result in message.results {
            let entry = result.entry.unwrap();
            found.push((entry.key, (entry.version, result.value)));
        }
    }
    Ok(found)
}

/// An answer of a server that may meet damage, and then makes the index of a shard anew.
async fn patiently<T>(call: impl AsyncFn() -> Result<T, Status>) -> Result<T, Status> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Err(status) if status.code() == Code::Unavailable && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answer => return answer,
        }
    }
}

/// GC and full backups, one after the other; what they say is not what is looked at here.
async fn chores(mut admin: BadgerClient<Channel>, life: Arc<Life>) {
    while !life.stop.load(Ordering::SeqCst) {
        let _busy_or_gone = admin.admin(command_of("gc", "")).await;
        let order = command_of("backup", r#"{"path":"cache","since":"0"}"#);
        let made = admin.admin(order).await;
        let Ok(made) = made.map(tonic::Response::into_inner) else {
            return;
        };
        if let Ok(made) = serde_json::from_slice::<BTreeMap<String, String>>(&made.data) {
            std::fs::remove_file(&made["target"]).unwrap();
        }
    }
}

/// A store that is harmed again and again.
struct Cases {
    root: tempfile::TempDir,
    random: Random,
    fresh: Arc<AtomicU64>,
    tenants: Vec<Tenant>,
    /// Older copies of each shard's index.
    copies: BTreeMap<u64, Vec<PathBuf>>,
    figures: BTreeMap<String, usize>,
}

impl Cases {
    fn new(seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let fresh = Arc::new(AtomicU64::new(1));
        let tenant = |number| Tenant {
            number,
            random: random.fork(),
            fresh: fresh.clone(),
            held: BTreeMap::new(),
        };
        Self {
            root: quick_dir(),
            tenants: (0..CLIENTS).map(tenant).collect(),
            random,
            fresh,
            copies: BTreeMap::new(),
            figures: BTreeMap::new(),
        }
    }

    fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    fn index(&self, shard: u64) -> PathBuf {
        self.data().join(format!("shards/{shard:03}/index"))
    }

    fn count(&mut self, what: impl Into<String>, more: usize) {
        *self.figures.entry(what.into()).or_default() += more;
    }

    /// Everything is as the clients were told.
    async fn check(&mut self, server: &Server) -> Result<(), String> {
        let keys = Keys::new(server.channel().await).max_decoding_message_size(1 << 30);
        let mut present: BTreeMap<Bytes, Seen> = BTreeMap::new();
        let mut passing: BTreeSet<Bytes> = BTreeSet::new();
        for tenant in &mut self.tenants {
            let held: Vec<String> = tenant.held.keys().cloned().collect();
            for key in held {
                let seen = patiently(async || look(&mut keys.clone(), &key).await).await;
                let seen = seen.map_err(|status| format!("a Get of {key}: {status}"))?;
                let mut state = tenant.judge(&key, seen.clone())?;
                match (&mut state, seen) {
                    (Some(held), Some(seen)) => {
                        held.version = Some(seen.0);
                        if held.ends.is_some() {
                            passing.insert(key.clone().into());
                        } else {
                            present.insert(key.clone().into(), seen);
                        }
                    }
                    (state, _) => *state = None,
                }
                *tenant.states(&key) = vec![state];
            }
        }
        for reverse in [false, true] {
            let scanned = patiently(async || scan(&mut keys.clone(), reverse).await).await;
            let mut scanned = scanned.map_err(|status| format!("a scan: {status}"))?;
            let order = |pair: &[(Bytes, Seen)]| (pair[0].0 < pair[1].0) != reverse;
            if !scanned.windows(2).all(order) {
                return Err("a scan is out of order".to_owned());
            }
            scanned.retain(|(key, _)| !passing.contains(key));
            let scanned: BTreeMap<Bytes, Seen> = scanned.into_iter().collect();
            if scanned != present {
                return Err(difference(&scanned, &present));
            }
        }
        if self.random.percent(30) {
            self.check_count(server, present.len()).await?;
        }
        Ok(())
    }

    /// As soon as what goes by itself is gone, there are so many keys.
    async fn check_count(&mut self, server: &Server, count: usize) -> Result<(), String> {
        let mut admin = server.client().await;
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let status = admin.admin(command_of("status", "")).await;
            let status = status.map_err(|status| format!("a status: {status}"))?;
            let status: BTreeMap<String, String> =
                serde_json::from_slice(&status.into_inner().data).unwrap();
            if status["key_count"] == count.to_string() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{} keys, not {count}", status["key_count"]));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The clients at work for a while, and what is done to an index meanwhile, if anything; `harmed`
    /// says whether something was done to one before. The server is killed or stopped at the end.
    async fn live(
        &mut self,
        mut server: Server,
        harm: Option<Harm>,
        harmed: bool,
    ) -> Result<(), String> {
        let life = Arc::new(Life::default());
        // What is wrong inside of a table shows when that is read.
        life.may_fail.store(harmed, Ordering::SeqCst);
        let mut tasks = JoinSet::new();
        for tenant in std::mem::take(&mut self.tenants) {
            tasks.spawn(tenant.run(Keys::new(server.channel().await), life.clone()));
        }
        let chores = tokio::spawn(chores(server.client().await, life.clone()));
        self.pass_time().await;
        if let Some(harm) = harm {
            life.may_fail.store(true, Ordering::SeqCst);
            self.harm(harm);
            self.pass_time().await;
        } else if self.random.percent(20) {
            self.keep_copy();
        }
        let is_killed = self.random.percent(70);
        if is_killed {
            life.may_fail.store(true, Ordering::SeqCst);
            server.kill();
        }
        life.stop.store(true, Ordering::SeqCst);
        for tenant in tasks.join_all().await {
            self.tenants.push(tenant?);
        }
        chores.await.unwrap();
        if !is_killed {
            server.terminate();
            let status = server.exited().await;
            if !status.success() && harm.is_none() && !harmed {
                return Err(format!("the server ended with {status}"));
            }
        }
        self.count(if is_killed { "kills" } else { "stops" }, 1);
        Ok(())
    }

    async fn pass_time(&mut self) {
        let long = if self.random.percent(10) { 1_500 } else { 300 };
        tokio::time::sleep(Duration::from_millis(self.random.within(20..long))).await;
    }

    /// Harms the index of any shard, sometimes of all.
    fn harm(&mut self, harm: Harm) {
        let one = self.random.within(0..SHARDS);
        let all = self.random.percent(10);
        for shard in (0..SHARDS).filter(|shard| all || *shard == one) {
            let copies = self.copies.get(&shard).map_or(&[][..], Vec::as_slice);
            let older = (!copies.is_empty())
                .then(|| copies[self.random.within(0..copies.len() as u64) as usize].clone());
            harm.happen(&self.index(shard), older.as_deref(), &mut self.random);
        }
        self.count(format!("{harm:?}"), 1);
    }

    fn keep_copy(&mut self) {
        for shard in 0..SHARDS {
            let name = format!("copy-{shard}-{}", self.random.next());
            let target = self.root.path().join(name);
            copy(&self.index(shard), &target).unwrap();
            let copies = self.copies.entry(shard).or_default();
            copies.push(target);
            if copies.len() > COPIES_MAX {
                let gone = copies.remove(self.random.within(0..COPIES_MAX as u64) as usize);
                std::fs::remove_dir_all(gone).unwrap();
            }
        }
    }

    /// The offline check finds nothing, or what was spoiled inside of a table and that nobody had a
    /// reason to read since; and after a repair nothing.
    async fn verify(&mut self) -> Result<(), String> {
        let problems = self.problems(false).await?;
        self.count("offline checks", 1);
        if problems.is_empty() {
            return Ok(());
        }
        let spoiling = Harm::ALL.iter().filter(|harm| harm.may_spoil());
        let is_spoiled = spoiling
            .map(|harm| format!("{harm:?}"))
            .any(|harm| self.figures.contains_key(&harm));
        if !(is_spoiled && is_unread(&problems)) {
            return Err(format!("{problems:?}"));
        }
        self.count("found by the offline check alone", 1);
        self.problems(true).await?;
        match self.problems(false).await? {
            left if left.is_empty() => Ok(()),
            left => Err(format!("after a repair: {left:?}")),
        }
    }

    async fn problems(&self, repair: bool) -> Result<Vec<Problem>, String> {
        let data = self.data();
        let verify = move || offline::verify(&data, repair, &mut |_, _| {});
        let report = tokio::task::spawn_blocking(verify).await.unwrap();
        Ok(report.map_err(|error| error.to_string())?.problems)
    }

    /// Starts the server; what it must tell of is told, and where nothing was done, nothing is.
    async fn start(&mut self, builder: Builder, harmed: bool) -> Result<Server, String> {
        let due = (0..SHARDS).filter(|shard| must_be_told(&self.index(*shard)));
        let due: Vec<u64> = match self.index(0).parent().unwrap().is_dir() {
            true => due.collect(),
            false => Vec::new(),
        };
        let server = builder.launch().ready_or_ended().await;
        let server = server.map_err(|log| format!("it does not start:\n{log}"))?;
        let log = server.log();
        let told: Vec<&str> = log.lines().filter(|it| it.contains(REBUILDING)).collect();
        for shard in &due {
            let name = format!("shard={shard:03}");
            if !told.iter().any(|line| line.contains(&name)) {
                return Err(format!(
                    "nobody tells of the index of shard {shard}:\n{log}"
                ));
            }
        }
        if !harmed && log.contains("ERROR") {
            return Err(format!("a false alarm:\n{log}"));
        }
        self.count("told rebuilds", told.len());
        self.count("told where something was missing", due.len());
        Ok(server)
    }

    async fn run(&mut self, count: u64) -> Result<(), String> {
        let mut harmed = false;
        for _ in 0..count {
            let server = self.start(builder(&self.data()), harmed).await?;
            self.check(&server).await?;
            let harm = Harm::draw(&mut self.random);
            let moment = self.random.within(0..100);
            // While it runs, after it has ended, or not at all.
            let meanwhile = (0..25).contains(&moment).then_some(harm);
            self.live(server, meanwhile, harmed).await?;
            // Where nothing is done now, nothing that was done before may be left unread either.
            if meanwhile.is_none() && (moment >= 88 || self.random.percent(50)) {
                self.verify().await?;
            }
            if self.random.percent(30) {
                self.keep_copy();
            }
            if (25..88).contains(&moment) {
                self.harm(harm);
            }
            harmed = moment < 88;
        }
        let server = self.start(builder(&self.data()), harmed).await?;
        self.check(&server).await?;
        server.stop().await;
        self.verify().await
    }
}

/// Whether all problems are those of indexes that cannot be read to their end: what stands in a block
/// that is spoiled is missing from every sum.
fn is_unread(problems: &[Problem]) -> bool {
    let unread = problems.iter().filter(|it| it.what.starts_with(UNREAD));
    let unread: BTreeSet<_> = unread.map(|it| &it.file).collect();
    problems
        .iter()
        .all(|it| unread.contains(&it.file) || it.what.contains(UNREAD))
}

fn difference(scanned: &BTreeMap<Bytes, Seen>, present: &BTreeMap<Bytes, Seen>) -> String {
    let keys: BTreeSet<&Bytes> = scanned.keys().chain(present.keys()).collect();
    let different = keys
        .into_iter()
        .filter(|key| scanned.get(*key) != present.get(*key));
    let version = |seen: Option<&Seen>| seen.map(|(version, _)| *version);
    let lines = different.take(5).map(|key| {
        let (one, other) = (version(scanned.get(key)), version(present.get(key)));
        format!("{key:?} is scanned at {one:?} and read at {other:?}")
    });
    lines.collect::<Vec<_>>().join("; ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_becomes_of_an_index_the_log_is_served() {
    let seed = seed("index_cache");
    let count = cases(12);
    let mut attack = Cases::new(seed);
    let done = attack.run(count).await;
    let puts = attack.fresh.load(Ordering::Relaxed);
    eprintln!("{count} cases, {puts} puts, {:?}", attack.figures);
    done.unwrap_or_else(|what| panic!("{what}"));
}

/// The planted fault: an index is taken as it is found. Journals that are gone are begun anew, with
/// numbers that begin anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_taken_as_it_is_found_is_found() {
    let mut attack = Cases::new(seed("index_cache planted"));
    let mut found = None;
    for _ in 0..20 {
        let builder = builder(&attack.data()).fail_points("index::preflight=return");
        let server = builder.start().await;
        let mut seen = attack.check(&server).await;
        if seen.is_ok() {
            seen = attack.live(server, None, true).await;
        }
        if let Err(what) = seen {
            found = Some(what);
            break;
        }
        attack.harm(Harm::NoJournals);
    }
    let what = found.expect("it is found");
    let wrong = ["is scanned at", "may be one of", "is not there"];
    assert!(wrong.iter().any(|it| what.contains(it)), "{what}");
}
