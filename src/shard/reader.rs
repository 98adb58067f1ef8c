//! Reading: row, then payload, from the caller's own thread, never through the mailbox.

use super::epoch::{Epoch, Epochs};
use super::error::ShardError;
use super::feed::Feed;
use super::follow::Follower;
use super::pin;
use super::plan::HORIZON_MARK;
use super::showing::{Showing, Still};
use super::snapshot::ShardSnapshot;
use super::store::ShardStats;
use crate::codec::{
    ATTRIBUTES_SIZE_MAX, Cursor, Dictionaries, Kind, RECORD_HEADER_SIZE, RecordHeader, Space,
    decode_blob_ref, decode_chunks, payload_sum,
};
use crate::index::{Index, IndexError, IndexSnapshot, Row, Totals};
use crate::log::{LogError, Segment, SegmentMap, SharedSegments};
use crate::model::{
    BlobRef, ChunkList, Codec, Digest, Error, Key, NamespaceId, SealedValue, ShardId, Timestamp,
    Version,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// A shard's index and segments, for reading. Many may hold one; the shard is reopened only when
/// none does.
#[derive(Debug)]
pub struct ShardReader {
    id: ShardId,
    index: Arc<Index>,
    records: Records,
    /// The writer's own: with it goes whoever follows.
    feed: Weak<Feed>,
}

/// Where a shard's records are, and what opens them.
#[derive(Debug, Clone)]
pub(super) struct Records {
    pub segments: SharedSegments,
    pub epochs: Epochs,
    pub showing: Arc<Showing>,
    pub dictionaries: Arc<Dictionaries>,
}

/// What a look for a key's newest record found.
#[derive(Debug)]
pub enum Look {
    /// The record, an expired one and a tombstone too.
    Found(Found),
    /// There was none when this many groups were in the index.
    Absent(Epoch),
}

/// A record and the segments pinned when its row was looked up: everything the row can name.
#[derive(Debug, Clone)]
pub struct Found {
    /// The row.
    pub row: Row,
    /// How many groups were in the index before it was looked up.
    pub seen: Epoch,
    segments: Arc<SegmentMap>,
    /// For a compressed payload only: all readers share it, and counting them costs.
    dictionaries: Option<Arc<Dictionaries>>,
}

impl Found {
    pub(super) fn new(
        row: Row,
        seen: Epoch,
        segments: Arc<SegmentMap>,
        dictionaries: &Arc<Dictionaries>,
    ) -> Self {
        let is_compressed = row.codec == Codec::Zstd;
        Self {
            row,
            seen,
            segments,
            dictionaries: is_compressed.then(|| dictionaries.clone()),
        }
    }

    /// The blob that a link names.
    #[must_use]
    pub fn link(&self) -> Option<BlobRef> {
        let inline = self
            .row
            .inline
            .as_deref()
            .filter(|_| self.row.kind == Kind::Link);
        inline.and_then(|bytes| decode_blob_ref(bytes).ok())
    }

    /// The payload if it needs no disk: from the row or the page cache.
    ///
    /// # Errors
    /// `Damaged` when the payload is not what was written, or the index is wrong about it.
    pub fn payload_cached(&self) -> Result<Option<Bytes>, ShardError> {
        if let Some(inline) = &self.row.inline {
            return Ok(Some(inline.clone()));
        }
        let place = &self.row.place;
        let read = self
            .segment()?
            .read_cached(place.payload_offset, place.payload_len as usize);
        read?
            .map(|bytes| self.checked(Bytes::from(bytes)))
            .transpose()
    }

    /// The payload; may wait for the disk.
    ///
    /// # Errors
    /// `Damaged` when the payload is not what was written, or the index is wrong about it.
    pub fn payload(&self) -> Result<Bytes, ShardError> {
        if let Some(inline) = &self.row.inline {
            return Ok(inline.clone());
        }
        let place = &self.row.place;
        match self
            .segment()?
            .read(place.payload_offset, place.payload_len as usize)
        {
            Ok(bytes) => self.checked(Bytes::from(bytes)),
            Err(error) => Err(error.into()),
        }
    }

    /// The stored value, in a form that needs no dictionary.
    ///
    /// # Errors
    /// As [`Found::payload`] and [`Found::open`].
    pub fn sealed(&self, digest: Option<Digest>) -> Result<SealedValue, ShardError> {
        let value = SealedValue {
            info: self.row.info,
            digest,
            codec: self.row.codec,
            payload_sum: self.row.payload_sum,
            payload: self.payload()?,
        };
        match &self.dictionaries {
            Some(dictionaries) => dictionaries
                .without(value)
                .map_err(|error| self.damaged(error.to_string())),
            None => Ok(value),
        }
    }

    /// The raw value of a payload that was read.
    ///
    /// # Errors
    /// `Damaged` when it does not decompress to what it was.
    pub fn open(&self, payload: Bytes) -> Result<Bytes, ShardError> {
        let Some(dictionaries) = &self.dictionaries else {
            return Ok(payload);
        };
        dictionaries
            .open(self.row.codec, payload, self.row.info.raw_len)
            .map_err(|error| self.damaged(error.to_string()))
    }

    /// Whether opening the payload is work for the CPU.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.row.codec == Codec::Zstd
    }

    /// Whether the payload is the list of the value's chunks.
    #[must_use]
    pub fn is_in_chunks(&self) -> bool {
        self.row.codec == Codec::Chunks
    }

    /// The list of the value's chunks; may wait for the disk.
    ///
    /// # Errors
    /// As [`Found::payload`], and `Damaged` when it is no such list.
    pub fn chunks(&self) -> Result<ChunkList, ShardError> {
        decode_chunks(&self.payload()?, self.row.info.raw_len)
            .map_err(|error| self.damaged(error.to_string()))
    }

    pub(super) fn segment(&self) -> Result<&Arc<Segment>, ShardError> {
        let id = self.row.place.record.segment;
        let missing =
            || ShardError::Contradiction(format!("a row names segment {id}, which is not there"));
        self.segments.get(&id).ok_or_else(missing)
    }

    /// A payload that was read, if it is what was written.
    pub(super) fn checked(&self, payload: Bytes) -> Result<Bytes, ShardError> {
        if payload_sum(&payload) == self.row.payload_sum || believes_everything() {
            return Ok(payload);
        }
        Err(self.blame()?)
    }

    /// A payload does not match its row: is the log damaged, or does the index lie? The record's
    /// own header says.
    fn blame(&self) -> Result<ShardError, ShardError> {
        let segment = self.segment()?;
        let at = self.row.place.record.offset;
        let beside_max = crate::model::KEY_SIZE_MAX + ATTRIBUTES_SIZE_MAX;
        let len = (segment.len()?.saturating_sub(at)).min((RECORD_HEADER_SIZE + beside_max) as u64);
        let bytes = segment.read(at, usize::try_from(len).unwrap_or(0))?;
        match RecordHeader::decode(&mut Cursor::new(&bytes), segment.header.salt) {
            Ok(header) if header.record.seq != self.row.seq => {
                Ok(ShardError::Contradiction(format!(
                    "the record at {at} of {} is another one",
                    segment.path().display()
                )))
            }
            _ => Ok(self.damaged("payload checksum does not match".to_owned())),
        }
    }

    pub(super) fn damaged(&self, what: String) -> ShardError {
        let id = self.row.place.record.segment;
        let path = self
            .segments
            .get(&id)
            .map_or_else(Default::default, |segment| segment.path().to_owned());
        LogError::Damaged {
            path,
            offset: self.row.place.payload_offset,
            what,
        }
        .into()
    }
}

