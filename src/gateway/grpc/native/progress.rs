//! Work that takes its time, and a stream that tells how far it is.

use super::error::status_of;
use crate::model::{Error, Result};
use crate::proto::v1;
use std::future::Future;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Between two messages.
const PAUSE: Duration = Duration::from_millis(200);

/// The messages of such a stream.
pub(super) type Messages<M> = ReceiverStream<Result<M, Status>>;

/// Where work tells how far it is.
pub(super) type Gauge = watch::Sender<v1::BackupProgress>;

/// Runs `work` to its end, even if nobody listens any more. The stream is what `gauge` says now and
/// then, and what the work comes to.
pub(super) fn told<M: From<v1::BackupProgress> + Send + 'static>(
    gauge: &Gauge,
    work: impl Future<Output = Result<M>> + Send + 'static,
) -> Messages<M> {
    let (sender, receiver) = mpsc::channel(1);
    let mut progress = gauge.subscribe();
    let mut work = tokio::spawn(work);
    tokio::spawn(async move {
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                () = tokio::time::sleep(PAUSE) => {}
            }
            // An error means that the gauge is gone: the end is near.
            if progress.has_changed().unwrap_or(false) {
                let message = M::from(*progress.borrow_and_update());
                if sender.send(Ok(message)).await.is_err() {
                    return;
                }
            }
        };
        let lost = |error| Error::internal("TASK_FAILED", format!("a task failed: {error}"));
        let done = done.map_err(lost).and_then(|done| done);
        let _peer_has_gone = sender.send(done.map_err(|error| status_of(&error))).await;
    });
    ReceiverStream::new(receiver)
}
