//! How the program ends: the exit codes that scripts rely on, and the error that leads to each.

use crate::client::{ClientError, cause_of};
use crate::model::ErrorKind;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The table of exit codes as `--help` shows it. A code never changes its meaning.
pub const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  failed, or a part of the work failed
    2  wrong usage or configuration
    3  not found
    4  refused by the server: switched off, disk full, or denied
    5  the server cannot be reached or cannot answer now
    6  damaged data
    7  a condition does not hold, or others were faster
  130  interrupted
  141  the reader of standard output went away";

/// An exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed, or a part of the work failed.
    Failure = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Not found.
    NotFound = 3,
    /// Refused by the server.
    Refused = 4,
    /// The server cannot be reached or cannot answer now.
    Unreachable = 5,
    /// Damaged data.
    Damaged = 6,
    /// A condition does not hold, or others were faster.
    Conflict = 7,
    /// Interrupted by Ctrl-C.
    Interrupted = 130,
    /// The reader of standard output went away; what a shell shows for SIGPIPE.
    BrokenPipe = 141,
}

impl Exit {
    /// The code as a number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// A stable word for `--output json`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failure => "failed",
            Self::Usage => "usage",
            Self::NotFound => "not_found",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Damaged => "damaged",
            Self::Conflict => "conflict",
            Self::Interrupted => "interrupted",
            Self::BrokenPipe => "broken_pipe",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command ended early. What it says is for a person; [`CliError::exit`] is for scripts.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The server, or the way to it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The store, when a command works on a data directory itself.
    #[error(transparent)]
    Store(#[from] crate::model::Error),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// A local file.
    #[error("cannot {action} {path}: {}", cause_of(source))]
    File {
        /// What was attempted: "read", "write", "open".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Arguments that do not fit together.
    #[error("{0}")]
    Usage(String),
    /// Something that was asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// Stored data is damaged.
    #[error("{0}")]
    Damaged(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// The reader of standard output went away.
    #[error("the reader of standard output went away")]
    BrokenPipe,
}

impl CliError {
    /// An error about a local file.
    pub fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// An error about standard input or output.
    pub fn stream(action: &'static str, stream: &str, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::file(action, Path::new(stream), source)
    }

    /// The exit code this error leads to.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Client(error) => exit_of_client(error),
            Self::Store(error) => exit_of_store(error.kind()),
            Self::Usage(_) | Self::Config(_) => Exit::Usage,
            Self::NotFound(_) => Exit::NotFound,
            Self::Damaged(_) => Exit::Damaged,
            Self::File { .. } | Self::Failed(_) => Exit::Failure,
            Self::Interrupted => Exit::Interrupted,
            Self::BrokenPipe => Exit::BrokenPipe,
        }
    }

    /// Whether every further request would end the same way, so that a long command should stop.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Client(error) => matches!(
                error,
                ClientError::Address { .. }
                    | ClientError::Unreachable { .. }
                    | ClientError::Denied { .. }
                    | ClientError::Refused { .. }
                    | ClientError::Answer { .. }
            ),
            Self::Usage(_) | Self::Config(_) | Self::Interrupted | Self::BrokenPipe => true,
            Self::Store(_)
            | Self::File { .. }
            | Self::NotFound(_)
            | Self::Damaged(_)
            | Self::Failed(_) => false,
        }
    }
}

fn exit_of_client(error: &ClientError) -> Exit {
    match error {
        ClientError::Address { .. } | ClientError::Invalid { .. } => Exit::Usage,
        ClientError::Unreachable { .. } | ClientError::Unavailable { .. } => Exit::Unreachable,
        ClientError::NotFound { .. } | ClientError::Gone { .. } => Exit::NotFound,
        ClientError::Denied { .. } | ClientError::Refused { .. } => Exit::Refused,
        ClientError::Damaged { .. } => Exit::Damaged,
        ClientError::Conflict { reason, .. } => match reason.as_str() {
            "VERSION_MISMATCH" | "DIGEST_CONFLICT" | "KEY_EXISTS" | "KEY_CONTENDED"
            | "CONDITION_FAILED" | "VALUE_CHANGED" => Exit::Conflict,
            _ => Exit::Failure,
        },
        ClientError::Type(_)
        | ClientError::Source { .. }
        | ClientError::TooLarge { .. }
        | ClientError::Server { .. }
        | ClientError::Answer { .. } => Exit::Failure,
    }
}

fn exit_of_store(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::NotFound => Exit::NotFound,
        ErrorKind::Invalid | ErrorKind::TooLarge => Exit::Usage,
        ErrorKind::Denied | ErrorKind::Disabled | ErrorKind::DiskFull => Exit::Refused,
        ErrorKind::Corrupt => Exit::Damaged,
        ErrorKind::AlreadyExists
        | ErrorKind::Conflict
        | ErrorKind::Overloaded
        | ErrorKind::Unavailable
        | ErrorKind::Timeout
        | ErrorKind::Internal => Exit::Failure,
    }
}
