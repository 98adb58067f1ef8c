//! Increment: exact, however many clients count.

use crate::call::{assert_error, client, get, only_if, put, put_of, user_keys};
use crate::support::Server;
use shardkeep::proto::v1;
use shardkeep::proto::v1::condition::Requirement;
use std::collections::BTreeSet;
use tonic::Code;

fn increment_of(key: &'static str, delta: i64) -> v1::IncrementRequest {
    v1::IncrementRequest {
        key: key.into(),
        delta,
        ..v1::IncrementRequest::default()
    }
}

#[tokio::test]
async fn a_counter_begins_where_it_is_told_and_goes_both_ways() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    let begin = v1::IncrementRequest {
        initial_value: 100,
        ..increment_of("n", 5)
    };
    let first = client.increment(begin).await.unwrap().into_inner();
    assert_eq!(first.value, 105);
    assert_eq!(get(&mut client, "n").await.unwrap(), "105");
    // Where it begins counts only for what is not there.
    let again = client.increment(begin_at(7, -110)).await.unwrap();
    let again = again.into_inner();
    assert_eq!(again.value, -5);
    assert!(again.version > first.version);
    put(&mut client, "n", "41").await;
    let done = client.increment(increment_of("n", 1)).await.unwrap();
    assert_eq!(done.into_inner().value, 42);
}

fn begin_at(initial_value: i64, delta: i64) -> v1::IncrementRequest {
    v1::IncrementRequest {
        initial_value,
        ..increment_of("n", delta)
    }
}

/// 64 clients with connections of their own, beside others that take the counter away from them:
/// no increment is lost, and none counts twice.
#[tokio::test(flavor = "multi_thread")]
async fn increments_of_64_clients_are_all_counted_once() {
    const CLIENTS: i64 = 64;
    const EACH: i64 = 12;
    let server = user_keys().set("storage.shards", "2").start().await;
    let mut counting = Vec::new();
    for number in 0..CLIENTS {
        let mut client = client(&server).await;
        let delta = if number % 2 == 0 { 1 } else { 1000 };
        counting.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..EACH {
                let done = client.increment(increment_of("n", delta)).await.unwrap();
                seen.push(done.into_inner().value);
            }
            assert!(seen.is_sorted(), "it only grows: {seen:?}");
            seen
        }));
    }
    let mut seen = BTreeSet::new();
    for counted in counting {
        for value in counted.await.unwrap() {
            assert!(seen.insert(value), "{value} was answered twice");
        }
    }
    let sum = CLIENTS / 2 * EACH * 1001;
    assert_eq!(seen.last(), Some(&sum));
    let mut client = client(&server).await;
    assert_eq!(get(&mut client, "n").await.unwrap(), sum.to_string());
}

/// A put that comes between an increment's look and its write is not overwritten.
#[tokio::test(flavor = "multi_thread")]
async fn an_increment_beside_other_writers_adds_to_what_they_wrote() {
    let server = user_keys().start().await;
    let base = client(&server).await;
    put(&mut base.clone(), "n", "0").await;
    let mut writer = base.clone();
    let writing = tokio::spawn(async move {
        for round in 1..=40_i64 {
            put(&mut writer, "n", (round * 1_000_000).to_string()).await;
        }
    });
    let mut counter = base.clone();
    let mut last = 0;
    while !writing.is_finished() {
        let done = counter.increment(increment_of("n", 1)).await.unwrap();
        let value = done.into_inner().value;
        assert!(value > last, "{value} after {last}");
        last = value;
    }
    writing.await.unwrap();
}

