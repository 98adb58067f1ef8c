//! The fjall database behind the index.

use super::room::JournalRoom;
use super::{IndexBatch, IndexState, Row, SegmentUsage, Totals, preflight};
use crate::codec::{FormatError, Space, parse_namespace_id};
use crate::model::{Direction, KeyRange, NamespaceId, SegmentId, system_remedy};
use bytes::Bytes;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot,
    config::CompressionPolicy,
};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

/// The row of [`IndexState`].
pub(super) const STATE_ROW: &[u8] = b"z";
/// Rows of [`SegmentUsage`]; the segment's id follows, big-endian.
pub(super) const USAGE_PREFIX: u8 = b's';
/// Rows of what namespaces hold; the number follows, 4 bytes, big-endian.
pub(super) const COUNTS_PREFIX: u8 = b'c';
/// What `st_blocks` counts in, whatever the filesystem's own blocks are.
const STAT_BLOCK_SIZE: u64 = 512;
/// fjall's own floor.
const JOURNAL_SIZE_MIN: u64 = 64 * 1024 * 1024;
/// The device failed.
const EIO: i32 = 5;
/// The keyspace of all rows.
const ROWS: &str = "rows";

/// What the configuration says about one shard's index.
#[derive(Debug, Clone, Copy)]
pub struct IndexOptions {
    /// Bytes of its block cache.
    pub cache_size: u64,
    /// Bytes of its write buffer.
    pub write_buffer_size: u64,
}

/// Why the index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Another handle of the same database is open still.
    #[error("the index is open elsewhere")]
    Locked,
    /// No space left. What is in the index is sound; it is opened again when there is room.
    #[error("disk full: no room for the index: {0}")]
    Full(fjall::Error),
    /// An earlier write of it failed; opening it again shows what became of that.
    #[error("the index failed earlier and takes no writes until it is opened again")]
    Poisoned,
    /// fjall refuses.
    #[error("index: {0}{remedy}", remedy = remedy_of(.0))]
    Database(fjall::Error),
    /// A row is not what it should be.
    #[error("index row: {0}")]
    Row(#[from] FormatError),
    /// A file is damaged in a way that fjall would not see.
    #[error("index file {path}: {what}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        what: String,
    },
    /// fjall panicked on what it read.
    #[error("the index database panicked on what it read")]
    Panicked,
}

impl From<fjall::Error> for IndexError {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Locked => Self::Locked,
            fjall::Error::Poisoned => Self::Poisoned,
            full if is_disk_full(&full) => Self::Full(full),
            other => Self::Database(other),
        }
    }
}

impl IndexError {
    /// Whether the index must be made anew: opening it again is not enough.
    #[must_use]
    pub fn needs_rebuild(&self) -> bool {
        match self {
            Self::Locked | Self::Full(_) | Self::Poisoned => false,
            Self::Database(error) => !io_causes(error).any(is_of_the_system),
            Self::Row(_) | Self::File { .. } | Self::Panicked => true,
        }
    }

    /// Whether it may be damage that only fjall's own threads, or the device, have met: neither
    /// tells what or where.
    #[must_use]
    pub fn is_unexplained(&self) -> bool {
        match self {
            Self::Poisoned => true,
            Self::Database(error) => io_causes(error).any(|it| it.raw_os_error() == Some(EIO)),
            Self::Locked | Self::Full(_) | Self::Row(_) | Self::File { .. } | Self::Panicked => {
                false
            }
        }
    }
}

/// Whether the operating system failed, rather than the files.
fn is_of_the_system(error: &std::io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    let by_kind = matches!(
        error.kind(),
        ErrorKind::OutOfMemory | ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
    );
    by_kind || matches!(error.raw_os_error(), Some(EIO | ENFILE | EMFILE))
}

/// Whether "no space left" is at the bottom of it.
fn is_disk_full(error: &fjall::Error) -> bool {
    io_causes(error)
        .any(|io| matches!(io.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}

fn remedy_of(error: &fjall::Error) -> &'static str {
    io_causes(error).map(system_remedy).next().unwrap_or("")
}

/// What the operating system said, at the bottom of an error of fjall.
fn io_causes(error: &fjall::Error) -> impl Iterator<Item = &std::io::Error> {
    let causes =
        std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| {
            error.source()
        });
    causes.filter_map(|error| error.downcast_ref())
}

