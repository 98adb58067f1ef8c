//! Whether large values are what they are named after: each list, beside its writers, against all of
//! its chunks in their order, wherever these live.
//!
//! Nothing is held from being reclaimed meanwhile. A list is reclaimed before its chunks are let go, so
//! what its chunks lack is a fault only if the list is still the same afterwards. One list and one chunk are in
//! memory at a time.

use super::Router;
use crate::codec::Space;
use crate::model::{BlobRef, Chunk, ChunkList, Codec, Digest, Key, Problem, ValueInfo, Version};
use crate::shard::{
    ROW_BYTES, ShardError, ShardReader, Together, index_path, large_problem, wrong_length,
};
use bytes::Bytes;
use std::sync::Arc;

/// Where a round stands among the large values.
#[derive(Debug, Default)]
pub struct LargePlace {
    /// The shard of the lists that come next.
    shard: usize,
    /// Those before this id are done.
    from: Bytes,
    /// The one that is being read.
    open: Option<Box<OpenList>>,
}

/// A list, and how many of its chunks were read.
#[derive(Debug)]
struct OpenList {
    digest: Digest,
    version: Version,
    info: ValueInfo,
    list: ChunkList,
    read: usize,
    together: Together,
}

/// What a step found.
#[derive(Debug, Default)]
pub struct LargeStep {
    /// Where the next one begins; `None` at the end of the round.
    pub next: Option<LargePlace>,
    /// Bytes that were looked at.
    pub bytes: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl Router {
    /// Checks large values, the first ones or those of a place, for about `size` bytes. What cannot be
    /// read because its shard is being opened is left out of this round. May wait for the disk.
    #[must_use]
    pub fn check_large(&self, mut place: LargePlace, size: u64) -> LargeStep {
        let mut step = LargeStep::default();
        while step.bytes < size {
            match place.open.take() {
                Some(open) => place.open = self.read_chunk(open, &mut step),
                None => match self.next_list(place, size, &mut step) {
                    Some(next) => place = next,
                    None => return step,
                },
            }
        }
        step.next = Some(place);
        step
    }

    /// Goes on to the next list of this shard, or to the next shard; `None` behind the last one.
    fn next_list(&self, place: LargePlace, size: u64, step: &mut LargeStep) -> Option<LargePlace> {
        let shard = self.shards.get(place.shard)?;
        let behind = LargePlace {
            shard: place.shard + 1,
            ..LargePlace::default()
        };
        let Ok(reader) = shard.reader() else {
            return Some(behind);
        };
        for found in reader.snapshot().scan(Space::Blob, &[], Some(&place.from)) {
            let Ok((id, row)) = found else {
                return Some(behind); // The check of the index tells of it.
            };
            step.bytes += ROW_BYTES;
            let open = match <[u8; Digest::SIZE]>::try_from(&id[..]) {
                Ok(digest) if row.codec == Codec::Chunks => open(&reader, Digest(digest), step),
                _ => None,
            };
            if open.is_some() || step.bytes >= size {
                return Some(LargePlace {
                    from: [&id[..], &[0]].concat().into(),
                    open,
                    ..place
                });
            }
        }
        Some(behind)
    }

    /// Reads the next chunk of a list; `None` when the list is done with.
    fn read_chunk(&self, mut open: Box<OpenList>, step: &mut LargeStep) -> Option<Box<OpenList>> {
        let fault = match open.list.chunks.get(open.read) {
            None => open.together.fault(open.digest, open.info)?,
            Some(chunk) => match self.sound_chunk(chunk, &open) {
                Ok(raw) => {
                    let raw = raw?;
                    step.bytes += raw.len() as u64;
                    open.together.take(&raw);
                    open.read += 1;
                    return Some(open);
                }
                Err(lacks) => format!("is made of chunk {}, {lacks}", chunk.digest),
            },
        };
        let home = self.handle(self.shard_of_digest(open.digest));
        step.problems
            .extend(open.problem(&home.reader().ok()?, &fault));
        None
    }

    /// The bytes of a chunk, or what it lacks; `None` while its shard is being opened.
    fn sound_chunk(&self, chunk: &Chunk, of: &OpenList) -> Result<Option<Bytes>, String> {
        let home = self.shard_of_digest(chunk.digest);
        let Ok(reader) = self.handle(home).reader() else {
            return Ok(None);
        };
        let unreadable = |error: ShardError| format!("which cannot be read: {error}");
        let blob = BlobRef {
            digest: chunk.digest,
            ref_id: of.list.ref_id,
        };
        let found = reader.blob(chunk.digest).map_err(unreadable)?;
        let found = found.ok_or_else(|| format!("which is not in shard {home}"))?;
        if !reader.freeze().holds(blob).map_err(unreadable)? {
            return Err(format!("which has no reference of it in shard {home}"));
        }
        if let Some(wrong) = wrong_length(chunk, found.row.info.raw_len) {
            return Err(wrong);
        }
        let raw = found.payload().and_then(|payload| found.open(payload));
        raw.map(Some).map_err(unreadable)
    }
}

/// A list that is about to be read; `None` when it is gone, or cannot be read, which is told.
fn open(reader: &Arc<ShardReader>, digest: Digest, step: &mut LargeStep) -> Option<Box<OpenList>> {
    let found = reader.blob(digest).ok()??;
    match found.chunks() {
        Ok(list) => Some(Box::new(OpenList {
            digest,
            version: found.row.version,
            info: found.row.info,
            list,
            read: 0,
            together: Together::default(),
        })),
        Err(error) => {
            let what = format!("has a list that cannot be read: {error}");
            let index = index_path(&reader.segments());
            let owners = owners(reader, digest);
            step.problems
                .push(large_problem(&index, digest, owners, &what));
            None
        }
    }
}

/// Keys that name a content.
fn owners(reader: &ShardReader, digest: Digest) -> impl Iterator<Item = Key> {
    let references = reader.freeze().references_to(digest);
    references.filter_map(|found| found.ok().map(|(_, owner)| owner))
}

impl OpenList {
    /// That this list has a fault, if it has not been reclaimed meanwhile.
    fn problem(&self, home: &Arc<ShardReader>, fault: &str) -> Option<Problem> {
        let now = home.blob(self.digest).ok()??;
        let is_same = now.row.version == self.version && now.row.names_chunks_by(self.list.ref_id);
        let index = index_path(&home.segments());
        is_same.then(|| large_problem(&index, self.digest, owners(home, self.digest), fault))
    }
}
