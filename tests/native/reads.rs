//! Get, Head and `BatchGet`.

use crate::blobs::{MIB, blobs, upload};
use crate::call::{Client, assert_error, batch_get, client, get_of, put, user_keys};
use crate::support::noise;
use bytes::Bytes;
use shardkeep::proto::v1;
use shardkeep::proto::v1::snapshot_service_client::SnapshotServiceClient;
use tonic::{Code, Status};
use xxhash_rust::xxh64::xxh64;

#[tokio::test]
async fn a_value_comes_whole_in_part_and_as_its_entry_alone() {
    let server = user_keys().set("storage.shards", "3").start().await;
    let mut client = client(&server).await;
    for size in [1, 200, 5000, 300_000] {
        let value = noise(size as u64, size);
        let key = format!("key-{size}");
        let version = put(&mut client, key.clone(), value.clone()).await;
        let whole = client.get(get_of(key.clone())).await.unwrap().into_inner();
        let entry = whole.entry.unwrap();
        assert_eq!(whole.value, value);
        assert_eq!((entry.version, entry.size), (version, size as u64));
        assert_eq!(entry.sum64, xxh64(&value, 0));
        assert_eq!(entry.digest, blake3::hash(&value).as_bytes()[..]);
        let head = v1::HeadRequest {
            key: key.clone().into(),
            ..v1::HeadRequest::default()
        };
        let head = client.head(head).await.unwrap().into_inner();
        assert_eq!(head.entry, Some(entry));
        let part = v1::GetRequest {
            range: Some(v1::ByteRange {
                offset: 1,
                length: 100,
            }),
            ..get_of(key)
        };
        let part = client.get(part).await.unwrap().into_inner();
        assert_eq!(part.value, value[1..size.min(101)]);
        assert_eq!(part.entry.unwrap().size, size as u64);
    }
}

#[tokio::test]
async fn a_read_of_many_answers_in_the_order_of_the_request() {
    let server = user_keys().set("storage.shards", "3").start().await;
    let mut client = client(&server).await;
    for number in 0..50 {
        put(
            &mut client,
            format!("key-{number}"),
            noise(number, 2000 + 500 * number as usize),
        )
        .await;
    }
    let keys: Vec<Bytes> = (0..100)
        .rev()
        .map(|number| format!("key-{number}").into())
        .collect();
    for entries_only in [false, true] {
        let found = batch_get(&mut client, keys.clone(), entries_only).await;
        assert_eq!(found.len(), 100);
        for (number, result) in (0..100).rev().zip(found) {
            assert_eq!(result.entry.is_some(), number < 50, "{number}");
            let value = match number < 50 && !entries_only {
                true => noise(number, 2000 + 500 * number as usize),
                false => Vec::new(),
            };
            assert_eq!(result.value, value, "{number}");
        }
    }
}

/// A part of each value, `None` for a miss.
async fn parts(
    client: &mut Client,
    keys: &[Bytes],
    (offset, length): (u64, u64),
    snapshot: &str,
) -> Result<Vec<Option<Bytes>>, Status> {
    let request = v1::BatchGetRequest {
        keys: keys.to_vec(),
        range: Some(v1::ByteRange { offset, length }),
        snapshot: snapshot.to_owned(),
        ..v1::BatchGetRequest::default()
    };
    let found = client.batch_get(request).await?.into_inner().results;
    let found = found.into_iter();
    Ok(found.map(|it| it.entry.map(|_| it.value)).collect())
}

