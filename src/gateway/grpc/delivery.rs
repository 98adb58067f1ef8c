//! Large replies on their way out: counted until their last byte has left for the socket.
//!
//! The count travels inside the reply's [`Bytes`], so it lives exactly as long as the memory does,
//! in HTTP/2's send buffers too. A watch beside each large reply cuts a connection that stops taking
//! data: keepalive alone would not see a peer that answers pings and grants no window.
//!
//! Room is taken before a value is read, by the size that the index names, so that who must wait
//! holds nothing meanwhile. A connection has a share of its own, so that a few that do not read
//! cannot take the room of all others.

use super::budget::{ByteBudget, BytesInFlight, SMALL_MAX, Shed};
use super::connection::Peer;
use super::parted::{self, Carrier};
use crate::model::{Error, ErrorKind};
use bytes::Bytes;
use http::Response;
use http_body::{Body as _, Frame, SizeHint};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tonic::Status;
use tonic::body::Body;

/// What a reply's message has beside its value: its key and a few numbers.
const FRAMING_MAX: usize = 128 * 1024;

/// Counts replies against a budget of their own, so that uploads and downloads do not starve each
/// other.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    budget: Arc<ByteBudget>,
    /// In this time a connection takes at least [`SMALL_MAX`] bytes of what it is owed.
    stall_timeout: Duration,
}

/// Room for a reply, in the budget and in its connection's share. It is held until the reply has
/// left; clones are the same room.
#[derive(Debug, Clone)]
pub(super) struct Room {
    size: usize,
    _held: Option<Arc<(Option<BytesInFlight>, BytesInFlight)>>,
}

impl Room {
    /// Small replies need no room.
    pub(super) const NONE: Self = Self {
        size: 0,
        _held: None,
    };

    fn new(size: usize, own: Option<BytesInFlight>, shared: BytesInFlight) -> Self {
        Self {
            size,
            _held: Some(Arc::new((own, shared))),
        }
    }

    /// Reads what the room was taken for, and gives the room back beside it. Where it is room for
    /// much, the read goes on when the caller has gone, since a thread that reads does, and so does
    /// the room: what is being read is in memory until that ends.
    ///
    /// # Errors
    /// Those of `read`; `Internal` when it panics.
    pub(super) async fn held_while<T: Send + 'static>(
        self,
        read: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<(T, Self), Error> {
        if self.size == 0 {
            return Ok((read.await?, self));
        }
        let reading = tokio::spawn(async move { Ok((read.await?, self)) });
        reading
            .await
            .map_err(|error| Error::internal("TASK_FAILED", format!("a read failed: {error}")))?
    }

    /// Gives the room to the reply that it was taken for, which is encoded behind the handler.
    pub(super) fn attach<T>(self, reply: &mut tonic::Response<T>) {
        if self.size > 0 {
            reply.extensions_mut().insert(self);
        }
    }
}

/// Where one request takes room for its reply before it reads what it answers with.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    delivery: Delivery,
    peer: Option<Peer>,
}

impl Desk {
    /// Room for a reply of this size, waited for.
    ///
    /// # Errors
    /// `Overloaded` (`TOO_MUCH_IN_FLIGHT`) when the budget has no room in time.
    pub(super) async fn room(&self, size: usize) -> Result<Room, Error> {
        let room = self.delivery.room(self.peer.as_ref(), size, 0).await;
        room.map_err(|shed| {
            Error::new(
                ErrorKind::Overloaded,
                "TOO_MUCH_IN_FLIGHT",
                shed.to_string(),
            )
        })
    }

    /// The reply of a message, whose value is empty, with this value, for which room was taken. A
    /// large one is not copied.
    pub(super) fn reply<M: Carrier>(
        &self,
        message: M,
        value: Bytes,
        room: Room,
    ) -> tonic::Response<M> {
        if value.len() <= SMALL_MAX {
            return tonic::Response::new(message.with(value));
        }
        let value = self.delivery.counted(value, room, self.peer.clone());
        parted::reply(&message, value)
    }
}

impl Delivery {
    /// Replies take from `budget`.
    pub(super) fn new(budget: Arc<ByteBudget>, stall_timeout: Duration) -> Self {
        Self {
            budget,
            stall_timeout,
        }
    }

    /// Where a request takes room for its reply.
    pub(super) fn desk<T>(&self, request: &tonic::Request<T>) -> Desk {
        Desk {
            delivery: self.clone(),
            peer: request.extensions().get::<Peer>().cloned(),
        }
    }

    /// Room for a reply of this size, beside what the caller holds in memory. A small reply needs
    /// none.
    async fn room(&self, peer: Option<&Peer>, size: usize, held: usize) -> Result<Room, Shed> {
        if size <= SMALL_MAX {
            return Ok(Room::NONE);
        }
        let own = match peer {
            Some(peer) => Some(peer.owed().take(size).await),
            None => None,
        };
        let shared = self.budget.take(size, held).await?;
        Ok(Room::new(size, own, shared))
    }