/// Planted by tests: a reader that does not look at checksums.
fn believes_everything() -> bool {
    fail::fail_point!("reader::unchecked", |_| true);
    false
}

impl ShardReader {
    pub(super) fn new(id: ShardId, index: Arc<Index>, records: Records, feed: Weak<Feed>) -> Self {
        Self {
            id,
            index,
            records,
            feed,
        }
    }

    /// The shard.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The newest record of a key, or proof for the writer that there is none.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn look(&self, key: &Key) -> Result<Look, ShardError> {
        let epoch = self.records.epochs.now();
        let found = self.find(key.space(), key.id())?;
        Ok(found.map_or(Look::Absent(epoch), Look::Found))
    }

    /// How many groups are in the index.
    pub(super) fn epoch(&self) -> Epoch {
        self.records.epochs.now()
    }

    /// Whether the newest record of a key is still the one that was seen then.
    #[must_use]
    pub fn is_unchanged(&self, key: &Key, then: Epoch) -> bool {
        self.records.epochs.is_unchanged(key.id(), then)
    }

    /// The live record of a key.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn key(&self, key: &Key, now: Timestamp) -> Result<Option<Found>, ShardError> {
        let found = self.find(key.space(), key.id())?;
        Ok(found.filter(|found| found.row.is_live(now)))
    }

    /// The newest record of a key, an expired one and a tombstone too.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn record(&self, key: &Key) -> Result<Option<Found>, ShardError> {
        self.find(key.space(), key.id())
    }

    /// A blob.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn blob(&self, digest: Digest) -> Result<Option<Found>, ShardError> {
        let found = self.find(Space::Blob, &digest.0)?;
        Ok(found.filter(|found| found.row.kind == Kind::Blob))
    }

    fn find(&self, space: Space, id: &[u8]) -> Result<Option<Found>, ShardError> {
        loop {
            let still = self.still()?;
            let seen = self.records.epochs.now();
            let found = pin::find(&self.records.segments, || self.index.get(space, id))?;
            if self.is_still(still) {
                let of =
                    |(row, segments)| Found::new(row, seen, segments, &self.records.dictionaries);
                return Ok(found.map(of));
            }
        }
    }

    /// Waits until no batch is in the index in part. What is read after is of one side of every
    /// batch if [`ShardReader::is_still`] says so then.
    ///
    /// # Errors
    /// `HalfShown` when that will be so only once the shard is opened again.
    pub fn still(&self) -> Result<Still, ShardError> {
        self.records.showing.still()
    }

    /// Whether no batch has come into the index since.
    #[must_use]
    pub fn is_still(&self, then: Still) -> bool {
        self.records.showing.is_still(then)
    }

    /// The record of a row, which must not be older than the segments that are there.
    pub(super) fn at(&self, row: Row) -> Found {
        let segments = self.records.segments.load_full();
        Found::new(
            row,
            self.records.epochs.now(),
            segments,
            &self.records.dictionaries,
        )
    }

    /// The store's dictionaries.
    #[must_use]
    pub fn dictionaries(&self) -> &Arc<Dictionaries> {
        &self.records.dictionaries
    }

    /// This shard at this moment, whatever its writer does.
    #[must_use]
    pub fn freeze(&self) -> ShardSnapshot {
        ShardSnapshot::take_beside_writer(self)
    }

    /// The changes after a version, as they come.
    ///
    /// # Errors
    /// `Conflict` (`WATCH_COMPACTED`) when the log no longer has them all; `Unavailable` when the
    /// shard is opened anew.
    pub fn follow(&self, after: Version) -> Result<Follower, Error> {
        let feed = self.feed.upgrade().ok_or_else(|| {
            let message = format!("shard {} is being opened anew; watch again", self.id);
            Error::unavailable("SHARD_OPENING", message)
        })?;
        Follower::new(self.id, after, &feed, self.records.clone())
    }

    /// The index at this moment, for scans of this shard.
    #[must_use]
    pub fn snapshot(&self) -> IndexSnapshot {
        self.index.snapshot()
    }

    /// What the shard holds and takes.
    ///
    /// # Errors
    /// When the index is damaged or the disk fails.
    pub fn stats(&self) -> Result<ShardStats, ShardError> {
        let segments = self.records.segments.load_full();
        let state = self.index.state()?.unwrap_or_default();
        let mut log_bytes = 0;
        for segment in segments.values() {
            // The newest is longer than what is in it: its space is taken in steps.
            let len = segment.len()?;
            let is_active = segment.id() == state.applied.segment;
            log_bytes += if is_active {
                len.min(state.applied.offset)
            } else {
                len
            };
        }
        let usage = self.index.usage()?;
        Ok(ShardStats {
            totals: state.totals,
            log_bytes,
            index_bytes: self.index.disk_space()?,
            segments: segments.len() as u64,
            dead_bytes: usage
                .values()
                .map(|usage| usage.total_bytes - usage.live_bytes)
                .sum(),
        })
    }

    /// Keys whose records have expired at `now`, at most so many.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn due(&self, now: Timestamp, count_max: usize) -> Result<Vec<Key>, ShardError> {
        Ok(self.index.due(now, count_max)?)
    }

    /// What each namespace holds here that holds anything, the default one too.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn counts(&self) -> Result<BTreeMap<NamespaceId, Totals>, ShardError> {
        let totals = self.index.state()?.unwrap_or_default().totals;
        let mut counts = self.index.counts()?;
        let others = counts.values();
        let rest = others.fold(totals, |rest, it| rest.without(it));
        counts.insert(NamespaceId::DEFAULT, rest);
        Ok(counts)
    }

    /// The version up to which tombstones may be gone.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn horizon(&self) -> Result<Version, ShardError> {
        let row = self.index.get(Space::Mark, HORIZON_MARK)?;
        Ok(row.map_or(Version(0), |row| row.version))
    }

    /// The segments at this moment, for the scrubber.
    #[must_use]
    pub fn segments(&self) -> Arc<SegmentMap> {
        self.records.segments.load_full()
    }

    /// Who holds a reference, and whether it is there.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn references(
        &self,
    ) -> impl Iterator<Item = Result<(BlobRef, Key), IndexError>> + Send + use<> {
        self.snapshot()
            .scan(Space::Reference, &[], None)
            .filter_map(|found| match found {
                Ok((id, row)) if row.kind == Kind::Reference => {
                    Some(Ok((decode_blob_ref(&id).ok()?, row.owner()?)))
                }
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            })
    }

    /// Blobs that have no reference.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn orphans(&self) -> impl Iterator<Item = Result<Digest, IndexError>> + Send + use<> {
        let references = self.snapshot();
        self.snapshot()
            .scan(Space::Blob, &[], None)
            .filter_map(move |found| match found {
                Ok((id, row)) if row.kind == Kind::Blob => {
                    let digest = Digest(<[u8; Digest::SIZE]>::try_from(&id[..]).ok()?);
                    let mut held = references.scan(Space::Reference, &digest.0, None);
                    let referenced = held.find_map(|found| match found {
                        Ok((_, row)) => (row.kind == Kind::Reference).then_some(Ok(())),
                        Err(error) => Some(Err(error)),
                    });
                    match referenced {
                        None => Some(Ok(digest)),
                        Some(Ok(())) => None,
                        Some(Err(error)) => Some(Err(error)),
                    }
                }
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            })
    }
}
