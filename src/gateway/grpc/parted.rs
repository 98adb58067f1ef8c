//! Replies whose values go out as they are, beside their messages.
//!
//! tonic encodes a message into a buffer of its own, a value of many megabytes with all the rest, on
//! the core that serves its connection. Here a message is parted: its head is encoded, and the
//! value, a field of bytes, follows as it lies in memory. The fields of a message may come in any
//! order, so a reader finds in it what prost would have written.
//!
//! What a handler gives to tonic is an empty message; the parted ones are attached to it, and take
//! its place where the answer enters the connection ([`put_in_place`]), behind every layer. They are
//! never compressed: no service here offers that.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Response as HttpResponse};
use http_body::{Frame, SizeHint};
use prost::Message;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio_stream::{Stream, once};
use tonic::body::Body;
use tonic::{Response, Status};

/// A flag, and four bytes of the message's length.
const PREFIX_SIZE: usize = 5;
/// The longest key and length of a field.
const FIELD_HEAD_SIZE_MAX: usize = 2 * 10;
/// The wire type of a field of bytes.
const LENGTH_DELIMITED: u32 = 2;

/// A message that has a value of any size among its fields.
pub(super) trait Carrier: Message + Default {
    /// The number of that field, which has the type `bytes`.
    const VALUE_TAG: u32;

    /// The message with its value inside.
    #[must_use]
    fn with(self, value: Bytes) -> Self;
}

/// A message on the wire: its head, and the value that follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parted {
    head: Bytes,
    value: Bytes,
}

impl Parted {
    /// `message`, whose value is empty, with this one.
    pub(super) fn new<M: Carrier>(message: &M, value: Bytes) -> Self {
        let mut field = BytesMut::with_capacity(FIELD_HEAD_SIZE_MAX);
        if !value.is_empty() {
            let key = M::VALUE_TAG << 3 | LENGTH_DELIMITED;
            const ROOM: &str = "a buffer grows as it needs";
            prost::encode_length_delimiter(key as usize, &mut field).expect(ROOM);
            prost::encode_length_delimiter(value.len(), &mut field).expect(ROOM);
        }
        let encoded = message.encoded_len();
        let length = u32::try_from(encoded + field.len() + value.len());
        let mut head = BytesMut::with_capacity(PREFIX_SIZE + encoded + field.len());
        head.put_u8(0);
        head.put_u32(length.expect("what one message carries is below 4 GiB"));
        head.put_slice(&message.encode_to_vec());
        head.put_slice(&field);
        Self {
            head: head.freeze(),
            value,
        }
    }
}

/// The answer to a call with one reply.
pub(super) fn reply<M: Carrier>(message: &M, value: Bytes) -> Response<M> {
    let parted = Parted::new(message, value);
    attached(M::default(), once(Ok(parted)))
}

fn attached<T>(
    instead_of: T,
    messages: impl Stream<Item = Result<Parted, Status>> + Send + 'static,
) -> Response<T> {
    let body = Body::new(Messages {
        messages: Box::pin(messages),
        value: Bytes::new(),
        has_ended: false,
    });
    let mut response = Response::new(instead_of);
    let attached = Attached(Arc::new(Mutex::new(body)));
    response.extensions_mut().insert(attached);
    response
}

/// The answer with the messages that are attached to it, if there are any.
pub(super) fn put_in_place(mut answer: HttpResponse<Body>) -> HttpResponse<Body> {
    if let Some(Attached(body)) = answer.extensions_mut().remove::<Attached>() {
        let mut body = body.lock().unwrap_or_else(PoisonError::into_inner);
        *answer.body_mut() = std::mem::take(&mut body);
    }
    answer
}

/// A body on its way through tonic. What is attached must be shared, so it is locked; it is taken once.
#[derive(Clone)]
struct Attached(Arc<Mutex<Body>>);

/// The frames of messages, and how the call ended behind them.
struct Messages<S> {
    messages: Pin<Box<S>>,
    value: Bytes,
    has_ended: bool,
}

