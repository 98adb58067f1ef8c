//! One side of a measurement: a server, what is stored on it, and the workers' requests to it.

use super::super::exit::CliError;
use super::args::{Rival, Shape, Targets};
use super::course::{Course, End};
use super::load::{self, Load, Outcome, Sources};
use super::piece::PieceRing;
use super::process::{Scratch, ServerProcess, Usage, forget_peak};
use super::source::{Source, Stock, Work};
use super::value::{Noise, Ring, Stamps};
use crate::cli::progress::Progress;
use crate::client::Protocol;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Writers' values: so many, if they fit into so many bytes.
const RING_COUNT: usize = 8192;
const RING_BYTES: usize = 64 << 20;
/// The progress is written this often.
const TICK: Duration = Duration::from_millis(200);
/// The file that the no-op server reads from: too large for a core's own caches.
const PREAD_FILE_BYTES: usize = 256 << 20;

/// A server under load.
#[derive(Debug)]
pub struct Contestant {
    /// What the report calls it.
    pub name: String,
    load: Load,
    sources: Sources,
    _process: Option<ServerProcess>,
}

/// What every contestant is made from.
#[derive(Debug)]
pub struct Arena<'a> {
    /// The load.
    pub shape: &'a Shape,
    /// The servers.
    pub targets: &'a Targets,
    /// Where started servers keep what they need.
    pub scratch: &'a Scratch,
    /// What makes values new.
    pub stamps: Stamps,
    /// Where the user sees how far it is.
    pub progress: &'a Progress,
}

impl Arena<'_> {
    /// The server that is measured, with its values stored.
    ///
    /// # Errors
    /// When it cannot be started or reached, or refuses the values.
    pub async fn subject(&self) -> Result<(Contestant, Arc<Stock>), CliError> {
        let Some(address) = &self.targets.server else {
            return self.program("shardkeep", &own_program()?).await;
        };
        let load = self.load(address.clone(), self.targets.server_pid);
        let stock = self.stock(&load).await?;
        Ok((self.contestant("shardkeep", load, &stock, None), stock))
    }

    /// What it is compared with. The no-op server needs nothing stored: it is asked for the same
    /// keys and answers as many bytes.
    ///
    /// # Errors
    /// As [`Arena::subject`].
    pub async fn rival(
        &self,
        rival: &Rival,
        (subject, stock): (&Contestant, &Arc<Stock>),
    ) -> Result<Contestant, CliError> {
        match rival {
            Rival::Same(base) => {
                let load = Load {
                    protocol: base.protocol,
                    work: base.work,
                    values: base.work.values(self.shape.keys),
                    ..subject.load.clone()
                };
                Ok(self.contestant(base.name, load, stock, None))
            }
            Rival::Program(path) => Ok(self.program("rival", path).await?.0),
            Rival::Noop { stack, pread } => {
                let mut arguments: Vec<OsString> = vec!["noop".into()];
                arguments.extend(["--stack".into(), stack.word().into()]);
                arguments.extend(["--size".into(), self.shape.size.to_string().into()]);
                arguments.extend(["--keys".into(), self.shape.keys.to_string().into()]);
                if *pread {
                    let file = self.pread_file()?;
                    arguments.extend(["--pread".into(), file.into()]);
                }
                arguments.extend(self.listen_flags());
                let process = self.start("noop", &own_program()?, &arguments)?;
                let load = Load {
                    verify: false,
                    ..self.load(process.address().to_owned(), Some(process.pid()))
                };
                Ok(self.contestant("noop", load, stock, Some(process)))
            }
        }
    }

    /// A started server with its values stored.
    async fn program(
        &self,
        name: &str,
        program: &Path,
    ) -> Result<(Contestant, Arc<Stock>), CliError> {
        let mut arguments: Vec<OsString> = vec!["serve".into(), "--data-dir".into()];
        arguments.push(self.scratch.path().join(name).into());
        // The room that is left on this disk is not what is measured.
        arguments.extend(["--min-free-disk-space-mb".into(), "1".into()]);
        if self.shape.user_keys {
            arguments.push("--allow-user-key".into());
        }
        arguments.extend(self.listen_flags());
        let process = self.start(name, program, &arguments)?;
        let load = self.load(process.address().to_owned(), Some(process.pid()));
        let stock = self.stock(&load).await?;
        let contestant = self.contestant(name, load, &stock, Some(process));
        Ok((contestant, stock))
    }

    fn start(
        &self,
        name: &str,
        program: &Path,
        arguments: &[OsString],
    ) -> Result<ServerProcess, CliError> {
        self.progress.message(format!("starting {name}"));
        let log = self.scratch.path().join(format!("{name}.log"));
        ServerProcess::start(program, arguments, &log)
    }

    /// Flags of every server that is started. What the user gave comes last and wins.
    fn listen_flags(&self) -> Vec<OsString> {
        const DEFAULT_MIB: usize = 16;
        // Streams have messages of their own size.
        let mebibytes = match self.shape.work.is_large() {
            true => DEFAULT_MIB,
            false => self.shape.size.div_ceil(1 << 20).max(DEFAULT_MIB),
        };
        let mut flags: Vec<OsString> = ["--host", "127.0.0.1", "--port", "0"]
            .map(OsString::from)
            .to_vec();
        flags.extend(["--max-upload-size-mb".into(), mebibytes.to_string().into()]);
        flags.extend(self.targets.serve.iter().cloned());
        flags
    }

    fn pread_file(&self) -> Result<PathBuf, CliError> {
        let path = self.scratch.path().join("values");
        let count = (PREAD_FILE_BYTES / self.shape.size).max(1);
        fs::write(&path, vec![0xa5; count * self.shape.size])
            .map_err(|error| CliError::file("write", &path, error))?;
        Ok(path)
    }

    fn load(&self, address: String, pid: Option<u32>) -> Load {
        Load {
            address,
            protocol: self.shape.protocol,
            pid,
            idle: None,
            work: self.shape.work,
            values: self.shape.work.values(self.shape.keys),
            connections: self.shape.connections,
            threads: self.shape.threads,
            rate: self.shape.rate,
            size: self.shape.size,
            verify: self.shape.verify,
        }
    }

    /// A contestant for another protocol than ours.
    ///
    /// # Errors
    /// As [`Arena::subject`].
    pub async fn peer(
        &self,
        name: &str,
        protocol: Protocol,
        address: String,
    ) -> Result<Contestant, CliError> {
        let load = Load {
            protocol,
            ..self.load(address, self.targets.server_pid)
        };
        let stock = self.stock(&load).await?;
        Ok(self.contestant(name, load, &stock, None))
    }

    fn contestant(
        &self,
        name: &str,
        load: Load,
        stock: &Arc<Stock>,
        process: Option<ServerProcess>,
    ) -> Contestant {
        let sources = self.sources(load.work, stock, self.shape.workers());
        // What the stock took is not what the work takes.
        load.pid.iter().for_each(|pid| forget_peak(*pid));
        let idle = load.pid.and_then(Usage::of).map(|usage| usage.resident);
        Contestant {
            name: name.to_owned(),
            load: Load { idle, ..load },
            sources: Arc::new(sources.map(Mutex::new).collect()),
            _process: process,
        }
    }

    pub(super) fn sources(
        &self,
        work: Work,
        stock: &Arc<Stock>,
        workers: usize,
    ) -> impl Iterator<Item = Source> {
        let shape = self.shape;
        let (size, count) = match work {
            Work::Set | Work::Mixed { .. } => {
                let count = (RING_BYTES / shape.size).min(RING_COUNT) / workers;
                (shape.size, count.max(1))
            }
            _ => (shape.kind.size_min(), 1),
        };
        (0..workers).map(move |_| {
            let ring = Ring::new(shape.kind, size, count, self.stamps.clone());
            let source = Source::new(work, Arc::clone(stock), ring, shape.user_keys);
            match work {
                Work::Upload => {
                    let pieces = PieceRing::new(shape.kind, self.stamps.clone());
                    source.in_pieces(pieces, shape.size as u64)
                }
                _ => source,
            }
        })
    }
}