#[tokio::test]
async fn a_range_of_many_is_that_part_of_each_value() {
    let server = user_keys().set("storage.shards", "3").start().await;
    let mut client = client(&server).await;
    // Within the index, in the log, more than is read at once, in chunks, and in more of them than
    // fit an answer.
    let sizes = [
        0,
        40,
        5_000,
        300_000,
        3 * MIB,
        3 * MIB + 1,
        9 * MIB,
        18 * MIB,
    ];
    let mut blobs = blobs(&server).await;
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for (number, size) in sizes.into_iter().enumerate() {
        let (key, value) = (format!("key-{number}"), noise(number as u64, size));
        match size > 8 * MIB {
            true => drop(upload(&mut blobs, &key, &value).await),
            false => drop(put(&mut client, key.clone(), value.clone()).await),
        }
        keys.push(Bytes::from(key));
        values.push(Some(Bytes::from(value)));
    }
    keys.extend(["none".into(), keys[3].clone()]);
    values.extend([None, values[3].clone()]);
    let part = |value: &Bytes, offset: u64, length: u64| {
        let begin = value.len().min(offset as usize);
        let end = offset.saturating_add(if length == 0 { u64::MAX } else { length });
        value.slice(begin..value.len().min(end as usize))
    };
    let mut snapshots = SnapshotServiceClient::new(server.channel().await);
    let snapshot = snapshots.create_snapshot(v1::CreateSnapshotRequest::default());
    let snapshot = snapshot.await.unwrap().into_inner().id;
    let behind = 18 * MIB as u64 - 5;
    for (offset, length) in [
        (0, 1),
        (30, 100),
        (299_000, 3 * MIB as u64),
        (behind, 0),
        (behind, u64::MAX),
        (u64::MAX, u64::MAX),
    ] {
        let of = |value: &Option<Bytes>| value.as_ref().map(|it| part(it, offset, length));
        let expected: Vec<_> = values.iter().map(of).collect();
        for snapshot in ["", &snapshot] {
            let found = parts(&mut client, &keys, (offset, length), snapshot).await;
            assert!(found.unwrap() == expected, "{offset} + {length}");
        }
    }
}

#[tokio::test]
async fn what_was_read_lately_is_cut_to_a_range_as_well() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    let value = Bytes::from(noise(1, 1_000));
    let keys = [Bytes::from("long"), Bytes::from("short")];
    put(&mut client, keys[0].clone(), value.clone()).await;
    put(&mut client, keys[1].clone(), "short").await;
    for _ in 0..3 {
        let wholes = values(&mut client, &keys).await;
        assert_eq!(wholes, [Some(value.clone()), Some("short".into())]);
        let found = parts(&mut client, &keys, (3, 10), "").await.unwrap();
        assert_eq!(found, [Some(value.slice(3..13)), Some("rt".into())]);
        let found = parts(&mut client, &keys, (6, 0), "").await.unwrap();
        assert_eq!(found, [Some(value.slice(6..)), Some(Bytes::new())]);
    }
}

#[tokio::test]
async fn a_range_of_many_counts_what_is_sent_and_not_what_the_values_are() {
    let server = user_keys().start().await;
    let (mut client, mut blobs) = (client(&server).await, blobs(&server).await);
    put(&mut client, "k", noise(1, 8 << 20)).await;
    upload(&mut blobs, "film", &noise(2, 18 * MIB)).await;
    let many = vec!["k".into(); 100];
    let found = parts(&mut client, &many, (7, 100), "").await.unwrap();
    assert!(found.iter().flatten().all(|it| it.len() == 100) && found.len() == 100);
    let refused = parts(&mut client, &many, (0, 1 << 20), "").await;
    let (code, field) = (Code::InvalidArgument, Some("keys"));
    assert_error(&refused.unwrap_err(), code, "REPLY_TOO_LARGE", field);
    // More of one value than fits an answer is for a download, as with Get.
    let film = ["film".into()];
    let refused = parts(&mut client, &film, (1, 17 << 20), "").await;
    assert_error(&refused.unwrap_err(), code, "VALUE_NEEDS_DOWNLOAD", None);
}

#[tokio::test]
async fn entries_of_many_come_without_any_part_of_their_values() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    put(&mut client, "k", "value").await;
    let request = v1::BatchGetRequest {
        keys: vec!["k".into()],
        entries_only: true,
        range: Some(v1::ByteRange::default()),
        ..v1::BatchGetRequest::default()
    };
    let found = client.batch_get(request).await.unwrap().into_inner();
    let [found] = &found.results[..] else {
        panic!("{found:?}");
    };
    assert_eq!(found.entry.as_ref().unwrap().size, 5);
    assert_eq!(found.value, "");
}

