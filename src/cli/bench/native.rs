//! What of the native protocol is measured, and beside what each time.

use super::WorkArgs;
use super::args::{Base, Rival};
use super::source::Work;
use crate::cli::exit::CliError;
use crate::cli::noop::StackWord;
use crate::client::Protocol;
use clap::{Args, Subcommand};

/// Keys of one `BatchGet` at most.
const BATCH_MAX: usize = 10_000;

/// What `bench native` is given.
#[derive(Debug, Args)]
pub struct NativeArgs {
    #[command(subcommand)]
    command: NativeCommand,
}

#[derive(Debug, Subcommand)]
enum NativeCommand {
    /// Read values that are there, beside zstdb's front of the same server
    Get(WorkArgs),
    /// Store values that were never there, beside zstdb's front of the same server
    Put {
        /// Give each put a request id, as clients do
        #[arg(long)]
        request_ids: bool,
        #[command(flatten)]
        work: WorkArgs,
    },
    /// Read many values at once, beside one at a time
    BatchGet {
        /// Keys of each request
        #[arg(long, value_name = "N", default_value_t = 64)]
        batch: usize,
        #[command(flatten)]
        work: WorkArgs,
    },
    /// Read all keys and values in a stream, beside a server that does nothing
    Scan(WorkArgs),
    /// Store large values in streams, beside a server that does nothing
    Upload(WorkArgs),
    /// Read large values in streams, beside a server that does nothing
    Download(WorkArgs),
    /// Store a large value of which nothing is missing, beside uploads of new ones
    FindMissing(WorkArgs),
}

/// What is measured, and what it is compared with unless something else was named.
pub struct Contest {
    /// What is done, and what is spoken.
    pub asked: (Work, Protocol),
    /// The other side.
    pub rival: Rival,
    /// The flags of both.
    pub args: WorkArgs,
}

impl NativeArgs {
    /// The contest that was asked for.
    ///
    /// # Errors
    /// `Usage`, with the remedy.
    pub fn contest(self) -> Result<Contest, CliError> {
        const NATIVE: Protocol = Protocol::Native { request_ids: false };
        let same = |name, protocol, work| {
            Rival::Same(Base {
                name,
                protocol,
                work,
            })
        };
        let noop = Rival::Noop {
            stack: StackWord::Bare,
            pread: false,
        };
        let (asked, rival, args) = match self.command {
            NativeCommand::Get(args) => {
                let rival = same("zstdb", Protocol::Zstdb, Work::Get);
                ((Work::Get, NATIVE), rival, args)
            }
            NativeCommand::Put { request_ids, work } => {
                let rival = same("zstdb", Protocol::Zstdb, Work::Set);
                ((Work::Set, Protocol::Native { request_ids }), rival, work)
            }
            NativeCommand::BatchGet { batch, work } => {
                if !(1..=BATCH_MAX).contains(&batch) {
                    let message = format!("--batch is {batch}: it needs 1 to {BATCH_MAX}");
                    return Err(CliError::Usage(message));
                }
                let rival = same("single", NATIVE, Work::Get);
                ((Work::BatchGet { keys: batch }, NATIVE), rival, work)
            }
            NativeCommand::Scan(args) => ((Work::Scan, NATIVE), noop, args),
            NativeCommand::Upload(args) => ((Work::Upload, NATIVE), noop, args),
            NativeCommand::Download(args) => ((Work::Download, NATIVE), noop, args),
            NativeCommand::FindMissing(args) => {
                let rival = same("upload", NATIVE, Work::Upload);
                ((Work::Resend, NATIVE), rival, args)
            }
        };
        Ok(Contest { asked, rival, args })
    }
}
