//! Watching: the changes of the store as they come.
//!
//! A watch reads the logs behind the writers (see `router::watch`), so it misses nothing however
//! slow it is, and holds little. It ends with an error where that is no longer so.

use super::{Head, Service, blocking};
use crate::model::{Error, ErrorKind, Key, KeyRange, Namespace, Result, Version};
use crate::router::Watch;
use crate::shard::{Change, Changed, Found as Record};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Watches at once at most.
const WATCHES_MAX: usize = 1000;
/// Changes that are read at once, of whatever keys; a batch may be larger.
const CHANGES_AT_ONCE: usize = 1024;
/// Bytes of a page; one event may be larger.
const PAGE_SIZE_MAX: usize = 256 * 1024;
/// A value that stands with its key is told up to this size.
const VALUE_SIZE_MAX: u64 = 64 * 1024;

/// How many watches there may be.
#[derive(Debug)]
pub(super) struct Watches(Arc<Semaphore>);

impl Default for Watches {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(WATCHES_MAX)))
    }
}

impl Watches {
    fn admit(&self) -> Result<OwnedSemaphorePermit> {
        self.0.clone().try_acquire_owned().map_err(|_| {
            let message = format!("too many watches: {WATCHES_MAX} are open; end some");
            Error::new(ErrorKind::Overloaded, "TOO_MANY_WATCHES", message)
        })
    }
}

/// What to watch.
#[derive(Debug, Clone)]
pub struct WatchQuery {
    /// The namespace that is watched.
    pub namespace: Arc<Namespace>,
    /// Changes of these keys.
    pub range: KeyRange,
    /// Changes after this version; without one, from now on.
    pub after: Option<Version>,
    /// Whether values are told that stand with their keys.
    pub values: bool,
}

/// A change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchEvent {
    /// The key.
    pub key: Bytes,
    /// The version of the change.
    pub version: Version,
    /// What became of the key.
    pub what: Happened,
}

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// It has this value.
    Put {
        /// What is known of it.
        head: Head,
        /// The value itself, where it was asked for and stands with its key.
        value: Option<Bytes>,
    },
    /// It was deleted.
    Deleted,
    /// It was removed because it had expired.
    Expired,
}

/// What a watch has found.
#[derive(Debug, Default)]
pub struct WatchPage {
    /// The changes, lowest version first.
    pub events: Vec<WatchEvent>,
    /// Every change up to this version is in this page or those before: where a later watch goes on.
    pub version: Version,
    /// Whether there may be more without waiting for it.
    pub more: bool,
}

/// A watch in progress.
#[derive(Debug)]
pub struct Watching {
    watch: Watch,
    service: Service,
    namespace: Arc<Namespace>,
    namespaces: watch::Receiver<()>,
    range: KeyRange,
    values: bool,
    /// Changes that were read and are of the keys that are watched.
    pending: VecDeque<Change>,
    version: Version,
    stopping: watch::Receiver<bool>,
    _admitted: OwnedSemaphorePermit,
}

impl Service {
    /// Begins a watch.
    ///
    /// # Errors
    /// `Invalid` (`WATCH_AHEAD`) for a version that the store has not reached; `Conflict`
    /// (`WATCH_COMPACTED`); `Overloaded` (`TOO_MANY_WATCHES`); `Unavailable` when a shard does not
    /// serve.
    pub async fn watch(&self, query: WatchQuery) -> Result<Watching> {
        let admitted = self.0.watches.admit()?;
        if query.after.is_none() {
            self.leave_merge_behind();
        }
        let current = self.router().counter().current();
        let after = match query.after {
            Some(after) if after > current => return Err(ahead(after, current)),
            Some(after) => after,
            None => {
                // What is named to go on from must never be issued again.
                self.router().mark(current).await?;
                current
            }
        };
        let router = self.router().clone();
        Ok(Watching {
            watch: blocking(move || router.watch(after)).await?,
            service: self.clone(),
            namespaces: self.catalogue().changes(),
            namespace: query.namespace,
            range: query.range,
            values: query.values,
            pending: VecDeque::new(),
            version: after,
            stopping: self.0.parts.stop.subscribe(),
            _admitted: admitted,
        })
    }
}

