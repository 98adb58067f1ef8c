//! `get`: a value to standard output or a file, or many into a folder.

use super::download::{Check, Downloader};
use super::emerging::Emerging;
use super::exit::{CliError, Exit};
use super::get_tree::{GetTree, Wanted};
use super::selection::{NamespaceFlag, SnapshotFlag};
use super::session::Session;
use super::target::Target;
use super::terminal::json_bytes;
use super::upload_large::is_large;
use super::value_type;
use crate::client::{ClientError, Found, Keyspace};
use crate::model::ValueType;
use bytes::Bytes;
use serde_json::json;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const DETAILS: &str = "\
Three ways:
  get KEY                writes the value to standard output, or to --out FILE
  get -r LIST DIR        makes the files of a `key  path` list (of `put`) in DIR
  get -r --prefix P DIR  makes a file in DIR of every key that begins with P; what follows P in the
                         key is the path (user keys)

Every value is verified: by its checksum, and by its BLAKE3 digest when the key is one. Paths that
would leave DIR are refused. A value of more than 8 MiB comes piece by piece and is known to be sound at
its end: to standard output it is written before that, and the exit code tells. A file appears under its name only when it is complete; an older one is
replaced.";

/// Reads a value, or a folder.
#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct GetArgs {
    /// The key; with -r the list (`-` is standard input), or the folder with --prefix
    #[arg(value_name = "KEY|LIST")]
    what: OsString,
    /// The folder to make files in
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Write the value to this file
    #[arg(short, long, value_name = "FILE", conflicts_with = "recursive")]
    out: Option<PathBuf>,
    /// Make many files
    #[arg(short, long)]
    recursive: bool,
    /// Every key that begins with this
    #[arg(long, requires = "recursive", conflicts_with = "dir")]
    prefix: Option<String>,
    /// Keys are the users' own: one that looks like a digest need not be one
    #[arg(long)]
    user_keys: bool,
    /// Requests in flight
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: u16,
    #[command(flatten)]
    namespace: NamespaceFlag,
    #[command(flatten)]
    snapshot: SnapshotFlag,
}

impl GetArgs {
    /// Whether the value is one that only the native protocol knows.
    fn is_native(&self) -> bool {
        !self.namespace.namespace.is_empty() || !self.snapshot.snapshot.is_empty()
    }
}

/// Runs the command.
///
/// # Errors
/// What ended it early; failures of single files are told and counted.
pub async fn run(session: &Session, args: GetArgs) -> Result<Exit, CliError> {
    let check = match args.user_keys || args.prefix.is_some() {
        true => Check::Checksum,
        false => Check::Digest,
    };
    if args.recursive && args.is_native() {
        let message =
            "get -r reads the default namespace as it is now: leave --namespace and --snapshot out";
        return Err(CliError::Usage(message.to_owned()));
    }
    if !args.recursive {
        return get_one(session, &args, check).await;
    }
    let (wanted, dir) = match (args.prefix, args.dir) {
        (Some(prefix), _) => (Wanted::Prefix(prefix), PathBuf::from(args.what)),
        (None, Some(dir)) => (Wanted::List(PathBuf::from(args.what)), dir),
        (None, None) => {
            let message = "get -r needs a list and a folder, or --prefix and a folder";
            return Err(CliError::Usage(message.to_owned()));
        }
    };
    let tree = GetTree {
        wanted,
        dir,
        jobs: args.jobs,
        check,
    };
    tree.run(session).await
}

async fn get_one(session: &Session, args: &GetArgs, check: Check) -> Result<Exit, CliError> {
    if let Some(dir) = &args.dir {
        let message = format!("{}: a folder is made with -r", dir.display());
        return Err(CliError::Usage(message));
    }
    let out = args.out.as_deref().filter(|out| *out != Path::new("-"));
    if session.terminal.is_json() && out.is_none() {
        let message = "get writes the value itself: --output json needs --out FILE";
        return Err(CliError::Usage(message.to_owned()));
    }
    let key = args.what.as_encoded_bytes();
    let got = session
        .interrupt
        .or_stop(fetch_one(session, args, (key, out), check));
    let written = match (got.await?, out) {
        (Got::Written(written), _) => written,
        (Got::Whole(found, _), None) => {
            session.terminal.write(&found.data)?;
            return Ok(Exit::Ok);
        }
        (Got::Whole(found, value_type), Some(out)) => {
            Target::write_file(out, &found.data)?;
            Written {
                bytes: found.data.len() as u64,
                version: found.version.0,
                sum64: found.sum64,
                value_type,
            }
        }
    };
    if let Some(out) = out.filter(|_| session.terminal.is_json()) {
        let value = json!({
            "key": json_bytes(key),
            "file": json_bytes(out.as_os_str().as_encoded_bytes()),
            "bytes": written.bytes,
            "version": written.version,
            "sum64": format!("{:016x}", written.sum64),
            "type": value_type::word(written.value_type),
        });
        session.terminal.result("", &value)?;
    }
    Ok(Exit::Ok)
}

/// A value that was asked for.
enum Got {
    /// In memory.
    Whole(Found, ValueType),
    /// Where it was to go, piece by piece.
    Written(Written),
}

/// What is told of a value that was written.
struct Written {
    bytes: u64,
    version: u64,
    sum64: u64,
    value_type: ValueType,
}

async fn fetch_one(
    session: &Session,
    args: &GetArgs,
    (key, out): (&[u8], Option<&Path>),
    check: Check,
) -> Result<Got, CliError> {
    let client = session.connect().await?;
    let keyspace = client.database().keyspace(&args.namespace.namespace);
    let keyspace = keyspace.at_id(&args.snapshot.snapshot);
    let downloader = Downloader::new(client, check);
    let head = keyspace.head(Bytes::copy_from_slice(key)).await?;
    let (len, value_type) = head.map_or_else(Default::default, |it| (it.len, it.value_type));
    if !is_large(len) {
        let found = match args.is_native() {
            true => get_native(&keyspace, key).await,
            false => downloader.fetch(key).await,
        };
        return Ok(Got::Whole(found?, value_type));
    }
    let entry = match out {
        Some(out) => {
            let file = Emerging::at(out)?;
            downloader.fetch_from(&keyspace, key, file).await?
        }
        None => {
            let mut pieces = downloader.begin(&keyspace, key).await?;
            while let Some(piece) = pieces.next().await? {
                session.terminal.write(&piece)?;
            }
            pieces.download.entry
        }
    };
    Ok(Got::Written(Written {
        bytes: entry.len,
        version: entry.version.0,
        sum64: entry.sum64,
        value_type: entry.value_type,
    }))
}

/// A value of a namespace, or as of a snapshot.
async fn get_native(keyspace: &Keyspace, key: &[u8]) -> Result<Found, CliError> {
    let value = keyspace.get(Bytes::copy_from_slice(key)).await?;
    let value = value.ok_or_else(|| ClientError::not_found(key))?;
    Ok(Found {
        version: value.entry.version,
        sum64: value.entry.sum64,
        data: value.data,
    })
}
