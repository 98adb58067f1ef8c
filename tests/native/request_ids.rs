//! Writes that are sent again under the same name.

use crate::blobs::{MIB, blobs, header_of, messages, send};
use crate::call::{Client, assert_error, client, get, only_if, put, put_of, user_keys};
use crate::support::{Server, noise};
use shardkeep::proto::v1;
use shardkeep::proto::v1::condition::Requirement;
use shardkeep::proto::v1::operation::Change;
use shardkeep::proto::v1::transaction_service_client::TransactionServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Request};

fn increment_of(key: &str, id: &str) -> v1::IncrementRequest {
    v1::IncrementRequest {
        key: key.to_owned().into(),
        delta: 1,
        request_id: id.to_owned(),
        ..v1::IncrementRequest::default()
    }
}

async fn increment(client: &mut Client, key: &str, id: &str) -> v1::IncrementResponse {
    let done = client.increment(increment_of(key, id)).await;
    done.unwrap().into_inner()
}

#[tokio::test]
async fn a_write_that_is_sent_again_is_done_once() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    let first = increment(&mut client, "counter", "one").await;
    assert_eq!(increment(&mut client, "counter", "one").await, first);
    assert_eq!(increment(&mut client, "counter", "two").await.value, 2);
    assert_eq!(increment(&mut client, "counter", "").await.value, 3);
    assert_eq!(increment(&mut client, "counter", "").await.value, 4);

    let named_put = || v1::PutRequest {
        request_id: "put".to_owned(),
        ..put_of("key", "mine")
    };
    let first = client.put(named_put()).await.unwrap().into_inner();
    put(&mut client, "key", "another's").await;
    let again = client.put(named_put()).await.unwrap().into_inner();
    assert_eq!(again, first);
    assert_eq!(get(&mut client, "key").await.unwrap(), "another's");

    let delete = || v1::DeleteRequest {
        key: "key".into(),
        request_id: "delete".to_owned(),
        ..v1::DeleteRequest::default()
    };
    let first = client.delete(delete()).await.unwrap().into_inner();
    assert!(first.deleted);
    put(&mut client, "key", "new").await;
    assert_eq!(client.delete(delete()).await.unwrap().into_inner(), first);
    assert!(get(&mut client, "key").await.is_some());

    let touch = || v1::TouchRequest {
        key: "key".into(),
        request_id: "touch".to_owned(),
        ..v1::TouchRequest::default()
    };
    let first = client.touch(touch()).await.unwrap().into_inner();
    assert_eq!(client.touch(touch()).await.unwrap().into_inner(), first);
}

#[tokio::test]
async fn many_at_once_under_one_name_are_done_once() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let mut client = client.clone();
        let id = format!("id-{}", number % 10);
        tasks.spawn(async move { increment(&mut client, "counter", &id).await.value });
    }
    let mut values = tasks.join_all().await;
    values.sort_unstable();
    values.dedup();
    assert_eq!(values, (1..=10).collect::<Vec<_>>());
    assert_eq!(increment(&mut client, "counter", "").await.value, 11);
}

#[tokio::test]
async fn an_answer_that_its_client_does_not_wait_for_is_kept() {
    let server = user_keys()
        .fail_points("shard::commit=1*sleep(2000)")
        .start()
        .await;
    let mut client = client(&server).await;
    let mut hurried = Request::new(increment_of("counter", "id"));
    hurried.set_timeout(std::time::Duration::from_millis(100));
    let late = client.increment(hurried).await.unwrap_err();
    assert!(
        matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled),
        "{late}"
    );
    assert_eq!(increment(&mut client, "counter", "id").await.value, 1);
    assert_eq!(increment(&mut client, "counter", "").await.value, 2);
}

#[tokio::test]
async fn a_write_that_changed_nothing_is_tried_anew() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    let request = || v1::PutRequest {
        condition: only_if(Requirement::Present(true)),
        request_id: "id".to_owned(),
        ..put_of("key", "value")
    };
    let refused = client.put(request()).await.unwrap_err();
    assert_error(&refused, Code::NotFound, "KEY_NOT_FOUND", None);
    put(&mut client, "key", "old").await;
    client.put(request()).await.unwrap();
    assert_eq!(get(&mut client, "key").await.unwrap(), "value");
}

#[tokio::test]
async fn another_request_under_the_same_name_is_refused() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    increment(&mut client, "a", "id").await;
    let field = Some("request_id");
    let other_key = client.increment(increment_of("b", "id")).await;
    let other_value = v1::PutRequest {
        request_id: "id".to_owned(),
        ..put_of("a", "1")
    };
    let other_call = client.put(other_value).await;
    for refused in [other_key.map(drop), other_call.map(drop)] {
        let refused = refused.unwrap_err();
        assert_error(&refused, Code::InvalidArgument, "REQUEST_ID_REUSED", field);
    }
    let long = increment_of("a", &"x".repeat(65));
    let refused = client.increment(long).await.unwrap_err();
    assert_error(&refused, Code::InvalidArgument, "REQUEST_ID_SIZE", field);
}

