//! What is wrong with a configuration, said so that the reader can mend it without a manual.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The dotted key, such as `server.port`; for an unknown environment variable its name.
    pub key: String,
    /// What was given, as text; secrets are masked. `None` for an unknown key, whose value could be a
    /// secret under a misspelled name.
    pub value: Option<String>,
    /// Where it was given: `default`, `file PATH`, `environment variable NAME` or `flag --NAME`.
    pub origin: String,
    /// Why it cannot be.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            value,
            origin,
            reason,
            remedy,
        } = self;
        write!(f, "{key}")?;
        if let Some(value) = value {
            write!(f, " = {value:?}")?;
        }
        write!(f, " ({origin}): {reason}; {remedy}")
    }
}

/// Everything that is wrong with a configuration, in the order in which it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// An error of these problems, of which there is at least one.
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        debug_assert!(!problems.is_empty());
        Self { problems }
    }

    /// Each problem.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [only] => write!(f, "invalid configuration: {only}"),
            many => {
                write!(f, "invalid configuration, {} problems:", many.len())?;
                many.iter().try_for_each(|it| write!(f, "\n  {it}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// Why a text is not a value of its key, before the key is known.
#[derive(Debug)]
pub(super) struct Fault {
    pub reason: String,
    pub remedy: String,
}

impl Fault {
    pub(super) fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }
}

/// What may be shown of a value: everything but secrets.
pub(super) fn shown(key: &str, text: &str) -> String {
    if key == "admin.password" && !text.is_empty() {
        "********".to_owned()
    } else {
        text.to_owned()
    }
}
