//! `ns`: namespaces, made, listed, described, changed and dropped.

use super::confirm::confirm;
use super::exit::{CliError, Exit};
use super::session::Session;
use super::status::table;
use crate::client::Namespaces;
use crate::config::parse_size;
use crate::proto::v1;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};
use std::time::Duration;

/// Works with namespaces.
#[derive(Debug, clap::Args)]
pub struct NamespaceArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the namespaces, and what they hold
    List,
    /// Tell the rules of a namespace, and what it holds
    Describe {
        /// Its name
        name: String,
    },
    /// Make a namespace
    Create {
        /// Its name: a lower-case letter, then up to 62 of a-z, 0-9, - and _
        name: String,
        /// Let values stand under their digest
        #[arg(long)]
        content: bool,
        #[command(flatten)]
        rules: RuleArgs,
    },
    /// Change the rules of a namespace, for writes from then on
    Update {
        /// Its name
        name: String,
        #[command(flatten)]
        rules: RuleArgs,
    },
    /// Drop a namespace with everything in it; asks first
    Drop {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// The rules that can be changed later.
#[derive(Debug, clap::Args)]
struct RuleArgs {
    /// Whether a key takes another value
    #[arg(long, value_name = "BOOL")]
    overwrite: Option<bool>,
    /// Seconds that a key stays whose put says nothing of it; 0 for ever
    #[arg(long, value_name = "SECONDS")]
    default_ttl: Option<u32>,
    /// The largest value, such as 64KiB; 0 for what the server takes
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    value_size_max: Option<u64>,
    /// Whether values are compressed
    #[arg(long, value_name = "BOOL")]
    compress: Option<bool>,
    /// Whether a large value that is in the store already is shared
    #[arg(long, value_name = "BOOL")]
    dedup: Option<bool>,
}

impl RuleArgs {
    fn options(&self) -> v1::NamespaceOptions {
        let ttl = self.default_ttl.filter(|seconds| *seconds > 0);
        v1::NamespaceOptions {
            key_mode: v1::KeyMode::User.into(),
            overwrite: self.overwrite,
            default_ttl: ttl.and_then(|it| Duration::from_secs(it.into()).try_into().ok()),
            value_size_max: self.value_size_max.unwrap_or_default(),
            compress: self.compress,
            dedup: self.dedup,
        }
    }

    /// What was given, in the words of an update mask.
    fn paths(&self) -> Vec<String> {
        let given = [
            ("options.overwrite", self.overwrite.is_some()),
            ("options.default_ttl", self.default_ttl.is_some()),
            ("options.value_size_max", self.value_size_max.is_some()),
            ("options.compress", self.compress.is_some()),
            ("options.dedup", self.dedup.is_some()),
        ];
        let given = given.into_iter().filter(|(_, given)| *given);
        given.map(|(path, _)| path.to_owned()).collect()
    }
}

/// Runs the command.
///
/// # Errors
/// The namespace is not there, or the server's.
pub async fn run(session: &Session, args: NamespaceArgs) -> Result<Exit, CliError> {
    let mut namespaces = Namespaces::connect(&session.server).await?;
    match args.action {
        Action::List => list(session, &namespaces.list().await?)?,
        Action::Describe { name } => describe(session, &namespaces.get(&name).await?)?,
        Action::Create {
            name,
            content,
            rules,
        } => {
            let mut options = rules.options();
            if content {
                options.key_mode = v1::KeyMode::Content.into();
            }
            describe(session, &namespaces.create(&name, options).await?)?;
        }
        Action::Update { name, rules } => {
            let changed = namespaces.update(&name, rules.options(), rules.paths());
            describe(session, &changed.await?)?;
        }
        Action::Drop { name, yes } => drop(session, namespaces, &name, yes).await?,
    }
    Ok(Exit::Ok)
}

async fn drop(
    session: &Session,
    mut namespaces: Namespaces,
    name: &str,
    yes: bool,
) -> Result<(), CliError> {
    let held = namespaces.get(name).await?.counts.unwrap_or_default();
    if !yes {
        let (server, keys) = (&session.server, held.keys);
        confirm(&format!("drop namespace {name} of {server} ({keys} keys)?")).await?;
    }
    namespaces.drop(name).await?;
    if session.terminal.is_json() {
        let value = json!({ "dropped": name, "keys": held.keys });
        session.terminal.result("", &value)?;
    }
    session
        .terminal
        .note(&format!("{name} dropped, with {} keys", held.keys));
    Ok(())
}

fn list(session: &Session, all: &[v1::Namespace]) -> Result<(), CliError> {
    let value = json!({ "namespaces": values_of(all) });
    session.terminal.result(&overview(all), &value)
}

/// A line a namespace: what it holds.
pub(super) fn overview(all: &[v1::Namespace]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.add_row(["namespace", "keys", "values"]);
    for namespace in all {
        let held = namespace.counts.unwrap_or_default();
        let keys = HumanCount(held.keys).to_string();
        let bytes = HumanBytes(held.logical_bytes).to_string();
        table.add_row([&namespace.name, &keys, &bytes]);
    }
    for numbers in table.column_iter_mut().skip(1) {
        numbers.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

/// All namespaces as JSON.
pub(super) fn values_of(all: &[v1::Namespace]) -> Vec<Value> {
    all.iter().map(value_of).collect()
}

fn describe(session: &Session, namespace: &v1::Namespace) -> Result<(), CliError> {
    let options = namespace.options.unwrap_or_default();
    let held = namespace.counts.unwrap_or_default();
    let yes = |switch: Option<bool>| match switch {
        Some(true) => "yes".to_owned(),
        _ => "no".to_owned(),
    };
    let named_by = match options.key_mode() {
        v1::KeyMode::Content => "their digest",
        v1::KeyMode::User | v1::KeyMode::Unspecified => "the client",
    };
    let ttl = match ttl_of(&options) {
        Some(seconds) => format!("{seconds} s"),
        None => "for ever".to_owned(),
    };
    let largest = match options.value_size_max {
        0 => "what the server takes".to_owned(),
        size => HumanBytes(size).to_string(),
    };
    let bytes = |number: u64| HumanBytes(number).to_string();
    let rows = [
        ("values are named by", named_by.to_owned()),
        ("overwrite", yes(options.overwrite)),
        ("keys stay", ttl),
        ("largest value", largest),
        ("compress", yes(options.compress)),
        ("share equal values", yes(options.dedup)),
        ("keys", HumanCount(held.keys).to_string()),
        ("values", bytes(held.logical_bytes)),
        ("values with their keys", bytes(held.unique_bytes)),
        ("the same, compressed", bytes(held.stored_bytes)),
    ];
    let text = format!("namespace {}\n{}", namespace.name, table(&rows));
    session.terminal.result(&text, &value_of(namespace))
}

/// Seconds that a key stays when nothing else is said.
#[allow(clippy::cast_precision_loss, reason = "they end at 100 years")]
fn ttl_of(options: &v1::NamespaceOptions) -> Option<f64> {
    let ttl = options.default_ttl?;
    Some(ttl.seconds as f64 + f64::from(ttl.nanos) / 1e9)
}

fn value_of(namespace: &v1::Namespace) -> Value {
    let options = namespace.options.unwrap_or_default();
    let held = namespace.counts.unwrap_or_default();
    json!({
        "name": namespace.name,
        "version": namespace.version,
        "content": options.key_mode() == v1::KeyMode::Content,
        "overwrite": options.overwrite,
        "default_ttl": ttl_of(&options),
        "value_size_max": options.value_size_max,
        "compress": options.compress,
        "dedup": options.dedup,
        "keys": held.keys,
        "logical_bytes": held.logical_bytes,
        "unique_bytes": held.unique_bytes,
        "stored_bytes": held.stored_bytes,
    })
}
