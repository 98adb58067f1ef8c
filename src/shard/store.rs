//! Log and index of one shard, opened together, changed together.

use super::dictionary::HeldDictionaries;
use super::epoch::{Epoch, Epochs};
use super::error::ShardError;
use super::feed::Feed;
use super::homes::Homes;
use super::ledger::Ledger;
use super::meter::GroupCost;
use super::plan::{HORIZON_MARK, Known, Plan, PlanContext, plan};
use super::reader::{Records, ShardReader};
use super::replay::{Replay, ReplayReport};
use super::set_aside::set_aside;
use super::showing::Showing;
use super::transactions::Transactions;
use super::view::View;
use crate::codec::{Dictionaries, Membership, Record, Space};
use crate::config::Durability;
use crate::index::{Index, IndexError, IndexOptions, IndexState, Totals};
use crate::log::{Ballast, GroupContext, Log, LogError, LogIdentity, LogOptions, OpenContext};
use crate::model::{
    Clock, Command, Reply, SegmentId, Seq, ShardId, StoreId, Timestamp, Version, VersionCounter,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Everything that opening a shard needs.
#[derive(Debug, Clone)]
pub struct ShardOptions {
    /// Its folder, with `log/` and `index/` in it.
    pub dir: PathBuf,
    /// The store.
    pub store: StoreId,
    /// The shard.
    pub id: ShardId,
    /// When a write is acknowledged.
    pub durability: Durability,
    /// Its log.
    pub log: LogOptions,
    /// Whether the store has had this shard before: then a folder without a log has lost it.
    pub must_exist: bool,
    /// Its index.
    pub index: IndexOptions,
    /// Stored values up to this many bytes stand in the index row too.
    pub inline_max: usize,
    /// Tombstones are kept this long for incremental backups.
    pub tombstone_retention: Duration,
    /// The index is made durable after this many bytes of log.
    pub checkpoint_bytes: u64,
    /// Writes are refused below this many free bytes: what the index may still owe to the disk.
    pub space_floor: u64,
    /// Which shard each slot belongs to.
    pub homes: Arc<Homes>,
    /// The reserve for a full disk.
    pub ballast: Arc<Ballast>,
    /// The process's clock.
    pub clock: Arc<Clock>,
    /// The store's version counter.
    pub counter: Arc<VersionCounter>,
    /// The store's dictionaries, as far as its shards have been opened.
    pub dictionaries: Arc<Dictionaries>,
    /// What a crash left undecided, resolved by all shards of the store together.
    pub transactions: Arc<Transactions>,
}

/// What opening a shard found.
#[derive(Debug, Clone, Default)]
pub struct OpenReport {
    /// Why the index was rebuilt, if it was.
    pub rebuilt: Option<String>,
    /// Groups read from the log into the index.
    pub replayed_groups: u64,
    /// Bytes of a torn, never acknowledged tail that were cut.
    pub torn_bytes: u64,
    /// Groups of unproven durability that were copied and synced.
    pub adopted_groups: usize,
}

/// What a shard holds and takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// Keys, bytes, blobs.
    pub totals: Totals,
    /// Bytes of the segments.
    pub log_bytes: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes in segments that no row points to.
    pub dead_bytes: u64,
}

pub(super) type EntityId = (Space, Bytes);

/// Log and index of one shard. One owner at a time: the actor, or an offline command.
#[derive(Debug)]
pub struct ShardStore {
    pub(super) options: ShardOptions,
    pub(super) log: Log,
    pub(super) index: Arc<Index>,
    pub(super) ledger: Ledger,
    pub(super) epochs: Epochs,
    pub(super) showing: Arc<Showing>,
    pub(super) feed: Arc<Feed>,
    pub(super) last_seq: Seq,
    pub(super) now: Timestamp,
    pub(super) unpersisted: u64,
    pub(super) dictionaries: HeldDictionaries,
    /// Tombstones up to this version may go.
    pub(super) horizon: Version,
}

/// Changes of one group that no record of it says.
#[derive(Debug, Default)]
pub(super) struct Forget {
    /// Rows to remove.
    pub rows: Vec<EntityId>,
    /// A segment to take out of the books.
    pub segment: Option<SegmentId>,
}

