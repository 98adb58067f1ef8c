//! What one record and one row must be: the offline check and the scrubber ask the same questions.

use crate::codec::{
    Cursor, Dictionaries, DictionaryId, Kind, RECORD_HEADER_SIZE, Record, RecordHeader, Space,
    TombstoneNote, decode_blob_ref, decode_chunks, decode_namespace, digest_of, list_ref_id,
    parse_namespace_id, payload_sum, sum64_of,
};
use crate::index::{Place, Row};
use crate::log::{LogError, ScannedRecord, Segment, SegmentMap};
use crate::model::{Codec, Digest, Key, NamespaceId, Problem};
use crate::shard::dictionary::parse_dictionary;
use bytes::Bytes;
use std::path::Path;

/// Reads a record's payload and checks everything that is known of it: its checksum, and, for a
/// value, that it opens, with its dictionary where it has one, to the length, `sum64` and digest it
/// should.
///
/// # Errors
/// The problem, or what the operating system answers.
pub fn check_payload(
    segment: &Segment,
    scanned: &ScannedRecord,
    dictionaries: &Dictionaries,
) -> Result<Result<(), Problem>, LogError> {
    let read = segment.read(scanned.payload_offset, scanned.payload_len as usize);
    let payload = match read {
        Ok(payload) => Bytes::from(payload),
        Err(error @ LogError::Damaged { .. }) => {
            return Ok(Err(Problem::of_error(segment.path(), &error)));
        }
        Err(error) => return Err(error),
    };
    Ok(
        payload_fault(&scanned.record, payload, dictionaries).map_or(Ok(()), |fault| {
            let what = format!("{fault} ({})", describe(&scanned.record));
            Err(Problem::of_log(
                segment.path(),
                scanned.payload_offset,
                what,
            ))
        }),
    )
}

fn payload_fault(record: &Record, payload: Bytes, dictionaries: &Dictionaries) -> Option<String> {
    if payload_sum(&payload) != record.payload_sum {
        return Some("payload checksum does not match".to_owned());
    }
    match record.kind {
        Kind::Value | Kind::Blob => value_fault(record, payload, dictionaries),
        Kind::Tombstone | Kind::BlobGone | Kind::ReferenceGone => {
            TombstoneNote::decode(&payload).err().map(|e| e.to_string())
        }
        Kind::Link => decode_blob_ref(&payload).err().map(|e| e.to_string()),
        Kind::Dictionary => parse_dictionary(&record.id, record.version, payload).err(),
        Kind::Reference => {
            let owner = Key::of_id(record.namespace, &payload);
            owner.err().map(|e| e.to_string())
        }
        Kind::Namespace => namespace_fault(record, &payload),
        Kind::Purged | Kind::Horizon | Kind::Counter | Kind::SlotLeft | Kind::Aborted => None,
    }
}

fn namespace_fault(record: &Record, payload: &[u8]) -> Option<String> {
    let id = parse_namespace_id(&record.id);
    let read = id.and_then(|id| decode_namespace(id, record.version, payload));
    read.err().map(|error| error.to_string())
}

fn value_fault(record: &Record, payload: Bytes, dictionaries: &Dictionaries) -> Option<String> {
    if record.codec == Codec::Chunks {
        return list_fault(record, &payload);
    }
    let raw = match dictionaries.open(record.codec, payload, record.info.raw_len) {
        Ok(raw) => raw,
        Err(error) => return Some(error.to_string()),
    };
    if sum64_of(&raw) != record.info.sum64 {
        return Some("the value's own checksum (sum64) does not match".to_owned());
    }
    let wrong = record.kind == Kind::Blob && digest_of(&raw).0[..] != record.id[..];
    wrong.then(|| "the blob's bytes are not those of its digest".to_owned())
}

/// Whether the chunks are there and the list's is asked across shards: see `reference`.
fn list_fault(record: &Record, payload: &[u8]) -> Option<String> {
    let list = match decode_chunks(payload, record.info.raw_len) {
        Ok(list) => list,
        Err(error) => return Some(error.to_string()),
    };
    let is_named = list_ref_id(&record.attributes) == Some(list.ref_id);
    (!is_named).then(|| "the list's record names other references than the list".to_owned())
}

