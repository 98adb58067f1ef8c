//! Reads of many keys, all of them as of one moment.
//!
//! Where this thread keeps all of the values (see `recent`) and nobody writes while they are gathered,
//! that time is the moment: it takes no snapshot, no look-up and no other thread. Else it is taken
//! over all shards, and what is read there is kept for the next time.

use super::extent::{Extent, Item};
use super::get::Found;
use super::recent::RecentValues;
use super::scan::ScanItem;
use super::{Service, blocking};
use crate::model::{Error, Key, Result, indices_of};
use crate::router::Moment;
use crate::shard::Found as Record;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of values that a read of many keys answers with.
const BATCH_SIZE_MAX: usize = 64 << 20;

/// Many keys that were found as of one moment, and not read yet.
#[derive(Debug)]
pub struct LocatedMany {
    place: Place,
    size: usize,
}

#[derive(Debug)]
enum Place {
    /// Among the values that this thread has read lately.
    Recent(Vec<ScanItem>),
    /// In the shards.
    Stored {
        moment: Arc<Moment>,
        found: Vec<Option<Item>>,
        extent: Extent,
    },
}

impl LocatedMany {
    /// Bytes that are in memory while it is read, the answer with them.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }
}

impl Service {
    /// Where the values of many keys are at a moment, or now, and how large, in their order; `None`
    /// for a miss.
    ///
    /// # Errors
    /// `TooLarge` (`REPLY_TOO_LARGE`) when the values together are more than 64 MiB; what the shards
    /// answer.
    pub async fn locate_many(
        &self,
        moment: Option<Arc<Moment>>,
        keys: Vec<Key>,
        heads_only: bool,
    ) -> Result<LocatedMany> {
        self.locate_extent(moment, keys, self.extent(heads_only))
            .await
    }

    /// As [`Service::locate_many`], for a range of each value. What of it lies behind a value's end is
    /// left out, which may be all of it.
    ///
    /// # Errors
    /// As [`Service::locate_many`], of the ranges.
    pub async fn locate_parts(
        &self,
        moment: Option<Arc<Moment>>,
        keys: Vec<Key>,
        range: Range<u64>,
    ) -> Result<LocatedMany> {
        self.locate_extent(moment, keys, self.extent_of_part(range))
            .await
    }

    async fn locate_extent(
        &self,
        moment: Option<Arc<Moment>>,
        keys: Vec<Key>,
        extent: Extent,
    ) -> Result<LocatedMany> {
        let moment = match (moment, &extent) {
            (Some(moment), _) => moment,
            (None, Extent::Head) => self.moment().await?,
            (None, _) => match self.recall_many(&keys, &extent.range()) {
                Ok(Some(recent)) => return Ok(recent),
                // A shard that does not serve just now is waited for there.
                Ok(None) | Err(_) => self.moment().await?,
            },
        };
        blocking(move || find_many(moment, keys, extent)).await
    }

    /// A range of the values of keys, if this thread keeps all of them and they were so at one moment.
    fn recall_many(&self, keys: &[Key], range: &Range<u64>) -> Result<Option<LocatedMany>> {
        let recall = || -> Result<Option<Vec<Found>>> {
            let found = keys.iter().map(|key| {
                fail::fail_point!("moment::between");
                self.recall(key).transpose()
            });
            found.collect::<Option<Result<Vec<Found>>>>().transpose()
        };
        let Some(found) = self.router().undisturbed(recall)?.flatten() else {
            return Ok(None);
        };
        let items = keys.iter().zip(found).map(|(key, found)| ScanItem {
            key: key.to_bytes(),
            data: Some(found.data.slice(indices_of(&found.part(range)))),
            head: found.head,
        });
        let items: Vec<ScanItem> = items.collect();
        let data = items.iter().filter_map(|item| item.data.as_ref());
        let size = data.map(Bytes::len).sum();
        // What is too large is refused where the key is known with which it is.
        Ok((size <= BATCH_SIZE_MAX).then(|| LocatedMany {
            place: Place::Recent(items),
            size,
        }))
    }

    /// What was located, in its order.
    ///
    /// # Errors
    /// What the shards answer.
    pub async fn read_many(&self, located: LocatedMany) -> Result<Vec<Option<ScanItem>>> {
        let (moment, found, extent) = match located.place {
            Place::Recent(items) => return Ok(items.into_iter().map(Some).collect()),
            Place::Stored {
                moment,
                found,
                extent,
            } => (moment, found, extent),
        };
        let read = blocking(move || {
            let is_there: Vec<bool> = found.iter().map(Option::is_some).collect();
            let records: Vec<Item> = found.into_iter().flatten().collect();
            let is_whole = matches!(extent, Extent::Whole { .. });
            let takes = |record: &Record| is_whole && RecentValues::takes(record);
            let to_keep: Vec<_> = records
                .iter()
                .map(|(key, record)| takes(record).then(|| (key.clone(), record.clone())))
                .collect();
            let items = extent.read(&moment, records)?;
            Ok((is_there, items, to_keep))
        });
        let (is_there, items, to_keep) = read.await?;
        for (item, record) in items.iter().zip(to_keep) {
            self.keep_read(item, record);
        }
        let mut items = items.into_iter();
        let answered = is_there.into_iter();
        Ok(answered
            .map(|it| it.then(|| items.next()).flatten())
            .collect())
    }

    /// Keeps what was read, if it may be kept and is still the newest.
    fn keep_read(&self, item: &ScanItem, record: Option<Item>) {
        let is_newest = |key: &Key, record: &Record| {
            let unchanged = self.router().is_unchanged(key, record.seen);
            unchanged.is_ok_and(|it| it)
        };
        if let (Some((key, record)), Some(data)) = (record, &item.data)
            && is_newest(&key, &record)
        {
            let found = Found {
                head: item.head.clone(),
                // It is a part of a buffer that all have together.
                data: Bytes::copy_from_slice(data),
            };
            self.0.recent.keep(&key, &record, &found);
        }
    }
}

fn find_many(moment: Arc<Moment>, keys: Vec<Key>, extent: Extent) -> Result<LocatedMany> {
    let count = keys.len();
    let mut size = 0;
    let mut found = Vec::with_capacity(count);
    for (number, key) in keys.into_iter().enumerate() {
        let record = moment.find(&key)?;
        let item = record.map(|record| (key, record));
        let item_size = item.as_ref().map_or(0, |it| extent.size_of(it));
        size = item_size.saturating_add(size);
        if size > BATCH_SIZE_MAX {
            let message = format!(
                "the values are too large for one answer: more than {BATCH_SIZE_MAX} bytes with key {number} of {count}; ask for fewer keys at once, or for a large one with Download"
            );
            return Err(Error::too_large("REPLY_TOO_LARGE", message).at("keys"));
        }
        found.push(item);
    }
    let size = size.saturating_add(extent.held(found.iter().flatten()));
    let place = Place::Stored {
        moment,
        found,
        extent,
    };
    Ok(LocatedMany { place, size })
}