async fn commits(server: &Server) -> TransactionServiceClient<Channel> {
    TransactionServiceClient::new(server.channel().await)
}

fn step(key: &str, value: &str) -> v1::Operation {
    let put = v1::PutOperation {
        value: value.to_owned().into(),
        ..v1::PutOperation::default()
    };
    v1::Operation {
        key: key.to_owned().into(),
        change: Some(Change::Put(put)),
    }
}

/// Takes the lock if it is free, and notes a failure otherwise.
fn commit_of(id: &str) -> v1::CommitRequest {
    v1::CommitRequest {
        conditions: vec![v1::KeyCondition {
            key: "lock".into(),
            condition: only_if(Requirement::Absent(true)),
        }],
        operations: vec![step("lock", "mine"), step("other", "done")],
        else_operations: vec![step("failed", id)],
        request_id: id.to_owned(),
        ..v1::CommitRequest::default()
    }
}

#[tokio::test]
async fn a_commit_that_is_sent_again_answers_as_the_first_did_on_either_side() {
    let server = user_keys().set("storage.shards", "2").start().await;
    let mut keys = client(&server).await;
    let mut commits = commits(&server).await;
    let first = commits.commit(commit_of("one")).await.unwrap().into_inner();
    assert!(first.succeeded && first.run != 0);
    put(&mut keys, "other", "another's").await;
    let again = commits.commit(commit_of("one")).await.unwrap().into_inner();
    assert_eq!(again, first);
    assert_eq!(get(&mut keys, "other").await.unwrap(), "another's");
    assert_eq!(get(&mut keys, "failed").await, None);

    let failed = commits.commit(commit_of("two")).await.unwrap().into_inner();
    assert!(!failed.succeeded && failed.run == first.run);
    let delete = v1::DeleteRequest {
        key: "lock".into(),
        ..v1::DeleteRequest::default()
    };
    keys.delete(delete).await.unwrap();
    let again = commits.commit(commit_of("two")).await.unwrap().into_inner();
    assert_eq!(again, failed);
    assert_eq!(get(&mut keys, "lock").await, None);

    // Another value, another key, another side or another condition is another request.
    let field = Some("request_id");
    let mut others = [(); 4].map(|()| commit_of("two"));
    others[0].operations[1] = step("other", "dont");
    others[1].operations[1] = step("othes", "done");
    let operations = std::mem::take(&mut others[2].operations);
    others[2].operations = std::mem::replace(&mut others[2].else_operations, operations);
    others[3].conditions.clear();
    for other in others {
        let refused = commits.commit(other).await.unwrap_err();
        assert_error(&refused, Code::InvalidArgument, "REQUEST_ID_REUSED", field);
    }
}

#[tokio::test]
async fn a_commit_that_its_client_does_not_wait_for_is_done_once() {
    let server = user_keys()
        .fail_points("shard::commit=1*sleep(2000)")
        .start()
        .await;
    let mut commits = commits(&server).await;
    let mut hurried = Request::new(commit_of("id"));
    hurried.set_timeout(std::time::Duration::from_millis(100));
    let late = commits.commit(hurried).await.unwrap_err();
    assert!(
        matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled),
        "{late}"
    );
    let again = commits.commit(commit_of("id")).await.unwrap();
    assert!(again.into_inner().succeeded);
}

#[tokio::test]
async fn a_commit_for_a_run_that_was_killed_is_left_alone_by_the_next() {
    let place = tempfile::TempDir::new().unwrap();
    let start = || user_keys().data_dir(place.path().join("data")).start();
    let mut server = start().await;
    let told = commits(&server).await.commit(commit_of("first")).await;
    let run = told.unwrap().into_inner().run;
    server.kill();
    let server = start().await;
    let mut commits = commits(&server).await;
    let again = v1::CommitRequest {
        only_run: run,
        ..commit_of("first")
    };
    let unknown = commits.commit(again).await.unwrap_err();
    assert_error(&unknown, Code::Unavailable, "OUTCOME_UNKNOWN", None);
    let mut keys = client(&server).await;
    assert_eq!(get(&mut keys, "failed").await, None);
    // Without that it is judged by what it has changed itself, and a new name is of the new run.
    let judged = commits.commit(commit_of("first")).await;
    let judged = judged.unwrap().into_inner();
    assert!(!judged.succeeded && judged.run != run);
    let here = v1::CommitRequest {
        only_run: judged.run,
        ..commit_of("second")
    };
    commits.commit(here).await.unwrap();
}