    /// The reply, counted when it is large. Its [`Room`] is in its extensions, if it has one.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` when the budget has no room in time; the reply is dropped then.
    pub(super) async fn charge(
        &self,
        mut reply: Response<Body>,
        peer: Option<Peer>,
    ) -> Result<Response<Body>, Status> {
        let mut body = std::mem::take(reply.body_mut());
        let room = reply.extensions_mut().remove::<Room>();
        let first = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let first = match first.transpose()?.map(Frame::into_data) {
            Some(Ok(data)) => {
                let counted = self.charged(data, room, peer).await?;
                Some(Frame::data(counted))
            }
            Some(Err(trailers)) => Some(trailers),
            None => None,
        };
        *reply.body_mut() = Body::new(Delivered { first, rest: body });
        Ok(reply)
    }

    async fn charged(
        &self,
        data: Bytes,
        room: Option<Room>,
        peer: Option<Peer>,
    ) -> Result<Bytes, Status> {
        if data.len() <= SMALL_MAX {
            return Ok(data);
        }
        let room = match room {
            Some(room) if room.size + FRAMING_MAX >= data.len() => room,
            // Never hold some while waiting for more.
            too_small => {
                drop(too_small);
                let room = self.room(peer.as_ref(), data.len(), data.len()).await;
                room.map_err(|shed| Status::resource_exhausted(shed.to_string()))?
            }
        };
        Ok(self.counted(data, room, peer))
    }

    /// Bytes that hold their room for as long as they are in memory, and are watched meanwhile.
    fn counted(&self, data: Bytes, room: Room, peer: Option<Peer>) -> Bytes {
        let (delivered, outcome) = oneshot::channel();
        if let Some(peer) = peer {
            tokio::spawn(watch_delivery(peer, outcome, self.stall_timeout));
        }
        Bytes::from_owner(Counted {
            data,
            _room: room,
            _delivered: delivered,
        })
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
    _room: Room,
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
    use crate::proto::zstdb::ItemReply;
    use http_body_util::{BodyExt as _, Full};
    use std::pin::pin;

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
    async fn room_that_was_taken_before_the_read_is_not_taken_again() {
        let delivery = delivery(Duration::from_millis(20));
        let room = delivery.room(None, 5 * MIB, 0).await.unwrap();
        let mut reply = reply_of(5 * MIB + 100);
        reply.extensions_mut().insert(room);
        let reply = delivery.charge(reply, None).await.unwrap();
        assert!(delivery.room(None, 5 * MIB, 0).await.is_err());
        drop(reply);
        assert!(delivery.room(None, 5 * MIB, 0).await.is_ok());
    }

    #[tokio::test]
    async fn a_value_that_is_not_copied_holds_its_room_until_its_last_byte_is_dropped() {
        let delivery = delivery(Duration::from_millis(20));
        let peer = None;
        let desk = Desk { delivery, peer };
        let room = desk.room(5 * MIB).await.unwrap();
        let value = Bytes::from(vec![7; 5 * MIB]);
        let at = value.as_ptr();
        let reply = desk.reply(ItemReply::default(), value, room);
        let (_, _, extensions) = reply.into_parts();
        let mut answer = Response::new(Body::empty());
        *answer.extensions_mut() = extensions;
        let mut body = parted::put_in_place(answer).into_body();
        let head = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(head.len() < 100);
        let mut value = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((value.as_ptr(), value.len()), (at, 5 * MIB));
        drop((head, body, value.split_to(5 * MIB - 1)));
        assert!(desk.room(5 * MIB).await.is_err());
        drop(value);
        assert!(desk.room(5 * MIB).await.is_ok());
    }

    #[tokio::test]
    async fn a_read_keeps_its_room_when_nobody_waits_for_it_any_more() {
        let delivery = delivery(Duration::from_millis(20));
        let room = delivery.room(None, 5 * MIB, 0).await.unwrap();
        let (end, ended) = oneshot::channel();
        {
            let mut read = pin!(room.held_while(async { Ok(ended.await) }));
            let waits = poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx).is_pending()));
            assert!(waits.await);
        }
        assert!(delivery.room(None, 5 * MIB, 0).await.is_err());
        end.send(()).unwrap();
        while delivery.room(None, 5 * MIB, 0).await.is_err() {}
    }

    #[tokio::test]
    async fn one_connection_cannot_take_it_all() {
        let delivery = delivery(Duration::from_secs(600));
        let greedy = Peer::at(([127, 0, 0, 1], 1).into());
        let _owed = delivery.room(Some(&greedy), MIB, 0).await.unwrap();
        let mut more = pin!(delivery.room(Some(&greedy), MIB, 0));
        let waited = poll_fn(|cx| Poll::Ready(more.as_mut().poll(cx).is_pending()));
        assert!(waited.await);
        let other = Peer::at(([127, 0, 0, 1], 2).into());
        assert!(delivery.room(Some(&other), 4 * MIB, 0).await.is_ok());
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_of_what_it_is_owed_is_cut() {
        let budget = ByteBudget::new(8 * MIB as u64, Duration::from_millis(20));
        let delivery = Delivery::new(budget, Duration::from_millis(20));
        let peer = Peer::at(([127, 0, 0, 1], 1).into());
        let reply = delivery.charge(reply_of(MIB), Some(peer.clone())).await;
        let _owed = reply.unwrap();
        tokio::time::timeout(Duration::from_secs(60), peer.is_cut())
            .await
            .unwrap();
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
