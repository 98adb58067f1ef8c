//! `bench`: measures a server, and what it is measured against.
//!
//! A figure of one run means little on a machine that does other things too, so the useful ones are
//! ratios: with `--baseline` short rounds of the server and of one that does nothing alternate, and
//! what is reported is the median of the pairs. How much of a ratio is noise, a server against
//! itself shows: `--against` with this very program. Beside the throughput stands the time that the
//! server's process spends on cores for a request: throughput also pays for this client, which
//! shares the machine, CPU time does not.
//!
//! | file | knows |
//! |---|---|
//! | `args` | what was asked for, checked |
//! | `native` | what of the native protocol is measured, and beside what |
//! | `value`, `piece`, `source` | what is sent |
//! | `stock` | what is there before |
//! | `course` | when it is sent |
//! | `load` | who sends it |
//! | `process`, `contestant` | to whom |
//! | `histogram`, `report` | what came of it |
//! | `raw` | what the disk does without a server |

mod args;
mod contestant;
mod course;
mod histogram;
mod load;
mod native;
mod piece;
mod process;
mod raw;
mod report;
mod source;
mod stock;
mod value;

use super::exit::{CliError, Exit};
use super::progress::Progress;
use super::session::Session;
use crate::client::Protocol;
use args::{LoadArgs, Shape, TargetArgs, Targets};
use clap::{Args, Subcommand};
use contestant::{Arena, Contestant};
use load::Outcome;
use native::Contest;
use process::Scratch;
use report::{Report, Side};
use source::Work;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

/// What `bench` is given.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Read values that are there
    Get(WorkArgs),
    /// Store values that were never there
    Set(WorkArgs),
    /// Store values that are there already
    SetDuplicate(WorkArgs),
    /// Read, and store new values
    Mixed {
        /// The share of reads, 0 to 1
        #[arg(long, default_value_t = 0.9)]
        read_share: f64,
        #[command(flatten)]
        work: WorkArgs,
    },
    /// Measure the native protocol, each call beside what it should be compared with
    Native(native::NativeArgs),
    /// Measure the disk without a server: append and sync, read
    Raw(raw::RawArgs),
    /// Load an etcd server in the same way, to compare
    Etcd(EtcdArgs),
}

#[derive(Debug, Args)]
struct WorkArgs {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    target: TargetArgs,
}

/// What `bench etcd` is given.
#[derive(Debug, Args)]
struct EtcdArgs {
    /// Where etcd listens for clients
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2379")]
    endpoint: String,
    /// Its process, for its CPU time
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// The share of reads, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    read_share: f64,
    #[command(flatten)]
    load: LoadArgs,
}

/// Runs the command. `server` is the one that was named, if one was.
///
/// # Errors
/// Wrong usage, or a server that cannot be started or reached.
pub async fn run(
    session: &Session,
    args: BenchArgs,
    server: Option<String>,
) -> Result<Exit, CliError> {
    stop_on_terminate(session)?;
    let measured = async {
        match args.command {
            BenchCommand::Get(args) => zstdb(session, Work::Get, args, server).await,
            BenchCommand::Set(args) => zstdb(session, Work::Set, args, server).await,
            BenchCommand::SetDuplicate(args) => {
                zstdb(session, Work::SetDuplicate, args, server).await
            }
            BenchCommand::Mixed { read_share, work } => {
                zstdb(session, Work::Mixed { read_share }, work, server).await
            }
            BenchCommand::Native(args) => {
                let Contest { asked, rival, args } = args.contest()?;
                let WorkArgs { load, target } = args;
                let shape = load.shape(asked, target.user_keys(), true)?;
                let mut targets = target.targets(server, shape.size)?;
                targets.rival.get_or_insert(rival);
                measure(session, &shape, &targets).await
            }
            BenchCommand::Raw(args) => raw::run(session.terminal, args).await,
            BenchCommand::Etcd(args) => etcd(session, args).await,
        }
    };
    session.interrupt.or_stop(measured).await
}

/// SIGTERM ends it as Ctrl-C does: the servers that it started must not stay behind.
fn stop_on_terminate(session: &Session) -> Result<(), CliError> {
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|error| CliError::Failed(format!("cannot listen for signals: {error}")))?;
    let interrupt = session.interrupt.clone();
    tokio::spawn(async move {
        terminate.recv().await;
        interrupt.set();
    });
    Ok(())
}

