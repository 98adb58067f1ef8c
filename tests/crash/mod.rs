//! A real server that falls again and again, killed or with its disk, while many clients write and
//! everything that runs beside them runs: what was acknowledged is there afterwards, nothing else.

// Each test binary uses its own part of these.
#![allow(dead_code)]

mod content;
mod ground;
mod oracle;

pub use ground::Ground;

use crate::support::{Builder, Random, Server, command_of, key_of, set_of};

use bytes::Bytes;
use content::{SHARED_MAX, content, id_of};
use oracle::{Oracle, Seen, State, Step, Workload};
use shardkeep::backup::{ArchiveReader, BackupFile};
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use shardkeep::proto::zstdb::{Item, ItemReply, ListFilter};
use shardkeep::start::offline;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Response, Status};

const WRITERS: u64 = 64;
const CONNECTIONS: usize = 8;
/// Of a hundred starts, so many are killed while they recover.
const KILLED_STARTS: u64 = 30;
/// Of a hundred lives, so many last until content without references is reclaimed.
const LONG_LIVES: u64 = 5;
/// Of a hundred falls, so many are followed by a look at every byte that was left.
const KILLED_VERIFIED: u64 = 20;

/// The key of a value where the server names it.
fn hex_key(value: &[u8]) -> Bytes {
    Bytes::from(shardkeep::codec::digest_of(value).to_string())
}

/// One store that falls again and again.
pub struct Crashes {
    flags: &'static [&'static str],
    by_content: bool,
    ground: Ground,
    wrapper: Vec<OsString>,
    oracle: Arc<Oracle>,
    random: Random,
    fresh: Arc<AtomicU64>,
    figures: BTreeMap<&'static str, usize>,
}

/// What the tasks of one cycle share.
#[derive(Clone)]
struct Cycle {
    oracle: Arc<Oracle>,
    fresh: Arc<AtomicU64>,
    /// From here on the server or its disk may be gone.
    fallen: Arc<AtomicBool>,
}

impl Cycle {
    /// An answer, or `None` because the server fell.
    fn answered<T>(&self, answer: Result<T, Status>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(_) if self.fallen.load(Ordering::SeqCst) => None,
            Err(status) => panic!("the server lives, but a call failed: {status}"),
        }
    }
}