#[tokio::test]
async fn what_is_no_counter_or_leaves_64_bits_is_refused_and_stays() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    for value in ["one", "", "1.5", "9223372036854775808"] {
        put(&mut client, "n", value).await;
        let refused = client.increment(increment_of("n", 1)).await.unwrap_err();
        assert_error(
            &refused,
            Code::InvalidArgument,
            "NOT_A_COUNTER",
            Some("key"),
        );
        assert_eq!(get(&mut client, "n").await.unwrap(), value);
    }
    put(&mut client, "n", vec![b'1'; 300_000]).await;
    let refused = client.increment(increment_of("n", 1)).await.unwrap_err();
    assert_error(
        &refused,
        Code::InvalidArgument,
        "NOT_A_COUNTER",
        Some("key"),
    );
    for (value, delta) in [(i64::MAX, 1), (i64::MIN, -1), (-2, i64::MIN)] {
        put(&mut client, "n", value.to_string()).await;
        let refused = client
            .increment(increment_of("n", delta))
            .await
            .unwrap_err();
        assert_error(
            &refused,
            Code::InvalidArgument,
            "COUNTER_OVERFLOW",
            Some("delta"),
        );
        assert_eq!(get(&mut client, "n").await.unwrap(), value.to_string());
    }
}

#[tokio::test]
async fn an_increment_on_a_condition_counts_only_if_it_holds() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    let when = |requirement| v1::IncrementRequest {
        condition: only_if(requirement),
        ..increment_of("n", 1)
    };
    let refused = client.increment(when(Requirement::Present(true))).await;
    assert_error(&refused.unwrap_err(), Code::NotFound, "KEY_NOT_FOUND", None);
    let first = client.increment(when(Requirement::Absent(true))).await;
    let first = first.unwrap().into_inner();
    let refused = client.increment(when(Requirement::Absent(true))).await;
    assert_error(
        &refused.unwrap_err(),
        Code::AlreadyExists,
        "KEY_EXISTS",
        None,
    );
    let at = |version| when(Requirement::Version(version));
    let second = client.increment(at(first.version)).await.unwrap();
    assert_eq!(second.into_inner().value, 2);
    let refused = client.increment(at(first.version)).await.unwrap_err();
    assert_error(&refused, Code::Aborted, "VERSION_MISMATCH", None);
    let digest = |value: &[u8]| Requirement::Digest(blake3::hash(value).as_bytes().to_vec().into());
    let refused = client.increment(when(digest(b"1"))).await.unwrap_err();
    assert_error(&refused, Code::Aborted, "DIGEST_CONFLICT", None);
    let third = client.increment(when(digest(b"2"))).await.unwrap();
    assert_eq!(third.into_inner().value, 3);
    assert_eq!(get(&mut client, "n").await.unwrap(), "3");
}

#[tokio::test]
async fn a_counter_keeps_its_expiry() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    let hour = prost_types::Duration {
        seconds: 3600,
        nanos: 0,
    };
    let counter = v1::PutRequest {
        expiry: Some(v1::Expiry {
            expiry: Some(v1::expiry::Expiry::Ttl(hour)),
        }),
        ..put_of("n", "1")
    };
    client.put(counter).await.unwrap();
    let head_of = || v1::HeadRequest {
        key: "n".into(),
        ..v1::HeadRequest::default()
    };
    let before = client.head(head_of()).await.unwrap().into_inner();
    client.increment(increment_of("n", 1)).await.unwrap();
    let after = client.head(head_of()).await.unwrap().into_inner();
    let time = |head: v1::HeadResponse| head.entry.unwrap().expire_time.unwrap();
    assert_eq!(time(before), time(after));
}

#[tokio::test]
async fn where_values_may_not_change_there_are_no_counters() {
    let by_content = Server::builder().start().await;
    let mut on_content = client(&by_content).await;
    let refused = on_content.increment(increment_of("n", 1)).await;
    assert_error(
        &refused.unwrap_err(),
        Code::InvalidArgument,
        "COUNTER_ON_CONTENT",
        Some("key"),
    );
    let keeping = Server::builder().flag("--allow-user-key").start().await;
    let mut on_keeping = client(&keeping).await;
    let first = on_keeping.increment(increment_of("n", 1)).await.unwrap();
    assert_eq!(first.into_inner().value, 1);
    let refused = on_keeping.increment(increment_of("n", 1)).await;
    assert_error(
        &refused.unwrap_err(),
        Code::FailedPrecondition,
        "OVERWRITE_DISABLED",
        None,
    );
}
