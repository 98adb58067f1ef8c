//! The file of an export: large values in chunks, each of them once.
//!
//! It knows the format's words and nobody's keys. Memory: a chunk or two, and about 50 bytes for each chunk
//! that the file holds, which is by how it knows that one is there.

use super::keys::{Pieces, Report};
use crate::backup::{ArchiveEncoder, Counts, Entry};
use crate::codec::{Cutter, Sealer, StreamDigest, digest_of, seal_chunks, sum64_of};
use crate::model::{Chunk, ChunkList, Digest, Error, RefId, Result, ValueInfo};
use bytes::Bytes;
use std::collections::HashSet;
use std::io::Write;

/// How values are made smaller, as a server does by default.
pub const SEALER: Sealer = Sealer {
    level: 3,
    probe_size: 64 << 10,
    min_gain: 0.05,
};

/// An export on its way to its file.
pub struct Archive<W, R> {
    encoder: ArchiveEncoder<W>,
    /// Chunks and large values that are in it.
    contents: HashSet<Digest>,
    report: R,
    /// Bytes that were told.
    told: u64,
}

impl<W: Write, R: Report> Archive<W, R> {
    /// Goes on behind what the encoder has written.
    pub fn new(encoder: ArchiveEncoder<W>, report: R) -> Self {
        Self {
            encoder,
            contents: HashSet::new(),
            report,
            told: 0,
        }
    }

    /// Whether a large value is in it.
    pub fn has(&self, digest: &Digest) -> bool {
        self.contents.contains(digest)
    }

    /// Appends an entry.
    ///
    /// # Errors
    /// What the sink answers.
    pub fn write(&mut self, entry: &Entry) -> Result<()> {
        self.encoder.write(entry)?;
        self.report.advance(self.encoder.bytes() - self.told);
        self.told = self.encoder.bytes();
        Ok(())
    }

    /// Appends the chunks of a value as they come, those that are not in it, and then the list of all.
    ///
    /// # Errors
    /// Those of the value's source; `Corrupt` for one that is not what it says; what the sink answers.
    pub async fn write_pieces<E: From<Error>>(
        &mut self,
        mut download: impl Pieces<E>,
    ) -> Result<Digest, E> {
        let (mut whole, mut cutter) = (StreamDigest::default(), Cutter::default());
        let mut chunks = Vec::new();
        while let Some(piece) = download.next().await? {
            whole.update(&piece);
            cutter.push(&piece);
            while let Some(raw) = cutter.next_chunk() {
                chunks.push(self.write_chunk(raw)?);
            }
        }
        while let Some(raw) = cutter.last_chunk() {
            chunks.push(self.write_chunk(raw)?);
        }
        let (entry, digest) = (download.entry(), whole.finish());
        if let Some(named) = entry.digest.filter(|named| *named != digest) {
            let key = entry.key.escape_ascii();
            let message = format!(
                "damaged value of key {key}: its BLAKE3 digest is {digest}, stored was {named}"
            );
            return Err(Error::corrupt("DATA_DAMAGED", message).into());
        }
        let info = ValueInfo {
            raw_len: entry.len,
            sum64: entry.sum64,
        };
        // Whoever takes the file in gives the list's references a name of its own.
        let ref_id = RefId(0);
        let value = seal_chunks(&ChunkList { ref_id, chunks }, info, digest);
        self.write(&Entry::Blob { digest, value })?;
        self.contents.insert(digest);
        Ok(digest)
    }

    /// Writes the end; what it holds, and its bytes.
    ///
    /// # Errors
    /// What the sink answers.
    pub fn finish(self) -> Result<(Counts, u64)> {
        let (_, counts, bytes) = self.encoder.finish()?;
        Ok((counts, bytes))
    }

    fn write_chunk(&mut self, raw: Bytes) -> Result<Chunk> {
        let chunk = chunk_of(&raw);
        if self.contents.insert(chunk.digest) {
            let info = ValueInfo {
                raw_len: raw.len() as u64,
                sum64: sum64_of(&raw),
            };
            let value = SEALER.seal(raw, info, Some(chunk.digest));
            let digest = chunk.digest;
            self.write(&Entry::Blob { digest, value })?;
        }
        Ok(chunk)
    }
}

/// What a list says of a chunk.
#[must_use]
pub fn chunk_of(raw: &[u8]) -> Chunk {
    Chunk {
        digest: digest_of(raw),
        raw_len: u32::try_from(raw.len()).expect("chunks end at 1 MiB"),
    }
}
