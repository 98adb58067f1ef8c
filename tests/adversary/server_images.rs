//! Every crash point of the whole server recovers: as `crash_images`, but of the real process with
//! several shards, whose clients say when they asked and when they were answered. GC, backups, a
//! kill and a start in the middle are part of the history; each image is served by a new server and
//! checked offline afterwards.
//!
//! Answers and calls of the system are put in order by the machine's clock: what a client was told
//! before a call was seen had to be on the disk by then.

use crate::archives::{Contents, contents_and_log};
use crate::disk::{self, Disk, Image, Tail};
use crate::recording::{self, Event};
use crate::run::{cases, quick_dir, seed};
use crate::support::{Builder, Random, Server, command_of, eventually, key_of, noise, set_of};
use crate::syscall_faults::is_named_by_a_process;
use shardkeep::backup::{ArchiveReader, BackupFile};
use shardkeep::log::Log;
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use shardkeep::start::offline;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tonic::transport::Channel;

const STEPS: u64 = 70;
const DATA: &str = "data";
/// What the log says of an index that is made anew.
const REBUILDING: &str = "rebuilding the index from the log";

fn builder(dir: &Path) -> Builder {
    Server::builder()
        .flags(["--allow-user-key", "--allow-overwrite", "--shards", "3"])
        .flags(["--max-upload-size-mb", "1"])
        .set("storage.segment_size", "1 MiB")
        .set("index.checkpoint_bytes", "1 MiB")
        .set("gc.live_threshold", "0.9")
        .set("dedup.grace", "1s")
        .set("dedup.sweep_interval", "1s")
        .data_dir(dir)
}

/// Microseconds, as `strace -ttt` counts them.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_micros() as u64
}

/// A change, when it was asked for, and when it was answered.
struct Change {
    begun: u64,
    done: u64,
    after: Contents,
}

struct Recorded {
    events: Vec<(u64, Event)>,
    changes: Vec<Change>,
}

impl Recorded {
    /// Records the history of a seed; `None` where nothing can be recorded.
    async fn make(seed: u64) -> Option<Self> {
        if std::process::Command::new("strace")
            .arg("-V")
            .output()
            .is_err()
        {
            eprintln!("SKIPPED: strace is not installed (apt-get install strace)");
            return None;
        }
        for _ in 0..10 {
            let recorded = Self::record(seed).await;
            if recorded.is_some() {
                return recorded;
            }
        }
        panic!("every recording was cut off in the middle of a call");
    }

