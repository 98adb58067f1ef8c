//! Scans, each as of one moment.

use super::extent::{Extent, Item};
use super::get::Head;
use super::{Service, blocking};
use crate::model::{Direction, KeyRange, Namespace, Result};
use crate::router::{Moment, Walk};
use bytes::Bytes;
use std::sync::Arc;

/// Bytes of keys and values on a page; a larger value has a page of its own.
const PAGE_SIZE_MAX: usize = 1 << 20;

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
    next: Item,
    walk: Walk,
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
}

impl ScanStream {
    /// Bytes that the next page holds at most.
    #[must_use]
    pub fn next_size(&self) -> usize {
        let extent = self.of.0.extent(self.keys_only);
        let next = self.rest.as_ref().map(|rest| &rest.next);
        next.map_or(0, |next| extent.size_of(next).max(PAGE_SIZE_MAX))
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
        let (items, rest) = blocking(move || rest.page(count_max, &extent)).await?;
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
    fn page(self, count_max: usize, extent: &Extent) -> Result<(Vec<ScanItem>, Option<Self>)> {
        let moment = self.walk.moment().clone();
        let mut records = Vec::new();
        let mut room = extent.size_of(&self.next).max(PAGE_SIZE_MAX);
        let mut rest = Some(self);
        while let Some(Self { next, walk }) = rest.take() {
            let fits = room.checked_sub(extent.size_of(&next));
            let Some(left) = fits.filter(|_| records.len() < count_max) else {
                rest = Some(Self { next, walk });
                break;
            };
            room = left;
            records.push(next);
            rest = Self::of(walk)?;
        }
        Ok((extent.read(&moment, records)?, rest))
    }
}
