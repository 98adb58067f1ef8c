//! Reads each section of the raw configuration into its type: one function a section, one line a key.

use super::error::Fault;
use super::reader::Reader;
use super::value::*;
use super::{relations, schedule};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use tracing::level_filters::LevelFilter;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// HTTP/2 counts windows in 31 bits (RFC 9113, section 6.9.1) and starts them at 65,535 bytes.
const WINDOW: RangeInclusive<u64> = 65_535..=(1 << 31) - 1;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn from_secs(seconds: u64) -> RangeInclusive<Duration> {
    Duration::from_secs(seconds)..=DAY
}

/// Reads and checks everything. What it returns counts only when the reader found no problem.
pub(super) fn read(r: &mut Reader) -> Config {
    let storage = storage(r);
    let mut config = Config {
        server: server(r),
        admin: Admin {
            password: r.text("admin.password"),
        },
        keys: keys(r),
        access: Access {
            disable_set: r.switch("access.disable_set"),
            disable_delete: r.switch("access.disable_delete"),
        },
        compression: compression(r),
        dedup: dedup(r),
        index: index(r),
        admission: Admission {
            requests_per_shard: r.number("admission.requests_per_shard", 1..=1_000_000),
            bytes_in_flight: r.size("admission.bytes_in_flight", MIB..=TIB),
        },
        disk: disk(r),
        gc: gc(r),
        backup: backup(r, &storage),
        scrub: Scrub {
            rate: r.size("scrub.rate", 0..=TIB),
            interval: r.duration("scrub.interval", Duration::from_secs(1)..=365 * DAY),
        },
        supervise: Supervise {
            restart_budget: r.number("supervise.restart_budget", 0..=1_000_000),
            restart_window: r.duration("supervise.restart_window", from_secs(1)),
            writer_timeout: r.duration("supervise.writer_timeout", from_secs(1)),
        },
        log: log(r),
        storage,
    };
    relations::check(r, &mut config);
    config
}

fn server(r: &mut Reader) -> Server {
    Server {
        host: r.read("server.host", host),
        port: r.number("server.port", 0..=u16::MAX),
        max_upload_size: r.size("server.max_upload_size", KIB..=GIB),
        max_value_size: r.size("server.max_value_size", KIB..=4 * GIB),
        max_streams_per_connection: r.number("server.max_streams_per_connection", 1..=1_000_000),
        max_connections: r.number("server.max_connections", 1..=1_000_000),
        max_idle_connections: r.number("server.max_idle_connections", 1..=1_000_000),
        max_header_list_size: r.size("server.max_header_list_size", KIB..=16 * MIB),
        stream_window: r.size("server.stream_window", WINDOW),
        connection_window: r.size("server.connection_window", WINDOW),
        keepalive_interval: r.duration("server.keepalive_interval", from_secs(1)),
        keepalive_timeout: r.duration("server.keepalive_timeout", from_secs(1)),
        request_timeout: r.duration("server.request_timeout", Duration::from_millis(10)..=DAY),
        drain_timeout: r.duration("server.drain_timeout", Duration::ZERO..=HOUR),
    }
}

fn host(text: &str) -> Result<IpAddr, Fault> {
    match text {
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        text => text.parse().map_err(|_| {
            let remedy = "give an address such as 127.0.0.1, or 0.0.0.0 for all of this machine's";
            Fault::new("not an IP address", remedy)
        }),
    }
}

fn storage(r: &mut Reader) -> Storage {
    let durability = [("sync", Durability::Sync), ("os", Durability::Os)];
    let data_dir = r.path("storage.data_dir").unwrap_or_else(|| {
        let fault = Fault::new("no directory", "name the directory that holds the data");
        r.report("storage.data_dir", fault);
        PathBuf::new()
    });
    Storage {
        data_dir,
        // One slot is the least that a shard can hold, and there are 1,024.
        shards: r.number_or_auto("storage.shards", 1..=1024),
        durability: r.choice("storage.durability", &durability),
        sync_interval: r.duration(
            "storage.sync_interval",
            Duration::from_millis(1)..=Duration::from_secs(60),
        ),
        segment_size: r.size("storage.segment_size", MIB..=4 * GIB),
        value_cache_size: r.size("storage.value_cache_size", 0..=TIB),
    }
}

