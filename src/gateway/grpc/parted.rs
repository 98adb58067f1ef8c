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
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio_stream::{Empty, Stream, empty, once};
use tonic::body::Body;
use tonic::{Response, Status};

/// A flag, and four bytes of the message's length.
const PREFIX_SIZE: usize = 5;
/// Why nothing is too large for a buffer.
const GROWS: &str = "a buffer grows as it needs";
/// Values of a list are copied up to this size. A page of a scan that has a larger one has no other:
/// a value that is not copied would keep the memory of all that were read with it.
const COPIED_MAX: usize = 1 << 20;

/// A message that has a value of any size among its fields.
pub(super) trait Carrier: Message + Default {
    /// The number of that field, which has the type `bytes`.
    const VALUE_TAG: usize;

    /// The message with its value inside.
    #[must_use]
    fn with(self, value: Bytes) -> Self;
}

/// A message that lists others, each with a value.
pub(super) trait Lister: Message {
    /// What it lists.
    type Item: Carrier;
    /// The number of the field that lists them.
    const LIST_TAG: usize;
}

/// A message on the wire: its head, and what follows, its value in pieces.
#[derive(Debug)]
pub(super) struct Parted {
    head: Bytes,
    rest: VecDeque<Bytes>,
}

impl Parted {
    /// `message`, whose value is empty, with the one that these pieces make.
    pub(super) fn new<M: Carrier>(message: &M, value: VecDeque<Bytes>) -> Self {
        let size = value.iter().map(Bytes::len).sum();
        let field = Field::of_value::<M>(size);
        let whole = field.map_or(0, Field::len);
        let mut head = started(message, whole, whole - size);
        field.iter().for_each(|field| field.put_head(&mut head));
        Self {
            head: head.freeze(),
            rest: value,
        }
    }

    /// `message`, whose list is empty, with these items and their values.
    pub(super) fn list<M: Lister>(
        message: &M,
        items: impl Iterator<Item = (M::Item, Bytes)>,
    ) -> Self {
        let tag = M::LIST_TAG;
        let sized = items.map(|(item, value)| {
            let field = Field::of_value::<M::Item>(value.len());
            let size = item.encoded_len() + field.map_or(0, Field::len);
            (Field { tag, size }, item, value)
        });
        let items: Vec<_> = sized.collect();
        let whole = items.iter().map(|(field, ..)| field.len()).sum();
        let values = items.iter().map(|(.., value)| value.len());
        let apart: usize = values.filter(|size| *size > COPIED_MAX).sum();
        let mut written = started(message, whole, whole - apart);
        let mut parts = VecDeque::new();
        for (field, item, value) in items {
            field.put_head(&mut written);
            item.encode(&mut written).expect(GROWS);
            let field = Field::of_value::<M::Item>(value.len());
            field.iter().for_each(|field| field.put_head(&mut written));
            match value.len() > COPIED_MAX {
                true => parts.extend([written.split().freeze(), value]),
                false => written.put_slice(&value),
            }
        }
        parts.extend((!written.is_empty()).then(|| written.freeze()));
        let head = parts.pop_front().unwrap_or_default();
        Self { head, rest: parts }
    }
}

/// A message with its prefix, to which fields of `more` bytes come, `here` of them into its buffer.
fn started(message: &impl Message, more: usize, here: usize) -> BytesMut {
    let encoded = message.encoded_len();
    let length = u32::try_from(encoded + more);
    let mut written = BytesMut::with_capacity(PREFIX_SIZE + encoded + here);
    written.put_u8(0);
    written.put_u32(length.expect("what one message carries is below 4 GiB"));
    message.encode(&mut written).expect(GROWS);
    written
}

/// A field of so many bytes, or of a message of so many.
#[derive(Debug, Clone, Copy)]
struct Field {
    tag: usize,
    size: usize,
}

impl Field {
    /// The wire type of such fields.
    const LENGTH_DELIMITED: usize = 2;

    /// The field of a value, which is not there when that is empty.
    fn of_value<M: Carrier>(size: usize) -> Option<Self> {
        let tag = M::VALUE_TAG;
        (size > 0).then_some(Self { tag, size })
    }

    fn key(self) -> usize {
        self.tag << 3 | Self::LENGTH_DELIMITED
    }

    /// Bytes of all of it.
    fn len(self) -> usize {
        [self.key(), self.size]
            .map(prost::length_delimiter_len)
            .iter()
            .sum::<usize>()
            + self.size
    }

