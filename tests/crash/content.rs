//! Values that say what they are, so that no wrong byte goes unnoticed.

use crate::support::{Random, noise};
use bytes::Bytes;

/// Ids below this are contents that many keys may share; above, each is written once.
pub const SHARED_MAX: u64 = 1_000_000;

/// The largest of them.
const SIZE_MAX: u64 = 1 << 20;

const ID_SIZE: usize = 8;

/// The value with this id: its id, then bytes that follow from it. Sizes are those at which the
/// server does something else: inline, in the log, with a home of its own, on the CPU pool.
pub fn content(id: u64) -> Bytes {
    let mut random = Random::seeded(id);
    let len = match random.within(0..20) {
        0..=8 => random.within(16..300),
        9..=13 => random.within(300..4_000),
        14..=18 => random.within(4_100..24_000),
        _ if random.percent(90) => random.within(65_000..200_000),
        _ => SIZE_MAX,
    };
    let len = usize::try_from(len).unwrap();
    let mut bytes = id.to_le_bytes().to_vec();
    if random.percent(50) {
        bytes.extend(noise(id, len - ID_SIZE));
    } else {
        let line = format!("this compresses well, and is of content {id}. ");
        bytes.extend(line.bytes().cycle().take(len - ID_SIZE));
    }
    Bytes::from(bytes)
}

/// Which value this is, if every byte of it is right.
pub fn id_of(value: &[u8]) -> Option<u64> {
    let id = value.first_chunk::<ID_SIZE>()?;
    let id = u64::from_le_bytes(*id);
    (content(id) == value).then_some(id)
}
