//! A failed call of the system is never an "ok": on the real server each call that touches its
//! files fails, once in every thread, with EIO and with ENOSPC, at each of its places in a short
//! history. What was acknowledged is there after a restart without faults; the server serves again
//! by itself or has ended; nothing hangs.

use crate::run::{cases, quick_dir, seed};
use crate::support::{
    Builder, PATIENCE, Random, Server, command_of, eventually, key_of, noise, set_of,
};
use rustix::process::{Pid, Signal, kill_process};
use shardkeep::backup::{ArchiveReader, BackupFile};
use shardkeep::proto::zstdb::ItemReply;
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use shardkeep::start::offline;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use tonic::transport::Channel;
use tonic::{Response, Status};

/// The calls by which the server changes its files.
const CALLS: [&str; 14] = [
    "openat",
    "write",
    "pwrite64",
    "pwritev",
    "writev",
    "fdatasync",
    "fsync",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "unlink",
    "unlinkat",
    "mkdir",
];
const ERRORS: [&str; 2] = ["EIO", "ENOSPC"];

type Client = BadgerClient<Channel>;

/// What may stand under each key: one value, or several where an answer was an error.
#[derive(Debug, Default)]
struct Oracle(BTreeMap<String, Vec<Option<Vec<u8>>>>);

impl Oracle {
    /// An attempt to leave a key so, and whether it was acknowledged.
    fn note(&mut self, key: &str, value: Option<Vec<u8>>, acknowledged: bool) {
        let may_be = self.0.entry(key.to_owned()).or_insert(vec![None]);
        if acknowledged {
            may_be.clear();
        }
        may_be.push(value);
    }

    fn allows(&self, key: &str, found: Option<&[u8]>) -> Result<(), String> {
        let may_be = self.0.get(key);
        let allowed = match may_be {
            None => found.is_none(),
            Some(may_be) => may_be.iter().any(|it| it.as_deref() == found),
        };
        let show = |value: Option<&[u8]>| value.map_or("nothing".into(), describe);
        let could = || may_be.map(|it| it.iter().map(|it| show(it.as_deref())).collect::<Vec<_>>());
        match allowed {
            true => Ok(()),
            false => Err(format!("{key} is {}, may be {:?}", show(found), could())),
        }
    }
}

fn describe(value: &[u8]) -> String {
    format!("{} bytes {:?}", value.len(), &value[..value.len().min(8)])
}

fn builder(dir: &Path) -> Builder {
    Server::builder()
        .flags(["--allow-user-key", "--allow-overwrite", "--shards", "1"])
        .flags(["--max-upload-size-mb", "1"])
        .set("storage.segment_size", "1 MiB")
        .set("index.checkpoint_bytes", "1 MiB")
        .set("gc.live_threshold", "0.9")
        .set("supervise.restart_budget", "1000")
        .data_dir(dir)
}

/// The answer of a call: what it holds, or the refusal. An answer must come.
async fn answered(
    call: impl Future<Output = Result<Response<ItemReply>, Status>>,
) -> Result<ItemReply, String> {
    let reply = tokio::time::timeout(PATIENCE, call).await;
    let reply = reply.map_err(|_| "HANGS: no answer".to_owned())?;
    let reply = reply.map_err(|status| status.to_string())?.into_inner();
    match reply.errcode {
        0 => Ok(reply),
        _ => Err(reply.status.escape_ascii().to_string()),
    }
}

fn hangs<T>(answer: &Result<T, String>) -> bool {
    answer
        .as_ref()
        .is_err_and(|error| error.starts_with("HANGS"))
}

async fn set(
    client: &mut Client,
    oracle: &mut Oracle,
    key: &str,
    value: Vec<u8>,
) -> Result<(), String> {
    let answer = answered(client.set(set_of(key.to_owned(), value.clone()))).await;
    oracle.note(key, Some(value), answer.is_ok());
    if hangs(&answer) {
        Err(format!("set {key}: no answer"))
    } else {
        Ok(())
    }
}

