//! Ordered rows of several shards, as one.

use super::Router;
use crate::index::IndexError;
use crate::model::{Direction, Result, ShardId};
use bytes::Bytes;
use std::iter::Peekable;

/// One shard's part: rows in order, by key.
pub(super) struct Part<I: Iterator> {
    pub shard: ShardId,
    pub rows: Peekable<I>,
}

/// All parts. A key is in one shard only.
pub(super) struct Merged<I: Iterator> {
    parts: Vec<Part<I>>,
    direction: Direction,
}

impl<I, T> Merged<I>
where
    I: Iterator<Item = Result<(Bytes, T), IndexError>>,
{
    pub fn new(parts: Vec<Part<I>>, direction: Direction) -> Self {
        Self { parts, direction }
    }

    /// The next row of all parts; an error as soon as any part has one.
    pub fn next(&mut self, router: &Router) -> Result<Option<(Bytes, T)>> {
        let Some(index) = self.next_part() else {
            return Ok(None);
        };
        let part = &mut self.parts[index];
        let row = part.rows.next().transpose().map_err(Into::into);
        router.told(part.shard, row)
    }

    /// The part whose row is the next.
    fn next_part(&mut self) -> Option<usize> {
        let direction = self.direction;
        let mut next: Option<(usize, &Bytes)> = None;
        for (index, part) in self.parts.iter_mut().enumerate() {
            match part.rows.peek() {
                Some(Ok((id, _))) => {
                    let is_next = next.is_none_or(|(_, so_far)| match direction {
                        Direction::Forward => id < so_far,
                        Direction::Backward => id > so_far,
                    });
                    if is_next {
                        next = Some((index, id));
                    }
                }
                Some(Err(_)) => return Some(index),
                None => {}
            }
        }
        next.map(|(index, _)| index)
    }
}
