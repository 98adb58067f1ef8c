//! The format on disk, byte for byte: a segment of each format version with a record of every kind
//! that it brought, what stands beside a value, and an index row. What fails here makes existing
//! stores unreadable.

use bytes::Bytes;
use shardkeep::codec::{
    self, Cursor, Dictionaries, Dictionary, FLAG_CONTENT, FLAG_MOVED, FrameHeader, Kind,
    Membership, Record, RecordHeader, SegmentHeader, TombstoneNote, encode_attributes,
    encode_blob_ref, open_sealed,
};
use shardkeep::index::{Place, Row};
use shardkeep::log::{FrameWalk, LogIdentity, Payloads, Position, Step, inspect};
use shardkeep::model::*;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const SEGMENT_V1: &str = include_str!("data/segment-v1.hex");
const SEGMENT_V2: &str = include_str!("data/segment-v2.hex");
const SEGMENT_V3: &str = include_str!("data/segment-v3.hex");
const SEGMENT_V4: &str = include_str!("data/segment-v4.hex");
/// A dictionary that zstd's own tool has trained, with the name 40000.
const DICTIONARY: &str = include_str!("data/dictionary.hex");
const SALT: u64 = 0x5a17_5a17_5a17_5a17;
const STORE: StoreId = StoreId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
const SHARD: ShardId = ShardId(3);
const SEGMENT: SegmentId = SegmentId(7);

/// "one home for every value. " five times, as one zstd frame. Another zstd may write another
/// frame; this one must always open.
const ZSTD: &str = "28b52ffd20820d0100d06f6e6520686f6d6520666f72 \
    2065766572792076616c75652e200100964ee718";

/// What the tool makes of [`ORDER`] with that dictionary.
const ORDER_ZSTD: &str = "28b52ffd22409c660d0100238103392546fd787db8a4863278800d0106fc \
    00039070e47a4bb0b01d7f199c06";
const ORDER: &str = r#"{"type":"order","id":"ORD-123456","status":"shipped","currency":"EUR","customer":424242,"total":17.50}"#;

fn raw() -> Vec<u8> {
    b"one home for every value. ".repeat(5)
}

fn zstd() -> Bytes {
    digits(ZSTD)
}

