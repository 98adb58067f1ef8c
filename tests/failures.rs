//! Faults in the real process: a shard that panics, a step of a commit that fails, a disk that
//! answers EIO, a second process, signals. What was acknowledged is there, and the rest serves.

mod support;

use bytes::Bytes;
use shardkeep::codec::slot_of;
use shardkeep::model::ShardId;
use shardkeep::proto::zstdb::ItemReply;
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use shardkeep::shard::Homes;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::{
    Builder, PATIENCE, Server, Trace, command_of, eventually, http2, key_of, noise, set_of,
};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use tonic::transport::Channel;

const OUTCOME_UNKNOWN: &str = "the outcome of this write is unknown";

type Client = BadgerClient<Channel>;

fn keyed(dir: &Path) -> Builder {
    let builder = Server::builder().flags(["--allow-user-key", "--allow-overwrite"]);
    builder.data_dir(dir)
}

/// Keys that all live in one shard.
fn keys_of(shard: u16, shards: u16) -> impl Iterator<Item = String> {
    let homes = Homes::even(shards);
    let is_here = move |key: &String| homes.shard_of(slot_of(key.as_bytes())) == ShardId(shard);
    (0..).map(|number| format!("key-{number}")).filter(is_here)
}

async fn set(client: &mut Client, key: &str, value: impl Into<Bytes>) -> Result<(), String> {
    let reply = client.set(set_of(key.to_owned(), value)).await;
    said(reply.unwrap().into_inner()).map(drop)
}

async fn get(client: &mut Client, key: &str) -> Result<Bytes, String> {
    let reply = client.get(key_of(key.to_owned())).await;
    said(reply.unwrap().into_inner()).map(|reply| reply.data)
}

fn said(reply: ItemReply) -> Result<ItemReply, String> {
    match reply.errcode {
        0 => Ok(reply),
        _ => Err(String::from_utf8(reply.status.to_vec()).unwrap()),
    }
}

/// Sets a key until that works; what was said until then.
async fn set_at_last(client: &mut Client, key: &str, value: &str) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut refusals = Vec::new();
    while let Err(refusal) = set(client, key, value.to_owned()).await {
        assert!(Instant::now() < deadline, "still refused: {refusal}");
        refusals.push(refusal);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    refusals
}

/// What the store was told, and what it must therefore say.
#[derive(Default)]
struct Acknowledged(BTreeMap<String, Bytes>);

impl Acknowledged {
    /// Stores values of all sizes under new keys until one is refused; that key and the refusal.
    async fn set_until_refused(&mut self, client: &mut Client) -> (String, String) {
        for number in 0..100_000 {
            let len = [20, 1_000, 10_000][number as usize % 3];
            let (key, value) = (format!("key-{number}"), Bytes::from(noise(number, len)));
            match set(client, &key, value.clone()).await {
                Ok(()) => self.0.insert(key, value),
                Err(refusal) => return (key, refusal),
            };
        }
        panic!("nothing was refused");
    }