impl Crashes {
    pub fn new(
        ground: Ground,
        by_content: bool,
        flags: &'static [&'static str],
        seed: u64,
    ) -> Self {
        Self {
            flags,
            by_content,
            ground,
            wrapper: Vec::new(),
            oracle: Arc::default(),
            random: Random::seeded(seed),
            fresh: Arc::new(AtomicU64::new(SHARED_MAX)),
            figures: BTreeMap::new(),
        }
    }

    /// The words that start the server.
    pub fn under(mut self, wrapper: Vec<OsString>) -> Self {
        self.wrapper = wrapper;
        self
    }

    /// Falls so many times.
    pub async fn run(mut self, cycles: u64) {
        let mut server = self.builder().start().await;
        for _ in 0..cycles {
            self.write_until_it_falls(&mut server).await;
            if self.random.percent(KILLED_VERIFIED) {
                self.verify().await;
            }
            server = self.restart().await;
            self.check(&server).await;
            self.check_backups();
        }
        // The end in order is one more way to stop.
        server.stop().await;
        self.verify().await;
        let server = self.builder().start().await;
        self.check(&server).await;
        let (acknowledged, unknown) = self.oracle.figures();
        eprintln!(
            "{:?}: cycles {cycles}, acknowledged {acknowledged}, never answered {unknown}, {:?}",
            self.flags, self.figures
        );
    }

    /// Small segments, and everything that runs by the clock all the time.
    fn builder(&self) -> Builder {
        let mode = ["--allow-user-key", "--allow-overwrite"];
        let mode = if self.by_content { &[][..] } else { &mode[..] };
        Server::builder()
            .under(self.wrapper.clone())
            .flags(self.flags)
            .flags(mode)
            .flags(["--max-upload-size-mb", "1"])
            .set("storage.segment_size", "1 MiB")
            .set("index.checkpoint_bytes", "1 MiB")
            .set("gc.live_threshold", "0.9")
            .set("gc.check_interval", "100ms")
            .set("gc.slice_size", "64 KiB")
            .set("dedup.grace", "0s")
            .set("dedup.sweep_interval", "1s")
            .data_dir(self.ground.path())
    }

    /// Whether the oracle finds that something is lost, within so many falls: for planted faults.
    pub async fn loses(self, cycles: u64) -> bool {
        let Err(fallen) = tokio::spawn(self.run(cycles)).await else {
            return false;
        };
        let why = fallen.into_panic();
        let why = why.downcast_ref::<String>().expect("a message");
        assert!(why.contains(oracle::NOT_ALLOWED), "{why}");
        true
    }

    async fn write_until_it_falls(&mut self, server: &mut Server) {
        let cycle = Cycle {
            oracle: self.oracle.clone(),
            fresh: self.fresh.clone(),
            fallen: Arc::default(),
        };
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(server.client().await);
        }
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            let workload = Workload {
                by_content: self.by_content,
                writer,
                random: self.random.fork(),
            };
            let client = clients[writer as usize % CONNECTIONS].clone();
            tasks.spawn(write(cycle.clone(), client, workload));
        }
        let chores = server.client().await;
        tasks.spawn(collect_and_back_up(cycle.clone(), chores));
        let moment = if self.random.percent(LONG_LIVES) {
            self.count("long lives", 1);
            self.random.within(1_000..2_500)
        } else {
            self.random.within(5..500)
        };
        let moment = Duration::from_millis(moment);
        tokio::select! {
            () = tokio::time::sleep(moment) => {}
            // A writer never ends by itself: this one has failed.
            Some(Err(error)) = tasks.join_next() => std::panic::resume_unwind(error.into_panic()),
        }
        // What it says later, of a disk that is gone, is no false alarm.
        let log = server.log();
        cycle.fallen.store(true, Ordering::SeqCst);
        self.ground.fall(&mut self.random).await;
        server.kill();
        tasks.join_all().await;
        self.ground.rise();
        self.note_log(&log);
    }

    /// Starts the server again, killing it while it recovers every now and then.
    async fn restart(&mut self) -> Server {
        while self.random.percent(KILLED_STARTS) {
            let starting = self.builder().launch();
            let moment = Duration::from_millis(self.random.within(1..80));
            tokio::time::sleep(moment).await;
            let log = starting.log();
            self.ground.fall(&mut self.random).await;
            starting.kill();
            self.ground.rise();
            self.count("starts killed", 1);
            self.note_log(&log);
        }
        self.builder().start().await
    }

    /// Every key is as it may be, and all ways to look agree.
    async fn check(&self, server: &Server) {
        let mut client = server.client().await;
        let begun = self.oracle.now();
        let mut present = BTreeMap::new();
        for key in self.oracle.keys() {
            let seen = look(&mut client, &key).await.unwrap();
            self.oracle.check(&key, seen, begun);
            self.oracle.settle(&key, seen);
            let exists = client.exists(key_of(key.clone())).await.unwrap();
            let exists = exists.into_inner();
            let is_there = seen.state != State::Absent;
            assert_eq!(
                (exists.errcode == 0, exists.ver64),
                (is_there, seen.version)
            );
            if is_there {
                present.insert(key, seen.version);
            }
        }
        let listed: Vec<String> = listed(&mut client).await;
        let name = |(key, version): (&Bytes, &u64)| format!("{}:{version}", key.escape_ascii());
        assert_eq!(listed, present.iter().map(name).collect::<Vec<_>>());
        let count = client.count(Item::default()).await.unwrap().into_inner();
        let status = client.admin(command_of("status", "")).await.unwrap();
        let status: BTreeMap<String, String> =
            serde_json::from_slice(&status.into_inner().data).unwrap();
        assert_eq!(status["key_count"], present.len().to_string());
        let version_max: u64 = status["max_version"].parse().unwrap();
        assert!(present.values().all(|version| *version <= version_max));
        assert!(count.errcode == 0);
    }

    /// Every record, every reference recounted, log against index: without a server.
    async fn verify(&mut self) {
        let dir = self.ground.path().to_owned();
        let verified = move || offline::verify(&dir, false, &mut |_, _| {});
        let report = tokio::task::spawn_blocking(verified).await.unwrap();
        assert_eq!(report.unwrap().problems, []);
        self.count("verified", 1);
    }

    /// Whatever stands under a backup's name is a whole backup.
    fn check_backups(&mut self) {
        let backups = self.ground.path().join("backups");
        let Ok(found) = std::fs::read_dir(backups) else {
            return;
        };
        for entry in found {
            let path = entry.unwrap().path();
            if path.to_string_lossy().ends_with(".zstdb.bak") {
                verify_backup(&path);
                self.count("backups", 1);
                std::fs::remove_file(path).unwrap();
            }
        }
    }

    fn note_log(&mut self, log: &str) {
        for line in log.lines() {
            // A crash is no damage: what sounds like it is a false alarm.
            assert!(!line.contains("ERROR"), "{line}");
            if line.contains("rebuilding the index") {
                self.count("indexes rebuilt", 1);
            }
            if line.contains("did not end in order") {
                self.count("tails cut or copied", 1);
            }
            if let Some((_, freed)) = line.split_once(" removed=") {
                let freed = freed.split_whitespace().next().unwrap();
                self.count("segments freed", freed.parse().unwrap());
            }
        }
    }

    fn count(&mut self, what: &'static str, more: usize) {
        *self.figures.entry(what).or_default() += more;
    }
}

