//! `put`: stores files, folders or standard input.

use super::confine::slashed;
use super::exit::{CliError, Exit};
use super::input::Input;
use super::list_file::escaped;
use super::outline::Outline;
use super::progress::Progress;
use super::put_tree::PutTree;
use super::selection::{NamespaceFlag, bytes};
use super::session::Session;
use super::terminal::json_bytes;
use super::upload::{How, Loaded, Naming, Stored, Uploader};
use super::{value_type, walk};
use crate::client::PutOptions;
use crate::exchange::put_chunked;
use crate::model::ValueType;
use bytes::Bytes;
use serde_json::json;
use std::path::{Path, PathBuf};

const DETAILS: &str = r"Keys:
  A value's key is the BLAKE3 digest of its bytes. One value: prints its key. Several files, or -r:
  prints `key  path` lines, as b3sum does; `get -r` turns them back into a folder. A line whose path
  holds a backslash or a line break begins with a backslash, and has them as \\, \n and \r.
  With --user-keys, for a server that keeps them, a file's key is its path, after --prefix.

Folders:
  Paths are relative to the given folder; of several folders, they begin with the folder's own name.
  Symbolic links are not followed. Names and bytes are kept, times and permissions are not.

What the server has is not sent. Interrupted or failed, run it again: it goes on where it was.";

/// Stores files, folders or standard input.
#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct PutArgs {
    /// Files, or folders with -r; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    paths: Vec<PathBuf>,
    /// Store folders with everything in them
    #[arg(short, long, requires = "paths")]
    recursive: bool,
    /// The server keeps user keys (`serve --allow-user-key`): a file's key is its path
    #[arg(long)]
    user_keys: bool,
    /// The key of a single value
    #[arg(long, conflicts_with_all = ["recursive", "prefix"])]
    key: Option<std::ffi::OsString>,
    /// Put this before every path to make its key
    #[arg(long, value_name = "PREFIX", requires = "user_keys")]
    prefix: Option<String>,
    /// Requests in flight
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: u16,
    /// Leave empty files out: user keys cannot hold them
    #[arg(long)]
    skip_empty: bool,
    /// The value itself, instead of a file
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with_all = ["paths", "recursive", "prefix"])]
    value: Option<std::ffi::OsString>,
    /// What the value is to all clients; one of up to 8 MiB is checked
    #[arg(long = "type", value_name = "TYPE", value_parser = value_type::parser(), conflicts_with_all = ["recursive", "prefix"])]
    value_type: Option<ValueType>,
    #[command(flatten)]
    namespace: NamespaceFlag,
}

impl PutArgs {
    /// Whether the value is one that only the native protocol takes so.
    fn is_native(&self) -> bool {
        self.value.is_some() || self.value_type.is_some() || !self.namespace.namespace.is_empty()
    }
}

/// Runs the command.
///
/// # Errors
/// What ended it early; failures of single files are told and counted.
pub async fn run(session: &Session, args: PutArgs) -> Result<Exit, CliError> {
    let naming = match args.user_keys {
        true => Naming::User {
            prefix: args.prefix.clone().unwrap_or_default().into_bytes(),
        },
        false => Naming::Content,
    };
    if args.is_native() {
        return session.interrupt.or_stop(put_native(session, &args)).await;
    }
    if args.key.is_some() && !args.user_keys {
        let message = "--key names a value where keys are the users' own: say --user-keys too";
        return Err(CliError::Usage(message.to_owned()));
    }
    if args.recursive {
        let sources = walk::sources(&args.paths)?;
        return put_many(session, &args, naming, sources).await;
    }
    match args.paths.as_slice() {
        [] => put_one(session, &args, naming, Path::new("-")).await,
        [path] => put_one(session, &args, naming, path).await,
        paths if args.key.is_some() => Err(CliError::Usage(format!(
            "--key names one value, and {} files are given",
            paths.len()
        ))),
        paths => {
            let sources = walk::files(paths)?;
            put_many(session, &args, naming, sources).await
        }
    }
}