/// The bytes of hex digits, whatever space is between them.
fn digits(text: &str) -> Bytes {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let pairs = digits
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

fn reference() -> BlobRef {
    BlobRef {
        digest: codec::digest_of(&raw()),
        ref_id: RefId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
    }
}

/// One group of puts, one of everything else.
fn groups() -> [Vec<Record>; 2] {
    let blob = reference();
    let digest = Bytes::copy_from_slice(&blob.digest.0);
    let info = ValueInfo {
        raw_len: raw().len() as u64,
        sum64: codec::sum64_of(&raw()),
    };
    let note = TombstoneNote {
        at: Timestamp(1_700_000_000_000),
    };
    let small = SealedValue {
        info: ValueInfo {
            raw_len: 5,
            sum64: codec::sum64_of(b"value"),
        },
        digest: None,
        codec: Codec::Raw,
        payload_sum: codec::payload_sum(b"value"),
        payload: Bytes::from_static(b"value"),
    };
    let large = SealedValue {
        info,
        digest: Some(blob.digest),
        codec: Codec::Zstd,
        payload_sum: codec::payload_sum(&zstd()),
        payload: zstd(),
    };
    let text = |text: &'static str| Bytes::from_static(text.as_bytes());
    let gone = |kind, id| Record::bookkeeping(kind, id, note.encode());
    let mut puts = vec![
        Record::of_value(Kind::Value, text("a key"), small),
        Record::of_value(Kind::Blob, digest.clone(), large),
        Record::bookkeeping(Kind::Reference, encode_blob_ref(blob), text("owner")),
        Record {
            info,
            ..Record::bookkeeping(Kind::Link, text("owner"), encode_blob_ref(blob))
        },
    ];
    puts[0].expiry = Some(Timestamp(1_800_000_000_000));
    puts[3].flags = FLAG_CONTENT;
    let mut others = vec![
        gone(Kind::Tombstone, text("a key")),
        gone(Kind::ReferenceGone, encode_blob_ref(blob)),
        gone(Kind::BlobGone, digest),
        Record::bookkeeping(
            Kind::Purged,
            Bytes::copy_from_slice(&2u64.to_be_bytes()),
            Bytes::new(),
        ),
        Record::bookkeeping(Kind::Horizon, text("horizon"), Bytes::new()),
        Record::bookkeeping(Kind::Counter, text("counter"), Bytes::new()),
    ];
    others[0].flags = FLAG_MOVED;
    for (number, record) in puts.iter_mut().chain(&mut others).enumerate() {
        record.seq = Seq(100 + number as u64);
        record.version = Version(200 + number as u64);
    }
    [puts, others]
}

/// What format version 2 brought: a dictionary, and a value that needs it.
fn groups_of_version_2() -> Vec<Vec<Record>> {
    let dictionary = digits(DICTIONARY);
    let mut dictionary = Record::bookkeeping(
        Kind::Dictionary,
        Bytes::copy_from_slice(&40_000u32.to_be_bytes()),
        dictionary,
    );
    let payload = digits(ORDER_ZSTD);
    let value = SealedValue {
        info: ValueInfo {
            raw_len: ORDER.len() as u64,
            sum64: codec::sum64_of(ORDER.as_bytes()),
        },
        digest: None,
        codec: Codec::Zstd,
        payload_sum: codec::payload_sum(&payload),
        payload,
    };
    let mut value = Record::of_value(Kind::Value, Bytes::from_static(b"order/123456"), value);
    (dictionary.seq, dictionary.version) = (Seq(100), Version(190));
    (value.seq, value.version) = (Seq(101), Version(200));
    vec![vec![dictionary, value]]
}

fn orders() -> Namespace {
    Namespace {
        id: NamespaceId(0x0001_0203),
        uid: 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100,
        name: "orders".to_owned(),
        options: NamespaceOptions {
            by_content: false,
            overwrite: true,
            default_ttl_ms: Some(3_600_000),
            value_size_max: Some(1 << 20),
            compress: true,
            dedup: false,
        },
        created_at: Timestamp(1_700_000_000_000),
        dropped: false,
        version: Version(200),
    }
}

/// What format version 3 brought: namespaces, and keys in them.
fn groups_of_version_3() -> Vec<Vec<Record>> {
    let orders = orders();
    let key = Key::in_namespace(orders.id, b"a key").unwrap();
    let value = SealedValue {
        info: ValueInfo {
            raw_len: 5,
            sum64: codec::sum64_of(b"value"),
        },
        digest: None,
        codec: Codec::Raw,
        payload_sum: codec::payload_sum(b"value"),
        payload: Bytes::from_static(b"value"),
    };
    let note = TombstoneNote {
        at: Timestamp(1_700_000_000_000),
    };
    let id = key.id().clone();
    let mut records = vec![
        codec::namespace_record(&orders),
        Record::of_value(Kind::Value, id.clone(), value).in_namespace_of(&key),
        Record::bookkeeping(Kind::Reference, encode_blob_ref(reference()), id.clone())
            .in_namespace_of(&key),
        Record::bookkeeping(Kind::Tombstone, id, note.encode()).in_namespace_of(&key),
    ];
    for (number, record) in records.iter_mut().enumerate() {
        record.seq = Seq(100 + number as u64);
        record.version = Version(200 + number as u64);
    }
    vec![records]
}

fn list() -> ChunkList {
    let chunk = Chunk {
        digest: reference().digest,
        raw_len: raw().len() as u32,
    };
    ChunkList {
        ref_id: RefId(0x1112_1314_1516_1718_191a_1b1c_1d1e_1f20),
        chunks: vec![chunk, chunk],
    }
}

/// What format version 4 brought: a list of chunks, and its references to them.
fn groups_of_version_4() -> Vec<Vec<Record>> {
    let (list, whole) = (list(), raw().repeat(2));
    let digest = codec::digest_of(&whole);
    let info = ValueInfo {
        raw_len: whole.len() as u64,
        sum64: codec::sum64_of(&whole),
    };
    let value = codec::seal_chunks(&list, info, digest);
    let attributes = codec::list_attributes(&value);
    let owner = Key::of_list(digest);
    let mut records: Vec<Record> = list
        .references()
        .into_iter()
        .map(|blob| {
            Record::bookkeeping(Kind::Reference, encode_blob_ref(blob), owner.id().clone())
                .in_namespace_of(&owner)
        })
        .collect();
    let id = Bytes::copy_from_slice(&digest.0);
    records.push(Record {
        attributes,
        ..Record::of_value(Kind::Blob, id, value)
    });
    for (number, record) in records.iter_mut().enumerate() {
        record.seq = Seq(100 + number as u64);
    }
    vec![records]
}

fn segment_header(format: u32) -> SegmentHeader {
    SegmentHeader {
        format,
        store: STORE,
        shard: SHARD,
        segment: SEGMENT,
        salt: SALT,
        prev_segment: SegmentId(6),
        prev_end: 54_321,
        prev_sum: 0x1234_5678_9abc_def0,
        counter: Version(199),
        last_seq: 99,
    }
}

fn segment(format: u32, groups: &[Vec<Record>]) -> Vec<u8> {
    let mut bytes = segment_header(format).encode();
    let mut prev_sum = segment_header(format).prev_sum;
    let mut durable_offset = 4096;
    for records in groups {
        let mut meta = Vec::new();
        records
            .iter()
            .for_each(|record| record.encode_meta(SALT, &mut meta));
        let payload: Vec<u8> = records
            .iter()
            .flat_map(|record| record.payload.to_vec())
            .collect();
        let last = records.last().unwrap();
        let header = FrameHeader {
            membership: Membership::NONE,
            store: STORE,
            shard: SHARD,
            record_count: records.len() as u32,
            segment: SEGMENT,
            position: bytes.len() as u64,
            meta_len: meta.len() as u32,
            payload_len: payload.len() as u64,
            meta_sum: FrameHeader::meta_sum_of(&meta, SALT),
            prev_sum,
            counter: last.version,
            last_seq: last.seq,
            durable_segment: SEGMENT,
            durable_offset,
            now: Timestamp(1_700_000_000_123),
        };
        let (head, sum) = header.encode(SALT);
        prev_sum = sum;
        durable_offset = bytes.len() as u64 + header.frame_len();
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&meta);
        bytes.extend_from_slice(&payload);
    }
    bytes
}