/// The index of one shard.
pub struct Index {
    pub(super) dir: PathBuf,
    pub(super) database: Database,
    pub(super) rows: Keyspace,
    pub(super) room: JournalRoom,
    pub(super) write_buffer_size: u64,
    /// The number of the last batch.
    pub(super) batches: AtomicU64,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Index")
    }
}

impl Index {
    /// Opens the index in a directory.
    ///
    /// # Errors
    /// `Locked` while an old handle lives; `File` when a part of it is missing, damaged, or of
    /// another time than the others. [`IndexError::needs_rebuild`] says what to do.
    pub fn open(dir: &Path, options: IndexOptions) -> Result<Self, IndexError> {
        if is_locked(dir) {
            return Err(IndexError::Locked);
        }
        contained(|| {
            preflight::check(dir)?;
            let database = database_in(dir, options)?;
            // What fjall does not find, it makes, and what it does not know, it removes.
            if !database.keyspace_exists(ROWS) {
                return Err(preflight::failed(dir, &"the tree of its rows is not named"));
            }
            Self::with(dir, database, options)
        })
    }

    /// Whether there is an index in a directory, sound or not.
    ///
    /// # Errors
    /// When the system does not let it be looked for.
    pub fn is_made(dir: &Path) -> Result<bool, IndexError> {
        Ok(dir.join("version").try_exists().map_err(fjall::Error::Io)?)
    }

    /// Makes an empty index in a directory, in place of whatever is there, and opens it.
    ///
    /// # Errors
    /// When the disk fails or is full.
    pub fn make(dir: &Path, options: IndexOptions) -> Result<Self, IndexError> {
        contained(|| {
            super::make::make(dir, options)?;
            // fjall gives a new journal a length of 64 MiB, without the blocks; opened again, it is
            // as long as what is in it, and tools that add up lengths see what the index takes.
            Self::with(dir, database_in(dir, options)?, options)
        })
    }

    fn with(dir: &Path, database: Database, options: IndexOptions) -> Result<Self, IndexError> {
        let rows = rows_of(&database, options)?;
        let state = rows.get(STATE_ROW)?;
        let batches = state.and_then(|row| IndexState::batch_number(&row));
        Ok(Self {
            dir: dir.to_owned(),
            database,
            rows,
            room: JournalRoom::default(),
            write_buffer_size: options.write_buffer_size,
            batches: AtomicU64::new(batches.unwrap_or(0)),
        })
    }

    /// The newest row of an entity. Sees a batch while it is being applied, in the order of its
    /// rows.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn get(&self, space: Space, id: &[u8]) -> Result<Option<Row>, IndexError> {
        let found = self.rows.get(row_key(space, id))?;
        found
            .map(|bytes| Ok(Row::decode(&Bytes::from(bytes))?))
            .transpose()
    }

    /// How far the index is; `None` for an empty one.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn state(&self) -> Result<Option<IndexState>, IndexError> {
        let found = self.rows.get(STATE_ROW)?;
        found
            .map(|bytes| Ok(IndexState::decode(&bytes)?))
            .transpose()
    }

    /// How full each segment is.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn usage(&self) -> Result<BTreeMap<SegmentId, SegmentUsage>, IndexError> {
        let snapshot = self.snapshot();
        let mut usage = BTreeMap::new();
        for guard in snapshot.snapshot.prefix(&self.rows, [USAGE_PREFIX]) {
            let (key, value) = guard.into_inner()?;
            let id = <[u8; 8]>::try_from(&key[1..]).map_err(|_| FormatError::Short {
                needed: 9,
                got: key.len(),
            })?;
            usage.insert(
                SegmentId(u64::from_be_bytes(id)),
                SegmentUsage::decode(&value)?,
            );
        }
        Ok(usage)
    }

    /// What each namespace holds that holds anything, the default one aside.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn counts(&self) -> Result<BTreeMap<NamespaceId, Totals>, IndexError> {
        let mut counts = BTreeMap::new();
        for guard in self.database.snapshot().prefix(&self.rows, [COUNTS_PREFIX]) {
            let (key, value) = guard.into_inner()?;
            let id = parse_namespace_id(&key[1..])?;
            counts.insert(id, Totals::decode(&value)?);
        }
        Ok(counts)
    }

    /// A batch of changes.
    #[must_use]
    pub fn batch(&self) -> IndexBatch<'_> {
        IndexBatch::new(self)
    }

    /// A view of this moment.
    #[must_use]
    pub fn snapshot(&self) -> IndexSnapshot {
        IndexSnapshot {
            snapshot: self.database.snapshot(),
            rows: self.rows.clone(),
        }
    }

    /// Makes everything in the index durable.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn persist(&self) -> Result<(), IndexError> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }

    /// Bytes on disk: of the journals only what they take, since they are sparse.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn disk_space(&self) -> Result<u64, IndexError> {
        let failed = |error| IndexError::Database(fjall::Error::Io(error));
        let mut journals = 0;
        for entry in std::fs::read_dir(&self.dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|ending| ending == "jnl") {
                // A journal that is gone by now takes nothing.
                let taken = path.metadata().map_or(0, |found| found.blocks());
                journals += taken * STAT_BLOCK_SIZE;
            }
        }
        Ok(journals + self.rows.disk_space())
    }
}

