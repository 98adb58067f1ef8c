//! `du`: what keys hold, and what deleting them would free.

use super::exit::{CliError, Exit};
use super::progress::Progress;
use super::selection::{NamespaceFlag, SelectionArgs, SnapshotFlag};
use super::session::Session;
use super::status::table;
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

const DETAILS: &str = "\
Stored bytes are what the values take on the disk, compressed, a content that several keys share once.
Deleting the keys frees of them what no other key has: a content that a key elsewhere names, in this
namespace or another, stays. The room comes back with the next segment GC.";

/// Tells what keys hold.
#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct DuArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    namespace: NamespaceFlag,
    #[command(flatten)]
    snapshot: SnapshotFlag,
}

/// Runs the command.
///
/// # Errors
/// The server's.
pub async fn run(session: &Session, args: DuArgs) -> Result<Exit, CliError> {
    let keyspace = session.keyspace(&args.namespace).await?;
    let keyspace = keyspace.at_id(args.snapshot.snapshot);
    let spinner = Progress::spinner(session.terminal, "looking at the keys");
    let mut measuring = keyspace.measure(args.selection.query()).await?;
    let mut usage = measuring.next().await?;
    while let Some(next) = usage.filter(|usage| !usage.is_whole) {
        spinner.message(format!("{} keys", HumanCount(next.keys)));
        usage = measuring.next().await?;
    }
    spinner.clear();
    let usage = usage.unwrap_or_default();
    let bytes = |number: u64| HumanBytes(number).to_string();
    let text = table(&[
        ("keys", HumanCount(usage.keys).to_string()),
        ("values", bytes(usage.logical_bytes)),
        ("stored, shared ones once", bytes(usage.stored_bytes)),
        ("deleting would free", bytes(usage.freed_bytes)),
    ]);
    let value = json!({
        "keys": usage.keys,
        "logical_bytes": usage.logical_bytes,
        "stored_bytes": usage.stored_bytes,
        "freed_bytes": usage.freed_bytes,
    });
    session.terminal.result(&text, &value)?;
    Ok(Exit::Ok)
}
