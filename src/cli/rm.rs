//! `rm`: removes keys, one by one or by prefix.

use super::confirm::confirm;
use super::exit::{CliError, Exit};
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
}

/// Runs the command.
///
/// # Errors
/// What ended it early.
pub async fn run(session: &Session, args: RmArgs) -> Result<Exit, CliError> {
    let client = session.connect().await?;
    match &args.prefix {
        Some(prefix) => remove_prefix(session, &client, prefix, args.yes).await,
        None => remove_keys(session, &client, &args).await,
    }
}

async fn remove_keys(session: &Session, client: &Client, args: &RmArgs) -> Result<Exit, CliError> {
    let (mut removed, mut missing) = (0u64, Vec::<Value>::new());
    for key in &args.keys {
        let key = key.as_encoded_bytes();
        // The protocol's Delete answers the same for a miss.
        if client.exists(key).await?.is_none() {
            missing.push(json_bytes(key));
            if !args.force {
                let key = key.escape_ascii();
                session.terminal.warn(&format!("not found: {key}"));
            }
            continue;
        }
        client.delete(key).await?;
        removed += 1;
    }
    if session.terminal.is_json() {
        let value = json!({ "removed": removed, "not_found": missing });
        session.terminal.result("", &value)?;
    }
    match missing.is_empty() || args.force {
        true => Ok(Exit::Ok),
        false => Ok(Exit::NotFound),
    }
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
