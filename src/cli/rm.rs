//! `rm`: removes keys, one by one or by prefix.

use super::confirm::confirm;
use super::exit::{CliError, Exit};
use super::selection::{NamespaceFlag, bytes};
use super::session::Session;
use super::terminal::json_bytes;
use crate::client::Client;
use crate::model::Key;
use serde_json::{Value, json};
use std::ffi::OsString;

/// Removes keys.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["keys", "prefix"]))]
pub struct RmArgs {
    /// The keys
    #[arg(value_name = "KEY")]
    keys: Vec<OsString>,
    /// Every key that begins with this; asks first
    #[arg(long)]
    prefix: Option<String>,
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
    if !args.namespace.namespace.is_empty() {
        return remove_of_namespace(session, &args).await;
    }
    let client = session.connect().await?;
    match &args.prefix {
        Some(prefix) => remove_prefix(session, &client, prefix, args.yes).await,
        None => remove_keys(session, &client, &args).await,
    }
}

/// Keys of a namespace; a whole one goes with `ns drop`.
async fn remove_of_namespace(session: &Session, args: &RmArgs) -> Result<Exit, CliError> {
    if args.prefix.is_some() {
        let message = "--prefix removes keys of the default namespace: leave --namespace out";
        return Err(CliError::Usage(message.to_owned()));
    }
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

async fn remove_prefix(
    session: &Session,
    client: &Client,
    prefix: &str,
    yes: bool,
) -> Result<Exit, CliError> {
    let (which, count) = match prefix {
        "" => ("ALL keys".to_owned(), client.stats().await?.key_count),
        _ => {
            Key::new(prefix.as_bytes())?;
            let count = client.count(prefix.as_bytes()).await?;
            (format!("every key that begins with {prefix:?}"), count)
        }
    };
    if !yes {
        confirm(&format!(
            "remove {which} from {} ({count} keys)?",
            session.server
        ))
        .await?;
    }
    let mut removed = 0u64;
    // What is removed moves the pages: the first page again and again is all of them.
    loop {
        let keys = client.list(prefix, 1).await?;
        if keys.is_empty() {
            break;
        }
        for listed in &keys {
            client.delete(listed.key.as_bytes()).await?;
        }
        removed += keys.len() as u64;
    }
    let text = format!("{removed} keys removed");
    if session.terminal.is_json() {
        let value = json!({ "removed": removed });
        session.terminal.result("", &value)?;
    }
    session.terminal.note(&text);
    Ok(Exit::Ok)
}
