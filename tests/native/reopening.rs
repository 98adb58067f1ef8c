//! Calls that come while a shard is opened again.

use crate::call::{assert_error, batch_get, client, get, put, put_of, user_keys};
use crate::support::{eventually, key_of};
use shardkeep::proto::v1;
use shardkeep::proto::zstdb::ListFilter;
use tonic::Code;

/// The second group fails, and the shard opens with the third try only.
const FAILS: &str = "shard::written=1*off->1*return->off;shard::open::000=1*off->2*return->off";

#[tokio::test]
async fn reads_wait_for_a_shard_that_is_opened_again() {
    let builder = user_keys().flags(["--shards", "1"]).fail_points(FAILS);
    let server = builder.start().await;
    let mut keys = client(&server).await;
    put(&mut keys, "key", "value").await;
    let failed = keys.put(put_of("key", "lost or not")).await.unwrap_err();
    assert_error(&failed, Code::Unavailable, "OUTCOME_UNKNOWN", None);
    let log = server.log_reader();
    let does_not_open = || log().contains("the shard does not open").then_some(());
    eventually("a shard that does not open", does_not_open).await;
    let (mut of_many, mut of_all, mut of_head) = (keys.clone(), keys.clone(), keys.clone());
    let (mut of_zstdb, mut of_list) = (server.client().await, server.client().await);
    let page = ListFilter {
        prefix: String::new(),
        pagenum: 1,
    };
    let head = v1::HeadRequest {
        key: "key".into(),
        ..v1::HeadRequest::default()
    };
    let (one, many, all, head, there, list) = tokio::join!(
        get(&mut keys, "key"),
        batch_get(&mut of_many, vec!["key".into()], false),
        of_all.scan(v1::ScanRequest::default()),
        of_head.head(head),
        of_zstdb.exists(key_of("key")),
        of_list.list(page),
    );
    assert!(one.is_some());
    assert!(many[0].entry.is_some());
    assert_eq!(all.unwrap().into_inner().results.len(), 1);
    assert_eq!(head.unwrap().into_inner().entry.unwrap().key, "key");
    assert_eq!(there.unwrap().into_inner().errcode, 0);
    assert_eq!(list.unwrap().into_inner().keys.len(), 1);
    // Readers are let in before it is told.
    eventually("the shard in the log", || {
        log().contains("the shard serves again").then_some(())
    })
    .await;
}