async fn put_many(
    session: &Session,
    args: &PutArgs,
    naming: Naming,
    sources: Vec<walk::Source>,
) -> Result<Exit, CliError> {
    let lists = matches!(naming, Naming::Content);
    let tree = PutTree {
        sources,
        jobs: args.jobs,
        skip_empty: args.skip_empty,
        lists,
    };
    tree.run(session, naming).await
}

async fn put_one(
    session: &Session,
    args: &PutArgs,
    naming: Naming,
    path: &Path,
) -> Result<Exit, CliError> {
    let name = match (&args.key, args.user_keys) {
        (Some(key), _) => key.as_encoded_bytes().to_vec(),
        (None, true) => key_of(path)?,
        (None, false) => Vec::new(),
    };
    let stored = session
        .interrupt
        .or_stop(store_one(session, naming, path, &name));
    let stored = stored.await?;
    let key = format_key(&stored);
    session.terminal.result(
        &key,
        &json!({
            "key": json_bytes(&stored.key),
            "bytes": stored.len,
            "already_there": stored.how == How::Present,
        }),
    )?;
    Ok(Exit::Ok)
}

/// One value that is given as it is, or for a namespace: it goes the way of the native protocol.
async fn put_native(session: &Session, args: &PutArgs) -> Result<Exit, CliError> {
    let path = match args.paths.as_slice() {
        _ if args.recursive || args.prefix.is_some() => None,
        [] => Some(Path::new("-")),
        [path] => Some(path.as_path()),
        _ => None,
    };
    let path = path.ok_or_else(|| {
        let message =
            "--namespace and --type take one value at a time: a file, standard input, or --value";
        CliError::Usage(message.to_owned())
    })?;
    let value = match &args.value {
        Some(value) => Input::Whole(Loaded::of(bytes(value))),
        None => Input::take(path).await?,
    };
    let key = match &args.key {
        Some(key) => bytes(key),
        // Where values stand under their digest; elsewhere the server says that it is missing.
        None => Bytes::new(),
    };
    let keyspace = session.keyspace(&args.namespace).await?;
    let options = PutOptions {
        value_type: args.value_type.unwrap_or_default(),
        ..PutOptions::default()
    };
    let stored = match value {
        Input::Whole(loaded) => {
            value_type::check(&loaded.data, options.value_type)?;
            keyspace.put_with(key, loaded.data, options).await?
        }
        Input::Large(file) => {
            let progress = reading(session, file.len);
            let outline = Outline::read(file.path(), &progress).await?;
            let put = put_chunked((&keyspace, &key), &outline, &options, &progress);
            put.await?.1
        }
    };
    let text = String::from_utf8_lossy(&escaped(&stored.key)).into_owned();
    let told = json!({
        "key": json_bytes(&stored.key),
        "version": stored.version.0,
        "created": stored.created,
        "already_there": stored.deduplicated,
    });
    session.terminal.result(&text, &told)?;
    Ok(Exit::Ok)
}

async fn store_one(
    session: &Session,
    naming: Naming,
    path: &Path,
    name: &[u8],
) -> Result<Stored, CliError> {
    if path.is_dir() {
        let path = path.display();
        return Err(CliError::Usage(format!("{path} is a folder: add -r")));
    }
    let client = session.connect().await?;
    let uploader = Uploader::new(client, naming);
    match Input::take(path).await? {
        Input::Whole(loaded) => uploader.store(name, loaded).await,
        Input::Large(file) => {
            let progress = reading(session, file.len);
            uploader.store_large(name, file.path(), progress).await
        }
    }
}

/// The progress of a large value, which is read before it is sent.
fn reading(session: &Session, len: u64) -> Progress {
    let progress = Progress::bytes(session.terminal, Some(len));
    progress.message("reading");
    progress
}

/// Keys are bytes; on a line of their own they are escaped as in a list.
fn format_key(stored: &Stored) -> String {
    String::from_utf8_lossy(&escaped(&stored.key)).into_owned()
}

fn key_of(path: &Path) -> Result<Vec<u8>, CliError> {
    if path == Path::new("-") {
        let message = "standard input has no path to make a key of: give one with --key";
        return Err(CliError::Usage(message.to_owned()));
    }
    Ok(slashed(&walk::given_name(path)?))
}
