//! What `bench` is asked for, and the plan that is made of it: checked once, possible by construction.

use super::super::exit::CliError;
use super::super::noop::StackWord;
use super::course::End;
use super::piece::PieceRing;
use super::source::Work;
use super::value::ValueKind;
use crate::client::{Protocol, VALUE_SIZE_MAX};
use crate::config::{format_size, parse_size};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// HTTP/2 streams that a server takes on one connection by default.
const IN_FLIGHT_MAX: usize = 256;
/// Values of writers at one time.
const MEMORY_MAX: u64 = 2 << 30;
/// tonic's own limit of a message, less room for its key.
const STOCK_SIZE_MAX: u64 = (4 << 20) - 1024;
/// How long a run is: alone, and as one of many.
const DURATION: Duration = Duration::from_secs(10);
const DURATION_OF_ROUND: Duration = Duration::from_secs(2);
/// The values that are there before reads begin, unless said otherwise.
const KEYS_MAX: u64 = 10_000;
const KEYS_MIN: u64 = 64;
const KEYS_BYTES: u64 = 256 << 20;
const SCANNED_KEYS: u64 = 65_536;

/// How much is sent, of what, and how fast.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Load")]
pub struct LoadArgs {
    /// Bytes of a value: 1024, "16 KiB", 1MiB [default: 1 KiB, 1 GiB in streams]
    #[arg(long, value_parser = parse_size)]
    size: Option<u64>,
    /// What values look like
    #[arg(long, value_enum, default_value_t = ValueKind::Random)]
    value_kind: ValueKind,
    /// Values that are stored beforehand and then read, or stored again [default: up to 10000 or
    /// 256 MiB, 65536 for scans, 1 in streams]
    #[arg(long, value_name = "N")]
    keys: Option<u64>,
    /// Connections [default: 8, 1 for scans and streams]
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// Requests in flight on each connection [default: 16, 1 for scans and streams]
    #[arg(long, value_name = "N")]
    in_flight: Option<usize>,
    /// Threads that share the connections [default: one a core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// How long, or how long each round [default: 10s, rounds 2s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// How many requests, instead of how long
    #[arg(long, value_name = "N", conflicts_with = "duration")]
    count: Option<u64>,
    /// Send so many requests a second, whatever the answers do; latency counts from when a request
    /// was due
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// How long before anything is counted
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = humantime::parse_duration)]
    warmup: Duration,
    /// Verify the checksum of every value that Get reads
    #[arg(long)]
    verify: bool,
    /// Drop the system's page cache before each round, as root: reads find nothing but the disk
    #[arg(long)]
    cold: bool,
}

/// Whom it is sent to, and what that is compared with.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Servers")]
pub struct TargetArgs {
    /// Where the server that is started keeps its data for the time: the disk that is measured
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The process of --server, for its CPU time
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Name the keys; the server must run with --allow-user-key
    #[arg(long)]
    user_keys: bool,
    /// Compare with a server that does nothing: bare (the same limits), admitted (admission too) or
    /// stock (tonic's defaults)
    #[arg(
        long,
        value_name = "STACK",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "bare"
    )]
    baseline: Option<StackWord>,
    /// The baseline reads each Get's value from a file
    #[arg(long, requires = "baseline")]
    pread: bool,
    /// Compare with another shardkeep program, such as an older build
    #[arg(long, value_name = "PROGRAM", conflicts_with = "baseline")]
    against: Option<PathBuf>,
    /// Rounds of each side, in turn
    #[arg(long, value_name = "N", default_value_t = 5)]
    pairs: usize,
    /// More flags for `serve`
    #[arg(last = true, value_name = "SERVE FLAGS")]
    serve: Vec<OsString>,
}

/// What the server is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Rival {
    /// The server that does nothing.
    Noop {
        /// What stands around it.
        stack: StackWord,
        /// Whether it reads values from a file.
        pread: bool,
    },
    /// Another program.
    Program(PathBuf),
    /// The same server at another work.
    Same(Base),
}

