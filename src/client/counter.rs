//! Counters: values that are 64-bit numbers in decimal digits, and are added to where they stand.

use super::again::Twice;
use super::entry::Expect;
use super::keyspace::{request_id, wire};
use super::{Keyspace, Result};
use crate::proto::v1;
use bytes::Bytes;

/// How a counter is added to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CountOptions {
    /// What must be so under the key; `None` for whatever is there.
    pub only_if: Option<Expect>,
    /// Where a counter that is not there begins, before the addition.
    pub initial: i64,
}

impl Keyspace {
    /// Adds to a counter, which begins at 0, and tells what it is then.
    ///
    /// # Errors
    /// [`Server`](super::ClientError::Server) for a value that is no counter or has no room for more,
    /// and those of every call.
    pub async fn increment(&self, key: impl Into<Bytes>, delta: i64) -> Result<i64> {
        let options = CountOptions::default();
        self.increment_with(key, delta, options).await
    }

    /// Adds to a counter as the options say, and tells what it is then.
    ///
    /// # Errors
    /// [`Conflict`](super::ClientError::Conflict) and [`NotFound`](super::ClientError::NotFound) where it
    /// is not as expected, and as [`Keyspace::increment`].
    pub async fn increment_with(
        &self,
        key: impl Into<Bytes>,
        delta: i64,
        options: CountOptions,
    ) -> Result<i64> {
        let twice = Twice::Differs;
        self.count(key.into(), delta, options, twice).await
    }

    /// `twice`: what it leaves when it is done again by a server that has forgotten it.
    pub(super) async fn count(
        &self,
        key: Bytes,
        delta: i64,
        options: CountOptions,
        twice: Twice,
    ) -> Result<i64> {
        let request = v1::IncrementRequest {
            namespace: self.namespace.clone(),
            key: key.clone(),
            delta,
            initial_value: options.initial,
            condition: options.only_if.map(Into::into),
            request_id: request_id(),
            ..v1::IncrementRequest::default()
        };
        let counted = self.pool.write(
            "increment",
            (request, twice),
            |channel, request| async move { wire(channel).increment(request).await },
        );
        let counted = counted
            .await?
            .map_err(|status| self.failed_on("increment", &key, &status))?;
        Ok(counted.value)
    }
}