    fn put_head(self, written: &mut BytesMut) {
        for number in [self.key(), self.size] {
            prost::encode_length_delimiter(number, written).expect(GROWS);
        }
    }
}

/// The answer to a call with one reply.
pub(super) fn reply<M: Carrier>(message: &M, value: Bytes) -> Response<M> {
    let parted = Parted::new(message, VecDeque::from([value]));
    attached(M::default(), once(Ok(parted)))
}

/// The answer to a call with a stream of replies.
pub(super) fn replies<M>(
    messages: impl Stream<Item = Result<Parted, Status>> + Send + 'static,
) -> Response<Empty<Result<M, Status>>> {
    attached(empty(), messages)
}

fn attached<T>(
    instead_of: T,
    messages: impl Stream<Item = Result<Parted, Status>> + Send + 'static,
) -> Response<T> {
    let body = Body::new(Messages {
        messages: Box::pin(messages),
        rest: VecDeque::new(),
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
    rest: VecDeque<Bytes>,
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
        if let Some(piece) = self.rest.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if self.has_ended {
            return Poll::Ready(None);
        }
        let ended = match ready!(self.messages.as_mut().poll_next(cx)) {
            Some(Ok(Parted { head, rest })) => {
                self.rest = rest;
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

    /// The message that a reader finds behind its prefix.
    fn read<M: Message + Default>(Parted { head, rest }: &Parted) -> M {
        let mut wire = head.to_vec();
        wire.extend(rest.iter().flatten());
        assert_eq!(wire[0], 0);
        let announced = u32::from_be_bytes(wire[1..PREFIX_SIZE].try_into().unwrap());
        assert_eq!(announced as usize, wire.len() - PREFIX_SIZE);
        M::decode(&wire[PREFIX_SIZE..]).unwrap()
    }

    fn check<M: Carrier + PartialEq>(message: M, value: Bytes) {
        let mut rest = value.clone();
        let first = rest.split_to(value.len() / 3);
        let parted = Parted::new(&message, [first, rest].into());
        assert_eq!(parted.rest[0].as_ptr(), value.as_ptr());
        let usual = message.with(value);
        assert!(read::<M>(&parted) == usual, "{parted:?}");
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
            check(response, value.clone());
            // Of these, those without data have no such field.
            if !value.is_empty() {
                check(v1::DownloadResponse::default(), value);
            }
        }
    }

    impl Lister for v1::ScanResponse {
        type Item = v1::ScanResult;
        const LIST_TAG: usize = 1;
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_list_has_all_its_items(values in prop::collection::vec(length(), 0..6), token in ".{0,9}") {
            let items: Vec<_> = values.into_iter().map(|size| {
                let entry = v1::Entry { size: size as u64, ..v1::Entry::default() };
                let entry = (size != 7).then_some(entry);
                (v1::ScanResult { entry, ..v1::ScanResult::default() }, bytes(size))
            }).collect();
            let message = v1::ScanResponse { next_page_token: token, ..v1::ScanResponse::default() };
            let parted = Parted::list(&message, items.clone().into_iter());
            let large = items.iter().filter(|(_, value)| value.len() > COPIED_MAX);
            let as_they_lie = |value: &Bytes| parted.rest.iter().any(|it| it.as_ptr() == value.as_ptr());
            prop_assert!(large.clone().all(|(_, value)| as_they_lie(value)));
            let results = items.into_iter().map(|(item, value)| item.with(value));
            let usual = v1::ScanResponse { results: results.collect(), ..message };
            prop_assert!(read::<v1::ScanResponse>(&parted) == usual);
        }
    }

    #[test]
    fn these_are_the_bytes() {
        let message = ItemReply {
            key: Bytes::from_static(b"k"),
            sum64: 7,
            ..ItemReply::default()
        };
        let parted = Parted::new(&message, [bytes(200)].into());
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

    #[tokio::test]
    async fn an_error_behind_messages_is_told_in_the_trailers() {
        let first = Parted::new(&ItemReply::default(), [bytes(1), bytes(2)].into());
        let messages = [Ok(first), Err(Status::aborted("too slow"))];
        let sent = sent(replies::<ItemReply>(tokio_stream::iter(messages))).await;
        let trailers = sent.trailers().unwrap().clone();
        assert_eq!(trailers[Status::GRPC_STATUS], "10");
        assert_eq!(sent.to_bytes().len(), PREFIX_SIZE + 2 + 3);
    }
}