impl Watching {
    /// Every change up to this version was told.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Waits until there may be something new.
    ///
    /// # Errors
    /// `Unavailable` (`SERVER_STOPPING`).
    pub async fn changed(&mut self) -> Result<()> {
        let Self {
            watch,
            namespaces,
            stopping,
            ..
        } = self;
        tokio::select! {
            () = watch.changed() => Ok(()),
            _ = namespaces.changed() => Ok(()),
            _ = stopping.wait_for(|stop| *stop) => {
                let message = "the server stops: watch again, from the last version on";
                Err(Error::unavailable("SERVER_STOPPING", message))
            }
        }
    }

    /// What is there and was not told, at most 256 KiB or one larger event; and the watch, to go on
    /// with.
    ///
    /// # Errors
    /// `Conflict` (`WATCH_COMPACTED`, `WATCH_RESTORED`); `NotFound` (`NAMESPACE_NOT_FOUND`) when the
    /// namespace was dropped; `Unavailable` when a shard is opened anew; `Corrupt`.
    pub async fn next_page(mut self) -> Result<(Self, WatchPage)> {
        blocking(move || {
            self.service.check_there(&self.namespace)?;
            let mut more = true;
            if self.pending.is_empty() {
                let changes = self.watch.read_on(CHANGES_AT_ONCE)?;
                more = !changes.is_empty();
                let (range, namespace) = (&self.range, self.namespace.id);
                let is_watched =
                    |key: &Key| key.namespace() == namespace && range.contains(key.as_bytes());
                let changes = changes.into_iter();
                let watched = changes.filter(|change| is_watched(&change.key));
                self.pending.extend(watched);
            }
            let events = self.take_events()?;
            let page = WatchPage {
                more,
                version: self.version,
                events,
            };
            Ok((self, page))
        })
        .await
    }

    fn take_events(&mut self) -> Result<Vec<WatchEvent>> {
        let mut events = Vec::new();
        let mut size = 0;
        while let Some(change) = self.pending.pop_front() {
            size += size_of(&change, self.values);
            if size > PAGE_SIZE_MAX && !events.is_empty() {
                self.pending.push_front(change);
                break;
            }
            let version = change.version;
            events.push(event_of(change, self.values)?);
            // A batch is told up to its end before it is named.
            if self
                .pending
                .front()
                .is_some_and(|next| next.version > version)
            {
                self.version = version;
            }
        }
        if self.pending.is_empty() {
            self.version = self.watch.version();
        }
        Ok(events)
    }
}

fn ahead(after: Version, current: Version) -> Error {
    let message = format!(
        "after_version is {after}: the store is at version {current}; ask for that or less, or leave it out to watch from now on"
    );
    Error::invalid("WATCH_AHEAD", message).at("after_version")
}

/// Bytes that a change takes in an answer.
fn size_of(change: &Change, values: bool) -> usize {
    /// The numbers beside key and value.
    const FRAMING: usize = 64;
    let of_record = match &change.what {
        Changed::Put(record) => {
            let told = values && is_told(record);
            let value = if told { record.row.info.raw_len } else { 0 };
            record.row.attributes.len() + usize::try_from(value).unwrap_or(usize::MAX)
        }
        Changed::Deleted | Changed::Expired => 0,
    };
    FRAMING + change.key.as_bytes().len() + of_record
}

fn is_told(record: &Record) -> bool {
    record.link().is_none() && record.row.info.raw_len <= VALUE_SIZE_MAX
}

fn event_of(change: Change, values: bool) -> Result<WatchEvent> {
    let Change { version, key, what } = change;
    let what = match what {
        Changed::Deleted => Happened::Deleted,
        Changed::Expired => Happened::Expired,
        Changed::Put(record) => {
            let head = Head::of(&key, &record);
            let told = (values && is_told(&record)).then(|| {
                let opened = record.payload().and_then(|payload| record.open(payload));
                opened.map_err(|error| {
                    let message = format!("the value of key {key} at version {version}: {error}");
                    Error::corrupt("DATA_DAMAGED", message)
                })
            });
            let value = told.transpose()?;
            Happened::Put { head, value }
        }
    };
    Ok(WatchEvent {
        key: key.to_bytes(),
        version,
        what,
    })
}
