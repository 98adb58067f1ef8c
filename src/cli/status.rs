//! `status`: the store's size and counters.

use super::exit::{CliError, Exit};
use super::session::Session;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

/// Runs the command. Needs no password.
///
/// # Errors
/// The server's.
pub async fn run(session: &Session) -> Result<Exit, CliError> {
    let client = session.connect().await?;
    let stats = client.stats().await?;
    let rows = [
        ("keys", HumanCount(stats.key_count).to_string()),
        ("highest version", HumanCount(stats.max_version).to_string()),
        ("log", HumanBytes(stats.log_bytes).to_string()),
        ("index", HumanBytes(stats.index_bytes).to_string()),
        ("on disk", HumanBytes(stats.disk_bytes()).to_string()),
    ];
    let text = format!("shardkeep at {}\n{}", session.server, table(&rows));
    let value = json!({
        "server": session.server,
        "keys": stats.key_count,
        "max_version": stats.max_version,
        "log_bytes": stats.log_bytes,
        "index_bytes": stats.index_bytes,
        "disk_bytes": stats.disk_bytes(),
    });
    session.terminal.result(&text, &value)?;
    Ok(Exit::Ok)
}

/// Names on the left, numbers flush right.
pub(super) fn table(rows: &[(&str, String)]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    for (name, number) in rows {
        table.add_row([*name, number.as_str()]);
    }
    if let Some(numbers) = table.column_mut(1) {
        numbers.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_flush_right() {
        let rows = [("keys", "1,200".to_owned()), ("on disk", "3".to_owned())];
        assert_eq!(table(&rows), " keys     1,200\n on disk      3");
    }
}
