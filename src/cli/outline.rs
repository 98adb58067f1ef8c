//! A large file as the server will keep it: its chunks, read once, without holding it in memory.

use super::exit::CliError;
use super::progress::Progress;
use crate::client::PIECE_SIZE_MAX;
use crate::codec::{Cutter, StreamDigest, StreamSum, digest_of};
use crate::exchange::{ChunkSource, chunk_of};
use crate::model::{Chunk, Digest};
use bytes::Bytes;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// What a file holds.
#[derive(Debug, Clone)]
pub struct Outline {
    path: PathBuf,
    /// Of the whole.
    pub digest: Digest,
    /// xxh64 of the whole.
    pub sum64: u64,
    /// Bytes of the whole.
    pub len: u64,
    /// Its chunks in order.
    pub chunks: Vec<Chunk>,
}

impl Outline {
    /// As [`Outline::of`], off the threads that answer.
    ///
    /// # Errors
    /// As there.
    pub async fn read(path: &Path, progress: &Progress) -> Result<Self, CliError> {
        let (path, shown) = (path.to_owned(), progress.share());
        let outline = tokio::task::spawn_blocking(move || Self::of(&path, &shown));
        outline.await.expect("reading does not panic")
    }

    /// Reads a file from its beginning to its end. Blocks.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(path: &Path, progress: &Progress) -> Result<Self, CliError> {
        let read = |error| CliError::file("read", path, error);
        let mut file = File::open(path).map_err(read)?;
        let (mut digest, mut sum64) = (StreamDigest::default(), StreamSum::default());
        let (mut cutter, mut chunks) = (Cutter::default(), Vec::new());
        let mut piece = vec![0; PIECE_SIZE_MAX];
        let mut len = 0;
        loop {
            let taken = file.read(&mut piece).map_err(read)?;
            if taken == 0 {
                break;
            }
            digest.update(&piece[..taken]);
            sum64.update(&piece[..taken]);
            cutter.push(&piece[..taken]);
            chunks.extend(std::iter::from_fn(|| cutter.next_chunk()).map(|raw| chunk_of(&raw)));
            len += taken as u64;
            progress.advance(taken as u64);
        }
        chunks.extend(std::iter::from_fn(|| cutter.last_chunk()).map(|raw| chunk_of(&raw)));
        Ok(Self {
            path: path.to_owned(),
            digest: digest.finish(),
            sum64: sum64.finish(),
            len,
            chunks,
        })
    }
}

impl ChunkSource for Outline {
    type Error = CliError;

    fn digest(&self) -> Digest {
        self.digest
    }

    fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    fn read_chunks(
        &self,
        mut wanted: HashSet<Digest>,
        mut take: impl FnMut(Digest, Bytes) -> bool,
    ) -> Result<(), CliError> {
        let read = |error| CliError::file("read", &self.path, error);
        let file = File::open(&self.path).map_err(read)?;
        let mut offset = 0;
        for chunk in &self.chunks {
            let at = offset;
            offset += u64::from(chunk.raw_len);
            if !wanted.remove(&chunk.digest) {
                continue;
            }
            let mut raw = vec![0; chunk.raw_len as usize];
            file.read_exact_at(&mut raw, at).map_err(read)?;
            if digest_of(&raw) != chunk.digest {
                let changed = io::Error::other("it was changed while it was read");
                return Err(read(changed));
            }
            if !take(chunk.digest, raw.into()) {
                break;
            }
        }
        Ok(())
    }
}
