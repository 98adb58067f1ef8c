//! Which keys a command is about: arguments that several commands share.

use crate::client::Query;
use bytes::Bytes;
use std::ffi::{OsStr, OsString};

/// A prefix, and bounds.
#[derive(Debug, clap::Args)]
pub struct SelectionArgs {
    /// Only keys that begin with this
    #[arg(default_value = "")]
    pub prefix: OsString,
    /// The first key
    #[arg(
        long,
        value_name = "KEY",
        default_value = "",
        hide_default_value = true
    )]
    pub from: OsString,
    /// The first key that is left out again
    #[arg(
        long,
        value_name = "KEY",
        default_value = "",
        hide_default_value = true
    )]
    pub to: OsString,
}

/// A namespace.
#[derive(Debug, clap::Args)]
pub struct NamespaceFlag {
    /// The namespace, instead of the default one
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub namespace: String,
}

/// A snapshot to read from.
#[derive(Debug, clap::Args)]
pub struct SnapshotFlag {
    /// Read from a snapshot instead of what is there now
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub snapshot: String,
}

impl SelectionArgs {
    /// The keys.
    #[must_use]
    pub fn query(&self) -> Query {
        Query {
            prefix: bytes(&self.prefix),
            start: bytes(&self.from),
            end: bytes(&self.to),
            ..Query::default()
        }
    }
}

/// An argument as the bytes that it is.
#[must_use]
pub fn bytes(text: &OsStr) -> Bytes {
    Bytes::copy_from_slice(text.as_encoded_bytes())
}
