//! `ls` and `stat`: what is there, without reading it.

use super::exit::{CliError, Exit};
use super::list_file::escaped;
use super::session::Session;
use super::terminal::{JsonArray, json_bytes};
use crate::client::{Client, ClientError, Head, Listed};
use serde_json::{Value, json};
use std::ffi::OsString;

/// Requests in flight for one page of a long listing.
const HEADS_IN_FLIGHT: usize = 64;

const DETAILS: &str = r"Keys are listed in byte order. One with a backslash or a line break begins with a backslash, and
has them as \\, \n and \r. Keys that are not UTF-8 are not listed: the protocol leaves them out.

--long writes the size in bytes, the version, the checksum (xxh64) and the key.";

/// Lists keys.
#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct LsArgs {
    /// Only keys that begin with this
    #[arg(default_value = "")]
    prefix: String,
    /// Write the size in bytes, the version and the checksum too
    #[arg(short, long)]
    long: bool,
    /// Stop after so many keys
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<usize>,
}

/// Tells the size, the version and the checksum of a key's value.
#[derive(Debug, clap::Args)]
pub struct StatArgs {
    /// The key
    key: OsString,
}

/// Runs `ls`.
///
/// # Errors
/// What ended it early.
pub async fn list(session: &Session, args: LsArgs) -> Result<Exit, CliError> {
    let client = session.connect().await?;
    let mut left = args.limit.unwrap_or(usize::MAX);
    let mut array = JsonArray::begin(session.terminal, "keys")?;
    let mut count = 0u64;
    let mut more = false;
    for page in 1.. {
        let mut keys = client.list(&args.prefix, page).await?;
        if keys.is_empty() {
            break;
        }
        more = keys.len() > left;
        keys.truncate(left);
        left -= keys.len();
        count += keys.len() as u64;
        write_page(session, &client, &keys, args.long, &mut array).await?;
        if more {
            break;
        }
    }
    array.end(&json!({ "count": count, "more": more }))?;
    Ok(Exit::Ok)
}

async fn write_page(
    session: &Session,
    client: &Client,
    keys: &[Listed],
    long: bool,
    array: &mut JsonArray,
) -> Result<(), CliError> {
    let mut text = Vec::new();
    for batch in keys.chunks(HEADS_IN_FLIGHT) {
        let heads = match long {
            true => heads(client, batch).await?,
            false => vec![None; batch.len()],
        };
        for (listed, head) in batch.iter().zip(heads) {
            match session.terminal.is_json() {
                true => array.push(&json_listed(listed, head))?,
                false => {
                    if let Some(head) = head {
                        text.extend(columns(head).into_bytes());
                    }
                    text.extend(escaped(listed.key.as_bytes()));
                    text.push(b'\n');
                }
            }
        }
    }
    session.terminal.write(&text)
}

/// In the order of the keys; a key that was removed meanwhile has none.
async fn heads(client: &Client, keys: &[Listed]) -> Result<Vec<Option<Head>>, CliError> {
    let asked: Vec<_> = keys
        .iter()
        .map(|listed| {
            let (client, key) = (client.clone(), listed.key.clone());
            tokio::spawn(async move { client.head(key.as_bytes()).await })
        })
        .collect();
    let mut heads = Vec::with_capacity(asked.len());
    for head in asked {
        heads.push(head.await.expect("asking does not panic")?);
    }
    Ok(heads)
}

/// What `--long` writes before a key.
pub fn columns(head: Head) -> String {
    let Head {
        version,
        len,
        sum64,
    } = head;
    format!("{len:>12}  {:>10}  {sum64:016x}  ", version.0)
}

fn json_listed(listed: &Listed, head: Option<Head>) -> Value {
    let mut value = json!({ "key": listed.key, "version": listed.version.0 });
    if let Some(head) = head {
        value["bytes"] = json!(head.len);
        value["sum64"] = json!(format!("{:016x}", head.sum64));
    }
    value
}

/// Runs `stat`.
///
/// # Errors
/// The key is not there, or the server's.
pub async fn stat(session: &Session, args: StatArgs) -> Result<Exit, CliError> {
    let key = args.key.as_encoded_bytes();
    let client = session.connect().await?;
    let missing = || ClientError::NotFound {
        key: key.escape_ascii().to_string(),
    };
    let head = client.head(key).await?.ok_or_else(missing)?;
    let text = format!(
        "key      {}\nbytes    {}\nversion  {}\nsum64    {:016x}",
        String::from_utf8_lossy(&escaped(key)),
        head.len,
        head.version.0,
        head.sum64
    );
    let value = json!({
        "key": json_bytes(key),
        "bytes": head.len,
        "version": head.version.0,
        "sum64": format!("{:016x}", head.sum64),
    });
    session.terminal.result(&text, &value)?;
    Ok(Exit::Ok)
}