impl ShardStore {
    /// Opens a shard: index, log, replay. An index that cannot be used is rebuilt.
    ///
    /// # Errors
    /// Damage in the log, a failing or full disk, an index that is still open elsewhere.
    pub fn open(
        options: ShardOptions,
        force_rebuild: Option<&str>,
    ) -> Result<(Self, OpenReport), ShardError> {
        let (transactions, id) = (options.transactions.clone(), options.id);
        Self::open_or_rebuild(options, force_rebuild).inspect_err(|_| transactions.not_opened(id))
    }

    fn open_or_rebuild(
        options: ShardOptions,
        force_rebuild: Option<&str>,
    ) -> Result<(Self, OpenReport), ShardError> {
        require_log(&options)?;
        crate::log::create_dir_synced(&options.dir)?;
        let reason = match force_rebuild {
            Some(reason) => reason.to_owned(),
            None => match Self::try_open(&options) {
                Err(error) if error.needs_rebuild() => error.to_string(),
                done => return done,
            },
        };
        tracing::error!(shard = %options.id, %reason, "rebuilding the index from the log");
        set_aside(&options)?;
        let (store, report) = Self::try_open(&options)?;
        Ok((
            store,
            OpenReport {
                rebuilt: Some(reason),
                ..report
            },
        ))
    }

    fn try_open(options: &ShardOptions) -> Result<(Self, OpenReport), ShardError> {
        let index = open_index(options)?;
        index.complete_expiries()?;
        let state = index.state()?;
        let known = state.map_or_else(OpenContext::default, |state| state.open_context());
        let context = OpenContext {
            must_exist: options.must_exist,
            ..known
        };
        let owner = LogIdentity {
            store: options.store,
            shard: options.id,
        };
        let mut opened = Log::open(&options.dir.join("log"), owner, options.log, context)?;
        options.transactions.log_opened(options.id, opened.extent());
        let replayed = Replay::run(&index, &mut opened, state, options)?;
        let ReplayReport {
            state,
            ledger,
            groups,
        } = replayed;
        options.counter.raise(state.counter.max(opened.counter));
        options.clock.raise(state.now);
        let report = OpenReport {
            rebuilt: None,
            replayed_groups: groups,
            torn_bytes: opened.torn_bytes,
            adopted_groups: opened.adopted_groups,
        };
        let horizon = index
            .get(Space::Mark, HORIZON_MARK)?
            .map_or(Version(0), |row| row.version);
        let mut store = Self {
            options: options.clone(),
            feed: Arc::new(Feed::new(opened.log.end())),
            dictionaries: HeldDictionaries::new(options.dictionaries.clone()),
            log: opened.log,
            index: Arc::new(index),
            ledger,
            epochs: Epochs::new(),
            showing: Arc::default(),
            last_seq: state.last_seq.max(opened.last_seq),
            now: state.now.max(opened.now),
            unpersisted: 0,
            horizon,
        };
        store.load_dictionaries()?;
        Ok((store, report))
    }

