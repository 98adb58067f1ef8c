//! `snapshot`: the store as of one moment, held for reads that belong together.

use super::exit::{CliError, Exit};
use super::session::Session;
use crate::client::SnapshotLease;
use crate::model::Timestamp;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use humantime::{format_rfc3339_seconds, parse_duration};
use serde_json::{Value, json};
use std::time::{Duration, UNIX_EPOCH};

const DETAILS: &str = "\
`shardkeep get`, `scan` and `du` take the id with --snapshot. What a snapshot shows stays on the disk,
overwritten or deleted, until its lease ends or it is removed; a server that stops lets all of them
go.";

/// Works with snapshots.
#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct SnapshotArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Take a snapshot of the whole store, and print its id
    Create {
        #[command(flatten)]
        lease: LeaseArg,
    },
    /// List the snapshots that are held
    Ls,
    /// Give a snapshot a new lease, from now on
    Renew {
        /// Its id
        id: String,
        #[command(flatten)]
        lease: LeaseArg,
    },
    /// Let a snapshot go
    Rm {
        /// Its id
        id: String,
    },
}

#[derive(Debug, clap::Args)]
struct LeaseArg {
    /// How long it is held: 1s to 1h
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_duration)]
    lease: Duration,
}

/// Runs the command.
///
/// # Errors
/// The snapshot is not there, or the server's.
pub async fn run(session: &Session, args: SnapshotArgs) -> Result<Exit, CliError> {
    let database = session.database().await?;
    let terminal = session.terminal;
    match args.action {
        Action::Create { lease } => {
            let taken = database.create_snapshot(lease.lease).await?;
            terminal.result(&taken.id, &value_of(&taken))?;
            let Timestamp(at) = taken.expiry;
            let note = format!("version {}, held until {}", taken.version.0, time_of(at));
            terminal.note(&note);
        }
        Action::Ls => {
            let all = database.list_snapshots().await?;
            let values: Vec<Value> = all.iter().map(value_of).collect();
            terminal.result(&overview(&all), &json!({ "snapshots": values }))?;
        }
        Action::Renew { id, lease } => {
            let renewed = database.renew_snapshot(&id, lease.lease).await?;
            let until = time_of(renewed.expiry.0);
            terminal.result(&format!("held until {until}"), &value_of(&renewed))?;
        }
        Action::Rm { id } => {
            database.delete_snapshot(&id).await?;
            if terminal.is_json() {
                terminal.result("", &json!({ "removed": id }))?;
            }
        }
    }
    Ok(Exit::Ok)
}

/// A line a snapshot.
fn overview(all: &[SnapshotLease]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.add_row(["snapshot", "version", "taken", "held until"]);
    for it in all {
        let version = it.version.0.to_string();
        let (taken, until) = (time_of(it.created.0), time_of(it.expiry.0));
        table.add_row([&it.id, &version, &taken, &until]);
    }
    table.trim_fmt()
}

fn value_of(of: &SnapshotLease) -> Value {
    json!({
        "id": of.id,
        "version": of.version.0,
        "create_time": time_of(of.created.0),
        "expire_time": time_of(of.expiry.0),
    })
}

fn time_of(ms: u64) -> String {
    format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}
