//! Administration from outside: who may, what each command of Admin and Status answers, backups on
//! demand and by the clock, and what a server says of its health when it stops.

mod support;

use bytes::Bytes;
use serde_json::Value;
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use shardkeep::proto::zstdb::{Item, ItemReply, ListFilter};
use std::fs;
use std::path::{Path, PathBuf};
use support::{
    ADMIN_PASSWORD, Builder, PATIENCE, Server, command_of, eventually, key_of, noise, set_of,
};
use tempfile::TempDir;
use tonic::Streaming;
use tonic::transport::Channel;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use xxhash_rust::xxh64::xxh64;

const DAILY: &str = r#"{"path":"daily"}"#;

type Client = BadgerClient<Channel>;

/// The two calls that take commands.
#[derive(Debug, Clone, Copy)]
enum Face {
    Admin,
    Status,
}

/// A server of user keys that does nothing by itself: one chore refuses another while it runs.
fn keyed() -> Builder {
    let builder = Server::builder().flag("--allow-user-key");
    builder.set("gc.check_interval", "24h")
}

async fn call(client: &mut Client, face: Face, order: Item) -> ItemReply {
    let reply = match face {
        Face::Admin => client.admin(order).await,
        Face::Status => client.status(order).await,
    };
    reply.unwrap().into_inner()
}

/// The JSON in an answer that must be a success and echo its command.
fn object(reply: &ItemReply, command: &str) -> Value {
    assert_eq!(reply.errcode, 0, "{command}: {reply:?}");
    assert_eq!(reply.key, command, "{reply:?}");
    serde_json::from_slice(&reply.data).unwrap()
}

async fn stats(client: &mut Client) -> Value {
    let reply = call(client, Face::Status, command_of("stats", "")).await;
    object(&reply, "stats")
}

/// Success with nothing but the key.
fn only_key(key: &'static [u8]) -> ItemReply {
    ItemReply {
        key: Bytes::from_static(key),
        ..ItemReply::default()
    }
}

async fn set(client: &mut Client, key: &'static [u8], value: impl Into<Bytes>) {
    let reply = client.set(set_of(key, value)).await.unwrap();
    assert_eq!(reply.into_inner(), only_key(key));
}

async fn get(client: &mut Client, key: &'static [u8]) -> ItemReply {
    client.get(key_of(key)).await.unwrap().into_inner()
}

/// The value's bytes, of a Get that must find it.
async fn value(client: &mut Client, key: &'static [u8]) -> Bytes {
    let found = get(client, key).await;
    assert_eq!(found.errcode, 0, "{found:?}");
    found.data
}

/// Copies a backup into a server's backup directory and restores it there.
async fn restore(backup: &Path, server: &Server, face: Face) {
    let name = backup.file_name().unwrap().to_str().unwrap();
    fs::copy(backup, server.data_dir().join("backups").join(name)).unwrap();
    let order = serde_json::json!({ "path": name }).to_string();
    let mut client = server.client().await;
    let reply = call(&mut client, face, command_of("restore", &order)).await;
    let expected = serde_json::json!({ "path": name, "target": "ok" });
    assert_eq!(object(&reply, "restore"), expected);
}

#[tokio::test]
async fn a_wrong_checksum_of_the_password_administrates_nothing() {
    let server = keyed().start().await;
    let mut client = server.client().await;
    for sum64 in [0, 1, xxh64(b"wrong", 0)] {
        for (face, command) in [
            (Face::Admin, "status"),
            (Face::Admin, "sync"),
            (Face::Admin, "gc"),
            (Face::Admin, "backup"),
            (Face::Admin, "restore"),
            (Face::Admin, "Stop"),
            (Face::Admin, "no such command"),
            (Face::Status, "backup"),
            (Face::Status, "restore"),
            (Face::Status, "BACKUP"),
        ] {
            let order = command_of(command, DAILY);
            let reply = call(&mut client, face, Item { sum64, ..order }).await;
            let refused = ItemReply {
                errcode: 403,
                status: Bytes::from_static(b"Forbidden"),
                ..only_key(command.as_bytes())
            };
            assert_eq!(reply, refused, "{face:?}");
        }
    }
    let backups = fs::read_dir(server.data_dir().join("backups")).unwrap();
    assert_eq!(backups.count(), 0);
    server.assert_answers().await;
    server.stop().await;
}

#[tokio::test]
async fn the_checksum_of_the_password_opens_both_faces() {
    let server = keyed().start().await;
    let mut client = server.client().await;
    set(&mut client, b"k", "value").await;
    for (face, path) in [(Face::Admin, "admin"), (Face::Status, "status")] {
        let data = serde_json::json!({ "path": path }).to_string();
        let order = Item {
            key: Bytes::from_static(b"backup"),
            data: Bytes::from(data),
            sum64: xxh64(ADMIN_PASSWORD.as_bytes(), 0),
            ..Item::default()
        };
        let made = object(&call(&mut client, face, order).await, "backup");
        let target = made["target"].as_str().unwrap().to_owned();
        let order = serde_json::json!({ "path": target }).to_string();
        let reply = call(&mut client, face, command_of("restore", &order)).await;
        assert_eq!(object(&reply, "restore")["target"], "ok", "{face:?}");
    }
    assert_eq!(value(&mut client, b"k").await, "value");
    server.stop().await;
}