impl<S> http_body::Body for Messages<S>
where
    S: Stream<Item = Result<Parted, Status>>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if !self.value.is_empty() {
            let value = std::mem::take(&mut self.value);
            return Poll::Ready(Some(Ok(Frame::data(value))));
        }
        if self.has_ended {
            return Poll::Ready(None);
        }
        let ended = match ready!(self.messages.as_mut().poll_next(cx)) {
            Some(Ok(Parted { head, value })) => {
                self.value = value;
                return Poll::Ready(Some(Ok(Frame::data(head))));
            }
            Some(Err(status)) => status,
            None => Status::ok(""),
        };
        self.has_ended = true;
        let mut trailers = HeaderMap::new();
        let told = ended.add_header(&mut trailers);
        Poll::Ready(Some(told.map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1;
    use crate::proto::zstdb::ItemReply;
    use http_body_util::{BodyExt as _, Collected};
    use proptest::prelude::*;

    /// Lengths around those at which a length takes a byte more, and where prefixes do.
    fn length() -> impl Strategy<Value = usize> {
        let edges = prop::sample::select(vec![0, 1 << 7, 1 << 14, 1 << 16, 1 << 21]);
        (edges, 0_usize..40).prop_map(|(edge, by)| (edge + by).saturating_sub(20))
    }

    fn bytes(len: usize) -> Bytes {
        Bytes::from(vec![0x5a; len])
    }

    /// The message that a reader finds in a frame with its prefix.
    fn read<M: Carrier>(Parted { head, value }: &Parted) -> M {
        let wire = [&head[..], value].concat();
        assert_eq!(wire[0], 0);
        let announced = u32::from_be_bytes(wire[1..PREFIX_SIZE].try_into().unwrap());
        assert_eq!(announced as usize, wire.len() - PREFIX_SIZE);
        M::decode(&wire[PREFIX_SIZE..]).unwrap()
    }

    fn check<M: Carrier + PartialEq>(message: M, value: Bytes) {
        let parted = Parted::new(&message, value.clone());
        assert_eq!(parted.value.as_ptr(), value.as_ptr());
        let usual = message.with(value);
        assert!(read::<M>(&parted) == usual, "{parted:?}");
        let size = parted.head.len() + parted.value.len();
        assert_eq!(size, PREFIX_SIZE + usual.encoded_len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_reader_finds_what_prost_would_have_written(key in length(), value in length(), number: u64) {
            let (key, value) = (bytes(key), bytes(value));
            let reply = ItemReply { key: key.clone(), ver64: number, sum64: !number, ..ItemReply::default() };
            check(reply, value.clone());
            let entry = v1::Entry { key, version: number, size: value.len() as u64, ..v1::Entry::default() };
            let response = v1::GetResponse { entry: Some(entry), ..v1::GetResponse::default() };
            check(response, value);
        }
    }

    #[test]
    fn these_are_the_bytes() {
        let message = ItemReply {
            key: Bytes::from_static(b"k"),
            sum64: 7,
            ..ItemReply::default()
        };
        let parted = Parted::new(&message, bytes(200));
        assert_eq!(*parted.head, *b"\0\0\0\0\xd0\x1a\x01k\x30\x07\x22\xc8\x01");
    }

    async fn sent<T>(response: Response<T>) -> Collected<Bytes> {
        let (_, _, extensions) = response.into_parts();
        let mut answer = HttpResponse::new(Body::empty());
        *answer.extensions_mut() = extensions;
        put_in_place(answer).into_body().collect().await.unwrap()
    }

    #[tokio::test]
    async fn what_is_attached_takes_the_place_of_the_body_and_ends_the_call() {
        let message = ItemReply::default();
        let sent = sent(reply(&message, bytes(100_000))).await;
        assert_eq!(sent.trailers().unwrap()[Status::GRPC_STATUS], "0");
        let wire = sent.to_bytes();
        let found = ItemReply::decode(&wire[PREFIX_SIZE..]).unwrap();
        assert_eq!(found, message.with(bytes(100_000)));
    }
}
