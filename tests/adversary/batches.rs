//! Batches over many keys of several shards, beside readers of every kind and `kill -9`: nobody ever
//! sees half of one, not one after the other, not at one moment, not in a snapshot, not in a backup,
//! and not after a start.
//!
//! The keys of a group are all changed by every batch on it, by one writer, so that they have one
//! version at any moment and never go back; one key of a group comes and goes with every batch, one is
//! only touched by every second batch, and one counts the batches' numbers.

use crate::run::{cases, quick_dir, seed};
use crate::support::{Builder, PATIENCE, Random, Server, command_of, noise};
use bytes::Bytes;
use shardkeep::backup::{ArchiveReader, BackupFile, Entry};
use shardkeep::proto::v1;
use shardkeep::proto::v1::key_value_service_client::KeyValueServiceClient;
use shardkeep::proto::v1::operation::Change;
use shardkeep::proto::v1::snapshot_service_client::SnapshotServiceClient;
use shardkeep::proto::v1::transaction_service_client::TransactionServiceClient;
use shardkeep::proto::v1::watch_service_client::WatchServiceClient;
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use shardkeep::start::offline;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::Channel;

type Keys = KeyValueServiceClient<Channel>;

const GROUPS: u64 = 5;
/// Keys of a group that are always there, and one that comes and goes.
const MEMBERS: u64 = 9;
/// The member that every second batch touches: a value with a home of its own.
const TOUCHED: u64 = 3;
/// The member that is a counter.
const COUNTER: u64 = MEMBERS + 1;

/// What a group was seen as: the version of all its keys, and the number that they carry.
type Seen = (u64, u64);

fn builder(dir: &Path) -> Builder {
    Server::builder()
        .flags(["--allow-user-key", "--allow-overwrite", "--shards", "3"])
        .set("storage.segment_size", "16 MiB")
        .set("index.checkpoint_bytes", "1 MiB")
        .set("gc.live_threshold", "0.9")
        .set("gc.check_interval", "100ms")
        .set("dedup.grace", "1s")
        .set("dedup.sweep_interval", "1s")
        .data_dir(dir)
}

fn key(group: u64, member: u64) -> Bytes {
    format!("group/{group}/{member}").into()
}

/// Sizes that are stored differently: in the index, in the log, and in a home of their own.
fn value(number: u64, member: u64) -> Bytes {
    let size = [0, 300, 5_000, 70_000][(member % 4) as usize];
    let noise = noise(number * MEMBERS + member, size);
    [&number.to_le_bytes()[..], &noise].concat().into()
}

fn is_there(number: u64) -> bool {
    number % 2 == 1
}

/// The batch of a number that comes after another one.
fn batch(group: u64, number: u64, before: u64) -> v1::CommitRequest {
    let put = |member| {
        let value = value(number, member);
        Change::Put(v1::PutOperation {
            value,
            ..v1::PutOperation::default()
        })
    };
    let change = |member| match member {
        COUNTER => Change::Increment(v1::IncrementOperation {
            delta: (number - before) as i64,
            initial_value: 0,
        }),
        TOUCHED if !is_there(number) => Change::Touch(v1::TouchOperation::default()),
        MEMBERS if !is_there(number) => Change::Delete(v1::DeleteOperation {}),
        _ => put(member),
    };
    let operations = (0..=COUNTER).map(|member| v1::Operation {
        key: key(group, member),
        change: Some(change(member)),
    });
    v1::CommitRequest {
        operations: operations.collect(),
        ..v1::CommitRequest::default()
    }
}

/// The one version and number of a group's keys, or what is wrong with them.
fn whole(
    group: u64,
    found: &BTreeMap<Bytes, (v1::Entry, Bytes)>,
    how: &str,
) -> Result<Seen, String> {
    let mut all = Vec::new();
    for member in 0..=MEMBERS {
        let Some((entry, bytes)) = found.get(&key(group, member)) else {
            all.push(None);
            continue;
        };
        let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        if *bytes != value(number, member) {
            return Err(format!("{how}: {group}/{member} has wrong bytes"));
        }
        all.push(Some((entry.version, number)));
    }
    let half = || format!("{how}: half a batch in group {group}: {all:?}");
    let seen = all[0].ok_or_else(half)?;
    let last = is_there(seen.1).then_some(seen);
    let counted = found.get(&key(group, COUNTER));
    let counted = counted.map(|(entry, bytes)| (entry.version, bytes.clone()));
    let touched = all[TOUCHED as usize].ok_or_else(half)?;
    if !is_there(seen.1) && touched.0 == seen.0 && touched.1 < seen.1 {
        all[TOUCHED as usize] = Some(seen);
    }
    let is_whole = all[..MEMBERS as usize].iter().all(|it| *it == Some(seen));
    if !is_whole
        || all[MEMBERS as usize] != last
        || counted != Some((seen.0, seen.1.to_string().into()))
    {
        return Err(format!(
            "{how}: half a batch in group {group}: {all:?}, counted {counted:?}"
        ));
    }
    Ok(seen)
}

