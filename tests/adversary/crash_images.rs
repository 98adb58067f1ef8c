//! Every crash point recovers: the writes of a scripted history are recorded, and from each prefix
//! of them images are made as a power loss may leave them. Each is opened by the real code and must
//! hold exactly what was acknowledged, or the one step more that was under way.
//!
//! The index is only a cache: what becomes of its files is drawn apart from the log's, and they may
//! be gone altogether.
//!
//! A failing run keeps its recording; `SHARDKEEP_ADVERSARY_RECORDING` names one to be used again.

use crate::disk::{self, Disk, Image, Tail};
use crate::history::{Actor, History, State, contents, options};
use crate::recording::{self, Event};
use crate::run::{cases, quick_dir, seed};
use crate::support::Random;
use shardkeep::config::Durability;
use shardkeep::log::Log;
use shardkeep::model::Version;
use shardkeep::shard::ShardStore;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const STEPS: usize = 160;
const FOLDER: &str = "SHARDKEEP_ADVERSARY_FOLDER";
const HISTORY: &str = "SHARDKEEP_ADVERSARY_HISTORY";
const DURABILITY: &str = "SHARDKEEP_ADVERSARY_DURABILITY";
const RECORDING: &str = "SHARDKEEP_ADVERSARY_RECORDING";

/// What the process said of its progress, outside of the shard's folder.
const MARKS: &str = "marks";
const SHARD: &str = "shard";

/// The process that is recorded.
#[test]
#[ignore = "run by the tests of this file, in a process of its own"]
fn the_recorded_process() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let folder = PathBuf::from(folder);
    let seed = std::env::var(HISTORY).unwrap().parse().unwrap();
    let durability = match std::env::var(DURABILITY).unwrap().as_str() {
        "os" => Durability::Os,
        _ => Durability::Sync,
    };
    let mut marks = std::fs::File::create(folder.join(MARKS)).unwrap();
    let mut mark = |text: String| marks.write_all(text.as_bytes()).unwrap();
    let shard = folder.join(SHARD);
    let mut actor = Actor::new(&shard, durability);
    mark("opened 0 0".to_owned());
    for (number, step) in History::of(seed, STEPS).steps.iter().enumerate() {
        mark(format!("begun {} 0", number + 1));
        actor.take(step);
        mark(format!("done {} {}", number + 1, actor.version().0));
    }
}

/// How far the process was.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    opened: bool,
    begun: usize,
    done: usize,
    version: u64,
}

impl Progress {
    fn read(&mut self, mark: &[u8]) {
        let text = std::str::from_utf8(mark).unwrap();
        let words: Vec<&str> = text.split(' ').collect();
        let number = words[1].parse().unwrap();
        match words[0] {
            "opened" => self.opened = true,
            "begun" => self.begun = number,
            "done" => {
                self.done = number;
                self.begun = self.begun.max(number);
                self.version = words[2].parse().unwrap();
            }
            other => panic!("{other}"),
        }
    }
}

/// A recorded history.
struct Recorded {
    events: Vec<Event>,
    history: History,
    durability: Durability,
    text: String,
}

impl Recorded {
    /// Records the history of a seed; `None` where nothing can be recorded.
    fn make(seed: u64, durability: Durability) -> Option<Self> {
        let (text, root, last) = match std::env::var(RECORDING) {
            Ok(path) => {
                let text = std::fs::read_to_string(path).unwrap();
                let root = text.lines().last().unwrap().split_once("+++ ").unwrap().1;
                (text.clone(), PathBuf::from(root), None)
            }
            Err(_) => {
                let dir = quick_dir();
                let root = dir.path().join("recorded");
                std::fs::create_dir(&root).unwrap();
                let mut text = recording::record(
                    &process(seed, durability, &root),
                    &dir.path().join("trace"),
                )?;
                text.push_str(&format!("0 +++ {}\n", root.display()));
                (text, root.clone(), Some(disk::read_in(&root)))
            }
        };
        let events = recording::events(&text, &root);
        let recorded = Self {
            events,
            history: History::of(seed, STEPS),
            durability,
            text,
        };
        if let Some(last) = last {
            recorded.assert_is(&last);
        }
        Some(recorded)
    }

