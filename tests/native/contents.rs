//! `FindMissing`, `UploadChunks` and `PutContent`.

use crate::blobs::{Blobs, MIB, blobs, download, download_of, upload};
use crate::call::{assert_error, client, only_if, put, user_keys};
use crate::support::noise;
use bytes::Bytes;
use shardkeep::codec::{Cutter, digest_of};
use shardkeep::proto::v1;
use shardkeep::proto::v1::condition::Requirement::Absent;
use tonic::{Code, Status};
use xxhash_rust::xxh64::xxh64;

/// A value as a client cuts it.
fn cut(value: &[u8]) -> Vec<Bytes> {
    let mut cutter = Cutter::default();
    cutter.push(value);
    std::iter::from_fn(|| cutter.last_chunk()).collect()
}

fn digest(raw: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&digest_of(raw).0)
}

async fn missing(blobs: &mut Blobs, digests: Vec<Bytes>) -> Vec<Bytes> {
    let request = v1::FindMissingRequest { digests };
    let found = blobs.find_missing(request).await.unwrap();
    found.into_inner().missing_digests
}

async fn send_chunks(
    blobs: &mut Blobs,
    chunks: Vec<Bytes>,
) -> Result<v1::UploadChunksResponse, Status> {
    let chunks = chunks.into_iter().map(|data| v1::UploadChunksRequest {
        digest: digest(&data),
        data,
    });
    let chunks: Vec<_> = chunks.collect();
    let sent = blobs.upload_chunks(tokio_stream::iter(chunks)).await?;
    Ok(sent.into_inner())
}

fn put_of(key: &str, value: &[u8], chunks: &[Bytes]) -> v1::PutContentRequest {
    let chunk = |raw: &Bytes| v1::Chunk {
        digest: digest(raw),
        size: raw.len() as u32,
    };
    v1::PutContentRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        digest: digest(value),
        chunks: chunks.iter().map(chunk).collect(),
        ..v1::PutContentRequest::default()
    }
}

#[tokio::test]
async fn a_client_that_cuts_sends_only_what_is_missing() {
    let server = user_keys().set("storage.shards", "3").start().await;
    let mut blobs = blobs(&server).await;
    let mut value = noise(11, 12 * MIB);
    upload(&mut blobs, "first", &value).await;
    value.splice(5 * MIB..5 * MIB, noise(12, 300_000));
    let chunks = cut(&value);
    let whole = digest(&value);
    assert_eq!(
        missing(&mut blobs, vec![whole.clone()]).await,
        std::slice::from_ref(&whole)
    );
    let asked: Vec<Bytes> = chunks.iter().map(|raw| digest(raw)).collect();
    let lacks = missing(&mut blobs, asked.clone()).await;
    assert!(!lacks.is_empty() && lacks.len() < 8, "{}", lacks.len());
    let early = blobs.put_content(put_of("k", &value, &chunks)).await;
    assert_error(&early.unwrap_err(), Code::Aborted, "CHUNKS_MISSING", None);
    let new: Vec<Bytes> = chunks
        .iter()
        .filter(|raw| lacks.contains(&digest(raw)))
        .cloned()
        .collect();
    let sent = send_chunks(&mut blobs, new.clone()).await.unwrap();
    let bytes: usize = new.iter().map(Bytes::len).sum();
    assert_eq!(
        (sent.chunk_count as usize, sent.new_bytes),
        (new.len(), bytes as u64)
    );
    assert_eq!(missing(&mut blobs, asked).await, [] as [Bytes; 0]);
    let named = |chunks| v1::PutContentRequest {
        request_id: "once".to_owned(),
        ..put_of("k", &value, chunks)
    };
    let done = blobs.put_content(named(&chunks)).await;
    let done = done.unwrap().into_inner();
    // A client that asks again what is missing finds the whole, and names no chunks.
    let again = blobs.put_content(named(&[])).await.unwrap().into_inner();
    assert_eq!(done, again);
    assert_eq!(
        (done.size, done.sum64),
        (value.len() as u64, xxh64(&value, 0))
    );
    assert!(done.put.unwrap().created);
    assert!(download(&mut blobs, download_of("k")).await.unwrap().1 == value);
    // Now the whole is there, and its digest is enough.
    assert_eq!(missing(&mut blobs, vec![whole]).await, [] as [Bytes; 0]);
    let again = blobs.put_content(put_of("again", &value, &[])).await;
    assert!(again.unwrap().into_inner().put.unwrap().deduplicated);
    assert!(download(&mut blobs, download_of("again")).await.unwrap().1 == value);
}