/// Lines of `offset: bytes`, 32 to a line; lines of zeros are left out, the last line is the end.
fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (number, line) in bytes.chunks(32).enumerate() {
        if line.iter().any(|byte| *byte != 0) {
            let digits: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "{:06x}: {digits}", number * 32).unwrap();
        }
    }
    writeln!(text, "{:06x}:", bytes.len()).unwrap();
    text
}

fn from_hex(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (offset, digits) = line.split_once(':').unwrap();
        bytes.resize(usize::from_str_radix(offset, 16).unwrap(), 0);
        for pair in digits.trim().as_bytes().chunks(2) {
            let pair = std::str::from_utf8(pair).unwrap();
            bytes.push(u8::from_str_radix(pair, 16).unwrap());
        }
    }
    bytes
}

/// The golden text, its comments aside.
fn without_comments(golden: &str) -> String {
    let lines = golden.lines().filter(|line| !line.starts_with('#'));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// The records of a golden segment, as a start reads them.
fn read(golden: &str, format: u32) -> Vec<Vec<Record>> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("00000007.seg"), from_hex(golden)).unwrap();
    let owner = LogIdentity {
        store: STORE,
        shard: SHARD,
    };
    let found = inspect(dir.path(), owner).unwrap();
    assert!(found.problems.is_empty() && found.made_good.is_empty());
    assert_eq!(found.missing, (1..7).map(SegmentId).collect::<Vec<_>>());
    let segment = found.segments[&SEGMENT].clone();
    assert_eq!(segment.header, segment_header(format));
    let mut walk = FrameWalk::new(segment, 4096, found.ends[&SEGMENT], Payloads::Read);
    let mut read = Vec::new();
    while let Some(step) = walk.next_step().unwrap() {
        let Step::Frame(frame) = step else {
            panic!("{step:?}");
        };
        let records = frame.records.into_iter();
        read.push(records.map(|scanned| scanned.record).collect());
    }
    read
}

#[test]
fn a_segment_is_written_as_format_version_1_says() {
    let written = to_hex(&segment(1, &groups()));
    assert_eq!(written, without_comments(SEGMENT_V1));
}

#[test]
fn a_segment_of_format_version_1_is_read() {
    let read = read(SEGMENT_V1, 1);
    assert_eq!(read, groups());
    let blob = &read[0][1];
    let opened = open_sealed(blob.codec, blob.payload.clone(), blob.info.raw_len).unwrap();
    assert_eq!(opened, raw());
}

#[test]
fn a_segment_is_written_as_format_version_2_says() {
    let written = to_hex(&segment(2, &groups_of_version_2()));
    assert_eq!(written, without_comments(SEGMENT_V2));
}

