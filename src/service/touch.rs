//! Touch: another expiry for a value that stays.

use super::checked::key_in;
use super::link::{Content, Target, command_of};
use super::put::{ATTEMPTS_MAX, Requirement, missing, overtaken};
use super::{Head, Service, blocking};
use crate::model::{
    Condition, Existing, Key, Lifetime, Namespace, PutBody, Reply, Result, SealedValue, Version,
};
use crate::router::content_missing;
use crate::shard::Found as Record;

impl Service {
    /// Sets when a key expires, and keeps its value: the same bytes under a new version. Where keys
    /// keep their first value it works too. What is known of the key then.
    ///
    /// # Errors
    /// As a put, and `NotFound` (`KEY_NOT_FOUND`).
    pub async fn touch(
        &self,
        namespace: &Namespace,
        key: &[u8],
        requirement: Option<Requirement>,
        lifetime: Lifetime,
    ) -> Result<Head> {
        self.check_set_allowed()?;
        let key = key_in(namespace, key)?;
        for _ in 0..ATTEMPTS_MAX {
            let record = self.find_if(&key, requirement).await?;
            let record = record.ok_or_else(|| missing(&key))?;
            let Some(head) = self.with_digest(&key, Head::of(&key, &record)).await? else {
                continue;
            };
            let expiry = lifetime.expiry(head.expiry);
            let target = Target::Put {
                existing: Existing::Require(Condition::Version(head.version)),
                expiry,
                attributes: head.attributes.clone(),
            };
            match self.put_again(&key, record, target).await? {
                Some(Reply::Put { version, .. }) => {
                    return Ok(Head {
                        version,
                        expiry,
                        ..head
                    });
                }
                None if self.is_at(&key, head.version)? => {
                    return Err(content_missing(self.router().shard_of_key(&key), &key));
                }
                _ => {}
            }
        }
        Err(overtaken(&key))
    }

    /// A small value is read for its digest; `None` when the key has another value by now.
    pub(super) async fn with_digest(&self, key: &Key, head: Head) -> Result<Option<Head>> {
        if head.digest.is_some() {
            return Ok(Some(head));
        }
        let found = self.get_key(key.clone()).await?;
        let same = found.filter(|found| found.head.version == head.version);
        Ok(same.map(|found| found.with_digest().head))
    }

    pub(super) fn is_at(&self, key: &Key, version: Version) -> Result<bool> {
        let found = self.router().find(key)?;
        Ok(found.is_some_and(|found| found.row.version == version))
    }

    /// Puts what a record holds once more; `None` when its content is not there.
    async fn put_again(&self, key: &Key, record: Record, target: Target) -> Result<Option<Reply>> {
        let info = record.row.info;
        if let Some(link) = record.link() {
            let content = Content {
                digest: link.digest,
                info,
                value: None,
            };
            return self.link(key, content, target).await;
        }
        let shard = self.router().shard_of_key(key);
        let body = PutBody::Small(self.sealed_again(key, record).await?);
        let command = command_of(key, body, &target);
        let reply = self.router().write(shard, command).await?;
        self.after(&reply, key).await;
        Ok(Some(reply))
    }

    /// The value that stands in a key's own record.
    pub(super) async fn sealed_again(&self, key: &Key, record: Record) -> Result<SealedValue> {
        let shard = self.router().shard_of_key(key);
        let digest = key.digest().filter(|_| record.row.content);
        let sealed = blocking(move || Ok(record.sealed(digest))).await?;
        self.router().told(shard, sealed)
    }
}