impl Contestant {
    /// Bytes of the server's memory before it was asked for anything.
    #[must_use]
    pub fn idle(&self) -> Option<u64> {
        self.load.idle
    }

    /// Loads the server without counting.
    ///
    /// # Errors
    /// When a request fails.
    pub async fn warm_up(&self, progress: &Progress, length: Duration) -> Result<(), CliError> {
        if length.is_zero() {
            return Ok(());
        }
        let label = format!("warming up {}", self.name);
        let end = End::After(length);
        flawless(progress, &label, &self.load, &self.sources, end).await?;
        Ok(())
    }

    /// One run.
    ///
    /// # Errors
    /// When the server cannot be reached. Failed requests are in the outcome.
    pub async fn run(
        &self,
        progress: &Progress,
        label: &str,
        end: End,
    ) -> Result<Outcome, CliError> {
        watched(progress, label, &self.load, &self.sources, end).await
    }
}

/// A closed loop in which nothing may fail.
pub(super) async fn flawless(
    progress: &Progress,
    label: &str,
    load: &Load,
    sources: &Sources,
    end: End,
) -> Result<(), CliError> {
    let closed = Load {
        rate: None,
        ..load.clone()
    };
    let outcome = watched(progress, label, &closed, sources, end).await?;
    match outcome.first_error {
        Some(error) => Err(CliError::Failed(format!("{label}: {error}"))),
        None => Ok(()),
    }
}

/// A run on threads of its own, and how far it is on the terminal.
async fn watched(
    progress: &Progress,
    label: &str,
    load: &Load,
    sources: &Sources,
    end: End,
) -> Result<Outcome, CliError> {
    let course = Arc::new(Course::new(end, load.rate));
    let mut running = {
        let (load, sources, course) = (load.clone(), Arc::clone(sources), Arc::clone(&course));
        tokio::task::spawn_blocking(move || load::run(&load, &sources, &course))
    };
    let mut before = 0;
    loop {
        let done = tokio::time::timeout(TICK, &mut running).await;
        if let Ok(done) = done {
            return Ok(done.expect("a panic was printed by its thread")?);
        }
        let answered = course.answered();
        let rate = (answered - before) as f64 / TICK.as_secs_f64();
        before = answered;
        let share = course.progress() * 100.0;
        progress.message(format!("{label}: {share:.0} %, {rate:.0} requests/s"));
    }
}

/// The program that this is.
fn own_program() -> Result<PathBuf, CliError> {
    std::env::current_exe()
        .map_err(|error| CliError::Failed(format!("cannot find this program's own file: {error}")))
}

/// Numbers that no other run draws.
#[must_use]
pub fn fresh_stamps() -> Stamps {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed();
    let nanos = now.map_or(0, |since| since.as_nanos() as u64);
    Stamps::new(Noise(nanos ^ u64::from(std::process::id()) << 40).number())
}