#[tokio::test]
async fn stats_of_status_are_told_to_everyone_and_those_of_admin_are_not() {
    let server = keyed().start().await;
    let mut client = server.client().await;
    set(&mut client, b"k", "value").await;
    let stranger = |command| Item {
        sum64: 0,
        ..command_of(command, "")
    };
    let told = call(&mut client, Face::Status, stranger("stats")).await;
    let told = object(&told, "stats");
    let known = stats(&mut client).await;
    assert_eq!(told["key_count"], known["key_count"]);
    assert_eq!(told["max_version"], known["max_version"]);
    let unknown = call(&mut client, Face::Status, stranger("no such command")).await;
    assert_eq!(unknown, only_key(b"no such command"));
    let refused = call(&mut client, Face::Admin, stranger("status")).await;
    assert_eq!(refused.errcode, 403);
    server.stop().await;
}

#[tokio::test]
async fn stats_of_status_are_four_numbers_as_strings() {
    let server = keyed().start().await;
    let mut client = server.client().await;
    set(&mut client, b"one", "value").await;
    set(&mut client, b"two", "value").await;
    let stats = stats(&mut client).await;
    let mut names: Vec<_> = stats.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["key_count", "lsm_size", "max_version", "vlog_size"]);
    let number = |name: &str| stats[name].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!((number("key_count"), number("max_version")), (2, 2));
    assert!(number("vlog_size") > 0, "{stats}");
    number("lsm_size");
    server.stop().await;
}

