//! Values that are larger than what is put at once.

use crate::small;
use crate::support::noise;
use bytes::Bytes;
use shardkeep::client::{Expect, PutOptions, Query, Uploaded, sum64};
use shardkeep::codec::digest_of;
use shardkeep::embedded::{Download, Keyspace};
use shardkeep::model::{Chunk, Digest, Result};
use shardkeep::{Options, Store, blocking};
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;

const MIB: usize = 1 << 20;

/// At most 9 MiB are put or read at once.
fn narrow() -> Options {
    small().set("server.max_upload_size", "9 MiB")
}

/// A value in pieces of a length, sent by another task.
fn pieces(value: Bytes, len: usize) -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        for start in (0..value.len()).step_by(len) {
            let piece = value.slice(start..(start + len).min(value.len()));
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    });
    receiver
}

async fn upload(keys: &Keyspace, key: &str, value: &Bytes, len: usize) -> Result<Uploaded> {
    let sent = (value.len() as u64, pieces(value.clone(), len));
    keys.upload(key.to_owned(), sent, PutOptions::default())
        .await
}

async fn rest_of(mut download: Download) -> Vec<u8> {
    let mut value = Vec::new();
    while let Some(piece) = download.next().await.unwrap() {
        assert!(!piece.is_empty() && piece.len() <= MIB);
        value.extend_from_slice(&piece);
    }
    assert_eq!(download.next().await.unwrap(), None);
    value
}

/// A reader that breaks when it has given some bytes.
struct Breaking {
    left: usize,
}

impl Breaking {
    fn give(&mut self, wanted: usize) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other("the cable was cut"));
        }
        let given = wanted.min(self.left).min(100_000);
        self.left -= given;
        Ok(given)
    }
}

impl AsyncRead for Breaking {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let given = self.give(into.remaining())?;
        into.initialize_unfilled_to(given).fill(7);
        into.advance(given);
        Poll::Ready(Ok(()))
    }
}

