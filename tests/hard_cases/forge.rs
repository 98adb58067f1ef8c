//! Frames made by hand, right in everything but what a test spoils.

use shardkeep::codec::{
    FRAME_HEADER_SIZE, FrameHeader, Membership, Record, SEGMENT_HEADER_SIZE, SegmentHeader,
};
use shardkeep::model::{Seq, Timestamp, Version};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The header of a segment file.
pub fn segment_header(path: &Path) -> SegmentHeader {
    let mut block = vec![0; SEGMENT_HEADER_SIZE];
    let mut file = std::fs::File::open(path).unwrap();
    file.read_exact(&mut block).unwrap();
    SegmentHeader::decode(&block).unwrap()
}

/// A frame as the shard itself would write it at `position` of this segment, but for what
/// `change` does to its header before it is encoded under `salt`.
pub fn frame(
    segment: &SegmentHeader,
    position: u64,
    records: &[Record],
    salt: u64,
    change: impl FnOnce(&mut FrameHeader),
) -> Vec<u8> {
    let mut meta = Vec::new();
    for record in records {
        record.encode_meta(salt, &mut meta);
    }
    let payloads: Vec<u8> = records.iter().flat_map(|it| it.payload.to_vec()).collect();
    let mut header = FrameHeader {
        membership: Membership::NONE,
        store: segment.store,
        shard: segment.shard,
        record_count: u32::try_from(records.len()).unwrap(),
        segment: segment.segment,
        position,
        meta_len: u32::try_from(meta.len()).unwrap(),
        payload_len: payloads.len() as u64,
        meta_sum: FrameHeader::meta_sum_of(&meta, salt),
        prev_sum: segment.prev_sum,
        counter: records
            .iter()
            .map(|it| it.version)
            .max()
            .unwrap_or(Version(0)),
        last_seq: records.iter().map(|it| it.seq).max().unwrap_or(Seq(0)),
        durable_segment: segment.segment,
        durable_offset: SEGMENT_HEADER_SIZE as u64,
        now: Timestamp(1),
    };
    change(&mut header);
    let (head, _) = header.encode(salt);
    let mut bytes = head.to_vec();
    bytes.extend_from_slice(&meta);
    bytes.extend_from_slice(&payloads);
    bytes
}

/// The bytes of the frame at `position` of a segment file.
pub fn frame_at(path: &Path, position: u64) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let at = usize::try_from(position).unwrap();
    let salt = segment_header(path).salt;
    let (header, _) = FrameHeader::decode(&bytes[at..], salt).unwrap();
    let end = at + usize::try_from(header.frame_len()).unwrap();
    bytes[at..end].to_vec()
}

/// Appends bytes to a file.
pub fn append(path: &Path, bytes: &[u8]) {
    let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
}

/// Flips a byte of a file.
pub fn flip(path: &Path, offset: u64) {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[!byte[0]], offset).unwrap();
    file.sync_all().unwrap();
}

/// Cuts a file.
pub fn cut(path: &Path, len: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(len).unwrap();
    file.sync_all().unwrap();
}

/// Where the first frame of a segment stands.
pub const FIRST: u64 = SEGMENT_HEADER_SIZE as u64;

/// Bytes of a frame's header.
pub const FRAME_HEADER: u64 = FRAME_HEADER_SIZE as u64;
