//! The sending side of a stream of messages that are made while the peer takes them.

use super::error::status_of;
use crate::model::{Error, Result};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// The messages of such a stream.
pub(super) type Messages<M> = ReceiverStream<Result<M, Status>>;

/// Why a stream ends before its last message.
pub(super) enum End {
    /// Nobody listens any more.
    Gone,
    /// With an error, which the peer gets when it takes what is on its way.
    Told(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

/// Where messages are put: one waits, and the next is for a peer that takes it in time.
pub(super) struct Outbox<M> {
    sender: mpsc::Sender<Result<M, Status>>,
    stall_timeout: Duration,
}

impl<M> Outbox<M> {
    /// An outbox, and what the peer takes from.
    pub fn new(stall_timeout: Duration) -> (Self, Messages<M>) {
        let (sender, receiver) = mpsc::channel(1);
        let outbox = Self {
            sender,
            stall_timeout,
        };
        (outbox, ReceiverStream::new(receiver))
    }

    /// Waits until there is room for a message. `too_slow` says what happens to a peer that takes
    /// nothing for the timeout.
    pub async fn send(
        &self,
        message: M,
        too_slow: impl FnOnce(Duration) -> Error,
    ) -> Result<(), End> {
        let sent = self.sender.send_timeout(Ok(message), self.stall_timeout);
        sent.await.map_err(|error| match error {
            mpsc::error::SendTimeoutError::Closed(_) => End::Gone,
            mpsc::error::SendTimeoutError::Timeout(_) => End::Told(too_slow(self.stall_timeout)),
        })
    }

    /// Resolves when nobody listens any more.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }

    /// Ends the stream.
    pub async fn end(self, ended: Result<(), End>) {
        if let Err(End::Told(error)) = ended {
            let _peer_has_gone = self.sender.send(Err(status_of(&error))).await;
        }
    }
}