fn named_range(id: &str) -> v1::DeleteRangeRequest {
    v1::DeleteRangeRequest {
        selection: Some(v1::KeySelection {
            prefix: "k/".into(),
            ..v1::KeySelection::default()
        }),
        limit: 2,
        request_id: id.to_owned(),
        ..v1::DeleteRangeRequest::default()
    }
}

#[tokio::test]
async fn a_range_that_is_deleted_again_under_its_name_is_left_alone() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    for number in 0..3 {
        put(&mut client, format!("k/{number}"), "1").await;
    }
    let first = client.delete_range(named_range("one")).await.unwrap();
    let first = first.into_inner();
    assert_eq!(first.deleted_count, 2);
    put(&mut client, "k/0", "new").await;
    let again = client.delete_range(named_range("one")).await.unwrap();
    assert_eq!(again.into_inner(), first);
    assert_eq!(get(&mut client, "k/0").await.unwrap(), "new");
    // The rest of the selection is a request of its own, whatever the first was called.
    let rest = v1::DeleteRangeRequest {
        page_token: first.next_page_token,
        ..named_range("two")
    };
    let rest = client.delete_range(rest).await.unwrap().into_inner();
    assert_eq!((rest.deleted_count, &*rest.next_page_token), (1, ""));
    let elsewhere = v1::DeleteRangeRequest {
        only_run: first.run ^ 1,
        ..named_range("three")
    };
    let left = client.delete_range(elsewhere).await.unwrap_err();
    assert_error(&left, Code::Unavailable, "OUTCOME_UNKNOWN", None);
    assert_eq!(get(&mut client, "k/0").await.unwrap(), "new");
}

#[tokio::test]
async fn an_upload_that_is_sent_again_under_its_name_is_done_once() {
    let server = user_keys().start().await;
    let mut blobs = blobs(&server).await;
    let mut client = client(&server).await;
    for (key, size) in [("small", 100), ("large", 9 * MIB)] {
        let value = noise(1, size);
        let header = v1::UploadHeader {
            condition: only_if(Requirement::Absent(true)),
            request_id: format!("upload of {key}"),
            ..header_of(key)
        };
        let first = send(&mut blobs, messages(header.clone(), &value)).await;
        let first = first.unwrap();
        let run = first.put.as_ref().unwrap().run;
        assert!(run != 0 && first.new_bytes == size as u64, "{first:?}");
        let named_again = v1::UploadHeader {
            only_run: run,
            ..header.clone()
        };
        let again = send(&mut blobs, messages(named_again, &value)).await;
        assert_eq!(again.unwrap(), first);
        // In other messages, and after others have changed the key.
        put(&mut client, key, "another's").await;
        let mut pieces = messages(header.clone(), &[]);
        pieces.extend(messages(header.clone(), &value[..50]).split_off(1));
        pieces.extend(messages(header.clone(), &value[50..]).split_off(1));
        assert_eq!(send(&mut blobs, pieces).await.unwrap(), first);
        assert_eq!(get(&mut client, key).await.unwrap(), "another's");
        // Another value, or another header, is another request.
        let reused = send(&mut blobs, messages(header.clone(), &value[1..])).await;
        let field = Some("header.request_id");
        let code = Code::InvalidArgument;
        assert_error(&reused.unwrap_err(), code, "REQUEST_ID_REUSED", field);
        let other = v1::UploadHeader {
            condition: None,
            ..header.clone()
        };
        let reused = send(&mut blobs, messages(other, &value)).await;
        assert_error(&reused.unwrap_err(), code, "REQUEST_ID_REUSED", field);
        let elsewhere = v1::UploadHeader {
            only_run: run ^ 1,
            ..header
        };
        let left = send(&mut blobs, messages(elsewhere, &value)).await;
        let left = left.unwrap_err();
        assert_error(&left, Code::Unavailable, "OUTCOME_UNKNOWN", None);
    }
}

#[tokio::test]
async fn an_upload_that_broke_off_is_tried_anew_under_its_name() {
    let server = user_keys().start().await;
    let mut blobs = blobs(&server).await;
    let value = noise(1, 3 * MIB);
    let header = v1::UploadHeader {
        size: Some(value.len() as u64),
        request_id: "one".to_owned(),
        ..header_of("k")
    };
    let cut = send(&mut blobs, messages(header.clone(), &value[..MIB])).await;
    let code = Code::InvalidArgument;
    assert_error(
        &cut.unwrap_err(),
        code,
        "SIZE_MISMATCH",
        Some("header.size"),
    );
    let done = send(&mut blobs, messages(header, &value)).await.unwrap();
    assert!(done.put.unwrap().created);
}
