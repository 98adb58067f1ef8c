//! What is wrong is refused with the field named, and nothing of it is done.

use crate::call::{assert_error, client, get_of, only_if, put_of, user_keys};
use bytes::Bytes;
use shardkeep::proto::v1;
use shardkeep::proto::v1::blob_service_client::BlobServiceClient;
use shardkeep::proto::v1::condition::Requirement;
use shardkeep::proto::v1::upload_request::Part;
use tonic::Code::{DeadlineExceeded, InvalidArgument, NotFound};

const LONG: usize = 65_001;

fn long_key() -> Bytes {
    vec![b'k'; LONG].into()
}

#[tokio::test]
async fn every_field_of_a_put_has_its_limits() {
    let server = user_keys()
        .flags(["--max-upload-size-mb", "1"])
        .start()
        .await;
    let mut client = client(&server).await;
    let put = || put_of("k", "value");
    let with_ttl = |seconds, nanos| v1::PutRequest {
        expiry: Some(v1::Expiry {
            expiry: Some(v1::expiry::Expiry::Ttl(prost_types::Duration {
                seconds,
                nanos,
            })),
        }),
        ..put()
    };
    let with = |requirement| v1::PutRequest {
        condition: only_if(requirement),
        ..put()
    };
    let cases = [
        (put_of("", "value"), "KEY_EMPTY", "key"),
        (put_of(long_key(), "value"), "KEY_TOO_LARGE", "key"),
        (
            put_of("k", vec![0; (1 << 20) + 1]),
            "VALUE_TOO_LARGE",
            "value",
        ),
        (
            v1::PutRequest {
                sum64: Some(1),
                ..put()
            },
            "SUM64_MISMATCH",
            "sum64",
        ),
        (
            v1::PutRequest {
                digest: vec![0; 32].into(),
                ..put()
            },
            "DIGEST_MISMATCH",
            "digest",
        ),
        (
            v1::PutRequest {
                digest: "short".into(),
                ..put()
            },
            "DIGEST_SIZE",
            "digest",
        ),
        (
            with(Requirement::Digest("short".into())),
            "DIGEST_SIZE",
            "condition.digest",
        ),
        (
            with(Requirement::Version(0)),
            "VERSION_ZERO",
            "condition.version",
        ),
        (
            with(Requirement::Absent(false)),
            "CONDITION_FALSE",
            "condition.absent",
        ),
        (with_ttl(0, 0), "TTL_RANGE", "expiry.ttl"),
        (with_ttl(-5, 0), "TTL_RANGE", "expiry.ttl"),
        (with_ttl(i64::MAX, 0), "TTL_RANGE", "expiry.ttl"),
    ];
    for (request, reason, field) in cases {
        let refused = client.put(request).await.unwrap_err();
        assert_error(&refused, InvalidArgument, reason, Some(field));
    }
    let elsewhere = v1::PutRequest {
        namespace: "nowhere".to_owned(),
        ..put()
    };
    let refused = client.put(elsewhere).await.unwrap_err();
    assert_error(&refused, NotFound, "NAMESPACE_NOT_FOUND", None);
    let nothing = client
        .scan(v1::ScanRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(nothing.results, []);
}

#[tokio::test]
async fn every_field_of_a_read_has_its_limits() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    client.put(put_of("k", "value")).await.unwrap();
    let refused = client.get(get_of("")).await.unwrap_err();
    assert_error(&refused, InvalidArgument, "KEY_EMPTY", Some("key"));
    let range = v1::ByteRange {
        offset: 6,
        length: 1,
    };
    let behind = v1::GetRequest {
        range: Some(range),
        ..get_of("k")
    };
    let refused = client.get(behind).await.unwrap_err();
    assert_error(
        &refused,
        InvalidArgument,
        "RANGE_BEYOND_VALUE",
        Some("range.offset"),
    );
    let head = v1::HeadRequest {
        key: long_key(),
        ..v1::HeadRequest::default()
    };
    let refused = client.head(head).await.unwrap_err();
    assert_error(&refused, InvalidArgument, "KEY_TOO_LARGE", Some("key"));
    let keys = |keys| v1::BatchGetRequest {
        keys,
        ..v1::BatchGetRequest::default()
    };
    let one_bad = vec!["a".into(), "b".into(), Bytes::new()];
    let refused = client.batch_get(keys(one_bad)).await.unwrap_err();
    assert_error(&refused, InvalidArgument, "KEY_EMPTY", Some("keys[2]"));
    let many = vec!["a".into(); 10_001];
    let refused = client.batch_get(keys(many)).await.unwrap_err();
    assert_error(&refused, InvalidArgument, "TOO_MANY_KEYS", Some("keys"));
}

