//! The opening of a request body: read just far enough to know how long its message is.
//!
//! A gRPC message is a flag byte, a 4-byte big-endian length, and that many bytes.

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::Status;
use tonic::body::Body;

const PREFIX_SIZE: usize = 5;

/// A body whose first frames were read.
pub(super) struct Opening {
    first: Option<Bytes>,
    /// Usually there are none.
    more: VecDeque<Bytes>,
    head_len: usize,
    rest: Body,
    /// Bytes of the message; `None` when the body ended before it said so.
    message_len: Option<usize>,
}

impl Opening {
    /// Reads frames until the length prefix is complete; usually that is one frame.
    ///
    /// # Errors
    /// What the connection says when it breaks.
    pub(super) async fn read(mut body: Body) -> Result<Self, Status> {
        let (mut first, mut more) = (None, VecDeque::new());
        let mut prefix = [0; PREFIX_SIZE];
        let mut head_len = 0;
        while head_len < PREFIX_SIZE {
            let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            let Some(frame) = frame.transpose()? else {
                break;
            };
            let Ok(data) = frame.into_data() else { break };
            if data.is_empty() {
                continue;
            }
            let known = data.len().min(PREFIX_SIZE - head_len);
            prefix[head_len..head_len + known].copy_from_slice(&data[..known]);
            head_len += data.len();
            match first {
                None => first = Some(data),
                Some(_) => more.push_back(data),
            }
        }
        Ok(Self {
            first,
            more,
            head_len,
            rest: body,
            message_len: (head_len >= PREFIX_SIZE).then(|| message_len(prefix)),
        })
    }

    /// Bytes of the message, as announced.
    pub(super) fn message_len(&self) -> Option<usize> {
        self.message_len
    }

    /// Bytes that are in memory already.
    pub(super) fn head_len(&self) -> usize {
        self.head_len
    }

    /// The whole body again, of as many messages as it has.
    pub(super) fn into_stream(self) -> Body {
        Self {
            message_len: Some(usize::MAX),
            ..self
        }
        .into_body()
    }

    /// The whole body again, which ends in an error if it is longer than its one message.
    pub(super) fn into_body(self) -> Body {
        let left = match self.message_len {
            Some(len) => len.saturating_add(PREFIX_SIZE),
            None => self.head_len,
        };
        Body::new(OneMessage {
            first: self.first,
            more: self.more,
            rest: self.rest,
            left,
        })
    }
}

fn message_len([_flag, length @ ..]: [u8; PREFIX_SIZE]) -> usize {
    usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX)
}

struct OneMessage {
    first: Option<Bytes>,
    more: VecDeque<Bytes>,
    rest: Body,
    left: usize,
}

impl OneMessage {
    fn checked(&mut self, data: Bytes) -> Result<Frame<Bytes>, Status> {
        self.left = self.left.checked_sub(data.len()).ok_or_else(|| {
            Status::invalid_argument("request body goes on after its message: send one message")
        })?;
        Ok(Frame::data(data))
    }
}

impl http_body::Body for OneMessage {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let read = self.first.take().or_else(|| self.more.pop_front());
        if let Some(data) = read {
            return Poll::Ready(Some(self.checked(data)));
        }
        let frame = match ready!(Pin::new(&mut self.rest).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            ended => return Poll::Ready(ended),
        };
        Poll::Ready(Some(match frame.into_data() {
            Ok(data) => self.checked(data),
            Err(trailers) => Ok(trailers),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.more.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, StreamBody};

    /// A body of these data frames.
    pub(in super::super) fn body_of(frames: &[&'static [u8]]) -> Body {
        let frames: Vec<_> = frames
            .iter()
            .map(|data| Ok::<_, Status>(Frame::data(Bytes::from_static(data))))
            .collect();
        Body::new(StreamBody::new(tokio_stream::iter(frames)))
    }

    #[tokio::test]
    async fn the_length_is_known_however_the_prefix_is_cut() {
        let whole: &[&[u8]] = &[b"\0\0\0\0\x03abc"];
        let pieces: &[&[u8]] = &[b"\0", b"", b"\0\0", b"\0\x03a", b"bc"];
        for frames in [whole, pieces] {
            let opening = Opening::read(body_of(frames)).await.unwrap();
            assert_eq!(opening.message_len(), Some(3));
            let bytes = opening.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(bytes.as_ref(), b"\0\0\0\0\x03abc");
        }
    }

    #[tokio::test]
    async fn only_what_the_prefix_needs_is_read() {
        let opening = Opening::read(body_of(&[b"\0\0\0\0\x06ab", b"cdef"]))
            .await
            .unwrap();
        assert_eq!(opening.head_len(), 7);
    }

    #[tokio::test]
    async fn a_body_that_ends_in_its_prefix_has_no_length() {
        let opening = Opening::read(body_of(&[b"\0\0"])).await.unwrap();
        assert_eq!(opening.message_len(), None);
        let bytes = opening.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(bytes.as_ref(), b"\0\0");
    }

    #[tokio::test]
    async fn a_second_message_is_an_error() {
        for frames in [
            [&b"\0\0\0\0\x01a"[..], b"\0\0\0\0\x01b"],
            [&b"\0\0\0\0\x01a\0"[..], b""],
        ] {
            let opening = Opening::read(body_of(&frames)).await.unwrap();
            let error = opening.into_body().collect().await.unwrap_err();
            assert_eq!(error.code(), tonic::Code::InvalidArgument);
        }
    }
}