/// What the tasks of one life share.
#[derive(Clone)]
struct Life {
    /// The server may be gone.
    gone: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
}

impl Life {
    /// An answer; `None` when the server is gone.
    fn answered<T>(&self, answer: Result<T, Status>) -> Result<Option<T>, String> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(_) if self.gone.load(Ordering::SeqCst) => Ok(None),
            Err(status) => Err(format!("the server lives, but a call failed: {status}")),
        }
    }
}

/// Commits on one group until the server is gone: the last number that was acknowledged, and the one
/// that was sent.
async fn write(life: Life, channel: Channel, group: u64, last: u64) -> Result<[u64; 2], String> {
    let mut commits = TransactionServiceClient::new(channel);
    let mut number = last;
    loop {
        number += 1;
        let done = commits.commit(batch(group, number, number - 1)).await;
        match life.answered(done)? {
            Some(done) if done.get_ref().succeeded => {}
            Some(done) => {
                return Err(format!(
                    "a batch without conditions did not succeed: {done:?}"
                ));
            }
            None => return Ok([number - 1, number]),
        }
    }
}

/// One key after the other, in any order.
async fn read_singly(life: Life, mut keys: Keys, mut random: Random) -> Result<(), String> {
    let mut newest = [0; GROUPS as usize];
    loop {
        let group = random.within(0..GROUPS);
        let first = random.within(0..MEMBERS);
        for member in (0..MEMBERS).map(|it| (it * 7 + first) % MEMBERS) {
            let request = v1::GetRequest {
                key: key(group, member),
                ..v1::GetRequest::default()
            };
            let Some(found) = life.answered(keys.get(request).await)? else {
                return Ok(());
            };
            let version = found.into_inner().entry.unwrap().version;
            let so_far = &mut newest[group as usize];
            if version < *so_far {
                return Err(format!(
                    "one after the other: {group}/{member} is at {version} after {so_far}: half a batch"
                ));
            }
            *so_far = version;
        }
        life.reads.fetch_add(1, Ordering::Relaxed);
    }
}

async fn get_together(keys: &mut Keys, group: u64, snapshot: &str) -> Result<Found, Status> {
    let request = v1::BatchGetRequest {
        keys: (0..=COUNTER).map(|member| key(group, member)).collect(),
        snapshot: snapshot.to_owned(),
        ..v1::BatchGetRequest::default()
    };
    let results = keys.batch_get(request).await?.into_inner().results;
    let found = results
        .into_iter()
        .filter_map(|it| Some((it.entry?, it.value)));
    Ok(found
        .map(|(entry, value)| (entry.key.clone(), (entry, value)))
        .collect())
}

async fn scan_all(keys: &mut Keys, reverse: bool, snapshot: &str) -> Result<Found, Status> {
    let request = v1::StreamScanRequest {
        reverse,
        snapshot: snapshot.to_owned(),
        ..v1::StreamScanRequest::default()
    };
    let mut stream = keys.stream_scan(request).await?.into_inner();
    let mut found = Found::new();
    while let Some(message) = stream.message().await? {
        for result in message.results {
            let entry = result.entry.unwrap();
            found.insert(entry.key.clone(), (entry, result.value));
        }
    }
    Ok(found)
}

type Found = BTreeMap<Bytes, (v1::Entry, Bytes)>;