    /// What was recorded is all that happened.
    fn assert_is(&self, last: &Image) {
        let mut disk = Disk::new();
        for event in &self.events {
            disk.happen(event);
        }
        let image = disk.image(|_| Tail::Kept, &mut Random::seeded(0));
        let names = |image: &Image| image.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&image), names(last));
        for (path, content) in &image {
            let same = match (content, &last[path]) {
                (Some(one), Some(other)) => disk::same(one, other),
                (one, other) => one.is_none() && other.is_none(),
            };
            assert!(same, "{} was not recorded whole", path.display());
        }
    }

    /// Where a crash is of interest: after each change of the log, and some of the index's.
    fn crash_points(&self, random: &mut Random) -> Vec<usize> {
        let mut points = Vec::new();
        for (number, event) in self.events.iter().enumerate() {
            let path = match event {
                Event::Open(_) => continue,
                Event::Create { path, .. } | Event::Remove { path } => path,
                Event::Rename { from, .. } => from,
                Event::Write { path, .. }
                | Event::Truncate { path, .. }
                | Event::Extend { path, .. }
                | Event::Sync { path, .. } => &path.path,
            };
            let of_the_index = path.starts_with(Path::new(SHARD).join("index"));
            if path.starts_with(SHARD) && (!of_the_index || random.percent(25)) {
                points.push(number + 1);
            }
        }
        points
    }
}

fn process(seed: u64, durability: Durability, root: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash_images::the_recorded_process", "--ignored"]);
    command.env(FOLDER, root).env(HISTORY, seed.to_string());
    let durability = match durability {
        Durability::Os => "os",
        Durability::Sync => "sync",
    };
    command.env(DURABILITY, durability);
    command
}

/// What becomes of the index's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IndexFate {
    Files(Tail),
    Gone,
}

#[derive(Debug, Clone)]
struct Case {
    number: u64,
    point: usize,
    log: Tail,
    index: IndexFate,
    random: Random,
}

fn draw(seed: u64, number: u64, points: &[usize]) -> Case {
    let mut random = Random::seeded(seed.wrapping_add(number));
    // Every point once before any is taken again, in steps that no history has.
    let step = 7_919;
    let point =
        points[((seed.wrapping_add(number)).wrapping_mul(step) % points.len() as u64) as usize];
    let log = Tail::ALL[random.within(0..4) as usize];
    let index = match random.within(0..6) {
        0 => IndexFate::Gone,
        1 => IndexFate::Files(log),
        other => IndexFate::Files(Tail::ALL[other as usize - 2]),
    };
    Case {
        number,
        point,
        log,
        index,
        random,
    }
}

impl Case {
    /// A rebuild where nothing was lost but what no sync had returned for.
    fn is_false_alarm(&self, found: &Found) -> bool {
        use IndexFate::Files;
        let fates = (self.log, self.index);
        let is_plain = matches!(
            fates,
            (Tail::Kept, Files(Tail::Kept | Tail::Dropped)) | (Tail::Dropped, Files(Tail::Dropped))
        );
        is_plain && found.rebuilt.is_some() && !found.lost
    }

    fn image(&mut self, disk: &Disk) -> Image {
        let index_folder = Path::new(SHARD).join("index");
        let (log, index) = (self.log, self.index);
        let tail = |path: &Path| match index {
            IndexFate::Files(tail) if path.starts_with(&index_folder) => tail,
            _ => log,
        };
        let mut image = disk.image(tail, &mut self.random);
        if index == IndexFate::Gone {
            image.retain(|path, _| !path.starts_with(&index_folder));
        }
        image
    }
}

