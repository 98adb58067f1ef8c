//! The namespaces that there are, kept in memory for every request to look at.
//!
//! The log has the truth. Changes are made one at a time, each beginning with a look at it, and the
//! copy here is replaced before a change is acknowledged: whoever asks later finds it. When the
//! outcome of a change is not known, the copy is thrown away, and made again by whoever needs it.

use crate::model::{
    DEFAULT_NAMESPACE, Error, ErrorKind, Namespace, NamespaceId, Result, check_namespace_name,
};
use crate::router::Router;
use arc_swap::ArcSwapOption;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::watch;

/// What is known of the namespaces.
#[derive(Debug)]
pub(super) struct Catalogue {
    default: Arc<Namespace>,
    known: ArcSwapOption<Known>,
    changing: tokio::sync::Mutex<()>,
    changed: watch::Sender<()>,
}

/// All namespaces but the default one, at one moment.
#[derive(Debug, Default)]
pub(super) struct Known {
    all: BTreeMap<NamespaceId, Arc<Namespace>>,
    by_name: HashMap<String, NamespaceId>,
}

impl Known {
    pub fn of(namespaces: Vec<Namespace>) -> Self {
        let there = namespaces.iter().filter(|it| !it.dropped);
        let by_name = there.map(|it| (it.name.clone(), it.id)).collect();
        let all = namespaces.into_iter();
        let all = all.map(|it| (it.id, Arc::new(it))).collect();
        Self { all, by_name }
    }

    pub fn get(&self, id: NamespaceId) -> Option<&Arc<Namespace>> {
        self.all.get(&id)
    }

    pub fn named(&self, name: &str) -> Option<&Arc<Namespace>> {
        self.all.get(self.by_name.get(name)?)
    }

    /// The one that was given this in the store where it was made.
    pub fn of_uid(&self, uid: u128) -> Option<&Arc<Namespace>> {
        self.all.values().find(|it| it.uid == uid)
    }

    /// Those that are there, in the order of their names.
    pub fn there(&self) -> Vec<Arc<Namespace>> {
        let mut there: Vec<_> = self
            .all
            .values()
            .filter(|it| !it.dropped)
            .cloned()
            .collect();
        there.sort_by(|one, two| one.name.cmp(&two.name));
        there
    }

    /// A number that was never given.
    ///
    /// # Errors
    /// `TooLarge` (`NAMESPACES_EXHAUSTED`).
    pub fn next_id(&self) -> Result<NamespaceId> {
        let last = self.all.keys().next_back().map_or(0, |id| id.0);
        let next = NamespaceId(last.saturating_add(1));
        if next <= NamespaceId::MAX {
            return Ok(next);
        }
        let message = format!(
            "{} namespaces were made in this store, which is as many as there can be: use one that is there",
            NamespaceId::MAX
        );
        Err(Error::too_large("NAMESPACES_EXHAUSTED", message))
    }
}

impl Catalogue {
    pub fn new(default: Namespace) -> Self {
        Self {
            default: Arc::new(default),
            known: ArcSwapOption::empty(),
            changing: tokio::sync::Mutex::default(),
            changed: watch::Sender::default(),
        }
    }

    /// For one who waits for changes.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The default namespace.
    pub fn default(&self) -> &Arc<Namespace> {
        &self.default
    }

    /// What is known; read from the log if nobody has looked yet.
    ///
    /// # Errors
    /// What the shard of the namespaces answers.
    pub fn known(&self, router: &Router) -> Result<Arc<Known>> {
        if let Some(known) = self.known.load_full() {
            return Ok(known);
        }
        // Beside a change this could be an older copy, which the change's end replaces. A shard that
        // does not serve may know less than its log says, and more when it is opened anew.
        let alone = self.changing.try_lock();
        let serves = router.knows_namespaces();
        let known = Arc::new(Known::of(router.namespaces()?));
        if alone.is_ok() && serves {
            self.known.store(Some(known.clone()));
        }
        Ok(known)
    }

    /// The namespace of a name that a client sent; nothing is the default one.
    ///
    /// # Errors
    /// `Invalid` (`NAMESPACE_NAME`), `NotFound` (`NAMESPACE_NOT_FOUND`).
    pub fn find(&self, router: &Router, name: &str) -> Result<Arc<Namespace>> {
        if matches!(name, "" | DEFAULT_NAMESPACE) {
            return Ok(self.default.clone());
        }
        check_namespace_name(name)?;
        let known = self.known(router)?;
        known.named(name).cloned().ok_or_else(|| not_there(name))
    }

    /// Runs a change on what the log says now. The change logs what it makes of it.
    ///
    /// # Errors
    /// What the change answers.
    pub async fn change<T>(
        &self,
        router: &Router,
        change: impl AsyncFnOnce(&Known) -> Result<T>,
    ) -> Result<T> {
        let _changing = self.changing.lock().await;
        let before = Known::of(router.namespaces()?);
        let changed = change(&before).await;
        let after = router.namespaces().ok();
        let after = after.filter(|_| router.knows_namespaces());
        self.known.store(after.map(|it| Arc::new(Known::of(it))));
        self.changed.send_replace(());
        changed
    }
}

/// That a namespace is not there.
pub(super) fn not_there(name: &str) -> Error {
    let message = format!(
        "namespace {name} is not there: make it, or look at those that are (ListNamespaces)"
    );
    Error::new(ErrorKind::NotFound, "NAMESPACE_NOT_FOUND", message)
}
