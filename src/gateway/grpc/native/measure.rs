//! Measure: what keys hold, told while they are walked.

use super::outbox::{End, Messages, Outbox};
use super::{door, snapshot};
use crate::model::{Error, ErrorKind, Result};
use crate::proto::v1;
use crate::service::{Measuring, Service, Usage};
use std::time::Duration;

/// Begins to measure, as fast as the peer takes what is told. It ends by itself when the peer takes
/// nothing for `stall_timeout`: the moment that it measures is pinned meanwhile.
pub(super) async fn stream(
    service: &Service,
    request: v1::MeasureRequest,
    stall_timeout: Duration,
) -> Result<Messages<v1::MeasureResponse>> {
    let namespace = door::namespace(service, &request.namespace)?;
    let range = door::range(request.selection)?;
    let moment = snapshot::moment(service, &request.snapshot).await?;
    let measuring = service.measure(moment, namespace, range);
    let (outbox, messages) = Outbox::new(stall_timeout);
    tokio::spawn(async move {
        // What it sees is let go before its peer is told of its end.
        let ended = tell_all(measuring, &outbox).await;
        outbox.end(ended).await;
    });
    Ok(messages)
}

async fn tell_all(
    mut measuring: Measuring,
    outbox: &Outbox<v1::MeasureResponse>,
) -> Result<(), End> {
    while let Some(step) = measuring.next().await? {
        outbox.send(message(step), too_slow).await?;
    }
    Ok(())
}

fn too_slow(stall_timeout: Duration) -> Error {
    let message =
        format!("measurement cut: nothing of it was taken in {stall_timeout:?}; begin it again");
    Error::new(ErrorKind::Conflict, "MEASURE_TOO_SLOW", message)
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
