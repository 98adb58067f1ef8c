//! Scans in pages and as streams, in both directions.

use crate::call::{Client, assert_error, client, put, user_keys};
use crate::support::{Random, noise};
use bytes::Bytes;
use shardkeep::proto::v1;
use std::collections::BTreeMap;
use tonic::Code;

type Model = BTreeMap<Bytes, Vec<u8>>;

/// Keys that are prefixes of each other, with bytes from both ends, small and large values.
async fn filled(client: &mut Client) -> Model {
    let mut random = Random::seeded(5);
    let mut model = Model::new();
    for number in 0..300_u64 {
        let len = 1 + random.within(0..4) as usize;
        let key: Vec<u8> = (0..len)
            .map(|_| [0, 1, 97, 254, 255][random.within(0..5) as usize])
            .collect();
        let size = [10, 300, 20_000][random.within(0..3) as usize];
        let value = noise(number, size);
        put(client, key.clone(), value.clone()).await;
        model.insert(key.into(), value);
    }
    model
}

fn expected(model: &Model, selection: &v1::KeySelection, reverse: bool) -> Vec<(Bytes, Vec<u8>)> {
    let selected = model.iter().filter(|(key, _)| {
        **key >= selection.start_key
            && (selection.end_key.is_empty() || **key < selection.end_key)
            && key.starts_with(&selection.prefix)
    });
    let mut found: Vec<_> = selected
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if reverse {
        found.reverse();
    }
    found
}

async fn in_pages(client: &mut Client, request: v1::ScanRequest) -> Vec<(Bytes, Vec<u8>)> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ScanRequest {
            page_token,
            ..request.clone()
        };
        let page = client.scan(request.clone()).await.unwrap().into_inner();
        assert!(page.results.len() <= request.page_size as usize);
        let results = page.results.into_iter();
        found.extend(results.map(|it| (it.entry.unwrap().key, it.value.to_vec())));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

async fn as_stream(client: &mut Client, request: v1::StreamScanRequest) -> Vec<(Bytes, Vec<u8>)> {
    let mut stream = client.stream_scan(request).await.unwrap().into_inner();
    let mut found = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        let results = message.results.into_iter();
        found.extend(results.map(|it| (it.entry.unwrap().key, it.value.to_vec())));
    }
    found
}

fn selections() -> Vec<v1::KeySelection> {
    let of = |start: &'static [u8], end: &'static [u8], prefix: &'static [u8]| v1::KeySelection {
        start_key: Bytes::from_static(start),
        end_key: Bytes::from_static(end),
        prefix: Bytes::from_static(prefix),
    };
    vec![
        of(b"", b"", b""),
        of(b"a", b"", b""),
        of(b"", b"a", b""),
        of(b"\x01\x01", b"\xff", b""),
        of(b"", b"", b"a"),
        of(b"", b"", b"\xff"),
        of(b"", b"", b"\xff\xff"),
        of(b"a\x01", b"a\xfe", b"a"),
        of(b"b", b"", b"a"),
        of(b"a", b"a", b""),
    ]
}

#[tokio::test]
async fn pages_and_streams_are_the_keys_in_order_over_all_shards() {
    for shards in ["1", "4"] {
        let server = user_keys().set("storage.shards", shards).start().await;
        let mut client = client(&server).await;
        let model = filled(&mut client).await;
        for (selection, reverse) in selections()
            .into_iter()
            .flat_map(|it| [(it.clone(), false), (it, true)])
        {
            let wanted = expected(&model, &selection, reverse);
            for page_size in [1, 7, 10_000] {
                let request = v1::ScanRequest {
                    selection: Some(selection.clone()),
                    reverse,
                    page_size,
                    ..v1::ScanRequest::default()
                };
                let found = in_pages(&mut client, request).await;
                assert_eq!(found, wanted, "{selection:?} {reverse} {page_size}");
            }
            for limit in [0, 5] {
                let request = v1::StreamScanRequest {
                    selection: Some(selection.clone()),
                    reverse,
                    limit,
                    ..v1::StreamScanRequest::default()
                };
                let found = as_stream(&mut client, request).await;
                let count = if limit == 0 {
                    wanted.len()
                } else {
                    wanted.len().min(limit as usize)
                };
                assert_eq!(found, wanted[..count], "{selection:?} {reverse} {limit}");
            }
        }
    }
}

