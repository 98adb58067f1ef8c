//! A history of one shard that a seed repeats: what was asked for, step by step, and what therefore
//! stands under every key after each step.

use crate::support::{Random, noise};
use bytes::Bytes;
use shardkeep::codec::{self, Kind, Sealer, Space};
use shardkeep::config::Durability;
use shardkeep::index::IndexOptions;
use shardkeep::log::{Ballast, LogOptions};
use shardkeep::model::*;
use shardkeep::shard::{Homes, ShardError, ShardOptions, ShardReader, ShardStore, Transactions};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Contents from this size on are blobs.
const BLOB_SIZE_MIN: usize = 1_000;

/// What stands under every key.
pub type State = BTreeMap<Key, Vec<u8>>;

/// What a key is to hold; `None` for nothing.
pub type Change = (Key, Option<Vec<u8>>);

/// One step: done as a whole or not at all.
#[derive(Debug, Clone)]
pub enum Step {
    /// Puts and deletes of one group.
    Group(Vec<Change>),
    /// Blobs without references go.
    Reclaim,
    /// Tombstones may go.
    PurgeTombstones,
    /// Segments that are live to less than so many percent go.
    Collect(u64),
    /// The shard is closed, or let go of as a crash would, and opened again.
    Reopen { close: bool },
    /// The index is made anew.
    Rebuild,
}

/// The steps of a history, and the states between them: `states[n]` follows `n` steps.
pub struct History {
    pub steps: Vec<Step>,
    pub states: Vec<State>,
}

impl History {
    /// The history of a seed.
    pub fn of(seed: u64, length: usize) -> Self {
        let mut random = Random::seeded(seed);
        let mut state = State::new();
        let mut history = Self {
            steps: Vec::new(),
            states: vec![state.clone()],
        };
        for number in 0..length {
            let step = match random.within(0..100) {
                0..=3 => Step::Reclaim,
                4 => Step::PurgeTombstones,
                5..=8 => Step::Collect(random.within(30..120)),
                9..=10 => Step::Reopen { close: false },
                11 => Step::Reopen { close: true },
                12 => Step::Rebuild,
                _ => Step::Group(group(&mut random, number, &state)),
            };
            if let Step::Group(changes) = &step {
                for (key, value) in changes {
                    match value {
                        Some(value) => state.insert(key.clone(), value.clone()),
                        None => state.remove(key),
                    };
                }
            }
            history.steps.push(step);
            history.states.push(state.clone());
        }
        history
    }
}

fn group(random: &mut Random, number: usize, state: &State) -> Vec<Change> {
    let size = random.within(1..6);
    let mut changes = Vec::new();
    for part in 0..size {
        if random.percent(20) && !state.is_empty() {
            let picked = random.within(0..state.len() as u64) as usize;
            let key = state.keys().nth(picked).unwrap();
            changes.push((key.clone(), None));
            continue;
        }
        let value = value(random, number as u64 * 10 + part);
        let key = if random.percent(25) {
            Key::of_digest(codec::digest_of(&value))
        } else {
            let name = format!("key/{}", random.within(0..25));
            Key::new(name.as_bytes()).unwrap()
        };
        changes.push((key, Some(value)));
    }
    changes
}

fn value(random: &mut Random, fresh: u64) -> Vec<u8> {
    match random.within(0..10) {
        0..=4 => format!("value {fresh}").into_bytes(),
        5..=6 => noise(fresh, random.within(100..BLOB_SIZE_MIN as u64) as usize),
        // Few contents that many keys share.
        7..=8 => noise(random.within(0..5), 3_000),
        _ => noise(fresh, random.within(1_000..12_000) as usize),
    }
}

/// How the shard of the history is opened.
pub fn options(dir: &Path, durability: Durability, must_exist: bool) -> ShardOptions {
    ShardOptions {
        dir: dir.to_owned(),
        store: StoreId(7),
        id: ShardId(0),
        durability,
        log: LogOptions {
            segment_size: 48 * 1024,
        },
        index: IndexOptions {
            cache_size: 1 << 20,
            write_buffer_size: 64 * 1024,
        },
        must_exist,
        inline_max: 128,
        tombstone_retention: Duration::from_secs(3600),
        checkpoint_bytes: 96 * 1024,
        space_floor: 0,
        homes: Arc::new(Homes::even(1)),
        ballast: Arc::new(Ballast::new(dir.join("BALLAST"), 0, 0)),
        clock: Arc::default(),
        counter: Arc::default(),
        dictionaries: Arc::default(),
        transactions: Arc::new(Transactions::one_by_one(1)),
    }
}

/// A shard that a history happens to.
pub struct Actor<'a> {
    dir: &'a Path,
    durability: Durability,
    store: Option<ShardStore>,
    counter: Arc<VersionCounter>,
}

