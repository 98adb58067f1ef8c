//! One public error. Its kind says what the caller does next; its reason is a documented word that
//! programs can match; its message is for a person and names the thing, the value and the remedy.

use std::borrow::Cow;
use std::fmt;

/// What went wrong, in the terms of what the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The thing is not there.
    NotFound,
    /// The thing is there already.
    AlreadyExists,
    /// A condition on the current state failed: read again and retry.
    Conflict,
    /// The request can never succeed as it is.
    Invalid,
    /// Something is over a limit.
    TooLarge,
    /// The caller may not do this.
    Denied,
    /// The operator has switched this off.
    Disabled,
    /// Too much is in flight: retry later, with backoff.
    Overloaded,
    /// The disk is below its limit: writes come back by themselves when there is room.
    DiskFull,
    /// The shard is restarting or has failed: retry. The outcome of a write may be unknown.
    Unavailable,
    /// The deadline passed. The outcome of a write is unknown.
    Timeout,
    /// Stored data is damaged; the message names the file and the offset.
    Corrupt,
    /// A bug.
    Internal,
}

/// What a person does about an error of the operating system, to stand behind its text; empty when
/// the text says it all.
#[must_use]
pub fn system_remedy(error: &std::io::Error) -> &'static str {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    match error.raw_os_error() {
        Some(EMFILE) => ": raise `ulimit -n`, or LimitNOFILE of the service",
        Some(ENFILE) => ": raise fs.file-max of the system",
        _ => "",
    }
}

/// An error of the public API.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    reason: &'static str,
    message: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
}

/// A result of the public API.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of a kind, with a documented reason in `UPPER_SNAKE_CASE`.
    pub fn new(
        kind: ErrorKind,
        reason: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            kind,
            reason,
            message: message.into(),
            field: None,
        }
    }

    /// The same error, with the field of the request that it is about, unless it names one.
    #[must_use]
    pub fn at(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.field.get_or_insert_with(|| field.into());
        self
    }

    /// The same error, about a field in a part of the request, or about that part.
    #[must_use]
    pub fn inside(mut self, part: &str) -> Self {
        let field = match self.field.take() {
            Some(field) => format!("{part}.{field}"),
            None => part.to_owned(),
        };
        self.field = Some(field.into());
        self
    }

    /// The field of the request that it is about, as in `operations[3].key`.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// What the caller does next.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// A stable word for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// For a person.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// A request that can never succeed as it is.
    pub fn invalid(reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Invalid, reason, message)
    }

    /// Something over a limit.
    pub fn too_large(reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::TooLarge, reason, message)
    }

    /// A shard or the whole store cannot answer now.
    pub fn unavailable(reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unavailable, reason, message)
    }

    /// Damaged data; name the file and the offset.
    pub fn corrupt(reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Corrupt, reason, message)
    }

    /// A bug, or an I/O error that no caller can do anything about.
    pub fn internal(reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Internal, reason, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
