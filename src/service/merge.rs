//! Merging changes from a backup into live data: many at once, bounded in number and bytes.

use super::Service;
use super::checked::Checked;
use super::large::Naming;
use super::link::{Content, Target, command_of, random_u128};
use super::translation::Translation;
use crate::codec::{CUT_MIN, decode_chunks, digest_of, open_sealed};
use crate::dedup::{ContentStore, OpenReference};
use crate::model::{
    BlobRef, Codec, Command, Digest, Error, Key, Namespace, PutBody, RefId, Result, SealedValue,
    Timestamp, ValueInfo, Version,
};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// Changes under way at once.
const TASKS_MAX: usize = 256;
/// Bytes of values under way at once, in KiB.
const BUDGET_KIB: u32 = 64 * 1024;

/// One change from a backup.
#[derive(Debug)]
pub(super) enum Change {
    /// A namespace, before any key in it.
    Namespace(Namespace),
    /// A content, before any record that names it.
    Blob { digest: Digest, value: SealedValue },
    /// A record with its value, sealed.
    Sealed { at: Place, value: SealedValue },
    /// A record with its raw value.
    Raw { at: Place, value: Checked },
    /// A record that names a content.
    Linked {
        at: Place,
        digest: Digest,
        info: ValueInfo,
    },
    /// A delete.
    Deleted { at: Place },
}

/// What rests on what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Contents, chunks of large values among them.
    Blob,
    /// Lists, which refer to their chunks.
    List,
    /// Records, which refer to contents and lists.
    Record,
}

/// Which record a change is of.
#[derive(Debug)]
pub(super) struct Place {
    pub key: Key,
    pub version: Version,
    pub expiry: Option<Timestamp>,
    pub attributes: Bytes,
}

impl Place {
    fn target(&self) -> Target {
        Target::Merge {
            version: self.version,
            expiry: self.expiry,
            attributes: self.attributes.clone(),
        }
    }
}

/// A merge in progress. Contents come before their records, so until the end they are held by a
/// reference of the merge itself, which sweeps leave alone.
pub(super) struct Merge {
    service: Service,
    holder: RefId,
    _open: OpenReference,
    tasks: JoinSet<Result<()>>,
    budget: Budget,
    /// What is under way: nothing of a later stage begins before it is in.
    stage: Stage,
    namespaces: Translation,
    /// Records of keys merged so far.
    pub records: u64,
}

impl Merge {
    pub fn begin(service: &Service) -> Result<Self> {
        let holder = RefId(random_u128()?);
        Ok(Self {
            service: service.clone(),
            holder,
            _open: service.0.parts.dedup.open_reference(holder),
            tasks: JoinSet::new(),
            budget: Budget(Arc::new(Semaphore::new(BUDGET_KIB as usize))),
            stage: Stage::Blob,
            namespaces: Translation::default(),
            records: 0,
        })
    }

    /// The bytes that may be under way.
    pub fn budget(&self) -> Budget {
        self.budget.clone()
    }

    /// Starts the next change, which has its room in the budget.
    pub async fn take(&mut self, mut change: Change, room: Room) -> Result<()> {
        if let Change::Namespace(namespace) = change {
            return self.namespaces.take(&self.service, namespace).await;
        }
        if let Some(at) = change.place() {
            match self.namespaces.translate(&at.key)? {
                Some(key) => at.key = key,
                None => return Ok(()),
            }
        }
        let stage = change.stage();
        if self.stage != stage {
            self.wait_for(0).await?;
        }
        self.stage = stage;
        self.records += u64::from(stage == Stage::Record);
        self.wait_for(TASKS_MAX - 1).await?;
        let (service, holder) = (self.service.clone(), self.holder);
        self.tasks.spawn(async move {
            let _room = room;
            service.merge_one(change, holder).await
        });
        Ok(())
    }

    /// Waits until everything is in, and lets go of the contents.
    pub async fn finish(mut self) -> Result<u64> {
        self.wait_for(0).await?;
        let (router, holder) = (self.service.router().clone(), self.holder);
        for shard in ContentStore::shards(&router) {
            for found in router.references(shard)? {
                let (blob, _) = found?;
                if blob.ref_id == holder {
                    self.wait_for(TASKS_MAX - 1).await?;
                    let service = self.service.clone();
                    self.tasks.spawn(async move {
                        service.drop_reference(blob).await;
                        Ok(())
                    });
                }
            }
        }
        self.wait_for(0).await?;
        self.service.sync().await?;
        Ok(self.records)
    }

    async fn wait_for(&mut self, left: usize) -> Result<()> {
        while self.tasks.len() > left {
            if let Some(done) = self.tasks.join_next().await {
                done.map_err(|error| {
                    Error::internal("TASK_FAILED", format!("a merge task failed: {error}"))
                })??;
            }
        }
        Ok(())
    }
}

/// The bytes of values that may be under way, read ahead ones too.
#[derive(Clone)]
pub(super) struct Budget(Arc<Semaphore>);

/// A change's share of the budget.
pub(super) type Room = Option<OwnedSemaphorePermit>;

