//! The command line: `shardkeep serve`, and the commands of a client.
//!
//! Results go to standard output, everything else to standard error; `--output json` makes the
//! result one JSON object. Progress is drawn on a terminal only. Keys and paths are bytes, not
//! text, and one line each (see [`list_file`]).
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | failed, or a part of the work failed |
//! | 2 | wrong usage or configuration |
//! | 3 | not found |
//! | 4 | refused by the server: switched off, disk full, or denied |
//! | 5 | the server cannot be reached or cannot answer now |
//! | 6 | damaged data |
//! | 7 | a condition does not hold, or others were faster |
//! | 130 | interrupted |
//! | 141 | the reader of standard output went away |
//!
//! Of several failures in one run, damage is told by the code before anything else.

mod args;
mod backup;
mod bench;
mod budget;
mod cas;
pub mod config_command;
mod confine;
mod confirm;
mod connections;
mod download;
mod du;
mod emerging;
mod exit;
mod export;
mod get;
mod get_tree;
mod import;
mod input;
mod interrupt;
mod line_editor;
mod line_reader;
pub mod list_file;
mod ls;
mod namespace;
mod noop;
mod offline;
mod outline;
mod progress;
mod put;
mod put_summary;
mod put_tree;
mod remote_keys;
mod report;
mod rm;
mod scan;
mod selection;
pub mod serve_flags;
mod session;
mod shell;
mod snapshot;
mod status;
mod target;
mod terminal;
mod upload;
mod upload_large;
mod value_type;
mod walk;
mod watch;
mod words;

pub use exit::{CliError, Exit};
pub use terminal::Terminal;

use args::{ClientFlags, Command};
use backup::RestoreArgs;
use config_command::ConfigCommand;
use connections::Connections;
use interrupt::Interrupt;
use serve_flags::ServeFlags;
use session::Session;
use std::process::ExitCode;

/// Runs the program with the process's own arguments.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = serve_flags::normalize(std::env::args_os());
    let parsed = args::parse(arguments);
    let cli = match parsed {
        Ok(cli) => cli,
        Err(message) => {
            // Help is printed this way too. A closed stream leaves the exit code.
            let _ = message.print();
            let exit = match message.exit_code() {
                0 => Exit::Ok,
                _ => Exit::Usage,
            };
            return exit.into();
        }
    };
    let terminal = Terminal {
        format: cli.client.output,
        quiet: cli.client.quiet,
    };
    let calling = Calling {
        terminal,
        flags: cli.client,
        connections: Connections::default(),
    };
    let outcome = dispatch(calling, cli.command);
    let exit = outcome.unwrap_or_else(|error| {
        terminal.fail(&error);
        error.exit()
    });
    exit.into()
}

/// How a command is called.
struct Calling {
    terminal: Terminal,
    flags: ClientFlags,
    connections: Connections,
}

fn dispatch(calling: Calling, command: Command) -> Result<Exit, CliError> {
    let terminal = calling.terminal;
    match command {
        Command::Serve(flags) => serve(&flags),
        Command::Noop(args) => noop::run(*args),
        Command::Config(command) => config(terminal, &command),
        Command::Completions { shell } => completions(terminal, shell),
        Command::Verify(args) => offline::verify(terminal, &args),
        Command::Restore(args) => restore(calling, args),
        Command::Import(args) => match args.of_exports() {
            Some(import) => with_server(calling, async |session| {
                let import = import::run(session, import);
                session.interrupt.or_stop(import).await
            }),
            None => restore(calling, args.into()),
        },
        Command::Shell(args) => shell::run(terminal, calling.flags, args),
        Command::Bench(args) => {
            let flags = &calling.flags;
            let server = flags.server_named.then(|| flags.server.clone());
            with_server(calling, async |session| {
                bench::run(session, *args, server).await
            })
        }
        command => with_server(calling, async |session| match command {
            // These finish what they have in flight on Ctrl-C, and tell how far they came.
            Command::Put(args) => put::run(session, args).await,
            Command::Get(args) => get::run(session, args).await,
            Command::Watch(args) => watch::run(session, args).await,
            command => session.interrupt.or_stop(brief(session, command)).await,
        }),
    }
}

/// Commands that Ctrl-C may drop at any moment.
async fn brief(session: &Session, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Rm(args) => rm::run(session, args).await,
        Command::Ls(args) => ls::list(session, args).await,
        Command::Scan(args) => scan::run(session, args).await,
        Command::Cas(args) => cas::run(session, args).await,
        Command::Snapshot(args) => snapshot::run(session, args).await,
        Command::Du(args) => du::run(session, args).await,
        Command::Export(args) => export::run(session, args).await,
        Command::Stat(args) => ls::stat(session, args).await,
        Command::Status => status::run(session).await,
        Command::Ns(args) => namespace::run(session, args).await,
        Command::Backup(args) => backup::backup(session, args).await,
        Command::Serve(_)
        | Command::Noop(_)
        | Command::Put(_)
        | Command::Get(_)
        | Command::Watch(_)
        | Command::Restore(_)
        | Command::Import(_)
        | Command::Verify(_)
        | Command::Shell(_)
        | Command::Bench(_)
        | Command::Config(_)
        | Command::Completions { .. } => unreachable!("dispatched before"),
    }
}

fn restore(calling: Calling, args: RestoreArgs) -> Result<Exit, CliError> {
    if let Some((dir, files)) = args.offline() {
        return offline::restore(calling.terminal, &dir, &files);
    }
    with_server(calling, async |session| {
        let restore = backup::restore(session, args);
        session.interrupt.or_stop(restore).await
    })
}

/// Runs a client's command in a runtime of its own.
fn with_server(
    calling: Calling,
    command: impl AsyncFnOnce(&Session) -> Result<Exit, CliError>,
) -> Result<Exit, CliError> {
    /// Threads that walk, read, hash and write files. Each keeps some memory for itself.
    const FILE_THREADS: usize = 8;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(FILE_THREADS)
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start the runtime: {error}")))?;
    let outcome = runtime.block_on(async {
        let session = Session {
            terminal: calling.terminal,
            server: calling.flags.server,
            interrupt: Interrupt::listen(),
            connections: calling.connections,
        };
        command(&session).await
    });
    // A thread may still wait for standard input; nobody waits for it.
    runtime.shutdown_background();
    outcome
}

/// Runs the server until it is told to stop.
fn serve(flags: &ServeFlags) -> Result<Exit, CliError> {
    let config = flags.load()?.config;
    crate::start::run(config)?;
    Ok(Exit::Ok)
}

fn config(terminal: Terminal, command: &ConfigCommand) -> Result<Exit, CliError> {
    let text = command.run(terminal.is_json())?;
    terminal.write(text.as_bytes())?;
    Ok(Exit::Ok)
}

fn completions(terminal: Terminal, shell: clap_complete::Shell) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "shardkeep", &mut script);
    terminal.write(&script)?;
    Ok(Exit::Ok)
}
