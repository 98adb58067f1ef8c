//! Scan in pages, and as a stream.

use super::outbox::{End, Outbox};
use super::token::Query;
use super::{door, entry, snapshot};
use crate::gateway::grpc::delivery::{Desk, Room};
use crate::gateway::grpc::parted::{self, Carrier, Lister, Parted};
use crate::model::{Direction, Error, ErrorKind, Result};
use crate::proto::v1;
use crate::service::{Page, Scan, ScanItem, ScanStream, Service};
use bytes::Bytes;
use prost::Message as _;
use std::time::Duration;
use tokio_stream::{Empty, StreamExt as _};
use tonic::{Response, Status};

/// Keys on a page.
const PAGE: door::Count = door::Count {
    field: "page_size",
    default: 100,
    max: 10_000,
};

/// Keys in one message of a stream.
const MESSAGE_KEYS_MAX: usize = 10_000;

/// One page.
pub(super) async fn page(
    service: &Service,
    desk: Desk,
    request: v1::ScanRequest,
) -> Result<Response<v1::ScanResponse>> {
    let namespace = door::namespace(service, &request.namespace)?;
    let count = PAGE.of(request.page_size)?;
    let query = query_of(&request);
    let last = query.last_of(&request.page_token)?;
    let direction = direction(request.reverse);
    let mut range = door::range(request.selection)?;
    if let Some(last) = &last {
        range = range.after(last.as_bytes(), direction);
    }
    let scan = Scan {
        namespace,
        range,
        direction,
        keys_only: request.keys_only,
        limit: u64::MAX,
    };
    let moment = snapshot::moment(service, &request.snapshot).await?;
    let mut stream = service.scan(&moment, &scan).await?;
    let room = desk.room(stream.next_size()).await?;
    let read = async move { stream.next_page(count).await };
    let (Page { items, more }, room) = room.held_while(read).await?;
    let last = items.last().filter(|_| more);
    let mut response = Response::new(v1::ScanResponse {
        next_page_token: last.map_or_else(String::new, |last| query.token_after(&last.key)),
        results: items.into_iter().map(whole).collect::<Result<_>>()?,
    });
    room.attach(&mut response);
    Ok(response)
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

fn whole(item: ScanItem) -> Result<v1::ScanResult> {
    result(item).map(|(result, value)| result.with(value))
}

/// What was found, and its value.
fn result(item: ScanItem) -> Result<(v1::ScanResult, Bytes)> {
    let (entry, value) = entry::entry_and_value(item)?;
    let result = v1::ScanResult {
        entry: Some(entry),
        value: Bytes::new(),
    };
    Ok((result, value))
}

impl Carrier for v1::ScanResult {
    const VALUE_TAG: usize = 2;

    fn with(self, value: Bytes) -> Self {
        Self { value, ..self }
    }
}

/// A stream, as the peer takes it.
///
/// It has room for what it holds until its end, and ends by itself when the peer takes nothing for
/// `stall_timeout`: what a scan sees is pinned meanwhile.
pub(super) async fn stream(
    service: &Service,
    desk: Desk,
    request: v1::StreamScanRequest,
    stall_timeout: Duration,
) -> Result<Response<Answered>> {
    let namespace = door::namespace(service, &request.namespace)?;
    let scan = Scan {
        namespace,
        range: door::range(request.selection)?,
        direction: direction(request.reverse),
        keys_only: request.keys_only,
        limit: match request.limit {
            0 => u64::MAX,
            limit => limit,
        },
    };
    let moment = snapshot::moment(service, &request.snapshot).await?;
    let walk = service.scan(&moment, &scan).await?;
    let mut room = StreamRoom::of(desk, walk.next_size()).await?;
    let (outbox, messages) = Outbox::new(stall_timeout);
    tokio::spawn(async move {
        // What it sees is let go before its peer is told of its end.
        let ended = send_all(walk, &mut room, &outbox).await;
        outbox.end(ended).await;
        drop(room);
    });
    // Written when the peer takes it, while the next page is read.
    Ok(parted::replies(messages.map(|page| page.map(message))))
}

/// The messages of a stream leave beside this one of none.
pub(super) type Answered = Empty<std::result::Result<v1::StreamScanResponse, Status>>;

/// What was found on a page, and its values.
type Found = Vec<(v1::ScanResult, Bytes)>;

fn message(found: Found) -> Parted {
    Parted::list(&v1::StreamScanResponse::default(), found.into_iter())
}

impl Lister for v1::StreamScanResponse {
    type Item = v1::ScanResult;
    const LIST_TAG: usize = 1;
}

/// Room for the messages that a stream holds at once.
struct StreamRoom {
    desk: Desk,
    page: usize,
    held: Room,
}

impl StreamRoom {
    /// Messages that are there at once: the next, which is there twice while it is encoded, one that
    /// waits, and one on its way.
    const MESSAGES: usize = 4;

    async fn of(desk: Desk, page: usize) -> Result<Self> {
        let held = desk.room(page.saturating_mul(Self::MESSAGES)).await?;
        Ok(Self { desk, page, held })
    }

    /// Makes room for larger messages. What was held is given back first: nobody holds some while it
    /// waits for more.
    async fn grow(&mut self, page: usize) -> Result<()> {
        if page > self.page {
            self.page = page;
            self.held = Room::NONE;
            self.held = self.desk.room(page.saturating_mul(Self::MESSAGES)).await?;
        }
        Ok(())
    }
}

async fn send_all(
    mut walk: ScanStream,
    room: &mut StreamRoom,
    outbox: &Outbox<Found>,
) -> Result<(), End> {
    loop {
        room.grow(walk.next_size()).await?;
        let page = walk.next_page(MESSAGE_KEYS_MAX).await?;
        if page.items.is_empty() {
            return Ok(());
        }
        let found = page.items.into_iter().map(result).collect::<Result<_>>()?;
        outbox.send(found, too_slow).await?;
    }
}

fn too_slow(stall_timeout: Duration) -> Error {
    let message = format!(
        "scan cut: nothing of it was taken in {stall_timeout:?}; go on behind the last key"
    );
    Error::new(ErrorKind::Conflict, "SCAN_TOO_SLOW", message)
}
