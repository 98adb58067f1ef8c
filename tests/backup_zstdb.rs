//! zstdb's own backups: the samples hold what their JSON says, and what is damaged does not come in.

use shardkeep::backup::{BackupFile, Kind, ZstdbReader, ZstdbRecord, ZstdbSummary};
use shardkeep::model::{Error, Version};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use xxhash_rust::xxh64::xxh64;

type Result<T> = std::result::Result<T, Error>;

/// A folder with a file to be filled again and again.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/zstdb");
const FULL: &str = "sample_[0_24].zstdb.bak";
const INCREMENT: &str = "sample_[24_27].zstdb.bak";

fn sample(name: &str) -> PathBuf {
    Path::new(DATA).join(name)
}

fn decompress(record: &ZstdbRecord) -> Result<Option<Vec<u8>>> {
    let Some(value) = &record.value else {
        return Ok(None);
    };
    let raw = zstd::decode_all(&value.payload[..])
        .map_err(|error| Error::corrupt("VALUE_DAMAGED", error.to_string()))?;
    assert!(value.raw_len.is_none_or(|len| len == raw.len() as u64));
    assert!(raw.len() as u64 <= value.raw_len_max);
    Ok(Some(raw))
}

/// Verifies with every value decompressed, then reads.
fn zstdb(path: &Path) -> Result<(ZstdbSummary, Vec<ZstdbRecord>)> {
    let file = BackupFile::open(path)?;
    if file.recognise()? != Kind::Zstdb {
        return Err(Error::invalid("TEST", "not zstdb's"));
    }
    let mut reader = ZstdbReader::open(file);
    let mut check = |record: &ZstdbRecord| decompress(record).map(|_| ());
    let summary = reader.verify(&mut check, &mut |_, _| {})?;
    let records = reader.entries().collect::<Result<Vec<_>>>()?;
    assert_eq!(records.len() as u64, summary.records);
    Ok((summary, records))
}

fn merge(into: &mut BTreeMap<String, serde_json::Value>, records: &[ZstdbRecord]) {
    for record in records {
        let key = String::from_utf8(record.key.as_bytes().to_vec()).unwrap();
        match decompress(record).unwrap() {
            None => into.remove(&key),
            Some(raw) => into.insert(
                key,
                serde_json::json!({
                    "length": raw.len(),
                    "blake3": blake3::hash(&raw).to_string(),
                    "xxh64": xxh64(&raw, 0),
                    "ver64": record.version.0,
                }),
            ),
        };
    }
}

fn expected(name: &str) -> (BTreeMap<String, serde_json::Value>, u64) {
    let json: serde_json::Value = serde_json::from_slice(&fs::read(sample(name)).unwrap()).unwrap();
    let keys = json["keys"].as_object().unwrap();
    let keys = keys.iter().map(|(key, value)| (key.clone(), value.clone()));
    (keys.collect(), json["max_version"].as_u64().unwrap())
}

#[test]
fn the_samples_of_zstdb_hold_what_their_json_says() {
    let mut held = BTreeMap::new();
    let (summary, records) = zstdb(&sample(FULL)).unwrap();
    merge(&mut held, &records);
    let (keys, max) = expected("sample-full.json");
    assert_eq!(held, keys);
    assert_eq!((summary.since, summary.max), (Version(0), Version(max)));
    assert_eq!(summary.tombstones, 0);

    let (summary, records) = zstdb(&sample(INCREMENT)).unwrap();
    merge(&mut held, &records);
    let (keys, max) = expected("sample-after-increment.json");
    assert_eq!(held, keys);
    assert_eq!((summary.since, summary.max), (Version(24), Version(max)));
    assert_eq!((summary.highest, summary.tombstones), (Version(27), 1));
}

#[test]
fn a_zstdb_backup_under_another_name_has_the_range_that_it_proves() {
    let scratch = Scratch::new();
    for (name, since, max) in [(FULL, 0, 24), (INCREMENT, 24, 27)] {
        let bytes = fs::read(sample(name)).unwrap();
        for other in ["renamed.bak", &format!("x_[{since}-{max}].zstdb.bak")] {
            let (summary, _) = zstdb(&scratch.file(other, &bytes)).unwrap();
            assert_eq!((summary.since.0, summary.max.0), (since, max));
        }
    }
}

#[test]
fn every_cut_of_a_zstdb_backup_is_refused() {
    let scratch = Scratch::new();
    for name in [FULL, INCREMENT] {
        let bytes = fs::read(sample(name)).unwrap();
        let step = if bytes.len() > 10_000 { 397 } else { 1 };
        let ends = (0..bytes.len())
            .step_by(step)
            .chain([96, 97, bytes.len() - 1]);
        for length in ends {
            let path = scratch.file(name, &bytes[..length]);
            assert!(zstdb(&path).is_err(), "{name} cut to {length}");
        }
        for more in [&[0][..], &[0; 8], &[0; 4096], b"tail", &bytes] {
            let path = scratch.file(name, &[&bytes, more].concat());
            assert!(zstdb(&path).is_err(), "{name} and {} bytes", more.len());
        }
    }
}

