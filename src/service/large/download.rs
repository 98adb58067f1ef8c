//! A value on its way out, in pieces.

use super::super::Service;
use super::super::get::{Head, Located};
use super::Pieces;
use crate::model::Result;
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;

/// A range of a value, read as it is taken.
#[derive(Debug)]
pub struct Download {
    /// What is known of the whole value.
    pub head: Head,
    /// Read and not taken yet.
    ready: VecDeque<Bytes>,
    pieces: Option<Pieces>,
}

impl Located {
    /// Bytes that a download of it holds at most, beside what it has handed out.
    #[must_use]
    pub fn held_by_download(&self) -> usize {
        match self.is_in_chunks() {
            true => Pieces::HELD,
            false => usize::try_from(self.size()).unwrap_or(usize::MAX),
        }
    }
}

impl Service {
    /// Begins to read a range of a located value, which lies in it.
    ///
    /// # Errors
    /// As [`Service::read`].
    pub async fn download(&self, located: Located, range: Range<u64>) -> Result<Download> {
        if located.is_in_chunks() {
            let (head, pieces) = self.open_chunked(located, range).await?;
            return Ok(Download {
                head,
                ready: VecDeque::new(),
                pieces: Some(pieces),
            });
        }
        let found = self.read_part(located, range).await?;
        Ok(Download {
            head: found.head,
            ready: VecDeque::from([found.data]),
            pieces: None,
        })
    }
}

impl Download {
    /// The next bytes, in pieces, at most so many; `None` at the end, or behind an error. May be dropped
    /// and called again.
    ///
    /// # Errors
    /// `Corrupt` when a chunk is damaged or not there; what its shard answers.
    pub async fn next(&mut self, size_max: usize) -> Result<Option<VecDeque<Bytes>>> {
        if self.ready.is_empty()
            && let Some(pieces) = &mut self.pieces
        {
            self.ready = pieces.next().await?;
        }
        let (mut next, mut room) = (VecDeque::new(), size_max);
        while room > 0
            && let Some(mut piece) = self.ready.pop_front()
        {
            let rest = piece.split_off(room.min(piece.len()));
            room -= piece.len();
            if !piece.is_empty() {
                next.push_back(piece);
            }
            if !rest.is_empty() {
                self.ready.push_front(rest);
            }
        }
        Ok((!next.is_empty()).then_some(next))
    }
}
