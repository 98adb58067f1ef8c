//! Numbers that nobody gets twice.

use super::again::Twice;
use super::counter::CountOptions;
use super::{ClientError, Keyspace, Result};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Numbers from 1 on, of which each is given once, to whomever asks under the same key, in any client.
/// Clones share what is left of a block.
///
/// They are taken from the counter under the key in blocks. What is left of a block when a program ends
/// is never given, so there are gaps, and numbers grow for each taker but not over all of them.
///
/// ```no_run
/// # async fn example(keys: shardkeep::client::Keyspace) -> shardkeep::client::Result<()> {
/// let invoices = keys.ids("ids/invoices", 100)?;
/// let id = invoices.next().await?;
/// keys.put(format!("invoices/{id:020}"), "open").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Ids {
    keyspace: Keyspace,
    key: Bytes,
    block: i64,
    left: Arc<Mutex<Range<i64>>>,
}

impl Keyspace {
    /// Numbers that nobody gets twice, from the counter under a key, which are asked for in blocks of so
    /// many, 1 at least. Nothing is asked yet.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] for a block of none.
    pub fn ids(&self, key: impl Into<Bytes>, block: u32) -> Result<Ids> {
        if block == 0 {
            let message = "a block of 0 ids: ask for 1 at least";
            return Err(ClientError::invalid(message));
        }
        Ok(Ids {
            keyspace: self.clone(),
            key: key.into(),
            block: block.into(),
            left: Arc::default(),
        })
    }
}

impl Ids {
    /// Another number.
    ///
    /// # Errors
    /// As [`Keyspace::increment`].
    pub async fn next(&self) -> Result<i64> {
        let mut left = self.left.lock().await;
        if let Some(id) = left.next() {
            return Ok(id);
        }
        let options = CountOptions::default();
        // A block that is taken twice is a gap, and no harm.
        let taking = self
            .keyspace
            .count(self.key.clone(), self.block, options, Twice::Same);
        let last = taking.await?;
        let first = last - self.block + 1;
        *left = first + 1..last + 1;
        Ok(first)
    }
}
