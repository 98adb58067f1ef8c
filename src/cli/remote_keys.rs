//! The keys of a server, for exports and imports, and the bar that tells how far these are.

use super::exit::CliError;
use super::progress::Progress;
use crate::client::{
    Batch, ClientError, Committed, Download, Entry, Keyspace, PutOptions, Query, Row, Rows, Stored,
    Value,
};
use crate::exchange::{Keys, KeysError, Pages, Pieces, Report};
use crate::model::{Chunk, Digest};
use bytes::Bytes;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use tokio::sync::mpsc;

type Result<T> = std::result::Result<T, CliError>;

impl Keys for Keyspace {
    type Error = CliError;
    type Rows = Rows;
    type Download = Download;

    async fn scan(&self, query: Query) -> Result<Rows> {
        Ok(Self::scan(self, query).await?)
    }

    async fn get_many(&self, keys: Vec<Bytes>) -> Result<Vec<Option<Value>>> {
        Ok(Self::get_many(self, keys).await?)
    }

    async fn heads(&self, keys: Vec<Bytes>) -> Result<Vec<Option<Entry>>> {
        Ok(Self::heads(self, keys).await?)
    }

    async fn download(&self, key: Bytes) -> Result<Option<Download>> {
        Ok(Self::download(self, key).await?)
    }

    async fn put(&self, key: Bytes, value: Bytes, options: PutOptions) -> Result<Stored> {
        Ok(self.put_with(key, value, options).await?)
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        Ok(Self::commit(self, batch).await?)
    }

    async fn find_missing(&self, digests: &[Digest]) -> Result<HashSet<Digest>> {
        Ok(Self::find_missing(self, digests).await?)
    }

    async fn upload_chunks(&self, chunks: mpsc::Receiver<(Digest, Bytes)>) -> Result<u64> {
        Ok(Self::upload_chunks(self, chunks).await?)
    }

    async fn put_content(
        &self,
        key: Bytes,
        digest: Digest,
        chunks: &[Chunk],
        options: PutOptions,
    ) -> Result<Stored> {
        Ok(Self::put_content(self, key, digest, chunks, options).await?)
    }
}

impl Pages<CliError> for Rows {
    async fn next_page(&mut self) -> Result<Option<Vec<Row>>> {
        Ok(Self::next_page(self).await?)
    }
}

impl Pieces<CliError> for Download {
    fn entry(&self) -> &Entry {
        &self.entry
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(Self::next(self).await?)
    }
}

impl KeysError for CliError {
    fn file(action: &'static str, path: &Path, error: io::Error) -> Self {
        Self::file(action, path, error)
    }

    fn not_found(key: &[u8]) -> Self {
        ClientError::not_found(key).into()
    }

    fn reason(&self) -> &str {
        match self {
            Self::Client(ClientError::Conflict { reason, .. }) => reason,
            Self::Store(error) => error.reason(),
            _ => "",
        }
    }

    fn is_lost(&self) -> bool {
        use ClientError::{Unavailable, Unreachable};
        matches!(self, Self::Client(Unreachable { .. } | Unavailable { .. }))
    }
}

impl Report for Progress {
    fn share(&self) -> Self {
        Self::share(self)
    }

    fn begin(&self, total: u64) {
        self.at(0, total);
        self.message("sending");
    }

    fn advance(&self, bytes: u64) {
        Self::advance(self, bytes);
    }
}
