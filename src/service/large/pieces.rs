//! A stored large value, read in pieces.

use super::super::{Service, blocking};
use crate::dedup::{HeldContent, Turn};
use crate::model::{Chunk, Digest, Key, Result};
use crate::router::{FoundValue, Moment, Router, content_missing};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// The chunks that a range of a value needs, and what to read of each. They stay readable for as
/// long as this lives.
#[derive(Debug)]
pub struct Pieces {
    left: VecDeque<(Chunk, Range<usize>)>,
    router: Router,
    source: Source,
}

/// What keeps the chunks.
#[derive(Debug)]
enum Source {
    /// The list is not reclaimed meanwhile, nor what it refers to.
    Held(#[expect(dead_code, reason = "held, not read")] HeldContent),
    /// They are read as they were.
    At(Arc<Moment>),
}

impl Pieces {
    /// The next piece in order; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` when it is damaged or not there; what its shard answers.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some((chunk, part)) = self.left.pop_front() else {
            return Ok(None);
        };
        let router = self.router.clone();
        let moment = match &self.source {
            Source::Held(_) => None,
            Source::At(moment) => Some(moment.clone()),
        };
        let read = move || match moment {
            None => router.chunk(&chunk),
            Some(moment) => moment.chunk(&chunk),
        };
        let raw = blocking(read).await?;
        Ok(Some(raw.slice(part)))
    }

    /// All of them.
    ///
    /// # Errors
    /// As [`Pieces::next`].
    pub async fn collect(mut self) -> Result<Bytes> {
        let size = self.left.iter().map(|(_, part)| part.len()).sum();
        let mut value = BytesMut::with_capacity(size);
        while let Some(piece) = self.next().await? {
            value.extend_from_slice(&piece);
        }
        Ok(value.freeze())
    }
}

impl Service {
    /// The pieces of a range of a value in chunks; `None` when it was reclaimed since it was found.
    pub(in super::super) async fn pieces(
        &self,
        (key, found): (&Key, &FoundValue),
        moment: Option<Arc<Moment>>,
        range: Range<u64>,
    ) -> Result<Option<Pieces>> {
        let source = match moment {
            Some(moment) => Source::At(moment),
            None => {
                let link = found.record.link();
                let link = link.ok_or_else(|| content_missing(found.shard, key))?;
                match self.hold_content(link.digest).await? {
                    Some(held) => Source::Held(held),
                    None => return Ok(None),
                }
            }
        };
        let (router, body, shard) = (self.router().clone(), found.body.clone(), found.shard);
        let list = blocking(move || router.told(shard, body.chunks())).await?;
        Ok(Some(Pieces {
            left: parts_of(&list.chunks, range),
            router: self.router().clone(),
            source,
        }))
    }

    /// Keeps a content that is there from being reclaimed; `None` when it is not there.
    pub(super) async fn hold_content(&self, digest: Digest) -> Result<Option<HeldContent>> {
        let dedup = &self.0.parts.dedup;
        let held = dedup.hold(digest);
        // A reclaim that began before has the turn until its end.
        while matches!(dedup.take_turn(digest).await, Turn::Passed) {}
        let there = self.router().find_blob(digest)?.is_some();
        Ok(there.then_some(held))
    }
}

/// The chunks that a range touches, and the part of each that is in it.
fn parts_of(chunks: &[Chunk], range: Range<u64>) -> VecDeque<(Chunk, Range<usize>)> {
    let mut at = 0;
    let mut parts = VecDeque::new();
    for chunk in chunks {
        let end = at + u64::from(chunk.raw_len);
        let (from, to) = (range.start.max(at), range.end.min(end));
        if from < to {
            let within = |offset: u64| usize::try_from(offset - at).expect("below 4 GiB");
            parts.push_back((*chunk, within(from)..within(to)));
        }
        at = end;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_touches_only_the_chunks_that_it_needs() {
        let chunk = |number: u8, raw_len| Chunk {
            digest: Digest([number; 32]),
            raw_len,
        };
        let chunks = [chunk(1, 10), chunk(2, 5), chunk(3, 20)];
        let parts = |range| -> Vec<_> {
            let parts = parts_of(&chunks, range).into_iter();
            parts
                .map(|(chunk, part)| (chunk.digest.0[0], part))
                .collect()
        };
        assert_eq!(parts(0..35), [(1, 0..10), (2, 0..5), (3, 0..20)]);
        assert_eq!(parts(9..11), [(1, 9..10), (2, 0..1)]);
        assert_eq!(parts(10..15), [(2, 0..5)]);
        assert_eq!(parts(34..35), [(3, 19..20)]);
        assert_eq!(parts(35..35), []);
        assert_eq!(parts(12..12), []);
    }
}
