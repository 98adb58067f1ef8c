//! Stores to be damaged, held in memory and written out for each case.

use bytes::Bytes;
use shardkeep::codec::{self, Sealer};
use shardkeep::config::Durability;
use shardkeep::index::IndexOptions;
use shardkeep::log::{Ballast, FrameWalk, LogIdentity, LogOptions, Payloads, Step, inspect};
use shardkeep::model::*;
use shardkeep::shard::{Homes, ShardError, ShardOptions, ShardReader, ShardStore, Transactions};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A file: its bytes without the zeros at its end, and its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub bytes: Vec<u8>,
    pub len: usize,
}

impl Image {
    /// The first `end` bytes, as many of them as the file has.
    pub fn prefix(&self, end: usize) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(self.len.min(end), 0);
        bytes
    }
}

/// All files of a shard at one moment, `LOCK` and the like included.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    pub files: BTreeMap<PathBuf, Image>,
}

/// A store that is sound.
pub struct Base {
    pub now: Moment,
    pub before: Vec<Moment>,
    pub model: BTreeMap<Key, Option<Vec<u8>>>,
    /// Where each segment ends.
    pub ends: BTreeMap<PathBuf, usize>,
}

pub fn options(dir: &Path) -> ShardOptions {
    ShardOptions {
        dir: dir.to_owned(),
        store: StoreId(7),
        id: ShardId(0),
        durability: Durability::Sync,
        log: LogOptions {
            segment_size: 96 * 1024,
        },
        index: IndexOptions {
            cache_size: 1 << 20,
            write_buffer_size: 64 * 1024,
        },
        must_exist: false,
        inline_max: 128,
        tombstone_retention: Duration::ZERO,
        checkpoint_bytes: 128 * 1024,
        space_floor: 0,
        homes: Arc::new(Homes::even(1)),
        ballast: Arc::new(Ballast::new(dir.join("BALLAST"), 0, 0)),
        clock: Arc::default(),
        counter: Arc::default(),
        dictionaries: Arc::default(),
        transactions: Arc::new(Transactions::one_by_one(1)),
    }
}

/// A sealed value.
pub fn seal(raw: &[u8]) -> SealedValue {
    let info = ValueInfo {
        raw_len: raw.len() as u64,
        sum64: codec::sum64_of(raw),
    };
    let sealer = Sealer {
        level: 1,
        probe_size: 1024,
        min_gain: 0.05,
    };
    let digest = Some(codec::digest_of(raw));
    sealer.seal(Bytes::copy_from_slice(raw), info, digest)
}

/// What is stored under a key now.
pub fn read(reader: &ShardReader, key: &Key) -> Result<Option<Vec<u8>>, ShardError> {
    let Some(found) = reader.key(key, Timestamp(0))? else {
        return Ok(None);
    };
    let found = match found.link() {
        Some(link) => match reader.blob(link.digest)? {
            Some(blob) => blob,
            None => return Err(ShardError::Contradiction("a link without its blob".into())),
        },
        None => found,
    };
    let raw = found.open(found.payload()?)?;
    Ok(Some(raw.to_vec()))
}

struct Builder {
    dir: tempfile::TempDir,
    store: Option<ShardStore>,
    model: BTreeMap<Key, Option<Vec<u8>>>,
    before: Vec<Moment>,
    refs: u128,
}

impl Builder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut builder = Self {
            dir,
            store: None,
            model: BTreeMap::new(),
            before: Vec::new(),
            refs: 0,
        };
        builder.open();
        builder
    }

    fn open(&mut self) {
        self.store = None;
        let (store, _) = ShardStore::open(options(self.dir.path()), None).unwrap();
        self.store = Some(store);
    }

    /// Closes, takes a copy, and opens again.
    fn remember(&mut self) {
        self.store.take().unwrap().close().unwrap();
        self.before.push(load(self.dir.path()));
        self.open();
    }

    fn run(&mut self, commands: Vec<Command>) {
        let store = self.store.as_mut().unwrap();
        let size = commands.iter().map(Command::log_size_max).sum();
        store.reserve(size, false).unwrap();
        store.execute(commands, Timestamp(1)).unwrap();
    }

    fn put(&mut self, key: usize, raw: Vec<u8>) -> Command {
        let key = Key::new(format!("key/{key}").as_bytes()).unwrap();
        let value = seal(&raw);
        self.refs += 1;
        let body = if raw.len() < 1500 {
            PutBody::Small(value)
        } else {
            PutBody::Home {
                blob: BlobRef {
                    digest: value.digest.unwrap(),
                    ref_id: RefId(self.refs),
                },
                info: value.info,
                value: Some(value),
            }
        };
        self.model.insert(key.clone(), Some(raw));
        Command::Put {
            key,
            body,
            existing: Existing::Replace,
            expiry: None,
            attributes: Bytes::new(),
        }
    }

    fn delete(&mut self, key: usize) -> Command {
        let key = Key::new(format!("key/{key}").as_bytes()).unwrap();
        self.model.insert(key.clone(), None);
        Command::Delete {
            key,
            condition: None,
        }
    }

    /// A round of puts, overwrites and deletes in groups of one to five.
    fn round(&mut self, round: usize) {
        for start in (0..300).step_by(5) {
            let mut group = Vec::new();
            for key in start..start + 1 + start / 5 % 5 {
                group.push(match (key + round) % 11 {
                    0 => self.delete(key),
                    1 => self.put(key, noise(round * 1000 + key, 3000)),
                    2 => self.put(key, b"the same words again ".repeat(100 + round)),
                    3 => self.put(key, noise(key % 3, 2000)),
                    4 | 5 => self.put(key, noise(round * 1000 + key, 700)),
                    _ => self.put(key, format!("value {key} of {round}").into_bytes()),
                });
            }
            self.run(group);
        }
    }

    fn finish(mut self, close: bool) -> Base {
        match self.store.take() {
            Some(store) if close => store.close().unwrap(),
            store => drop(store),
        }
        let now = load(self.dir.path());
        Base {
            ends: ends(self.dir.path()),
            now,
            before: self.before,
            model: self.model,
        }
    }
}

