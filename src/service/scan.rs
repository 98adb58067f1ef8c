//! Scans and reads of many keys, each as of one moment.

use super::get::Head;
use super::large::needs_download;
use super::{Service, blocking};
use crate::model::{Direction, Error, Key, KeyRange, Namespace, Result};
use crate::router::{Moment, Walk};
use crate::shard::Found as Record;
use bytes::Bytes;
use std::sync::Arc;

/// Bytes of keys and values on a page; a larger value has a page of its own.
const PAGE_SIZE_MAX: usize = 1 << 20;
/// Bytes of values that a read of many keys answers with.
pub(super) const BATCH_SIZE_MAX: usize = 64 << 20;

/// Which keys are walked, and how.
#[derive(Debug, Clone)]
pub struct Scan {
    /// The namespace that is walked.
    pub namespace: Arc<Namespace>,
    /// The keys.
    pub range: KeyRange,
    /// The order.
    pub direction: Direction,
    /// Whether values are left out.
    pub keys_only: bool,
    /// How many keys are walked at most.
    pub limit: u64,
}

/// A key that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanItem {
    /// The key.
    pub key: Bytes,
    /// What is known of its value.
    pub head: Head,
    /// The raw value, unless only keys were asked for.
    pub data: Option<Bytes>,
}

/// Some keys in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The keys.
    pub items: Vec<ScanItem>,
    /// Whether there are more behind them.
    pub more: bool,
}

/// A scan in progress, all of it as of the moment when it began.
#[derive(Debug)]
pub struct ScanStream {
    rest: Option<Rest>,
    keys_only: bool,
    left: u64,
    /// Whose keys they are: nothing is seen of a namespace that is dropped meanwhile.
    of: (Service, Arc<Namespace>),
}

/// What a scan has not answered with yet.
#[derive(Debug)]
struct Rest {
    next: (Key, Record),
    walk: Walk,
}

/// Many keys that were found as of one moment, and not read yet.
#[derive(Debug)]
pub struct LocatedMany {
    moment: Arc<Moment>,
    found: Vec<Option<(Key, Record)>>,
    heads_only: bool,
    size: usize,
}

impl LocatedMany {
    /// Bytes that the answer holds.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }
}

impl Service {
    /// Begins a scan at a moment.
    ///
    /// # Errors
    /// What the shards answer.
    pub async fn scan(&self, moment: &Arc<Moment>, scan: &Scan) -> Result<ScanStream> {
        let walk = moment.walk(scan.namespace.id, &scan.range, scan.direction);
        Ok(ScanStream {
            rest: blocking(move || Rest::of(walk)).await?,
            keys_only: scan.keys_only,
            left: scan.limit,
            of: (self.clone(), scan.namespace.clone()),
        })
    }

    /// Where the values of many keys are at a moment, and how large, in their order; `None` for
    /// a miss.
    ///
    /// # Errors
    /// `TooLarge` (`REPLY_TOO_LARGE`) when the values together are more than 64 MiB; what the shards
    /// answer.
    pub async fn locate_many(
        &self,
        moment: Arc<Moment>,
        keys: Vec<Key>,
        heads_only: bool,
    ) -> Result<LocatedMany> {
        blocking(move || {
            let count = keys.len();
            let mut size = 0;
            let mut found = Vec::with_capacity(count);
            for (number, key) in keys.into_iter().enumerate() {
                let record = moment.find(&key)?;
                let item = record.map(|record| (key, record));
                size = item.as_ref().map_or(size, |it| size_of(it, heads_only).saturating_add(size));
                if size > BATCH_SIZE_MAX {
                    let message = format!(
                        "the values are too large for one answer: more than {BATCH_SIZE_MAX} bytes with key {number} of {count}; ask for fewer keys at once, or for a large one with Download"
                    );
                    return Err(Error::too_large("REPLY_TOO_LARGE", message).at("keys"));
                }
                found.push(item);
            }
            Ok(LocatedMany {
                moment,
                found,
                heads_only,
                size,
            })
        })
        .await
    }

