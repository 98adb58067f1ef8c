//! The real process, killed with SIGKILL at any moment, again and again: everything acknowledged
//! is there afterwards, and nothing else.
//!
//! `SHARDKEEP_CRASH_CYCLES` says how often each store is killed, `SHARDKEEP_CRASH_SEED` repeats the
//! choices of a run (the moments of the machine are its own).

#[path = "crash/mod.rs"]
mod crash;
mod support;

use crash::{Crashes, Ground};
use support::{Server, key_of, set_of};
use tempfile::TempDir;

const CYCLES: u64 = 5;

fn number_from(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().expect("a number"))
}

fn crashes(ground: Ground, by_content: bool, flags: &'static [&'static str]) -> Crashes {
    let seed = number_from("SHARDKEEP_CRASH_SEED");
    let seed = seed.unwrap_or_else(|| getrandom::u64().unwrap());
    eprintln!("SHARDKEEP_CRASH_SEED={seed} {flags:?}");
    Crashes::new(ground, by_content, flags, seed)
}

/// Killed in a folder that keeps what was written.
async fn killed(by_content: bool, flags: &'static [&'static str]) {
    let ground = Ground::Folder(TempDir::new().unwrap());
    let cycles = number_from("SHARDKEEP_CRASH_CYCLES").unwrap_or(CYCLES);
    crashes(ground, by_content, flags).run(cycles).await;
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
    killed(false, &["--shards", "1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_keys_in_three_shards_survive_kill_9() {
    killed(false, &["--shards", "3"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_keys_survive_kill_9_when_the_system_syncs() {
    killed(false, &["--shards", "3", "--durability", "os"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contents_in_three_shards_survive_kill_9() {
    killed(true, &["--shards", "3"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contents_in_one_shard_survive_kill_9_when_the_system_syncs() {
    killed(true, &["--shards", "1", "--durability", "os"]).await;
}

/// The planted fault: after a fall the folder is as it was after an earlier one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_goes_back_in_time_is_found() {
    let ground = Ground::Forgetful {
        dir: TempDir::new().unwrap(),
        kept: TempDir::new().unwrap(),
    };
    let crashes = crashes(ground, false, &["--shards", "1"]);
    assert!(crashes.loses(CYCLES).await);
}
