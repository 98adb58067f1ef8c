//! The namespaces that there are, kept in memory for every request to look at.
//!
//! The log has the truth. Changes are made one at a time, and the copy here is replaced before a change
//! is acknowledged: whoever asks later finds it. When the outcome of a change is not known, the copy is
//! thrown away, and made again by whoever needs it.

use crate::model::{
    DEFAULT_NAMESPACE, Error, ErrorKind, Namespace, NamespaceId, Result, check_namespace_name,
};
use crate::router::Router;
use arc_swap::ArcSwapOption;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::{OwnedMutexGuard, watch};

/// What is known of the namespaces.
#[derive(Debug)]
pub(super) struct Catalogue {
    default: Arc<Namespace>,
    known: ArcSwapOption<Known>,
    changing: Arc<tokio::sync::Mutex<()>>,
    changed: watch::Sender<()>,
}

/// All namespaces but the default one, at one moment.
#[derive(Debug, Default, Clone)]
pub(super) struct Known {
    all: BTreeMap<NamespaceId, Arc<Namespace>>,
    /// Those that are there.
    by_name: HashMap<Arc<str>, NamespaceId>,
}

/// A change of namespaces, while nobody else changes any.
pub(super) struct Change {
    catalogue: Arc<Catalogue>,
    known: Arc<Known>,
    /// Whether it may be in the log while the copy is as it was.
    is_open: bool,
    _turn: OwnedMutexGuard<()>,
}

impl Known {
    pub fn of(namespaces: Vec<Namespace>) -> Self {
        let mut known = Self::default();
        for namespace in namespaces {
            known.set(Arc::new(namespace));
        }
        known
    }

    /// Takes over what a namespace is from now on.
    fn set(&mut self, namespace: Arc<Namespace>) {
        match namespace.dropped {
            false => {
                let name = namespace.name.as_str().into();
                self.by_name.insert(name, namespace.id);
            }
            // The name may be another's by now.
            true if self.by_name.get(&*namespace.name) == Some(&namespace.id) => {
                self.by_name.remove(&*namespace.name);
            }
            true => {}
        }
        self.all.insert(namespace.id, namespace);
    }

    /// How many are there.
    pub fn count(&self) -> usize {
        self.by_name.len()
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
            changing: Arc::default(),
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

    /// Begins a change, once those before it are done.
    ///
    /// # Errors
    /// What the shard of the namespaces answers; `Unavailable` (`SHARD_OPENING`) while it does not know all
    /// that it has logged.
    pub async fn begin_change(self: &Arc<Self>, router: &Router) -> Result<Change> {
        let turn = self.changing.clone().lock_owned().await;
        let known = match self.known.load_full() {
            Some(known) => known,
            None => {
                let known = Known::of(router.namespaces()?);
                if !router.knows_namespaces() {
                    let message = "the shard of the namespaces is being opened again; try again";
                    return Err(Error::unavailable("SHARD_OPENING", message));
                }
                Arc::new(known)
            }
        };
        Ok(Change {
            catalogue: self.clone(),
            known,
            is_open: false,
            _turn: turn,
        })
    }
}

impl Change {
    /// What there is.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Logs what a namespace is from now on, and lets everybody see it, whether or not somebody still
    /// waits for it: the next change rests on it. Its version is a new one if it is 0.
    ///
    /// # Errors
    /// What the shard of the namespaces answers.
    pub async fn log(self, router: &Router, namespace: Namespace) -> Result<Arc<Namespace>> {
        let lost = |_| {
            let message = "the change was lost; look at the namespaces before you retry";
            Error::unavailable("OUTCOME_UNKNOWN", message)
        };
        let logging = self.log_to_the_end(router.clone(), namespace);
        tokio::spawn(logging).await.map_err(lost)?
    }

    async fn log_to_the_end(
        mut self,
        router: Router,
        namespace: Namespace,
    ) -> Result<Arc<Namespace>> {
        self.is_open = true;
        let version = router.set_namespace(namespace.clone()).await?;
        let namespace = Arc::new(Namespace {
            version,
            ..namespace
        });
        Arc::make_mut(&mut self.known).set(namespace.clone());
        self.catalogue.known.store(Some(self.known.clone()));
        self.catalogue.changed.send_replace(());
        self.is_open = false;
        Ok(namespace)
    }
}

/// The copy goes while nobody else changes anything.
impl Drop for Change {
    fn drop(&mut self) {
        if self.is_open {
            self.catalogue.known.store(None);
            self.catalogue.changed.send_replace(());
        }
    }
}

/// That a namespace is not there.
pub(super) fn not_there(name: &str) -> Error {
    let message = format!(
        "namespace {name} is not there: make it, or look at those that are (ListNamespaces)"
    );
    Error::new(ErrorKind::NotFound, "NAMESPACE_NOT_FOUND", message)
}