/// The values under keys, `None` for a miss.
async fn values(client: &mut Client, keys: &[Bytes]) -> Vec<Option<Bytes>> {
    let found = batch_get(client, keys.to_vec(), false).await.into_iter();
    found.map(|it| it.entry.map(|_| it.value)).collect()
}

#[tokio::test]
async fn a_read_of_many_that_is_made_again_sees_every_change() {
    let server = user_keys().set("storage.shards", "3").start().await;
    let mut client = client(&server).await;
    let keys: Vec<Bytes> = (0..8)
        .map(|number| format!("key-{number}").into())
        .collect();
    // Values that stand in the index, and values that do not.
    let mut expected: Vec<Option<Bytes>> = (0..8)
        .map(|number| Some(Bytes::from(noise(number, 100 + 400 * number as usize))))
        .collect();
    for (key, value) in keys.iter().zip(&expected) {
        put(&mut client, key.clone(), value.clone().unwrap()).await;
    }
    for round in 0..20 {
        for _ in 0..2 {
            assert_eq!(values(&mut client, &keys).await, expected);
        }
        let at = round % keys.len();
        if round % 3 == 2 {
            let delete = v1::DeleteRequest {
                key: keys[at].clone(),
                ..v1::DeleteRequest::default()
            };
            client.delete(delete).await.unwrap();
            expected[at] = None;
        } else {
            let value = Bytes::from(noise(100 + round as u64, 1000));
            put(&mut client, keys[at].clone(), value.clone()).await;
            expected[at] = Some(value);
        }
    }
}

#[tokio::test]
async fn a_read_of_many_never_shows_a_later_write_without_an_earlier_one() {
    // Writes fall between the looks at two keys or shards, as a busy machine may have it.
    let server = user_keys().set("storage.shards", "4");
    let server = server
        .fail_points("moment::between=20%sleep(2)")
        .start()
        .await;
    let base = client(&server).await;
    let keys: Vec<Bytes> = (0..4)
        .map(|number| format!("key-{number}").into())
        .collect();
    for key in &keys {
        put(&mut base.clone(), key.clone(), "0").await;
    }
    // One writer counts up over all keys in turn: at any moment, the values never rise along the keys.
    let writer = tokio::spawn({
        let (mut client, keys) = (base.clone(), keys.clone());
        async move {
            for round in 1..100 {
                for key in &keys {
                    put(&mut client, key.clone(), format!("{round}")).await;
                }
                // A pause in which reads are answered from what was kept.
                values(&mut client, &keys).await;
            }
        }
    });
    // A connection of its own, which another core serves.
    let mut reader = client(&server).await;
    let mut reads = 0;
    while !writer.is_finished() {
        let found = values(&mut reader, &keys).await.into_iter();
        let text = found.map(|value| String::from_utf8(value.unwrap().to_vec()).unwrap());
        let rounds: Vec<u32> = text.map(|text| text.parse().unwrap()).collect();
        assert!(rounds.is_sorted_by(|one, next| one >= next), "{rounds:?}");
        assert!(rounds[0] - rounds[3] <= 1, "{rounds:?}");
        reads += 1;
    }
    writer.await.unwrap();
    assert!(reads > 3);
}

#[tokio::test]
async fn a_read_of_more_than_fits_one_answer_is_refused() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    put(&mut client, "k", noise(1, 8 << 20)).await;
    let request = v1::BatchGetRequest {
        keys: vec!["k".into(); 9],
        ..v1::BatchGetRequest::default()
    };
    let refused = client.batch_get(request).await.unwrap_err();
    assert_error(
        &refused,
        Code::InvalidArgument,
        "REPLY_TOO_LARGE",
        Some("keys"),
    );
}