    async fn check(&self, client: &mut Client) {
        for (key, value) in &self.0 {
            let found = get(client, key).await;
            assert!(found.as_ref() == Ok(value), "{key}: {:?}", found.err());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panicking_shard_comes_back_while_its_neighbours_serve() {
    let dir = TempDir::new().unwrap();
    // The second opening takes five seconds, so that there is an outage to look at.
    let points = "shard::commit::001=20*off->1*panic;shard::open::001=1*off->1*sleep(5000)";
    let builder = keyed(dir.path()).flags(["--shards", "4"]);
    let server = builder.fail_points(points).start().await;
    let over = Arc::new(AtomicBool::new(false));
    let answers: Vec<_> = [0, 2, 3].map(|shard| (shard, Arc::default())).into();
    let mut neighbours = JoinSet::new();
    for (shard, answered) in answers.clone() {
        let client = server.client().await;
        neighbours.spawn(neighbour(client, shard, over.clone(), answered));
    }
    let mut client = server.client().await;
    let mut stored = Vec::new();
    let mut keys = keys_of(1, 4);
    let (lost, refusal) = loop {
        let key = keys.next().unwrap();
        match set(&mut client, &key, key.clone()).await {
            Ok(()) => stored.push(key),
            Err(refusal) => break (key, refusal),
        }
    };
    let count = |(_, answered): &(u16, Arc<AtomicU64>)| answered.load(Ordering::SeqCst);
    let before: Vec<_> = answers.iter().map(count).collect();
    assert!(refusal.contains(OUTCOME_UNKNOWN), "{refusal}");
    let refusals = set_at_last(&mut client, &lost, &lost).await;
    let after: Vec<_> = answers.iter().map(count).collect();
    assert!(!refusals.is_empty() && refusals.iter().all(|it| it.contains("retry")));
    for (before, after) in before.iter().zip(&after) {
        assert!(after > before, "a neighbour stood still: {before}, {after}");
    }
    eprintln!("answers of the neighbours during the outage: {before:?} to {after:?}");
    over.store(true, Ordering::SeqCst);
    neighbours.join_all().await;
    stored.push(lost);
    for key in stored {
        assert_eq!(get(&mut client, &key).await.unwrap(), key);
    }
    assert!(server.log().contains("its actor panicked"));
    server.stop().await;
}

/// Writes and reads in one shard until told to stop; never refused.
async fn neighbour(
    mut client: Client,
    shard: u16,
    over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
) {
    let keys: Vec<_> = keys_of(shard, 4).take(50).collect();
    for key in keys.iter().cycle() {
        set(&mut client, key, key.clone()).await.unwrap();
        assert_eq!(get(&mut client, key).await.unwrap(), *key);
        answered.fetch_add(1, Ordering::SeqCst);
        if over.load(Ordering::SeqCst) {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_step_of_a_commit_fails_nothing_acknowledged_is_lost() {
    for step in [
        "log::write=40*off->1*return",
        "shard::written=40*off->1*return",
        "log::sync=40*off->1*return",
        "shard::synced=40*off->1*return",
        "index::commit=40*off->1*return",
        "shard::commit=40*off->1*panic",
        // The next one fails in the shard that was opened again, and so does its first opening.
        "log::sync=40*off->1*return->20*off->1*return;shard::open::000=1*off->2*return",
    ] {
        let dir = TempDir::new().unwrap();
        let builder = keyed(dir.path()).flags(["--shards", "1"]);
        let mut server = builder.fail_points(step).start().await;
        let mut client = server.client().await;
        let mut acknowledged = Acknowledged::default();
        let (lost, refusal) = acknowledged.set_until_refused(&mut client).await;
        assert!(refusal.contains(OUTCOME_UNKNOWN), "{step}: {refusal}");
        set_at_last(&mut client, "after", "after").await;
        acknowledged.check(&mut client).await;
        let unknown = get(&mut client, &lost).await;
        for number in 0..60 {
            set_at_last(&mut client, &format!("after-{number}"), "after").await;
        }
        server.kill();
        let server = keyed(dir.path()).start().await;
        let mut client = server.client().await;
        acknowledged.check(&mut client).await;
        assert_eq!(get(&mut client, "after-59").await.unwrap(), "after");
        // Whatever became of it, it stays so.
        assert!(get(&mut client, &lost).await == unknown, "{step}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_whose_sync_failed_is_read_until_it_is_opened_again() {
    let dir = TempDir::new().unwrap();
    let points = "log::sync=20*off->1*return;shard::open::000=1*off->1*sleep(300)";
    let builder = keyed(dir.path()).flags(["--shards", "1"]);
    let server = builder.fail_points(points).start().await;
    let mut client = server.client().await;
    let over = Arc::new(AtomicBool::new(false));
    set(&mut client, "known", "value").await.unwrap();
    let reader = read_until(server.client().await, over.clone());
    let reader = tokio::spawn(reader);
    let mut acknowledged = Acknowledged::default();
    let (_, refusal) = acknowledged.set_until_refused(&mut client).await;
    assert!(refusal.contains("injected by a fail point"), "{refusal}");
    set_at_last(&mut client, "after", "after").await;
    over.store(true, Ordering::SeqCst);
    reader.await.unwrap();
    acknowledged.check(&mut client).await;
    server.stop().await;
}

/// A read answers rightly, or says that the shard is being opened.
async fn read_until(mut client: Client, over: Arc<AtomicBool>) {
    while !over.load(Ordering::SeqCst) {
        match get(&mut client, "known").await {
            Ok(value) => assert_eq!(value, "value"),
            Err(refusal) => assert!(refusal.contains("opened; retry"), "{refusal}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_of_gc_that_fails_costs_nothing() {
    for step in ["shard::gc=3*off->1*return", "gc::purged=1*return"] {
        let dir = TempDir::new().unwrap();
        let builder = keyed(dir.path()).flags(["--shards", "1", "--max-upload-size-mb", "1"]);
        let builder = builder.set("storage.segment_size", "1 MiB");
        // The server's own rounds would meet the failure while it is filled on a slow machine.
        let builder = builder.set("gc.check_interval", "1h");
        let mut server = builder.fail_points(step).start().await;
        let mut client = server.client().await;
        let value = |round: u64, key: u64| Bytes::from(noise(round * 100 + key, 3_000));
        for round in 0..30 {
            for key in 0..50 {
                let name = format!("key-{key}");
                set(&mut client, &name, value(round, key)).await.unwrap();
            }
        }
        let gc = client.admin(command_of("gc", "")).await;
        let gc = said(gc.unwrap().into_inner());
        assert!(gc.is_err(), "{step}: {gc:?}\n{}", server.log());
        set_at_last(&mut client, "after", "after").await;
        for is_killed in [false, true] {
            if is_killed {
                server.kill();
                server = keyed(dir.path()).start().await;
                client = server.client().await;
            }
            for key in 0..50 {
                let found = get(&mut client, &format!("key-{key}")).await;
                assert!(found.unwrap() == value(29, key), "{step}: {key}");
            }
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrub_beside_gc_raises_no_false_alarm() {
    let dir = TempDir::new().unwrap();
    let builder = keyed(dir.path()).flags(["--shards", "1", "--max-upload-size-mb", "1"]);
    let builder = builder.set("storage.segment_size", "1 MiB");
    let builder = builder.set("dedup.grace", "0s").set("scrub.interval", "1s");
    // The rounds that are asked for below are the only ones.
    let builder = builder.set("gc.check_interval", "1h");
    // A segment is out of sight for longer than the scrub rests between two rounds.
    let builder = builder.fail_points("gc::retired=1*sleep(2500)");
    let server = builder.start().await;
    let mut client = server.client().await;
    for number in 0..400 {
        let (key, value) = (format!("key-{}", number % 10), noise(number, 8_000));
        set(&mut client, &key, value).await.unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let gc = client.admin(command_of("gc", "")).await.unwrap();
        let gc = gc.into_inner();
        if gc.data.starts_with(b"{\"done\":1}") {
            break;
        }
        assert!(Instant::now() < deadline, "nothing collected: {gc:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!server.log().contains("scrub found damage"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_fails_too_often_stays_down_and_the_others_serve() {
    let dir = TempDir::new().unwrap();
    let builder = keyed(dir.path()).flags(["--shards", "2"]);
    let builder = builder.set("supervise.restart_budget", "2");
    let points = "shard::commit::001=5*off->panic";
    let server = builder.fail_points(points).start().await;
    let mut client = server.client().await;
    let keys: Vec<_> = keys_of(1, 2).take(5).collect();
    for key in &keys {
        set(&mut client, key, key.clone()).await.unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    let last_word = loop {
        let refusal = set(&mut client, &keys[0], "again").await.unwrap_err();
        if refusal.contains("stays down (supervise.restart_budget)") {
            break refusal;
        }
        assert!(Instant::now() < deadline, "{refusal}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(last_word.contains("shard 001") && last_word.contains("restart the server"));
    let refusal = get(&mut client, &keys[0]).await.unwrap_err();
    assert_eq!(refusal, last_word);
    for key in keys_of(0, 2).take(20) {
        set(&mut client, &key, key.clone()).await.unwrap();
        assert_eq!(get(&mut client, &key).await.unwrap(), key);
    }
    let status = client.admin(command_of("status", "")).await.unwrap();
    said(status.into_inner()).unwrap();
    server.stop().await;
    let server = keyed(dir.path()).start().await;
    let mut client = server.client().await;
    for key in &keys {
        assert_eq!(get(&mut client, key).await.unwrap(), *key);
    }
    server.stop().await;
}

/// A store whose index fails by itself once, while it serves; what the log says after that.
async fn log_of_an_index_that_fails_once(restart_budget: &str) -> String {
    let dir = TempDir::new().unwrap();
    let builder = keyed(dir.path()).flags(["--shards", "1"]);
    let builder = builder.set("supervise.restart_budget", restart_budget);
    let builder = builder.fail_points("index::commit=20*off->1*return");
    let server = builder.start().await;
    let mut client = server.client().await;
    let mut stored = Acknowledged::default();
    let (key, _refusal) = stored.set_until_refused(&mut client).await;
    set_at_last(&mut client, &key, "again").await;
    stored.check(&mut client).await;
    let log = server.log();
    server.stop().await;
    log
}

/// A rebuild reads the whole log: a failure that may have been a moment's is not worth that, unless
/// nothing is left to be tried after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_fails_once_is_opened_again_and_made_anew_by_the_last_restart_only() {
    const REBUILDING: &str = "rebuilding the index from the log";
    let log = log_of_an_index_that_fails_once("5").await;
    assert!(!log.contains(REBUILDING), "{log}");
    let log = log_of_an_index_that_fails_once("1").await;
    assert!(log.contains(REBUILDING), "{log}");
}

/// Nobody else would notice a sync that never comes back: it neither fails nor answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_hangs_ends_the_process_and_loses_nothing_acknowledged() {
    let dir = TempDir::new().unwrap();
    let builder = keyed(dir.path()).flags(["--shards", "1"]);
    let builder = builder.set("supervise.writer_timeout", "5s");
    let mut server = builder.fail_points("log::sync=20*off->pause").start().await;
    let mut client = server.client().await;
    let mut stored = Vec::new();
    loop {
        let key = format!("key-{}", stored.len());
        match client.set(set_of(key.clone(), key.clone())).await {
            Ok(reply) => said(reply.into_inner()).unwrap(),
            Err(_ended) => break,
        };
        stored.push(key);
        assert!(stored.len() < 100, "no sync was held");
    }
    assert!(!stored.is_empty());
    let status = server.exited().await;
    assert_eq!(status.signal(), Some(6), "{status}: not SIGABRT");
    assert!(server.log().contains("the shard's writer hangs"));
    drop(server);
    let server = keyed(dir.path()).start().await;
    let mut client = server.client().await;
    for key in stored {
        assert_eq!(get(&mut client, &key).await.unwrap(), key);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_answers_eio_to_one_sync_costs_nothing_acknowledged() {
    let dir = TempDir::new().unwrap();
    let mut server = keyed(dir.path()).flags(["--shards", "1"]).start().await;
    let mut client = server.client().await;
    set(&mut client, "before", "before").await.unwrap();
    let writers = server.threads_named("actix-rt");
    let Some(trace) = Trace::inject(&writers, "fdatasync:error=EIO:when=1").await else {
        return;
    };
    let mut acknowledged = Acknowledged::default();
    let (lost, refusal) = acknowledged.set_until_refused(&mut client).await;
    assert!(refusal.contains(OUTCOME_UNKNOWN), "{refusal}");
    assert!(refusal.contains("Input/output error"), "{refusal}");
    set_at_last(&mut client, "after", "after").await;
    let unknown = get(&mut client, &lost).await;
    trace.stop();
    acknowledged.check(&mut client).await;
    server.kill();
    let server = keyed(dir.path()).start().await;
    let mut client = server.client().await;
    acknowledged.check(&mut client).await;
    for key in ["before", "after"] {
        assert_eq!(get(&mut client, key).await.unwrap(), key);
    }
    assert!(get(&mut client, &lost).await == unknown);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_again_and_again_costs_nothing_acknowledged() {
    let dir = TempDir::new().unwrap();
    let builder = keyed(dir.path()).flags(["--shards", "2"]);
    let builder = builder.set("supervise.restart_budget", "1000");
    let mut server = builder.start().await;
    // Of every thread, now or later, each seventh sync: commits, rotations and openings.
    let faults = "fdatasync,fsync:error=EIO:when=7+7";
    let Some(trace) = Trace::inject_everywhere(server.pid(), faults).await else {
        return;
    };
    let mut client = server.client().await;
    let mut acknowledged = Acknowledged::default();
    let mut refusals = 0;
    for number in 0..60 {
        let (key, value) = (format!("key-{number}"), format!("value-{number}"));
        refusals += set_at_last(&mut client, &key, &value).await.len();
        acknowledged.0.insert(key, Bytes::from(value));
    }
    assert!(refusals > 0, "no sync failed");
    trace.stop();
    set_at_last(&mut client, "after", "after").await;
    server.kill();
    let server = keyed(dir.path()).start().await;
    acknowledged.check(&mut server.client().await).await;
    server.stop().await;
}

#[tokio::test]
async fn a_second_server_on_the_same_directory_names_the_first_and_ends() {
    let dir = TempDir::new().unwrap();
    let first = keyed(dir.path()).start().await;
    let second = keyed(dir.path()).run_to_its_end().await;
    assert!(!second.status.success());
    let message = String::from_utf8(second.stderr).unwrap();
    let pid = format!("process {};", first.pid());
    assert!(message.contains(&pid), "{message}");
    assert!(message.contains(dir.path().to_str().unwrap()), "{message}");
    first.assert_answers().await;
    first.stop().await;
}

#[tokio::test]
async fn a_directory_of_a_newer_format_is_refused_and_left_as_it_is() {
    let dir = TempDir::new().unwrap();
    let server = keyed(dir.path()).start().await;
    set(&mut server.client().await, "k", "value").await.unwrap();
    server.stop().await;
    let manifest = dir.path().join("MANIFEST");
    let ours = fs::read_to_string(&manifest).unwrap();
    let newer = format!("{{\"format\":9999,{}", ours.split_once(',').unwrap().1);
    let (object, _) = newer.rsplit_once("xxh3 ").unwrap();
    let sum = shardkeep::codec::payload_sum(object.as_bytes());
    let newer = format!("{object}xxh3 {sum:016x}\n");
    fs::write(&manifest, &newer).unwrap();
    let refused = keyed(dir.path()).run_to_its_end().await;
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success());
    assert!(message.contains("format 9999"), "{message}");
    assert_eq!(fs::read_to_string(&manifest).unwrap(), newer);
    fs::write(&manifest, ours).unwrap();
    let server = keyed(dir.path()).start().await;
    let found = get(&mut server.client().await, "k").await;
    assert_eq!(found.unwrap(), "value");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_ends_in_order_and_loses_nothing_acknowledged() {
    /// What service managers often give, three times for a busy machine.
    const STOP_MAX: Duration = Duration::from_secs(30);
    let dir = TempDir::new().unwrap();
    let mut server = keyed(dir.path()).flags(["--shards", "2"]).start().await;
    let stored = Arc::new(AtomicU64::new(0));
    let mut writers = JoinSet::new();
    for writer in 0..32 {
        let client = server.client().await;
        writers.spawn(write_until_refused(client, writer, stored.clone()));
    }
    eventually("a load", || {
        (stored.load(Ordering::SeqCst) > 300).then_some(())
    })
    .await;
    server.terminate();
    let status = tokio::time::timeout(STOP_MAX, server.exited()).await;
    let status = status.expect("the stop took too long");
    assert!(status.success(), "{status}\n{}", server.log());
    let server = keyed(dir.path()).start().await;
    let mut client = server.client().await;
    for (writer, numbers) in writers.join_all().await {
        for number in 0..numbers {
            let key = format!("{writer}/{number}");
            assert_eq!(get(&mut client, &key).await.unwrap(), key);
        }
    }
    server.stop().await;
}

/// The writer, and how many of its writes were acknowledged: the first ones.
async fn write_until_refused(
    mut client: Client,
    writer: u64,
    stored: Arc<AtomicU64>,
) -> (u64, u64) {
    for number in 0.. {
        let key = format!("{writer}/{number}");
        match client.set(set_of(key.clone(), key)).await {
            Ok(reply) if reply.get_ref().errcode == 0 => stored.fetch_add(1, Ordering::SeqCst),
            _stopping => return (writer, number),
        };
    }
    unreachable!("numbers do not end");
}

#[tokio::test]
async fn a_second_signal_ends_a_stop_that_waits() {
    let builder = Server::builder().flag("--allow-user-key");
    let builder = builder.set("server.drain_timeout", "1h");
    let mut server = builder.start().await;
    let mut client = server.client().await;
    set(&mut client, "k", "value").await.unwrap();
    // Half a message: a request in flight that never ends.
    let mut stuck = http2::connect(server.address(), &[]).await;
    let headers = http2::call_headers(1, "Set", &[]);
    let message = http2::grpc_message(&set_of("stuck", noise(1, 10_000)));
    let half = http2::frame(http2::DATA, 0, 1, &message[..5000]);
    stuck.write_all(&[headers, half].concat()).await.unwrap();
    http2::seen(&mut stuck).await;
    server.terminate();
    let log = server.log_reader();
    eventually("the first signal", || {
        log().contains("asked to stop").then_some(())
    })
    .await;
    assert!(server.is_running());
    server.terminate();
    assert_eq!(server.exited().await.code(), Some(143));
}
