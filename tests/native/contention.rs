//! Calls that rest on what others change all the time: after many tries they say so, and leave it to
//! the caller.

use crate::blobs::{MIB, blobs, download, upload};
use crate::call::{assert_error, client, get_of, only_if, put, put_of, user_keys};
use crate::errors::assert_told;
use crate::support::{PATIENCE, Server, noise};
use shardkeep::proto::v1;
use shardkeep::proto::v1::condition::Requirement;
use shardkeep::proto::v1::operation::Change;
use shardkeep::proto::v1::transaction_service_client::TransactionServiceClient;
use std::time::Instant;
use tokio::task::JoinSet;
use tonic::{Code, Status};

/// Writers that put the same number under the key `n` again and again, with something else said of it,
/// so that it is at another version whenever somebody looks.
const WRITERS: u64 = 16;

async fn restless(server: &Server) -> JoinSet<()> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let mut client = client(server).await;
        writers.spawn(async move {
            for round in 0_u64.. {
                let said = ("round".to_owned(), format!("{round} of {writer}"));
                let put = v1::PutRequest {
                    metadata: [said].into(),
                    ..put_of("n", "7")
                };
                client.put(put).await.unwrap();
            }
        });
    }
    writers
}

/// Calls until the call is told that others were always faster.
async fn until_contended(mut call: impl AsyncFnMut() -> Result<(), Status>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Err(refused) = call().await {
            assert_told(&refused, Code::Aborted, "KEY_CONTENDED", None);
            assert!(refused.message().contains("64 times"), "{refused:?}");
            return;
        }
        assert!(Instant::now() < deadline, "nobody was ever faster");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_always_change_first_is_told_after_64_tries() {
    // Between what is read and what rests on it there is time for others.
    let server = user_keys()
        .set("storage.shards", "2")
        .fail_points("increment::read=sleep(5);commit::read=sleep(5)")
        .start()
        .await;
    let mut client = client(&server).await;
    put(&mut client, "n", "7").await;
    let mut commits = TransactionServiceClient::new(server.channel().await);
    let writers = restless(&server).await;
    until_contended(async || {
        let increment = v1::IncrementRequest {
            key: "n".into(),
            delta: 1,
            ..v1::IncrementRequest::default()
        };
        client.increment(increment).await.map(drop)
    })
    .await;
    // The digest is read before the commit, and stands for a version there.
    let digest = blake3::hash(b"7").as_bytes().to_vec();
    let commit = v1::CommitRequest {
        conditions: vec![v1::KeyCondition {
            key: "n".into(),
            condition: only_if(Requirement::Digest(digest.into())),
        }],
        operations: vec![v1::Operation {
            key: "other".into(),
            change: Some(Change::Put(v1::PutOperation::default())),
        }],
        ..v1::CommitRequest::default()
    };
    until_contended(async || {
        let done = commits.commit(commit.clone()).await;
        done.map(|_| ())
    })
    .await;
    drop(writers);
    let done = client.put(put_of("n", "8")).await.unwrap();
    assert!(!done.into_inner().created);
}

#[tokio::test]
async fn a_large_value_that_is_gone_whenever_it_is_opened_is_told_to_be_replaced() {
    // As often as one call tries it, for each of two.
    let server = user_keys()
        .fail_points("content::reclaimed=128*return->off")
        .start()
        .await;
    let value = noise(1, 10 * MIB);
    let mut blobs = blobs(&server).await;
    upload(&mut blobs, "film", &value).await;
    let mut client = client(&server).await;
    let replaced = client.get(get_of("film")).await.unwrap_err();
    assert_told(&replaced, Code::Aborted, "VALUE_REPLACED", None);
    let request = v1::DownloadRequest {
        key: "film".into(),
        ..v1::DownloadRequest::default()
    };
    let replaced = download(&mut blobs, request.clone()).await.unwrap_err();
    assert_error(&replaced, Code::Aborted, "VALUE_REPLACED", None);
    let (_, found) = download(&mut blobs, request).await.unwrap();
    assert!(found == value);
}