#[tokio::test]
async fn any_content_with_a_home_can_be_put_by_its_digest() {
    let server = user_keys().set("storage.shards", "2").start().await;
    let (mut blobs, mut client) = (blobs(&server).await, client(&server).await);
    let value = noise(13, 200_000);
    put(&mut client, "first", value.clone()).await;
    let done = blobs.put_content(put_of("second", &value, &[])).await;
    assert_eq!(done.unwrap().into_inner().size, 200_000);
    assert!(download(&mut blobs, download_of("second")).await.unwrap().1 == value);
    let nothing = blobs
        .put_content(put_of("k", &noise(14, 200_000), &[]))
        .await;
    assert_error(
        &nothing.unwrap_err(),
        Code::NotFound,
        "CONTENT_NOT_FOUND",
        None,
    );
    let taken = v1::PutContentRequest {
        condition: only_if(Absent(true)),
        ..put_of("first", &value, &[])
    };
    let taken = blobs.put_content(taken).await.unwrap_err();
    assert_error(&taken, Code::AlreadyExists, "KEY_EXISTS", None);
    let named = v1::PutContentRequest {
        request_id: "once".to_owned(),
        ..put_of("named", &value, &[])
    };
    let first = blobs.put_content(named.clone()).await.unwrap().into_inner();
    let second = blobs.put_content(named).await.unwrap().into_inner();
    assert_eq!(first, second);
}

#[tokio::test]
async fn a_list_that_is_not_the_value_is_refused_with_its_field() {
    let server = user_keys().start().await;
    let mut blobs = blobs(&server).await;
    let value = noise(15, 9 * MIB);
    let chunks = cut(&value);
    send_chunks(&mut blobs, chunks.clone()).await.unwrap();
    let good = put_of("k", &value, &chunks);
    let mut refused = async |request: v1::PutContentRequest, reason, field| {
        let refused = blobs.put_content(request).await.unwrap_err();
        assert_error(&refused, Code::InvalidArgument, reason, Some(field));
    };
    let mut turned = good.clone();
    turned.chunks.reverse();
    refused(turned, "DIGEST_MISMATCH", "digest").await;
    let mut longer = good.clone();
    longer.chunks[2].size += 1;
    refused(longer, "CHUNK_SIZE", "chunks[2].size").await;
    let mut empty = good.clone();
    empty.chunks[1].size = 0;
    refused(empty, "CHUNK_SIZE", "chunks[1].size").await;
    let mut cut_digest = good.clone();
    cut_digest.chunks[1].digest = Bytes::from_static(b"short");
    refused(cut_digest, "DIGEST_SIZE", "chunks[1].digest").await;
    let mut short = good.clone();
    short.chunks.truncate(3);
    refused(short, "VALUE_NOT_CUT", "chunks").await;
    let mut many = good.clone();
    many.chunks = vec![many.chunks[0].clone(); 65_537];
    refused(many, "TOO_MANY_CHUNKS", "chunks").await;
    let mut sized = good.clone();
    sized.size = Some(7);
    refused(sized, "SIZE_MISMATCH", "size").await;
    let mut summed = good.clone();
    summed.sum64 = Some(7);
    refused(summed, "SUM64_MISMATCH", "sum64").await;
    blobs.put_content(good).await.unwrap();
    let wrong = vec![v1::UploadChunksRequest {
        data: Bytes::from_static(b"data"),
        digest: Bytes::from_static(&[7; 32]),
    }];
    let wrong = blobs.upload_chunks(tokio_stream::iter(wrong)).await;
    assert_error(
        &wrong.unwrap_err(),
        Code::InvalidArgument,
        "DIGEST_MISMATCH",
        Some("digest"),
    );
    for size in [0, MIB + 1] {
        let wrong = send_chunks(&mut blobs, vec![vec![7; size].into()]).await;
        assert_error(
            &wrong.unwrap_err(),
            Code::InvalidArgument,
            "CHUNK_SIZE",
            Some("data"),
        );
    }
    let digests = vec![digest(b""); 10_001];
    let many = blobs.find_missing(v1::FindMissingRequest { digests }).await;
    assert_error(
        &many.unwrap_err(),
        Code::InvalidArgument,
        "TOO_MANY_DIGESTS",
        Some("digests"),
    );
    let digests = vec![digest(b""), Bytes::from_static(b"short")];
    let short = blobs.find_missing(v1::FindMissingRequest { digests }).await;
    assert_error(
        &short.unwrap_err(),
        Code::InvalidArgument,
        "DIGEST_SIZE",
        Some("digests[1]"),
    );
}
