//! Values to store: made once, new at every use.
//!
//! What a load generator spends on making values is taken from the server it shares cores with. So
//! a value is filled once; 16 digits near its end are changed in place to make it new, and since
//! everything before them is hashed already, its checksum costs one more block.

use bytes::{Bytes, BytesMut};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use xxhash_rust::xxh64::Xxh64;

/// What values look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ValueKind {
    /// Bytes that do not compress
    Random,
    /// Words, some of them often
    Text,
    /// An object with an array of like records
    Json,
}

impl ValueKind {
    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Text => "text",
            Self::Json => "json",
        }
    }

    /// The smallest value in bytes that can be made new.
    #[must_use]
    pub fn size_min(self) -> usize {
        match self {
            Self::Random | Self::Text => STAMP_SIZE,
            Self::Json => 64,
        }
    }

    /// Exactly `len` bytes of it.
    pub(super) fn fill(self, len: usize, noise: &mut Noise) -> Vec<u8> {
        match self {
            Self::Random => noise.bytes(len),
            Self::Text => text(len, noise),
            Self::Json => json(len, noise),
        }
    }

    /// What follows the digits.
    fn tail(self) -> &'static [u8] {
        match self {
            Self::Random | Self::Text => b"",
            Self::Json => b"\"}",
        }
    }
}

/// The digits that make a value new.
pub(super) const STAMP_SIZE: usize = 16;

/// Numbers that are used once, by whoever shares it; they begin somewhere else in each process, so
/// that two runs against one store do not store the same.
#[derive(Debug, Clone)]
pub struct Stamps(Arc<AtomicU64>);

impl Stamps {
    /// Begins at a place that `seed` chooses.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(Noise(seed).number())))
    }

    /// A number that nobody had.
    pub fn draw(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// A number as 16 digits.
#[must_use]
pub fn digits(number: u64) -> [u8; STAMP_SIZE] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|at| DIGITS[(number >> (60 - 4 * at) & 15) as usize])
}

/// Values of one kind and size that are used in turn, each new every time.
#[derive(Debug)]
pub struct Ring {
    slots: Vec<Slot>,
    turn: usize,
    stamps: Stamps,
}

impl Ring {
    /// `count` values of `size` bytes, at least [`ValueKind::size_min`].
    #[must_use]
    pub fn new(kind: ValueKind, size: usize, count: usize, stamps: Stamps) -> Self {
        let mut noise = Noise(stamps.draw());
        let slots = (0..count.max(1)).map(|_| Slot::new(kind, size, &mut noise));
        Self {
            slots: slots.collect(),
            turn: 0,
            stamps,
        }
    }

    /// A value that was never there before, and its xxh64.
    pub fn fresh(&mut self) -> (Bytes, u64) {
        self.turn = (self.turn + 1) % self.slots.len();
        self.slots[self.turn].renew(self.stamps.draw())
    }

    /// A number that nobody had, for a key.
    pub fn draw(&self) -> u64 {
        self.stamps.draw()
    }
}

#[derive(Debug)]
struct Slot {
    value: Bytes,
    stamp: Range<usize>,
    hashed: Hashed,
}

/// The state of xxh64 after everything before the stamp.
struct Hashed(Xxh64);

impl std::fmt::Debug for Hashed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hashed")
    }
}

impl Slot {
    fn new(kind: ValueKind, size: usize, noise: &mut Noise) -> Self {
        let stamp_at = size - kind.tail().len() - STAMP_SIZE;
        let mut value = kind.fill(stamp_at, noise);
        let mut hashed = Xxh64::new(0);
        hashed.update(&value);
        value.extend_from_slice(&[b'0'; STAMP_SIZE]);
        value.extend_from_slice(kind.tail());
        Self {
            value: Bytes::from(value),
            stamp: stamp_at..stamp_at + STAMP_SIZE,
            hashed: Hashed(hashed),
        }
    }

    /// In place when the last use has let go of the bytes, else in a copy.
    fn renew(&mut self, stamp: u64) -> (Bytes, u64) {
        let value = std::mem::take(&mut self.value);
        let mut value = value
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        value[self.stamp.clone()].copy_from_slice(&digits(stamp));
        let mut hashed = self.hashed.0.clone();
        hashed.update(&value[self.stamp.start..]);
        self.value = value.freeze();
        (self.value.clone(), hashed.digest())
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): as random as values need to be, and the same for a seed.
#[derive(Debug, Clone)]
pub struct Noise(pub u64);

impl Noise {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.number()) * end as u128) >> 64) as usize
    }

    /// A number from 0 to 1.
    pub fn share(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8 + 2 * STAMP_SIZE);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// A word of a vocabulary of some thousand; the first ones come up far more often.
    fn word(&mut self) -> String {
        const VOCABULARY: f64 = 4000.0;
        let rank = (VOCABULARY * self.share().powi(3)) as u64;
        let mut letters = Noise(rank ^ 0x5eed);
        let syllables = 1 + letters.below(4);
        let mut word = String::new();
        for _ in 0..syllables {
            word.push(char::from(b"bcdfghklmnprstvw"[letters.below(16)]));
            word.push(char::from(b"aeiou"[letters.below(5)]));
        }
        word
    }
}

