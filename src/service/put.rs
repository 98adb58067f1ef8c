//! Set and Delete.

use super::Service;
use crate::codec::{digest_of, sum64_of};
use crate::config::KeyMode;
use crate::dedup::{Flight, Turn};
use crate::model::{
    BlobRef, Command, Digest, Error, Existing, Key, PutBody, RefId, Replaced, Reply, Result,
    SealedValue, ShardId, Timestamp, ValueInfo, Version,
};
use crate::shard::{Epoch, Look};
use bytes::Bytes;

/// A value whose checksum matched, with what its storing needs to know.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub data: Bytes,
    pub info: ValueInfo,
    /// BLAKE3, where the value's name or home needs it.
    pub digest: Option<Digest>,
}

/// A content to refer to.
#[derive(Debug)]
pub(super) struct Content {
    pub digest: Digest,
    pub info: ValueInfo,
    /// Its bytes; `None` when it was seen to be there.
    pub value: Option<SealedValue>,
}

/// What a look at a put's key found.
#[derive(Debug)]
enum Looked {
    /// The put would change nothing.
    Stored,
    /// The key has no record.
    Absent(Epoch),
    /// It has one, or nobody looked.
    Other,
}

/// What happens to the key: the last step of a put.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// A user's put.
    Put(Existing),
    /// A record from a backup.
    Merge {
        /// The record's version.
        version: Version,
        /// When it expires.
        expiry: Option<Timestamp>,
    },
}

impl Service {
    /// Stores a value and returns the key under which it stands: the digest in hex in content
    /// mode, where `key` is ignored, else `key`.
    ///
    /// # Errors
    /// In this order: `Disabled` (`SET_DISABLED`), `DiskFull` (`DISK_FULL`), `Invalid`
    /// (`SUM64_MISMATCH`), `TooLarge` (`VALUE_TOO_LARGE`), `Invalid` (`KEY_EMPTY`), `TooLarge`
    /// (`KEY_TOO_LARGE`), then what the shards answer.
    pub async fn set(&self, key: &[u8], data: Bytes, sum64: u64) -> Result<Key> {
        self.check_set_allowed()?;
        let by_content = self.rules().key_mode == KeyMode::Content;
        let large = self.has_home(by_content, data.len());
        let value = self.check(data, sum64, by_content || large).await?;
        let (key, existing) = match (by_content, value.digest) {
            (true, Some(digest)) => (Key::of_digest(digest), Existing::KeepSameContent),
            _ if self.rules().overwrite => (Key::new(key)?, Existing::Replace),
            _ => (Key::new(key)?, Existing::Keep),
        };
        let absent = match self.look(&key, existing, value.digest)? {
            Looked::Stored => return Ok(key),
            Looked::Absent(epoch) => Some(epoch),
            Looked::Other => None,
        };
        match value.digest.filter(|_| large) {
            Some(digest) => {
                self.put_content(&key, digest, value, Target::Put(existing))
                    .await?
            }
            None => {
                let body = PutBody::Small(self.seal(value).await?);
                let command = command_of(&key, body, &Target::Put(existing));
                let reply = self
                    .router()
                    .write_new(self.router().shard_of_key(&key), command, absent)
                    .await?;
                self.after(reply, &key).await?;
            }
        }
        Ok(key)
    }

    /// Removes a key; the version of the delete, `None` on a miss.
    ///
    /// # Errors
    /// `Disabled` (`DELETE_DISABLED`) before anything else; `Invalid` for an impossible key; what
    /// the shards answer.
    pub async fn delete(&self, key: &[u8]) -> Result<Option<Version>> {
        self.check_delete_allowed()?;
        let key = Key::new(key)?;
        let shard = self.router().shard_of_key(&key);
        let command = Command::Delete { key: key.clone() };
        let reply = self.router().write(shard, command).await?;
        let version = match reply {
            Reply::Deleted { version, .. } => Some(version),
            _ => None,
        };
        self.after(reply, &key).await?;
        Ok(version)
    }

    /// Whether a value is stored apart from its key. Under its content key it is stored once as it
    /// is, so only what is large enough to be worth sharing with user keys goes apart.
    pub(super) fn has_home(&self, by_content: bool, len: usize) -> bool {
        /// Below this, three records instead of one cost more than sharing saves.
        const CONTENT_MIN: usize = 64 * 1024;
        let min = self.rules().dedup_min;
        len >= if by_content {
            min.max(CONTENT_MIN)
        } else {
            min
        }
    }

    /// Checksum and, where it is needed, digest; then the size.
    async fn check(&self, data: Bytes, sum64: u64, want_digest: bool) -> Result<Checked> {
        let raw = data.clone();
        let hash = move || (sum64_of(&raw), want_digest.then(|| digest_of(&raw)));
        let (actual, digest) = if data.len() < self.rules().offload_size {
            hash()
        } else {
            self.0.cpu.run(hash).await?
        };
        if actual != sum64 {
            let message = format!(
                "data sum64 does not match: xxh64 of the {} bytes received is {actual}, the request says {sum64}",
                data.len()
            );
            return Err(Error::invalid("SUM64_MISMATCH", message));
        }
        let (size, max) = (data.len() as u64, self.rules().value_size_max);
        if size > max {
            let message =
                format!("value too large: size={size}, max={max} (server.max_upload_size)");
            return Err(Error::too_large("VALUE_TOO_LARGE", message));
        }
        Ok(Checked {
            info: ValueInfo {
                raw_len: size,
                sum64,
            },
            data,
            digest,
        })
    }