fn keys(r: &mut Reader) -> Keys {
    let mode = [("content", KeyMode::Content), ("user", KeyMode::User)];
    Keys {
        mode: r.choice("keys.mode", &mode),
        overwrite: r.switch("keys.overwrite"),
        tombstone_retention: r.duration("keys.tombstone_retention", Duration::ZERO..=36_500 * DAY),
    }
}

fn compression(r: &mut Reader) -> Compression {
    Compression {
        level: r.number("compression.level", 0..=19),
        probe_size: r.size("compression.probe_size", KIB..=GIB),
        min_gain: r.number("compression.min_gain", 0.0..=0.99),
        dictionary_size: r.size_or_none("compression.dictionary_size", 4 * KIB..=112 * KIB),
        offload_size: r.size("compression.offload_size", 0..=GIB),
        threads: r.number_or_auto("compression.threads", 1..=1024),
    }
}

fn dedup(r: &mut Reader) -> Dedup {
    Dedup {
        min_size: r.size("dedup.min_size", 1..=GIB),
        grace: r.duration("dedup.grace", Duration::ZERO..=365 * DAY),
        sweep_interval: r.duration("dedup.sweep_interval", Duration::from_secs(1)..=365 * DAY),
    }
}

fn index(r: &mut Reader) -> Index {
    Index {
        cache_size: r.size("index.cache_size", MIB..=TIB),
        write_buffer_size: r.size("index.write_buffer_size", 64 * KIB..=GIB),
        inline_max: r.size("index.inline_max", 0..=64 * KIB),
        checkpoint_bytes: r.size("index.checkpoint_bytes", MIB..=TIB),
    }
}

fn disk(r: &mut Reader) -> Disk {
    Disk {
        min_free: r.size("disk.min_free", 0..=1024 * TIB),
        check_interval: r.duration("disk.check_interval", Duration::from_millis(10)..=HOUR),
        ballast: r.size("disk.ballast", 0..=TIB),
    }
}

fn gc(r: &mut Reader) -> Gc {
    Gc {
        // At 1 every segment would be rewritten for ever.
        live_threshold: r.number("gc.live_threshold", 0.0..=0.99),
        check_interval: r.duration("gc.check_interval", Duration::from_millis(10)..=DAY),
        slice_size: r.size("gc.slice_size", 4 * KIB..=GIB),
    }
}

fn backup(r: &mut Reader, storage: &Storage) -> Backup {
    let default = || storage.data_dir.join("backups");
    Backup {
        dir: r.path("backup.dir").unwrap_or_else(default),
        auto_dir: r.path("backup.auto_dir"),
        auto_every: r.read("backup.auto_every", |text| {
            let given = Some(text).filter(|it| !it.is_empty());
            given.map(schedule::parse).transpose()
        }),
    }
}

fn log(r: &mut Reader) -> Log {
    let format = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    Log {
        level: r.read("log.level", level),
        format: r.choice("log.format", &format),
        dir: r.path("log.dir"),
        max_size: r.size("log.max_size", 64 * KIB..=TIB),
    }
}

/// A level, or levels by target: `info,shardkeep=debug`.
fn level(text: &str) -> Result<String, Fault> {
    let is_level = |part: &str| {
        let level = part.split_once('=').map_or(part, |(_, level)| level);
        level.parse::<LevelFilter>().is_ok()
    };
    if text.split(',').all(|part| is_level(part.trim())) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        "not a level",
        "give off, error, warn, info, debug or trace, also by target: \"info,shardkeep=debug\"",
    ))
}
