//! Parts of values, and large values over ways that break, between the Rust client and a real server.

mod support;

use bytes::Bytes;
use shardkeep::client::{ClientError, Database, Download, Expect, Keyspace, PutOptions, Query};
use std::io::Cursor;
use std::time::Duration;
use support::proxy::Proxy;
use support::{Builder, Server, noise};
use tokio_stream::StreamExt as _;

const LARGE: usize = 24 << 20;

fn user_keys() -> Builder {
    Server::builder().flags(["--allow-user-key", "--allow-overwrite"])
}

async fn keys_by(address: std::net::SocketAddr) -> Keyspace {
    let db = Database::connect(&address.to_string()).await;
    db.unwrap().keyspace("")
}

async fn store(keys: &Keyspace, key: &'static str, value: &[u8]) {
    let source = Cursor::new(value.to_vec());
    let options = PutOptions::default();
    let stored = keys.upload_from(key, source, options).await.unwrap();
    assert_eq!(stored.stored.key, key);
}

async fn all_of(download: &mut Download) -> Result<Vec<u8>, ClientError> {
    let mut all = Vec::new();
    while let Some(piece) = download.next().await? {
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

#[tokio::test]
async fn a_part_of_a_value_is_read_alone() {
    let server = user_keys().start().await;
    let keys = keys_by(server.address()).await;
    let large = noise(1, LARGE);
    store(&keys, "large", &large).await;
    keys.put("small", "0123456789").await.unwrap();
    let small = async |range| {
        let part = keys.get_range("small", range).await.unwrap().unwrap();
        assert_eq!(part.entry.len, 10);
        part.data
    };
    assert_eq!(small(2..5).await, "234");
    assert_eq!(small(8..100).await, "89");
    let tail = keys.get_range("small", 7..).await.unwrap().unwrap();
    assert_eq!(tail.data, "789");
    assert_eq!(keys.get_range("none", ..5).await.unwrap(), None);
    let nothing = keys.get_range("small", 3..3).await.unwrap_err();
    assert!(matches!(nothing, ClientError::Invalid { .. }), "{nothing}");
    let behind = keys.get_range("small", 11..).await.unwrap_err();
    assert!(matches!(behind, ClientError::Server { .. }), "{behind}");

    let (first, end) = (5_000_000, 15_000_000);
    let part = keys.download_range("large", first..end).await;
    let mut part = part.unwrap().unwrap();
    assert_eq!(part.entry.len, LARGE as u64);
    let (first, end) = (first as usize, end as usize);
    assert!(all_of(&mut part).await.unwrap() == large[first..end]);
    assert!(keys.download_range("none", 1..).await.unwrap().is_none());
    server.stop().await;
}

#[tokio::test]
async fn a_download_that_is_cut_off_goes_on_with_the_next_byte() {
    let server = user_keys().start().await;
    let large = noise(2, LARGE);
    store(&keys_by(server.address()).await, "large", &large).await;
    let proxy = Proxy::to(server.address()).await;
    let keys = keys_by(proxy.address()).await;
    for range in [0..LARGE, 1000..LARGE - 1000] {
        let wire = range.start as u64..range.end as u64;
        let mut download = keys.download_range("large", wire).await.unwrap().unwrap();
        let connections = proxy.accepted();
        let mut all = Vec::new();
        while let Some(piece) = download.next().await.unwrap() {
            // What has come of it already is told before the break is.
            if all.is_empty() || all.len() / (LARGE / 4) != (all.len() + piece.len()) / (LARGE / 4)
            {
                proxy.cut();
            }
            all.extend_from_slice(&piece);
        }
        assert!(all == large[range]);
        assert!(proxy.accepted() > connections, "nothing was cut off");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_download_that_is_cut_off_does_not_go_on_with_another_value() {
    let server = user_keys().start().await;
    let near = keys_by(server.address()).await;
    store(&near, "large", &noise(3, LARGE)).await;
    let proxy = Proxy::to(server.address()).await;
    let keys = keys_by(proxy.address()).await;
    let mut download = keys.download("large").await.unwrap().unwrap();
    download.next().await.unwrap();
    store(&near, "large", &noise(4, LARGE)).await;
    proxy.cut();
    let changed = all_of(&mut download).await.unwrap_err();
    assert!(
        matches!(&changed, ClientError::Conflict { reason, .. } if reason == "VALUE_CHANGED"),
        "{changed}"
    );
    server.stop().await;
}

#[tokio::test]
async fn an_upload_that_is_cut_off_begins_again_by_itself() {
    let server = user_keys().start().await;
    let proxy = Proxy::to(server.address()).await;
    let keys = keys_by(proxy.address()).await;
    let large = noise(5, LARGE);
    let source = CutsWhenRead::of(&large, &proxy, 3);
    let options = PutOptions::default();
    let stored = keys.upload_from("large", source, options).await.unwrap();
    assert!(stored.stored.created || stored.stored.previous.is_some());
    assert!(proxy.accepted() >= 4, "nothing was cut off");
    let mut download = keys.download("large").await.unwrap().unwrap();
    assert!(all_of(&mut download).await.unwrap() == large);

    server.stop().await;
}

#[tokio::test]
async fn uploads_on_conditions_and_ranges_whose_answers_are_lost_are_done_once() {
    let slow = "shard::commit=sleep(40)";
    let server = user_keys().fail_points(slow).start().await;
    let proxy = Proxy::to(server.address()).await;
    let keys = keys_by(proxy.address()).await;
    keys.put("first", "1").await.unwrap();
    let value = noise(5, 9 << 20);
    for number in 1..=12u64 {
        let accepted = proxy.accepted();
        let cut = async {
            // It may be on its way, at work or done: each is met once in a while.
            tokio::time::sleep(Duration::from_millis(number * 30)).await;
            proxy.cut();
        };
        let options = PutOptions {
            only_if: Some(Expect::Absent),
            ..PutOptions::default()
        };
        let key = format!("k/{number}");
        let source = Cursor::new(value.clone());
        let sent = keys.upload_from(key.clone(), source, options);
        let (stored, ()) = tokio::join!(sent, cut);
        assert!(stored.unwrap().stored.created);
        let cut = async {
            tokio::time::sleep(Duration::from_millis(number * 8)).await;
            proxy.cut();
        };
        let range = Query::prefix("k/");
        let (deleted, ()) = tokio::join!(keys.delete_range(&range), cut);
        assert_eq!(deleted.unwrap(), 1);
        // The next call comes by another connection than the first.
        assert!(keys.head(key).await.unwrap().is_none());
        assert!(proxy.accepted() > accepted, "nothing was cut off");
    }
}

#[tokio::test]
async fn a_write_that_leaves_the_same_is_done_again_where_nobody_knows_whether_it_was() {
    // The outcome of one write after the other is unknown, and remembered so under its name.
    for number in 0..3 {
        let points = format!("shard::synced={number}*off->1*return->off");
        let server = user_keys().set("storage.shards", "1").fail_points(&points);
        let server = server.start().await;
        let keys = keys_by(server.address()).await;
        keys.put("k/1", "1").await.unwrap();
        store(&keys, "k/2", &noise(1, 1000)).await;
        keys.delete_range(&Query::prefix("k/")).await.unwrap();
        assert!(keys.head("k/1").await.unwrap().is_none());
        assert!(
            server.log().contains("reopening the shard"),
            "{}",
            server.log()
        );
        server.stop().await;
    }
}

#[tokio::test]
async fn a_source_that_cannot_be_read_is_told_and_stores_nothing() {
    let server = user_keys().start().await;
    let keys = keys_by(server.address()).await;
    let place = tempfile::TempDir::new().unwrap();
    // A folder can be opened, and not be read.
    let folder = tokio::fs::File::open(place.path()).await.unwrap();
    let options = PutOptions::default();
    let error = keys.upload_from("k", folder, options).await.unwrap_err();
    assert!(matches!(error, ClientError::Source { .. }), "{error}");
    assert_eq!(keys.head("k").await.unwrap(), None);
    server.stop().await;
}

#[tokio::test]
async fn rows_changes_and_downloads_are_streams_too() {
    let server = user_keys().start().await;
    let keys = keys_by(server.address()).await;
    let changes = keys.watch(Query::all(), None).await.unwrap();
    for key in ["a", "b", "c"] {
        keys.put(key, "v").await.unwrap();
    }
    let rows = keys.scan(Query::all().values()).await.unwrap();
    let pages: Vec<_> = rows.map(Result::unwrap).collect().await;
    let rows: Vec<Bytes> = pages.into_iter().flatten().map(|it| it.entry.key).collect();
    assert_eq!(rows, ["a", "b", "c"]);
    let steps = changes.into_stream().map(Result::unwrap);
    let told = steps.filter(|step| !step.changes.is_empty()).take(3);
    assert!(
        told.collect::<Vec<_>>()
            .await
            .is_sorted_by_key(|it| it.version)
    );
    let download = keys.download("a").await.unwrap().unwrap();
    let pieces: Vec<Bytes> = download.into_stream().map(Result::unwrap).collect().await;
    assert_eq!(pieces.concat(), b"v");
    server.stop().await;
}

/// A source behind which the way is cut, in the middle of each of the first times that it is read.
struct CutsWhenRead<'a> {
    inner: Cursor<Vec<u8>>,
    proxy: &'a Proxy,
    cuts: usize,
    is_cut: bool,
}

impl<'a> CutsWhenRead<'a> {
    fn of(value: &[u8], proxy: &'a Proxy, cuts: usize) -> Self {
        Self {
            inner: Cursor::new(value.to_vec()),
            proxy,
            cuts,
            is_cut: false,
        }
    }
}

impl tokio::io::AsyncRead for CutsWhenRead<'_> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let is_half = self.inner.position() > LARGE as u64 / 2;
        if is_half && self.cuts > 0 && !self.is_cut {
            self.cuts -= 1;
            self.is_cut = true;
            self.proxy.cut();
        }
        std::pin::Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl tokio::io::AsyncSeek for CutsWhenRead<'_> {
    fn start_seek(
        mut self: std::pin::Pin<&mut Self>,
        position: std::io::SeekFrom,
    ) -> std::io::Result<()> {
        self.is_cut = false;
        std::pin::Pin::new(&mut self.inner).start_seek(position)
    }

    fn poll_complete(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<u64>> {
        std::pin::Pin::new(&mut self.inner).poll_complete(context)
    }
}