fn verify_backup(path: &Path) {
    let file = BackupFile::open(path).unwrap();
    let mut archive = ArchiveReader::open(file).unwrap();
    archive.verify(&mut |_, _| {}).unwrap();
}

/// One writer: changes keys and looks at them until the server is gone.
async fn write(cycle: Cycle, mut client: BadgerClient<Channel>, mut workload: Workload) {
    let oracle = &cycle.oracle;
    loop {
        let fresh = cycle.fresh.fetch_add(1, Ordering::Relaxed);
        let (attempt, reply) = match workload.step(fresh) {
            Step::Get(key) => {
                let begun = oracle.now();
                let Some(seen) = cycle.answered(look(&mut client, &key).await) else {
                    return;
                };
                oracle.check(&key, seen, begun);
                continue;
            }
            Step::Set(key, id) => {
                let attempt = oracle.begin(&key, State::Content(id));
                (attempt, client.set(set_of(key, content(id))).await)
            }
            Step::Delete(key) => {
                let attempt = oracle.begin(&key, State::Absent);
                (attempt, client.delete(key_of(key)).await)
            }
        };
        let Some(_done) = cycle.answered(reply.and_then(done)) else {
            return;
        };
        oracle.acknowledged(attempt);
    }
}

/// An administrator who never rests. `target` names the version up to which a backup is complete:
/// a promise that it is never given again.
async fn collect_and_back_up(cycle: Cycle, mut client: BadgerClient<Channel>) {
    loop {
        let gc = client.admin(command_of("gc", "")).await;
        let Some(_done_or_busy) = cycle.answered(gc) else {
            return;
        };
        let order = r#"{"path":"crash","since":"0"}"#;
        let backup = client.admin(command_of("backup", order)).await;
        let Some(backup) = cycle.answered(backup) else {
            return;
        };
        if is_busy(backup.get_ref()) {
            continue;
        }
        let Some(backup) = cycle.answered(done(backup)) else {
            return;
        };
        cycle.oracle.saw_version(backup_max(&backup));
    }
}

fn is_busy(reply: &ItemReply) -> bool {
    let why = b"a backup, restore or gc is running";
    reply.errcode != 0 && reply.status.starts_with(why)
}

/// The `9` of `..._[0-9].zstdb.bak`.
fn backup_max(reply: &ItemReply) -> u64 {
    let answer: BTreeMap<String, String> = serde_json::from_slice(&reply.data).unwrap();
    let range = answer["target"].rsplit_once("_[").unwrap().1;
    let range = range.strip_suffix("].zstdb.bak").unwrap();
    range.split_once('-').unwrap().1.parse().unwrap()
}

/// The reply of a server that did what it was asked to.
fn done(reply: Response<ItemReply>) -> Result<ItemReply, Status> {
    let reply = reply.into_inner();
    if reply.errcode == 0 {
        return Ok(reply);
    }
    let why = reply.status.escape_ascii();
    Err(Status::internal(format!("{}: {why}", reply.errcode)))
}

/// What stands under a key. An error of the server is not "nothing", and a wrong byte is not a value.
async fn look(client: &mut BadgerClient<Channel>, key: &Bytes) -> Result<Seen, Status> {
    let reply = client.get(key_of(key.clone())).await?.into_inner();
    if reply.errcode == 500 && reply.status.as_ref() == b"cannot get from bgrdb" {
        return Ok(Seen {
            state: State::Absent,
            version: 0,
        });
    }
    let reply = done(Response::new(reply))?;
    let id = id_of(&reply.data).unwrap_or_else(|| panic!("wrong bytes under {key:?}"));
    Ok(Seen {
        state: State::Content(id),
        version: reply.ver64,
    })
}

async fn listed(client: &mut BadgerClient<Channel>) -> Vec<String> {
    let mut keys = Vec::new();
    for pagenum in 1.. {
        let prefix = String::new();
        let page = client.list(ListFilter { prefix, pagenum }).await.unwrap();
        let page = page.into_inner().keys;
        if page.is_empty() {
            break;
        }
        keys.extend(page);
    }
    keys
}
