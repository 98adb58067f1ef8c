//! The configuration after validation: every value in here is possible and none contradicts
//! another, so no other room checks one again.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Durability {
    /// After `fdatasync`: survives power loss.
    Sync,
    /// After the write: survives `kill -9`; a power loss can take the last `sync_interval`.
    Os,
}

/// What names a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyMode {
    /// BLAKE3 of the value in hex; the client's key is ignored.
    Content,
    /// The client's key.
    User,
}

/// The whole configuration of one server.
#[derive(Debug, Clone)]
pub struct Config {
    /// The network face.
    pub server: Server,
    /// Who may administrate.
    pub admin: Admin,
    /// Where and how data is kept.
    pub storage: Storage,
    /// What names a value and whether it may be replaced.
    pub keys: Keys,
    /// The operator's switches.
    pub access: Access,
    /// How values are made smaller.
    pub compression: Compression,
    /// Which values have one home.
    pub dedup: Dedup,
    /// The index.
    pub index: Index,
    /// How much may be in flight.
    pub admission: Admission,
    /// When the disk counts as full.
    pub disk: Disk,
    /// Segment GC.
    pub gc: Gc,
    /// Backups.
    pub backup: Backup,
    /// Reading cold data to find damage.
    pub scrub: Scrub,
    /// Restarts of failed shards.
    pub supervise: Supervise,
    /// The program's own log.
    pub log: Log,
}

/// `[server]`
#[derive(Debug, Clone)]
pub struct Server {
    /// Listen address.
    pub host: IpAddr,
    /// Listen port; 0 takes a free one.
    pub port: u16,
    /// Largest raw value in bytes.
    pub max_upload_size: u64,
    /// Largest raw value that comes in a stream, in bytes.
    pub max_value_size: u64,
    /// Concurrent HTTP/2 streams per connection.
    pub max_streams_per_connection: u32,
    /// Open connections; more are refused.
    pub max_connections: usize,
    /// Open connections above which idle ones are closed.
    pub max_idle_connections: usize,
    /// Bytes of one request's headers.
    pub max_header_list_size: u32,
    /// HTTP/2 flow-control window of a stream in bytes.
    pub stream_window: u32,
    /// HTTP/2 flow-control window of a connection in bytes.
    pub connection_window: u32,
    /// Ping an idle connection after this long.
    pub keepalive_interval: Duration,
    /// Close a connection whose ping is not answered in this time.
    pub keepalive_timeout: Duration,
    /// The deadline of a request that brings none.
    pub request_timeout: Duration,
    /// How long a shutdown waits for requests in flight.
    pub drain_timeout: Duration,
}

/// `[admin]`
#[derive(Clone)]
pub struct Admin {
    /// Without one, admin calls are answered to loopback peers only.
    pub password: Option<String>,
}

/// Says only whether there is a password, so that none ends up in a log.
impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = self.password.as_ref().map(|_| "********");
        f.debug_struct("Admin")
            .field("password", &password)
            .finish()
    }
}

/// `[storage]`
#[derive(Debug, Clone)]
pub struct Storage {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Number of shards of a new store; `None` for "auto". An existing store keeps its own.
    pub shards: Option<u16>,
    /// When a write is acknowledged.
    pub durability: Durability,
    /// How often unsynced writes are synced with `durability = "os"`.
    pub sync_interval: Duration,
    /// A segment is closed when it has grown to this many bytes.
    pub segment_size: u64,
    /// Memory for small values that were read lately, of all cores together, in bytes; 0 for none.
    pub value_cache_size: u64,
}

/// `[keys]`
#[derive(Debug, Clone)]
pub struct Keys {
    /// What names a value.
    pub mode: KeyMode,
    /// Whether a Set replaces what is there (user keys only).
    pub overwrite: bool,
    /// How long tombstones are kept for incremental backups.
    pub tombstone_retention: Duration,
}

/// `[access]`
#[derive(Debug, Clone)]
pub struct Access {
    /// Refuse Set; never lifted by the disk watchdog.
    pub disable_set: bool,
    /// Refuse Delete.
    pub disable_delete: bool,
}

