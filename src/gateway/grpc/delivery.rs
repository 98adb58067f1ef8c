//! Large replies on their way out: counted until their last byte has left for the socket.
//!
//! The count travels inside the reply's [`Bytes`], so it lives exactly as long as the memory does,
//! in HTTP/2's send buffers too. A watch beside each large reply cuts a connection that stops taking
//! data: keepalive alone would not see a peer that answers pings and grants no window.

use super::budget::{ByteBudget, BytesInFlight, SMALL_MAX};
use super::connection::Peer;
use bytes::Bytes;
use http::Response;
use http_body::{Body as _, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tonic::Status;
use tonic::body::Body;

/// Counts replies against a budget of their own, so that uploads and downloads do not starve each
/// other.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    budget: Arc<ByteBudget>,
    /// In this time a connection takes at least [`SMALL_MAX`] bytes of what it is owed.
    stall_timeout: Duration,
}

impl Delivery {
    /// Replies take from `budget`.
    pub(super) fn new(budget: Arc<ByteBudget>, stall_timeout: Duration) -> Self {
        Self {
            budget,
            stall_timeout,
        }
    }

    /// The reply, charged to the budget when it is large.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` when the budget has no room in time; the reply is dropped then.
    pub(super) async fn charge(
        &self,
        reply: Response<Body>,
        peer: Option<Peer>,
    ) -> Result<Response<Body>, Status> {
        let (parts, mut body) = reply.into_parts();
        let first = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let first = match first.transpose()?.map(Frame::into_data) {
            Some(Ok(data)) if data.len() > SMALL_MAX => {
                Some(Frame::data(self.counted(data, peer).await?))
            }
            Some(Ok(data)) => Some(Frame::data(data)),
            Some(Err(trailers)) => Some(trailers),
            None => None,
        };
        let body = Body::new(Delivered { first, rest: body });
        Ok(Response::from_parts(parts, body))
    }

    async fn counted(&self, data: Bytes, peer: Option<Peer>) -> Result<Bytes, Status> {
        let taken = self.budget.take(data.len(), data.len()).await;
        let in_flight = taken.map_err(|shed| Status::resource_exhausted(shed.to_string()))?;
        let (delivered, outcome) = oneshot::channel();
        if let Some(peer) = peer {
            tokio::spawn(watch_delivery(peer, outcome, self.stall_timeout));
        }
        Ok(Bytes::from_owner(Counted {
            data,
            _in_flight: in_flight,
            _delivered: delivered,
        }))
    }
}

/// Ends with the reply or the connection, whichever is first.
async fn watch_delivery(peer: Peer, mut delivered: oneshot::Receiver<()>, stall_timeout: Duration) {
    let taken_min = u64::try_from(SMALL_MAX).unwrap_or(u64::MAX);
    loop {
        let before = peer.written();
        // Nothing is ever sent: the sender's drop says that the bytes are gone.
        if tokio::time::timeout(stall_timeout, &mut delivered)
            .await
            .is_ok()
        {
            return;
        }
        if peer.written() - before < taken_min {
            tracing::info!(
                ?peer,
                "connection cut: it took less than {taken_min} bytes of a large reply in {stall_timeout:?}"
            );
            peer.cut();
            return;
        }
    }
}

struct Counted {
    data: Bytes,
    _in_flight: BytesInFlight,
    _delivered: oneshot::Sender<()>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

struct Delivered {
    first: Option<Frame<Bytes>>,
    rest: Body,
}

impl http_body::Body for Delivered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        Pin::new(&mut self.rest).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, Full};

    const MIB: usize = 1 << 20;

    fn reply_of(len: usize) -> Response<Body> {
        Response::new(Body::new(
            Full::new(Bytes::from(vec![7; len])).map_err(|never| match never {}),
        ))
    }

    fn delivery(wait_max: Duration) -> Delivery {
        Delivery::new(ByteBudget::new(8 * MIB as u64, wait_max), Duration::MAX)
    }

    #[tokio::test]
    async fn a_large_reply_is_counted_until_its_bytes_are_dropped() {
        let delivery = delivery(Duration::from_millis(20));
        let reply = delivery.charge(reply_of(7 * MIB), None).await.unwrap();
        let bytes = reply.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(bytes.len(), 7 * MIB);
        let refused = delivery.charge(reply_of(MIB), None).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        drop(bytes);
        assert!(delivery.charge(reply_of(MIB), None).await.is_ok());
    }

    #[tokio::test]
    async fn a_small_reply_passes_a_full_budget() {
        let delivery = delivery(Duration::from_millis(20));
        let _full = delivery.charge(reply_of(7 * MIB), None).await.unwrap();
        let reply = delivery.charge(reply_of(1000), None).await.unwrap();
        assert_eq!(
            reply.into_body().collect().await.unwrap().to_bytes().len(),
            1000
        );
    }
}
