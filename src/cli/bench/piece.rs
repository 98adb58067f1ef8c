//! Values that are larger than memory should hold, in pieces: made once, new at every use.
//!
//! A server keeps such a value in chunks, each of them once. So that none is there already, every
//! piece has fresh digits in each stretch that is shorter than the shortest chunk.

use super::value::{Noise, STAMP_SIZE, Stamps, ValueKind, digits};
use crate::client::{PIECE_SIZE_MAX, Pieces};
use bytes::{Bytes, BytesMut};
use std::sync::{Arc, Mutex};

/// Half of the shortest chunk (see `blob.proto`): wherever it is cut, each has digits of its own.
const STRETCH: usize = 32 << 10;
/// Pieces that are used in turn: more than are on their way at once.
const COUNT: usize = 16;

/// Pieces of one worker. Clones share them.
#[derive(Debug, Clone)]
pub struct PieceRing(Arc<Mutex<Turns>>);

#[derive(Debug)]
struct Turns {
    pieces: Vec<Bytes>,
    turn: usize,
    stamps: Stamps,
}

impl PieceRing {
    /// Bytes that a ring takes.
    pub const SIZE: usize = COUNT * PIECE_SIZE_MAX;

    /// Pieces that look like values of this kind.
    #[must_use]
    pub fn new(kind: ValueKind, stamps: Stamps) -> Self {
        let mut noise = Noise(stamps.draw());
        let pieces = (0..COUNT).map(|_| Bytes::from(kind.fill(PIECE_SIZE_MAX, &mut noise)));
        Self(Arc::new(Mutex::new(Turns {
            pieces: pieces.collect(),
            turn: 0,
            stamps,
        })))
    }

    /// A value of `size` bytes that was never there before, made as it is taken.
    #[must_use]
    pub fn value(&self, size: u64) -> Pieces {
        let (ring, mut left) = (self.clone(), size);
        Box::new(std::iter::from_fn(move || {
            let len = left.min(PIECE_SIZE_MAX as u64);
            left -= len;
            let len = usize::try_from(len).expect("a piece has 1 MiB at most");
            (len > 0).then(|| ring.fresh().slice(..len))
        }))
    }

    fn fresh(&self) -> Bytes {
        let mut turns = self
            .0
            .lock()
            .expect("no code panics while it holds this lock");
        turns.fresh()
    }
}

impl Turns {
    /// In place when the last use has let go of the bytes, else in a copy.
    fn fresh(&mut self) -> Bytes {
        self.turn = (self.turn + 1) % self.pieces.len();
        let piece = std::mem::take(&mut self.pieces[self.turn]);
        let mut piece = piece
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        for stretch in piece.chunks_mut(STRETCH) {
            stretch[..STAMP_SIZE].copy_from_slice(&digits(self.stamps.draw()));
        }
        self.pieces[self.turn] = piece.freeze();
        self.pieces[self.turn].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Cutter;
    use std::collections::HashSet;

    #[test]
    fn no_chunk_of_a_value_was_there_before() {
        let ring = PieceRing::new(ValueKind::Random, Stamps::new(7));
        let mut seen = HashSet::new();
        for _ in 0..2 {
            let (mut cutter, mut len) = (Cutter::default(), 0);
            for piece in ring.value((20 << 20) + 5) {
                len += piece.len();
                cutter.push(&piece);
                while let Some(chunk) = cutter.next_chunk() {
                    assert!(seen.insert(chunk.to_vec()));
                }
            }
            assert_eq!(len, (20 << 20) + 5);
        }
        assert!(seen.len() > 40, "{}", seen.len());
    }
}
