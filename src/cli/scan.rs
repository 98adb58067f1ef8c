//! `scan`: keys by their bounds, whatever bytes they are, as of one moment.

use super::exit::{CliError, Exit};
use super::list_file::escaped;
use super::ls::columns;
use super::session::Session;
use super::terminal::{JsonArray, json_bytes};
use crate::client::{KeyQuery, Keys};
use bytes::Bytes;
use serde_json::json;
use std::ffi::OsString;

const DETAILS: &str = r"All keys are as of the moment when the command began, in byte order. One with a backslash or a line
break begins with a backslash, and has them as \\, \n and \r. Keys that are not UTF-8 are listed too.

--long writes the size in bytes, the version, the checksum (xxh64) and the key. A snapshot is named
by the id that CreateSnapshot of the native API gave it.";

/// Lists keys by their bounds.
#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct ScanArgs {
    /// Only keys that begin with this
    #[arg(default_value = "")]
    prefix: OsString,
    /// The first key
    #[arg(
        long,
        value_name = "KEY",
        default_value = "",
        hide_default_value = true
    )]
    from: OsString,
    /// The first key that is not listed any more
    #[arg(
        long,
        value_name = "KEY",
        default_value = "",
        hide_default_value = true
    )]
    to: OsString,
    /// From the largest key down
    #[arg(short, long)]
    reverse: bool,
    /// Write the size in bytes, the version and the checksum too
    #[arg(short, long)]
    long: bool,
    /// Stop after so many keys
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// The namespace, instead of the default one
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    namespace: String,
    /// Read from a snapshot instead of what is there now
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    snapshot: String,
}

/// Runs `scan`.
///
/// # Errors
/// What ended it early.
pub async fn run(session: &Session, args: ScanArgs) -> Result<Exit, CliError> {
    let bytes = |text: &OsString| Bytes::copy_from_slice(text.as_encoded_bytes());
    let query = KeyQuery {
        namespace: args.namespace,
        prefix: bytes(&args.prefix),
        start: bytes(&args.from),
        end: bytes(&args.to),
        reverse: args.reverse,
        limit: args.limit.unwrap_or(0),
        snapshot: args.snapshot,
    };
    let mut keys = Keys::scan(&session.server, query).await?;
    let mut array = JsonArray::begin(session.terminal, "keys")?;
    let mut count = 0u64;
    while let Some(page) = keys.next().await? {
        let mut text = Vec::new();
        for (key, head) in page {
            count += 1;
            if session.terminal.is_json() {
                array.push(&json!({
                    "key": json_bytes(&key),
                    "version": head.version.0,
                    "bytes": head.len,
                    "sum64": format!("{:016x}", head.sum64),
                }))?;
                continue;
            }
            if args.long {
                text.extend(columns(head).into_bytes());
            }
            text.extend(escaped(&key));
            text.push(b'\n');
        }
        session.terminal.write(&text)?;
    }
    array.end(&json!({ "count": count }))?;
    Ok(Exit::Ok)
}
