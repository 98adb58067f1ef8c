//! Removing many keys.

use super::again::Twice;
use super::keyspace::{request_id, wire};
use super::{Keyspace, Query, Result};
use crate::proto::v1;

impl Keyspace {
    /// Removes the keys of a query's selection, of which a bound or a prefix must be set; how many.
    /// Its order and limit mean nothing here.
    ///
    /// Each key is removed by itself: a value that is put meanwhile may stay, and an error may leave a
    /// part done. What went in a try that failed, or with an answer that was lost with the server's run, is
    /// not counted.
    ///
    /// # Errors
    /// [`Refused`](super::ClientError::Refused), [`Gone`](super::ClientError::Gone) for the namespace,
    /// and those of every call.
    pub async fn delete_range(&self, query: &Query) -> Result<u64> {
        let mut request = v1::DeleteRangeRequest {
            namespace: self.namespace.clone(),
            selection: Some(query.selection()),
            ..v1::DeleteRangeRequest::default()
        };
        let mut deleted = 0;
        loop {
            request.request_id = request_id();
            let write = (request.clone(), Twice::Same);
            let some = self
                .pool
                .write("delete range", write, |channel, request| async move {
                    wire(channel).delete_range(request).await
                });
            let some = some.await?;
            let some = some.map_err(|status| self.pool.failed("delete range", &status))?;
            deleted += some.deleted_count;
            request.page_token = some.next_page_token;
            if request.page_token.is_empty() {
                return Ok(deleted);
            }
        }
    }
}
