//! Measure: what keys hold, told while they are walked.

use super::error::status_of;
use super::{door, snapshot};
use crate::model::Result;
use crate::proto::v1;
use crate::service::{Measuring, Service, Usage};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

type Measured = Result<v1::MeasureResponse, Status>;

/// The messages of a stream as they are made.
pub(super) type Messages = ReceiverStream<Measured>;

/// Begins to measure, as fast as the peer takes what is told.
pub(super) async fn stream(service: &Service, request: v1::MeasureRequest) -> Result<Messages> {
    let namespace = door::namespace(service, &request.namespace)?;
    let range = door::range(request.selection)?;
    let moment = snapshot::moment(service, &request.snapshot).await?;
    let measuring = service.measure(moment, namespace, range);
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(tell_all(measuring, sender));
    Ok(ReceiverStream::new(receiver))
}

async fn tell_all(mut measuring: Measuring, peer: mpsc::Sender<Measured>) {
    while let Some(step) = measuring.next().await.transpose() {
        let has_failed = step.is_err();
        let told = step.map(message).map_err(|error| status_of(&error));
        if peer.send(told).await.is_err() || has_failed {
            return;
        }
    }
}

fn message((usage, whole): (Usage, bool)) -> v1::MeasureResponse {
    v1::MeasureResponse {
        key_count: usage.keys,
        logical_bytes: usage.logical_bytes,
        stored_bytes: usage.stored_bytes,
        freed_bytes: usage.freed_bytes,
        whole,
    }
}
