//! Keys in their order, all of them as of one moment.

use super::entry::{Entry, Value};
use super::keyspace::wire;
use super::retry::Repeat;
use super::{Keyspace, Result};
use crate::proto::v1;
use bytes::Bytes;
use tonic::{Status, Streaming};

/// Which keys are walked, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Only keys that begin with this.
    pub prefix: Bytes,
    /// The first key.
    pub start: Bytes,
    /// The first key that is not walked any more; empty for no end.
    pub end: Bytes,
    /// From the largest key down.
    pub reverse: bool,
    /// At most so many; 0 for all.
    pub limit: u64,
    /// Whether values come too.
    pub with_values: bool,
}

impl Query {
    /// All keys.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// The keys that begin so.
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        Self {
            prefix: prefix.into(),
            ..Self::default()
        }
    }

    /// The keys from `start` to before `end`; an empty end is none.
    #[must_use]
    pub fn range(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self {
            start: start.into(),
            end: end.into(),
            ..Self::default()
        }
    }

    /// From the largest key down.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// At most so many.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }

    /// With their values.
    #[must_use]
    pub fn values(mut self) -> Self {
        self.with_values = true;
        self
    }

    pub(super) fn selection(&self) -> v1::KeySelection {
        v1::KeySelection {
            start_key: self.start.clone(),
            end_key: self.end.clone(),
            prefix: self.prefix.clone(),
        }
    }
}

/// A key that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What is known of it.
    pub entry: Entry,
    /// Its value, verified; `None` unless values were asked for.
    pub data: Option<Bytes>,
}

/// Keys on their way.
#[derive(Debug)]
pub struct Rows {
    keyspace: Keyspace,
    pub(super) messages: Streaming<v1::StreamScanResponse>,
    with_values: bool,
}

impl Keyspace {
    /// Walks keys, all of them as of the moment when this was called, or of the snapshot. Asking is
    /// repeated while the server cannot answer, and not any more once keys have come.
    ///
    /// # Errors
    /// [`Gone`](super::ClientError::Gone) for the namespace or the snapshot,
    /// [`Server`](super::ClientError::Server) for a query that cannot be, and those of every call.
    pub async fn scan(&self, query: Query) -> Result<Rows> {
        let request = v1::StreamScanRequest {
            namespace: self.namespace.clone(),
            selection: Some(query.selection()),
            reverse: query.reverse,
            keys_only: !query.with_values,
            limit: query.limit,
            snapshot: self.snapshot.clone(),
        };
        let begun = self.pool.call(Repeat::Always, |channel| {
            let request = request.clone();
            async move { wire(channel).stream_scan(request).await }
        });
        let begun = begun.await;
        Ok(Rows {
            messages: begun.map_err(|status| self.pool.failed("scan", &status))?,
            keyspace: self.clone(),
            with_values: query.with_values,
        })
    }
}

impl Rows {
    /// Some more keys; `None` at the end.
    ///
    /// # Errors
    /// [`Damaged`](super::ClientError::Damaged) and those of every call.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Row>>> {
        let message = self.messages.message().await;
        self.page(message).transpose()
    }

    /// The rows of a message.
    pub(super) fn page(
        &self,
        message: Result<Option<v1::StreamScanResponse>, Status>,
    ) -> Option<Result<Vec<Row>>> {
        match message {
            Ok(None) => None,
            Ok(Some(message)) => Some(message.results.into_iter().map(|it| self.row(it)).collect()),
            Err(status) => Some(Err(self.keyspace.pool.failed("scan", &status))),
        }
    }

    fn row(&self, result: v1::ScanResult) -> Result<Row> {
        let entry = result.entry.unwrap_or_default();
        if !self.with_values {
            let entry = Entry::of(entry);
            return Ok(Row { entry, data: None });
        }
        let value = Value::verified(entry, result.value)?;
        Ok(Row {
            entry: value.entry,
            data: Some(value.data),
        })
    }
}
