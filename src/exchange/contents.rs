//! Large values of an export: where their chunks stand in it, to be read again as far as they are not
//! there.
//!
//! Memory: about 50 bytes for each chunk of the file, and the list of one value.

use super::chunked::ChunkSource;
use crate::backup::{ArchiveReader, Entry};
use crate::codec::{decode_chunks, digest_of, open_sealed, sum64_of};
use crate::model::{Chunk, Codec, Digest, Error, Result, SealedValue, ValueInfo};
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Where contents begin in the file, in bytes, with the length of each.
type Places = HashMap<Digest, (u64, u64)>;

/// The contents that stand in a file, beside those that stand with their keys.
#[derive(Debug, Clone)]
pub struct Contents {
    reader: Arc<ArchiveReader>,
    places: Arc<Places>,
}

/// A large value of a file.
#[derive(Debug, Clone)]
pub struct LargeValue {
    contents: Contents,
    digest: Digest,
    chunks: Arc<[Chunk]>,
}

impl Contents {
    /// None yet.
    #[must_use]
    pub fn of(reader: Arc<ArchiveReader>) -> Self {
        let places = Arc::default();
        Self { reader, places }
    }

    /// Checks a content that begins at `position`, and remembers where it stands.
    ///
    /// # Errors
    /// It is not what it says, or names chunks that do not stand before it.
    pub fn note(&mut self, position: u64, digest: Digest, value: SealedValue) -> Result<()> {
        let raw_len = value.info.raw_len;
        match value.codec {
            Codec::Chunks => {
                for chunk in chunks_of(digest, &value)? {
                    self.check(chunk.digest, u64::from(chunk.raw_len))?;
                }
            }
            _ => drop(raw_of(digest, value)?),
        }
        let places = Arc::get_mut(&mut self.places).expect("nothing is read before all are noted");
        places.insert(digest, (position, raw_len));
        Ok(())
    }

    /// Checks that a content stands in what was noted.
    ///
    /// # Errors
    /// It does not, or has another length.
    pub fn check(&self, digest: Digest, len: u64) -> Result<()> {
        match self.places.get(&digest) {
            Some((_, there)) if *there == len => Ok(()),
            Some((_, there)) => Err(damaged(
                digest,
                &format!("it has {there} bytes, and is named with {len}"),
            )),
            None => Err(damaged(digest, "it is named, and is not in the file")),
        }
    }

    /// A large value that was noted.
    ///
    /// # Errors
    /// The file is not any more what it was.
    pub fn large(&self, digest: Digest) -> Result<LargeValue> {
        let chunks = chunks_of(digest, &self.read(digest)?)?;
        Ok(LargeValue {
            contents: self.clone(),
            digest,
            chunks: chunks.into(),
        })
    }

    fn read(&self, digest: Digest) -> Result<SealedValue> {
        let place = self.places.get(&digest);
        let (position, _) = place.ok_or_else(|| damaged(digest, "it is not in the file"))?;
        match self.reader.entry_at(*position)? {
            Entry::Blob { value, .. } => Ok(value),
            _ => Err(damaged(digest, "the file was changed while it was read")),
        }
    }
}

impl ChunkSource for LargeValue {
    type Error = Error;

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
    ) -> Result<()> {
        for Chunk { digest, .. } in &*self.chunks {
            if !wanted.remove(digest) {
                continue;
            }
            let raw = raw_of(*digest, self.contents.read(*digest)?)?;
            if !take(*digest, raw) {
                break;
            }
        }
        Ok(())
    }
}

/// The bytes of a content, if they are what was exported.
fn raw_of(digest: Digest, value: SealedValue) -> Result<Bytes> {
    let ValueInfo { raw_len, sum64 } = value.info;
    let raw = open_sealed(value.codec, value.payload, raw_len);
    let raw = raw.map_err(|error| damaged(digest, &error.to_string()))?;
    if sum64_of(&raw) != sum64 || digest_of(&raw) != digest {
        return Err(damaged(digest, "its bytes are not what it is named after"));
    }
    Ok(raw)
}

fn chunks_of(digest: Digest, value: &SealedValue) -> Result<Vec<Chunk>> {
    let list = decode_chunks(&value.payload, value.info.raw_len);
    let list = list.map_err(|error| damaged(digest, &error.to_string()))?;
    Ok(list.chunks)
}

fn damaged(digest: Digest, what: &str) -> Error {
    Error::corrupt(
        "EXPORT_DAMAGED",
        format!("damaged content {digest}: {what}"),
    )
}
