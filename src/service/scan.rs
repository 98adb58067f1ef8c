//! Scans and reads of many keys, each as of one moment.

use super::get::Head;
use super::{Service, blocking};
use crate::model::{Direction, Error, Key, KeyRange, Result};
use crate::router::{Moment, Walk};
use bytes::Bytes;
use std::sync::Arc;

/// Bytes of keys and values after which a page ends; one value may be larger.
const PAGE_SIZE_MAX: usize = 1 << 20;
/// Bytes of values that a read of many keys answers with.
pub(super) const BATCH_SIZE_MAX: usize = 64 << 20;

/// Which keys are walked, and how.
#[derive(Debug, Clone)]
pub struct Scan {
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
    walk: Option<Walk>,
    keys_only: bool,
    left: u64,
}

impl Service {
    /// Begins a scan.
    ///
    /// # Errors
    /// What the shards answer.
    pub async fn scan(&self, scan: &Scan) -> Result<ScanStream> {
        let moment = Arc::new(self.router().moment().await?);
        Ok(ScanStream {
            walk: Some(moment.walk(&scan.range, scan.direction)),
            keys_only: scan.keys_only,
            left: scan.limit,
        })
    }

    /// The values of many keys as of one moment, in their order; `None` for a miss.
    ///
    /// # Errors
    /// `TooLarge` (`REPLY_TOO_LARGE`) when the values together are more than 64 MiB; what the shards
    /// answer.
    pub async fn get_many(
        &self,
        keys: Vec<Key>,
        heads_only: bool,
    ) -> Result<Vec<Option<ScanItem>>> {
        let moment = self.router().moment().await?;
        blocking(move || {
            let mut size = 0;
            let mut found = Vec::with_capacity(keys.len());
            for (number, key) in keys.iter().enumerate() {
                let item = match moment.find(key)? {
                    Some(record) => Some(item_of(&moment, key, record, heads_only)?),
                    None => None,
                };
                size += item.as_ref().map_or(0, ScanItem::size);
                if size > BATCH_SIZE_MAX {
                    let message = format!(
                        "the values are too large for one answer: more than {BATCH_SIZE_MAX} bytes with key {number} of {}; ask for fewer keys at once",
                        keys.len()
                    );
                    return Err(Error::too_large("REPLY_TOO_LARGE", message).at("keys"));
                }
                found.push(item);
            }
            Ok(found)
        })
        .await
    }
}

impl ScanStream {
    /// The next keys, at most so many and about 1 MiB; an empty page at the end.
    ///
    /// # Errors
    /// What the shards answer; the scan is over then.
    pub async fn next_page(&mut self, count_max: usize) -> Result<Page> {
        let Some(mut walk) = self.walk.take() else {
            return Ok(Page::default());
        };
        let count_max = count_max.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let keys_only = self.keys_only;
        let (walk, page) = blocking(move || {
            let page = page_of(&mut walk, count_max, keys_only)?;
            Ok((walk, page))
        })
        .await?;
        self.left -= page.items.len() as u64;
        self.walk = Some(walk).filter(|_| page.more && self.left > 0);
        Ok(page)
    }
}

fn page_of(walk: &mut Walk, count_max: usize, keys_only: bool) -> Result<Page> {
    let mut page = Page::default();
    let mut size = 0;
    while page.items.len() < count_max && size < PAGE_SIZE_MAX {
        let Some((key, record)) = walk.next_live()? else {
            return Ok(page);
        };
        let item = item_of(walk.moment(), &key, record, keys_only)?;
        size += item.size();
        page.items.push(item);
    }
    page.more = true;
    Ok(page)
}

fn item_of(
    moment: &Moment,
    key: &Key,
    record: crate::shard::Found,
    head_only: bool,
) -> Result<ScanItem> {
    let head = Head::of(key, &record);
    let data = match head_only {
        true => None,
        false => Some(moment.read(&moment.value_of(key, record)?)?),
    };
    Ok(ScanItem {
        key: key.to_bytes(),
        head,
        data,
    })
}

impl ScanItem {
    /// Bytes that it holds.
    fn size(&self) -> usize {
        /// The numbers beside key and value.
        const FRAMING: usize = 64;
        FRAMING
            + self.key.len()
            + self.head.attributes.len()
            + self.data.as_ref().map_or(0, Bytes::len)
    }
}
