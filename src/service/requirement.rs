//! What must be so under a key, looked at before a change that rests on it.

use super::Service;
use super::put::{ATTEMPTS_MAX, PutRule, Requirement, missing, overtaken, refusal};
use crate::model::{Condition, Digest, Error, ErrorKind, Key, Result};
use crate::shard::Found as Record;

impl Service {
    /// The live record of a key of which a requirement holds now, if there is a record.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists` or `Conflict` when it does not hold; what the shards answer.
    pub(super) async fn find_if(
        &self,
        key: &Key,
        requirement: Option<Requirement>,
    ) -> Result<Option<Record>> {
        for _ in 0..ATTEMPTS_MAX {
            let condition = self.condition(key, requirement).await?;
            let record = self.router().find(key)?;
            let found = record.as_ref().map(|record| record.row.version);
            if condition.is_none_or(|condition| condition.holds(found)) {
                return Ok(record);
            }
            // One whose digest was read is another record by now, and is read again.
            if let Some(requirement @ Requirement::Record(_)) = requirement {
                return Err(refusal(key, PutRule::If(requirement), found));
            }
        }
        Err(overtaken(key))
    }

    /// What the record must be for a requirement to hold. A digest is looked up here, and stands
    /// for the version that has it.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` (`DIGEST_CONFLICT`) when the value has another digest.
    pub(super) async fn condition(
        &self,
        key: &Key,
        requirement: Option<Requirement>,
    ) -> Result<Option<Condition>> {
        match requirement {
            None => Ok(None),
            Some(Requirement::Record(condition)) => Ok(Some(condition)),
            Some(Requirement::Digest(digest)) => self.version_with(key, digest).await.map(Some),
        }
    }

    /// The condition that a key still has the record that was found to have a digest.
    ///
    /// # Errors
    /// As [`Service::condition`].
    pub(super) async fn version_with(&self, key: &Key, digest: Digest) -> Result<Condition> {
        let head = self.describe(key).await?.ok_or_else(|| missing(key))?;
        if head.digest == Some(digest) {
            return Ok(Condition::Version(head.version));
        }
        let found = head.digest.map_or_else(String::new, |it| it.to_string());
        let message = format!(
            "key {key} has the value with digest {found}, the condition asks for {digest}: read it and try again"
        );
        let error = Error::new(ErrorKind::Conflict, "DIGEST_CONFLICT", message);
        Err(error.at("condition.digest"))
    }
}