/// What else the same server is asked for, to compare.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Base {
    /// What the report calls it.
    pub name: &'static str,
    /// What is spoken.
    pub protocol: Protocol,
    /// What is done.
    pub work: Work,
}

/// The checked load.
#[derive(Debug, Clone)]
pub struct Shape {
    /// What is done.
    pub work: Work,
    /// What is spoken.
    pub protocol: Protocol,
    /// Bytes of a value.
    pub size: usize,
    /// What values look like.
    pub kind: ValueKind,
    /// Values stored beforehand.
    pub keys: u64,
    /// Connections.
    pub connections: usize,
    /// Requests in flight on each.
    pub in_flight: usize,
    /// Threads.
    pub threads: usize,
    /// When a run, or a round, is over.
    pub end: End,
    /// Requests a second, for an open loop.
    pub rate: Option<f64>,
    /// How long before anything is counted.
    pub warmup: Duration,
    /// Whether read values are verified.
    pub verify: bool,
    /// Whether each round begins with an empty page cache.
    pub cold: bool,
    /// Whether writes name their keys.
    pub user_keys: bool,
}

impl Shape {
    /// Requests in flight on all connections.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.connections * self.in_flight
    }
}

/// The checked targets.
#[derive(Debug, Clone)]
pub struct Targets {
    /// The disk that is measured.
    pub dir: PathBuf,
    /// A running server; without one, one is started.
    pub server: Option<String>,
    /// Its process.
    pub server_pid: Option<u32>,
    /// What it is compared with.
    pub rival: Option<Rival>,
    /// Rounds of each side.
    pub pairs: usize,
    /// More flags for `serve`.
    pub serve: Vec<OsString>,
}

impl LoadArgs {
    /// The load, if it is possible. `in_rounds`: whether it is one of many short runs.
    ///
    /// # Errors
    /// `Usage`, with the remedy.
    pub fn shape(
        self,
        (work, protocol): (Work, Protocol),
        user_keys: bool,
        in_rounds: bool,
    ) -> Result<Shape, CliError> {
        let (usual_size, usual_connections, usual_in_flight) = usual(work);
        let size = self.size.unwrap_or(usual_size);
        self.check_size(size)?;
        let connections = self.connections.unwrap_or(usual_connections);
        let in_flight = self.in_flight.unwrap_or(usual_in_flight);
        let usage = |message: String| Err(CliError::Usage(message));
        if connections == 0 || in_flight == 0 || self.threads == Some(0) {
            return usage("--connections, --in-flight and --threads start at 1".to_owned());
        }
        if in_flight > IN_FLIGHT_MAX {
            return usage(format!(
                "too many requests in flight on a connection: {in_flight}, max={IN_FLIGHT_MAX}; use more --connections"
            ));
        }
        if self
            .rate
            .is_some_and(|rate| !(rate.is_finite() && rate > 0.0))
        {
            return usage("--rate is a number of requests a second, above 0".to_owned());
        }
        if let Work::Mixed { read_share } = work
            && !(0.0..=1.0).contains(&read_share)
        {
            return usage(format!("--read-share is from 0 to 1, not {read_share}"));
        }
        if self.keys == Some(0) || self.count == Some(0) || self.duration == Some(Duration::ZERO) {
            return usage("--keys, --count and --duration are more than nothing".to_owned());
        }
        let end = match (self.count, self.duration) {
            (Some(count), _) => End::Count(count),
            (None, Some(duration)) => End::After(duration),
            (None, None) if in_rounds => End::After(DURATION_OF_ROUND),
            (None, None) => End::After(DURATION),
        };
        let shape = Shape {
            work,
            protocol,
            size: usize::try_from(size).expect("values end at 1 GiB"),
            kind: self.value_kind,
            keys: self.keys(work, size),
            connections,
            in_flight,
            threads: self.threads.unwrap_or_else(cores),
            end,
            rate: self.rate,
            warmup: self.warmup,
            verify: self.verify,
            cold: self.cold,
            user_keys,
        };
        check_memory(&shape)?;
        Ok(shape)
    }

