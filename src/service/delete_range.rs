//! Deletes of many keys that lie together.
//!
//! Each key is deleted by a command of its own, on the condition that it is still what the scan saw:
//! a value that was put meanwhile stays. So a call deletes a part of what was there at one moment, in
//! order of the keys, and nothing else; readers may see it half done.

use super::checked::key_in;
use super::remove::BATCH_MAX;
use super::{Scan, Service};
use crate::model::{Command, Condition, Direction, Key, KeyRange, Namespace, Result};
use std::sync::Arc;

/// What a delete of a range did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeDeleted {
    /// Keys that were deleted.
    pub deleted: u64,
    /// The last key that was looked at, if there are more behind it.
    pub last: Option<Key>,
}

impl Service {
    /// Deletes the first `limit` keys of a range, as they are now.
    ///
    /// # Errors
    /// `Disabled` (`DELETE_DISABLED`) before anything else; what the shards answer, and then some of
    /// the keys may be deleted.
    pub async fn delete_range(
        &self,
        namespace: Arc<Namespace>,
        range: KeyRange,
        limit: u64,
    ) -> Result<RangeDeleted> {
        self.check_delete_allowed()?;
        let scan = Scan {
            namespace,
            range,
            direction: Direction::Forward,
            keys_only: true,
            limit: u64::MAX,
        };
        let mut walk = self.scan(&self.moment().await?, &scan).await?;
        let mut done = RangeDeleted::default();
        let mut left = limit;
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(BATCH_MAX).min(BATCH_MAX);
            let page = walk.next_page(count).await?;
            let mut commands = Vec::with_capacity(page.items.len());
            for item in &page.items {
                let key = key_in(&scan.namespace, &item.key)?;
                let condition = Some(Condition::Version(item.head.version));
                let command = Command::Delete {
                    key: key.clone(),
                    condition,
                };
                commands.push((key, command));
            }
            left -= commands.len() as u64;
            done.last = commands.last().map(|(key, _)| key.clone());
            done.deleted += self.remove_all(commands).await?;
            if !page.more {
                done.last = None;
                break;
            }
        }
        Ok(done)
    }
}
