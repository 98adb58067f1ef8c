//! Taking over zstdb's data: its own backups, restored into a running server, give every client
//! the values, versions and checksums that zstdb gave.

#[path = "support/mod.rs"]
mod support;

use serde_json::Value;
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use std::path::{Path, PathBuf};
use support::{Server, command_of, key_of};
use tonic::transport::Channel;

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/zstdb")
        .join(name)
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(sample(name)).unwrap()).unwrap()
}

/// A server whose backup root holds both samples.
async fn server_with_samples(flags: &[&str]) -> Server {
    let server = Server::builder().flags(flags).start().await;
    let root = server.data_dir().join("backups");
    for (from, to) in [
        ("sample_[0_24].zstdb.bak", "sample_[0-24].zstdb.bak"),
        ("sample_[24_27].zstdb.bak", "sample_[24-27].zstdb.bak"),
    ] {
        std::fs::copy(sample(from), root.join(to)).unwrap();
    }
    server
}

async fn restore(client: &mut BadgerClient<Channel>, path: &str) -> (i32, Value) {
    let order = command_of("restore", &format!("{{\"path\":\"{path}\"}}"));
    let reply = client.admin(order).await.unwrap().into_inner();
    (
        reply.errcode,
        serde_json::from_slice(&reply.data).unwrap_or(Value::Null),
    )
}

/// Every key that the JSON names, and no other.
async fn assert_holds(client: &mut BadgerClient<Channel>, expected: &Value) {
    let keys = expected["keys"].as_object().unwrap();
    for (key, facts) in keys {
        let found = client
            .get(key_of(key.clone().into_bytes()))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(found.errcode, 0, "{key}");
        assert_eq!(
            found.data.len() as u64,
            facts["length"].as_u64().unwrap(),
            "{key}"
        );
        assert_eq!(
            blake3::hash(&found.data).to_string(),
            facts["blake3"].as_str().unwrap(),
            "{key}"
        );
        assert_eq!(found.sum64, facts["xxh64"].as_u64().unwrap(), "{key}");
        assert_eq!(found.ver64, facts["ver64"].as_u64().unwrap(), "{key}");
    }
    let status = client
        .admin(command_of("status", ""))
        .await
        .unwrap()
        .into_inner();
    let status: Value = serde_json::from_slice(&status.data).unwrap();
    assert_eq!(status["key_count"], keys.len().to_string());
    assert_eq!(status["max_version"], expected["max_version"].to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_samples_of_zstdb_are_served_as_their_json_says() {
    for shards in ["1", "3"] {
        let flags = ["--allow-user-key", "--allow-overwrite", "--shards", shards];
        let server = server_with_samples(&flags).await;
        let mut client = server.client().await;
        let (errcode, data) = restore(&mut client, "sample_[0-24].zstdb.bak").await;
        assert_eq!((errcode, &data["target"]), (0, &Value::from("ok")));
        assert_holds(&mut client, &json("sample-full.json")).await;
        let (errcode, _) = restore(&mut client, "sample_[24-27].zstdb.bak").await;
        assert_eq!(errcode, 0);
        assert_holds(&mut client, &json("sample-after-increment.json")).await;
        // Again: nothing in it is newer than what is here.
        let (errcode, _) = restore(&mut client, "sample_[0-24].zstdb.bak").await;
        assert_eq!(errcode, 0);
        assert_holds(&mut client, &json("sample-after-increment.json")).await;
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_increment_without_what_it_continues_is_refused_and_changes_nothing() {
    let server = server_with_samples(&["--allow-user-key"]).await;
    let mut client = server.client().await;
    let (errcode, data) = restore(&mut client, "sample_[24-27].zstdb.bak").await;
    assert_eq!((errcode, &data["target"]), (500, &Value::from("failed")));
    let status = client
        .admin(command_of("status", ""))
        .await
        .unwrap()
        .into_inner();
    let status: Value = serde_json::from_slice(&status.data).unwrap();
    assert_eq!(
        (&status["key_count"], &status["max_version"]),
        (&"0".into(), &"0".into())
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_junk_file_is_refused_and_the_server_lives() {
    let server = server_with_samples(&["--allow-user-key"]).await;
    let junk = server.data_dir().join("backups/junk.bak");
    std::fs::write(junk, support::noise(7, 5000)).unwrap();
    let mut client = server.client().await;
    for path in ["junk.bak", "nowhere.bak", "../LOCK", "/etc/passwd"] {
        let (errcode, _) = restore(&mut client, path).await;
        assert_eq!(errcode, 500, "{path}");
    }
    server.assert_answers().await;
    server.stop().await;
}
