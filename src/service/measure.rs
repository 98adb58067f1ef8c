//! What keys hold, and what deleting them would free.
//!
//! A content is counted with one of its keys: the first of its references whose owner is among the
//! keys that are measured. A chunk of a large value is counted with one of the lists that name it in the
//! same way, where a list is among what is measured if one of its keys is. So each is counted once, and nothing has to be remembered of the others;
//! what is remembered all the same, up to a bound, only spares looking at them again.

use super::{Service, blocking};
use crate::model::{BlobRef, ChunkList, Digest, Direction, Key, KeyRange, Namespace, Result};
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
        if !self.take_content(link)? {
            return Ok(());
        }
        let list = self.moment.chunks_of(link.digest)?;
        for chunk in list.iter().flat_map(ChunkList::references) {
            self.take_content(chunk)?;
        }
        Ok(())
    }

    /// Counts a content that is named by a reference, if this is the one that it is counted with.
    fn take_content(&mut self, own: BlobRef) -> Result<bool> {
        let digest = own.digest;
        if self.counted.contains(&digest) {
            return Ok(false);
        }
        let (mut is_first, mut others_have_it) = (false, false);
        for owner in self.moment.owners(digest) {
            let (blob, key) = owner?;
            let (is_measured, is_elsewhere) = self.sides(&key)?;
            others_have_it |= is_elsewhere;
            if blob == own {
                is_first = true;
            } else if is_measured && !is_first {
                // Counted with that one, which the walk comes to or has come to.
                return Ok(false);
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
        Ok(true)
    }

    /// Whether a key is among those that are measured, and whether it is not; of a list, whether any
    /// of its keys is the one or the other.
    fn sides(&self, owner: &Key) -> Result<(bool, bool)> {
        let Some(list) = owner.list() else {
            let is_measured = self.is_measured(owner);
            return Ok((is_measured, !is_measured));
        };
        let mut sides = (false, false);
        for key in self.moment.owners(list) {
            let is_measured = self.is_measured(&key?.1);
            sides = (sides.0 | is_measured, sides.1 | !is_measured);
            if sides == (true, true) {
                break;
            }
        }
        Ok(sides)
    }

    fn is_measured(&self, key: &Key) -> bool {
        key.namespace() == self.namespace.id && self.range.contains(key.as_bytes())
    }
}