/// Many keys at one moment, by every call that does so.
async fn read_together(life: Life, channel: Channel, mut random: Random) -> Result<(), String> {
    let size_max = 1 << 30;
    let mut keys = Keys::new(channel.clone()).max_decoding_message_size(size_max);
    let mut snapshots = SnapshotServiceClient::new(channel);
    loop {
        let group = random.within(0..GROUPS);
        match random.within(0..3) {
            0 => {
                let Some(found) = life.answered(get_together(&mut keys, group, "").await)? else {
                    return Ok(());
                };
                whole(group, &found, "many keys")?;
            }
            1 => {
                let scanned = scan_all(&mut keys, random.percent(50), "").await;
                let Some(found) = life.answered(scanned)? else {
                    return Ok(());
                };
                for group in 0..GROUPS {
                    whole(group, &found, "a scan")?;
                }
            }
            _ => {
                let made = snapshots
                    .create_snapshot(v1::CreateSnapshotRequest::default())
                    .await;
                let Some(made) = life.answered(made)? else {
                    return Ok(());
                };
                let id = made.into_inner().id;
                let Some(found) = life.answered(scan_all(&mut keys, false, &id).await)? else {
                    return Ok(());
                };
                for group in 0..GROUPS {
                    let seen = whole(group, &found, "a scan of a snapshot")?;
                    let again = get_together(&mut keys, group, &id).await;
                    let Some(again) = life.answered(again)? else {
                        return Ok(());
                    };
                    if whole(group, &again, "many keys of a snapshot")? != seen {
                        return Err(format!("a snapshot of group {group} has changed"));
                    }
                }
                let request = v1::DeleteSnapshotRequest { id };
                if life
                    .answered(snapshots.delete_snapshot(request).await)?
                    .is_none()
                {
                    return Ok(());
                }
            }
        }
        life.reads.fetch_add(1, Ordering::Relaxed);
    }
}

