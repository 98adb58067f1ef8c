//! A segment file: what `verify`, the scrubber and a rebuild read, down to the opened values.

use super::{RAW_MAX, number, put, with_scratch};
use bytes::Bytes;
use shardkeep::codec::{
    FRAME_HEADER_SIZE, Kind, RECORD_HEADER_SIZE, SEGMENT_HEADER_SIZE, SegmentHeader, TombstoneNote,
    decode_blob_ref, open_sealed,
};
use shardkeep::index::{Place, Row};
use shardkeep::log::{
    FrameWalk, LogIdentity, Payloads, ScannedRecord, Segment, Step, inspect, is_zero_from,
};
use shardkeep::model::{SegmentId, ShardId, StoreId};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Segments are counted from one; no log comes as far as this.
const SEGMENT_MAX: u64 = 1 << 16;

/// Reads these bytes as a segment, as they are and with their checksums mended.
pub fn segment(data: &[u8]) {
    read(data);
    if let Some(mended) = mended(data) {
        read(&mended);
    }
}

fn read(data: &[u8]) {
    let header = SegmentHeader::decode(data).ok();
    let owner = LogIdentity {
        store: header.map_or(StoreId(1), |header| header.store),
        shard: header.map_or(ShardId(0), |header| header.shard),
    };
    let id = header.map_or(SegmentId(1), |header| header.segment);
    // A file's name is its owner's, not its content's.
    let id = SegmentId(id.0.clamp(1, SEGMENT_MAX));
    with_scratch(|dir| {
        let path = dir.join(Segment::file_name(id));
        std::fs::write(&path, data).unwrap();
        let found = inspect(dir, owner).unwrap();
        for (id, segment) in &found.segments {
            let end = found.ends[id];
            is_zero_from(segment, end).unwrap();
            for payloads in [Payloads::Skip, Payloads::Small(128), Payloads::Read] {
                let start = SEGMENT_HEADER_SIZE as u64;
                walk(FrameWalk::new(segment.clone(), start, end, payloads), end);
            }
        }
        std::fs::remove_file(path).unwrap();
    });
}

fn walk(mut walk: FrameWalk, end: u64) {
    let mut at = walk.offset();
    // A segment that only a newer program understands ends the walk.
    while let Ok(Some(step)) = walk.next_step() {
        assert!(
            walk.offset() > at && walk.offset() <= end,
            "from {at} to {}",
            walk.offset()
        );
        at = walk.offset();
        if let Step::Frame(frame) = step {
            frame.records.iter().for_each(look);
        }
    }
}

/// What is done with a record once it is found.
fn look(scanned: &ScannedRecord) {
    let record = &scanned.record;
    let payload = record.payload.clone();
    match record.kind {
        Kind::Value | Kind::Blob if payload.len() == scanned.payload_len as usize => {
            let raw_len = record.info.raw_len;
            if let Ok(raw) = open_sealed(record.codec, payload, raw_len) {
                assert_eq!(raw.len() as u64, raw_len);
            }
        }
        Kind::Link => drop(decode_blob_ref(&payload)),
        Kind::Reference => drop(decode_blob_ref(&record.id)),
        kind if kind.is_gone() => drop(TombstoneNote::decode(&payload)),
        _ => {}
    }
    let place = Place {
        record: scanned.position,
        payload_offset: scanned.payload_offset,
        payload_len: scanned.payload_len,
    };
    let row = Row::new(record, place, Some(&record.payload));
    let encoded = Bytes::from(row.encode());
    assert!(record.info.raw_len <= RAW_MAX || !encoded.is_empty());
    if let Ok(decoded) = Row::decode(&encoded) {
        assert_eq!(decoded, row);
    }
}

/// The same bytes with every checksum, and every frame's place, as a writer would have set them.
fn mended(data: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = data.to_vec();
    if bytes.len() < SEGMENT_HEADER_SIZE {
        return None;
    }
    for copy in [0, 2048] {
        let sum = xxh3_64(&bytes[copy..copy + 96]);
        put(&mut bytes, copy + 96, sum);
    }
    let mut at = SEGMENT_HEADER_SIZE;
    let mut before = number::<8>(&bytes, 64)?;
    while bytes.get(at..at + 4) == Some(b"skGF") && bytes.len() - at >= FRAME_HEADER_SIZE {
        (at, before) = mend_frame(&mut bytes, at, before);
    }
    Some(bytes)
}

/// Mends a frame; where the next one starts, and the sum that it should name.
fn mend_frame(bytes: &mut [u8], at: usize, before: u64) -> (usize, u64) {
    let salt = number::<8>(bytes, 40).unwrap();
    let (shard, store) = (number::<2>(bytes, 12).unwrap(), bytes[16..32].to_vec());
    let segment = number::<8>(bytes, 32).unwrap();
    bytes[at + 16..at + 32].copy_from_slice(&store);
    bytes[at + 32..at + 34].copy_from_slice(&shard.to_le_bytes()[..2]);
    put(bytes, at + 40, segment);
    put(bytes, at + 48, at as u64);
    put(bytes, at + 80, before);
    let meta = at + FRAME_HEADER_SIZE;
    let meta_len = number::<4>(bytes, at + 56).unwrap() as usize;
    let payload_len = number::<8>(bytes, at + 64).unwrap() as usize;
    if meta_len <= bytes.len() - meta {
        mend_records(bytes, at, salt);
        let sum = xxh3_64_with_seed(&bytes[meta..meta + meta_len], salt);
        put(bytes, at + 72, sum);
    }
    let head = number::<8>(bytes, at).unwrap();
    let sum = xxh3_64_with_seed(&bytes[at + 16..meta], salt ^ head);
    put(bytes, at + 8, sum);
    let end = meta.saturating_add(meta_len).saturating_add(payload_len);
    (end.min(bytes.len()), sum)
}

fn mend_records(bytes: &mut [u8], frame: usize, salt: u64) {
    let count = number::<4>(bytes, frame + 36).unwrap();
    let mut at = frame + FRAME_HEADER_SIZE;
    let meta_end = at + number::<4>(bytes, frame + 56).unwrap() as usize;
    let mut payload = meta_end;
    for _ in 0..count {
        if at + RECORD_HEADER_SIZE > meta_end {
            return;
        }
        let payload_len = number::<4>(bytes, at + 56).unwrap() as usize;
        let end = at + RECORD_HEADER_SIZE + number::<2>(bytes, at + 60).unwrap() as usize;
        if end > meta_end {
            return;
        }
        if let Some(payload) = bytes.get(payload..payload + payload_len) {
            let sum = xxh3_64(payload);
            put(bytes, at + 8, sum);
        }
        let sum = xxh3_64_with_seed(&bytes[at + 8..end], salt);
        put(bytes, at, sum);
        at = end;
        payload += payload_len;
    }
}