    /// What the index knows of the put's key: what is in it is durable, so a put that would change
    /// nothing may be answered at once.
    fn look(&self, key: &Key, existing: Existing, digest: Option<Digest>) -> Result<Looked> {
        if existing == Existing::Replace {
            return Ok(Looked::Other);
        }
        let found = match self.router().look(key)? {
            Look::Absent(epoch) => return Ok(Looked::Absent(epoch)),
            Look::Found(found) => found,
        };
        if !found.row.is_live(self.router().now()) {
            return Ok(Looked::Other);
        }
        let stored = match (existing, found.link()) {
            // A content that is gone is stored again, which mends its key.
            (Existing::KeepSameContent, Some(link)) => {
                Some(link.digest) == digest && self.router().find_blob(link.digest)?.is_some()
            }
            (Existing::KeepSameContent, None) => found.row.content,
            _ => true,
        };
        Ok(if stored {
            Looked::Stored
        } else {
            Looked::Other
        })
    }

    pub(super) async fn seal(&self, value: Checked) -> Result<SealedValue> {
        let sealer = self.0.sealer;
        let offload = value.data.len() >= self.rules().offload_size;
        let seal = move || sealer.seal(value.data, value.info, value.digest);
        if offload {
            self.0.cpu.run(seal).await
        } else {
            Ok(seal())
        }
    }

    /// Puts a value that has a home of its own. One upload of equal content at a time is sealed;
    /// the others find it stored.
    pub(super) async fn put_content(
        &self,
        key: &Key,
        digest: Digest,
        value: Checked,
        target: Target,
    ) -> Result<()> {
        let mut flight: Option<Flight> = None;
        loop {
            let stored = self.router().find_blob(digest)?.is_some();
            if !stored && flight.is_none() {
                match self.0.parts.dedup.take_turn(digest).await {
                    Turn::Mine(mine) => flight = Some(mine),
                    Turn::Passed => {}
                }
                continue; // Whoever was first may have stored it meanwhile.
            }
            let sealed = if stored {
                None
            } else {
                Some(self.seal(value.clone()).await?)
            };
            let content = Content {
                digest,
                info: value.info,
                value: sealed,
            };
            if self.link(key, content, target.clone()).await? {
                return Ok(());
            }
            // It was reclaimed between the look and the commit: this time with its bytes.
        }
    }

    /// Makes a reference to a content, with its bytes if given, and the record that names it.
    /// `false` when the content is not there and no bytes were given.
    pub(super) async fn link(&self, key: &Key, content: Content, target: Target) -> Result<bool> {
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
            return self.after(reply, key).await;
        }
        let (service, key) = (self.clone(), key.clone());
        let steps = async move {
            let open = service.0.parts.dedup.open_reference(ref_id);
            let store = Command::StoreBlob {
                blob,
                owner: key.clone(),
                value,
            };
            if service.router().write(home, store).await? == Reply::BlobMissing {
                return Ok(false);
            }
            fail::fail_point!("put::stored");
            service.settle(home).await?;
            let command = command_of(&key, PutBody::Away { blob, info }, &target);
            let named = service.name(&key, command, blob).await;
            if named.as_ref().is_err_and(is_outcome_unknown) {
                open.leave_open();
            }
            named
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

    /// The record that names a reference made in another shard. A reference that no record will
    /// name is dropped; one whose record's fate is unknown is left to the sweep.
    async fn name(&self, key: &Key, command: Command, blob: BlobRef) -> Result<bool> {
        let own = self.router().shard_of_key(key);
        match self.router().write(own, command).await {
            Ok(Reply::Unchanged { .. }) => {
                self.drop_reference(blob).await;
                Ok(true)
            }
            Ok(reply) => self.after(reply, key).await,
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

    /// What a reply to a command on `key` leaves to do. `false` when the bytes of a content were
    /// missing.
    pub(super) async fn after(&self, reply: Reply, key: &Key) -> Result<bool> {
        let replaced = match reply {
            Reply::BlobMissing => return Ok(false),
            Reply::Put { replaced, .. } | Reply::Deleted { replaced, .. } => replaced,
            Reply::Unchanged { .. } | Reply::Missing | Reply::BlobStored { .. } | Reply::Done => {
                None
            }
        };
        match replaced {
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
        Ok(true)
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

fn is_outcome_unknown(error: &Error) -> bool {
    error.reason() == "OUTCOME_UNKNOWN"
}

pub(super) fn command_of(key: &Key, body: PutBody, target: &Target) -> Command {
    let key = key.clone();
    match *target {
        Target::Put(existing) => Command::Put {
            key,
            body,
            existing,
            expiry: None,
        },
        Target::Merge { version, expiry } => Command::Merge {
            key,
            version,
            body: Some(body),
            expiry,
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