impl<'a> Actor<'a> {
    /// Makes the shard.
    pub fn new(dir: &'a Path, durability: Durability) -> Self {
        let mut actor = Self {
            dir,
            durability,
            store: None,
            counter: Arc::default(),
        };
        actor.open(false, None);
        actor
    }

    /// The highest version there was.
    pub fn version(&self) -> Version {
        self.counter.current()
    }

    /// Takes a step; when this returns it is durable.
    pub fn take(&mut self, step: &Step) {
        match step {
            Step::Group(changes) => {
                let commands = changes.iter().map(command).collect();
                self.run(commands);
            }
            Step::Reclaim => self.reclaim(),
            Step::PurgeTombstones => {
                let horizon = self.version();
                self.run(vec![Command::PurgeTombstones { horizon }]);
            }
            Step::Collect(percent) => {
                let threshold = *percent as f64 / 100.0;
                self.store().collect(threshold).unwrap();
            }
            Step::Reopen { close: true } => {
                self.store.take().unwrap().close().unwrap();
                self.open(true, None);
            }
            Step::Reopen { close: false } => self.open(true, None),
            Step::Rebuild => self.open(true, Some("the history wants it")),
        }
        if self.durability == Durability::Os {
            self.store().sync().unwrap();
        }
    }

    fn store(&mut self) -> &mut ShardStore {
        self.store.as_mut().unwrap()
    }

    fn open(&mut self, must_exist: bool, rebuild: Option<&str>) {
        self.store = None;
        let options = options(self.dir, self.durability, must_exist);
        self.counter = options.counter.clone();
        let (store, _) = ShardStore::open(options, rebuild).unwrap();
        self.store = Some(store);
    }

    fn run(&mut self, commands: Vec<Command>) {
        let size = commands.iter().map(Command::log_size_max).sum();
        self.store().reserve(size, false).unwrap();
        self.store().execute(commands, Timestamp(1)).unwrap();
    }

    fn reclaim(&mut self) {
        let snapshot = self.store().reader().snapshot();
        let rows: Vec<_> = snapshot.scan(Space::Blob, &[], None).collect();
        drop(snapshot);
        let rows = rows.into_iter().map(Result::unwrap);
        let blobs = rows.filter(|(_, row)| row.kind == Kind::Blob);
        let commands: Vec<Command> = blobs
            .map(|(id, _)| Command::ReclaimBlob {
                digest: Digest(id[..].try_into().unwrap()),
            })
            .collect();
        if !commands.is_empty() {
            self.run(commands);
        }
    }
}

fn command((key, value): &Change) -> Command {
    let Some(raw) = value else {
        return Command::Delete {
            key: key.clone(),
            condition: None,
        };
    };
    let existing = match key.digest() {
        Some(_) => Existing::KeepSameContent,
        None => Existing::Replace,
    };
    Command::Put {
        key: key.clone(),
        body: body(raw),
        existing,
        expiry: None,
        attributes: Bytes::new(),
    }
}

fn body(raw: &[u8]) -> PutBody {
    let info = ValueInfo {
        raw_len: raw.len() as u64,
        sum64: codec::sum64_of(raw),
    };
    let sealer = Sealer {
        level: 1,
        probe_size: 1024,
        min_gain: 0.05,
    };
    let digest = codec::digest_of(raw);
    let value = sealer.seal(Bytes::copy_from_slice(raw), info, Some(digest));
    if raw.len() < BLOB_SIZE_MIN {
        return PutBody::Small(value);
    }
    let ref_id = RefId(u128::from(getrandom::u64().unwrap()));
    PutBody::Home {
        blob: BlobRef { digest, ref_id },
        info,
        value: Some(value),
    }
}

/// Everything that the shard holds, read to the last byte, its references recounted.
pub fn contents(reader: &ShardReader) -> Result<State, String> {
    let snapshot = reader.snapshot();
    let mut state = State::new();
    let mut links = Vec::new();
    for found in snapshot.scan(Space::Key, &[], None) {
        let (id, row) = found.map_err(|error| error.to_string())?;
        if row.kind.is_gone() {
            continue;
        }
        let key = Key::new(&id).map_err(|error| error.to_string())?;
        let read = read(reader, &key).map_err(|error| format!("{key}: {error}"))?;
        state.insert(key.clone(), read.ok_or(format!("{key} has a row only"))?);
        if row.kind == Kind::Link {
            let link = row.inline.as_deref().ok_or("a link that names nothing")?;
            let link = codec::decode_blob_ref(link).map_err(|error| error.to_string())?;
            links.push((link, key));
        }
    }
    let references: Result<BTreeMap<_, _>, _> = reader.references().collect();
    let references = references.map_err(|error| error.to_string())?;
    let links: BTreeMap<_, _> = links.into_iter().collect();
    if references != links {
        return Err(format!("references {references:?}, but links {links:?}"));
    }
    Ok(state)
}

fn read(reader: &ShardReader, key: &Key) -> Result<Option<Vec<u8>>, ShardError> {
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