/// Reads a key; an error of the server is `None`, a value that may not be is the failure.
async fn get(client: &mut Client, oracle: &Oracle, key: &str) -> Result<bool, String> {
    match answered(client.get(key_of(key.to_owned()))).await {
        Ok(reply) => oracle.allows(key, Some(&reply.data)).map(|()| true),
        Err(error) if error == "cannot get from bgrdb" => oracle.allows(key, None).map(|()| true),
        Err(error) if error.starts_with("HANGS") => Err(format!("get {key}: no answer")),
        Err(_) => Ok(false),
    }
}

/// Small values, shared and large contents, overwrites, deletes, a backup, GC; enough for several
/// segments.
async fn history(client: &mut Client, oracle: &mut Oracle, rounds: u64) -> Result<(), String> {
    for round in 0..rounds {
        for number in 0..3 {
            let fresh = round * 10 + number;
            let small = format!("small {fresh}").into_bytes();
            set(client, oracle, &format!("small/{number}"), small).await?;
            let shared = noise(fresh % 4, 6_000);
            set(client, oracle, &format!("shared/{fresh}"), shared).await?;
            let large = noise(1_000 + fresh, 150_000);
            set(client, oracle, &format!("large/{number}"), large).await?;
        }
        let gone = format!("shared/{}", round * 10 + 1);
        let answer = answered(client.delete(key_of(gone.clone()))).await;
        oracle.note(&gone, None, answer.is_ok());
        if hangs(&answer) {
            return Err(format!("delete {gone}: no answer"));
        }
        get(client, oracle, "large/1").await?;
    }
    let backup = command_of("backup", r#"{"path":"fault","since":"0"}"#);
    for chore in [backup, command_of("gc", "")] {
        let answer = answered(client.admin(chore)).await;
        if hangs(&answer) {
            return Err("a chore gives no answer".to_owned());
        }
    }
    set(client, oracle, "small/0", b"the last".to_vec()).await
}

/// A store that a history has happened to, to be copied for each case.
async fn base(dir: &Path) -> Oracle {
    let mut oracle = Oracle::default();
    let mut server = builder(dir).start().await;
    let mut client = server.client().await;
    history(&mut client, &mut oracle, 2).await.unwrap();
    server.kill();
    oracle
}

/// One fault: the call, and what is injected in the words of `strace`.
#[derive(Debug, Clone)]
struct Fault {
    call: &'static str,
    action: String,
    when: usize,
}

/// The server under `strace`, which looks only at these paths.
fn wrapper(
    paths: &BTreeSet<PathBuf>,
    calls: &str,
    fault: Option<&Fault>,
    out: &Path,
) -> Vec<OsString> {
    let mut words: Vec<OsString> = ["strace", "-D", "-f", "-q", "-y", "-s", "0"]
        .map(Into::into)
        .into();
    words.extend(["-e".into(), format!("trace={calls}").into()]);
    words.extend(["-e".into(), "signal=none".into()]);
    if let Some(fault) = fault {
        let inject = format!("inject={}:{}:when={}", fault.call, fault.action, fault.when);
        words.extend(["-e".into(), inject.into()]);
    }
    for path in paths {
        words.extend(["-P".into(), path.into()]);
    }
    words.extend(["-o".into(), out.into()]);
    words
}

/// What one case found.
#[derive(Debug, Default)]
struct Found {
    injected: usize,
    ended: bool,
}

struct Attack {
    dir: tempfile::TempDir,
    paths: BTreeSet<PathBuf>,
    /// The most calls of one thread, by call.
    sites: BTreeMap<&'static str, usize>,
}

impl Attack {
    /// Learns which files there are and how often each call is made; `None` where `strace` may not.
    async fn prepare() -> Option<Self> {
        let mut attack = Self {
            dir: quick_dir(),
            paths: BTreeSet::new(),
            sites: BTreeMap::new(),
        };
        if std::process::Command::new("strace")
            .arg("-V")
            .output()
            .is_err()
        {
            eprintln!("SKIPPED: strace is not installed (apt-get install strace)");
            return None;
        }
        let out = attack.dir.path().join("trace");
        let mut oracle = base(&attack.base()).await;
        attack.copy_base();
        let wrapper = wrapper(&attack.paths, &CALLS.join(","), None, &out);
        let mut server = builder(&attack.data()).under(wrapper).start().await;
        let mut client = server.client().await;
        history(&mut client, &mut oracle, 3).await.unwrap();
        server.kill();
        attack.learn(&attack.traced().await);
        assert!(attack.sites.len() > 6, "{:?}", attack.sites);
        Some(attack)
    }

    fn base(&self) -> PathBuf {
        self.dir.path().join("base")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn copy_base(&self) {
        let (from, to) = (self.base(), self.data());
        let _nothing_there = std::fs::remove_dir_all(&to);
        for entry in walkdir::WalkDir::new(&from) {
            let entry = entry.unwrap();
            let target = to.join(entry.path().strip_prefix(&from).unwrap());
            if entry.file_type().is_dir() {
                std::fs::create_dir(target).unwrap();
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }

    /// What `strace` wrote, once it has ended, a little after the process that it looks at.
    async fn traced(&self) -> String {
        let out = self.dir.path().join("trace");
        let is_over = || (!is_named_by_a_process(&out)).then_some(());
        eventually("the end of strace", is_over).await;
        std::fs::read_to_string(&out).unwrap()
    }

    fn learn(&mut self, text: &str) {
        let data = self.data();
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for line in text.lines() {
            let mut mine = false;
            for part in line.split(['"', '<', '>']) {
                if Path::new(part).starts_with(&data) {
                    self.paths.insert(part.into());
                    mine = true;
                }
            }
            let (thread, call) = line.split_once(' ').unwrap();
            if let (true, Some((name, _))) = (mine, call.trim_start().split_once('(')) {
                *counts.entry((thread, name)).or_default() += 1;
            }
        }
        for call in CALLS {
            let of_call = counts.iter().filter(|((_, name), _)| *name == call);
            if let Some(most) = of_call.map(|(_, count)| *count).max() {
                self.sites.insert(call, most);
            }
        }
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (call, most) in &self.sites {
            for error in ERRORS {
                faults.extend((1..=*most).map(|when| Fault {
                    call,
                    action: format!("error={error}"),
                    when,
                }));
            }
        }
        faults
    }

    /// One case; what is wrong with what came of it.
    async fn run(&self, fault: &Fault, mut oracle: Oracle) -> Result<Found, String> {
        self.copy_base();
        let out = self.dir.path().join("trace");
        let _nothing_there = std::fs::remove_file(&out);
        let wrapper = wrapper(&self.paths, fault.call, Some(fault), &out);
        let starting = builder(&self.data()).under(wrapper).launch();
        let mut found = Found::default();
        match starting.ready_or_ended().await {
            Err(_) => found.ended = true,
            Ok(mut server) => {
                let mut client = server.client().await;
                history(&mut client, &mut oracle, 3).await?;
                end_faults(server.pid());
                serves_again(&mut server, &mut oracle).await?;
                server.kill();
            }
        }
        found.injected = self.traced().await.matches("(INJECTED)").count();
        self.look(&oracle).await?;
        Ok(found)
    }

    /// Without faults, everything is as it may be.
    async fn look(&self, oracle: &Oracle) -> Result<(), String> {
        let starting = builder(&self.data()).launch();
        let mut server = starting
            .ready_or_ended()
            .await
            .map_err(|log| format!("does not start:\n{log}"))?;
        let mut client = server.client().await;
        for key in oracle.0.keys() {
            if !get(&mut client, oracle, key).await? {
                return Err(format!("{key} cannot be read:\n{}", server.log()));
            }
        }
        server.kill();
        let data = self.data();
        let verified = move || offline::verify(&data, false, &mut |_, _| {});
        let report = tokio::task::spawn_blocking(verified).await.unwrap();
        let report = report.map_err(|error| error.to_string())?;
        if !report.problems.is_empty() {
            return Err(format!("{:?}", report.problems));
        }
        for entry in std::fs::read_dir(self.data().join("backups")).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().ends_with(".zstdb.bak") {
                let opened = BackupFile::open(&path).and_then(ArchiveReader::open);
                let verified = opened.and_then(|mut archive| archive.verify(&mut |_, _| {}));
                verified.map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        Ok(())
    }
}

/// Whether the command line of a living process names this file.
pub fn is_named_by_a_process(file: &Path) -> bool {
    let name = file.as_os_str().as_bytes();
    let processes = std::fs::read_dir("/proc").unwrap();
    processes.flatten().any(|process| {
        let words = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|word| word == name)
    })
}

/// Ends the tracer of a process, which goes on without faults. Until then every new thread has met
/// its own: a shard that was reopened fails again.
fn end_faults(pid: u32) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    let tracer = tracer.and_then(|tracer| tracer.trim().parse().ok());
    // Zero, which is no process, where the server has ended.
    if let Some(tracer) = tracer.and_then(Pid::from_raw) {
        kill_process(tracer, Signal::KILL).unwrap();
    }
}

/// Without faults the server takes writes again sooner or later, if it has not ended.
async fn serves_again(server: &mut Server, oracle: &mut Oracle) -> Result<(), String> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if !server.is_running() {
            return Ok(());
        }
        let mut client = server.client().await;
        let answer = answered(client.set(set_of("again", "again"))).await;
        oracle.note("again", Some(b"again".to_vec()), answer.is_ok());
        match answer {
            Ok(_) => return Ok(()),
            Err(error) if tokio::time::Instant::now() > deadline => {
                return Err(format!("serves no more: {error}\n{}", server.log()));
            }
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    }
}

/// The base's history, without the store.
fn base_oracle(rounds: u64) -> Oracle {
    let mut oracle = Oracle::default();
    for round in 0..rounds {
        for number in 0..3 {
            let fresh = round * 10 + number;
            let small = format!("small {fresh}").into_bytes();
            oracle.note(&format!("small/{number}"), Some(small), true);
            oracle.note(
                &format!("shared/{fresh}"),
                Some(noise(fresh % 4, 6_000)),
                true,
            );
            oracle.note(
                &format!("large/{number}"),
                Some(noise(1_000 + fresh, 150_000)),
                true,
            );
        }
        oracle.note(&format!("shared/{}", round * 10 + 1), None, true);
    }
    oracle.note("small/0", Some(b"the last".to_vec()), true);
    oracle
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_fails_is_never_an_ok() {
    let mut random = Random::seeded(seed("syscall_faults"));
    let Some(attack) = Attack::prepare().await else {
        return;
    };
    let mut faults = attack.faults();
    let all = faults.len();
    let mut failures = Vec::new();
    let (mut tried, mut injected, mut ended) = (0, 0, 0);
    for _ in 0..cases(8) {
        if faults.is_empty() {
            break;
        }
        let picked = random.within(0..faults.len() as u64) as usize;
        let fault = faults.swap_remove(picked);
        tried += 1;
        match attack.run(&fault, base_oracle(2)).await {
            Ok(found) => {
                injected += found.injected;
                ended += usize::from(found.ended);
            }
            Err(error) => {
                eprintln!("{fault:?}: {error}");
                failures.push(format!("{fault:?}: {error}"));
            }
        }
    }
    eprintln!(
        "{tried} of {all} faults tried, {injected} injected, {ended} starts ended, {:?}",
        attack.sites
    );
    assert!(failures.is_empty(), "{} failures", failures.len());
}

/// Planted: a write that says "done" and has written nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_only_says_ok_is_found() {
    let Some(attack) = Attack::prepare().await else {
        return;
    };
    let fault = Fault {
        call: "pwritev",
        action: "retval=1".to_owned(),
        when: 4,
    };
    let outcome = attack.run(&fault, base_oracle(2)).await;
    assert!(outcome.is_err(), "{outcome:?}");
}
