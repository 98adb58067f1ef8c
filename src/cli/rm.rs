//! `rm`: removes keys, one by one or by prefix.

use super::confirm::confirm;
use super::exit::{CliError, Exit};
use super::selection::{NamespaceFlag, bytes};
use super::session::Session;
use super::terminal::json_bytes;
use crate::client::{Client, Keyspace, Query};
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};

/// Removes keys.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["keys", "prefix"]))]
pub struct RmArgs {
    /// The keys
    #[arg(value_name = "KEY")]
    keys: Vec<OsString>,
    /// Every key that begins with this; asks first
    #[arg(long)]
    prefix: Option<OsString>,
    /// Only tell how many keys that would remove
    #[arg(long, requires = "prefix")]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// A key that is not there is no failure
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    namespace: NamespaceFlag,
}

/// Runs the command.
///
/// # Errors
/// What ended it early.
pub async fn run(session: &Session, args: RmArgs) -> Result<Exit, CliError> {
    if let Some(prefix) = &args.prefix {
        return remove_prefix(session, &args, prefix).await;
    }
    if !args.namespace.namespace.is_empty() {
        return remove_of_namespace(session, &args).await;
    }
    let client = session.connect().await?;
    remove_keys(session, &client, &args).await
}

/// Keys of a namespace; a whole one goes with `ns drop`.
async fn remove_of_namespace(session: &Session, args: &RmArgs) -> Result<Exit, CliError> {
    let keyspace = session.keyspace(&args.namespace).await?;
    let mut gone = Gone::default();
    for key in &args.keys {
        let was_there = keyspace.delete(bytes(key)).await?;
        gone.note(session, args, key.as_encoded_bytes(), was_there);
    }
    gone.tell(session, args)
}

/// What became of the keys.
#[derive(Debug, Default)]
struct Gone {
    removed: u64,
    missing: Vec<Value>,
}

impl Gone {
    fn note(&mut self, session: &Session, args: &RmArgs, key: &[u8], was_there: bool) {
        if was_there {
            self.removed += 1;
            return;
        }
        self.missing.push(json_bytes(key));
        if !args.force {
            let key = key.escape_ascii();
            session.terminal.warn(&format!("not found: {key}"));
        }
    }

    fn tell(self, session: &Session, args: &RmArgs) -> Result<Exit, CliError> {
        if session.terminal.is_json() {
            let value = json!({ "removed": self.removed, "not_found": self.missing });
            session.terminal.result("", &value)?;
        }
        match self.missing.is_empty() || args.force {
            true => Ok(Exit::Ok),
            false => Ok(Exit::NotFound),
        }
    }
}

async fn remove_keys(session: &Session, client: &Client, args: &RmArgs) -> Result<Exit, CliError> {
    let mut gone = Gone::default();
    for key in &args.keys {
        let key = key.as_encoded_bytes();
        // The protocol's Delete answers the same for a miss.
        let was_there = client.exists(key).await?.is_some();
        if was_there {
            client.delete(key).await?;
        }
        gone.note(session, args, key, was_there);
    }
    gone.tell(session, args)
}

async fn remove_prefix(session: &Session, args: &RmArgs, prefix: &OsStr) -> Result<Exit, CliError> {
    let keyspace = session.keyspace(&args.namespace).await?;
    let (which, query) = match prefix.is_empty() {
        // No key is empty, so this is the first that can be.
        true => ("ALL keys".to_owned(), Query::range("\0", "")),
        false => {
            let shown = prefix.as_encoded_bytes().escape_ascii();
            let which = format!("every key that begins with \"{shown}\"");
            (which, Query::prefix(bytes(prefix)))
        }
    };
    let of = match args.namespace.namespace.as_str() {
        "" => session.server.clone(),
        name => format!("{name} at {}", session.server),
    };
    if args.dry_run || !args.yes {
        let count = count(&keyspace, query.clone()).await?;
        if args.dry_run {
            let told = json!({ "would_remove": count });
            session.terminal.result(&format!("{count} keys"), &told)?;
            return Ok(Exit::Ok);
        }
        confirm(&format!("remove {which} from {of} ({count} keys)?")).await?;
    }
    let removed = keyspace.delete_range(&query).await?;
    if session.terminal.is_json() {
        let value = json!({ "removed": removed });
        session.terminal.result("", &value)?;
    }
    session.terminal.note(&format!("{removed} keys removed"));
    Ok(Exit::Ok)
}

/// How many keys there are.
async fn count(keyspace: &Keyspace, query: Query) -> Result<u64, CliError> {
    let mut rows = keyspace.scan(query).await?;
    let mut count = 0;
    while let Some(page) = rows.next_page().await? {
        count += page.len() as u64;
    }
    Ok(count)
}
