//! What keys hold, and what deleting them would free.
//!
//! A content is counted with one of its keys: the first of its references whose owner is among the
//! keys that are measured. So each is counted once, and nothing has to be remembered of the others;
//! what is remembered all the same, up to a bound, only spares looking at them again.

use super::{Service, blocking};
use crate::model::{BlobRef, Digest, Direction, Key, KeyRange, Namespace, Result};
use crate::router::{Moment, Walk};
use crate::shard::Found as Record;
use std::collections::HashSet;
use std::sync::Arc;

/// Keys that are walked before it is told how far it is.
const KEYS_PER_STEP: usize = 16 * 1024;
/// Digests of contents that were counted, as many as are remembered.
const COUNTED_MAX: usize = 64 * 1024;

/// What keys hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Keys.
    pub keys: u64,
    /// Bytes of their values as clients see them.
    pub logical_bytes: u64,
    /// Bytes of their values as they are stored, each content once.
    pub stored_bytes: u64,
    /// What of it no other key has.
    pub freed_bytes: u64,
}

/// A walk over the keys that are measured.
#[derive(Debug)]
pub struct Measuring {
    service: Service,
    namespace: Arc<Namespace>,
    /// `None` at the end.
    walk: Option<Meter>,
}

#[derive(Debug)]
struct Meter {
    walk: Walk,
    moment: Arc<Moment>,
    namespace: Arc<Namespace>,
    range: KeyRange,
    usage: Usage,
    counted: HashSet<Digest>,
}

impl Service {
    /// Begins to measure the keys of a range at a moment.
    #[must_use]
    pub fn measure(
        &self,
        moment: Arc<Moment>,
        namespace: Arc<Namespace>,
        range: KeyRange,
    ) -> Measuring {
        let walk = moment.walk(namespace.id, &range, Direction::Forward);
        Measuring {
            service: self.clone(),
            namespace: namespace.clone(),
            walk: Some(Meter {
                walk,
                moment,
                namespace,
                range,
                usage: Usage::default(),
                counted: HashSet::new(),
            }),
        }
    }
}

impl Measuring {
    /// Goes on for some keys: what those that were walked so far hold, and whether they are all;
    /// `None` behind the end.
    ///
    /// # Errors
    /// `NotFound` when the namespace is dropped meanwhile; what the shards answer.
    pub async fn next(&mut self) -> Result<Option<(Usage, bool)>> {
        let Some(mut meter) = self.walk.take() else {
            return Ok(None);
        };
        self.service.check_there(&self.namespace)?;
        let (meter, more) = blocking(move || {
            let more = meter.step()?;
            Ok((meter, more))
        })
        .await?;
        let usage = meter.usage;
        self.walk = more.then_some(meter);
        Ok(Some((usage, !more)))
    }
}

impl Meter {
    /// Whether there is more behind the keys of this step.
    fn step(&mut self) -> Result<bool> {
        for _ in 0..KEYS_PER_STEP {
            let Some((_, record)) = self.walk.next_live()? else {
                return Ok(false);
            };
            self.take(&record)?;
        }
        Ok(true)
    }

    fn take(&mut self, record: &Record) -> Result<()> {
        self.usage.keys += 1;
        self.usage.logical_bytes += record.row.info.raw_len;
        match record.link() {
            Some(link) => self.take_shared(link),
            None => {
                let stored = u64::from(record.row.place.payload_len);
                self.usage.stored_bytes += stored;
                self.usage.freed_bytes += stored;
                Ok(())
            }
        }
    }

    fn take_shared(&mut self, link: BlobRef) -> Result<()> {
        let digest = link.digest;
        if self.counted.contains(&digest) {
            return Ok(());
        }
        let (mut is_first, mut others_have_it) = (false, false);
        for owner in self.moment.owners(digest) {
            let (blob, key) = owner?;
            match self.is_measured(&key) {
                false => others_have_it = true,
                true if blob == link => is_first = true,
                // Counted with that key, which the walk comes to or has come to.
                true if !is_first => return Ok(()),
                true => {}
            }
            if is_first && others_have_it {
                break;
            }
        }
        let stored = self.moment.stored_len(digest)?;
        self.usage.stored_bytes += stored;
        if !others_have_it {
            self.usage.freed_bytes += stored;
        }
        if self.counted.len() >= COUNTED_MAX {
            self.counted.clear();
        }
        self.counted.insert(digest);
        Ok(())
    }

    fn is_measured(&self, key: &Key) -> bool {
        key.namespace() == self.namespace.id && self.range.contains(key.as_bytes())
    }
}