    /// What was located, in its order.
    ///
    /// # Errors
    /// What the shards answer.
    pub async fn read_many(&self, located: LocatedMany) -> Result<Vec<Option<ScanItem>>> {
        let LocatedMany {
            moment,
            found,
            heads_only,
            size: _,
        } = located;
        let extent = self.extent(heads_only);
        blocking(move || {
            let read = |(key, record)| item_of(&moment, &key, record, extent);
            found
                .into_iter()
                .map(|it| it.map(read).transpose())
                .collect()
        })
        .await
    }
}

impl Service {
    fn extent(&self, head_only: bool) -> Extent {
        match head_only {
            true => Extent::Head,
            false => Extent::Whole(self.rules().value_size_max),
        }
    }
}

impl ScanStream {
    /// Bytes that the next page holds at most.
    #[must_use]
    pub fn next_size(&self) -> usize {
        let next = self.rest.as_ref().map(|rest| &rest.next);
        next.map_or(0, |next| size_of(next, self.keys_only).max(PAGE_SIZE_MAX))
    }

    /// The next keys, at most so many and 1 MiB, or one larger value; an empty page at the end.
    ///
    /// # Errors
    /// What the shards answer; the scan is over then.
    pub async fn next_page(&mut self, count_max: usize) -> Result<Page> {
        let (service, namespace) = &self.of;
        service.check_there(namespace)?;
        let Some(rest) = self.rest.take() else {
            return Ok(Page::default());
        };
        let count_max = count_max.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let extent = service.extent(self.keys_only);
        let (items, rest) = blocking(move || rest.page(count_max, extent)).await?;
        self.left -= items.len() as u64;
        let more = rest.is_some();
        self.rest = rest.filter(|_| self.left > 0);
        Ok(Page { items, more })
    }
}

impl Rest {
    fn of(mut walk: Walk) -> Result<Option<Self>> {
        let next = walk.next_live()?;
        Ok(next.map(|next| Self { next, walk }))
    }

    /// A page, and what is behind it.
    fn page(self, count_max: usize, extent: Extent) -> Result<(Vec<ScanItem>, Option<Self>)> {
        let keys_only = matches!(extent, Extent::Head);
        let mut items = Vec::new();
        let mut room = size_of(&self.next, keys_only).max(PAGE_SIZE_MAX);
        let mut rest = Some(self);
        while let Some(Self { next, walk }) = rest {
            let fits = room.checked_sub(size_of(&next, keys_only));
            let Some(left) = fits.filter(|_| items.len() < count_max) else {
                return Ok((items, Some(Self { next, walk })));
            };
            room = left;
            let (key, record) = next;
            items.push(item_of(walk.moment(), &key, record, extent)?);
            rest = Self::of(walk)?;
        }
        Ok((items, None))
    }
}

/// Bytes that a key takes in an answer.
fn size_of((key, record): &(Key, Record), head_only: bool) -> usize {
    /// The numbers beside key and value.
    const FRAMING: usize = 64;
    let raw_len = usize::try_from(record.row.info.raw_len).unwrap_or(usize::MAX);
    let value = if head_only { 0 } else { raw_len };
    value.saturating_add(FRAMING + key.as_bytes().len() + record.row.attributes.len())
}

/// How much of a key is answered with.
#[derive(Debug, Clone, Copy)]
enum Extent {
    /// What is known of its value.
    Head,
    /// The value too; one in chunks only up to so many bytes.
    Whole(u64),
}

fn item_of(moment: &Moment, key: &Key, record: Record, extent: Extent) -> Result<ScanItem> {
    let head = Head::of(key, &record);
    let data = match extent {
        Extent::Head => None,
        Extent::Whole(max) => {
            let found = moment.value_of(key, record)?;
            if found.body.is_in_chunks() && head.raw_len > max {
                return Err(needs_download(key, head.raw_len, max));
            }
            Some(moment.read(&found)?)
        }
    };
    Ok(ScanItem {
        key: key.to_bytes(),
        head,
        data,
    })
}
