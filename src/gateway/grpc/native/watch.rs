//! The service `WatchService`: changes, as the peer takes them.

use super::error::status_of;
use super::{Native, answer, door, entry};
use crate::gateway::grpc::delivery::Desk;
use crate::model::{Error, ErrorKind, Result, Version};
use crate::proto::v1;
use crate::proto::v1::watch_service_server::WatchService;
use crate::service::{Happened, Service, WatchEvent, WatchPage, WatchQuery, Watching};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// What a watch holds while it has something to tell: what is read ahead, and the messages on their
/// way.
const HELD: usize = 1024 * 1024;

/// The messages of a stream as they are made.
type Messages = ReceiverStream<Result<v1::WatchResponse, Status>>;
type Sender = mpsc::Sender<Result<v1::WatchResponse, Status>>;

#[tonic::async_trait]
impl WatchService for Native {
    type WatchStream = Messages;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Messages>, Status> {
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
) -> Result<Messages> {
    let namespace = door::namespace(service, &request.namespace)?;
    let progress_interval = door::progress_interval(request.progress_interval)?;
    let query = WatchQuery {
        namespace,
        range: door::range(request.selection)?,
        after: request.after_version.map(Version),
        values: request.include_values,
    };
    let watching = service.watch(query).await?;
    let (sender, receiver) = mpsc::channel(1);
    let teller = Teller {
        sender,
        desk,
        stall_timeout,
        progress_interval,
        told: watching.version(),
        last: Instant::now(),
    };
    tokio::spawn(teller.run(watching));
    Ok(ReceiverStream::new(receiver))
}

/// What a stream tells its peer.
struct Teller {
    sender: Sender,
    desk: Desk,
    stall_timeout: Duration,
    progress_interval: Duration,
    /// The version that was told last, and when.
    told: Version,
    last: Instant,
}

/// Why a stream ends.
enum End {
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

impl Teller {
    async fn run(mut self, watching: Watching) {
        if let Err(End::Told(error)) = self.tell_all(watching).await {
            let _peer_has_gone = self.sender.send(Err(status_of(&error))).await;
        }
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
            () = self.sender.closed() => Err(End::Gone),
        }
    }

    async fn tell(&mut self, events: Vec<v1::WatchEvent>, version: Version) -> Result<(), End> {
        let message = v1::WatchResponse {
            events,
            version: version.0,
        };
        let sent = self.sender.send_timeout(Ok(message), self.stall_timeout);
        match sent.await {
            Ok(()) => {}
            Err(mpsc::error::SendTimeoutError::Closed(_)) => return Err(End::Gone),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                return Err(too_slow(self.stall_timeout, self.told).into());
            }
        }
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