impl Read for Breaking {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let given = self.give(into.len())?;
        into[..given].fill(7);
        Ok(given)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_too_large_to_be_put_goes_up_and_comes_back() {
    let place = TempDir::new().unwrap();
    let store = Store::open(place.path(), narrow()).await.unwrap();
    let keys = store.keyspace("");
    let value = Bytes::from(noise(1, 30 * MIB + 1));
    let put = keys.put("k", value.clone()).await.unwrap_err();
    assert_eq!(put.reason(), "VALUE_TOO_LARGE", "{put}");

    let done = upload(&keys, "k", &value, 5 * MIB).await.unwrap();
    assert!(done.stored.created && !done.stored.deduplicated);
    assert_eq!(done.stored.digest, Some(digest_of(&value)));
    assert_eq!(done.new_bytes, value.len() as u64);
    let get = keys.get("k").await.unwrap_err();
    assert_eq!(get.reason(), "VALUE_NEEDS_DOWNLOAD", "{get}");
    let part = keys.get_range("k", 9_000_000..9_000_500).await.unwrap();
    assert_eq!(part.unwrap().data, value[9_000_000..9_000_500]);

    // What is there is not stored again, and survives.
    let again = upload(&keys, "twin", &value, 100_000).await.unwrap();
    assert_eq!(again.new_bytes, 0);
    store.close().await.unwrap();
    let store = Store::open(place.path(), narrow()).await.unwrap();
    let keys = store.keyspace("");
    for key in ["k", "twin"] {
        let download = keys.download(key).await.unwrap().unwrap();
        assert_eq!(download.entry.len, value.len() as u64);
        assert_eq!(download.entry.sum64, sum64(&value));
        assert!(rest_of(download).await == value);
    }
    let range = 11 * MIB as u64 + 3..29 * MIB as u64;
    let part = keys.download_range("k", range).await.unwrap().unwrap();
    assert!(rest_of(part).await == value[11 * MIB + 3..29 * MIB]);
    assert!(keys.download("none").await.unwrap().is_none());
    let behind = keys.download_range("k", 31 * MIB as u64..).await;
    assert_eq!(behind.unwrap_err().reason(), "RANGE_BEYOND_VALUE");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn small_values_go_the_same_way() {
    let place = TempDir::new().unwrap();
    let store = Store::open(place.path(), small()).await.unwrap();
    let keys = store.keyspace("");
    for size in [0, 1, 3 * MIB, 8 * MIB] {
        let value = Bytes::from(noise(2, size));
        upload(&keys, "k", &value, MIB).await.unwrap();
        let options = PutOptions::default();
        let done = keys.upload_from("reader", &value[..], options).await;
        assert_eq!(done.unwrap().stored.digest, Some(digest_of(&value)));
        for key in ["k", "reader"] {
            assert!(keys.get(key).await.unwrap().unwrap().data == value);
            let download = keys.download(key).await.unwrap().unwrap();
            assert!(rest_of(download).await == value);
        }
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_of_its_snapshot_and_loses_nothing_to_who_does_not_wait() {
    let place = TempDir::new().unwrap();
    let store = Store::open(place.path(), narrow()).await.unwrap();
    let keys = store.keyspace("");
    let value = Bytes::from(noise(3, 12 * MIB));
    upload(&keys, "k", &value, MIB).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    assert!(keys.delete("k").await.unwrap());
    assert!(keys.download("k").await.unwrap().is_none());
    let mut download = keys.at(&snapshot).download("k").await.unwrap().unwrap();
    drop(snapshot);
    let mut found = Vec::new();
    loop {
        // Given up whenever the piece is still being read.
        let next = tokio::select! {
            biased;
            next = download.next() => next.unwrap(),
            () = tokio::task::yield_now() => continue,
        };
        match next {
            Some(piece) => found.extend_from_slice(&piece),
            None => break,
        }
    }
    assert!(found == value);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_is_dropped_half_way_keeps_nothing() {
    let place = TempDir::new().unwrap();
    let store = Store::open(place.path(), narrow()).await.unwrap();
    let keys = store.keyspace("");
    let value = Bytes::from(noise(4, 20 * MIB));
    upload(&keys, "k", &value, MIB).await.unwrap();
    let mut download = keys.download("k").await.unwrap().unwrap();
    let first = download.next().await.unwrap().unwrap();
    assert!(value.starts_with(&first));
    // It reads what it has begun with, whatever becomes of the key.
    keys.put("k", "another").await.unwrap();
    let second = download.next().await.unwrap().unwrap();
    assert!(value[first.len()..].starts_with(&second));
    drop(download);
    store.close().await.unwrap();
    let store = Store::open(place.path(), narrow()).await.unwrap();
    let found = store.keyspace("").get("k").await.unwrap().unwrap();
    assert_eq!(found.data, "another");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_is_held_keeps_nobody_from_closing_the_store() {
    let place = TempDir::new().unwrap();
    let store = Store::open(place.path(), narrow()).await.unwrap();
    let keys = store.keyspace("");
    let value = Bytes::from(noise(8, 20 * MIB));
    upload(&keys, "k", &value, MIB).await.unwrap();
    let mut download = keys.download("k").await.unwrap().unwrap();
    download.next().await.unwrap().unwrap();
    store.close().await.unwrap();
    let store = Store::open(place.path(), narrow()).await.unwrap();
    let end = loop {
        match download.next().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    let error = end.unwrap_err();
    assert_eq!(
        error.kind(),
        shardkeep::model::ErrorKind::Unavailable,
        "{error}"
    );
    assert_eq!(download.next().await.unwrap(), None);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_does_not_come_to_its_end_leaves_nothing() {
    let place = TempDir::new().unwrap();
    let store = Store::open(place.path(), narrow()).await.unwrap();
    let keys = store.keyspace("");
    let reader = Breaking { left: 15 * MIB };
    let broken = keys.upload_from("k", reader, PutOptions::default()).await;
    let broken = broken.unwrap_err();
    assert_eq!(broken.reason(), "READER_FAILED");
    assert!(broken.message().contains("the cable was cut"), "{broken}");

    let value = Bytes::from(noise(5, 10 * MIB));
    let sent = (value.len() as u64 + 1, pieces(value.clone(), MIB));
    let short = keys.upload("k", sent, PutOptions::default()).await;
    assert_eq!(short.unwrap_err().reason(), "SIZE_MISMATCH");

    let (sender, receiver) = mpsc::channel(1);
    let left = keys.upload("k", (9, receiver), PutOptions::default());
    let left = tokio::time::timeout(Duration::ZERO, left).await;
    assert!(left.is_err() && sender.is_closed());

    let only_if = Some(Expect::Present);
    let options = PutOptions {
        only_if,
        ..PutOptions::default()
    };
    let sent = (value.len() as u64, pieces(value.clone(), MIB));
    let absent = keys.upload("k", sent, options).await.unwrap_err();
    assert_eq!(absent.reason(), "KEY_NOT_FOUND", "{absent}");
    let nameless = upload(&keys, "", &value, MIB).await.unwrap_err();
    assert_eq!(nameless.field(), Some("key"), "{nameless}");

    assert_eq!(keys.head("k").await.unwrap(), None);
    let mut rows = keys.scan(Query::all()).await.unwrap();
    assert_eq!(rows.next_page().await.unwrap(), None);
    upload(&keys, "k", &value, MIB).await.unwrap();
    let download = keys.download("k").await.unwrap().unwrap();
    assert!(rest_of(download).await == value);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_put_by_the_names_of_its_chunks() {
    let place = TempDir::new().unwrap();
    let store = Store::open(place.path(), narrow()).await.unwrap();
    let keys = store.keyspace("");
    let value = Bytes::from(noise(6, 10 * MIB));
    let parts: Vec<Bytes> = (0..10)
        .map(|n| value.slice(n * MIB..(n + 1) * MIB))
        .collect();
    let digests: Vec<Digest> = parts.iter().map(|part| digest_of(part)).collect();
    let chunks: Vec<Chunk> = digests
        .iter()
        .map(|digest| Chunk {
            digest: *digest,
            raw_len: 1 << 20,
        })
        .collect();
    let put = async |chunks: &[Chunk]| {
        let options = PutOptions::default();
        keys.put_content("k", digest_of(&value), chunks, options)
            .await
    };
    let absent = put(&[]).await.unwrap_err();
    assert_eq!(absent.reason(), "CONTENT_NOT_FOUND", "{absent}");
    let missing = put(&chunks).await.unwrap_err();
    assert_eq!(missing.reason(), "CHUNKS_MISSING", "{missing}");
    assert_eq!(keys.find_missing(&digests).await.unwrap().len(), 10);

    let send = async |some: &[(Digest, Bytes)]| {
        let (sender, receiver) = mpsc::channel(some.len());
        for one in some {
            sender.try_send(one.clone()).unwrap();
        }
        drop(sender);
        keys.upload_chunks(receiver).await
    };
    let named: Vec<(Digest, Bytes)> = digests.iter().copied().zip(parts).collect();
    let wrong = (digests[0], named[1].1.clone());
    let refused = send(&[wrong]).await.unwrap_err();
    assert_eq!(refused.reason(), "DIGEST_MISMATCH", "{refused}");
    send(&named[..9]).await.unwrap();
    let missing = keys.find_missing(&digests).await.unwrap();
    assert_eq!(missing, [digests[9]].into());
    assert_eq!(send(&named).await.unwrap(), 1 << 20);
    let stored = put(&chunks).await.unwrap();
    assert!(stored.created);
    // It is there as a whole now.
    assert!(!put(&[]).await.unwrap().created);
    let download = keys.download("k").await.unwrap().unwrap();
    assert!(rest_of(download).await == value);
    store.close().await.unwrap();
}

#[test]
fn a_program_without_async_has_them_too() {
    let place = TempDir::new().unwrap();
    let store = blocking::Store::open(place.path(), narrow()).unwrap();
    let keys = store.keyspace("");
    let value = Bytes::from(noise(7, 14 * MIB));
    let options = PutOptions::default;
    let done = keys.upload_from("k", &value[..], options()).unwrap();
    assert_eq!(done.stored.digest, Some(digest_of(&value)));
    let broken = keys.upload_from("broken", Breaking { left: 9 * MIB }, options());
    assert_eq!(broken.unwrap_err().reason(), "READER_FAILED");
    assert_eq!(keys.head("broken").unwrap(), None);

    let (sender, receiver) = mpsc::channel(1);
    let (size, sent) = (value.len() as u64, value.clone());
    let sending = std::thread::spawn(move || {
        for piece in sent.chunks(2 * MIB) {
            sender.blocking_send(sent.slice_ref(piece)).unwrap();
        }
    });
    let again = keys.upload("twin", (size, receiver), options()).unwrap();
    sending.join().unwrap();
    assert_eq!(again.new_bytes, 0);

    let download = keys.download("twin").unwrap().unwrap();
    assert_eq!(download.entry.len, size);
    let found: Vec<Bytes> = download.map(Result::unwrap).collect();
    assert!(found.concat() == value);
    let part = keys.download_range("k", 9_999_999..).unwrap().unwrap();
    let part: Vec<Bytes> = part.map(Result::unwrap).collect();
    assert!(part.concat() == value[9_999_999..]);
    let part = keys.get_range("k", 5..8).unwrap().unwrap();
    assert_eq!(part.data, value[5..8]);
    assert!(keys.find_missing(&[digest_of(&value)]).unwrap().is_empty());
    let (sender, receiver) = mpsc::channel(1);
    let chunk = (digest_of(b"chunk"), Bytes::from("chunk"));
    sender.try_send(chunk).unwrap();
    drop(sender);
    assert_eq!(keys.upload_chunks(receiver).unwrap(), 5);
    let stored = keys.put_content("third", digest_of(&value), &[], options());
    assert!(stored.unwrap().deduplicated);
    assert_eq!(keys.delete_range(&Query::prefix("t")).unwrap(), 2);
    store.close().unwrap();
}
