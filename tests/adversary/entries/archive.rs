//! An archive of ours: recognised, checked, handed out and opened.

use super::{number, put, with_scratch};
use shardkeep::backup::{ArchiveReader, BackupFile, Entry, Kind};
use shardkeep::codec::{digest_of, open_sealed};
use shardkeep::model::{Result, SealedValue};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128_with_seed};

const HEADER: usize = 96;
const FOOTER: usize = 88;
const FRAME_HEAD: usize = 24;

/// Reads these bytes as an archive, as they are and with their checksums mended.
pub fn archive(data: &[u8]) {
    let _any = read(data);
    if let Some(mended) = mended(data) {
        let _any = read(&mended);
    }
}

fn read(data: &[u8]) -> Result<()> {
    with_scratch(|dir| {
        let path = dir.join("x.zstdb.bak");
        std::fs::write(&path, data).unwrap();
        let outcome = walk(BackupFile::open(&path)?);
        std::fs::remove_file(path).unwrap();
        outcome
    })
}

fn walk(file: BackupFile) -> Result<()> {
    let _range = file.named_range();
    if file.recognise()? != Kind::Own {
        return Ok(());
    }
    let mut reader = ArchiveReader::open(file)?;
    let summary = reader.verify(&mut |done, of| assert!(done <= of))?;
    let mut handed_out = 0;
    for entry in reader.entries() {
        // What was verified is handed out, from the same open file.
        handed_out += 1;
        match entry.expect("what was verified") {
            Entry::Blob { digest, value } => {
                if let Some(raw) = opened(value) {
                    let _right_or_not = digest_of(&raw) == digest;
                }
            }
            Entry::Value { value, .. } => drop(opened(value)),
            Entry::Reference { .. } | Entry::Tombstone { .. } => {}
            // No footer counts them.
            Entry::Namespace(_) => handed_out -= 1,
        }
    }
    let counts = summary.counts;
    assert_eq!(handed_out, counts.blobs + counts.records());
    Ok(())
}

fn opened(value: SealedValue) -> Option<bytes::Bytes> {
    let raw_len = value.info.raw_len;
    let raw = open_sealed(value.codec, value.payload, raw_len).ok()?;
    assert_eq!(raw.len() as u64, raw_len);
    Some(raw)
}

/// The same bytes with every checksum, place and count as a writer would have set them.
pub fn mended(data: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = data.to_vec();
    let end = bytes.len().checked_sub(FOOTER)?;
    if end < HEADER {
        return None;
    }
    let sum = xxh3_64(&bytes[..88]);
    put(&mut bytes, 88, sum);
    let salt = number::<8>(&bytes, 80)?;
    let mut counts = [0_u64; 5];
    let mut at = HEADER;
    while end - at >= FRAME_HEAD {
        let body = at + FRAME_HEAD;
        let length = number::<4>(&bytes, at + 4)? as usize;
        if length > end - body {
            break;
        }
        put(&mut bytes, at + 8, at as u64);
        if let kind @ 1..=4 = bytes[at] {
            counts[usize::from(kind) - 1] += 1;
        }
        counts[4] += mend_payload(&mut bytes[at..body + length]);
        let summed = [&bytes[at..at + 16], &bytes[body..body + length]].concat();
        put(&mut bytes, at + 16, xxh3_64_with_seed(&summed, salt));
        at = body + length;
    }
    for (number, count) in counts.into_iter().enumerate() {
        put(&mut bytes, end + 8 + number * 8, count);
    }
    let length = bytes.len() as u64;
    put(&mut bytes, end + 48, length);
    let hash = xxh3_128_with_seed(&bytes[..end], salt);
    bytes[end + 56..end + 72].copy_from_slice(&hash.to_le_bytes());
    let sum = xxh3_64_with_seed(&bytes[end..end + 72], salt);
    put(&mut bytes, end + 72, sum);
    Some(bytes)
}

/// Sets the payload's own checksum in a frame of a kind that has one; bytes of its payload.
fn mend_payload(frame: &mut [u8]) -> u64 {
    let body = &frame[FRAME_HEAD..];
    let (sum_at, payload_at) = match frame[0] {
        1 => (56, 64),
        2 => {
            let digest = body
                .get(42)
                .map_or(0, |flags| usize::from(flags >> 1 & 1) * 32);
            let key = number::<2>(body, 40).unwrap_or(0) as usize;
            (32, 48 + digest + key)
        }
        _ => return 0,
    };
    let Some(payload) = body.get(payload_at..) else {
        return 0;
    };
    let (sum, len) = (xxh3_64(payload), payload.len() as u64);
    put(frame, FRAME_HEAD + sum_at, sum);
    len
}