#[derive(Debug, Default)]
struct Found {
    rebuilt: Option<String>,
    /// The crash met a rebuild, or the index was taken away.
    lost: bool,
    torn: bool,
    adopted: bool,
    one_more: bool,
}

/// Opens what a crash left and looks at every byte of it, twice, and writes to it in between.
fn check(dir: &Path, recorded: &Recorded, progress: Progress) -> Result<Found, String> {
    let options = || options(dir, recorded.durability, progress.opened);
    let states = &recorded.history.states[progress.done..=progress.begun];
    let mut found = Found::default();
    let is_lost = !dir.join("index").exists() && Log::is_begun(&dir.join("log")).unwrap();
    let opened = options();
    let counter = opened.counter.clone();
    let (store, report) = ShardStore::open(opened, None).map_err(|error| error.to_string())?;
    found.lost = is_lost;
    if is_lost && report.rebuilt.is_none() {
        return Err("nobody tells that the index is gone".to_owned());
    }
    found.rebuilt = report.rebuilt;
    found.torn = report.torn_bytes > 0;
    found.adopted = report.adopted_groups > 0;
    if counter.current() < Version(progress.version) {
        return Err(format!("versions begin again at {}", counter.current()));
    }
    let is = contents(&store.reader())?;
    let Some(which) = states.iter().position(|state| *state == is) else {
        return Err(difference(&is, &states[0]));
    };
    found.one_more = which > 0 && is != states[0];
    drop(store);
    let (mut store, report) = ShardStore::open(options(), None)
        .map_err(|error| format!("it does not open a second time: {error}"))?;
    if let Some(reason) = report.rebuilt {
        return Err(format!(
            "a second crash makes it rebuild the index: {reason}"
        ));
    }
    let again = contents(&store.reader())?;
    if again != is {
        return Err(format!("opened again: {}", difference(&again, &is)));
    }
    let gone = store.collect(2.0).map_err(|error| error.to_string())?;
    if !gone.pinned.is_empty() {
        return Err(format!("nobody reads, and yet {gone:?}"));
    }
    let again = contents(&store.reader())?;
    if again != is {
        return Err(format!("after gc: {}", difference(&again, &is)));
    }
    Ok(found)
}

fn difference(is: &State, should: &State) -> String {
    let keys = is.keys().chain(should.keys());
    let different = keys.filter(|key| is.get(key) != should.get(key));
    let show = |value: Option<&Vec<u8>>| match value {
        None => "nothing".to_owned(),
        Some(bytes) => format!("{} bytes {:?}", bytes.len(), &bytes[..bytes.len().min(12)]),
    };
    let lines = different.take(5).map(|key| {
        let (is, should) = (show(is.get(key)), show(should.get(key)));
        format!("{key} is {is}, should be {should}")
    });
    lines.collect::<Vec<_>>().join("; ")
}