/// `[compression]`
#[derive(Debug, Clone)]
pub struct Compression {
    /// zstd level, 1 to 19; 0 stores raw.
    pub level: i32,
    /// Bytes of a value that are compressed first to see whether it is worth it.
    pub probe_size: usize,
    /// Store raw when compression gains less than this share (0.05 is 5 %).
    pub min_gain: f64,
    /// Largest zstd dictionary in bytes; `None` trains none.
    pub dictionary_size: Option<usize>,
    /// Values from this size on are hashed and compressed on the CPU pool.
    pub offload_size: usize,
    /// Threads of the CPU pool; `None` for one per core.
    pub threads: Option<usize>,
}

/// `[dedup]`
#[derive(Debug, Clone)]
pub struct Dedup {
    /// Values from this size on are stored once, under their digest.
    pub min_size: usize,
    /// How long a blob without references is kept.
    pub grace: Duration,
    /// How often stale references and unreferenced blobs are swept.
    pub sweep_interval: Duration,
}

/// `[index]`
#[derive(Debug, Clone)]
pub struct Index {
    /// Memory for block caches of all shards in bytes.
    pub cache_size: u64,
    /// Memory of one shard's write buffer in bytes.
    pub write_buffer_size: u64,
    /// Stored values up to this many bytes stand in the index row too.
    pub inline_max: usize,
    /// The index is made durable after this many bytes of log, which bounds the replay.
    pub checkpoint_bytes: u64,
}

/// `[admission]`
#[derive(Debug, Clone)]
pub struct Admission {
    /// Requests in flight per shard.
    pub requests_per_shard: usize,
    /// Bytes of request bodies in flight in the whole process.
    pub bytes_in_flight: u64,
}

/// `[disk]`
#[derive(Debug, Clone)]
pub struct Disk {
    /// Refuse writes below this many free bytes; they return 10 % above.
    pub min_free: u64,
    /// How often the watchdog looks.
    pub check_interval: Duration,
    /// Bytes set aside for deletes, GC and recovery when the disk is full; 0 for none. At least what
    /// the indexes need to write out their buffers is set aside, if anything.
    pub ballast: u64,
}

/// `[gc]`
#[derive(Debug, Clone)]
pub struct Gc {
    /// A closed segment whose live share is under this is rewritten (0.5 is 50 %).
    pub live_threshold: f64,
    /// How often segments are looked at.
    pub check_interval: Duration,
    /// Bytes that one slice moves before it yields to user work.
    pub slice_size: u64,
}

/// `[backup]`
#[derive(Debug, Clone)]
pub struct Backup {
    /// Everything that backup and restore touch lies in here. Default: `<data-dir>/backups`.
    pub dir: PathBuf,
    /// Where scheduled backups go: always relative to `dir`; none without.
    pub auto_dir: Option<PathBuf>,
    /// When: a cron expression or `@every 1h30m`.
    pub auto_every: Option<Schedule>,
}

/// A schedule that parsed.
#[derive(Debug, Clone)]
pub enum Schedule {
    /// Again and again after this long.
    Every(Duration),
    /// At the times of a cron expression.
    Cron(Box<croner::Cron>),
}

/// `[scrub]`
#[derive(Debug, Clone)]
pub struct Scrub {
    /// Bytes a second; 0 switches scrubbing off.
    pub rate: u64,
    /// Pause between two rounds.
    pub interval: Duration,
}

/// `[supervise]`
#[derive(Debug, Clone)]
pub struct Supervise {
    /// Restarts of one shard in `restart_window` before it stays down.
    pub restart_budget: u32,
    /// See `restart_budget`.
    pub restart_window: Duration,
    /// A writer that is at one piece of work for longer hangs, and the process ends.
    pub writer_timeout: Duration,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// A level or a filter such as `info,shardkeep=debug`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
    /// Also write to files in this directory.
    pub dir: Option<PathBuf>,
    /// Start a new file at this size.
    pub max_size: u64,
}