/// Exactly `len` bytes of words.
fn text(len: usize, noise: &mut Noise) -> Vec<u8> {
    let mut text = Vec::with_capacity(len + 64);
    while text.len() < len {
        text.extend_from_slice(noise.word().as_bytes());
        text.push(b' ');
    }
    text.truncate(len);
    text
}

/// Exactly `len` bytes of an object that ends in an open string.
fn json(len: usize, noise: &mut Noise) -> Vec<u8> {
    const HEAD: &str = "{\"records\":[";
    const NOTE: &str = "],\"note\":\"";
    const ID: &str = "\",\"id\":\"";
    let mut object = HEAD.to_owned();
    loop {
        let comma = if object.len() == HEAD.len() { "" } else { "," };
        let record = record(noise);
        if object.len() + comma.len() + record.len() + NOTE.len() + ID.len() > len {
            break;
        }
        object.push_str(comma);
        object.push_str(&record);
    }
    object.push_str(NOTE);
    let note = text(len.saturating_sub(object.len() + ID.len()), noise);
    let mut object = object.into_bytes();
    object.extend_from_slice(&note);
    object.extend_from_slice(ID.as_bytes());
    object
}

fn record(noise: &mut Noise) -> String {
    let mut record = String::with_capacity(160);
    let (user, host) = (noise.word(), noise.word());
    let (id, score) = (noise.below(1_000_000), noise.share());
    let (active, minute) = (noise.below(4) > 0, noise.below(60));
    write!(
        record,
        "{{\"id\":{id},\"user\":\"{user}\",\"email\":\"{user}@{host}.example\",\"active\":{active},\
         \"score\":{score:.4},\"seen\":\"2024-05-17T09:{minute:02}:00Z\"}}"
    )
    .expect("writing to a string does not fail");
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::sum64;
    use std::collections::HashSet;

    const KINDS: [ValueKind; 3] = [ValueKind::Random, ValueKind::Text, ValueKind::Json];

    #[test]
    fn every_value_is_new_and_its_checksum_is_right() {
        for kind in KINDS {
            for size in [kind.size_min(), 100, 1024, 70_001] {
                let mut ring = Ring::new(kind, size, 3, Stamps::new(7));
                let mut seen = HashSet::new();
                for _ in 0..10 {
                    let (value, sum) = ring.fresh();
                    assert_eq!(value.len(), size);
                    assert_eq!(sum, sum64(&value), "{kind:?} {size}");
                    assert!(seen.insert(value.to_vec()), "{kind:?} {size}: twice");
                }
            }
        }
    }

    #[test]
    fn a_value_that_is_still_held_is_not_changed() {
        let mut ring = Ring::new(ValueKind::Random, 64, 1, Stamps::new(7));
        let (held, _) = ring.fresh();
        let copy = held.to_vec();
        let (next, _) = ring.fresh();
        assert_eq!(held, copy);
        assert_ne!(held, next);
    }

    #[test]
    fn a_value_that_was_let_go_is_changed_in_place() {
        let mut ring = Ring::new(ValueKind::Text, 4096, 1, Stamps::new(7));
        let (first, _) = ring.fresh();
        let place = first.as_ptr();
        drop(first);
        assert_eq!(ring.fresh().0.as_ptr(), place);
    }

    #[test]
    fn json_is_json() {
        for size in [64, 65, 300, 5000] {
            let mut ring = Ring::new(ValueKind::Json, size, 1, Stamps::new(7));
            let (value, _) = ring.fresh();
            let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&value);
            assert!(parsed.is_ok(), "{}", String::from_utf8_lossy(&value));
        }
    }

    #[test]
    fn other_seeds_make_other_values() {
        let value = |seed| {
            let mut ring = Ring::new(ValueKind::Random, 64, 1, Stamps::new(seed));
            ring.fresh().0
        };
        assert_ne!(value(1), value(2));
    }

    #[test]
    fn a_number_is_spelled_in_16_digits() {
        assert_eq!(&digits(0x0123_4567_89ab_cdef), b"0123456789abcdef");
        assert_eq!(&digits(0), b"0000000000000000");
    }
}