#[tokio::test]
async fn a_backup_of_one_server_is_restored_into_another() {
    let source = keyed().start().await;
    let mut client = source.client().await;
    set(&mut client, b"small", "value").await;
    // Large enough for a home of its own.
    set(&mut client, b"large", noise(1, 20_000)).await;
    set(&mut client, b"gone", "value").await;
    let deleted = client.delete(key_of("gone")).await.unwrap();
    assert_eq!(deleted.into_inner(), only_key(b"gone"));

    let max = stats(&mut client).await["max_version"].clone();
    let max = max.as_str().unwrap();
    let order = command_of("backup", r#"{"path":"daily","note":"kept"}"#);
    let made = object(&call(&mut client, Face::Status, order).await, "backup");
    let backups = source.data_dir().join("backups");
    let target = backups.join(format!("daily_[0-{max}].zstdb.bak"));
    let target_text = target.to_str().unwrap();
    let expected = serde_json::json!({ "path": "daily", "note": "kept", "target": target_text });
    assert_eq!(made, expected);

    let other = keyed().start().await;
    restore(&target, &other, Face::Status).await;
    let mut restored = other.client().await;
    assert_eq!(value(&mut restored, b"small").await, "value");
    assert!(value(&mut restored, b"large").await == noise(1, 20_000));
    for key in [&b"small"[..], b"large", b"gone"] {
        let (before, after) = (get(&mut client, key).await, get(&mut restored, key).await);
        assert!(before == after, "{}", key.escape_ascii());
    }
    assert_eq!(stats(&mut restored).await["max_version"], max);
    source.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn sync_and_gc_say_what_was_done_and_what_is_no_command_says_nothing() {
    let server = keyed().start().await;
    let mut client = server.client().await;
    set(&mut client, b"k", "value").await;
    let synced = call(&mut client, Face::Admin, command_of("sync", "")).await;
    assert_eq!(
        object(&synced, "sync"),
        serde_json::json!({ "done": 1 }),
        "{synced:?}"
    );
    let collected = call(&mut client, Face::Admin, command_of("gc", "")).await;
    let done = object(&collected, "gc")["done"].as_u64().unwrap();
    assert!(done <= 1, "{collected:?}");
    // Only "nothing to do" has a text.
    assert_eq!(collected.status.is_empty(), done == 1, "{collected:?}");
    for command in ["no such command", "stats", ""] {
        let reply = call(&mut client, Face::Admin, command_of(command, "")).await;
        assert_eq!(reply, only_key(command.as_bytes()));
    }
    server.stop().await;
}

#[tokio::test]
async fn after_a_purge_an_increment_from_before_becomes_a_full_backup() {
    let server = keyed().start().await;
    let mut client = server.client().await;
    set(&mut client, b"kept", "value").await;
    set(&mut client, b"gone", "value").await;
    client.delete(key_of("gone")).await.unwrap();
    let since_two = command_of("backup", r#"{"path":"daily","since":"2"}"#);
    let before = call(&mut client, Face::Admin, since_two.clone()).await;
    let target = |reply: &ItemReply| {
        object(reply, "backup")["target"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(target(&before).ends_with("daily_[2-3].zstdb.bak"));
    let purged = call(&mut client, Face::Admin, command_of("purge", "")).await;
    assert_eq!(object(&purged, "purge")["done"], 1);
    let after = call(&mut client, Face::Admin, since_two).await;
    assert!(
        target(&after).ends_with("daily_[0-3].zstdb.bak"),
        "{after:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_stop_is_answered_and_the_process_ends_well() {
    let dir = TempDir::new().unwrap();
    let mut server = keyed().data_dir(dir.path()).start().await;
    let mut client = server.client().await;
    set(&mut client, b"k", "value").await;
    let reply = call(&mut client, Face::Admin, command_of("stop", "")).await;
    assert_eq!(object(&reply, "stop"), serde_json::json!({ "done": 1 }));
    let status = server.exited().await;
    assert_eq!(status.code(), Some(0), "{}", server.log());

    let server = keyed().data_dir(dir.path()).start().await;
    let mut client = server.client().await;
    assert_eq!(value(&mut client, b"k").await, "value");
    server.stop().await;
}

/// A scheduled backup in a folder that holds everything up to `max`.
fn scheduled_backup(folder: &Path, max: &str) -> Option<PathBuf> {
    let ending = format!("_[0-{max}].zstdb.bak");
    let is_it = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("auto-") && name.ends_with(&ending))
    };
    // The folder is made by the first of them.
    let entries = fs::read_dir(folder).ok()?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find(is_it)
}

#[tokio::test]
async fn a_scheduled_backup_appears_and_can_be_restored() {
    let schedule = ["--auto-backup-dir", "auto", "--auto-backup-every"];
    let source = keyed().flags(schedule).flag("@every 1s").start().await;
    let mut client = source.client().await;
    set(&mut client, b"small", "value").await;
    set(&mut client, b"large", noise(2, 20_000)).await;
    let max = stats(&mut client).await["max_version"].clone();
    let max = max.as_str().unwrap();
    let folder = source.data_dir().join("backups/auto");
    let backup = eventually("a scheduled backup", || scheduled_backup(&folder, max)).await;

    let other = keyed().start().await;
    restore(&backup, &other, Face::Admin).await;
    let mut restored = other.client().await;
    assert_eq!(value(&mut restored, b"small").await, "value");
    assert!(value(&mut restored, b"large").await == noise(2, 20_000));
    source.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_key_that_is_not_utf8_is_left_out_of_its_page_and_can_be_read() {
    const NOT_UTF8: &[u8] = b"b\xff";
    let server = keyed().start().await;
    let mut client = server.client().await;
    set(&mut client, b"a", "first").await;
    set(&mut client, NOT_UTF8, "second").await;
    set(&mut client, b"c", "third").await;
    for (prefix, expected) in [("", &["a:1", "c:3"][..]), ("b", &[]), ("c", &["c:3"])] {
        let filter = ListFilter {
            prefix: prefix.to_owned(),
            pagenum: 1,
        };
        let page = client.list(filter).await.unwrap().into_inner();
        assert_eq!(page.keys, expected, "{prefix:?}");
    }
    let found = get(&mut client, NOT_UTF8).await;
    assert_eq!((found.errcode, found.ver64), (0, 2));
    assert_eq!(found.key, NOT_UTF8);
    assert_eq!(found.data, "second");
    let counted = client.count(key_of("b")).await.unwrap().into_inner();
    assert_eq!(counted.data, "1");
    server.stop().await;
}

/// The next word of a watch that must not end before it.
async fn next_word(watch: &mut Streaming<HealthCheckResponse>) -> ServingStatus {
    let word = tokio::time::timeout(PATIENCE, watch.message()).await;
    let word = word.expect("no word of the health").unwrap();
    word.expect("the watch has ended").status()
}

#[tokio::test]
async fn who_watches_the_health_hears_of_a_stop_before_the_end() {
    // The watches hold up the drain, and nothing cuts them.
    let builder = keyed().set("server.drain_timeout", "1h");
    let mut server = builder.start().await;
    let mut health = HealthClient::new(server.channel().await);
    let mut watches = Vec::new();
    for service in ["", "Badger"] {
        let service = service.to_owned();
        let watch = health.watch(HealthCheckRequest { service }).await;
        watches.push(watch.unwrap().into_inner());
    }
    for watch in &mut watches {
        assert_eq!(next_word(watch).await, ServingStatus::Serving);
    }
    server.terminate();
    for watch in &mut watches {
        assert_eq!(next_word(watch).await, ServingStatus::NotServing);
    }
    assert!(server.is_running());
    drop((watches, health));
    let status = server.exited().await;
    assert_eq!(status.code(), Some(0), "{}", server.log());
}