/// Checks that a row's place holds exactly its record, and that its inline payload is whole.
/// `segments` were pinned before the row was read.
///
/// # Errors
/// The problem. `index` is named where the row is at fault.
pub fn check_row(
    index: &Path,
    segments: &SegmentMap,
    (space, id): (Space, &[u8]),
    row: &Row,
) -> Result<(), Problem> {
    let wrong = |what: String| {
        let entity = entity_name(space, id);
        Problem::of_index(index, None, format!("the row of {entity} {what}"))
    };
    let Some(segment) = segments.get(&row.place.record.segment) else {
        let gone = row.place.record.segment;
        return Err(wrong(format!("names segment {gone}, which is not there")));
    };
    if let Some(inline) = &row.inline
        && (inline.len() != row.place.payload_len as usize
            || payload_sum(inline) != row.payload_sum)
    {
        return Err(wrong("holds a payload that is not its own".to_owned()));
    }
    let at = row.place.record.offset;
    let header = segment
        .read(at, RECORD_HEADER_SIZE + id.len() + row.attributes.len())
        .map_err(|error| Problem::of_error(segment.path(), &error))?;
    let decoded = RecordHeader::decode(&mut Cursor::new(&header), segment.header.salt);
    let decoded = decoded.map_err(|error| {
        let what = format!("no record of {} here: {error}", entity_name(space, id));
        Problem::of_log(segment.path(), at, what)
    })?;
    let place = Place {
        payload_len: decoded.payload_len,
        ..row.place
    };
    if (decoded.record.space(), &decoded.record.id[..]) == (space, id)
        && is_expected(&decoded.record, place, row)
    {
        return Ok(());
    }
    let file = segment.path().display();
    Err(wrong(format!(
        "does not match the record at {at} of {file}"
    )))
}

/// Checks that a row of a record's entity is as new or newer, and, where it names this very place,
/// that it is of this record.
///
/// # Errors
/// The problem.
pub fn check_known(file: &Path, scanned: &ScannedRecord, row: Option<&Row>) -> Result<(), Problem> {
    let record = &scanned.record;
    let place = Place {
        record: scanned.position,
        payload_offset: scanned.payload_offset,
        payload_len: scanned.payload_len,
    };
    let what = match row.filter(|row| row.seq >= record.seq) {
        None => "no row says what became of this record",
        Some(row) if row.place.record == place.record && !is_expected(record, place, row) => {
            "the row that names this place is of another record"
        }
        Some(_) => return Ok(()),
    };
    let what = format!("{what} ({})", describe(record));
    let at = scanned.position.offset;
    Err(Problem::of_index(file, Some(at), what))
}

/// Whether a row is the one that this record at this place must have.
fn is_expected(record: &Record, place: Place, row: &Row) -> bool {
    let expected = Row {
        inline: row.inline.clone(),
        ..Row::new(record, place, None)
    };
    *row == expected
}

/// A record for a person.
fn describe(record: &Record) -> String {
    let entity = entity_name(record.space(), &record.id);
    format!("{:?} of {entity}, version {}", record.kind, record.version)
}

fn namespaced_name(id: &[u8]) -> Option<String> {
    let (number, _) = id.split_first_chunk()?;
    let namespace = NamespaceId(u32::from_be_bytes(*number));
    let key = Key::of_id(namespace, id).ok()?;
    Some(format!("key \"{key}\" of namespace {namespace}"))
}

/// An entity for a person.
pub(super) fn entity_name(space: Space, id: &[u8]) -> String {
    let digest = |id: &[u8]| {
        let bytes = <[u8; Digest::SIZE]>::try_from(id.get(..Digest::SIZE)?).ok()?;
        Some(Digest(bytes).to_string())
    };
    let name = match space {
        Space::Key => Key::new(id).ok().map(|key| format!("key \"{key}\"")),
        Space::NamespacedKey => namespaced_name(id),
        Space::Blob => digest(id).map(|digest| format!("blob {digest}")),
        Space::Reference => digest(id).map(|digest| format!("a reference to blob {digest}")),
        Space::Dictionary => {
            let id = DictionaryId::decode(id);
            id.map(|id| format!("zstd dictionary {id}"))
        }
        Space::Namespace => {
            let id = parse_namespace_id(id).ok();
            id.map(|id| format!("namespace {id}"))
        }
        Space::Purged | Space::Mark | Space::Slot | Space::Transaction => None,
    };
    name.unwrap_or_else(|| format!("{space:?} \"{}\"", id.escape_ascii()))
}