async fn zstdb(
    session: &Session,
    work: Work,
    args: WorkArgs,
    server: Option<String>,
) -> Result<Exit, CliError> {
    let WorkArgs { load, target } = args;
    let asked = (work, Protocol::Zstdb);
    let shape = load.shape(asked, target.user_keys(), target.compares())?;
    let targets = target.targets(server, shape.size)?;
    measure(session, &shape, &targets).await
}

async fn measure(session: &Session, shape: &Shape, targets: &Targets) -> Result<Exit, CliError> {
    let progress = Progress::spinner(session.terminal, "starting");
    let scratch = Scratch::new(&targets.dir)?;
    let arena = Arena {
        shape,
        targets,
        scratch: &scratch,
        stamps: contestant::fresh_stamps(),
        progress: &progress,
    };
    let (subject, stock) = arena.subject().await?;
    let mut contestants = vec![subject];
    if let Some(rival) = &targets.rival {
        let rival = arena.rival(rival, (&contestants[0], &stock)).await?;
        contestants.push(rival);
    }
    finish(session, &arena, &contestants).await
}

async fn etcd(session: &Session, args: EtcdArgs) -> Result<Exit, CliError> {
    let work = match args.read_share {
        0.0 => Work::Set,
        read_share => Work::Mixed { read_share },
    };
    let shape = args.load.shape((work, Protocol::Etcd), true, false)?;
    let targets = Targets {
        dir: PathBuf::new(),
        server: Some(args.endpoint.clone()),
        server_pid: args.pid,
        rival: None,
        pairs: 1,
        serve: Vec::new(),
    };
    let progress = Progress::spinner(session.terminal, "starting");
    let arena = Arena {
        shape: &shape,
        targets: &targets,
        scratch: &Scratch::new(&std::env::temp_dir())?,
        stamps: contestant::fresh_stamps(),
        progress: &progress,
    };
    let peer = arena.peer("etcd", Protocol::Etcd, args.endpoint).await?;
    finish(session, &arena, &[peer]).await
}

/// Warms up, measures in rounds, reports.
async fn finish(
    session: &Session,
    arena: &Arena<'_>,
    contestants: &[Contestant],
) -> Result<Exit, CliError> {
    let sides = rounds(arena, contestants).await?;
    arena.progress.clear();
    let report = Report {
        shape: arena.shape,
        rival: arena.targets.rival.as_ref(),
        sides,
    };
    session.terminal.result(&report.text(), &report.json())?;
    let failed = report.sides.iter().find_map(|side| {
        let error = side.total.first_error.as_ref()?;
        Some(format!(
            "{}: {} requests failed: {error}",
            side.name, side.total.errors
        ))
    });
    Ok(match failed {
        Some(failed) => {
            session.terminal.warn(&failed);
            Exit::Failure
        }
        None => Exit::Ok,
    })
}

/// A, B, then B, A, and so on: what the machine does meanwhile hits both alike, and neither is
/// always the first.
async fn rounds(arena: &Arena<'_>, contestants: &[Contestant]) -> Result<Vec<Side>, CliError> {
    let Shape { end, warmup, .. } = *arena.shape;
    for contestant in contestants {
        contestant.warm_up(arena.progress, warmup).await?;
    }
    let pairs = if contestants.len() > 1 {
        arena.targets.pairs
    } else {
        1
    };
    let mut sides: Vec<Side> = contestants
        .iter()
        .map(|contestant| Side {
            name: contestant.name.clone(),
            idle: contestant.idle(),
            total: Outcome::default(),
            rounds: Vec::new(),
        })
        .collect();
    for pair in 1..=pairs {
        let mut order: Vec<usize> = (0..contestants.len()).collect();
        if pair % 2 == 0 {
            order.reverse();
        }
        for turn in order {
            let contestant = &contestants[turn];
            let label = format!("{} {pair}/{pairs}", contestant.name);
            if arena.shape.cold {
                process::drop_page_cache()?;
            }
            let outcome = contestant.run(arena.progress, &label, end).await?;
            sides[turn].total.merge(&outcome);
            sides[turn].rounds.push(outcome);
        }
    }
    Ok(sides)
}
