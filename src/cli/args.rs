//! The command line as `clap` reads it. Each command's own arguments stand in its file.

use super::backup::{BackupArgs, ImportArgs, RestoreArgs};
use super::bench::BenchArgs;
use super::cas::CasArgs;
use super::config_command::ConfigCommand;
use super::du::DuArgs;
use super::exit::EXIT_CODES;
use super::export::ExportArgs;
use super::get::GetArgs;
use super::ls::{LsArgs, StatArgs};
use super::namespace::NamespaceArgs;
use super::noop::NoopArgs;
use super::offline::VerifyArgs;
use super::put::PutArgs;
use super::rm::RmArgs;
use super::scan::ScanArgs;
use super::serve_flags::ServeFlags;
use super::shell::ShellArgs;
use super::snapshot::SnapshotArgs;
use super::terminal::Format;
use super::watch::WatchArgs;
use clap::parser::ValueSource;
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use std::ffi::OsString;

/// A storage server that keeps every value once, compressed, and never loses what it has
/// acknowledged; and the commands to use it.
#[derive(Debug, Parser)]
#[command(name = "shardkeep", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub client: ClientFlags,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command that talks to a server or prints a result.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Client options")]
pub struct ClientFlags {
    /// The server
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT",
        env = "SHARDKEEP_SERVER",
        default_value = "127.0.0.1:8282"
    )]
    pub server: String,
    /// Whether the server was named on this command line, rather than by default or environment.
    #[arg(skip)]
    pub server_named: bool,
    /// How results are written to standard output
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "text|json",
        hide_possible_values = true
    )]
    pub output: Format,
    /// Whether that was said on this command line.
    #[arg(skip)]
    pub output_named: bool,
    /// No notes, no summaries and no progress
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Run the server
    Serve(Box<ServeFlags>),
    /// Store files, folders or standard input
    Put(PutArgs),
    /// Read a value, or a folder with -r
    Get(GetArgs),
    /// Remove keys
    Rm(RmArgs),
    /// List keys
    Ls(LsArgs),
    /// List keys by their bounds, either way, as of one moment
    Scan(ScanArgs),
    /// Change a key if it is still what it was
    Cas(CasArgs),
    /// Tell changes as they come
    Watch(WatchArgs),
    /// Take, list, renew and remove snapshots
    Snapshot(SnapshotArgs),
    /// Tell what keys hold, and what deleting them would free
    Du(DuArgs),
    /// Tell the size, version and checksum of a key's value
    Stat(StatArgs),
    /// Tell the size and the counters of the store
    Status,
    /// Make, list, describe, change and drop namespaces
    Ns(NamespaceArgs),
    /// Run commands line by line
    Shell(ShellArgs),
    /// Write a backup file on the server's machine
    Backup(BackupArgs),
    /// Restore backups, on a running server or into a new data directory
    Restore(RestoreArgs),
    /// Write the keys of a namespace, or a part of them, to one checked file
    Export(ExportArgs),
    /// Take in an export, or data from zstdb's backup files
    Import(ImportArgs),
    /// Check a data directory that no server has open
    Verify(VerifyArgs),
    /// Measure a server, by default one of its own
    Bench(Box<BenchArgs>),
    /// Run a server that does nothing, to measure the real one against
    #[command(hide = true)]
    Noop(Box<NoopArgs>),
    /// Check or show the configuration
    Config(ConfigCommand),
    /// Write the completion script of a shell to standard output
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// The options of clients that mean nothing to a command are not in its help.
const CLIENT_ONLY: [&str; 3] = ["server", "output", "quiet"];

/// Reads a command line, the program's name first.
///
/// # Errors
/// What is wrong with it; help, where that was asked for.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    let is_named = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
    cli.client.server_named = is_named("server");
    cli.client.output_named = is_named("output");
    Ok(cli)
}

/// Whether the command that words begin with is about the keys of one namespace.
#[must_use]
pub fn takes_namespace(words: &[&str]) -> bool {
    let command = command();
    let named = words.first().and_then(|name| command.find_subcommand(name));
    named.is_some_and(|it| it.get_arguments().any(|arg| arg.get_id() == "namespace"))
}

/// The commands and options that may stand behind words; none behind what is no command.
#[must_use]
pub fn words_after(words: &[&str]) -> Vec<String> {
    let whole = command();
    let mut at = &whole;
    for word in words.iter().filter(|word| !word.starts_with('-')) {
        at = match at.find_subcommand(word) {
            Some(command) => command,
            None if std::ptr::eq(at, &raw const whole) => return Vec::new(),
            None => break,
        };
    }
    let commands = at.get_subcommands().filter(|it| !it.is_hide_set());
    let commands = commands.map(|it| it.get_name().to_owned());
    let options = at.get_arguments().filter(|it| !it.is_hide_set());
    let options = options.filter_map(|it| Some(format!("--{}", it.get_long()?)));
    match std::ptr::eq(at, &raw const whole) {
        true => commands.collect(),
        false => commands.chain(options).collect(),
    }
}

/// The whole command line.
#[must_use]
pub fn command() -> clap::Command {
    let mut command = Cli::command();
    // Building hands the global options down, so that they can be hidden below.
    command.build();
    for (name, irrelevant) in [
        ("serve", &CLIENT_ONLY[..]),
        ("noop", &CLIENT_ONLY[..]),
        ("config", &CLIENT_ONLY[..1]),
        ("verify", &CLIENT_ONLY[..1]),
        ("completions", &CLIENT_ONLY[..]),
    ] {
        command = command.mut_subcommand(name, |command| hidden(command, irrelevant));
    }
    command.mut_subcommand("bench", of_bench)
}

/// `bench` does not load whatever server happens to be the default one.
fn of_bench(command: clap::Command) -> clap::Command {
    const NAMED: &str =
        "A server that runs already; without it, one is started, and removed afterwards";
    // `mut_args` leaves the arguments where they are, which a command that is built relies on.
    let named = |command: clap::Command| {
        command.mut_args(|arg| match arg.get_id() == "server" {
            true => arg.help(NAMED).hide_default_value(true).hide_env(true),
            false => arg,
        })
    };
    let command = hidden(command, &CLIENT_ONLY[..1]);
    ["get", "set", "set-duplicate", "mixed"]
        .into_iter()
        .fold(command, |command, work| command.mut_subcommand(work, named))
        .mut_subcommand("raw", |raw| hidden(raw, &CLIENT_ONLY[..1]))
        .mut_subcommand("etcd", |etcd| hidden(etcd, &CLIENT_ONLY[..1]))
}

fn hidden(command: clap::Command, ids: &[&str]) -> clap::Command {
    command.mut_args(|arg| match ids.contains(&arg.get_id().as_str()) {
        true => arg.hide(true),
        false => arg,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }
}
