//! The list of a large value's chunks: its references, itself, and who names it.

use super::super::Service;
use super::super::link::{Content, Target, is_outcome_unknown, random_u128};
use super::Whole;
use super::content::not_there;
use crate::codec::seal_chunks;
use crate::model::{
    BlobRef, ChunkList, Command, Digest, Error, ErrorKind, Key, RefId, Reply, Result, SealedValue,
};
use tokio::task::JoinSet;

/// References that are made at once.
const REFERENCES_AT_ONCE: usize = 64;

/// Who will name a list.
#[derive(Debug, Clone)]
pub(in super::super) enum Naming {
    /// The record of a key.
    Key(Key, Target),
    /// A merge, by its own reference, until a record of the backup does.
    Merge(RefId),
}

impl Service {
    /// Names a large value, whose list is made if it is not there. All of its chunks must be there.
    ///
    /// # Errors
    /// `Conflict` (`CHUNKS_MISSING`) when one is not (any more); what the shards answer. Nothing is
    /// visible then.
    pub(in super::super) async fn put_list(&self, whole: &Whole, naming: &Naming) -> Result<Reply> {
        loop {
            if self.router().find_blob(whole.digest)?.is_some()
                && let Some(reply) = self.name_list(whole, None, naming).await?
            {
                return Ok(reply);
            }
            if whole.chunks.is_empty() {
                return Err(not_there(whole.digest));
            }
            let (service, whole, naming) = (self.clone(), whole.clone(), naming.clone());
            // The steps go on when the request is cancelled, as those of any put.
            let steps = async move { service.make_list(&whole, &naming).await };
            let lost = |_| {
                let message = "the put was lost; read the key before you retry";
                Error::unavailable("OUTCOME_UNKNOWN", message)
            };
            if let Some(reply) = tokio::spawn(steps).await.map_err(lost)?? {
                return Ok(reply);
            }
        }
    }

    async fn make_list(&self, whole: &Whole, naming: &Naming) -> Result<Option<Reply>> {
        let list = ChunkList {
            ref_id: RefId(random_u128()?),
            chunks: whole.chunks.to_vec(),
        };
        let open = self.0.parts.dedup.open_reference(list.ref_id);
        let named = match self.refer_to_chunks(&list, whole.digest).await {
            Ok(()) => {
                fail::fail_point!("list::referred");
                let sealed = seal_chunks(&list, whole.info, whole.digest);
                self.name_list(whole, Some(sealed), naming).await
            }
            Err(error) => Err(error),
        };
        if named.as_ref().is_err_and(is_outcome_unknown) {
            open.leave_open();
            return named;
        }
        // Somebody else's list may have been faster, or the key did not want it.
        let stored = self.router().find_blob(whole.digest)?;
        if !stored.is_some_and(|stored| stored.row.names_chunks_by(list.ref_id)) {
            self.let_chunks_go(&list).await;
        }
        named
    }

    /// Makes a list's reference to each chunk.
    async fn refer_to_chunks(&self, list: &ChunkList, digest: Digest) -> Result<()> {
        let mut tasks = JoinSet::new();
        let mut outcome = Ok(());
        for blob in list.references() {
            while tasks.len() >= REFERENCES_AT_ONCE {
                outcome = outcome.and(joined(tasks.join_next().await));
            }
            if outcome.is_err() {
                break;
            }
            let service = self.clone();
            tasks.spawn(async move { service.refer_to_chunk(blob, digest).await });
        }
        while !tasks.is_empty() {
            outcome = outcome.and(joined(tasks.join_next().await));
        }
        outcome?;
        // The order of the steps must hold on the disk too.
        match self.rules().unsynced {
            true => self.router().sync().await,
            false => Ok(()),
        }
    }

    async fn refer_to_chunk(&self, blob: BlobRef, list: Digest) -> Result<()> {
        let refer = Command::StoreBlob {
            blob,
            owner: Key::of_list(list),
            value: None,
        };
        let home = self.router().shard_of_digest(blob.digest);
        match self.router().write(home, refer).await? {
            Reply::BlobMissing => Err(chunk_missing(blob.digest)),
            _ => Ok(()),
        }
    }

    /// The list, with bytes if it is not there, and the reference that will keep it.
    async fn name_list(
        &self,
        whole: &Whole,
        value: Option<SealedValue>,
        naming: &Naming,
    ) -> Result<Option<Reply>> {
        let (digest, info) = (whole.digest, whole.info);
        match naming {
            Naming::Key(key, target) => {
                let content = Content {
                    digest,
                    info,
                    value,
                };
                self.link(key, content, target.clone()).await
            }
            Naming::Merge(ref_id) => {
                let ref_id = *ref_id;
                let store = Command::StoreBlob {
                    blob: BlobRef { digest, ref_id },
                    owner: Key::of_digest(digest),
                    value,
                };
                let home = self.router().shard_of_digest(digest);
                let reply = self.router().write(home, store).await?;
                Ok(Some(reply).filter(|reply| *reply != Reply::BlobMissing))
            }
        }
    }

    /// Drops the references of a list that did not come to be.
    async fn let_chunks_go(&self, list: &ChunkList) {
        let references = list.references();
        self.router().drop_references(&references).await;
        for blob in references {
            self.0.parts.dedup.note_dropped(blob.digest);
        }
    }
}

/// That a chunk which a list names is not there.
pub(super) fn chunk_missing(digest: Digest) -> Error {
    let message = format!(
        "chunk {digest} is not there (any more): ask with FindMissing, send what is missing, and put again"
    );
    Error::new(ErrorKind::Conflict, "CHUNKS_MISSING", message)
}

fn joined(task: Option<Result<Result<()>, tokio::task::JoinError>>) -> Result<()> {
    let lost = |error| Error::internal("TASK_FAILED", format!("a task failed: {error}"));
    task.map_or(Ok(()), |task| task.map_err(lost)?)
}
