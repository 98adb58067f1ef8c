//! Scan in pages, and as a stream.

use super::error::status_of;
use super::token::Query;
use super::{door, entry};
use crate::model::{Direction, Error, ErrorKind, Result};
use crate::proto::v1;
use crate::service::{Page, Scan, ScanItem, ScanStream, Service};
use prost::Message as _;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Keys on a page.
const PAGE: door::Count = door::Count {
    field: "page_size",
    default: 100,
    max: 10_000,
};

/// Keys in one message of a stream.
const MESSAGE_KEYS_MAX: usize = 10_000;

/// One page.
pub(super) async fn page(service: &Service, request: v1::ScanRequest) -> Result<v1::ScanResponse> {
    door::namespace(&request.namespace)?;
    let count = PAGE.of(request.page_size)?;
    let query = query_of(&request);
    let last = query.last_of(&request.page_token)?;
    let direction = direction(request.reverse);
    let mut range = door::range(request.selection)?;
    if let Some(last) = &last {
        range = range.after(last.as_bytes(), direction);
    }
    let scan = Scan {
        range,
        direction,
        keys_only: request.keys_only,
        limit: u64::MAX,
    };
    let Page { items, more } = service.scan(&scan).await?.next_page(count).await?;
    let last = items.last().filter(|_| more);
    Ok(v1::ScanResponse {
        next_page_token: last.map_or_else(String::new, |last| query.token_after(&last.key)),
        results: results(items)?,
    })
}

/// What must stay the same from page to page.
fn query_of(request: &v1::ScanRequest) -> Query {
    let lasting = v1::ScanRequest {
        page_size: 0,
        page_token: String::new(),
        ..request.clone()
    };
    Query::new(&lasting.encode_to_vec())
}

fn direction(reverse: bool) -> Direction {
    match reverse {
        false => Direction::Forward,
        true => Direction::Backward,
    }
}

fn results(items: Vec<ScanItem>) -> Result<Vec<v1::ScanResult>> {
    let result = |item| {
        let (entry, value) = entry::entry_and_value(item)?;
        let entry = Some(entry);
        Ok(v1::ScanResult { entry, value })
    };
    items.into_iter().map(result).collect()
}

/// The messages of a stream as they are made.
pub(super) type Messages = ReceiverStream<Result<v1::StreamScanResponse, Status>>;

/// A stream, as the peer takes it.
///
/// It holds `room` until its end, and ends by itself when the peer takes nothing for
/// `stall_timeout`: what a scan sees is pinned meanwhile.
pub(super) async fn stream(
    service: &Service,
    request: v1::StreamScanRequest,
    stall_timeout: Duration,
    room: impl Send + 'static,
) -> Result<Messages> {
    door::namespace(&request.namespace)?;
    let scan = Scan {
        range: door::range(request.selection)?,
        direction: direction(request.reverse),
        keys_only: request.keys_only,
        limit: match request.limit {
            0 => u64::MAX,
            limit => limit,
        },
    };
    let stream = service.scan(&scan).await?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let _room = room;
        send_all(stream, sender, stall_timeout).await;
    });
    Ok(ReceiverStream::new(receiver))
}

async fn send_all(
    mut stream: ScanStream,
    sender: mpsc::Sender<Result<v1::StreamScanResponse, Status>>,
    stall_timeout: Duration,
) {
    loop {
        let page = stream.next_page(MESSAGE_KEYS_MAX).await;
        let message = match page.and_then(|page| results(page.items)) {
            Ok(results) if results.is_empty() => return,
            Ok(results) => Ok(v1::StreamScanResponse { results }),
            Err(error) => Err(status_of(&error)),
        };
        let is_last = message.is_err();
        match sender.send_timeout(message, stall_timeout).await {
            Ok(()) if !is_last => {}
            Ok(()) | Err(mpsc::error::SendTimeoutError::Closed(_)) => return,
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                let message = format!(
                    "scan cut: nothing of it was taken in {stall_timeout:?}; go on behind the last key"
                );
                let error = Error::new(ErrorKind::Conflict, "SCAN_TOO_SLOW", message);
                // Told when the peer takes what is on its way; a peer that has gone drops it.
                let _ = sender.send(Err(status_of(&error))).await;
                return;
            }
        }
    }
}
