//! What export and import ask of those who have the keys, and tell those who wait.

use crate::client::{Batch, Committed, Entry, PutOptions, Query, Row, Stored, Value};
use crate::model::{self, Chunk, Digest};
use bytes::Bytes;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use tokio::sync::mpsc;

/// The keys of one namespace, read as of now or as of a snapshot.
///
/// The calls are those of [`crate::client::Keyspace`] and of [`crate::embedded::Keyspace`].
pub trait Keys: Sync {
    /// What goes wrong.
    type Error: KeysError;
    /// Keys in order.
    type Rows: Pages<Self::Error>;
    /// A value on its way.
    type Download: Pieces<Self::Error>;

    /// Walks keys.
    fn scan(&self, query: Query) -> impl Future<Output = Result<Self::Rows, Self::Error>> + Send;

    /// Reads keys, in their order.
    fn get_many(
        &self,
        keys: Vec<Bytes>,
    ) -> impl Future<Output = Result<Vec<Option<Value>>, Self::Error>> + Send;

    /// What is known of keys, in their order.
    fn heads(
        &self,
        keys: Vec<Bytes>,
    ) -> impl Future<Output = Result<Vec<Option<Entry>>, Self::Error>> + Send;

    /// Begins to read a value.
    fn download(
        &self,
        key: Bytes,
    ) -> impl Future<Output = Result<Option<Self::Download>, Self::Error>> + Send;

    /// Stores a value.
    fn put(
        &self,
        key: Bytes,
        value: Bytes,
        options: PutOptions,
    ) -> impl Future<Output = Result<Stored, Self::Error>> + Send;

    /// Does a batch.
    fn commit(&self, batch: Batch) -> impl Future<Output = Result<Committed, Self::Error>> + Send;

    /// Which contents are not there.
    fn find_missing(
        &self,
        digests: &[Digest],
    ) -> impl Future<Output = Result<HashSet<Digest>, Self::Error>> + Send;

    /// Stores chunks for a put that will name them.
    fn upload_chunks(
        &self,
        chunks: mpsc::Receiver<(Digest, Bytes)>,
    ) -> impl Future<Output = Result<u64, Self::Error>> + Send;

    /// Stores a value whose chunks are there.
    fn put_content(
        &self,
        key: Bytes,
        digest: Digest,
        chunks: &[Chunk],
        options: PutOptions,
    ) -> impl Future<Output = Result<Stored, Self::Error>> + Send;
}

/// Keys in order, page by page.
pub trait Pages<E>: Send {
    /// Some more keys; `None` at the end.
    fn next_page(&mut self) -> impl Future<Output = Result<Option<Vec<Row>>, E>> + Send;
}

/// A value on its way, piece by piece.
pub trait Pieces<E>: Send {
    /// What is known of it.
    fn entry(&self) -> &Entry;

    /// The next piece; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, E>> + Send;
}

/// What goes wrong with keys, or with the file.
pub trait KeysError: From<model::Error> + Send {
    /// An error about a local file: what was attempted, such as "read".
    fn file(action: &'static str, path: &Path, error: io::Error) -> Self;

    /// That a key is not there.
    fn not_found(key: &[u8]) -> Self;

    /// By which programs know it; empty where it has no such word.
    fn reason(&self) -> &str;

    /// Whether the way to the keys was lost, and may be there again.
    fn is_lost(&self) -> bool;
}

/// Whoever is told how far the work is.
pub trait Report: Send + Sync + 'static {
    /// Another one, who tells the same.
    fn share(&self) -> Self;

    /// So many bytes are to be done from now on.
    fn begin(&self, total: u64);

    /// So many bytes more are done.
    fn advance(&self, bytes: u64);
}