#[test]
fn a_segment_of_format_version_2_is_read() {
    let read = read(SEGMENT_V2, 2);
    assert_eq!(read, groups_of_version_2());
    let [dictionary, value] = &read[0][..] else {
        panic!("{read:?}");
    };
    let known = Dictionaries::default();
    let parsed = Dictionary::parse(dictionary.payload.clone(), dictionary.version).unwrap();
    assert_eq!(parsed.id().encode(), dictionary.id);
    known.add(parsed.into()).unwrap();
    let (payload, raw_len) = (value.payload.clone(), value.info.raw_len);
    assert!(open_sealed(value.codec, payload.clone(), raw_len).is_err());
    assert_eq!(known.open(value.codec, payload, raw_len).unwrap(), ORDER);
}

#[test]
fn a_segment_is_written_as_format_version_3_says() {
    let written = to_hex(&segment(3, &groups_of_version_3()));
    assert_eq!(written, without_comments(SEGMENT_V3));
}

#[test]
fn a_segment_of_format_version_3_is_read() {
    let read = read(SEGMENT_V3, 3);
    assert_eq!(read, groups_of_version_3());
    let record = &read[0][0];
    let id = codec::parse_namespace_id(&record.id).unwrap();
    let namespace = codec::decode_namespace(id, record.version, &record.payload);
    assert_eq!(namespace.unwrap(), orders());
}

#[test]
fn a_segment_is_written_as_format_version_4_says() {
    let written = to_hex(&segment(4, &groups_of_version_4()));
    assert_eq!(written, without_comments(SEGMENT_V4));
}

#[test]
fn a_segment_of_format_version_4_is_read() {
    let read = read(SEGMENT_V4, 4);
    assert_eq!(read, groups_of_version_4());
    let [reference, blob] = &read[0][..] else {
        panic!("{read:?}");
    };
    let owner = Key::of_id(reference.namespace, &reference.payload).unwrap();
    assert_eq!(&owner.list().unwrap().0[..], &blob.id[..]);
    let found = codec::decode_chunks(&blob.payload, blob.info.raw_len);
    assert_eq!(found.unwrap(), list());
    assert_eq!(codec::list_ref_id(&blob.attributes), Some(list().ref_id));
}

#[test]
fn an_index_row_is_written_and_read_as_the_document_says() {
    let [puts, _] = groups();
    let place = Place {
        record: Position {
            segment: SEGMENT,
            offset: 4232,
        },
        payload_offset: 4690,
        payload_len: 5,
    };
    let row = Row::new(&puts[0], place, Some(&puts[0].payload));
    let digits: String = row
        .encode()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        digits,
        "01000664c801078821d224050580a0f1c2b134c1a94ee9e4767810f0f09d9b267ed58776616c7565"
    );
    assert_eq!(Row::decode(&Bytes::from(row.encode())), Ok(row));
}

/// What a client says of a value stands behind the key, in the record as in the row.
#[test]
fn attributes_are_written_and_read_as_format_version_2_says() {
    let [puts, _] = groups();
    let metadata = BTreeMap::from([("name".to_owned(), "text".to_owned())]);
    let attributes = Attributes::new(ValueType::Json, metadata).unwrap();
    let record = Record {
        attributes: encode_attributes(&attributes),
        ..puts[0].clone()
    };
    let digits = |bytes: &[u8]| -> String { bytes.iter().map(|it| format!("{it:02x}")).collect() };
    let mut meta = Vec::new();
    record.encode_meta(SALT, &mut meta);
    assert_eq!(meta[70..72], 14u16.to_le_bytes());
    assert_eq!(
        digits(&meta[72..]),
        "61206b65790101060209046e616d6574657874"
    );
    let read = RecordHeader::decode(&mut Cursor::new(&meta), SALT).unwrap();
    assert_eq!(read.record.attributes, record.attributes);
    assert_eq!(read.log_size(), record.log_size());
    let place = Place {
        record: Position {
            segment: SEGMENT,
            offset: 4232,
        },
        payload_offset: 4690,
        payload_len: 5,
    };
    let row = Row::new(&record, place, None);
    assert_eq!(
        digits(&row.encode()),
        "01000c64c801078821d224050580a0f1c2b1340e0101060209046e616d6574657874c1a94ee9e4767810f0f09d9b267ed587"
    );
    assert_eq!(Row::decode(&Bytes::from(row.encode())), Ok(row));
}
