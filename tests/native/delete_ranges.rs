//! Deletes of many keys that lie together.

use crate::call::{Client, assert_error, client, get, put, user_keys};
use shardkeep::proto::v1;
use std::collections::BTreeSet;
use tonic::{Code, Status};

fn request(start: &str, end: &str, prefix: &str) -> v1::DeleteRangeRequest {
    v1::DeleteRangeRequest {
        selection: Some(v1::KeySelection {
            start_key: start.to_owned().into(),
            end_key: end.to_owned().into(),
            prefix: prefix.to_owned().into(),
        }),
        ..v1::DeleteRangeRequest::default()
    }
}

async fn delete(
    client: &mut Client,
    request: v1::DeleteRangeRequest,
) -> Result<v1::DeleteRangeResponse, Status> {
    Ok(client.delete_range(request).await?.into_inner())
}

/// The keys that are there.
async fn keys(client: &mut Client) -> BTreeSet<String> {
    let request = v1::ScanRequest {
        keys_only: true,
        page_size: 10_000,
        ..v1::ScanRequest::default()
    };
    let page = client.scan(request).await.unwrap().into_inner();
    let keys = page.results.into_iter().map(|it| it.entry.unwrap().key);
    keys.map(|key| String::from_utf8(key.to_vec()).unwrap())
        .collect()
}

/// Small values, and contents in another shard.
async fn fill(client: &mut Client, count: usize) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for number in 0..count {
        let key = format!("{}-{number:03}", ["a", "b", "c"][number % 3]);
        let size = [10, 10_000][number % 2];
        put(client, key.clone(), vec![number as u8; size]).await;
        all.insert(key);
    }
    all
}

#[tokio::test]
async fn exactly_the_selection_goes() {
    let server = user_keys().set("storage.shards", "3").start().await;
    let mut client = client(&server).await;
    let mut model = fill(&mut client, 90).await;
    for (start, end, prefix) in [
        ("a-010", "a-020", ""),
        ("", "", "b-00"),
        ("b-05", "c", "b"),
        ("c-085", "", ""),
        ("x", "", ""),
        ("c", "c", ""),
    ] {
        let deleted = delete(&mut client, request(start, end, prefix))
            .await
            .unwrap();
        let goes = |key: &String| {
            key.as_str() >= start
                && (end.is_empty() || key.as_str() < end)
                && key.starts_with(prefix)
        };
        let count = model.extract_if(.., goes).count();
        assert_eq!(
            deleted.deleted_count, count as u64,
            "{start}..{end} {prefix}"
        );
        assert_eq!(deleted.next_page_token, "");
        assert_eq!(keys(&mut client).await, model, "{start}..{end} {prefix}");
    }
    let rest = delete(&mut client, request("\0", "", "")).await.unwrap();
    assert_eq!(rest.deleted_count, model.len() as u64);
    assert_eq!(keys(&mut client).await, BTreeSet::new());
}

#[tokio::test]
async fn calls_with_a_limit_go_on_where_the_one_before_ended() {
    let server = user_keys().set("storage.shards", "2").start().await;
    let mut client = client(&server).await;
    let model = fill(&mut client, 60).await;
    let mut gone: Vec<&String> = model.iter().filter(|key| key.starts_with('b')).collect();
    let (mut token, mut counts) = (String::new(), Vec::new());
    loop {
        let request = v1::DeleteRangeRequest {
            limit: 8,
            page_token: token,
            ..request("", "", "b")
        };
        let deleted = delete(&mut client, request).await.unwrap();
        counts.push(deleted.deleted_count);
        gone.drain(..deleted.deleted_count as usize);
        let left = keys(&mut client).await;
        assert!(gone.iter().all(|key| left.contains(*key)));
        assert_eq!(left.len(), 40 + gone.len());
        token = deleted.next_page_token;
        if token.is_empty() {
            break;
        }
        // What comes behind it is not of this selection any more.
        put(&mut client, "b-000", "again").await;
        let again = v1::DeleteRequest {
            key: "b-000".into(),
            ..v1::DeleteRequest::default()
        };
        client.delete(again).await.unwrap();
    }
    assert_eq!(counts, [8, 8, 4]);
}

#[tokio::test]
async fn what_is_put_meanwhile_stays() {
    const COUNT: usize = 600;
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    let key_of = |number: usize| format!("k{number:04}");
    for number in 0..COUNT {
        put(&mut client, key_of(number), "old").await;
    }
    let mut writer = client.clone();
    let writing = tokio::spawn(async move {
        let mut written = Vec::new();
        for number in (0..COUNT).rev().step_by(7) {
            let version = put(&mut writer, key_of(number), "new").await;
            written.push((key_of(number), version));
        }
        written
    });
    let deleted = delete(&mut client, request("", "", "k")).await.unwrap();
    let written = writing.await.unwrap();
    assert_eq!(deleted.next_page_token, "");
    // The call is of one moment: what was put before it went, what was put after it stayed.
    let (mut gone, mut kept) = (Vec::new(), BTreeSet::new());
    for (key, version) in written {
        match get(&mut client, key.clone()).await {
            None => gone.push(version),
            Some(value) => {
                assert_eq!(value, "new");
                kept.insert((version, key));
            }
        }
    }
    if let (Some(last), Some((first, _))) = (gone.iter().max(), kept.first()) {
        assert!(last < first, "{last} is gone, and {first} was kept");
    }
    let kept: BTreeSet<String> = kept.into_iter().map(|(_, key)| key).collect();
    assert_eq!(keys(&mut client).await, kept);
    assert!(deleted.deleted_count >= (COUNT - kept.len()) as u64);
}

#[tokio::test]
async fn a_selection_of_everything_by_oversight_is_refused() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    put(&mut client, "key", "value").await;
    let bare = v1::DeleteRangeRequest::default();
    let token = v1::DeleteRangeRequest {
        page_token: "0011".to_owned(),
        ..request("a", "", "")
    };
    let limit = v1::DeleteRangeRequest {
        limit: 10_001,
        ..request("a", "", "")
    };
    let elsewhere = v1::DeleteRangeRequest {
        namespace: "other".to_owned(),
        ..request("a", "", "")
    };
    for (request, code, reason, field) in [
        (
            bare,
            Code::InvalidArgument,
            "SELECTION_EMPTY",
            Some("selection"),
        ),
        (
            request("", "", ""),
            Code::InvalidArgument,
            "SELECTION_EMPTY",
            Some("selection"),
        ),
        (
            token,
            Code::InvalidArgument,
            "PAGE_TOKEN_INVALID",
            Some("page_token"),
        ),
        (limit, Code::InvalidArgument, "COUNT_RANGE", Some("limit")),
        (
            request("b", "a", ""),
            Code::InvalidArgument,
            "RANGE_UPSIDE_DOWN",
            Some("selection.end_key"),
        ),
        (elsewhere, Code::NotFound, "NAMESPACE_NOT_FOUND", None),
    ] {
        let refused = delete(&mut client, request).await.unwrap_err();
        assert_error(&refused, code, reason, field);
    }
    assert!(get(&mut client, "key").await.is_some());
}
