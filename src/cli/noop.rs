//! `noop`: the server that does nothing, which `bench` measures the real one against.

use super::exit::{CliError, Exit};
use super::serve_flags::ServeFlags;
use crate::start::noop::{NoopOptions, Stack, run as run_noop};
use std::path::PathBuf;

/// What `noop` is given, beside what `serve` takes: its limits are the same.
#[derive(Debug, clap::Args)]
pub struct NoopArgs {
    #[command(flatten)]
    serve: ServeFlags,
    /// Bytes of the value that every Get and Download answers
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Keys that every scan answers
    #[arg(long, default_value_t = 65_536)]
    keys: u64,
    /// Read each Get's value from this file instead
    #[arg(long, value_name = "FILE")]
    pread: Option<PathBuf>,
    /// What stands around it: bare, admitted or stock
    #[arg(long, value_enum, default_value_t = StackWord::Bare)]
    stack: StackWord,
}

/// A [`Stack`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum StackWord {
    /// The real server's listener, HTTP/2 settings and limits
    Bare,
    /// With the real server's admission too
    Admitted,
    /// tonic with its own defaults
    Stock,
}

impl StackWord {
    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Admitted => "admitted",
            Self::Stock => "stock",
        }
    }
}

/// Runs the command.
///
/// # Errors
/// When the server cannot start.
pub fn run(args: NoopArgs) -> Result<Exit, CliError> {
    let config = args.serve.load()?.config;
    let options = NoopOptions {
        stack: match args.stack {
            StackWord::Bare => Stack::Bare,
            StackWord::Admitted => Stack::Admitted,
            StackWord::Stock => Stack::Stock,
        },
        size: args.size,
        keys: args.keys,
        pread: args.pread,
    };
    run_noop(&config, &options)?;
    Ok(Exit::Ok)
}