#[test]
fn damage_in_a_zstdb_backup_never_changes_a_value() {
    let scratch = Scratch::new();
    let bytes = fs::read(sample(INCREMENT)).unwrap();
    let (_, sound) = zstdb(&sample(INCREMENT)).unwrap();
    let values: Vec<_> = sound
        .iter()
        .map(|record| decompress(record).unwrap())
        .collect();
    let path = scratch.file(INCREMENT, &bytes);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let mut refused = 0;
    for (at, byte) in bytes.iter().enumerate() {
        file.write_all_at(&[!byte], at as u64).unwrap();
        match zstdb(&path) {
            Err(_) => refused += 1,
            Ok((_, records)) => {
                let found = records.iter().map(|record| decompress(record).unwrap());
                assert!(found.eq(values.iter().cloned()), "byte {at}");
            }
        }
        file.write_all_at(&[*byte], at as u64).unwrap();
    }
    // What is left are bytes of keys, which no structure proves.
    let keys: usize = sound.iter().map(|record| record.key.as_bytes().len()).sum();
    assert!(bytes.len() - refused <= keys + sound.len());
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    [&[tag], &varint(bytes.len())[..], bytes].concat()
}

/// An entry as badger encodes it, with a frame for its value.
fn kv_of_frame(key: &str, frame: &[u8], version: u8, meta: u8) -> Vec<u8> {
    let mut kv = field(0x0a, key.as_bytes());
    if !frame.is_empty() {
        kv.extend(field(0x12, frame));
    }
    if version > 0 {
        kv.extend([0x20, version]);
    }
    kv.extend([0x32, 1, meta, 0x50, 1]);
    field(0x0a, &kv)
}

fn kv(key: &str, value: Option<&[u8]>, version: u8, meta: u8) -> Vec<u8> {
    let frame = value.map(|value| zstd::encode_all(value, 1).unwrap());
    kv_of_frame(key, &frame.unwrap_or_default(), version, meta)
}

fn block(kvs: &[Vec<u8>]) -> Vec<u8> {
    let list = kvs.concat();
    [&(list.len() as u64).to_le_bytes()[..], &list].concat()
}

#[test]
fn every_frame_of_the_zstd_library_is_taken() {
    let scratch = Scratch::new();
    for size in [1_u32, 255, 256, 257, 70_000, 400_000] {
        let raw: Vec<u8> = (0..size).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        for level in [-1, 1, 3, 19] {
            let streamed = zstd::encode_all(&raw[..], level).unwrap();
            let whole = zstd::bulk::compress(&raw, level).unwrap();
            let mut doubled = whole.clone();
            doubled.extend_from_slice(&whole);
            let file = |frame: &[u8]| {
                let bytes = block(&[kv_of_frame("k", frame, 1, 0)]);
                scratch.file("x_[0_1].zstdb.bak", &bytes)
            };
            for frame in [&streamed, &whole] {
                let (_, records) = zstdb(&file(frame)).unwrap();
                assert!(decompress(&records[0]).unwrap() == Some(raw.clone()));
                assert!(zstdb(&file(&frame[..frame.len() - 1])).is_err());
            }
            assert!(zstdb(&file(&doubled)).is_err());
        }
    }
}

#[test]
fn several_versions_of_a_key_give_the_newest() {
    let scratch = Scratch::new();
    let sound = [
        block(&[kv("a", Some(b"new"), 5, 2), kv("a", Some(b"old"), 3, 0)]),
        block(&[
            kv("b", Some(b"only"), 1, 4),
            kv("b", None, 0, 1),
            kv("c", None, 4, 1),
        ]),
    ]
    .concat();
    let (summary, records) = zstdb(&scratch.file("x_[0_5].zstdb.bak", &sound)).unwrap();
    let found: Vec<_> = records
        .iter()
        .map(|record| {
            (
                record.key.to_string(),
                record.version.0,
                record.value.is_some(),
            )
        })
        .collect();
    let wanted = [("a", 5, true), ("b", 1, true), ("c", 4, false)];
    assert_eq!(
        found,
        wanted.map(|(key, version, value)| (key.to_owned(), version, value))
    );
    assert_eq!((summary.records, summary.tombstones), (3, 1));

    for unsound in [
        block(&[kv("b", Some(b"1"), 5, 0), kv("a", Some(b"2"), 3, 0)]),
        block(&[kv("a", Some(b"1"), 3, 0), kv("a", Some(b"2"), 5, 0)]),
        block(&[kv("a", Some(b"1"), 5, 0), kv("a", Some(b"2"), 5, 0)]),
        block(&[kv("a", Some(b"1"), 5, 1)]),
        block(&[kv("a", None, 5, 0)]),
        block(&[kv("a", Some(b"1"), 5, 8)]),
        block(&[kv("", Some(b"1"), 5, 0)]),
        block(&[kv("a", Some(b"1"), 0, 0), kv("b", Some(b"1"), 5, 0)]),
    ] {
        assert!(zstdb(&scratch.file("x_[0_5].zstdb.bak", &unsound)).is_err());
    }
}
