//! What disk and CPU cost without a server: append and `fdatasync` in a loop, `pread` in a loop, the
//! sealing of text in a loop.
//!
//! Plain file calls of the standard library, on files of their own: the floor under every durable
//! write and every cold read.

use super::super::exit::{CliError, Exit};
use super::super::status::table;
use super::super::terminal::Terminal;
use super::histogram::Histogram;
use super::process::Scratch;
use super::report::machine;
use super::value::{Noise, Ring, Stamps, ValueKind};
use crate::codec::Sealer;
use crate::config::{format_size, parse_size};
use crate::model::ValueInfo;
use indicatif::HumanBytes;
use serde_json::{Value, json};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Files for reading that bench makes itself.
const READ_FILE_BYTES: u64 = 256 << 20;
/// Regions that were written before, which an append into them does not have to allocate.
const PREPARED_BYTES: u64 = 256 << 20;
/// The largest size that is measured.
const SIZE_MAX: u64 = 64 << 20;

/// What `bench raw` is given.
#[derive(Debug, Clone, clap::Args)]
pub struct RawArgs {
    /// The disk to measure
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Bytes of an append or a read
    #[arg(long, value_delimiter = ',', default_value = "1 KiB,64 KiB,1 MiB", value_parser = parse_size)]
    sizes: Vec<u64>,
    /// How long each loop runs
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Threads that append or read at the same time, each to a file of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Which loops
    #[arg(long, value_delimiter = ',', default_value = "append,overwrite,read")]
    loops: Vec<Loop>,
    /// The zstd level of the loop `seal`
    #[arg(long, value_name = "LEVEL", default_value_t = 3, value_parser = clap::value_parser!(i32).range(0..=19))]
    level: i32,
    /// Read from this file instead: one that is not in the page cache shows what cold reads cost
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// One of the loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Loop {
    /// Append and `fdatasync`: the file grows
    Append,
    /// The same where the file's blocks were written before, as in a recycled segment
    Overwrite,
    /// Read anywhere in a file
    Read,
    /// Checksum and compress text, as the server does with each value
    Seal,
}

impl Loop {
    fn word(self) -> &'static str {
        match self {
            Self::Append => "append_fdatasync",
            Self::Overwrite => "overwrite_fdatasync",
            Self::Read => "pread",
            Self::Seal => "seal",
        }
    }
}

/// What came of a loop.
struct Measured {
    what: Loop,
    size: u64,
    latencies: Histogram,
    elapsed: Duration,
}

/// Runs the command.
///
/// # Errors
/// Wrong usage, or what the disk answers.
pub async fn run(terminal: Terminal, args: RawArgs) -> Result<Exit, CliError> {
    let bad = args
        .sizes
        .iter()
        .find(|size| !(1..=SIZE_MAX).contains(*size));
    if let Some(bad) = bad {
        return Err(CliError::Usage(format!(
            "--sizes {} is not possible: 1 B to {}",
            format_size(*bad),
            format_size(SIZE_MAX)
        )));
    }
    let text_min = ValueKind::Text.size_min() as u64;
    if args.loops.contains(&Loop::Seal) && args.sizes.iter().any(|size| *size < text_min) {
        let message = format!("--loops seal needs --sizes of at least {text_min} bytes");
        return Err(CliError::Usage(message));
    }
    if args.threads == 0 || args.duration.is_zero() {
        let message = "--threads and --duration are more than nothing";
        return Err(CliError::Usage(message.to_owned()));
    }
    let scratch = Scratch::new(&args.dir)?;
    let mut all = Vec::new();
    for &size in &args.sizes {
        for &what in &args.loops {
            terminal.note(&format!("{} {}", what.word(), format_size(size)));
            let (args, dir) = (args.clone(), scratch.path().to_owned());
            let done = tokio::task::spawn_blocking(move || measure(&args, &dir, what, size));
            let done = done.await.expect("a panic was printed by its thread");
            all.push(done.map_err(|error| CliError::file("measure on", scratch.path(), error))?);
        }
    }
    terminal.result(&text(&all), &report(&args, &all))?;
    Ok(Exit::Ok)
}

/// One loop in each of the threads, once at least, however slow the machine is.
fn measure(args: &RawArgs, dir: &Path, what: Loop, size: u64) -> io::Result<Measured> {
    let files: Vec<File> = (0..args.threads)
        .map(|thread| file_for(args, dir, what, thread))
        .collect::<io::Result<_>>()?;
    let begun = Instant::now();
    let until = begun + args.duration;
    let parts: Vec<io::Result<Histogram>> = std::thread::scope(|scope| {
        let running: Vec<_> = files
            .iter()
            .enumerate()
            .map(|(seed, file)| {
                scope.spawn(move || match what {
                    Loop::Read => read(file, size, until, seed as u64),
                    Loop::Append => write(file, size, until, None),
                    Loop::Overwrite => write(file, size, until, Some(PREPARED_BYTES)),
                    Loop::Seal => Ok(seal(args.level, size, until, seed as u64)),
                })
            })
            .collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined
            .map(|part| part.expect("a panic was printed by its thread"))
            .collect()
    });
    let mut latencies = Histogram::default();
    for part in parts {
        latencies.merge(&part?);
    }
    Ok(Measured {
        what,
        size,
        latencies,
        elapsed: begun.elapsed(),
    })
}

