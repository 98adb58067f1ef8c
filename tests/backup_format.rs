//! The archive format: what is written comes back, and what is damaged, cut or foreign does not come
//! in.

use bytes::Bytes;
use proptest::prelude::*;
use shardkeep::backup::{
    ArchiveEncoder, ArchiveHeader, ArchiveReader, BackupFile, ChainId, Counts, Entry, Kind,
    ZstdbReader,
};
use shardkeep::codec::{encode_attributes, seal_chunks};
use shardkeep::model::{
    Attributes, Chunk, ChunkList, Codec, Digest, Error, ErrorKind, Key, Namespace, NamespaceId,
    NamespaceOptions, RefId, SealedValue, StoreId, Timestamp, ValueInfo, ValueType, Version,
};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128_with_seed};
use xxhash_rust::xxh64::xxh64;

type Result<T> = std::result::Result<T, Error>;

fn header() -> ArchiveHeader {
    ArchiveHeader {
        store: StoreId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
        chain: ChainId(0xff_eedd_ccbb_aa99_8877_6655_4433_2211),
        since: Version(10),
        max: Version(20),
        horizon: Version(5),
        created_at: Timestamp(1_700_000_000_123),
    }
}

fn sealed(raw: &[u8], digest: bool) -> SealedValue {
    SealedValue {
        info: ValueInfo {
            raw_len: raw.len() as u64,
            sum64: xxh64(raw, 0),
        },
        digest: digest.then(|| Digest(*blake3::hash(raw).as_bytes())),
        codec: Codec::Raw,
        payload_sum: xxh3_64(raw),
        payload: Bytes::copy_from_slice(raw),
    }
}

fn key(text: &str) -> Key {
    Key::new(text.as_bytes()).unwrap()
}

/// What a client says of a value.
fn said() -> Bytes {
    let metadata = BTreeMap::from([("name".to_owned(), "text".to_owned())]);
    encode_attributes(&Attributes::new(ValueType::Json, metadata).unwrap())
}

/// A namespace, and what is in it.
fn namespaced() -> Vec<Entry> {
    let id = NamespaceId(0x01_02_03);
    let orders = Namespace {
        id,
        uid: 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100,
        name: "orders".to_owned(),
        options: NamespaceOptions {
            by_content: false,
            overwrite: true,
            default_ttl_ms: Some(77),
            value_size_max: Some(1 << 20),
            compress: true,
            dedup: false,
        },
        created_at: Timestamp(1_700_000_000_000),
        dropped: false,
        version: Version(9),
    };
    let key = Key::in_namespace(id, b"small").unwrap();
    vec![
        Entry::Namespace(orders),
        Entry::Value {
            key,
            version: Version(14),
            expiry: None,
            attributes: Bytes::new(),
            value: sealed(b"in orders", false),
        },
    ]
}

/// The list of a value in chunks.
fn list() -> Entry {
    let chunk = Chunk {
        digest: Digest(*blake3::hash(b"a chunk").as_bytes()),
        raw_len: 7,
    };
    let list = ChunkList {
        ref_id: RefId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
        chunks: vec![chunk, chunk],
    };
    let whole = sealed(b"a chunka chunk", true);
    let digest = whole.digest.unwrap();
    Entry::Blob {
        digest,
        value: seal_chunks(&list, whole.info, digest),
    }
}

fn one_of_each() -> Vec<Entry> {
    [with_attributes(&said()), namespaced(), vec![list()]].concat()
}

fn with_attributes(attributes: &Bytes) -> Vec<Entry> {
    let blob = sealed(b"a large value, as if", true);
    let digest = blob.digest.unwrap();
    vec![
        Entry::Blob {
            digest,
            value: blob.clone(),
        },
        Entry::Value {
            key: key("small"),
            version: Version(11),
            expiry: None,
            attributes: Bytes::new(),
            value: sealed(b"tiny", false),
        },
        Entry::Value {
            key: key("small with a digest"),
            version: Version(12),
            expiry: Some(Timestamp(0)),
            attributes: attributes.clone(),
            value: SealedValue {
                codec: Codec::Zstd,
                ..sealed(b"also tiny", true)
            },
        },
        Entry::Reference {
            key: key("large"),
            version: Version(13),
            expiry: Some(Timestamp(77)),
            attributes: attributes.clone(),
            digest,
            info: blob.info,
        },
        Entry::Tombstone {
            key: key("gone"),
            version: Version(20),
        },
    ]
}

fn encode(header: ArchiveHeader, entries: &[Entry]) -> Vec<u8> {
    let mut encoder =
        ArchiveEncoder::new(Vec::new(), PathBuf::from("memory"), header, 0x5a17).unwrap();
    for entry in entries {
        encoder.write(entry).unwrap();
    }
    let (bytes, _, length) = encoder.finish().unwrap();
    assert_eq!(bytes.len() as u64, length);
    bytes
}

