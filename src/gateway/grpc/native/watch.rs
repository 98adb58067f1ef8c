//! The service `WatchService`: changes, as the peer takes them.

use super::outbox::{End, Messages, Outbox};
use super::{Native, answer, door, entry};
use crate::gateway::grpc::delivery::Desk;
use crate::model::{Error, ErrorKind, Result, Version};
use crate::proto::v1;
use crate::proto::v1::watch_service_server::WatchService;
use crate::service::{Happened, Service, WatchEvent, WatchPage, WatchQuery, Watching};
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

/// What a watch holds while it has something to tell: what is read ahead, and the messages on their
/// way.
const HELD: usize = 1024 * 1024;

#[tonic::async_trait]
impl WatchService for Native {
    type WatchStream = Messages<v1::WatchResponse>;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let desk = self.delivery.desk(&request);
        let begun = begin(
            self.service()?,
            desk,
            request.into_inner(),
            self.timeouts.stall,
        )
        .await;
        answer(begun)
    }
}

async fn begin(
    service: &Service,
    desk: Desk,
    request: v1::WatchRequest,
    stall_timeout: Duration,
) -> Result<Messages<v1::WatchResponse>> {
    let namespace = door::namespace(service, &request.namespace)?;
    let progress_interval = door::progress_interval(request.progress_interval)?;
    let query = WatchQuery {
        namespace,
        range: door::range(request.selection)?,
        after: request.after_version.map(Version),
        values: request.include_values,
    };
    let watching = service.watch(query).await?;
    let (outbox, messages) = Outbox::new(stall_timeout);
    let teller = Teller {
        outbox,
        desk,
        progress_interval,
        told: watching.version(),
        last: Instant::now(),
    };
    tokio::spawn(teller.run(watching));
    Ok(messages)
}

/// What a stream tells its peer.
struct Teller {
    outbox: Outbox<v1::WatchResponse>,
    desk: Desk,
    progress_interval: Duration,
    /// The version that was told last, and when.
    told: Version,
    last: Instant,
}

impl Teller {
    async fn run(mut self, watching: Watching) {
        let ended = self.tell_all(watching).await;
        self.outbox.end(ended).await;
    }

    async fn tell_all(&mut self, mut watching: Watching) -> Result<(), End> {
        self.tell(Vec::new(), watching.version()).await?;
        loop {
            let room = self.desk.room(HELD).await?;
            let (same, page) = watching.next_page().await?;
            watching = same;
            let WatchPage {
                events,
                version,
                more,
            } = page;
            let is_due = version > self.told && self.last.elapsed() >= self.progress_interval;
            if !events.is_empty() || is_due {
                let events = events.into_iter().map(message).collect::<Result<_>>()?;
                self.tell(events, version).await?;
            }
            drop(room);
            if !more {
                self.wait(&mut watching).await?;
            }
        }
    }

    /// Until there is something new, or it is time to tell how far the watch is.
    async fn wait(&self, watching: &mut Watching) -> Result<(), End> {
        let due = (watching.version() > self.told).then(|| self.last + self.progress_interval);
        let time_to_tell = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = watching.changed() => Ok(changed?),
            () = time_to_tell => Ok(()),
            () = self.outbox.closed() => Err(End::Gone),
        }
    }

    async fn tell(&mut self, events: Vec<v1::WatchEvent>, version: Version) -> Result<(), End> {
        let message = v1::WatchResponse {
            events,
            version: version.0,
        };
        let too_slow = |stall_timeout| too_slow(stall_timeout, self.told);
        self.outbox.send(message, too_slow).await?;
        self.told = version;
        self.last = Instant::now();
        Ok(())
    }
}

fn too_slow(stall_timeout: Duration, told: Version) -> Error {
    let message = format!(
        "watch cut: nothing of it was taken in {stall_timeout:?}; watch again after version {told}, or the last that you have seen"
    );
    Error::new(ErrorKind::Conflict, "WATCH_TOO_SLOW", message)
}

fn message(event: WatchEvent) -> Result<v1::WatchEvent> {
    let WatchEvent { key, version, what } = event;
    let plain = |kind: v1::WatchEventType| v1::WatchEvent {
        r#type: kind.into(),
        key: key.clone(),
        version: version.0,
        ..v1::WatchEvent::default()
    };
    Ok(match what {
        Happened::Deleted => plain(v1::WatchEventType::Delete),
        Happened::Expired => plain(v1::WatchEventType::Expire),
        Happened::Put { head, value } => v1::WatchEvent {
            entry: Some(entry::entry(key.clone(), &head)?),
            value_included: value.is_some(),
            value: value.unwrap_or_default(),
            ..plain(v1::WatchEventType::Put)
        },
    })
}
