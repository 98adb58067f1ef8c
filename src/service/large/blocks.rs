//! The memory of an upload: blocks that its value passes through, used again and again.
//!
//! Chunks are parts of them, so they bound what is cut, hashed, compressed and written at once; and
//! memory that is used again needs not be given back by whoever wrote it, on another thread.

use crate::codec::{CHUNK_SIZE_MAX, CUT_MIN};
use bytes::BytesMut;

/// Bytes of a block: much more than what moves from one to the next, so that little is copied.
pub(super) const BLOCK_SIZE: usize = 4 << 20;
/// Bytes of the first: what is not cut stands in it as a whole, with the piece that shows that it is.
const FIRST_SIZE: usize = CUT_MIN as usize + CHUNK_SIZE_MAX;
/// Blocks beside the first: one that is filled, the others for chunks that are being stored. Fewer
/// make small groups, each of which waits for the disk.
const MORE_MAX: usize = 4;

/// Blocks of one upload.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    made: usize,
    /// Filled; some of their chunks may still be on their way.
    used: Vec<BytesMut>,
}

impl Blocks {
    /// The block that an upload begins with.
    pub fn first() -> BytesMut {
        BytesMut::with_capacity(FIRST_SIZE)
    }

    /// A block of which no chunk is left, or another, if there are not enough yet.
    pub fn take(&mut self) -> Option<BytesMut> {
        let free = |block: &mut BytesMut| block.try_reclaim(BLOCK_SIZE);
        if let Some(number) = self.used.iter_mut().position(free) {
            return Some(self.used.swap_remove(number));
        }
        (self.made < MORE_MAX).then(|| self.another())
    }

    /// A block in place of one that somebody keeps a part of.
    pub fn replace(&mut self) -> BytesMut {
        self.used.pop();
        self.another()
    }

    /// Takes back a block that is filled, if there is one.
    pub fn extend(&mut self, filled: Option<BytesMut>) {
        self.used.extend(filled);
    }

    fn another(&mut self) -> BytesMut {
        self.made += 1;
        BytesMut::with_capacity(BLOCK_SIZE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_used_again_when_its_last_chunk_has_gone() {
        let mut blocks = Blocks::default();
        let mut parts = Vec::new();
        for _ in 0..MORE_MAX {
            let mut block = blocks.take().unwrap();
            block.resize(BLOCK_SIZE, 1);
            parts.push([block.split_to(10).freeze(), block.split().freeze()]);
            blocks.extend(Some(block));
        }
        assert!(blocks.take().is_none());
        let [kept, _] = parts.pop().unwrap();
        assert!(blocks.take().is_none());
        drop(kept);
        let block = blocks.take().unwrap();
        assert!(block.is_empty() && block.capacity() >= BLOCK_SIZE);
        assert!(blocks.take().is_none());
    }
}