fn noise(seed: usize, len: usize) -> Vec<u8> {
    let mut state = seed as u64 + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// A store that was closed, one that was killed, one after segment GC, and one that has just begun.
pub fn bases() -> Vec<Base> {
    let mut bases = Vec::new();
    for close in [true, false] {
        let mut builder = Builder::new();
        builder.round(0);
        builder.remember();
        builder.round(1);
        builder.remember();
        builder.round(2);
        bases.push(builder.finish(close));
    }
    let mut collected = Builder::new();
    for round in 0..4 {
        collected.round(round);
        collected.remember();
    }
    let gone = collected.store.as_mut().unwrap().collect(0.97).unwrap();
    assert!(
        !gone.removed.is_empty(),
        "{gone:?} {:?}",
        collected.store.as_ref().unwrap().usage()
    );
    collected.round(4);
    bases.push(collected.finish(false));
    let mut young = Builder::new();
    young.remember();
    young.round(0);
    bases.push(young.finish(false));
    bases
}

/// A store of twenty values under keys that begin with a name.
pub fn one_of(name: &str) -> BTreeMap<PathBuf, Image> {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = ShardStore::open(options(dir.path()), None).unwrap();
    for number in 0..20 {
        let command = Command::Put {
            key: Key::new(format!("{name}/{number}").as_bytes()).unwrap(),
            body: PutBody::Small(seal(&noise(number, 500))),
            existing: Existing::Replace,
            expiry: None,
            attributes: Bytes::new(),
        };
        store.reserve(command.log_size_max(), false).unwrap();
        store.execute(vec![command], Timestamp(1)).unwrap();
    }
    store.close().unwrap();
    load(dir.path()).files
}

fn load(dir: &Path) -> Moment {
    let mut files = BTreeMap::new();
    for entry in walkdir::WalkDir::new(dir) {
        let entry = entry.unwrap();
        let name = entry.path().strip_prefix(dir).unwrap().to_owned();
        if entry.file_type().is_file() && (name.starts_with("log") || name.starts_with("index")) {
            let mut bytes = std::fs::read(entry.path()).unwrap();
            let len = bytes.len();
            trim(&mut bytes);
            files.insert(name, Image { bytes, len });
        }
    }
    Moment { files }
}

/// Cuts zeros at the end, by blocks first: a journal is 64 MiB of them.
fn trim(bytes: &mut Vec<u8>) {
    const BLOCK: [u8; 4096] = [0; 4096];
    while bytes.ends_with(&BLOCK) {
        bytes.truncate(bytes.len() - BLOCK.len());
    }
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
}

/// Writes files out.
pub fn write(files: &BTreeMap<PathBuf, Image>, dir: &Path) {
    for name in ["log", "index"] {
        std::fs::create_dir_all(dir.join(name)).unwrap();
    }
    for (name, image) in files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &image.bytes).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(image.len as u64).unwrap();
    }
}

/// Whether the log in a folder is these files, byte for byte.
pub fn log_is(files: &BTreeMap<PathBuf, Image>, dir: &Path) -> bool {
    let of_log = |files: &BTreeMap<PathBuf, Image>| -> Vec<(PathBuf, Vec<u8>)> {
        let files = files.iter().filter(|(name, _)| name.starts_with("log"));
        let whole = files.map(|(name, image)| (name.clone(), image.prefix(usize::MAX)));
        whole.collect()
    };
    let mut now = BTreeMap::new();
    for entry in std::fs::read_dir(dir.join("log")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let len = bytes.len();
        let name = path.strip_prefix(dir).unwrap().to_owned();
        now.insert(name, Image { bytes, len });
    }
    of_log(&now) == of_log(files)
}

/// Where each segment of a sound store ends.
fn ends(dir: &Path) -> BTreeMap<PathBuf, usize> {
    let owner = LogIdentity {
        store: StoreId(7),
        shard: ShardId(0),
    };
    let found = inspect(&dir.join("log"), owner).unwrap();
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    let mut ends = BTreeMap::new();
    for (id, segment) in &found.segments {
        let mut walk = FrameWalk::new(segment.clone(), 4096, found.ends[id], Payloads::Skip);
        let mut end = 4096;
        while let Some(Step::Frame(frame)) = walk.next_step().unwrap() {
            end = frame.end.offset;
        }
        let name = segment.path().strip_prefix(dir).unwrap();
        ends.insert(name.to_owned(), end as usize);
    }
    ends
}
