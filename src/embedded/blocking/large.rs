//! Large values, for threads that wait.

use super::Keyspace;
use crate::client::{Entry, PIECE_SIZE_MAX, PutOptions, Stored, Uploaded};
use crate::embedded;
use crate::embedded::large::{Incoming, reader_failed};
use crate::model::{Chunk, Digest, Result};
use bytes::Bytes;
use std::collections::HashSet;
use std::io::{self, Read};
use std::ops::RangeBounds;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// A value on its way out: its pieces in order, of up to [`PIECE_SIZE_MAX`]; an error is the last.
#[derive(Debug)]
pub struct Download {
    /// What is known of the whole value.
    pub entry: Entry,
    download: embedded::Download,
    runtime: Arc<Runtime>,
}

impl Keyspace {
    /// See [`embedded::Keyspace::upload`]; the pieces may come from another thread, by
    /// [`blocking_send`](mpsc::Sender::blocking_send).
    ///
    /// # Errors
    /// As there.
    pub fn upload(
        &self,
        key: impl Into<Bytes>,
        value: (u64, mpsc::Receiver<Bytes>),
        options: PutOptions,
    ) -> Result<Uploaded> {
        let upload = self.keys.upload(key, value, options);
        self.runtime.block_on(upload)
    }

    /// See [`embedded::Keyspace::upload_from`]; it is read in this thread.
    ///
    /// # Errors
    /// As there.
    pub fn upload_from(
        &self,
        key: impl Into<Bytes>,
        mut reader: impl Read,
        options: PutOptions,
    ) -> Result<Uploaded> {
        let mut incoming = {
            let _entered = self.runtime.enter();
            Incoming::begin(&self.keys, key.into(), options)?
        };
        loop {
            let piece = piece_of(&mut reader).map_err(|error| reader_failed(&error))?;
            if piece.is_empty() {
                return self.runtime.block_on(incoming.finish(None));
            }
            self.runtime.block_on(incoming.push(piece))?;
        }
    }

    /// See [`embedded::Keyspace::download`].
    ///
    /// # Errors
    /// As there.
    pub fn download(&self, key: impl Into<Bytes>) -> Result<Option<Download>> {
        self.download_range(key, ..)
    }

    /// See [`embedded::Keyspace::download_range`].
    ///
    /// # Errors
    /// As there.
    pub fn download_range(
        &self,
        key: impl Into<Bytes>,
        range: impl RangeBounds<u64>,
    ) -> Result<Option<Download>> {
        let begun = self.keys.download_range(key, range);
        let begun = self.runtime.block_on(begun)?;
        Ok(begun.map(|download| Download {
            entry: download.entry.clone(),
            download,
            runtime: self.runtime.clone(),
        }))
    }

    /// See [`embedded::Keyspace::find_missing`].
    ///
    /// # Errors
    /// As there.
    pub fn find_missing(&self, digests: &[Digest]) -> Result<HashSet<Digest>> {
        self.runtime.block_on(self.keys.find_missing(digests))
    }

    /// See [`embedded::Keyspace::upload_chunks`]; they may come from another thread.
    ///
    /// # Errors
    /// As there.
    pub fn upload_chunks(&self, chunks: mpsc::Receiver<(Digest, Bytes)>) -> Result<u64> {
        self.runtime.block_on(self.keys.upload_chunks(chunks))
    }

    /// See [`embedded::Keyspace::put_content`].
    ///
    /// # Errors
    /// As there.
    pub fn put_content(
        &self,
        key: impl Into<Bytes>,
        digest: Digest,
        chunks: &[Chunk],
        options: PutOptions,
    ) -> Result<Stored> {
        let put = self.keys.put_content(key, digest, chunks, options);
        self.runtime.block_on(put)
    }
}

impl Iterator for Download {
    type Item = Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        self.runtime.block_on(self.download.next()).transpose()
    }
}

/// What comes next, in a piece that is as large as can be; empty at the end.
fn piece_of(reader: &mut impl Read) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(PIECE_SIZE_MAX);
    reader.take(PIECE_SIZE_MAX as u64).read_to_end(&mut piece)?;
    Ok(piece.into())
}
