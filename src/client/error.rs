//! What can go wrong between a program and a server, in words that say what to do next.

use super::TypeError;
use super::retry::{is_lost, is_overload};
use crate::model::Key;
use std::error::Error as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A result of the client.
pub type Result<T, E = ClientError> = std::result::Result<T, E>;

/// Why a call did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be one.
    #[error("not a server address: {address:?}; give HOST:PORT, such as 127.0.0.1:8282")]
    Address {
        /// What was given.
        address: String,
    },
    /// There is no connection, or it broke and did not come back.
    #[error("cannot reach {address}: {cause}; is `shardkeep serve` running there?")]
    Unreachable {
        /// The server.
        address: String,
        /// What the operating system or the server said.
        cause: String,
    },
    /// The server is there, but has too much to do or is restarting a part of itself.
    #[error("{address} cannot answer {call} now: {message}; try again in a moment")]
    Unavailable {
        /// The call.
        call: &'static str,
        /// The server.
        address: String,
        /// Its words.
        message: String,
    },
    /// The key is not there.
    #[error("not found: {key}")]
    NotFound {
        /// The key, escaped.
        key: String,
    },
    /// A namespace, a snapshot or a file that the call names is not there, or not any more.
    #[error("{message}")]
    Gone {
        /// The server's reason, such as `NAMESPACE_NOT_FOUND`.
        reason: String,
        /// Its words.
        message: String,
    },
    /// The server wants another password.
    #[error(
        "{call} denied by {address}: {message}; give the server's password with --admin-password \
         or SHARDKEEP_ADMIN_PASSWORD"
    )]
    Denied {
        /// The call.
        call: &'static str,
        /// The server.
        address: String,
        /// Its words.
        message: String,
    },
    /// The operator has switched this off, or the server's disk is full.
    #[error("{call} refused by {address}: {message}")]
    Refused {
        /// The call.
        call: &'static str,
        /// The server.
        address: String,
        /// Its words.
        message: String,
    },
    /// What the call asked for does not hold, or others were faster: read again, then decide.
    #[error("{message}")]
    Conflict {
        /// The server's reason, such as `VERSION_MISMATCH`; README.md lists them.
        reason: String,
        /// Its words.
        message: String,
    },
    /// The value is over the server's limit.
    #[error("{message}")]
    TooLarge {
        /// Bytes of the value.
        size: usize,
        /// The server's words.
        message: String,
    },
    /// Stored data is damaged, or was damaged on its way.
    #[error("damaged value under {key}: {message}")]
    Damaged {
        /// The key, escaped.
        key: String,
        /// What does not fit.
        message: String,
    },
    /// The value and its type do not fit; nothing was sent, or nothing is returned.
    #[error(transparent)]
    Type(TypeError),
    /// What was asked for cannot be; nothing was sent.
    #[error("{message}")]
    Invalid {
        /// What is wrong with it, and what to do instead.
        message: String,
    },
    /// What was to be stored cannot be read; nothing was stored.
    #[error("cannot read what is to be stored: {cause}")]
    Source {
        /// What the operating system said.
        cause: String,
    },
    /// Anything else that the server answered.
    #[error("{call} failed on {address}: {message}")]
    Server {
        /// The call.
        call: &'static str,
        /// The server.
        address: String,
        /// Its words.
        message: String,
    },
    /// The answer makes no sense: not a server of this protocol?
    #[error("{call}: cannot read the answer of {address}: {cause}; is it a shardkeep server?")]
    Answer {
        /// The call.
        call: &'static str,
        /// The server.
        address: String,
        /// What is wrong with it.
        cause: String,
    },
}

impl ClientError {
    /// That a key is not there.
    #[must_use]
    pub fn not_found(key: &[u8]) -> Self {
        Self::NotFound { key: shown(key) }
    }

    pub(super) fn damaged(key: &[u8], message: impl Into<String>) -> Self {
        Self::Damaged {
            key: shown(key),
            message: message.into(),
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        let message = message.into();
        Self::Invalid { message }
    }

    /// The error of a call that the transport or the server's gRPC layer ended.
    pub(super) fn from_status(call: &'static str, address: &str, status: &Status) -> Self {
        let address = address.to_owned();
        let message = status.message().to_owned();
        if let (true, Some(source)) = (is_lost(status), status.source()) {
            let cause = cause_of(source);
            return Self::Unreachable { address, cause };
        }
        let reason = reason_of(status);
        if (is_lost(status) || is_overload(status)) && reason != "DISK_FULL" {
            return Self::Unavailable {
                call,
                address,
                message,
            };
        }
        match status.code() {
            Code::Aborted => Self::Conflict { reason, message },
            Code::AlreadyExists if reason == "KEY_EXISTS" => Self::Conflict { reason, message },
            Code::NotFound => Self::Gone { reason, message },
            code => Self::from_code(call, address, code, message),
        }
    }

    fn from_code(call: &'static str, address: String, code: Code, message: String) -> Self {
        match code {
            Code::PermissionDenied | Code::Unauthenticated => Self::Denied {
                call,
                address,
                message,
            },
            Code::FailedPrecondition | Code::ResourceExhausted => Self::Refused {
                call,
                address,
                message,
            },
            Code::DataLoss => Self::Damaged {
                key: format!("the key of this {call}"),
                message,
            },
            Code::Unimplemented => Self::Answer {
                call,
                address,
                cause: "it does not know this call".to_owned(),
            },
            Code::Unknown => Self::Answer {
                call,
                address,
                cause: message,
            },
            _ => Self::Server {
                call,
                address,
                message: format!("{message} ({code:?})"),
            },
        }
    }
}

/// The word by which programs know an error; empty when the server gives none.
pub(super) fn reason_of(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map_or_else(String::new, |info| info.reason)
}

/// A key as messages show it: escaped, and cut when it is long.
pub(super) fn shown(key: &[u8]) -> String {
    Key::new(key).map_or_else(|_| key.escape_ascii().to_string(), |key| key.to_string())
}

/// What lies below an error, in the operating system's words and this program's spelling: the layers
/// above wrap it in words such as "transport error".
pub fn cause_of(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let words = innermost.to_string();
    let words = words
        .split_once(" (os error")
        .map_or(words.as_str(), |(words, _)| words);
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_the_innermost_without_its_number() {
        let refused = std::io::Error::from_raw_os_error(111);
        assert_eq!(cause_of(&refused), "connection refused");
    }
}
