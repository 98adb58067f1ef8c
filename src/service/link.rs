//! Contents with a home of their own: blob and reference there, the record that names it here, and
//! what a change leaves behind dropped.

use super::Service;
use super::checked::Checked;
use crate::dedup::{Flight, Turn};
use crate::model::{
    BlobRef, Command, Digest, Error, Existing, Key, PutBody, RefId, Replaced, Reply, Result,
    SealedValue, ShardId, Timestamp, ValueInfo, Version,
};
use bytes::Bytes;

/// A content to refer to.
#[derive(Debug)]
pub(super) struct Content {
    pub digest: Digest,
    pub info: ValueInfo,
    /// Its bytes; `None` when it was seen to be there.
    pub value: Option<SealedValue>,
}

/// What happens to the key: the last step of a put.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// A user's put.
    Put {
        /// What it does about a record that is there.
        existing: Existing,
        /// When the record expires.
        expiry: Option<Timestamp>,
        /// What the client says of the value, encoded.
        attributes: Bytes,
    },
    /// A record from a backup.
    Merge {
        /// The record's version.
        version: Version,
        /// When it expires.
        expiry: Option<Timestamp>,
        /// What its client said of the value, encoded.
        attributes: Bytes,
    },
}

impl Service {
    /// Puts a value that has a home of its own. One upload of equal content at a time is sealed;
    /// the others find it stored.
    pub(super) async fn put_content(
        &self,
        key: &Key,
        digest: Digest,
        value: Checked,
        target: Target,
    ) -> Result<Reply> {
        let mut flight = None;
        loop {
            let content = Content {
                digest,
                info: value.info,
                value: self.bytes_to_store(digest, &value, &mut flight).await?,
            };
            if let Some(reply) = self.link(key, content, target.clone()).await? {
                return Ok(reply);
            }
            // It was reclaimed between the look and the commit: this time with its bytes.
        }
    }

    /// The bytes of a value whose content is not there yet. Who is the first to bring them has the
    /// turn, in `flight`, until they are stored.
    pub(super) async fn bytes_to_store(
        &self,
        digest: Digest,
        value: &Checked,
        flight: &mut Option<Flight>,
    ) -> Result<Option<SealedValue>> {
        loop {
            if self.router().find_blob(digest)?.is_some() {
                return Ok(None);
            }
            if flight.is_some() {
                return self.seal(value.clone()).await.map(Some);
            }
            match self.0.parts.dedup.take_turn(digest).await {
                Turn::Mine(mine) => *flight = Some(mine),
                Turn::Passed => {} // Whoever was first may have stored it meanwhile.
            }
        }
    }

    /// Makes a reference to a content, with its bytes if given, and the record that names it.
    /// `None` when the content is not there and no bytes were given.
    pub(super) async fn link(
        &self,
        key: &Key,
        content: Content,
        target: Target,
    ) -> Result<Option<Reply>> {
        let Content {
            digest,
            info,
            value,
        } = content;
        let ref_id = RefId(random_u128()?);
        let blob = BlobRef { digest, ref_id };
        let home = self.router().shard_of_digest(digest);
        let own = self.router().shard_of_key(key);
        if home == own {
            let body = PutBody::Home { blob, info, value };
            let reply = self
                .router()
                .write(own, command_of(key, body, &target))
                .await?;
            self.after(&reply, key).await;
            return Ok(Some(reply).filter(|reply| *reply != Reply::BlobMissing));
        }
        let (service, key) = (self.clone(), key.clone());
        let steps = async move {
            let open = service.0.parts.dedup.open_reference(ref_id);
            let Some(new) = service.refer(blob, &key, value).await? else {
                return Ok(None);
            };
            let command = command_of(&key, PutBody::Away { blob, info }, &target);
            let named = service.name(&key, command, blob).await;
            if named.as_ref().is_err_and(is_outcome_unknown) {
                open.leave_open();
            }
            let mut named = named?;
            if let Reply::Put { stored, .. } = &mut named {
                *stored = new;
            }
            Ok(Some(named))
        };
        // The steps go on when the request is cancelled: half of them would be a stale reference.
        let lost = |_| {
            Error::unavailable(
                "OUTCOME_UNKNOWN",
                "the put was lost; read the key before you retry",
            )
        };
        tokio::spawn(steps).await.map_err(lost)?
    }

