//! The books: which record of an entity wins, what that makes dead, what the shard holds.
//!
//! Live commits, replay and rebuild all go through [`Ledger::enter`], so they cannot disagree.

use crate::codec::{Kind, RECORD_HEADER_SIZE};
use crate::index::{Expiry, IndexBatch, Row, SegmentUsage, Totals};
use crate::model::{Codec, NamespaceId, SegmentId};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Totals of a shard and the usage of its segments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    pub totals: Totals,
    usage: BTreeMap<SegmentId, SegmentUsage>,
    changed: BTreeSet<SegmentId>,
    /// Of each namespace but the default one, which has the rest of the totals.
    counts: BTreeMap<NamespaceId, Totals>,
    counted: BTreeSet<NamespaceId>,
    /// The records that came to end their keys, and those that went, since the last call.
    expiries: BTreeMap<Expiry, Option<Bytes>>,
}

impl Ledger {
    pub fn new(
        totals: Totals,
        usage: BTreeMap<SegmentId, SegmentUsage>,
        counts: BTreeMap<NamespaceId, Totals>,
    ) -> Self {
        Self {
            totals,
            usage,
            changed: BTreeSet::new(),
            counts,
            counted: BTreeSet::new(),
            expiries: BTreeMap::new(),
        }
    }

    pub fn usage(&self) -> &BTreeMap<SegmentId, SegmentUsage> {
        &self.usage
    }

    pub fn counts(&self) -> &BTreeMap<NamespaceId, Totals> {
        &self.counts
    }

    /// Enters a record that now stands in the log. `before` is the entity's row so far. Whether
    /// the record wins, so that its row must be put: a higher sequence number wins, and of two
    /// copies of one record the one entered later.
    pub fn enter(&mut self, id: &Bytes, before: Option<&Row>, row: &Row) -> bool {
        let size = log_size(id.len(), row);
        let segment = row.place.record.segment;
        self.touch(segment).total_bytes += size;
        if before.is_some_and(|before| before.seq > row.seq) {
            return false;
        }
        if let Some(before) = before {
            self.leave(id, before);
        }
        if let Some(expiry) = row.expiry() {
            self.expiries.insert(expiry, Some(id.clone()));
        }
        self.touch(segment).live_bytes += size;
        self.totals.add(row);
        if let Some(counts) = self.counts_of(row) {
            counts.add(row);
        }
        true
    }

    /// Enters a record that stands in the log and says nothing, such as one of a transaction that
    /// was given up.
    pub fn enter_dead(&mut self, segment: SegmentId, size: u64) {
        self.touch(segment).total_bytes += size;
    }

    /// Takes an entity's row out of the books.
    pub fn leave(&mut self, id: &[u8], row: &Row) {
        if let Some(expiry) = row.expiry() {
            self.expiries.insert(expiry, None);
        }
        let segment = row.place.record.segment;
        if self.usage.contains_key(&segment) {
            let size = log_size(id.len(), row);
            let usage = self.touch(segment);
            usage.live_bytes = usage.live_bytes.saturating_sub(size);
        }
        self.totals.subtract(row);
        if let Some(counts) = self.counts_of(row) {
            counts.subtract(row);
        }
    }

    /// A segment is gone.
    pub fn forget_segment(&mut self, segment: SegmentId) {
        self.usage.remove(&segment);
        self.changed.insert(segment);
    }

    /// Puts the rows of the books that changed since the last call: how full segments are, what
    /// namespaces hold, and which records end their keys.
    pub fn put_changes(&mut self, batch: &mut IndexBatch<'_>) {
        for id in std::mem::take(&mut self.changed) {
            batch.put_usage(id, self.usage.get(&id).copied());
        }
        for id in std::mem::take(&mut self.counted) {
            if self.counts.get(&id) == Some(&Totals::default()) {
                self.counts.remove(&id);
            }
            batch.put_counts(id, self.counts.get(&id).copied());
        }
        for (expiry, key) in self.take_expiries() {
            batch.put_expiry(expiry, key.as_deref());
        }
    }

    /// Which records end which keys, and which do not any more, where that changed since the last
    /// call.
    pub fn take_expiries(&mut self) -> BTreeMap<Expiry, Option<Bytes>> {
        std::mem::take(&mut self.expiries)
    }

    /// The counts that a row of a namespace other than the default one adds to.
    fn counts_of(&mut self, row: &Row) -> Option<&mut Totals> {
        // Whoever brought a content, all namespaces share it: it counts with the default one.
        let is_namespaced = !matches!(row.namespace, NamespaceId::DEFAULT | NamespaceId::LISTS);
        let shared = !is_namespaced || row.kind == Kind::Blob;
        if shared || Totals::share(row) == Totals::default() {
            return None;
        }
        self.counted.insert(row.namespace);
        Some(self.counts.entry(row.namespace).or_default())
    }

    fn touch(&mut self, segment: SegmentId) -> &mut SegmentUsage {
        self.changed.insert(segment);
        self.usage.entry(segment).or_default()
    }
}

fn log_size(id_len: usize, row: &Row) -> u64 {
    (RECORD_HEADER_SIZE + id_len + row.attributes.len()) as u64 + u64::from(row.place.payload_len)
}

impl Totals {
    fn add(&mut self, row: &Row) {
        *self = self.with(&Self::share(row));
    }

    fn subtract(&mut self, row: &Row) {
        *self = self.without(&Self::share(row));
    }

    /// What one row adds to the totals.
    fn share(row: &Row) -> Self {
        let raw = row.info.raw_len;
        let stored = u64::from(row.place.payload_len);
        match row.kind {
            Kind::Value => Self {
                keys: 1,
                logical_bytes: raw,
                unique_bytes: raw,
                stored_bytes: stored,
                ..Self::default()
            },
            Kind::Link => Self {
                keys: 1,
                logical_bytes: raw,
                ..Self::default()
            },
            Kind::Blob => Self {
                blobs: 1,
                // What a list lists counts where it is.
                unique_bytes: if row.codec == Codec::Chunks { 0 } else { raw },
                stored_bytes: stored,
                ..Self::default()
            },
            Kind::Reference => Self {
                references: 1,
                ..Self::default()
            },
            Kind::Tombstone
            | Kind::BlobGone
            | Kind::ReferenceGone
            | Kind::Purged
            | Kind::Horizon
            | Kind::Counter
            | Kind::SlotLeft
            | Kind::Aborted
            | Kind::Namespace
            | Kind::Dictionary => Self::default(),
        }
    }
}
