//! `status`: the store's size and counters, what it holds, and what its groups of writes were like.

use super::exit::{CliError, Exit};
use super::namespace::{overview, values_of};
use super::session::Session;
use crate::client::{ClientError, Namespaces};
use crate::model::{GroupReport, Spread, StoreReport};
use crate::proto::v1;
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
    let (stats, details) = client.stats_in_detail().await?;
    let namespaces = namespaces(session).await?;
    let rows = [
        ("keys", HumanCount(stats.key_count).to_string()),
        ("highest version", HumanCount(stats.max_version).to_string()),
        ("log", HumanBytes(stats.log_bytes).to_string()),
        ("index", HumanBytes(stats.index_bytes).to_string()),
        ("on disk", HumanBytes(stats.disk_bytes()).to_string()),
    ];
    let mut text = format!("shardkeep at {}\n{}", session.server, table(&rows));
    if let Some(details) = &details {
        text.push_str("\nwhat it holds\n");
        text.push_str(&store_table(&details.store));
        text.push_str("\nwrites since its start, all shards\n");
        let writes = &details.writes;
        text.push_str(&group_table(&writes.total, writes.expired_keys));
    }
    if namespaces.len() > 1 {
        text.push_str("\nin its namespaces\n");
        text.push_str(&overview(&namespaces));
    }
    let (store, writes) = details.map(|it| (it.store, it.writes)).unzip();
    let value = json!({
        "server": session.server,
        "keys": stats.key_count,
        "max_version": stats.max_version,
        "log_bytes": stats.log_bytes,
        "index_bytes": stats.index_bytes,
        "disk_bytes": stats.disk_bytes(),
        "store": store,
        "writes": writes,
        "namespaces": values_of(&namespaces),
    });
    session.terminal.result(&text, &value)?;
    Ok(Exit::Ok)
}

/// All namespaces; none of a server that does not know them.
async fn namespaces(session: &Session) -> Result<Vec<v1::Namespace>, CliError> {
    let mut namespaces = Namespaces::connect(&session.server).await?;
    match namespaces.list().await {
        Err(ClientError::Answer { .. }) => Ok(Vec::new()),
        listed => Ok(listed?),
    }
}

/// What the values take, from what clients sent to what is on the disk.
fn store_table(store: &StoreReport) -> String {
    let bytes = |number: u64| HumanBytes(number).to_string();
    let dictionaries = HumanCount(store.dictionaries).to_string();
    let size = bytes(store.dictionary_bytes);
    table(&[
        ("values", bytes(store.logical_bytes)),
        ("values, equal ones once", bytes(store.unique_bytes)),
        ("values, compressed", bytes(store.stored_bytes)),
        ("in the log, for GC to free", bytes(store.dead_bytes)),
        (
            "contents with a home of their own",
            HumanCount(store.blobs).to_string(),
        ),
        ("zstd dictionaries", format!("{dictionaries} ({size})")),
    ])
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

/// How a figure is written.
type Format = fn(f64) -> String;

/// A line a figure: the mean, half, nearly all.
fn group_table(report: &GroupReport, expired_keys: u64) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let groups = HumanCount(report.groups).to_string();
    table.add_row(["groups", &groups, "", ""]);
    let commands = HumanCount(report.commands).to_string();
    table.add_row(["commands", &commands, "", ""]);
    let expired = HumanCount(expired_keys).to_string();
    table.add_row(["expired keys removed", &expired, "", ""]);
    table.add_row(["", "mean", "p50", "p99"]);
    let spread = &report.commands_per_group;
    let mean = format!("{:.1}", spread.mean);
    let [p50, p99] = [spread.p50, spread.p99].map(|it| HumanCount(it).to_string());
    table.add_row(["commands a group", &mean, &p50, &p99]);
    let rows: [(&str, &Spread, Format); 4] = [
        ("bytes a group", &report.bytes_per_group, bytes),
        ("sync of the log", &report.sync_us, micros),
        ("batch of the index", &report.index_us, micros),
        ("wait for the group", &report.wait_us, micros),
    ];
    for (name, spread, format) in rows {
        let [p50, p99] = [spread.p50, spread.p99].map(|it| format(real(it)));
        table.add_row([name, &format(spread.mean), &p50, &p99]);
    }
    for numbers in table.column_iter_mut().skip(1) {
        numbers.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
fn real(number: u64) -> f64 {
    number as f64
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a mean of sizes is no less than 0 and less than 2^53"
)]
fn bytes(mean: f64) -> String {
    HumanBytes(mean.round() as u64).to_string()
}

/// Microseconds in the unit that reads best.
fn micros(us: f64) -> String {
    if us < 1e3 {
        format!("{us:.0} us")
    } else if us < 1e6 {
        format!("{:.1} ms", us / 1e3)
    } else {
        format!("{:.1} s", us / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_reads_best() {
        let told = [0.0, 999.0, 1_250.0, 2_500_000.0].map(micros);
        assert_eq!(told, ["0 us", "999 us", "1.2 ms", "2.5 s"]);
    }

    #[test]
    fn numbers_stand_flush_right() {
        let rows = [("keys", "1,200".to_owned()), ("on disk", "3".to_owned())];
        assert_eq!(table(&rows), " keys     1,200\n on disk      3");
    }
}