    fn check_size(&self, size: u64) -> Result<(), CliError> {
        let min = self.value_kind.size_min() as u64;
        if (min..=VALUE_SIZE_MAX).contains(&size) {
            return Ok(());
        }
        Err(CliError::Usage(format!(
            "--size {} is not possible for {} values: {min} B to {}",
            format_size(size),
            self.value_kind.word(),
            format_size(VALUE_SIZE_MAX)
        )))
    }

    fn keys(&self, work: Work, size: u64) -> u64 {
        let usual = match work {
            Work::Set | Work::Upload => return 0,
            // One value is sent again and again.
            Work::Resend => return 1,
            Work::Download => 1,
            Work::Scan => SCANNED_KEYS,
            _ => (KEYS_BYTES / size).clamp(KEYS_MIN, KEYS_MAX),
        };
        self.keys.unwrap_or(usual)
    }
}

/// Bytes of a value, connections and requests in flight on each, unless said otherwise.
fn usual(work: Work) -> (u64, usize, usize) {
    match work {
        Work::Upload | Work::Download => (1 << 30, 1, 1),
        Work::Resend => (64 << 20, 1, 1),
        Work::Scan => (1 << 10, 1, 1),
        _ => (1 << 10, 8, 16),
    }
}

/// Values of writers are all in memory: those in flight, and those that are stored again.
fn check_memory(shape: &Shape) -> Result<(), CliError> {
    let (values, size) = match shape.work {
        Work::Get | Work::BatchGet { .. } | Work::Scan | Work::Download => (0, 0),
        Work::Set | Work::Mixed { .. } => (shape.workers() as u64, shape.size),
        Work::SetDuplicate | Work::SetEach => (shape.keys, shape.size),
        Work::Upload | Work::Resend => (shape.workers() as u64, PieceRing::SIZE),
    };
    let bytes = values.saturating_mul(size as u64);
    if bytes <= MEMORY_MAX {
        return Ok(());
    }
    Err(CliError::Usage(format!(
        "{values} values of {} are more than this client keeps in memory ({}): \
         lower --connections, --in-flight, --size or --keys",
        format_size(size as u64),
        format_size(MEMORY_MAX)
    )))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl TargetArgs {
    /// Whether writes name their keys.
    #[must_use]
    pub fn user_keys(&self) -> bool {
        self.user_keys
    }

    /// Whether two sides are compared.
    #[must_use]
    pub fn compares(&self) -> bool {
        self.baseline.is_some() || self.against.is_some()
    }

    /// The targets, if they fit together and to values of `size` bytes.
    ///
    /// # Errors
    /// `Usage`, with the remedy.
    pub fn targets(self, server: Option<String>, size: usize) -> Result<Targets, CliError> {
        let usage = |message: &str| Err(CliError::Usage(message.to_owned()));
        if self.pairs == 0 {
            return usage("--pairs starts at 1");
        }
        if server.is_some() && !self.serve.is_empty() {
            return usage(
                "flags for `serve` are for a server that bench starts: leave out --server",
            );
        }
        if server.is_none() && self.server_pid.is_some() {
            return usage("--server-pid is the process of --server: give both");
        }
        if self.baseline == Some(StackWord::Stock) && size as u64 > STOCK_SIZE_MAX {
            return usage("a stock tonic server takes messages of up to 4 MiB: lower --size");
        }
        let noop = self.baseline.map(|stack| Rival::Noop {
            stack,
            pread: self.pread,
        });
        Ok(Targets {
            dir: self.dir,
            server,
            server_pid: self.server_pid,
            rival: noop.or(self.against.map(Rival::Program)),
            pairs: self.pairs,
            serve: self.serve,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        target: TargetArgs,
    }

    fn parsed(arguments: &str) -> Program {
        let words = arguments.split_whitespace();
        Program::try_parse_from(std::iter::once("bench").chain(words)).expect("known flags")
    }

    fn shape(work: Work, arguments: &str) -> Result<Shape, String> {
        let asked = (work, Protocol::Zstdb);
        let shape = parsed(arguments).load.shape(asked, false, false);
        shape.map_err(|error| error.to_string())
    }

    #[test]
    fn without_flags_it_is_a_kibibyte_on_eight_times_sixteen() {
        let shape = shape(Work::Get, "").expect("the defaults are possible");
        assert_eq!(
            (shape.size, shape.workers(), shape.keys),
            (1024, 128, 10_000)
        );
        assert_eq!(shape.end, End::After(DURATION));
        let asked = (Work::Get, Protocol::Zstdb);
        let rounds = parsed("").load.shape(asked, false, true);
        assert_eq!(
            rounds.expect("the defaults are possible").end,
            End::After(DURATION_OF_ROUND)
        );
    }

    #[test]
    fn large_values_are_fewer() {
        let shape = shape(Work::Get, "--size 1MiB").expect("possible");
        assert_eq!(shape.keys, 256);
    }

    #[test]
    fn streams_are_one_at_a_time_unless_said_otherwise() {
        let of = |work, arguments| {
            let shape = shape(work, arguments).expect("possible");
            (shape.size, shape.workers(), shape.keys)
        };
        assert_eq!(of(Work::Download, ""), (1 << 30, 1, 1));
        assert_eq!(of(Work::Upload, "--size 10MiB"), (10 << 20, 1, 0));
        assert_eq!(of(Work::Scan, "--connections 2"), (1024, 2, 65_536));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_remedy() {
        for (work, arguments, remedy) in [
            (Work::Set, "--size 15", "16 B to 1 GiB"),
            (Work::Set, "--size 63 --value-kind json", "64 B"),
            (Work::Set, "--size 2GiB", "1 GiB"),
            (Work::Set, "--connections 0", "start at 1"),
            (Work::Set, "--in-flight 300", "--connections"),
            (Work::Set, "--rate 0", "above 0"),
            (Work::Set, "--rate nan", "above 0"),
            (Work::Set, "--count 0", "more than nothing"),
            (Work::Set, "--size 64MiB", "lower --connections"),
            (Work::Upload, "--in-flight 256", "lower --connections"),
            (Work::SetDuplicate, "--keys 3000000000", "--keys"),
            (Work::Mixed { read_share: 1.5 }, "", "0 to 1"),
        ] {
            let message = shape(work, arguments).expect_err(arguments);
            assert!(message.contains(remedy), "{arguments}: {message}");
        }
    }

    #[test]
    fn targets_that_contradict_each_other_are_refused() {
        let refused = |arguments: &str, server: Option<&str>, size| {
            let target = parsed(arguments).target;
            let targets = target.targets(server.map(str::to_owned), size);
            targets.expect_err(arguments).to_string()
        };
        assert!(refused("-- --shards 2", Some("h:1"), 1).contains("leave out --server"));
        assert!(refused("--server-pid 1", None, 1).contains("give both"));
        assert!(refused("--pairs 0", None, 1).contains("starts at 1"));
        assert!(refused("--baseline=stock", None, 8 << 20).contains("4 MiB"));
    }

    #[test]
    fn a_baseline_is_bare_unless_said_otherwise() {
        let rival = |arguments: &str| {
            let targets = parsed(arguments).target.targets(None, 1);
            targets.expect("possible").rival
        };
        let noop = |stack, pread| Some(Rival::Noop { stack, pread });
        assert_eq!(rival("--baseline"), noop(StackWord::Bare, false));
        assert_eq!(rival("--baseline=stock"), noop(StackWord::Stock, false));
        assert_eq!(rival("--baseline --pread"), noop(StackWord::Bare, true));
        assert_eq!(rival("--against old"), Some(Rival::Program("old".into())));
        assert_eq!(rival(""), None);
    }
}
