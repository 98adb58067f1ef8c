//! Scans over all shards in key order.

use super::Router;
use super::merge::{Merged, Part};
use crate::codec::Space;
use crate::index::{IndexError, Row};
use crate::model::{Direction, Key, Result, Version};
use crate::shard::ShardReader;
use bytes::Bytes;

/// Live rows in byte order of their keys.
type LiveRows = Box<dyn Iterator<Item = Result<(Bytes, Row), IndexError>> + Send>;

impl Router {
    /// One page of the live keys with a prefix, in byte order over all shards; `page` from 0.
    /// Reads an index snapshot per shard; may wait for the disk.
    ///
    /// # Errors
    /// What the shards answer.
    pub fn list(&self, prefix: &[u8], page: u64, page_size: usize) -> Result<Vec<(Key, Version)>> {
        let skip = usize::try_from(page)
            .unwrap_or(usize::MAX)
            .saturating_mul(page_size);
        self.next_keys(self.parts(prefix, None)?, skip, page_size)
    }

    /// As [`Router::list`]: the keys that come after one. It goes to them without a look at those
    /// before.
    ///
    /// # Errors
    /// What the shards answer.
    pub fn list_after(
        &self,
        prefix: &[u8],
        before: &Key,
        page_size: usize,
    ) -> Result<Vec<(Key, Version)>> {
        // The smallest byte string above a key is the key and a zero.
        let start = [before.as_bytes(), &[0]].concat();
        self.next_keys(self.parts(prefix, Some(&start))?, 0, page_size)
    }

    fn next_keys(
        &self,
        parts: Vec<Part<LiveRows>>,
        skip: usize,
        count: usize,
    ) -> Result<Vec<(Key, Version)>> {
        let mut merged = Merged::new(parts, Direction::Forward);
        let mut keys = Vec::new();
        let mut seen = 0;
        while keys.len() < count {
            let Some((id, row)) = merged.next(self)? else {
                break;
            };
            if seen >= skip {
                keys.push((Key::new(&id)?, row.version));
            }
            seen += 1;
        }
        Ok(keys)
    }

    /// How many live keys have a prefix. May wait for the disk.
    ///
    /// # Errors
    /// What the shards answer.
    pub fn count(&self, prefix: &[u8]) -> Result<u64> {
        let mut count = 0;
        for part in self.parts(prefix, None)? {
            for row in part.rows {
                self.told(part.shard, row.map_err(Into::into))?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Each shard's live rows with a prefix, from `start` on.
    fn parts(&self, prefix: &[u8], start: Option<&[u8]>) -> Result<Vec<Part<LiveRows>>> {
        let now = self.now();
        let part = |reader: &ShardReader| {
            let live = move |found: &Result<(Bytes, Row), IndexError>| {
                found.as_ref().map_or(true, |(_, row)| row.is_live(now))
            };
            let rows: LiveRows = Box::new(
                reader
                    .snapshot()
                    .scan(Space::Key, prefix, start)
                    .filter(live),
            );
            Part {
                shard: reader.id(),
                rows: rows.peekable(),
            }
        };
        loop {
            // A batch shows in a moment, and no list has half of it.
            if let (parts, true) = self.each(part)? {
                return Ok(parts);
            }
        }
    }
}
