//! Where a large value is cut: by its content (FastCDC, the form of 2020), so that versions of a file
//! share the chunks in which they are equal, wherever those stand.
//!
//! The cuts are part of the native contract: a client that cuts in the same places sends only chunks
//! that are not there. Nothing at rest depends on them.

use bytes::{Bytes, BytesMut};
use fastcdc::v2020::FastCDC;

/// A value up to this many bytes is not cut.
pub const CUT_MIN: u64 = 8 << 20;
/// No chunk but the last is smaller.
pub const CHUNK_SIZE_MIN: usize = 64 << 10;
/// What FastCDC aims at. With normalization level 1 and seed 0, the library's defaults.
pub const CHUNK_SIZE_USUAL: usize = 256 << 10;
/// No chunk is larger.
pub const CHUNK_SIZE_MAX: usize = 1 << 20;

/// Bytes of the first chunk of these, which are all that is left of a value or at least
/// [`CHUNK_SIZE_MAX`] of it.
#[must_use]
pub fn cut_of(bytes: &[u8]) -> usize {
    let known = &bytes[..bytes.len().min(CHUNK_SIZE_MAX)];
    let cdc = FastCDC::new(known, CHUNK_SIZE_MIN, CHUNK_SIZE_USUAL, CHUNK_SIZE_MAX);
    cdc.cut(0, known.len()).1
}

/// Cuts a value that comes in pieces. Chunks are parts of the block that the pieces were copied
/// into: it is free again when all of them are gone. It holds less than [`CHUNK_SIZE_MAX`] and the
/// last piece, beside them.
#[derive(Debug, Default)]
pub struct Cutter {
    rest: BytesMut,
}

impl Cutter {
    /// Bytes that it takes in without a new block.
    #[must_use]
    pub fn room(&self) -> usize {
        self.rest.capacity() - self.rest.len()
    }

    /// Takes in the next piece; makes a larger block if it must.
    pub fn push(&mut self, piece: &[u8]) {
        self.rest.extend_from_slice(piece);
    }

    /// Goes on in another block, with what is not cut yet. Gives the old one, for use when no chunk
    /// of it is left.
    pub fn move_to(&mut self, mut block: BytesMut) -> BytesMut {
        block.extend_from_slice(&self.rest);
        self.rest.clear();
        std::mem::replace(&mut self.rest, block)
    }

    /// The next chunk that does not depend on what is still to come, once that is seen at a glance.
    pub fn next_chunk(&mut self) -> Option<Bytes> {
        if self.rest.len() < CHUNK_SIZE_MAX {
            return None;
        }
        Some(self.take(cut_of(&self.rest)))
    }

    /// As [`Cutter::next_chunk`], once it is so: the last bytes are looked at again next time.
    pub fn certain_chunk(&mut self) -> Option<Bytes> {
        let len = cut_of(&self.rest);
        // A cut before the end of what is known is where its content says.
        (len < self.rest.len() || len == CHUNK_SIZE_MAX).then(|| self.take(len))
    }

    /// What was taken in and not cut.
    #[must_use]
    pub fn into_rest(self) -> Bytes {
        self.rest.freeze()
    }

    /// The next chunk when nothing is to come any more.
    pub fn last_chunk(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            return None;
        }
        Some(self.take(cut_of(&self.rest)))
    }

    fn take(&mut self, len: usize) -> Bytes {
        self.rest.split_to(len).freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        (0..len / 8).flat_map(|_| next().to_le_bytes()).collect()
    }

    fn chunks(value: &[u8], piece: usize) -> Vec<Bytes> {
        let mut cutter = Cutter::default();
        let mut chunks = Vec::new();
        for piece in value.chunks(piece) {
            cutter.push(piece);
            chunks.extend(std::iter::from_fn(|| cutter.next_chunk()));
        }
        chunks.extend(std::iter::from_fn(|| cutter.last_chunk()));
        chunks
    }

    #[test]
    fn the_cuts_do_not_depend_on_the_pieces() {
        let value = noise(1, 12 << 20);
        let whole = chunks(&value, value.len());
        assert_eq!(whole.concat(), value);
        for piece in [100_003, 1 << 20, 5 << 20] {
            assert_eq!(chunks(&value, piece), whole);
        }
        let (last, others) = whole.split_last().unwrap();
        assert!(last.len() <= CHUNK_SIZE_MAX);
        for chunk in others {
            assert!((CHUNK_SIZE_MIN..=CHUNK_SIZE_MAX).contains(&chunk.len()));
        }
    }

    /// What is certain before all is known stands where it does when all is.
    #[test]
    fn the_cuts_do_not_depend_on_the_blocks() {
        let value = noise(5, 9 << 20);
        let whole = chunks(&value, value.len());
        for piece in [30_001, 1 << 20] {
            let (mut cutter, mut cut) = (Cutter::default(), Vec::new());
            for piece in value.chunks(piece) {
                cutter.push(piece);
                cut.extend(std::iter::from_fn(|| cutter.certain_chunk()));
                let filled = cutter.move_to(BytesMut::with_capacity(2 << 20));
                assert!(filled.is_empty());
            }
            cut.extend(std::iter::from_fn(|| cutter.last_chunk()));
            assert_eq!(cut, whole);
        }
        let mut zeros = Cutter::default();
        zeros.push(&vec![0; CHUNK_SIZE_MAX - 1]);
        assert_eq!(zeros.certain_chunk(), None);
        zeros.push(&[0]);
        assert_eq!(zeros.certain_chunk().map(|it| it.len()), Some(1 << 20));
        assert_eq!(zeros.certain_chunk(), None);
    }

    /// The cuts are a contract: clients make them too.
    #[test]
    fn the_cuts_stay_where_they_are() {
        let sizes: Vec<usize> = chunks(&noise(2, 4 << 20), 4 << 20)
            .iter()
            .map(Bytes::len)
            .collect();
        assert_eq!(sizes, CUTS);
        let zeros = chunks(&vec![0; 5 << 20], 1 << 20);
        let sizes: Vec<usize> = zeros.iter().map(Bytes::len).collect();
        assert_eq!(sizes, [1 << 20; 5]);
    }

    const CUTS: &[usize] = &[
        318_169, 413_358, 223_736, 125_483, 200_855, 334_130, 484_406, 316_735, 308_383, 264_644,
        99_902, 212_788, 287_987, 139_001, 318_380, 88_254, 58_093,
    ];

    #[test]
    fn an_insertion_changes_the_chunks_around_it_only() {
        let mut value = noise(3, 24 << 20);
        let before: HashSet<Bytes> = chunks(&value, 1 << 20).into_iter().collect();
        let middle = value.len() / 2 + 12_345;
        value.splice(middle..middle, noise(4, 1 << 20));
        let new: usize = chunks(&value, 1 << 20)
            .iter()
            .filter(|chunk| !before.contains(*chunk))
            .map(Bytes::len)
            .sum();
        assert!(new < 6 << 20, "{new}");
    }
}