impl Budget {
    /// Waits until there is room; a change larger than the whole budget goes alone.
    pub async fn room_for(&self, change: &Change) -> Room {
        let kib = u32::try_from(change.payload_len() / 1024 + 1).unwrap_or(BUDGET_KIB);
        self.0
            .clone()
            .acquire_many_owned(kib.min(BUDGET_KIB))
            .await
            .ok()
    }
}

impl Change {
    fn stage(&self) -> Stage {
        match self {
            Self::Blob { value, .. } if value.codec == Codec::Chunks => Stage::List,
            Self::Blob { .. } => Stage::Blob,
            _ => Stage::Record,
        }
    }

    fn place(&mut self) -> Option<&mut Place> {
        match self {
            Self::Namespace(_) | Self::Blob { .. } => None,
            Self::Sealed { at, .. }
            | Self::Raw { at, .. }
            | Self::Linked { at, .. }
            | Self::Deleted { at } => Some(at),
        }
    }

    fn payload_len(&self) -> usize {
        match self {
            Self::Blob { value, .. } | Self::Sealed { value, .. } => value.payload.len(),
            Self::Raw { value, .. } => value.data.len(),
            Self::Namespace(_) | Self::Linked { .. } | Self::Deleted { .. } => 0,
        }
    }
}

impl Service {
    async fn merge_one(&self, change: Change, holder: RefId) -> Result<()> {
        match change {
            // The merge itself has taken it.
            Change::Namespace(_) => Ok(()),
            Change::Blob { digest, value } if value.codec == Codec::Chunks => {
                self.merge_list(digest, &value, holder).await
            }
            Change::Blob { digest, value } => self.merge_blob(digest, value, holder).await,
            Change::Sealed { at, value } => {
                let value = self.0.sealing.seal_again(value).map_err(|error| {
                    let message = format!("the backup's value of key {}: {error}", at.key);
                    Error::corrupt("BACKUP_DAMAGED", message)
                })?;
                let command = command_of(&at.key, PutBody::Small(value), &at.target());
                self.run(&at.key, command).await
            }
            Change::Raw { at, value } => match value.digest {
                Some(digest)
                    if self.has_home(at.key.digest() == value.digest, value.data.len()) =>
                {
                    self.put_content(&at.key, digest, value, at.target())
                        .await
                        .map(drop)
                }
                _ => {
                    let body = PutBody::Small(self.seal(value).await?);
                    self.run(&at.key, command_of(&at.key, body, &at.target()))
                        .await
                }
            },
            Change::Linked { at, digest, info } => {
                let content = Content {
                    digest,
                    info,
                    value: None,
                };
                if self.link(&at.key, content, at.target()).await?.is_some() {
                    return Ok(());
                }
                let message = format!(
                    "the backup's record of key {} names content {digest}, which is not in the backup",
                    at.key
                );
                Err(Error::corrupt("BACKUP_DAMAGED", message))
            }
            Change::Deleted { at } => {
                let Place {
                    key,
                    version,
                    expiry,
                    attributes,
                } = at;
                let command = Command::Merge {
                    key: key.clone(),
                    version,
                    body: None,
                    expiry,
                    attributes,
                };
                self.run(&key, command).await
            }
        }
    }

    async fn run(&self, key: &Key, command: Command) -> Result<()> {
        let reply = self
            .router()
            .write(self.router().shard_of_key(key), command)
            .await?;
        self.after(&reply, key).await;
        Ok(())
    }

    /// A list is taken over under its digest only if its chunks make that value. Its references are
    /// made anew.
    async fn merge_list(&self, digest: Digest, value: &SealedValue, holder: RefId) -> Result<()> {
        let damaged = |what: String| {
            let message = format!("the backup's content {digest} is not what it says: {what}");
            Error::corrupt("BACKUP_DAMAGED", message)
        };
        let list = decode_chunks(&value.payload, value.info.raw_len);
        let list = list.map_err(|error| damaged(error.to_string()))?;
        let whole = self.whole_of(digest, value.info.raw_len, list.chunks).await;
        let whole = whole.map_err(|error| damaged(error.message().to_owned()))?;
        if whole.info != value.info || value.info.raw_len <= CUT_MIN {
            return Err(damaged("its length or checksum is another".to_owned()));
        }
        self.put_list(&whole, &Naming::Merge(holder))
            .await
            .map(drop)
    }

    /// A content is taken over under its digest only if it has it.
    async fn merge_blob(&self, digest: Digest, value: SealedValue, holder: RefId) -> Result<()> {
        let (codec, payload, raw_len) = (value.codec, value.payload.clone(), value.info.raw_len);
        let actual = self
            .0
            .cpu
            .run(move || open_sealed(codec, payload, raw_len).map(|raw| digest_of(&raw)))
            .await?;
        if actual != Ok(digest) {
            let message = format!("the backup's content {digest} is not what its digest says");
            return Err(Error::corrupt("BACKUP_DAMAGED", message));
        }
        let blob = BlobRef {
            digest,
            ref_id: holder,
        };
        let store = Command::StoreBlob {
            blob,
            owner: Key::of_digest(digest),
            value: Some(value),
        };
        self.router()
            .write(self.router().shard_of_digest(digest), store)
            .await
            .map(drop)
    }
}