    /// Makes a reference at its content's home, which may not be the shard of its owner. Whether bytes
    /// were stored; `None` when the content is not there and none were given.
    pub(super) async fn refer(
        &self,
        blob: BlobRef,
        owner: &Key,
        value: Option<SealedValue>,
    ) -> Result<Option<bool>> {
        let home = self.router().shard_of_digest(blob.digest);
        let store = Command::StoreBlob {
            blob,
            owner: owner.clone(),
            value,
        };
        let stored = match self.router().write(home, store).await? {
            Reply::BlobMissing => return Ok(None),
            kept => kept == Reply::BlobStored { stored: true },
        };
        fail::fail_point!("put::stored");
        self.settle(home).await?;
        Ok(Some(stored))
    }

    /// The record that names a reference made in another shard. A reference that no record will
    /// name is dropped; one whose record's fate is unknown is left to the sweep.
    async fn name(&self, key: &Key, command: Command, blob: BlobRef) -> Result<Reply> {
        let own = self.router().shard_of_key(key);
        match self.router().write(own, command).await {
            Ok(reply @ (Reply::Unchanged { .. } | Reply::Refused { .. })) => {
                self.drop_reference(blob).await;
                Ok(reply)
            }
            Ok(reply) => {
                self.after(&reply, key).await;
                Ok(reply)
            }
            Err(error) => {
                if !is_outcome_unknown(&error) {
                    self.drop_reference(blob).await;
                }
                Err(error)
            }
        }
    }

    /// The order of a put's steps must hold on the disk too: where acknowledged means written and
    /// not synced, two shards sync in any order.
    async fn settle(&self, shard: ShardId) -> Result<()> {
        match self.rules().unsynced {
            true => self.router().sync_shard(shard).await,
            false => Ok(()),
        }
    }

    /// Does what a reply to a command on `key` leaves to do.
    pub(super) async fn after(&self, reply: &Reply, key: &Key) {
        let (Reply::Put { replaced, .. } | Reply::Deleted { replaced, .. }) = reply else {
            return;
        };
        match *replaced {
            Some(Replaced {
                blob,
                dropped: true,
            }) => self.0.parts.dedup.note_dropped(blob.digest),
            Some(Replaced {
                blob,
                dropped: false,
            }) => {
                let (service, own) = (self.clone(), self.router().shard_of_key(key));
                let drop_it = async move {
                    // A key must not come back to a content that has let go of it.
                    match service.settle(own).await {
                        Ok(()) => service.drop_reference(blob).await,
                        Err(error) => {
                            tracing::warn!(%error, digest = %blob.digest, "a reference is left to the sweep")
                        }
                    }
                };
                // Spawned, so that a cancelled request still drops it.
                let _ = tokio::spawn(drop_it).await;
            }
            None => {}
        }
    }

    /// Drops a reference as well as can be; what fails here is found by the sweep.
    pub(super) async fn drop_reference(&self, blob: BlobRef) {
        match self.router().drop_reference(blob).await {
            Ok(()) => self.0.parts.dedup.note_dropped(blob.digest),
            Err(error) => {
                tracing::warn!(%error, digest = %blob.digest, "a reference was not dropped; the sweep will")
            }
        }
    }
}

pub(super) fn is_outcome_unknown(error: &Error) -> bool {
    error.reason() == "OUTCOME_UNKNOWN"
}

pub(super) fn command_of(key: &Key, body: PutBody, target: &Target) -> Command {
    let key = key.clone();
    match target.clone() {
        Target::Put {
            existing,
            expiry,
            attributes,
        } => Command::Put {
            key,
            body,
            existing,
            expiry,
            attributes,
        },
        Target::Merge {
            version,
            expiry,
            attributes,
        } => Command::Merge {
            key,
            version,
            body: Some(body),
            expiry,
            attributes,
        },
    }
}

pub(super) fn random_u128() -> Result<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::internal(
            "RANDOM",
            format!("the system's random source failed: {error}"),
        )
    })?;
    Ok(u128::from_le_bytes(bytes))
}
