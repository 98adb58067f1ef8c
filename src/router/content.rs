//! The shards as the sweep needs them.

use super::Router;
use crate::dedup::{ContentStore, OwnedReference, Pending};
use crate::model::{BlobRef, Command, Digest, Key, Result, ShardId};

impl ContentStore for Router {
    fn shards(&self) -> Vec<ShardId> {
        self.shards.iter().map(|shard| shard.id()).collect()
    }

    fn references(
        &self,
        shard: ShardId,
    ) -> Result<Box<dyn Iterator<Item = Result<OwnedReference>> + Send>> {
        let reader = self.handle(shard).reader()?;
        let router = self.clone();
        let told = move |found: Result<_, crate::index::IndexError>| {
            router.told(shard, found.map_err(Into::into))
        };
        Ok(Box::new(reader.references().map(told)))
    }

    fn orphans(&self, shard: ShardId) -> Result<Box<dyn Iterator<Item = Result<Digest>> + Send>> {
        let reader = self.handle(shard).reader()?;
        let router = self.clone();
        let told = move |found: Result<_, crate::index::IndexError>| {
            router.told(shard, found.map_err(Into::into))
        };
        Ok(Box::new(reader.orphans().map(told)))
    }

    fn is_named(&self, blob: BlobRef, owner: &Key) -> Result<bool> {
        // An expired record names its content for as long as it stands.
        let shard = self.shard_of_key(owner);
        let reader = self.handle(shard).reader()?;
        let record = self.told(shard, reader.record(owner))?;
        Ok(record.is_some_and(|record| record.link() == Some(blob)))
    }

    fn drop_stale<'a>(&'a self, blob: BlobRef, owner: &'a Key) -> Pending<'a, ()> {
        Box::pin(async move {
            self.sync_shard(self.shard_of_key(owner)).await?;
            self.drop_reference(blob).await
        })
    }

    fn reclaim(&self, digest: Digest) -> Pending<'_, ()> {
        Box::pin(async move {
            let shard = self.shard_of_digest(digest);
            self.write(shard, Command::ReclaimBlob { digest })
                .await
                .map(drop)
        })
    }
}
