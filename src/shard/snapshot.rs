//! A shard as it was at the cut.

use super::epoch::Epoch;
use super::plan::HORIZON_MARK;
use super::reader::Found;
use super::{ShardReader, error::ShardError};
use crate::codec::{
    Dictionaries, Kind, Space, decode_namespace, encode_blob_ref, parse_namespace_id,
};
use crate::index::{IndexError, IndexSnapshot, Row};
use crate::log::SegmentMap;
use crate::model::{
    BlobRef, Digest, Direction, Key, KeyRange, Namespace, NamespaceId, ShardId, Version,
};
use bytes::Bytes;
use std::sync::Arc;

/// One shard at the cut: its index as it was, and every segment that it names.
#[derive(Debug)]
pub struct ShardSnapshot {
    id: ShardId,
    index: IndexSnapshot,
    seen: Epoch,
    segments: Arc<SegmentMap>,
    dictionaries: Arc<Dictionaries>,
}

impl ShardSnapshot {
    pub(super) fn take(reader: &ShardReader) -> Self {
        Self {
            id: reader.id(),
            segments: reader.segments(),
            seen: reader.epoch(),
            index: reader.snapshot(),
            dictionaries: reader.dictionaries().clone(),
        }
    }

    /// As [`ShardSnapshot::take`], while the writer may be at work: taken again until no segment
    /// has come or gone meanwhile, so that it has all that its rows name.
    pub(super) fn take_beside_writer(reader: &ShardReader) -> Self {
        loop {
            let taken = Self::take(reader);
            if Arc::ptr_eq(&taken.segments, &reader.segments()) {
                return taken;
            }
        }
    }

    /// The shard.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The records of a namespace's keys in a range, tombstones too, in byte order or against it.
    pub fn range(
        &self,
        namespace: NamespaceId,
        range: &KeyRange,
        direction: Direction,
    ) -> impl Iterator<Item = Result<(Bytes, Found), IndexError>> + Send + use<> {
        let (space, range) = (Space::of_keys(namespace), range.ids_in(namespace));
        let (segments, dictionaries) = (self.segments.clone(), self.dictionaries.clone());
        let rows = self.index.range(space, &range, direction);
        let seen = self.seen;
        let found = move |row| Found::new(row, seen, segments.clone(), &dictionaries);
        rows.map(move |row| row.map(|(id, row)| (id, found(row))))
    }

    /// A blob, if it is there.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn blob(&self, digest: Digest) -> Result<Option<Found>, ShardError> {
        let row = self.index.get(Space::Blob, &digest.0)?;
        let row = row.filter(|row| row.kind == Kind::Blob);
        Ok(row.map(|row| self.found(row)))
    }

    /// The newest record of a key, a tombstone too.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn record(&self, key: &Key) -> Result<Option<Found>, ShardError> {
        let row = self.index.get(key.space(), key.id())?;
        Ok(row.map(|row| self.found(row)))
    }

    /// The version up to which tombstones may be gone.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn horizon(&self) -> Result<Version, ShardError> {
        let row = self.index.get(Space::Mark, HORIZON_MARK)?;
        Ok(row.map_or(Version(0), |row| row.version))
    }

    /// All records of keys of all namespaces, tombstones too, by namespace and in byte order.
    pub fn records(&self) -> impl Iterator<Item = Result<(Bytes, Found), IndexError>> + Send + '_ {
        let spaces = Space::KEYS.into_iter();
        let rows = spaces.flat_map(|space| self.index.scan(space, &[], None));
        rows.map(|found| found.map(|(id, row)| (id, self.found(row))))
    }

    /// The namespaces that were ever made, by number.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn namespaces(&self) -> Result<Vec<Namespace>, ShardError> {
        let rows = self.index.scan(Space::Namespace, &[], None);
        let namespace = |found: Result<(Bytes, Row), IndexError>| {
            let (id, row) = found?;
            let id = parse_namespace_id(&id).map_err(IndexError::from)?;
            let payload = row.inline.as_deref().unwrap_or_default();
            Ok(decode_namespace(id, row.version, payload).map_err(IndexError::from)?)
        };
        rows.map(namespace).collect()
    }

    /// All blobs that are there, in byte order.
    pub fn blobs(&self) -> impl Iterator<Item = Result<(Digest, Found), IndexError>> + Send + '_ {
        let rows = self.index.scan(Space::Blob, &[], None);
        rows.filter_map(|found| match found {
            Ok((id, row)) if row.kind == Kind::Blob => {
                let digest = Digest(<[u8; Digest::SIZE]>::try_from(&id[..]).ok()?);
                Some(Ok((digest, self.found(row))))
            }
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// Whether a reference and its content are there.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn holds(&self, blob: BlobRef) -> Result<bool, ShardError> {
        let reference = self.index.get(Space::Reference, &encode_blob_ref(blob))?;
        let content = self.index.get(Space::Blob, &blob.digest.0)?;
        let is = |row: Option<Row>, kind| row.is_some_and(|row| row.kind == kind);
        Ok(is(reference, Kind::Reference) && is(content, Kind::Blob))
    }

    /// The references to a blob and their owners.
    pub fn references_to(
        &self,
        digest: Digest,
    ) -> impl Iterator<Item = Result<(BlobRef, Key), IndexError>> + Send + use<> {
        self.index
            .scan(Space::Reference, &digest.0, None)
            .filter_map(|found| match found {
                Ok((id, row)) if row.kind == Kind::Reference => {
                    Some(Ok((crate::codec::decode_blob_ref(&id).ok()?, row.owner()?)))
                }
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            })
    }

    fn found(&self, row: Row) -> Found {
        Found::new(row, self.seen, self.segments.clone(), &self.dictionaries)
    }
}