    /// `None` when the kill met a call of which nobody can say what it did.
    async fn record(seed: u64) -> Option<Self> {
        let dir = quick_dir();
        let root = dir.path().join("recorded");
        std::fs::create_dir(&root).unwrap();
        let mut random = Random::seeded(seed);
        let mut contents = Contents::new();
        let mut changes = Vec::new();
        let mut texts = Vec::new();
        for session in 0..2 {
            let out = dir.path().join(format!("trace-{session}"));
            let started = builder(&root.join(DATA)).under(wrapper(&out)).launch();
            let mut server = started.ready_or_ended().await.unwrap();
            let mut client = server.client().await;
            for step in 0..STEPS {
                let fresh = session * STEPS + step;
                let change = happen(&mut client, &mut random, fresh, &mut contents).await;
                changes.push(change);
            }
            if session == 0 {
                server.kill();
            } else {
                server.stop().await;
            }
            let is_over = || (!is_named_by_a_process(&out)).then_some(());
            eventually("the end of strace", is_over).await;
            texts.push(std::fs::read_to_string(out).unwrap());
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let recorded = Self {
            events: recording::timed_events(&texts, &root),
            changes,
        };
        let is_whole = recorded.is(&disk::read_in(&root));
        is_whole.then_some(recorded)
    }

    /// Whether what was recorded is all that happened.
    fn is(&self, last: &Image) -> bool {
        let mut disk = Disk::new();
        for (_, event) in &self.events {
            disk.happen(event);
        }
        let image = disk.image(|_| Tail::Kept, &mut Random::seeded(0));
        image.keys().eq(last.keys())
            && image
                .iter()
                .all(|(path, content)| match (content, &last[path]) {
                    (Some(one), Some(other)) => disk::same(one, other),
                    (one, other) => one.is_none() && other.is_none(),
                })
    }

    /// What may stand in the store after the events before `point`.
    fn states(&self, point: usize) -> Vec<&Contents> {
        let time = self.events[point - 1].0;
        let done = self.changes.iter().filter(|it| it.done <= time).count();
        let begun = self.changes.iter().filter(|it| it.begun <= time).count();
        (done..=begun).map(|count| self.after(count)).collect()
    }

    fn after(&self, count: usize) -> &Contents {
        static EMPTY: Contents = Contents::new();
        match count {
            0 => &EMPTY,
            count => &self.changes[count - 1].after,
        }
    }

    fn crash_points(&self) -> Vec<usize> {
        let events = self.events.iter().enumerate();
        let of_note = events.filter(|(_, (_, event))| match event {
            Event::Open(_) => false,
            Event::Write { path, .. } => {
                !path.path.components().any(|it| it.as_os_str() == "index")
            }
            _ => true,
        });
        of_note.map(|(number, _)| number + 1).collect()
    }
}

fn wrapper(out: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = ["strace", "-D", "-f", "-q", "-ttt", "-xx"]
        .map(Into::into)
        .into();
    words.extend(["-s".into(), "16777216".into()]);
    words.extend(["-e".into(), format!("trace={}", recording::CALLS).into()]);
    words.extend([
        "-e".into(),
        "raw=read".into(),
        "-e".into(),
        "signal=none".into(),
    ]);
    words.extend(["-o".into(), out.into()]);
    words
}

/// One request; it changes one key, or is a chore that changes none.
async fn happen(
    client: &mut BadgerClient<Channel>,
    random: &mut Random,
    fresh: u64,
    contents: &mut Contents,
) -> Change {
    let begun = now();
    let key = format!("key/{}", random.within(0..20));
    let reply = match random.within(0..100) {
        0..=3 => client.admin(command_of("gc", "")).await,
        4..=6 => {
            let order = r#"{"path":"images","since":"0"}"#;
            client.admin(command_of("backup", order)).await
        }
        7..=19 => {
            contents.remove(&key);
            client.delete(key_of(key)).await
        }
        chance => {
            let value = match chance {
                20..=44 => format!("small {fresh}").into_bytes(),
                45..=69 => noise(fresh % 5, 6_000),
                _ => noise(fresh, random.within(30_000..200_000) as usize),
            };
            contents.insert(key.clone(), value.clone());
            client.set(set_of(key, value)).await
        }
    };
    let reply = reply.unwrap().into_inner();
    assert_eq!(reply.errcode, 0, "{}", reply.status.escape_ascii());
    Change {
        begun,
        done: now(),
        after: contents.clone(),
    }
}

/// What of the image's files were not synced: of the logs and all else, and of the indexes.
#[derive(Debug, Clone, Copy)]
struct Fate {
    log: Tail,
    index: Option<Tail>,
}

fn image_of(disk: &Disk, fate: Fate, random: &mut Random) -> Image {
    let is_index = |path: &Path| path.components().any(|it| it.as_os_str() == "index");
    let tail = |path: &Path| match fate.index {
        Some(tail) if is_index(path) => tail,
        _ => fate.log,
    };
    let mut image = disk.image(tail, random);
    if fate.index.is_none() {
        image.retain(|path, _| !is_index(path));
    }
    image
}

/// Shards whose log is begun.
fn logs(data: &Path) -> usize {
    let shards = std::fs::read_dir(data.join("shards")).into_iter().flatten();
    let is_begun = |shard: &PathBuf| Log::is_begun(&shard.join("log")).unwrap();
    shards
        .map(|shard| shard.unwrap().path())
        .filter(is_begun)
        .count()
}

async fn check(data: PathBuf, fate: Fate, states: &[&Contents]) -> Result<(), String> {
    let lost_indexes = logs(&data) * usize::from(fate.index.is_none());
    let (found, log) = contents_and_log(builder(&data)).await?;
    // A crash is no damage: what sounds like it is a false alarm, unless the index was mangled.
    let is_sound = matches!(fate.index, None | Some(Tail::Kept | Tail::Dropped));
    let alarms = log.lines().filter(|line| line.contains("ERROR"));
    let (told, alarms): (Vec<_>, Vec<_>) = alarms.partition(|line| line.contains(REBUILDING));
    if is_sound && (told.len() != lost_indexes || !alarms.is_empty()) {
        return Err(format!("{lost_indexes} indexes lost: {told:?} {alarms:?}"));
    }
    if !states.contains(&&found) {
        return Err(difference(&found, states[0]));
    }
    let verified = data.clone();
    let verify = move || offline::verify(&verified, false, &mut |_, _| {});
    let report = tokio::task::spawn_blocking(verify).await.unwrap();
    let report = report.map_err(|error| error.to_string())?;
    if !report.problems.is_empty() {
        return Err(format!("{:?}", report.problems));
    }
    for entry in std::fs::read_dir(data.join("backups")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().ends_with(".zstdb.bak") {
            let opened = BackupFile::open(&path).and_then(ArchiveReader::open);
            let verified = opened.and_then(|mut archive| archive.verify(&mut |_, _| {}));
            verified.map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    Ok(())
}

fn difference(found: &Contents, should: &Contents) -> String {
    let keys = found.keys().chain(should.keys());
    let different = keys.filter(|key| found.get(*key) != should.get(*key));
    let len = |value: Option<&Vec<u8>>| value.map(Vec::len);
    let lines = different.take(5).map(|key| {
        let (is, should) = (len(found.get(key)), len(should.get(key)));
        format!("{key} has {is:?} bytes, should have {should:?}")
    });
    lines.collect::<Vec<_>>().join("; ")
}

async fn attack(recorded: &Recorded, seed: u64, cases: u64) -> Vec<String> {
    let points = recorded.crash_points();
    let mut random = Random::seeded(seed);
    let mut drawn: Vec<(usize, Fate, Random)> = (0..cases)
        .map(|_| {
            let point = points[random.within(0..points.len() as u64) as usize];
            let log = Tail::ALL[random.within(0..4) as usize];
            let index = match random.within(0..5) {
                0 => None,
                tail => Some(Tail::ALL[tail as usize - 1]),
            };
            (point, Fate { log, index }, random.fork())
        })
        .collect();
    drawn.sort_by_key(|(point, ..)| *point);
    let mut disk = Disk::new();
    let mut happened = 0;
    let mut failures = Vec::new();
    let mut failed: BTreeMap<String, usize> = BTreeMap::new();
    for (point, fate, mut random) in drawn {
        for (_, event) in &recorded.events[happened..point] {
            disk.happen(event);
        }
        happened = point;
        let dir = quick_dir();
        let data = dir.path().join(DATA);
        disk::write_out(&image_of(&disk, fate, &mut random), Path::new(DATA), &data);
        if let Err(error) = check(data, fate, &recorded.states(point)).await {
            *failed.entry(format!("{fate:?}")).or_default() += 1;
            let of = recorded.events.len();
            failures.push(format!("event {point} of {of}, {fate:?}: {error}"));
        }
    }
    eprintln!(
        "{cases} images of {} crash points, {} failed {failed:?}",
        points.len(),
        failures.len()
    );
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_crash_point_of_the_server_recovers() {
    let seed = seed("server_images");
    let Some(recorded) = Recorded::make(seed).await else {
        return;
    };
    let failures = attack(&recorded, seed, cases(25)).await;
    let few = failures[..failures.len().min(10)].join("\n");
    assert!(failures.is_empty(), "{} failures\n{few}", failures.len());
}

/// Planted: a disk that says "synced" and has done nothing for the logs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_syncs_do_nothing_is_found() {
    let Some(mut recorded) = Recorded::make(3).await else {
        return;
    };
    for (_, event) in &mut recorded.events {
        if let Event::Sync { path, begun } = event
            && path.path.components().any(|it| it.as_os_str() == "log")
        {
            *begun = 0;
        }
    }
    assert!(!attack(&recorded, 3, 12).await.is_empty());
}
