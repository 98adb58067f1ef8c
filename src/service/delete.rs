//! Delete, in any case or on a condition.

use super::Service;
use super::checked::key_in;
use super::put::{ATTEMPTS_MAX, PutRule, Requirement, overtaken, refusal};
use crate::model::{Command, Namespace, Reply, Result, Version};

/// What a delete did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteDone {
    /// The version that the delete took.
    pub version: Version,
    /// The version of the record that it removed.
    pub previous: Option<Version>,
}

impl Service {
    /// Removes a key; the version of the delete, `None` on a miss.
    ///
    /// # Errors
    /// As [`Service::delete_if`].
    pub async fn delete(&self, key: &[u8]) -> Result<Option<Version>> {
        let done = self.delete_if(self.default_namespace(), key, None).await?;
        Ok(done.map(|done| done.version))
    }

    /// Removes a key if a condition holds; `None` when there was nothing to remove, which fails no
    /// delete but one that asks for the key to be there.
    ///
    /// # Errors
    /// `Disabled` (`DELETE_DISABLED`) before anything else; `Invalid` for an impossible key;
    /// `NotFound`, `AlreadyExists` or `Conflict` for a condition that does not hold; what the shards
    /// answer.
    pub async fn delete_if(
        &self,
        namespace: &Namespace,
        key: &[u8],
        requirement: Option<Requirement>,
    ) -> Result<Option<DeleteDone>> {
        self.check_delete_allowed()?;
        let key = key_in(namespace, key)?;
        let shard = self.router().shard_of_key(&key);
        for _ in 0..ATTEMPTS_MAX {
            let condition = self.condition(&key, requirement).await?;
            let command = Command::Delete {
                key: key.clone(),
                condition,
            };
            let reply = self.router().write(shard, command).await?;
            self.after(&reply, &key).await;
            match (reply, requirement) {
                (Reply::Refused { .. }, Some(Requirement::Digest(_))) => {}
                (Reply::Refused { found }, Some(requirement)) => {
                    return Err(refusal(&key, PutRule::If(requirement), found));
                }
                (
                    Reply::Deleted {
                        version, previous, ..
                    },
                    _,
                ) => return Ok(Some(DeleteDone { version, previous })),
                _ => return Ok(None),
            }
        }
        Err(overtaken(&key))
    }
}