fn file_for(args: &RawArgs, dir: &Path, what: Loop, thread: usize) -> io::Result<File> {
    if let (Loop::Read, Some(path)) = (what, &args.file) {
        return File::open(path);
    }
    let path = dir.join(format!("{}-{thread}", what.word()));
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    match what {
        Loop::Append | Loop::Seal => {}
        Loop::Overwrite => fill(&file, PREPARED_BYTES)?,
        Loop::Read => fill(&file, READ_FILE_BYTES)?,
    }
    Ok(file)
}

/// Writes and syncs noise, so that no block of the file is a hole.
fn fill(file: &File, bytes: u64) -> io::Result<()> {
    let piece = noise(1 << 20);
    for at in (0..bytes).step_by(piece.len()) {
        file.write_all_at(&piece, at)?;
    }
    file.sync_all()
}

fn noise(len: u64) -> Vec<u8> {
    let mut noise = Noise(1);
    (0..len.div_ceil(8))
        .flat_map(|_| noise.number().to_le_bytes())
        .take(usize::try_from(len).expect("sizes end at 64 MiB"))
        .collect()
}

/// Writes one piece behind the other, each with its sync; from the beginning again at `wrap`.
fn write(file: &File, size: u64, until: Instant, wrap: Option<u64>) -> io::Result<Histogram> {
    let piece = noise(size);
    let mut latencies = Histogram::default();
    let mut at = 0;
    let mut now = Instant::now();
    while latencies.count() == 0 || now < until {
        if wrap.is_some_and(|wrap| at + size > wrap) {
            at = 0;
        }
        file.write_all_at(&piece, at)?;
        file.sync_data()?;
        at += size;
        let after = Instant::now();
        latencies.record(after - now);
        now = after;
    }
    Ok(latencies)
}

/// Reads pieces from places that are multiples of their size.
fn read(file: &File, size: u64, until: Instant, seed: u64) -> io::Result<Histogram> {
    let places = usize::try_from(file.metadata()?.len() / size).unwrap_or(usize::MAX);
    if places == 0 {
        let message = format!("the file is shorter than {}", format_size(size));
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
    }
    let mut piece = vec![0; usize::try_from(size).expect("sizes end at 64 MiB")];
    let mut noise = Noise(seed);
    let mut latencies = Histogram::default();
    let mut now = Instant::now();
    while latencies.count() == 0 || now < until {
        file.read_exact_at(&mut piece, noise.below(places) as u64 * size)?;
        let after = Instant::now();
        latencies.record(after - now);
        now = after;
    }
    Ok(latencies)
}

/// Seals texts, each another one.
fn seal(level: i32, size: u64, until: Instant, seed: u64) -> Histogram {
    /// Texts that are made beforehand, with other stamps each time.
    const TEXTS: usize = 64;
    let size = usize::try_from(size).expect("sizes end at 64 MiB");
    let mut ring = Ring::new(ValueKind::Text, size, TEXTS, Stamps::new(seed));
    let sealer = Sealer {
        level,
        probe_size: 64 * 1024,
        min_gain: 0.05,
    };
    let mut latencies = Histogram::default();
    let mut now = Instant::now();
    while latencies.count() == 0 || now < until {
        let (raw, sum64) = ring.fresh();
        let raw_len = raw.len() as u64;
        std::hint::black_box(sealer.seal(raw, ValueInfo { raw_len, sum64 }, None));
        let after = Instant::now();
        latencies.record(after - now);
        now = after;
    }
    latencies
}

impl Measured {
    fn per_second(&self) -> f64 {
        self.latencies.count() as f64 / self.elapsed.as_secs_f64()
    }

    fn bytes_per_second(&self) -> f64 {
        self.per_second() * self.size as f64
    }
}

fn micros(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e7).round() / 10.0
}

fn text(all: &[Measured]) -> String {
    let rows: Vec<(String, String)> = all
        .iter()
        .map(|it| {
            let name = format!("{} {}", it.what.word(), format_size(it.size));
            let numbers = format!(
                "p50 {} us  p99 {} us  {}/s",
                micros(it.latencies.quantile(0.5)),
                micros(it.latencies.quantile(0.99)),
                HumanBytes(it.bytes_per_second() as u64)
            );
            (name, numbers)
        })
        .collect();
    let rows: Vec<_> = rows
        .iter()
        .map(|(name, numbers)| (name.as_str(), numbers.clone()))
        .collect();
    table(&rows)
}

fn report(args: &RawArgs, all: &[Measured]) -> Value {
    let loops = all.iter().map(|it| {
        json!({
            "loop": it.what.word(),
            "size": it.size,
            "operations": it.latencies.count(),
            "operations_per_second": it.per_second().round(),
            "bytes_per_second": it.bytes_per_second().round(),
            "latency_us": {
                "p50": micros(it.latencies.quantile(0.5)),
                "p90": micros(it.latencies.quantile(0.9)),
                "p99": micros(it.latencies.quantile(0.99)),
                "max": micros(it.latencies.max()),
            },
        })
    });
    json!({
        "work": "raw",
        "threads": args.threads,
        "machine": machine(),
        "loops": loops.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_file_is_refused_with_its_size() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("short");
        std::fs::write(&path, [0; 100]).expect("a file");
        let file = File::open(path).expect("it is there");
        let error = read(&file, 4096, Instant::now(), 1).err();
        assert!(error.is_some_and(|error| error.to_string().contains("4 KiB")));
    }

    #[test]
    fn an_overwrite_stays_inside_its_region() {
        let file = tempfile::tempfile().expect("a file");
        let until = Instant::now() + Duration::from_millis(20);
        let latencies = write(&file, 1000, until, Some(2500)).expect("writes");
        assert!(latencies.count() > 0);
        assert!(file.metadata().expect("it is there").len() <= 2000);
    }
}
