//! `cas`: one change of one key, on the condition that nobody was faster.

use super::exit::{CliError, Exit};
use super::selection::{NamespaceFlag, bytes};
use super::session::Session;
use super::terminal::json_bytes;
use super::upload::Loaded;
use crate::client::{Expect, Keyspace};
use crate::model::{Digest, Version};
use bytes::Bytes;
use serde_json::json;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const DETAILS: &str = "\
The value comes from FILE, from standard input, or from --value; the key's version is printed. When
the condition does not hold, nothing is changed and the exit code is 7: read the key again (`shardkeep
scan --long KEY` tells its version), and decide anew. The server must let keys change
(--allow-user-key --allow-overwrite, or a namespace that does), but for --if-absent.";

/// Changes a key if it is still what it was.
#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
#[command(group = clap::ArgGroup::new("condition").required(true).args(["if_version", "if_absent", "if_digest"]))]
#[command(group = clap::ArgGroup::new("what").args(["file", "value", "delete"]))]
pub struct CasArgs {
    /// The key
    key: OsString,
    /// The file with the value; `-` or nothing is standard input
    file: Option<PathBuf>,
    /// The value itself
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    value: Option<OsString>,
    /// Remove the key
    #[arg(long)]
    delete: bool,
    /// Only if the key has this version
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u64).range(1..))]
    if_version: Option<u64>,
    /// Only if the key is not there
    #[arg(long, conflicts_with = "delete")]
    if_absent: bool,
    /// Only if the value has this BLAKE3 digest
    #[arg(long, value_name = "DIGEST", value_parser = parse_digest)]
    if_digest: Option<Digest>,
    #[command(flatten)]
    namespace: NamespaceFlag,
}

fn parse_digest(text: &str) -> Result<Digest, String> {
    let digest = Digest::parse_hex(text.as_bytes());
    digest.ok_or_else(|| format!("a digest has {} lower-case hex digits", Digest::HEX_SIZE))
}

impl CasArgs {
    fn expect(&self) -> Expect {
        match (self.if_version, self.if_digest) {
            (Some(version), _) => Expect::Version(Version(version)),
            (None, Some(digest)) => Expect::Digest(digest),
            (None, None) => Expect::Absent,
        }
    }

    async fn load(&self) -> Result<Bytes, CliError> {
        if let Some(value) = &self.value {
            return Ok(bytes(value));
        }
        let file = self.file.clone();
        let path = file.filter(|path| path != Path::new("-"));
        let read = tokio::task::spawn_blocking(move || match path {
            Some(path) => Loaded::read_file(&path),
            None => Loaded::read_stdin(),
        });
        let loaded = read.await.expect("reading does not panic")?;
        Ok(loaded.data)
    }
}

/// Runs the command.
///
/// # Errors
/// The condition does not hold, or the server's.
pub async fn run(session: &Session, args: CasArgs) -> Result<Exit, CliError> {
    let keyspace = session.keyspace(&args.namespace).await?;
    match args.delete {
        true => delete(session, &keyspace, &args).await?,
        false => put(session, &keyspace, &args).await?,
    }
    Ok(Exit::Ok)
}

async fn put(session: &Session, keyspace: &Keyspace, args: &CasArgs) -> Result<(), CliError> {
    let (key, value) = (bytes(&args.key), args.load().await?);
    let stored = keyspace.put_if(key, value, args.expect()).await?;
    let told = json!({
        "key": json_bytes(&stored.key),
        "version": stored.version.0,
        "created": stored.created,
        "previous_version": stored.previous.map(|version| version.0),
    });
    let version = stored.version.0.to_string();
    session.terminal.result(&version, &told)
}

async fn delete(session: &Session, keyspace: &Keyspace, args: &CasArgs) -> Result<(), CliError> {
    let key = bytes(&args.key);
    let removed = keyspace.delete_if(key.clone(), args.expect()).await?;
    if session.terminal.is_json() {
        let removed = removed.map(|version| version.0);
        let told = json!({ "key": json_bytes(&key), "removed_version": removed });
        session.terminal.result("", &told)?;
    }
    Ok(())
}
