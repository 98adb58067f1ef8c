//! The most there may be of something, reached in a real server: what is there goes on, and one more is
//! refused with a remedy that works.

use crate::call::{assert_error, client, get, user_keys};
use crate::errors::key_of_shard;
use shardkeep::proto::v1;
use shardkeep::proto::v1::namespace_service_client::NamespaceServiceClient;
use shardkeep::proto::v1::operation::Change;
use shardkeep::proto::v1::transaction_service_client::TransactionServiceClient;
use std::collections::BTreeSet;
use tonic::Code;

/// The most namespaces that a store has beside the default one.
const NAMESPACES_MAX: usize = 10_000;
/// The most shards that one commit changes.
const COMMIT_SHARDS_MAX: u16 = 255;

fn name_of(number: usize) -> String {
    format!("ns-{number:05}")
}

#[tokio::test]
async fn ten_thousand_namespaces_are_served_and_one_more_is_refused() {
    let server = user_keys()
        .flags(["--durability", "os"])
        .set("storage.shards", "1")
        .start()
        .await;
    let mut namespaces = NamespaceServiceClient::new(server.channel().await);
    let create = |number| v1::CreateNamespaceRequest {
        name: name_of(number),
        options: None,
    };
    for number in 0..NAMESPACES_MAX {
        namespaces.create_namespace(create(number)).await.unwrap();
    }
    let refused = namespaces.create_namespace(create(NAMESPACES_MAX)).await;
    let refused = refused.unwrap_err();
    let code = Code::InvalidArgument;
    assert_error(&refused, code, "TOO_MANY_NAMESPACES", Some("name"));
    assert!(refused.message().contains("drop one first"), "{refused:?}");

    let mut listed = BTreeSet::new();
    let mut request = v1::ListNamespacesRequest::default();
    loop {
        let page = namespaces.list_namespaces(request.clone()).await.unwrap();
        let page = page.into_inner();
        listed.extend(page.namespaces.into_iter().map(|it| it.name));
        match page.next_page_token {
            token if token.is_empty() => break,
            token => request.page_token = token,
        }
    }
    assert_eq!(listed.len(), NAMESPACES_MAX + 1);

    let drop_one = v1::DropNamespaceRequest { name: name_of(0) };
    namespaces.drop_namespace(drop_one).await.unwrap();
    namespaces
        .create_namespace(create(NAMESPACES_MAX))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_commit_over_more_than_255_shards_is_refused_and_one_over_255_is_done() {
    const SHARDS: u16 = COMMIT_SHARDS_MAX + 1;
    let server = user_keys()
        .flags(["--durability", "os"])
        .set("storage.shards", SHARDS.to_string())
        .start()
        .await;
    let mut commits = TransactionServiceClient::new(server.channel().await);
    let commit_over = |shards: u16| v1::CommitRequest {
        operations: (0..shards)
            .map(|shard| v1::Operation {
                key: key_of_shard(shard, SHARDS).into(),
                change: Some(Change::Put(v1::PutOperation {
                    value: "1".into(),
                    ..v1::PutOperation::default()
                })),
            })
            .collect(),
        ..v1::CommitRequest::default()
    };
    let refused = commits.commit(commit_over(SHARDS)).await.unwrap_err();
    let code = Code::InvalidArgument;
    assert_error(&refused, code, "TOO_MANY_SHARDS", None);
    let mut client = client(&server).await;
    assert!(get(&mut client, key_of_shard(0, SHARDS)).await.is_none());
    commits
        .commit(commit_over(COMMIT_SHARDS_MAX))
        .await
        .unwrap();
    let last = key_of_shard(COMMIT_SHARDS_MAX - 1, SHARDS);
    assert_eq!(get(&mut client, last).await.unwrap(), "1");
}
