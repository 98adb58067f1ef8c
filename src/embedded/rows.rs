//! Walks over keys.

use super::convert;
use crate::client::{Row, Usage};
use crate::model::Result;
use crate::service::{self, ScanStream};

/// Keys on a page at most; one ends before that at about 1 MiB.
const PAGE_KEYS_MAX: usize = 10_000;

/// Keys in order, all of them as of one moment.
#[derive(Debug)]
pub struct Rows(pub(super) ScanStream);

impl Rows {
    /// Some more keys, about 1 MiB of them; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt`, and what the shards answer; the walk is over then.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Row>>> {
        let page = self.0.next_page(PAGE_KEYS_MAX).await?;
        let rows: Result<Vec<Row>> = page.items.into_iter().map(convert::row).collect();
        Ok(Some(rows?).filter(|rows| !rows.is_empty()))
    }
}

/// A measurement on its way.
#[derive(Debug)]
pub struct Measuring(pub(super) service::Measuring);

impl Measuring {
    /// What is known by now; the last one is whole, and `None` is behind it.
    ///
    /// # Errors
    /// What the shards answer.
    pub async fn next(&mut self) -> Result<Option<Usage>> {
        let told = self.0.next().await?;
        Ok(told.map(|(usage, is_whole)| Usage {
            keys: usage.keys,
            logical_bytes: usage.logical_bytes,
            stored_bytes: usage.stored_bytes,
            freed_bytes: usage.freed_bytes,
            is_whole,
        }))
    }
}
