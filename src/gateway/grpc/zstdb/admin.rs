//! Admin, and Status, its older face.

use super::errcode::text;
use super::{archive, json, reply};
use crate::model::{Error, Result, StatusReport, StoreReport};
use crate::proto::zstdb::{Item, ItemReply};
use crate::service::Service;
use bytes::Bytes;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Instant;

/// Runs a command for an administrator. What is not a command is answered with nothing.
pub(super) async fn admin(service: &Service, item: Item) -> ItemReply {
    match command(&item.key).as_slice() {
        b"status" => admin_status(service, item.key).await,
        b"sync" => done_or_failed(service.sync().await, item.key),
        b"gc" => gc(service, item.key).await,
        b"purge" => done_or_failed(service.purge_tombstones().await, item.key),
        b"backup" => archive::backup(service, item).await,
        b"restore" => archive::restore(service, item).await,
        b"stop" => {
            // It returns at once; the drain that it starts delivers this answer.
            service.stop();
            reply::key_data(item.key, json::done(true))
        }
        _ => reply::key(item.key),
    }
}

/// Runs a command of the older face for an administrator.
pub(super) async fn status(service: &Service, item: Item) -> ItemReply {
    match command(&item.key).as_slice() {
        b"stats" => stats(service, item).await,
        b"backup" => archive::backup(service, item).await,
        b"restore" => archive::restore(service, item).await,
        _ => reply::key(item.key),
    }
}

/// The older face for everyone else: reading is free, what changes something is refused.
pub(super) async fn open_status(service: &Service, item: Item, denied: &Error) -> ItemReply {
    match command(&item.key).as_slice() {
        b"stats" => stats(service, item).await,
        b"backup" | b"restore" => reply::of_error(denied, item.key),
        _ => reply::key(item.key),
    }
}

fn command(key: &[u8]) -> Vec<u8> {
    key.to_ascii_lowercase()
}

async fn admin_status(service: &Service, key: Bytes) -> ItemReply {
    let started = Instant::now();
    match service.stats().await {
        Ok(stats) => {
            let mut members = members(&stats);
            members.insert("elapse_ms", started.elapsed().as_millis().to_string());
            reply::key_data(key, json::line(&members))
        }
        Err(error) => reply::of_error(&error, key),
    }
}

async fn stats(service: &Service, item: Item) -> ItemReply {
    match service.report().await {
        Ok(report) => {
            let line = stats_line(&report, asks_for_details(&item.data));
            reply::key_data(item.key, line)
        }
        Err(error) => reply::of_error(&error, item.key),
    }
}

/// `{"with":"details"}`. zstdb looks at no data here, so whatever else comes asks for nothing.
fn asks_for_details(data: &[u8]) -> bool {
    json::strings(data).is_ok_and(|asked| asked.get("with").is_some_and(|it| it == "details"))
}

/// The details are only for who asks: they are no strings, which zstdb's clients expect.
fn stats_line(report: &StatusReport, in_detail: bool) -> String {
    let members = members(&report.store).into_iter();
    let mut line: BTreeMap<_, _> = members.map(|(name, it)| (name, json!(it))).collect();
    if in_detail {
        line.insert("details", json!(report));
    }
    json::line(&line)
}

/// In badger's words: its LSM tree is our index, its value log our log.
fn members(stats: &StoreReport) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("key_count", stats.key_count.to_string()),
        ("lsm_size", stats.index_bytes.to_string()),
        ("max_version", stats.max_version.to_string()),
        ("vlog_size", stats.log_bytes.to_string()),
    ])
}

async fn gc(service: &Service, key: Bytes) -> ItemReply {
    match service.gc().await {
        Ok(true) => reply::key_data(key, json::done(true)),
        Ok(false) => ItemReply {
            status: Bytes::from_static(text::GC_NOTHING.as_bytes()),
            ..reply::key_data(key, json::done(false))
        },
        Err(error) => reply::of_error(&error, key),
    }
}

fn done_or_failed(result: Result<()>, key: Bytes) -> ItemReply {
    match result {
        Ok(()) => reply::key_data(key, json::done(true)),
        Err(error) => reply::of_error(&error, key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_are_strings_under_badgers_names() {
        let report = StatusReport::default();
        assert_eq!(
            stats_line(&report, false),
            "{\"key_count\":\"0\",\"lsm_size\":\"0\",\"max_version\":\"0\",\"vlog_size\":\"0\"}\n"
        );
    }

    #[test]
    fn only_who_asks_for_details_gets_them() {
        assert!(asks_for_details(br#"{"with":"details"}"#));
        for other in ["", "null", "{}", r#"{"with":"reads"}"#, "writes"] {
            assert!(!asks_for_details(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn commands_are_read_without_regard_to_case() {
        assert_eq!(command(b"StAtUs"), b"status");
        assert_eq!(command(b""), b"");
    }
}
