//! `scan`: keys by their bounds, whatever bytes they are, as of one moment.

use super::exit::{CliError, Exit};
use super::list_file::escaped;
use super::ls::columns;
use super::selection::{NamespaceFlag, SelectionArgs, SnapshotFlag};
use super::session::Session;
use super::terminal::{JsonArray, json_bytes};
use crate::client::{Head, Query};
use serde_json::json;

const DETAILS: &str = r"All keys are as of the moment when the command began, in byte order. One with a backslash or a line
break begins with a backslash, and has them as \\, \n and \r. Keys that are not UTF-8 are listed too.

--long writes the size in bytes, the version, the checksum (xxh64) and the key. A snapshot is named
by the id that `shardkeep snapshot create` or CreateSnapshot of the native API gave it.";

/// Lists keys by their bounds.
#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct ScanArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// From the largest key down
    #[arg(short, long)]
    reverse: bool,
    /// Write the size in bytes, the version and the checksum too
    #[arg(short, long)]
    long: bool,
    /// Stop after so many keys
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    namespace: NamespaceFlag,
    #[command(flatten)]
    snapshot: SnapshotFlag,
}

/// Runs `scan`.
///
/// # Errors
/// What ended it early.
pub async fn run(session: &Session, args: ScanArgs) -> Result<Exit, CliError> {
    let query = Query {
        reverse: args.reverse,
        limit: args.limit.unwrap_or(0),
        ..args.selection.query()
    };
    let keyspace = session.keyspace(&args.namespace).await?;
    let keyspace = keyspace.at_id(args.snapshot.snapshot);
    let mut keys = keyspace.scan(query).await?;
    let mut array = JsonArray::begin(session.terminal, "keys")?;
    let mut count = 0u64;
    while let Some(page) = keys.next_page().await? {
        let mut text = Vec::new();
        for entry in page.into_iter().map(|row| row.entry) {
            count += 1;
            let key = entry.key;
            let head = Head {
                version: entry.version,
                len: entry.len,
                sum64: entry.sum64,
            };
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