#[tokio::test]
async fn every_field_of_a_scan_has_its_limits() {
    let server = user_keys().start().await;
    let mut client = client(&server).await;
    let scan = v1::ScanRequest::default;
    let select = |start_key: Bytes, end_key: Bytes, prefix: Bytes| v1::ScanRequest {
        selection: Some(v1::KeySelection {
            start_key,
            end_key,
            prefix,
        }),
        ..scan()
    };
    let none = Bytes::new;
    let cases = [
        (
            v1::ScanRequest {
                page_size: -1,
                ..scan()
            },
            "COUNT_RANGE",
            "page_size",
        ),
        (
            v1::ScanRequest {
                page_size: 10_001,
                ..scan()
            },
            "COUNT_RANGE",
            "page_size",
        ),
        (
            v1::ScanRequest {
                page_token: "me".to_owned(),
                ..scan()
            },
            "PAGE_TOKEN_INVALID",
            "page_token",
        ),
        (
            select("b".into(), "a".into(), none()),
            "RANGE_UPSIDE_DOWN",
            "selection.end_key",
        ),
        (
            select(long_key(), none(), none()),
            "KEY_TOO_LARGE",
            "selection.start_key",
        ),
        (
            select(none(), long_key(), none()),
            "KEY_TOO_LARGE",
            "selection.end_key",
        ),
        (
            select(none(), none(), long_key()),
            "KEY_TOO_LARGE",
            "selection.prefix",
        ),
    ];
    for (request, reason, field) in cases {
        let refused = client.scan(request).await.unwrap_err();
        assert_error(&refused, InvalidArgument, reason, Some(field));
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_with_a_reason_before_it_is_read() {
    let server = user_keys()
        .flags(["--max-upload-size-mb", "1"])
        .start()
        .await;
    let mut client = client(&server).await;
    let large = client.put(put_of("k", vec![0; 4 << 20])).await;
    let refused = large.unwrap_err();
    assert_error(&refused, InvalidArgument, "MESSAGE_TOO_LARGE", None);

    let mut blobs = BlobServiceClient::new(server.channel().await);
    let header = v1::UploadHeader {
        key: "k".into(),
        ..v1::UploadHeader::default()
    };
    let parts = [Part::Header(header), Part::Data(vec![0; 5 << 20].into())];
    let messages = parts.map(|part| v1::UploadRequest { part: Some(part) });
    let large = blobs.upload(tokio_stream::iter(messages)).await;
    let refused = large.unwrap_err();
    assert_error(&refused, InvalidArgument, "MESSAGE_TOO_LARGE", None);
    assert_error(
        &client.get(get_of("k")).await.unwrap_err(),
        NotFound,
        "KEY_NOT_FOUND",
        None,
    );
}

#[tokio::test]
async fn a_request_that_is_not_answered_in_time_says_so_with_a_reason() {
    let server = user_keys()
        .fail_points("shard::commit=sleep(10000)")
        .set("server.request_timeout", "3s")
        .start()
        .await;
    let mut client = client(&server).await;
    let late = client.put(put_of("k", "value")).await.unwrap_err();
    assert_error(&late, DeadlineExceeded, "REQUEST_TIMEOUT", None);
}
