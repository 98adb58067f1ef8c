//! Values for the benches.

use bytes::Bytes;
use shardkeep::codec::{Sealer, digest_of, sum64_of};
use shardkeep::model::{Key, SealedValue, ValueInfo};

/// As the configuration has it by default.
pub const SEALER: Sealer = Sealer {
    level: 3,
    probe_size: 64 * 1024,
    min_gain: 0.05,
};

/// Bytes that do not compress, others for each seed.
pub fn noise(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let words = (0..len.div_ceil(8)).flat_map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state ^ (state >> 29)).to_le_bytes()
    });
    words.take(len).collect()
}

/// Words that compress to about a third.
pub fn text(len: usize) -> Bytes {
    let order = noise(7, len);
    let words = order.iter().flat_map(|byte| {
        const WORDS: [&str; 8] = ["storage", "of", "the", "value", "log", "a", "shard", "and"];
        let word = WORDS[usize::from(byte % 8)];
        word.bytes().chain([b' ', b'a' + byte % 26])
    });
    words.take(len).collect()
}

/// The value as the door seals it.
pub fn sealed(raw: &Bytes) -> SealedValue {
    let info = ValueInfo {
        raw_len: raw.len() as u64,
        sum64: sum64_of(raw),
    };
    SEALER.seal(raw.clone(), info, Some(digest_of(raw)))
}

/// The key of a number.
pub fn key(number: u64) -> Key {
    Key::new(format!("bench/{number:016x}").as_bytes()).expect("it is short and not empty")
}
