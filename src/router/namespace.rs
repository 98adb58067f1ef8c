//! Namespaces, as the shards know them.

use super::Router;
use crate::index::Totals;
use crate::model::{
    Command, Direction, Error, Key, KeyRange, Namespace, NamespaceId, Reply, Result, ShardId,
    Version,
};
use crate::shard::ShardHealth;
use std::collections::BTreeMap;

/// The shard that holds the records of all namespaces.
const HOME: ShardId = ShardId(0);

impl Router {
    /// All namespaces that were ever made, by number. May wait for the disk.
    ///
    /// # Errors
    /// What their shard answers.
    pub fn namespaces(&self) -> Result<Vec<Namespace>> {
        let reader = self.handle(HOME).reader()?;
        self.told(HOME, reader.freeze().namespaces())
    }

    /// Whether the shard of the namespaces serves: one that failed may not know of what it logged last.
    #[must_use]
    pub fn knows_namespaces(&self) -> bool {
        *self.handle(HOME).health().borrow() == ShardHealth::Serving
    }

    /// Logs what a namespace is from now on; the version that it takes.
    ///
    /// # Errors
    /// What its shard answers.
    pub async fn set_namespace(&self, namespace: Namespace) -> Result<Version> {
        fail::fail_point!("namespace::unlogged", |_| Ok(Version(1)));
        match self
            .write(HOME, Command::SetNamespace { namespace })
            .await?
        {
            Reply::NamespaceSet { version } => Ok(version),
            other => {
                let message = format!("a namespace was answered with {other:?}");
                Err(Error::internal("REPLY", message))
            }
        }
    }

    /// What each namespace holds in a shard that holds anything there. May wait for the disk.
    ///
    /// # Errors
    /// What the shard answers.
    pub fn counts(&self, shard: ShardId) -> Result<BTreeMap<NamespaceId, Totals>> {
        let reader = self.handle(shard).reader()?;
        self.told(shard, reader.counts())
    }

    /// Keys of a namespace that a shard has records of, expired ones too, from behind one on; at most
    /// so many. May wait for the disk.
    ///
    /// # Errors
    /// What the shard answers.
    pub fn keys_after(
        &self,
        shard: ShardId,
        namespace: NamespaceId,
        last: Option<&Key>,
        count_max: usize,
    ) -> Result<Vec<Key>> {
        let range = match last {
            Some(last) => KeyRange::all().after(last.as_bytes(), Direction::Forward),
            None => KeyRange::all(),
        };
        let snapshot = self.handle(shard).reader()?.freeze();
        let mut keys = Vec::new();
        for found in snapshot.range(namespace, &range, Direction::Forward) {
            let (id, found) = self.told(shard, found.map_err(Into::into))?;
            if keys.len() == count_max {
                break;
            }
            if !found.row.kind.is_gone() {
                keys.push(Key::of_id(namespace, &id)?);
            }
        }
        Ok(keys)
    }
}

impl super::Cut {
    /// All namespaces that were ever made, by number, as of the cut.
    ///
    /// # Errors
    /// When their shard cannot be read.
    pub fn namespaces(&self) -> Result<Vec<Namespace>> {
        self.told(HOME, self.shards[usize::from(HOME.0)].namespaces())
    }
}
