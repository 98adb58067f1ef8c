//! `watch`: changes as they come, a line each.

use super::exit::{CliError, Exit};
use super::list_file::escaped;
use super::selection::{NamespaceFlag, SelectionArgs};
use super::session::Session;
use super::terminal::{Terminal, json_bytes};
use crate::client::{Change, ChangeKind, Changes, Query, Step};
use crate::model::Version;
use serde_json::{Value, json};

const DETAILS: &str = r"Each line is `put`, `delete` or `expire`, the version of the change, and the key; with --values, a tab
and the value of a put too, where it is small. A key or value with a backslash or a line break makes
the line begin with a backslash, and has them as \\, \n and \r. With --output json each line is one
JSON object, and one with nothing but a `version` says that everything up to there was told.

No change is left out and none is told twice, over breaks of the connection too. When the watch ends
it says with which --after another one goes on. One that comes back too late is told so: read what is
there, from a snapshot, and watch after the snapshot's version.";

/// Tells changes as they come.
#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct WatchArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Begin with the changes after this version, instead of now
    #[arg(long, value_name = "VERSION")]
    after: Option<u64>,
    /// Write the values of puts too
    #[arg(long)]
    values: bool,
    /// Stop after so many changes, and those that were made together with the last of them
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    namespace: NamespaceFlag,
}

/// Runs the command, until Ctrl-C or `--limit`.
///
/// # Errors
/// What ended it early.
pub async fn run(session: &Session, args: WatchArgs) -> Result<Exit, CliError> {
    let query = Query {
        with_values: args.values,
        ..args.selection.query()
    };
    let after = args.after.map(Version);
    let begin = async {
        let keyspace = session.keyspace(&args.namespace).await?;
        Ok(keyspace.watch(query, after).await?)
    };
    let changes = session.interrupt.or_stop(begin).await?;
    let mut teller = Teller {
        terminal: session.terminal,
        values: args.values,
        left: args.limit.unwrap_or(u64::MAX),
        told: after,
    };
    let told = session.interrupt.or_stop(teller.tell_all(changes)).await;
    if let Some(Version(told)) = teller.told {
        let note = format!("everything up to version {told} was told: go on with --after {told}");
        session.terminal.note(&note);
    }
    told.map(|()| Exit::Ok)
}

struct Teller {
    terminal: Terminal,
    values: bool,
    /// Changes until the end.
    left: u64,
    /// Everything up to here was told.
    told: Option<Version>,
}

impl Teller {
    async fn tell_all(&mut self, mut changes: Changes) -> Result<(), CliError> {
        while self.left > 0 {
            let step = changes.next().await?;
            self.tell(step)?;
        }
        Ok(())
    }

    /// Tells a step, or those of its changes that are still asked for.
    fn tell(&mut self, step: Step) -> Result<(), CliError> {
        let mut lines = Vec::new();
        let (mut told, mut last) = (step.version, None);
        for change in step.changes {
            if self.left == 0 && last != Some(change.version) {
                told = last.unwrap_or(told);
                break;
            }
            self.left = self.left.saturating_sub(1);
            last = Some(change.version);
            match self.terminal.is_json() {
                true => lines.extend(value_of(&change, self.values).to_string().into_bytes()),
                false => lines.extend(line_of(&change, self.values)),
            }
            lines.push(b'\n');
        }
        if self.terminal.is_json() {
            lines.extend(format!("{}\n", json!({ "version": told.0 })).into_bytes());
        }
        self.terminal.write(&lines)?;
        self.told = Some(told);
        Ok(())
    }
}

fn line_of(change: &Change, values: bool) -> Vec<u8> {
    let (word, value) = match &change.kind {
        ChangeKind::Put { value, .. } => ("put", value.as_deref().filter(|_| values)),
        ChangeKind::Deleted => ("delete", None),
        ChangeKind::Expired => ("expire", None),
    };
    let mut text = change.key.to_vec();
    if let Some(value) = value {
        text.push(b'\t');
        text.extend(value);
    }
    let mut line = format!("{word:<6}  {:>10}  ", change.version.0).into_bytes();
    line.extend(escaped(&text));
    line
}

fn value_of(change: &Change, values: bool) -> Value {
    let mut told = json!({ "key": json_bytes(&change.key), "version": change.version.0 });
    match &change.kind {
        ChangeKind::Deleted => told["change"] = json!("delete"),
        ChangeKind::Expired => told["change"] = json!("expire"),
        ChangeKind::Put { entry, value } => {
            told["change"] = json!("put");
            told["bytes"] = json!(entry.len);
            told["sum64"] = json!(format!("{:016x}", entry.sum64));
            if values {
                told["value"] = value.as_deref().map_or(Value::Null, json_bytes);
            }
        }
    }
    told
}
