//! `export`: the keys of a namespace, or a part of them, as one checked file.

use super::exit::{CliError, Exit};
use super::progress::Progress;
use super::selection::{NamespaceFlag, SelectionArgs, SnapshotFlag};
use super::session::Session;
use crate::client::{Database, Namespaces};
use crate::exchange::{Export, OWN_NAMESPACE, now};
use crate::model::{DEFAULT_NAMESPACE, Namespace, NamespaceOptions, Version};
use crate::proto::v1;
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _};
use std::path::{Path, PathBuf};

const DETAILS: &str = "\
The file holds the keys as of one moment, with their values, expiries and metadata, and the rules of
their namespace. Every part of it has a checksum. `shardkeep import FILE` takes it into any store, under
new versions. Without --out it goes to standard output, for a pipe.

A backup is something else: it holds the whole store with its versions and deletes, and continues.";

/// Writes keys to a file.
#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct ExportArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// The file; an older one is replaced when this one is complete. `-` or nothing is standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    namespace: NamespaceFlag,
    #[command(flatten)]
    snapshot: SnapshotFlag,
}

/// Runs the command.
///
/// # Errors
/// What ended it early; there is no file then.
pub async fn run(session: &Session, args: ExportArgs) -> Result<Exit, CliError> {
    let out = args.out.filter(|out| out != Path::new("-"));
    if out.is_none() && io::stdout().is_terminal() {
        let message = "an export is not for a terminal: say --out FILE, or pipe it on";
        return Err(CliError::Usage(message.to_owned()));
    }
    if out.is_none() && session.terminal.is_json() {
        let message = "export writes the file itself: --output json needs --out FILE";
        return Err(CliError::Usage(message.to_owned()));
    }
    let database = session.database().await?;
    // Held until the end; one that was named is somebody else's to hold.
    let held = match args.snapshot.snapshot.as_str() {
        "" => Some(database.snapshot().await?),
        _ => None,
    };
    let (id, version) = match &held {
        Some(held) => (held.id().to_owned(), held.version()),
        None => named(&database, args.snapshot.snapshot).await?,
    };
    let name = args.namespace.namespace;
    let progress = Progress::bytes(session.terminal, None);
    let work = Export {
        keys: &database.keyspace(&name).at_id(id),
        query: args.selection.query(),
        namespace: described(session, &name).await?,
        version,
        report: progress.share(),
    };
    let is_stream = |out: &Path| std::fs::metadata(out).is_ok_and(|found| !found.is_file());
    let done = match &out {
        // A pipe, or /dev/null.
        Some(out) if is_stream(out) => {
            let file = File::create(out).map_err(|error| CliError::file("write", out, error))?;
            work.write(BufWriter::new(file)).await?
        }
        Some(out) => work.write_file(out).await?,
        None => work.write(BufWriter::new(io::stdout())).await?,
    };
    progress.clear();
    if let Some(held) = held {
        held.close().await?;
    }
    let (keys, size) = (HumanCount(done.keys), HumanBytes(done.bytes));
    if session.terminal.is_json() {
        let told = json!({ "keys": done.keys, "bytes": done.bytes, "version": version.0 });
        session.terminal.result("", &told)?;
    }
    let note = format!("{keys} keys as of version {version}, {size}");
    session.terminal.note(&note);
    Ok(Exit::Ok)
}

/// A snapshot that is held already.
async fn named(database: &Database, id: String) -> Result<(String, Version), CliError> {
    let all = database.list_snapshots().await?;
    let found = all.into_iter().find(|it| it.id == id);
    let found = found
        .ok_or_else(|| CliError::NotFound(format!("snapshot {id} is not there: take another")))?;
    Ok((found.id, found.version))
}

/// The namespace as the file tells of it; `None` for the default one, which has the rules of its
/// store.
async fn described(session: &Session, name: &str) -> Result<Option<Namespace>, CliError> {
    if name.is_empty() || name == DEFAULT_NAMESPACE {
        return Ok(None);
    }
    let told = Namespaces::connect(&session.server)
        .await?
        .get(name)
        .await?;
    let options = told.options.unwrap_or_default();
    let ttl = options.default_ttl;
    let ttl_ms = ttl.map(|ttl| {
        ttl.seconds.unsigned_abs() * 1000 + u64::from(ttl.nanos.unsigned_abs()) / 1_000_000
    });
    Ok(Some(Namespace {
        id: OWN_NAMESPACE,
        uid: 0,
        name: told.name,
        options: NamespaceOptions {
            by_content: options.key_mode() == v1::KeyMode::Content,
            overwrite: options.overwrite.unwrap_or(true),
            default_ttl_ms: ttl_ms,
            value_size_max: Some(options.value_size_max).filter(|size| *size > 0),
            compress: options.compress.unwrap_or(true),
            dedup: options.dedup.unwrap_or(true),
        },
        created_at: now(),
        dropped: false,
        version: Version(told.version),
    }))
}