pub(super) fn database_in(dir: &Path, options: IndexOptions) -> Result<Database, IndexError> {
    let database = Database::builder(dir)
        .cache_size(options.cache_size)
        .max_cached_files(Some(64))
        .max_journaling_size(JOURNAL_SIZE_MIN.max(options.write_buffer_size * 4))
        .worker_threads(2)
        .open()?;
    Ok(database)
}

/// The keyspace of the rows, made if there is none.
pub(super) fn rows_of(database: &Database, options: IndexOptions) -> Result<Keyspace, IndexError> {
    let rows = database.keyspace(ROWS, || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(options.write_buffer_size)
            .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
    })?;
    Ok(rows)
}

/// Whether another handle has the database open: its files change under the eyes of a preflight.
fn is_locked(dir: &Path) -> bool {
    let lock = std::fs::File::open(dir.join("lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}

/// Runs work on an index whose files may be damaged. fjall asserts what its files say (a flipped bit
/// in a length of its journal is enough), and such a panic says no more than that the index must be
/// rebuilt.
///
/// # Errors
/// Those of the work, and `Panicked`.
pub fn contained<T>(work: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(IndexError::Panicked))
}

/// The index as it was at one moment.
pub struct IndexSnapshot {
    snapshot: Snapshot,
    rows: Keyspace,
}

impl std::fmt::Debug for IndexSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IndexSnapshot")
    }
}

impl IndexSnapshot {
    /// The row of an entity at that moment.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn get(&self, space: Space, id: &[u8]) -> Result<Option<Row>, IndexError> {
        let found = self.snapshot.get(&self.rows, row_key(space, id))?;
        found
            .map(|bytes| Ok(Row::decode(&Bytes::from(bytes))?))
            .transpose()
    }

    /// All rows of a space whose id begins with `prefix`, from `start` on (inclusive), in byte
    /// order of their ids.
    pub fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        start: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<(Bytes, Row), IndexError>> + Send + use<> {
        let first = row_key(space, start.map_or(prefix, |start| start.max(prefix)));
        let whole_prefix = row_key(space, prefix);
        self.snapshot
            .range(&self.rows, first..)
            .map(|guard| {
                let (key, value) = guard.into_inner()?;
                Ok((Bytes::from(key), Bytes::from(value)))
            })
            .take_while(move |pair: &Result<(Bytes, Bytes), IndexError>| {
                pair.as_ref()
                    .map_or(true, |(key, _)| key.starts_with(&whole_prefix))
            })
            .map(|pair| {
                let (key, value) = pair?;
                Ok((key.slice(1..), Row::decode(&value)?))
            })
    }

    /// All rows of a space whose id is in a range, in the byte order of their ids or against it.
    #[must_use]
    pub fn range(
        &self,
        space: Space,
        range: &KeyRange,
        direction: Direction,
    ) -> Box<dyn Iterator<Item = Result<(Bytes, Row), IndexError>> + Send> {
        let first = row_key(space, &range.start);
        let end = match &range.end {
            Some(end) => row_key(space, end).max(first.clone()),
            None => vec![space.prefix() + 1],
        };
        let rows = self.snapshot.range(&self.rows, first..end);
        match direction {
            Direction::Forward => pairs(rows),
            Direction::Backward => pairs(rows.rev()),
        }
    }
}

/// The rows of a range, from either end.
fn pairs(
    rows: impl Iterator<Item = fjall::Guard> + Send + 'static,
) -> Box<dyn Iterator<Item = Result<(Bytes, Row), IndexError>> + Send> {
    Box::new(rows.map(|guard| {
        let (key, value) = guard.into_inner()?;
        Ok((Bytes::from(key).slice(1..), Row::decode(&value.into())?))
    }))
}

pub(super) fn row_key(space: Space, id: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + id.len());
    key.push(space.prefix());
    key.extend_from_slice(id);
    key
}