/// Every change, as it comes: all of a batch before its version is named.
async fn watch(life: Life, channel: Channel) -> Result<(), String> {
    let mut watching = WatchServiceClient::new(channel);
    let stream = watching.watch(v1::WatchRequest::default()).await;
    let Some(stream) = life.answered(stream)? else {
        return Ok(());
    };
    let mut stream = stream.into_inner();
    let mut batches: BTreeMap<u64, BTreeSet<Bytes>> = BTreeMap::new();
    loop {
        let Some(message) = life.answered(stream.message().await)?.flatten() else {
            return Ok(());
        };
        for event in message.events {
            batches.entry(event.version).or_default().insert(event.key);
        }
        let open = batches.split_off(&(message.version + 1));
        for (version, keys) in std::mem::replace(&mut batches, open) {
            let group = (0..GROUPS).find(|group| keys.contains(&key(*group, 0)));
            let all = group.map(|group| (0..=COUNTER).map(|member| key(group, member)).collect());
            if all.as_ref() != Some(&keys) {
                return Err(format!("a watch told half a batch at {version}: {keys:?}"));
            }
            life.reads.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Full backups, one after the other.
async fn back_up(life: Life, server: Channel) -> Result<(), String> {
    let mut admin = BadgerClient::new(server);
    for number in 0.. {
        let order = command_of("backup", &format!(r#"{{"path":"whole-{number}"}}"#));
        let Some(made) = life.answered(admin.admin(order).await)? else {
            return Ok(());
        };
        let made = made.into_inner();
        if made.errcode != 0 {
            // GC and backups do not run at the same time.
            let why = String::from_utf8_lossy(&made.status).into_owned();
            if !why.contains("is running") {
                return Err(format!("no backup: {why}"));
            }
            tokio::task::yield_now().await;
            continue;
        }
        let made: serde_json::Value = serde_json::from_slice(&made.data).unwrap();
        let target = PathBuf::from(made["target"].as_str().unwrap());
        check_backup(&target)?;
        std::fs::remove_file(target).unwrap();
        life.reads.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Every group's records in an archive, the word that one is gone too, have one version.
fn check_backup(path: &Path) -> Result<(), String> {
    let archive = ArchiveReader::open(BackupFile::open(path).unwrap()).unwrap();
    let mut versions: BTreeMap<Vec<u8>, BTreeMap<Bytes, u64>> = BTreeMap::new();
    for entry in archive.entries() {
        let entry = entry.unwrap();
        let (Entry::Value { key, version, .. }
        | Entry::Reference { key, version, .. }
        | Entry::Tombstone { key, version, .. }) = entry
        else {
            continue;
        };
        let group = key.as_bytes().rsplitn(2, |it| *it == b'/').last().unwrap();
        let of_group = versions.entry(group.to_vec()).or_default();
        of_group.insert(key.to_bytes(), version.0);
    }
    for (group, versions) in &versions {
        let first = versions.values().next();
        if !versions.values().all(|it| Some(it) == first) {
            let group = String::from_utf8_lossy(group);
            return Err(format!(
                "a backup has half a batch of {group}: {versions:?}"
            ));
        }
    }
    Ok(())
}

/// One store that lives again and again.
struct Lives {
    dir: tempfile::TempDir,
    random: Random,
    /// Of each group, the last number that was acknowledged and the last that was sent.
    numbers: [[u64; 2]; GROUPS as usize],
    reads: Arc<AtomicU64>,
}

impl Lives {
    fn new(seed: u64) -> Self {
        Self {
            dir: quick_dir(),
            random: Random::seeded(seed),
            numbers: [[0; 2]; GROUPS as usize],
            reads: Arc::default(),
        }
    }

    /// What a start finds: each group whole, as it was acknowledged or as it was sent.
    async fn check_start(&mut self, server: &Server) -> Result<(), String> {
        let channel = server.channel().await;
        let mut keys = Keys::new(channel.clone());
        let mut commits = TransactionServiceClient::new(channel);
        for group in 0..GROUPS {
            let found = get_together(&mut keys, group, "").await;
            let found = found.map_err(|status| status.to_string())?;
            let [acknowledged, sent] = self.numbers[group as usize];
            let number = match found.is_empty() {
                true => 0,
                false => whole(group, &found, "after a start")?.1,
            };
            if number != acknowledged && number != sent {
                return Err(format!(
                    "group {group} is at {number} after a start: acknowledged {acknowledged}, sent {sent}"
                ));
            }
            // Readers find every group there, and the key that comes and goes has done so.
            let next = match is_there(sent + 1) == is_there(number) {
                true => sent + 2,
                false => sent + 1,
            };
            let done = commits.commit(batch(group, next, number)).await;
            done.map_err(|status| status.to_string())?;
            self.numbers[group as usize] = [next; 2];
        }
        Ok(())
    }

    /// Everybody at work until the server is killed, or somebody has seen something.
    async fn live(&mut self, mut server: Server, length: Duration) -> Result<(), String> {
        self.check_start(&server).await?;
        let life = Life {
            gone: Arc::default(),
            reads: self.reads.clone(),
        };
        let mut writers = JoinSet::new();
        for (group, [_, last]) in (0..).zip(self.numbers) {
            let work = write(life.clone(), server.channel().await, group, last);
            writers.spawn(async move { (group, work.await) });
        }
        let mut readers = JoinSet::new();
        for _ in 0..2 {
            let random = self.random.fork();
            let keys = Keys::new(server.channel().await);
            readers.spawn(read_singly(life.clone(), keys, random));
            let random = self.random.fork();
            readers.spawn(read_together(life.clone(), server.channel().await, random));
        }
        readers.spawn(watch(life.clone(), server.channel().await));
        readers.spawn(back_up(life.clone(), server.channel().await));
        let seen = tokio::time::timeout(length, readers.join_next()).await;
        life.gone.store(true, Ordering::SeqCst);
        server.kill();
        while let Some(ended) = writers.join_next().await {
            let (group, numbers) = ended.unwrap();
            self.numbers[group as usize] = numbers?;
        }
        if let Ok(Some(ended)) = seen {
            ended.unwrap()?;
        }
        while let Some(ended) = readers.join_next().await {
            ended.unwrap()?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_batch_is_never_seen_in_part() {
    let mut lives = Lives::new(seed("a_batch_is_never_seen_in_part"));
    let dir = lives.dir.path().to_owned();
    let count = cases(6);
    for _ in 0..count {
        let server = builder(&dir).start().await;
        let length = Duration::from_millis(lives.random.within(100..1500));
        let lived = lives.live(server, length).await;
        lived.unwrap_or_else(|what| panic!("{what}"));
    }
    let server = builder(&dir).start().await;
    lives.check_start(&server).await.unwrap();
    server.stop().await;
    let verified =
        tokio::task::spawn_blocking(move || offline::verify(&dir, false, &mut |_, _| {}));
    assert_eq!(verified.await.unwrap().unwrap().problems, []);
    let batches: u64 = lives.numbers.iter().map(|[done, _]| done).sum();
    let reads = lives.reads.load(Ordering::Relaxed);
    assert!(reads > 0);
    eprintln!("{count} kills, {batches} batches, {reads} reads of whole groups");
}

/// The planted fault: the shards of a batch show their parts one after the other, and nobody waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_batch_that_is_shown_shard_after_shard_is_found() {
    let mut lives = Lives::new(seed("a_batch_that_is_shown_shard_after_shard_is_found"));
    let dir = lives.dir.path().to_owned();
    let planted = "transaction::unhidden=return;transaction::hidden=50%sleep(5)";
    let server = builder(&dir).fail_points(planted).start().await;
    let found = lives.live(server, PATIENCE).await;
    let what = found.expect_err("it is found");
    assert!(what.contains("half a batch"), "{what}");
}
