//! What keys hold, and what deleting them would free.

use super::keyspace::wire;
use super::retry::Repeat;
use super::{Keyspace, Query, Result};
use crate::proto::v1;
use tonic::Streaming;

/// What keys hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Keys.
    pub keys: u64,
    /// Bytes of their values.
    pub logical_bytes: u64,
    /// Bytes of their values as they are stored, compressed; a content that several keys share
    /// counts once.
    pub stored_bytes: u64,
    /// What of it no other key has: deleting the keys leaves it to GC.
    pub freed_bytes: u64,
    /// Whether it is of all keys, rather than of those that were walked so far.
    pub is_whole: bool,
}

/// A measurement on its way.
#[derive(Debug)]
pub struct Measuring {
    keyspace: Keyspace,
    messages: Streaming<v1::MeasureResponse>,
}

impl Keyspace {
    /// Measures the keys of a query's selection, now or at the snapshot.
    ///
    /// # Errors
    /// [`Gone`](super::ClientError::Gone) for the namespace or the snapshot, and those of every call.
    pub async fn measure(&self, query: Query) -> Result<Measuring> {
        let request = v1::MeasureRequest {
            namespace: self.namespace.clone(),
            selection: Some(query.selection()),
            snapshot: self.snapshot.clone(),
        };
        let begun = self.pool.call(Repeat::Always, |channel| {
            let request = request.clone();
            async move { wire(channel).measure(request).await }
        });
        let begun = begun.await;
        Ok(Measuring {
            messages: begun.map_err(|status| self.pool.failed("measure", &status))?,
            keyspace: self.clone(),
        })
    }
}

impl Measuring {
    /// What is known by now; the last one is whole, and `None` is behind it.
    ///
    /// # Errors
    /// Those of every call.
    pub async fn next(&mut self) -> Result<Option<Usage>> {
        let message = self.messages.message().await;
        let message = message.map_err(|status| self.keyspace.pool.failed("measure", &status))?;
        Ok(message.map(|told| Usage {
            keys: told.key_count,
            logical_bytes: told.logical_bytes,
            stored_bytes: told.stored_bytes,
            freed_bytes: told.freed_bytes,
            is_whole: told.whole,
        }))
    }
}
