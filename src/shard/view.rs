//! The current records as planning sees them: the index, and the group that is being planned.

use super::homes::Homes;
use super::plan::{Current, HORIZON_MARK, Known};
use crate::codec::{Kind, Record, Space, decode_blob_ref, encode_blob_ref};
use crate::index::{Index, IndexError, Row};
use crate::model::{BlobRef, Digest, Key, ShardId, Version};
use bytes::Bytes;
use std::collections::HashMap;

type EntityId = (Space, Bytes);

/// Index rows read for a group, and what the group's earlier commands have planned.
pub(super) struct View<'a> {
    index: &'a Index,
    homes: &'a Homes,
    shard: ShardId,
    rows: HashMap<EntityId, Option<Row>>,
    planned: HashMap<EntityId, Known>,
}

impl<'a> View<'a> {
    pub fn new(index: &'a Index, homes: &'a Homes, shard: ShardId) -> Self {
        Self {
            index,
            homes,
            shard,
            rows: HashMap::new(),
            planned: HashMap::new(),
        }
    }

    /// Spares the look-up of a key that is known to have no row.
    pub fn take_as_absent(&mut self, key: &Key) {
        self.rows
            .entry((key.space(), key.id().clone()))
            .or_insert(None);
    }

    /// Takes planned records over, so that the next command sees them.
    pub fn note(&mut self, records: &[Record]) {
        for record in records {
            let known = Known {
                kind: record.kind,
                content: record.flags & crate::codec::FLAG_CONTENT != 0,
                version: record.version,
                expiry: record.expiry,
                link: link_of(record.kind, &record.payload),
            };
            self.planned.insert(record.entity(), known);
        }
    }

    /// The index row of an entity, read once.
    pub fn row(&mut self, space: Space, id: &Bytes) -> Result<Option<Row>, IndexError> {
        if let Some(row) = self.rows.get(&(space, id.clone())) {
            return Ok(row.clone());
        }
        let row = self.index.get(space, id)?;
        self.rows.insert((space, id.clone()), row.clone());
        Ok(row)
    }

    /// The rows read so far, for entering the group into the books.
    pub fn into_rows(self) -> HashMap<EntityId, Option<Row>> {
        self.rows
    }

    fn known(&mut self, space: Space, id: Bytes) -> Result<Option<Known>, IndexError> {
        if let Some(known) = self.planned.get(&(space, id.clone())) {
            return Ok(Some(*known));
        }
        Ok(self.row(space, &id)?.map(|row| Known {
            kind: row.kind,
            content: row.content,
            version: row.version,
            expiry: row.expiry,
            link: link_of(row.kind, row.inline.as_deref().unwrap_or_default()),
        }))
    }
}

fn link_of(kind: Kind, payload: &[u8]) -> Option<BlobRef> {
    (kind == Kind::Link)
        .then(|| decode_blob_ref(payload).ok())
        .flatten()
}

impl Current for View<'_> {
    fn key(&mut self, key: &Key) -> Result<Option<Known>, IndexError> {
        self.known(key.space(), key.id().clone())
    }

    fn blob(&mut self, digest: Digest) -> Result<Option<Known>, IndexError> {
        self.known(Space::Blob, Bytes::copy_from_slice(&digest.0))
    }

    fn reference(&mut self, blob: BlobRef) -> Result<Option<Known>, IndexError> {
        self.known(Space::Reference, encode_blob_ref(blob))
    }

    fn is_referenced(&mut self, digest: Digest) -> Result<bool, IndexError> {
        let planned = self.planned.iter().any(|((space, id), known)| {
            *space == Space::Reference && id.starts_with(&digest.0) && !known.kind.is_gone()
        });
        if planned {
            return Ok(true);
        }
        for found in self
            .index
            .snapshot()
            .scan(Space::Reference, &digest.0, None)
        {
            let (id, row) = found?;
            let dropped = self.planned.contains_key(&(Space::Reference, id));
            if !row.kind.is_gone() && !dropped {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn horizon(&mut self) -> Result<Version, IndexError> {
        let known = self.known(Space::Mark, Bytes::from_static(HORIZON_MARK))?;
        Ok(known.map_or(Version(0), |known| known.version))
    }

    fn is_home(&self, digest: Digest) -> bool {
        self.homes.shard_of(digest.slot()) == self.shard
    }
}