#[tokio::test]
async fn keys_only_leaves_the_values_out() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    put(&mut client, "k", "value").await;
    let request = v1::ScanRequest {
        keys_only: true,
        ..v1::ScanRequest::default()
    };
    let page = client.scan(request).await.unwrap().into_inner();
    assert_eq!(page.results[0].entry.as_ref().unwrap().size, 5);
    assert_eq!(page.results[0].value, "");
    assert_eq!(page.next_page_token, "");
}

#[tokio::test]
async fn a_stream_shows_the_moment_when_it_began() {
    let builder = user_keys().set("storage.shards", "2");
    // It is not read while others write, however long they take.
    let server = builder.set("server.keepalive_timeout", "10m").start().await;
    let mut client = client(&server).await;
    // More than HTTP/2 and the server take ahead.
    for number in 0..64 {
        put(
            &mut client,
            format!("key-{number:03}"),
            noise(number, 1 << 20),
        )
        .await;
    }
    let request = v1::StreamScanRequest::default();
    let mut stream = client
        .clone()
        .stream_scan(request)
        .await
        .unwrap()
        .into_inner();
    let mut keys = 0;
    while let Some(message) = stream.message().await.unwrap() {
        for result in message.results {
            assert_eq!(result.value, noise(keys, 1 << 20));
            if keys == 0 {
                for number in 0..64 {
                    put(&mut client, format!("key-{number:03}"), "changed").await;
                    put(&mut client, format!("key-{number:03}-new"), "new").await;
                }
            }
            keys += 1;
        }
    }
    assert_eq!(keys, 64);
}

#[tokio::test]
async fn a_scan_never_shows_a_later_write_without_an_earlier_one() {
    // Writes fall between the looks at two shards, as a busy machine may have it.
    let server = user_keys().set("storage.shards", "4");
    let server = server.fail_points("moment::between=sleep(2)").start().await;
    let base = client(&server).await;
    for number in 0..8 {
        put(&mut base.clone(), format!("key-{number}"), "0").await;
    }
    // One writer counts up over all keys in turn: at any moment, the values never rise along the keys.
    let writer = tokio::spawn({
        let mut client = base.clone();
        async move {
            for round in 1..150 {
                for number in 0..8 {
                    put(&mut client, format!("key-{number}"), format!("{round}")).await;
                }
            }
        }
    });
    // A connection of its own, which another core serves.
    let scanner = client(&server).await;
    let mut scans = 0;
    while !writer.is_finished() {
        let request = v1::StreamScanRequest::default();
        let found = as_stream(&mut scanner.clone(), request).await;
        let rounds = found
            .iter()
            .map(|(_, value)| String::from_utf8_lossy(value).parse::<u32>().unwrap());
        let rounds: Vec<u32> = rounds.collect();
        assert!(rounds.is_sorted_by(|one, next| one >= next), "{rounds:?}");
        assert!(rounds[0] - rounds[7] <= 1, "{rounds:?}");
        scans += 1;
    }
    writer.await.unwrap();
    assert!(scans > 3);
}

#[tokio::test]
async fn a_token_of_another_query_is_refused() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    put(&mut client, "a", "1").await;
    put(&mut client, "b", "2").await;
    let request = v1::ScanRequest {
        page_size: 1,
        ..v1::ScanRequest::default()
    };
    let page = client.scan(request.clone()).await.unwrap().into_inner();
    let other = v1::ScanRequest {
        reverse: true,
        page_token: page.next_page_token.clone(),
        ..request.clone()
    };
    let refused = client.scan(other).await.unwrap_err();
    assert_error(
        &refused,
        Code::InvalidArgument,
        "PAGE_TOKEN_INVALID",
        Some("page_token"),
    );
    let same = v1::ScanRequest {
        page_size: 5,
        page_token: page.next_page_token,
        ..request
    };
    let page = client.scan(same).await.unwrap().into_inner();
    assert_eq!(page.results.len(), 1);
}
