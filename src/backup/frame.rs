//! The frame around one entry: what it is, how long, where it belongs, and a keyed checksum.
//!
//! The position makes a frame that was moved or repeated show; the salt, drawn for every file, makes
//! a value that looks like a frame, or a frame of another file, fail its checksum.

use crate::model::NamespaceId;
use xxhash_rust::xxh3::Xxh3;

const KIND_AT: usize = 0;
const NAMESPACE_AT: usize = KIND_AT + 1;
const LENGTH_AT: usize = NAMESPACE_AT + 3;
const POSITION_AT: usize = LENGTH_AT + 4;
/// Where the checksum stands: it covers what is before it, and the body.
pub(super) const SUM_AT: usize = POSITION_AT + 8;
pub(super) const FRAME_HEAD_SIZE: usize = SUM_AT + 8;

/// The longest body: a value of 1 GiB that did not compress, its key, and room.
pub(super) const BODY_SIZE_MAX: u64 = 1_100 << 20;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameKind {
    Blob = 1,
    Value = 2,
    Reference = 3,
    Tombstone = 4,
    Namespace = 5,
}

impl FrameKind {
    fn decode(byte: u8) -> Option<Self> {
        let all = [
            Self::Blob,
            Self::Value,
            Self::Reference,
            Self::Tombstone,
            Self::Namespace,
        ];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A frame's head, without its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub kind: FrameKind,
    /// The namespace of its key, or the one that it describes; below 2^24.
    pub namespace: NamespaceId,
    /// Bytes of the body.
    pub length: u32,
    /// Offset of the frame in its file.
    pub position: u64,
}

impl FrameHead {
    /// The head, its checksum still to be filled in at [`SUM_AT`].
    pub fn encode(&self) -> [u8; FRAME_HEAD_SIZE] {
        let mut bytes = [0; FRAME_HEAD_SIZE];
        bytes[KIND_AT] = self.kind as u8;
        bytes[NAMESPACE_AT..LENGTH_AT].copy_from_slice(&self.namespace.0.to_le_bytes()[..3]);
        bytes[LENGTH_AT..POSITION_AT].copy_from_slice(&self.length.to_le_bytes());
        bytes[POSITION_AT..SUM_AT].copy_from_slice(&self.position.to_le_bytes());
        bytes
    }

    /// The head and the checksum beside it.
    pub fn decode(bytes: &[u8; FRAME_HEAD_SIZE]) -> Result<(Self, u64), &'static str> {
        let [a, b, c] = take(bytes, NAMESPACE_AT);
        let head = Self {
            kind: FrameKind::decode(bytes[KIND_AT]).ok_or("a frame of an unknown kind")?,
            namespace: NamespaceId(u32::from_le_bytes([a, b, c, 0])),
            length: take_u32(bytes, LENGTH_AT),
            position: take_u64(bytes, POSITION_AT),
        };
        Ok((head, take_u64(bytes, SUM_AT)))
    }
}

/// A checksum of a frame, begun with its head.
pub(super) fn frame_sum(salt: u64, head: &[u8; FRAME_HEAD_SIZE]) -> Xxh3 {
    let mut sum = Xxh3::with_seed(salt);
    sum.update(&head[..SUM_AT]);
    sum
}

/// The `u16` at an offset that the caller knows to be inside.
pub(super) fn take_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(take(bytes, at))
}

/// The `u32` at an offset that the caller knows to be inside.
pub(super) fn take_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(take(bytes, at))
}

/// The `u64` at an offset that the caller knows to be inside.
pub(super) fn take_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(take(bytes, at))
}

/// The `u128` at an offset that the caller knows to be inside.
pub(super) fn take_u128(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(take(bytes, at))
}

/// The bytes at an offset that the caller knows to be inside.
pub(super) fn take<const SIZE: usize>(bytes: &[u8], at: usize) -> [u8; SIZE] {
    let mut taken = [0; SIZE];
    taken.copy_from_slice(&bytes[at..at + SIZE]);
    taken
}