fn verified(path: &Path) -> Result<(Vec<Entry>, Counts)> {
    let mut reader = ArchiveReader::open(BackupFile::open(path)?)?;
    let summary = reader.verify(&mut |_, _| {})?;
    let entries = reader.entries().collect::<Result<Vec<Entry>>>()?;
    Ok((entries, summary.counts))
}

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

#[test]
fn an_archive_is_what_its_format_document_draws() {
    let golden = include_str!("data/archive-v4.hex");
    let bytes = encode(header(), &one_of_each());
    assert_eq!(to_hex(&bytes), golden.trim_end());

    // The drawn offsets that programs of others may rely on.
    assert_eq!(&bytes[..8], b"skbackup");
    assert_eq!(bytes[48..56], 10_u64.to_le_bytes());
    assert_eq!(bytes[56..64], 20_u64.to_le_bytes());
    assert_eq!(bytes[88..96], xxh3_64(&bytes[..88]).to_le_bytes());
    assert_eq!(bytes[96..100], [1, 0, 0, 0]);
    assert_eq!(bytes[104..112], 96_u64.to_le_bytes());
    let body = &bytes[120..120 + 84];
    let checked = [&bytes[96..112], body].concat();
    let sum = xxh3_64_with_seed(&checked, 0x5a17);
    assert_eq!(bytes[112..120], sum.to_le_bytes());
    let (front, footer) = bytes.split_at(bytes.len() - 88);
    let hash = xxh3_128_with_seed(front, 0x5a17);
    assert_eq!(footer[56..72], hash.to_le_bytes());
    assert_eq!(&footer[..8], b"skfooter");
    assert_eq!(footer[48..56], (bytes.len() as u64).to_le_bytes());
    assert_eq!(&footer[80..], b"skbakend");
}

fn to_hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect();
    let lines: Vec<String> = bytes.chunks(32).map(line).collect();
    lines.join("\n")
}

/// The entries of a golden archive of an earlier version.
fn read_golden(golden: &str, format: u32) -> Vec<Entry> {
    let digits: Vec<u8> = golden.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
    assert_eq!(bytes[8..12], format.to_le_bytes());
    let scratch = Scratch::new();
    verified(&scratch.file("old", &bytes)).unwrap().0
}

/// Version 1 knew of no attributes, version 2 of no namespaces, version 3 of no lists; all are read
/// for ever.
#[test]
fn archives_of_earlier_versions_are_read() {
    let first = read_golden(include_str!("data/archive-v1.hex"), 1);
    assert_eq!(first, with_attributes(&Bytes::new()));
    let second = read_golden(include_str!("data/archive-v2.hex"), 2);
    assert_eq!(second, with_attributes(&said()));
    let third = read_golden(include_str!("data/archive-v3.hex"), 3);
    assert_eq!(third, [with_attributes(&said()), namespaced()].concat());
}

#[test]
fn every_flipped_bit_of_an_archive_is_found() {
    let scratch = Scratch::new();
    let bytes = encode(header(), &one_of_each());
    let path = scratch.file("a", &bytes);
    assert!(verified(&path).is_ok());
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    for (at, byte) in bytes.iter().enumerate() {
        for bit in 0..8 {
            file.write_all_at(&[byte ^ 1 << bit], at as u64).unwrap();
            let error = verified(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error}");
            assert!(error.message().contains("offset"), "{error}");
        }
        file.write_all_at(&[*byte], at as u64).unwrap();
    }
    assert!(verified(&path).is_ok());
}

#[test]
fn every_cut_and_every_addition_is_found() {
    let scratch = Scratch::new();
    let bytes = encode(header(), &one_of_each());
    for length in 0..bytes.len() {
        let path = scratch.file("a", &bytes[..length]);
        assert!(verified(&path).is_err(), "{length}");
    }
    let twice = [&bytes[..], &bytes[..]].concat();
    assert!(verified(&scratch.file("a", &twice)).is_err());
    for more in [&b"\0"[..], b"skbakend", &bytes[bytes.len() - 88..]] {
        let longer = [&bytes[..], more].concat();
        assert!(verified(&scratch.file("a", &longer)).is_err());
    }
    let zeroed = [&bytes[..bytes.len() - 100], &[0; 100]].concat();
    assert!(verified(&scratch.file("a", &zeroed)).is_err());
}

#[test]
fn what_is_merged_is_the_file_that_was_verified() {
    let scratch = Scratch::new();
    let path = scratch.file("a", &encode(header(), &one_of_each()));
    let mut reader = ArchiveReader::open(BackupFile::open(&path).unwrap()).unwrap();
    reader.verify(&mut |_, _| {}).unwrap();
    let other = scratch.file("b", &encode(header(), &[]));
    fs::rename(other, &path).unwrap();
    let entries: Vec<Entry> = reader.entries().map(Result::unwrap).collect();
    assert_eq!(entries, one_of_each());
}

