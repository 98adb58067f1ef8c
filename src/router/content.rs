//! The shards as the sweep needs them.

use super::Router;
use crate::dedup::{ContentStore, OwnedReference, Pending};
use crate::model::{BlobRef, ChunkList, Command, Digest, Key, Reply, Result, ShardId};
use crate::shard::Found;
use tokio::task::JoinSet;

/// Chunks whose references are changed at once.
pub(super) const CHUNKS_AT_ONCE: usize = 64;

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
        if let Some(digest) = owner.list() {
            let list = self.find_blob(digest)?;
            return Ok(list.is_some_and(|list| list.row.names_chunks_by(blob.ref_id)));
        }
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

    fn reclaim(&self, digest: Digest) -> Pending<'_, Vec<Digest>> {
        Box::pin(async move {
            let home = self.shard_of_digest(digest);
            // A list that cannot be read is reclaimed too; the sweep finds what it referred to.
            let list = self.list_of(digest).unwrap_or_default();
            let reply = self.write(home, Command::ReclaimBlob { digest }).await?;
            let Some(list) = list.filter(|_| reply == Reply::Reclaimed) else {
                return Ok(Vec::new());
            };
            // A list must not come back without its references.
            self.sync_shard(home).await?;
            fail::fail_point!("reclaim::list_gone", |_| Ok(Vec::new()));
            let references = list.references();
            self.drop_references(&references).await;
            Ok(references.iter().map(|blob| blob.digest).collect())
        })
    }
}

impl Router {
    /// What a large value is made of, if it is there; `None` for what is stored whole. May wait for
    /// the disk.
    ///
    /// # Errors
    /// `Corrupt` when the list is damaged; what its shard answers.
    pub fn list_of(&self, digest: Digest) -> Result<Option<ChunkList>> {
        let list = self.find_blob(digest)?.filter(Found::is_in_chunks);
        let chunks = list.map(|list| list.chunks()).transpose();
        self.told(self.shard_of_digest(digest), chunks)
    }

    /// Drops references of a list as well as can be; what fails here is found by the sweep.
    pub async fn drop_references(&self, references: &[BlobRef]) {
        let mut tasks = JoinSet::new();
        for blob in references.iter().copied() {
            while tasks.len() >= CHUNKS_AT_ONCE {
                tasks.join_next().await;
            }
            let router = self.clone();
            tasks.spawn(async move {
                if let Err(error) = router.drop_reference(blob).await {
                    tracing::warn!(%error, digest = %blob.digest, "a chunk's reference was not dropped; the sweep will");
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }
}
