//! `shell`: the commands of this program, line by line, on one server.
//!
//! Each line is a command as it is typed behind `shardkeep`, and runs as if it were, over connections
//! that the lines share. On a terminal
//! there are a history and completions; lines that come through a pipe are run one after the other.

use super::args::{self, ClientFlags, Command};
use super::connections::Connections;
use super::exit::{CliError, Exit};
use super::line_reader::LineReader;
use super::selection::NamespaceFlag;
use super::terminal::Terminal;
use super::words::split;
use super::{Calling, dispatch};
use std::ffi::OsString;
use std::io::{self, IsTerminal as _};

const DETAILS: &str = "\
Lines are commands without the word `shardkeep` in front. Words are as in sh: blanks part them, quotes
keep them together, `#` begins a remark. Beside the commands there are
  use [NAME]    the namespace of the commands that follow, where they have one; nothing is the default
  help [NAME]   all commands, or one of them
  exit          ends the shell, as the end of the input does

On a terminal, Ctrl-C stops the command that runs, and Tab completes commands and options. Lines with
a password are not kept in the history ($SHARDKEEP_HISTORY, or shardkeep/history in $XDG_STATE_HOME).
From a pipe, a command that fails does not keep the others from running; the exit code is that of the
first that failed.";

/// Runs commands line by line.
#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct ShellArgs {
    /// Stop at the first command that fails
    #[arg(short = 'e', long)]
    stop: bool,
    #[command(flatten)]
    namespace: NamespaceFlag,
}

/// What a line does to the shell.
enum Then {
    GoOn(Exit),
    End,
}

struct Shell {
    terminal: Terminal,
    flags: ClientFlags,
    namespace: String,
    connections: Connections,
}

/// Runs the shell.
///
/// # Errors
/// Standard input cannot be read.
pub fn run(terminal: Terminal, flags: ClientFlags, args: ShellArgs) -> Result<Exit, CliError> {
    let is_interactive = io::stdin().is_terminal() && io::stdout().is_terminal();
    let mut lines = match is_interactive {
        true => LineReader::terminal(),
        false => LineReader::pipe(),
    };
    if is_interactive {
        let server = &flags.server;
        terminal.note(&format!(
            "shardkeep at {server}; help tells the commands, exit ends"
        ));
    }
    let mut shell = Shell {
        terminal,
        flags,
        namespace: args.namespace.namespace,
        connections: Connections::kept()?,
    };
    let mut first_failure = Exit::Ok;
    while let Some(line) = lines.next(&shell.prompt())? {
        let exit = match shell.take(&line) {
            Then::End => break,
            Then::GoOn(exit) => exit,
        };
        if first_failure == Exit::Ok {
            first_failure = exit;
        }
        let ends = matches!(exit, Exit::Interrupted | Exit::BrokenPipe) && !is_interactive;
        if ends || (args.stop && exit != Exit::Ok) {
            break;
        }
    }
    lines.close();
    Ok(match is_interactive {
        true => Exit::Ok,
        false => first_failure,
    })
}

impl Shell {
    fn prompt(&self) -> String {
        match self.namespace.as_str() {
            "" => "shardkeep> ".to_owned(),
            name => format!("shardkeep {name}> "),
        }
    }

    fn take(&mut self, line: &str) -> Then {
        let words = match split(line) {
            Ok(words) => words,
            Err(error) => return Then::GoOn(self.fail(&CliError::Usage(error.to_string()))),
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            [] => Then::GoOn(Exit::Ok),
            ["exit" | "quit"] => Then::End,
            ["use", rest @ ..] => Then::GoOn(self.choose(rest)),
            words => Then::GoOn(self.command(words)),
        }
    }

    /// Another namespace for what follows.
    fn choose(&mut self, name: &[&str]) -> Exit {
        self.namespace = match name {
            [] | ["default"] => String::new(),
            [name] => (*name).to_owned(),
            _ => {
                let message = "use takes one name of a namespace, or none".to_owned();
                return self.fail(&CliError::Usage(message));
            }
        };
        Exit::Ok
    }

    fn command(&self, words: &[&str]) -> Exit {
        let mut all = vec!["shardkeep"];
        all.extend(words);
        let has_own = words.iter().any(|word| word.starts_with("--namespace"));
        if !self.namespace.is_empty() && !has_own && args::takes_namespace(words) {
            all.splice(2..2, ["--namespace", &self.namespace]);
        }
        let mut cli = match args::parse(all.into_iter().map(OsString::from)) {
            Ok(cli) => cli,
            Err(message) => {
                // Help is printed this way too.
                let _ = message.print();
                return match message.exit_code() {
                    0 => Exit::Ok,
                    _ => Exit::Usage,
                };
            }
        };
        if let Some(what) = unfit(&cli.command) {
            let message = format!("{what} is not for the shell: type it outside");
            return self.fail(&CliError::Usage(message));
        }
        if !cli.client.server_named {
            cli.client.server.clone_from(&self.flags.server);
        }
        if !cli.client.output_named {
            cli.client.output = self.flags.output;
        }
        let terminal = Terminal {
            format: cli.client.output,
            quiet: cli.client.quiet || self.terminal.quiet,
        };
        let calling = Calling {
            terminal,
            flags: cli.client,
            connections: self.connections.clone(),
        };
        let outcome = dispatch(calling, cli.command);
        outcome.unwrap_or_else(|error| {
            terminal.fail(&error);
            error.exit()
        })
    }

    fn fail(&self, error: &CliError) -> Exit {
        self.terminal.fail(error);
        error.exit()
    }
}

/// Commands that have nothing to do with one server's data.
fn unfit(command: &Command) -> Option<&'static str> {
    match command {
        Command::Serve(_) => Some("serve"),
        Command::Noop(_) => Some("noop"),
        Command::Bench(_) => Some("bench"),
        Command::Shell(_) => Some("shell"),
        Command::Completions { .. } => Some("completions"),
        _ => None,
    }
}