#[test]
fn damage_after_the_verification_is_found_by_the_merge() {
    let scratch = Scratch::new();
    let bytes = encode(header(), &one_of_each());
    let path = scratch.file("a", &bytes);
    let mut reader = ArchiveReader::open(BackupFile::open(&path).unwrap()).unwrap();
    reader.verify(&mut |_, _| {}).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[!bytes[200]], 200).unwrap();
    let entries: Vec<Result<Entry>> = reader.entries().collect();
    assert!(entries.last().unwrap().is_err());
    assert!(entries.len() < one_of_each().len());
}

#[test]
fn a_damaged_value_or_a_version_out_of_range_stops_the_backup() {
    let sink = || ArchiveEncoder::new(Vec::new(), PathBuf::from("memory"), header(), 1).unwrap();
    let mut value = sealed(b"tiny", false);
    value.payload_sum ^= 1;
    let damaged = Entry::Value {
        key: key("k"),
        version: Version(11),
        expiry: None,
        attributes: Bytes::new(),
        value,
    };
    let error = sink().write(&damaged).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    for version in [0, 10, 21] {
        let entry = Entry::Tombstone {
            key: key("k"),
            version: Version(version),
        };
        assert!(sink().write(&entry).is_err());
    }
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..2000);
    let expiry = || prop::option::of(any::<u64>().prop_map(Timestamp));
    let some_key =
        || prop::collection::vec(any::<u8>(), 1..300).prop_map(|bytes| Key::new(&bytes).unwrap());
    let version = || (11_u64..=20).prop_map(Version);
    let value = move |digest| {
        (bytes(), any::<bool>(), any::<u64>()).prop_map(move |(raw, zstd, raw_len)| SealedValue {
            info: ValueInfo {
                raw_len,
                sum64: xxh64(&raw, 0),
            },
            codec: if zstd { Codec::Zstd } else { Codec::Raw },
            ..sealed(&raw, digest)
        })
    };
    prop_oneof![
        value(true).prop_map(|value| Entry::Blob {
            digest: value.digest.unwrap(),
            value,
        }),
        (
            some_key(),
            version(),
            expiry(),
            prop::collection::vec(any::<u8>(), 0..40),
            any::<bool>().prop_flat_map(value)
        )
            .prop_map(|(key, version, expiry, attributes, value)| Entry::Value {
                key,
                version,
                expiry,
                attributes: attributes.into(),
                value,
            }),
        (
            some_key(),
            version(),
            expiry(),
            prop::collection::vec(any::<u8>(), 0..40),
            any::<[u8; 32]>(),
            any::<(u64, u64)>()
        )
            .prop_map(
                |(key, version, expiry, attributes, digest, (raw_len, sum64))| {
                    Entry::Reference {
                        key,
                        version,
                        expiry,
                        attributes: attributes.into(),
                        digest: Digest(digest),
                        info: ValueInfo { raw_len, sum64 },
                    }
                }
            ),
        (some_key(), version()).prop_map(|(key, version)| Entry::Tombstone { key, version }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_archive_comes_back_as_it_was_written(entries in prop::collection::vec(any_entry(), 0..40)) {
        let scratch = Scratch::new();
        let path = scratch.file("a", &encode(header(), &entries));
        let (back, counts) = verified(&path).unwrap();
        prop_assert_eq!(counts.blobs + counts.records(), entries.len() as u64);
        prop_assert_eq!(back, entries);
    }
}

#[test]
fn values_larger_than_every_buffer_come_back() {
    let scratch = Scratch::new();
    let entries: Vec<Entry> = [0, 1 << 20, (1 << 20) + 1, 5_000_000]
        .map(|size: u32| {
            (0..size)
                .map(|i| (i.wrapping_mul(i) >> 9) as u8)
                .collect::<Vec<u8>>()
        })
        .into_iter()
        .map(|raw| Entry::Blob {
            digest: Digest(*blake3::hash(&raw).as_bytes()),
            value: sealed(&raw, true),
        })
        .collect();
    let path = scratch.file("a", &encode(header(), &entries));
    assert!(verified(&path).unwrap().0 == entries);
}

#[test]
fn what_is_no_backup_is_refused() {
    let scratch = Scratch::new();
    let text = "just some text that somebody renamed\n".repeat(9);
    let archive = encode(header(), &[]);
    for bytes in [
        &b""[..],
        b"\0",
        b"skbackup",
        b"12345678",
        &[0; 4096],
        &[0xff; 4096],
        text.as_bytes(),
        &[&9_u64.to_le_bytes()[..], b"\x0a\x07garbage"].concat(),
        &archive[1..],
    ] {
        let path = scratch.file("x.zstdb.bak", bytes);
        let refused = BackupFile::open(&path).and_then(|file| match file.recognise()? {
            Kind::Own => verified(&path).map(|_| ()),
            Kind::Zstdb => ZstdbReader::open(file)
                .verify(&mut |_| Ok(()), &mut |_, _| {})
                .map(|_| ()),
        });
        assert!(refused.is_err(), "{bytes:?}");
    }
}
