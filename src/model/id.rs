//! A newtype for every id, so that no two of them can be mistaken for each other.

use super::Error;
use std::fmt;
use std::str::FromStr;

/// The store-wide logical counter that every change takes one of. 0 means "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

/// The order of records within one shard: what was logged first has the lower number.
/// A record that GC moves keeps it, which is how a moved record never overrides a newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

/// One of [`Slot::COUNT`] fixed parts of the key space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

impl Slot {
    /// Fixed for the life of a store, so shards can be added without rehashing keys.
    pub const COUNT: usize = 1024;
}

/// A shard of this store, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}", self.0)
    }
}

/// A segment of one shard's log. Never reused; the first is 1, and 0 means "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SegmentId(pub u64);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}", self.0)
    }
}

/// Drawn at random when a store is made; written into every file that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId(pub u128);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The name of one reference to a blob, drawn at random by the put that makes it. A drop names it,
/// so that a late drop of an old reference can never take a newer one to the same content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefId(pub u128);

/// The name of a snapshot, drawn at random, so that nobody reads from one that he was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SnapshotId(pub u128);

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for SnapshotId {
    type Err = Error;

    /// # Errors
    /// `Invalid` (`SNAPSHOT_MALFORMED`) for what is not 32 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Error> {
        let is_spelled = text.len() == 32 && text.bytes().all(|it| it.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| is_spelled);
        number.map(Self).ok_or_else(|| {
            let message = format!(
                "\"{}\" is no snapshot: its name is 32 hexadecimal digits, as it was answered",
                text.chars().take(64).collect::<String>().escape_default()
            );
            Error::invalid("SNAPSHOT_MALFORMED", message)
        })
    }
}

/// A named reference to a blob: what a key's record holds when its value has a home of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobRef {
    /// The content.
    pub digest: Digest,
    /// The name of this reference to it.
    pub ref_id: RefId,
}

/// BLAKE3-256 of a raw value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; Digest::SIZE]);

impl Digest {
    /// Bytes of a digest.
    pub const SIZE: usize = 32;
    /// Bytes of its spelling in lower-case hex.
    pub const HEX_SIZE: usize = 2 * Self::SIZE;

    /// The digest that these 64 bytes spell in lower-case hex, if they do.
    #[must_use]
    pub fn parse_hex(text: &[u8]) -> Option<Self> {
        let text: &[u8; Self::HEX_SIZE] = text.try_into().ok()?;
        // Without a branch in it, this is a few vector instructions; every key passes here.
        if !text.iter().fold(true, |all, digit| all & is_hex(*digit)) {
            return None;
        }
        let mut bytes = [0; Self::SIZE];
        let (digits, _) = text.as_chunks::<8>();
        let (quads, _) = bytes.as_chunks_mut::<4>();
        for (quad, digits) in quads.iter_mut().zip(digits) {
            *quad = four_bytes(*digits);
        }
        Some(Self(bytes))
    }

    /// The 64 lower-case hex digits that are this content's key.
    #[must_use]
    pub fn to_hex(self) -> [u8; Self::HEX_SIZE] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; Self::HEX_SIZE];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        text
    }
}

fn is_hex(digit: u8) -> bool {
    digit.is_ascii_digit() | (b'a'..=b'f').contains(&digit)
}

/// What eight hex digits spell, all of them at once. Letters differ from numbers in the bit 64, and
/// come nine after them.
fn four_bytes(digits: [u8; 8]) -> [u8; 4] {
    let digits = u64::from_be_bytes(digits);
    let is_letter = digits >> 6 & 0x0101_0101_0101_0101;
    let halves = (digits & 0x0f0f_0f0f_0f0f_0f0f) + 9 * is_letter;
    // Two halves of a byte come together, then two bytes, then two pairs.
    let bytes = (halves | halves >> 4) & 0x00ff_00ff_00ff_00ff;
    let pairs = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
    let four = (pairs | pairs >> 16) & 0xffff_ffff;
    u32::try_from(four)
        .expect("the mask leaves 32 bits")
        .to_be_bytes()
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::parse_hex(text.as_bytes()).ok_or(())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