/// Tries so many images of a recording; what went wrong with which.
fn attack(recorded: &Recorded, seed: u64, cases: u64) -> Vec<String> {
    let points = recorded.crash_points(&mut Random::seeded(seed));
    let mut drawn: Vec<Case> = (0..cases).map(|it| draw(seed, it, &points)).collect();
    drawn.sort_by_key(|case| case.point);
    let mut disk = Disk::new();
    let mut progress = Progress::default();
    let mut happened = 0;
    let mut failures = Vec::new();
    let mut sum: BTreeMap<&str, usize> = BTreeMap::new();
    for mut case in drawn {
        for event in &recorded.events[happened..case.point] {
            disk.happen(event);
            match event {
                Event::Write { path, bytes, .. } if path.path == Path::new(MARKS) => {
                    progress.read(bytes);
                }
                _ => {}
            }
        }
        happened = case.point;
        let dir = quick_dir();
        disk::write_out(&case.image(&disk), Path::new(SHARD), dir.path());
        match check(dir.path(), recorded, progress) {
            Ok(found) if case.is_false_alarm(&found) => failures.push(format!(
                "case {} at event {}, log {:?}, index {:?}: {:?}",
                case.number, case.point, case.log, case.index, found.rebuilt
            )),
            Ok(found) => {
                *sum.entry("index rebuilt").or_default() += usize::from(found.rebuilt.is_some());
                *sum.entry("torn tail cut").or_default() += usize::from(found.torn);
                *sum.entry("tail adopted").or_default() += usize::from(found.adopted);
                *sum.entry("step under way there").or_default() += usize::from(found.one_more);
            }
            Err(error) => failures.push(format!(
                "case {} at event {} of {}, log {:?}, index {:?}, {progress:?}: {error}",
                case.number,
                case.point,
                recorded.events.len(),
                case.log,
                case.index
            )),
        }
    }
    eprintln!(
        "{:?}: {cases} images of {} crash points, {} failed, {sum:?}",
        recorded.durability,
        points.len(),
        failures.len()
    );
    failures
}

fn every_image_recovers(durability: Durability) {
    let seed = seed("crash_images");
    let Some(recorded) = Recorded::make(seed, durability) else {
        return;
    };
    let failures = attack(&recorded, seed, cases(150));
    if !failures.is_empty() {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("recording-{seed}"));
        std::fs::write(&kept, &recorded.text).unwrap();
        let few = failures[..failures.len().min(10)].join("\n");
        panic!("{} failures, {}\n{few}", failures.len(), kept.display());
    }
}

#[test]
fn every_crash_point_recovers() {
    every_image_recovers(Durability::Sync);
}

#[test]
fn every_crash_point_recovers_what_was_synced_when_the_system_syncs() {
    every_image_recovers(Durability::Os);
}

/// fjall does not sync the folder that names its trees; a journal without them is worse than nothing.
#[test]
fn an_index_is_there_with_its_trees_or_not_at_all() {
    let Some(recorded) = Recorded::make(5, Durability::Sync) else {
        return;
    };
    let index = Path::new(SHARD).join("index");
    let mut disk = Disk::new();
    let mut random = Random::seeded(5);
    for (number, event) in recorded.events.iter().enumerate() {
        disk.happen(event);
        if matches!(event, Event::Open(_) | Event::Write { .. }) {
            continue;
        }
        for tail in [Tail::Dropped, Tail::Reordered] {
            let image = disk.image(|_| tail, &mut random);
            let is_tree = |path: &&PathBuf| path.starts_with(&index) && path.ends_with("current");
            let trees = image.keys().filter(is_tree).count();
            let is_there = image.contains_key(&index.join("version"));
            assert!(
                !is_there || trees == 2,
                "event {number}, {tail:?}: {trees} trees"
            );
        }
    }
}

/// Planted: a disk that says "synced" and has done nothing.
#[test]
fn a_sync_of_the_log_that_does_nothing_is_found() {
    let Some(mut recorded) = Recorded::make(3, Durability::Sync) else {
        return;
    };
    let log = Path::new(SHARD).join("log");
    for event in &mut recorded.events {
        if let Event::Sync { path, begun } = event
            && path.path.starts_with(&log)
        {
            *begun = 0;
        }
    }
    assert!(!attack(&recorded, 3, 40).is_empty());
}

/// Planted: the answer is given before the sync.
#[test]
fn an_early_answer_is_found() {
    let Some(mut recorded) = Recorded::make(4, Durability::Sync) else {
        return;
    };
    for event in &mut recorded.events {
        if let Event::Write { path, bytes, .. } = event
            && path.path == Path::new(MARKS)
            && bytes.starts_with(b"begun")
        {
            let text = std::str::from_utf8(bytes).unwrap();
            *bytes = text.replace("begun", "done").into_bytes().into();
        }
    }
    assert!(!attack(&recorded, 4, 80).is_empty());
}
