//! A stored large value, read in pieces.

use super::super::{Service, blocking};
use super::intake::lost;
use crate::codec::CHUNK_SIZE_MAX;
use crate::dedup::{HeldContent, Turn};
use crate::model::{Chunk, Digest, Key, Result};
use crate::router::{FoundValue, Moment, Router, content_missing};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Bytes of chunks that are read at once, unless one has more; so many wait, and as many are being
/// read meanwhile.
const READ_AT_ONCE: usize = CHUNK_SIZE_MAX;

/// A chunk, and the part of it that is asked for.
type Part = (Chunk, Range<usize>);

/// The chunks that a range of a value needs, and what to read of each. They stay readable for as
/// long as this lives. The next ones are read while those before are taken.
#[derive(Debug)]
pub struct Pieces {
    left: VecDeque<Part>,
    reading: Option<JoinHandle<Result<VecDeque<Bytes>>>>,
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
    /// Bytes of chunks that it holds at most.
    pub const HELD: usize = 2 * READ_AT_ONCE;

    /// The next pieces in order, those that were read at once; none at the end, or behind an error. May
    /// be dropped and called again: what is being read stays for the next call.
    ///
    /// # Errors
    /// `Corrupt` when one is damaged or not there; what its shard answers.
    pub async fn next(&mut self) -> Result<VecDeque<Bytes>> {
        if self.reading.is_none() {
            self.reading = self.read_on();
        }
        let Some(reading) = &mut self.reading else {
            return Ok(VecDeque::new());
        };
        let read = reading.await.map_err(lost);
        self.reading = None;
        if !matches!(read, Ok(Ok(_))) {
            self.left.clear();
        }
        let pieces = read??;
        self.reading = self.read_on();
        Ok(pieces)
    }

    /// Begins to read the next chunks, if any are left.
    fn read_on(&mut self) -> Option<JoinHandle<Result<VecDeque<Bytes>>>> {
        let parts = self.take_parts();
        if parts.is_empty() {
            return None;
        }
        let router = self.router.clone();
        let moment = match &self.source {
            Source::Held(_) => None,
            Source::At(moment) => Some(moment.clone()),
        };
        let read = move |(chunk, part): Part| {
            let raw = match &moment {
                None => router.chunk(&chunk)?,
                Some(moment) => moment.chunk(&chunk)?,
            };
            Ok(raw.slice(part))
        };
        let read_all = move || parts.into_iter().map(read).collect();
        Some(tokio::task::spawn_blocking(read_all))
    }

    /// The parts that are read at once.
    fn take_parts(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut room = READ_AT_ONCE;
        while let Some((chunk, _)) = self.left.front() {
            let fits = room.checked_sub(chunk.raw_len as usize);
            if fits.is_none() && !parts.is_empty() {
                break;
            }
            room = fits.unwrap_or(0);
            parts.extend(self.left.pop_front());
        }
        parts
    }

    /// All of them.
    ///
    /// # Errors
    /// As [`Pieces::next`].
    pub async fn collect(mut self) -> Result<Bytes> {
        let size = self.left.iter().map(|(_, part)| part.len()).sum();
        let mut value = BytesMut::with_capacity(size);
        loop {
            let pieces = self.next().await?;
            if pieces.is_empty() {
                return Ok(value.freeze());
            }
            pieces.iter().for_each(|it| value.extend_from_slice(it));
        }
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
                fail::fail_point!("content::reclaimed", |_| Ok(None));
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
            left: list.parts(range).collect(),
            reading: None,
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
