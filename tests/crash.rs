//! The real process, killed with SIGKILL at any moment, again and again: everything acknowledged
//! is there afterwards, and nothing else.
//!
//! `SHARDKEEP_CRASH_CYCLES` says how often each store is killed, `SHARDKEEP_CRASH_SEED` repeats the
//! choices of a run (the moments of the machine are its own).

#[path = "crash/content.rs"]
mod content;
#[path = "crash/oracle.rs"]
mod oracle;
mod support;

use bytes::Bytes;
use content::{SHARED_MAX, content, id_of};
use oracle::{Oracle, Seen, State, Step, Workload};
use shardkeep::backup::{ArchiveReader, BackupFile};
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use shardkeep::proto::zstdb::{Item, ItemReply, ListFilter};
use shardkeep::start::offline;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use support::{Builder, Random, Server, command_of, key_of, set_of};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::Channel;

const CYCLES: u64 = 5;
const WRITERS: u64 = 12;
const CONNECTIONS: usize = 3;
/// Of a hundred starts, so many are killed while they recover.
const KILLED_STARTS: u64 = 30;
/// Of a hundred kills, so many are followed by a look at every byte that was left.
const KILLED_VERIFIED: u64 = 20;

/// The key of a value where the server names it.
fn hex_key(value: &[u8]) -> Bytes {
    Bytes::from(shardkeep::codec::digest_of(value).to_string())
}

fn number_from(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().expect("a number"))
}

/// One store that is killed again and again.
struct Crashes {
    flags: &'static [&'static str],
    by_content: bool,
    dir: TempDir,
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
    /// From here on the server may be gone.
    killed: Arc<AtomicBool>,
}

impl Cycle {
    /// An answer, or `None` because the server was killed.
    fn answered<T>(&self, answer: Result<T, Status>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(_) if self.killed.load(Ordering::SeqCst) => None,
            Err(status) => panic!("the server lives, but a call failed: {status}"),
        }
    }
}

impl Crashes {
    fn new(by_content: bool, flags: &'static [&'static str]) -> Self {
        let seed = number_from("SHARDKEEP_CRASH_SEED");
        let seed = seed.unwrap_or_else(|| getrandom::u64().unwrap());
        eprintln!("SHARDKEEP_CRASH_SEED={seed} {flags:?}");
        Self {
            flags,
            by_content,
            dir: TempDir::new().unwrap(),
            oracle: Arc::default(),
            random: Random::seeded(seed),
            fresh: Arc::new(AtomicU64::new(SHARED_MAX)),
            figures: BTreeMap::new(),
        }
    }

    async fn run(mut self) {
        let cycles = number_from("SHARDKEEP_CRASH_CYCLES").unwrap_or(CYCLES);
        let mut server = self.builder().start().await;
        for _ in 0..cycles {
            self.write_until_killed(&mut server).await;
            self.note_log(&server.log());
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
            .flags(self.flags)
            .flags(mode)
            .flags(["--max-upload-size-mb", "1"])
            .set("storage.segment_size", "1 MiB")
            .set("index.checkpoint_bytes", "1 MiB")
            .set("gc.live_threshold", "0.9")
            .set("gc.check_interval", "100ms")
            .set("gc.slice_size", "64 KiB")
            .set("dedup.grace", "1s")
            .set("dedup.sweep_interval", "1s")
            .data_dir(self.dir.path())
    }

    async fn write_until_killed(&mut self, server: &mut Server) {
        let cycle = Cycle {
            oracle: self.oracle.clone(),
            fresh: self.fresh.clone(),
            killed: Arc::default(),
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
        let moment = Duration::from_millis(self.random.within(5..500));
        tokio::select! {
            () = tokio::time::sleep(moment) => {}
            // A writer never ends by itself: this one has failed.
            Some(Err(error)) = tasks.join_next() => std::panic::resume_unwind(error.into_panic()),
        }
        cycle.killed.store(true, Ordering::SeqCst);
        server.kill();
        tasks.join_all().await;
    }

    /// Starts the server again, killing it while it recovers every now and then.
    async fn restart(&mut self) -> Server {
        while self.random.percent(KILLED_STARTS) {
            let starting = self.builder().launch();
            let moment = Duration::from_millis(self.random.within(1..80));
            tokio::time::sleep(moment).await;
            let log = starting.kill();
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
        let dir = self.dir.path().to_owned();
        let verified = move || offline::verify(&dir, false, &mut |_, _| {});
        let report = tokio::task::spawn_blocking(verified).await.unwrap();
        assert_eq!(report.unwrap().problems, []);
        self.count("verified", 1);
    }

    /// Whatever stands under a backup's name is a whole backup.
    fn check_backups(&mut self) {
        let backups = self.dir.path().join("backups");
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
        let Some(reply) = cycle.answered(reply) else {
            return;
        };
        let reply = reply.into_inner();
        assert_eq!(reply.errcode, 0, "{}", reply.status.escape_ascii());
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
        let backup = backup.into_inner();
        if backup.errcode == 0 {
            cycle.oracle.saw_version(backup_max(&backup));
        } else {
            assert!(
                backup
                    .status
                    .starts_with(b"a backup, restore or gc is running"),
                "{}",
                backup.status.escape_ascii()
            );
        }
    }
}

/// The `9` of `..._[0-9].zstdb.bak`.
fn backup_max(reply: &ItemReply) -> u64 {
    let answer: BTreeMap<String, String> = serde_json::from_slice(&reply.data).unwrap();
    let range = answer["target"].rsplit_once("_[").unwrap().1;
    let range = range.strip_suffix("].zstdb.bak").unwrap();
    range.split_once('-').unwrap().1.parse().unwrap()
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
    assert_eq!(reply.errcode, 0, "{}", reply.status.escape_ascii());
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

#[tokio::test]
async fn a_set_that_was_acknowledged_is_there_after_kill_9() {
    let dir = TempDir::new().unwrap();
    let start = || Server::builder().flag("--allow-user-key").data_dir(&dir);
    let mut server = start().start().await;
    let mut client = server.client().await;
    let reply = client.set(set_of("k", "value")).await.unwrap();
    server.kill();
    assert_eq!(reply.into_inner().errcode, 0);
    let server = start().start().await;
    let reply = server.client().await.get(key_of("k")).await.unwrap();
    let reply = reply.into_inner();
    assert_eq!((reply.data.as_ref(), reply.ver64), (&b"value"[..], 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_keys_in_one_shard_survive_kill_9() {
    Crashes::new(false, &["--shards", "1"]).run().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_keys_in_three_shards_survive_kill_9() {
    Crashes::new(false, &["--shards", "3"]).run().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_keys_survive_kill_9_when_the_system_syncs() {
    Crashes::new(false, &["--shards", "3", "--durability", "os"])
        .run()
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contents_in_three_shards_survive_kill_9() {
    Crashes::new(true, &["--shards", "3"]).run().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contents_in_one_shard_survive_kill_9_when_the_system_syncs() {
    Crashes::new(true, &["--shards", "1", "--durability", "os"])
        .run()
        .await;
}
