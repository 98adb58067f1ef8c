//! Memory pressure: many clients with large values, and a limit of the operating system on the
//! server's memory. Who does not fit is told so; nobody is killed, and what was acknowledged is there.

use crate::run::{cases, seed};
use crate::support::{Builder, Server, key_of, noise, process, set_of};
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

const MIB: usize = 1 << 20;
const LIMIT: usize = 512 * MIB;
const CLIENTS: u64 = 64;
const VALUE: usize = 16 * MIB;

/// A control group with a limit on the memory of the processes in it.
struct MemoryLimit(PathBuf);

impl MemoryLimit {
    /// A group of so many bytes; `None`, with a word why, where this user may not make one.
    fn new(bytes: usize) -> Option<Self> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let parents = groups.lines().filter_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let (root, limit) = match controllers {
                "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
                "" => ("/sys/fs/cgroup", "memory.max"),
                _ => return None,
            };
            Some((Path::new(root).join(path.trim_start_matches('/')), limit))
        });
        for (parent, limit) in parents {
            let dir = parent.join(format!("shardkeep-test-{}", getrandom::u64().unwrap()));
            if std::fs::create_dir(&dir).is_err() {
                continue;
            }
            let group = Self(dir);
            if std::fs::write(group.0.join(limit), bytes.to_string()).is_ok() {
                return Some(group);
            }
        }
        eprintln!("SKIPPED: no memory limit can be set here (it needs root and control groups)");
        None
    }

    /// The words that start a process in the group.
    fn wrapper(&self) -> Vec<OsString> {
        let script = r#"echo $$ > "$0" && exec "$@""#;
        let members = self.0.join("cgroup.procs");
        vec!["sh".into(), "-c".into(), script.into(), members.into()]
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0); // It stays until its last process is gone.
    }
}

/// What a client saw.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Done,
    Refused,
}

/// Stores a value of its own with all others at once, and reads it back.
async fn client(
    mut client: BadgerClient<Channel>,
    number: u64,
    start: Arc<Barrier>,
) -> Result<Seen, String> {
    let key = format!("large-{number}");
    let value = noise(number, VALUE);
    start.wait().await;
    match client.set(set_of(key.clone(), value.clone())).await {
        Ok(reply) if reply.get_ref().errcode == 0 => {}
        Ok(reply) => return Err(format!("a Set was answered {reply:?}")),
        Err(status) if status.code() == Code::ResourceExhausted => return Ok(Seen::Refused),
        Err(status) => return Err(format!("a Set failed: {status}")),
    }
    loop {
        match client.get(key_of(key.clone())).await {
            Ok(reply) if reply.get_ref().data == value => return Ok(Seen::Done),
            Ok(_) => return Err(format!("{key} is not what was acknowledged")),
            Err(status) if status.code() == Code::ResourceExhausted => {}
            Err(status) => return Err(format!("a Get failed: {status}")),
        }
    }
}

/// A connection ends a moment before its process does.
async fn was_killed(server: &mut Server) -> bool {
    for _ in 0..50 {
        if !server.is_running() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

/// All clients at once, each on a connection of its own; how many were refused.
async fn pressure(server: &mut Server, round: u64) -> Result<usize, String> {
    let mut clients = JoinSet::new();
    let start = Arc::new(Barrier::new(CLIENTS as usize));
    for number in 0..CLIENTS {
        let own = server.client().await;
        clients.spawn(client(own, round * CLIENTS + number, start.clone()));
    }
    let mut refused = 0;
    while let Some(seen) = clients.join_next().await {
        match seen.unwrap() {
            Ok(seen) => refused += usize::from(seen == Seen::Refused),
            Err(what) if was_killed(server).await => {
                return Err(format!("the server was killed: {what}"));
            }
            Err(what) => return Err(what),
        }
    }
    Ok(refused)
}

fn builder(limit: &MemoryLimit) -> Builder {
    Server::builder()
        .flag("--allow-user-key")
        .under(limit.wrapper())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_short_of_memory_refuses_and_is_not_killed() {
    let Some(limit) = MemoryLimit::new(LIMIT) else {
        return;
    };
    let rounds = cases(1);
    let seed = seed("memory");
    let mut server = builder(&limit).start().await;
    let mut refused = 0;
    for round in 0..rounds {
        refused += pressure(&mut server, seed % (1 << 32) + round)
            .await
            .unwrap();
    }
    let peak = process::resident_peak(server.pid()) / MIB;
    eprintln!("{rounds} rounds of {CLIENTS} clients, {refused} refusals, {peak} MiB at most");
}

/// The planted fault: a server that admits more than the machine has.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_budget_is_found() {
    let Some(limit) = MemoryLimit::new(LIMIT) else {
        return;
    };
    let unbounded = builder(&limit).set("admission.bytes_in_flight", "4 GiB");
    let unbounded = unbounded.fail_points("memory::limit=return");
    let mut server = unbounded.start().await;
    let killed = pressure(&mut server, 1 << 40).await.unwrap_err();
    assert!(killed.contains("the server was killed"), "{killed}");
}