    /// The shard.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.options.id
    }

    /// Stored values up to this many bytes stand in the index row too.
    pub(super) fn inline_max(&self) -> usize {
        self.options.inline_max
    }

    /// A reader of this shard, for as long as it is open.
    #[must_use]
    pub fn reader(&self) -> ShardReader {
        ShardReader::new(
            self.options.id,
            self.index.clone(),
            Records {
                segments: self.log.segments(),
                epochs: self.epochs.clone(),
                showing: self.showing.clone(),
                dictionaries: self.options.dictionaries.clone(),
            },
            Arc::downgrade(&self.feed),
        )
    }

    /// What the shard holds.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.ledger.totals
    }

    /// Plans and commits commands as one group, in their order. Space was reserved before.
    ///
    /// # Errors
    /// The outcome of every command is then unknown, and the shard must be reopened.
    pub fn execute(
        &mut self,
        commands: Vec<Command>,
        now: Timestamp,
    ) -> Result<Vec<Reply>, ShardError> {
        let commands = commands.into_iter().map(|command| (command, None));
        let (replies, _) = self.execute_seen(commands.collect(), now)?;
        Ok(replies)
    }

    /// As [`ShardStore::execute`], for commands some of whose keys were seen to be absent. Says too
    /// what the group took, if there was anything to commit.
    pub(super) fn execute_seen(
        &mut self,
        commands: Vec<(Command, Option<Epoch>)>,
        now: Timestamp,
    ) -> Result<(Vec<Reply>, Option<GroupCost>), ShardError> {
        let now = now.max(self.now);
        let index = self.index.clone();
        let homes = self.options.homes.clone();
        let counter = self.options.counter.clone();
        let mut view = View::new(&index, &homes, self.options.id);
        let context = PlanContext { now };
        let mut replies = Vec::with_capacity(commands.len());
        let mut records = Vec::with_capacity(commands.len());
        self.feed.draw(&counter);
        for (command, absent) in commands {
            if let (Command::Put { key, .. }, Some(then)) = (&command, absent)
                && self.epochs.is_unchanged(key.id(), then)
            {
                view.take_as_absent(key);
            }
            let Plan {
                records: planned,
                reply,
            } = plan(&mut view, command, context, &mut || counter.draw())?;
            view.note(&planned);
            records.extend(self.dictionaries.needed_by(&planned));
            records.extend(planned);
            replies.push(reply);
        }
        if records.is_empty() {
            self.feed.show(self.log.end());
            return Ok((replies, None));
        }
        let cost = self.commit(records, view.into_rows(), Forget::default(), now)?;
        Ok((replies, Some(cost)))
    }

    pub(super) fn state(&self) -> IndexState {
        IndexState {
            applied: self.log.end(),
            durable: self.log.durable(),
            counter: self.options.counter.current(),
            last_seq: self.last_seq,
            now: self.now,
            totals: self.ledger.totals,
        }
    }

    pub(super) fn group_context(&self, now: Timestamp) -> GroupContext {
        let counter = self.options.counter.current();
        GroupContext {
            counter,
            last_seq: self.last_seq,
            now: self.now.max(now),
            membership: Membership::NONE,
        }
    }

    /// Makes everything written durable.
    ///
    /// # Errors
    /// The shard must then be reopened.
    pub fn sync(&mut self) -> Result<(), ShardError> {
        Ok(self.log.sync()?)
    }

    /// Syncs, and makes the next open a quick one.
    ///
    /// # Errors
    /// What the disk answers; the next open then replays more.
    pub fn close(mut self) -> Result<(), ShardError> {
        self.log.close()?;
        self.index.batch().commit(&self.state())?;
        Ok(self.index.persist()?)
    }

    /// What each segment holds.
    #[must_use]
    pub fn usage(&self) -> &BTreeMap<SegmentId, crate::index::SegmentUsage> {
        self.ledger.usage()
    }

    /// What is known of a key, for tests of whole stores.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn known(&self, key: &crate::model::Key) -> Result<Option<Known>, IndexError> {
        use super::plan::Current as _;
        View::new(&self.index, &self.options.homes, self.options.id).key(key)
    }
}

/// A shard that was there before and has no log has lost it, which must not pass for an empty one:
/// its keys would be misses, and what they refer to would be dropped.
fn require_log(options: &ShardOptions) -> Result<(), LogError> {
    let log = options.dir.join("log");
    if options.must_exist && !log.is_dir() {
        return Err(LogError::lost(&log));
    }
    Ok(())
}

/// The index of a shard; a new one, if the shard is new. A log is begun after its index was made, so
/// one without an index has lost it.
fn open_index(options: &ShardOptions) -> Result<Index, ShardError> {
    let dir = options.dir.join("index");
    if Log::is_begun(&options.dir.join("log"))? || Index::is_made(&dir)? {
        return Ok(Index::open(&dir, options.index)?);
    }
    Ok(Index::make(&dir, options.index)?)
}

/// The error of a fail point that stands for a crash after a step.
#[allow(dead_code, reason = "used where fail points are compiled in")]
pub(super) fn crashed(step: &str) -> ShardError {
    ShardError::Contradiction(format!("injected by a fail point after {step}"))
}

/// The payload as it should stand in the row too, if it should.
pub(super) fn inline_payload(record: &Record, inline_max: usize) -> Option<&[u8]> {
    let inline = !record.kind.holds_value() || record.payload.len() <= inline_max;
    inline.then_some(&record.payload[..])
}
