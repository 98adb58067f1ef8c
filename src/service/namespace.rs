//! Namespaces: made, told of, changed, dropped.
//!
//! A drop is one record. From its acknowledgement on nothing of the namespace is seen, because its
//! name leads nowhere, and a new namespace of that name has another number. What it held is removed
//! afterwards, key by key, by [`Service::clear_dropped`]: from the counts of each shard it knows what
//! is left, so it needs no memory of its own, goes on after any crash, and finds what was written by
//! a put that the drop overtook.

use super::catalogue::{Catalogue, not_there};
use super::link::random_u128;
use super::remove::BATCH_MAX;
use super::{Service, blocking};
use crate::index::Totals;
use crate::model::{
    Command, DEFAULT_NAMESPACE, Error, ErrorKind, Key, Lifetime, Namespace, NamespaceId,
    NamespaceOptions, Result, ShardId, Timestamp, Version, check_namespace_name,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Namespaces that are there at once.
const NAMESPACES_MAX: usize = 10_000;
/// Slices of one shard in a round; what is left waits for the next.
const SLICES_MAX: usize = 64;

/// Changes of a namespace's rules; what is `None` stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct NamespaceChange {
    /// See [`NamespaceOptions::overwrite`].
    pub overwrite: Option<bool>,
    /// See [`NamespaceOptions::default_ttl_ms`].
    pub default_ttl_ms: Option<Option<u64>>,
    /// See [`NamespaceOptions::value_size_max`].
    pub value_size_max: Option<Option<u64>>,
    /// See [`NamespaceOptions::compress`].
    pub compress: Option<bool>,
    /// See [`NamespaceOptions::dedup`].
    pub dedup: Option<bool>,
}

impl NamespaceChange {
    fn of(&self, before: NamespaceOptions) -> NamespaceOptions {
        NamespaceOptions {
            by_content: before.by_content,
            overwrite: self.overwrite.unwrap_or(before.overwrite),
            default_ttl_ms: self.default_ttl_ms.unwrap_or(before.default_ttl_ms),
            value_size_max: self.value_size_max.unwrap_or(before.value_size_max),
            compress: self.compress.unwrap_or(before.compress),
            dedup: self.dedup.unwrap_or(before.dedup),
        }
    }
}

impl Namespace {
    /// How long a key stays whose put says nothing of it.
    #[must_use]
    pub fn default_lifetime(&self, now: Timestamp) -> Lifetime {
        let ttl = self.options.default_ttl_ms;
        ttl.map_or(Lifetime::Forever, |ms| {
            Lifetime::Until(Timestamp(now.0.saturating_add(ms)))
        })
    }
}

impl Service {
    pub(super) fn catalogue(&self) -> &Arc<Catalogue> {
        &self.0.catalogue
    }

    /// The namespace of a name; the default one of an empty name.
    ///
    /// # Errors
    /// `Invalid` (`NAMESPACE_NAME`), `NotFound` (`NAMESPACE_NOT_FOUND`), what the shards answer.
    pub fn namespace(&self, name: &str) -> Result<Arc<Namespace>> {
        self.catalogue().find(self.router(), name)
    }

    /// The namespace that is always there.
    #[must_use]
    pub fn default_namespace(&self) -> &Arc<Namespace> {
        self.catalogue().default()
    }

    /// Whether a namespace is there still: it may be dropped while one works with it.
    ///
    /// # Errors
    /// `NotFound` (`NAMESPACE_NOT_FOUND`).
    pub(super) fn check_there(&self, namespace: &Namespace) -> Result<()> {
        if namespace.id == NamespaceId::DEFAULT {
            return Ok(());
        }
        let known = self.catalogue().known(self.router())?;
        match known.get(namespace.id) {
            Some(now) if !now.dropped => Ok(()),
            _ => Err(not_there(&namespace.name)),
        }
    }

    /// Those that are there, in the order of their names, the default one among them.
    ///
    /// # Errors
    /// What the shards answer.
    pub fn namespaces(&self) -> Result<Vec<Arc<Namespace>>> {
        let mut there = self.catalogue().known(self.router())?.there();
        let default = self.default_namespace().clone();
        let at = there.partition_point(|it| *it.name < *default.name);
        there.insert(at, default);
        Ok(there)
    }

    /// What each namespace holds that holds anything. Contents that have a home of their own are shared,
    /// and count with the default one.
    ///
    /// # Errors
    /// What the shards answer.
    pub async fn counts(&self) -> Result<BTreeMap<NamespaceId, Totals>> {
        let router = self.router().clone();
        blocking(move || {
            let mut counts = BTreeMap::new();
            for shard in router.shards() {
                for (id, here) in router.counts(shard.id())? {
                    let so_far: &mut Totals = counts.entry(id).or_default();
                    *so_far = so_far.with(&here);
                }
            }
            Ok(counts)
        })
        .await
    }

    /// What a namespace holds, as [`Service::counts`] tells it.
    ///
    /// # Errors
    /// What the shards answer.
    pub async fn counts_of(&self, namespace: NamespaceId) -> Result<Totals> {
        let counts = self.counts().await?;
        Ok(counts.get(&namespace).copied().unwrap_or_default())
    }

