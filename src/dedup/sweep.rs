//! The sweep: references that no record names, blobs that no reference names.

use super::Uploads;
use crate::model::{BlobRef, Digest, Key, Result, ShardId};
use std::future::Future;
use std::pin::Pin;

/// An answer that takes a while.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// A reference and the key whose record should name it, or the list that should.
pub type OwnedReference = (BlobRef, Key);

/// The shards as the sweep needs them.
pub trait ContentStore: Send + Sync + 'static {
    /// All shards.
    fn shards(&self) -> Vec<ShardId>;
    /// The references that one shard holds, streamed.
    ///
    /// # Errors
    /// When the shard cannot be read.
    fn references(
        &self,
        shard: ShardId,
    ) -> Result<Box<dyn Iterator<Item = Result<OwnedReference>> + Send>>;
    /// The blobs that one shard holds without any reference, streamed.
    ///
    /// # Errors
    /// When the shard cannot be read.
    fn orphans(&self, shard: ShardId) -> Result<Box<dyn Iterator<Item = Result<Digest>> + Send>>;
    /// Whether the owner's record names this reference.
    ///
    /// # Errors
    /// When the owner's shard cannot be read.
    fn is_named(&self, blob: BlobRef, owner: &Key) -> Result<bool>;
    /// Drops a reference that its owner's record does not name, once that is durable.
    fn drop_stale<'a>(&'a self, blob: BlobRef, owner: &'a Key) -> Pending<'a, ()>;
    /// Reclaims a blob, if it is still without references. If it was a list, the references to its
    /// chunks go too: the contents that lost one.
    fn reclaim(&self, digest: Digest) -> Pending<'_, Vec<Digest>>;
}

/// What a sweep found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// References looked at.
    pub references: u64,
    /// References that no record named.
    pub stale: u64,
    /// Blobs without references.
    pub orphans: u64,
}

/// Drops the references of one shard that nobody names. The order of the two looks matters: a
/// reference is registered as open before it is stored and closed after its record is, so one that
/// is not open when it is found has its record, if it will ever have one.
pub(super) async fn drop_stale(
    store: &dyn ContentStore,
    uploads: &Uploads,
    shard: ShardId,
    report: &mut SweepReport,
) -> Result<()> {
    for found in store.references(shard)? {
        let (blob, owner) = found?;
        report.references += 1;
        if uploads.is_open(blob.ref_id) || store.is_named(blob, &owner)? {
            continue;
        }
        report.stale += 1;
        store.drop_stale(blob, &owner).await?;
    }
    Ok(())
}
