//! Request bodies that have ended only where their clients have ended them.
//!
//! A stream that was reset has no end. hyper takes one that was reset with `NO_ERROR` for one that has
//! ended, and tonic one with `CANCEL`: an upload that its client took back would be a shorter value. So
//! both are errors here, and none that tonic has a word of its own for.

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::Status;

/// The body of a request as it comes in.
pub(super) struct Received(Incoming);

impl Received {
    /// A body of which nothing was read.
    pub(super) fn new(body: Incoming) -> Self {
        Self(body)
    }
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll_frame(cx)) {
            Some(Ok(frame)) => Some(Ok(frame)),
            None if self.0.is_end_stream() => None,
            Some(Err(_)) | None => Some(Err(cut_off())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// Nobody is there to be told, but for the log.
fn cut_off() -> Status {
    Status::aborted("the request was cut off before its end")
}