    /// Makes a namespace.
    ///
    /// # Errors
    /// `Disabled`, `DiskFull`; `Invalid` (`NAMESPACE_NAME`); `AlreadyExists` (`NAMESPACE_EXISTS`);
    /// `TooLarge` (`TOO_MANY_NAMESPACES`, `NAMESPACES_EXHAUSTED`); what the shards answer.
    pub async fn create_namespace(
        &self,
        name: &str,
        options: NamespaceOptions,
    ) -> Result<Arc<Namespace>> {
        self.check_set_allowed()?;
        check_namespace_name(name)?;
        let router = self.router();
        let change = self.catalogue().begin_change(router).await?;
        let known = change.known();
        if name == DEFAULT_NAMESPACE || known.named(name).is_some() {
            let message = format!("namespace {name} is there already");
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                "NAMESPACE_EXISTS",
                message,
            ));
        }
        if known.count() >= NAMESPACES_MAX {
            let message =
                format!("there are {NAMESPACES_MAX} namespaces, which is the most: drop one first");
            return Err(Error::too_large("TOO_MANY_NAMESPACES", message));
        }
        let namespace = Namespace {
            id: known.next_id()?,
            uid: random_u128()?,
            name: name.to_owned(),
            options,
            created_at: router.now(),
            dropped: false,
            version: Version(0),
        };
        change.log(router, namespace).await
    }

    /// Changes the rules of a namespace, for what comes from then on.
    ///
    /// # Errors
    /// `Disabled` (`NAMESPACE_FIXED`) for the default one; `NotFound` (`NAMESPACE_NOT_FOUND`); what
    /// the shards answer.
    pub async fn update_namespace(
        &self,
        name: &str,
        change: NamespaceChange,
    ) -> Result<Arc<Namespace>> {
        self.check_set_allowed()?;
        self.revise(name, |before| Namespace {
            options: change.of(before.options),
            ..before
        })
        .await
    }

    /// Drops a namespace with everything in it.
    ///
    /// # Errors
    /// `Disabled` (`DELETE_DISABLED`, `NAMESPACE_FIXED`); `NotFound` (`NAMESPACE_NOT_FOUND`); what
    /// the shards answer.
    pub async fn drop_namespace(&self, name: &str) -> Result<Arc<Namespace>> {
        self.check_delete_allowed()?;
        self.revise(name, |before| Namespace {
            dropped: true,
            ..before
        })
        .await
    }

    async fn revise(
        &self,
        name: &str,
        revision: impl FnOnce(Namespace) -> Namespace,
    ) -> Result<Arc<Namespace>> {
        if matches!(name, "" | DEFAULT_NAMESPACE) {
            let message = "the default namespace is always there, and its rules are those of the configuration";
            return Err(Error::new(ErrorKind::Disabled, "NAMESPACE_FIXED", message));
        }
        check_namespace_name(name)?;
        let router = self.router();
        let change = self.catalogue().begin_change(router).await?;
        let before = change.known().named(name).ok_or_else(|| not_there(name))?;
        let namespace = Namespace {
            version: Version(0),
            ..revision(Namespace::clone(before))
        };
        change.log(router, namespace).await
    }

    /// Removes keys of namespaces that were dropped, at most 16,384 of a shard and namespace; how
    /// many.
    ///
    /// # Errors
    /// What the first shard answers that could not; the others have.
    pub async fn clear_dropped(&self) -> Result<u64> {
        let known = self.catalogue().known(self.router())?;
        let (mut removed, mut outcome) = (0, Ok(()));
        for shard in self.router().shards() {
            let (router, shard) = (self.router().clone(), shard.id());
            let counts = match blocking(move || router.counts(shard)).await {
                Ok(counts) => counts,
                Err(error) => {
                    outcome = outcome.and(Err(error));
                    continue;
                }
            };
            let held = counts.iter().filter(|(_, counts)| counts.keys > 0);
            let is_dropped = |id: &NamespaceId| known.get(*id).is_some_and(|it| it.dropped);
            for id in held.map(|(id, _)| *id).filter(is_dropped) {
                match self.clear(shard, id).await {
                    Ok(count) => removed += count,
                    Err(error) => outcome = outcome.and(Err(error)),
                }
            }
        }
        outcome.map(|()| removed)
    }

    async fn clear(&self, shard: ShardId, namespace: NamespaceId) -> Result<u64> {
        let (mut removed, mut last) = (0, None);
        for _ in 0..SLICES_MAX {
            let router = self.router().clone();
            let keys =
                blocking(move || router.keys_after(shard, namespace, last.as_ref(), BATCH_MAX))
                    .await?;
            let is_last = keys.len() < BATCH_MAX;
            last = keys.last().cloned();
            let command = |key: Key| (key.clone(), Command::Clear { key });
            removed += self
                .remove_all(keys.into_iter().map(command).collect())
                .await?;
            fail::fail_point!("namespace::slice");
            if is_last {
                break;
            }
        }
        Ok(removed)
    }
}
