//! The commands that work on a data directory without a server: `restore --data-dir`,
//! `import --data-dir` and `verify`.
//!
//! The work is [`crate::start::offline`]'s; here are arguments, progress and the report.

use super::exit::{CliError, Exit};
use super::progress::Progress;
use super::report::exit_of;
use super::terminal::Terminal;
use crate::start::offline;
use std::path::{Path, PathBuf};

const DETAILS: &str = "\
Checks every record, every reference, and the log against the index. Nothing is changed without
--repair. Exit code 6 when something is damaged.";

/// Checks a data directory that no server has open.
#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct VerifyArgs {
    /// The data directory
    dir: PathBuf,
    /// Rebuild the index from the log
    #[arg(long)]
    repair: bool,
}

/// Runs `verify`.
///
/// # Errors
/// The directory cannot be checked at all. What is damaged in it is in the report.
pub fn verify(terminal: Terminal, args: &VerifyArgs) -> Result<Exit, CliError> {
    let progress = Progress::bytes(terminal, None);
    progress.message("verifying");
    let report = offline::verify(&args.dir, args.repair, &mut |done, total| {
        progress.at(done, total);
    });
    progress.clear();
    let report = report?;
    terminal.result(&report.to_string(), &report)?;
    Ok(exit_of(&report))
}

/// Runs the offline `restore` and `import`.
///
/// # Errors
/// A file that cannot be taken over; the directory is not built then.
pub fn restore(terminal: Terminal, dir: &Path, files: &[PathBuf]) -> Result<Exit, CliError> {
    let progress = Progress::bytes(terminal, None);
    progress.message("restoring");
    let report = offline::restore(dir, files, &mut |done, total| progress.at(done, total));
    progress.clear();
    let report = report?;
    terminal.result(&report.to_string(), &report)?;
    Ok(Exit::Ok)
}
