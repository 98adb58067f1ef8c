//! The service `BlobService`: values in streams.

use super::error::status_of;
use super::once::{Content, name_of, once};
use super::outbox::{End, Outbox};
use super::read::{bytes_of, locate};
use super::{BLOB_MESSAGE_SIZE_MAX, Native, answer, content, door, entry, respond, write};
use crate::gateway::grpc::delivery::Desk;
use crate::gateway::grpc::parted::{self, Carrier, Parted};
use crate::model::{Error, ErrorKind, Namespace, Result};
use crate::proto::v1;
use crate::proto::v1::blob_service_server::BlobService;
use crate::proto::v1::download_response::Part as Sent;
use crate::proto::v1::upload_request::Part;
use crate::service::{Download, Put, Service, Upload};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::Empty;
use tonic::{Code, Request, Response, Status, Streaming};

/// Bytes of data in a message.
const DATA_SIZE_MAX: usize = 1 << 20;
/// Messages of a download that are in memory at once: the next, one that waits, one on its way, and
/// what the socket has not taken of the one before.
const MESSAGES_HELD: usize = 4;

/// A download's messages leave beside this stream of none.
type Answered = Empty<Result<v1::DownloadResponse, Status>>;

/// What an upload says of itself.
struct Asked {
    header: v1::UploadHeader,
    namespace: Arc<Namespace>,
}

impl Asked {
    fn of(service: &Service, header: v1::UploadHeader) -> Result<Self> {
        let namespace = door::namespace(service, &header.namespace)?;
        Ok(Self { header, namespace })
    }

    /// The put that stands at its end.
    fn put(&self, service: &Service) -> Result<Put<'_>> {
        let header = &self.header;
        Ok(Put {
            namespace: &self.namespace,
            key: &header.key,
            data: Bytes::new(),
            sum64: header.sum64,
            digest: door::optional_digest(&header.digest, "digest")?,
            rule: door::put_rule(header.condition.clone())?,
            lifetime: door::put_lifetime(header.expiry, &self.namespace, service.now())?,
            attributes: door::attributes(header.value_type, header.metadata.clone())?,
        })
    }
}

/// A client's stream, of which each message comes in time.
pub(super) struct Incoming<T> {
    pub stream: Streaming<T>,
    pub patience: Duration,
}

impl<T> Incoming<T> {
    /// The next message; `None` where the client has ended the stream.
    pub async fn next(&mut self) -> Result<Option<T>, Status> {
        let next = tokio::time::timeout(self.patience, self.stream.message()).await;
        let next = next.map(|next| next.map_err(told_of_size));
        next.unwrap_or_else(|_elapsed| {
            let message = format!(
                "upload cut: no message came in {:?} (server.request_timeout); send it again, what is there is not stored twice",
                self.patience
            );
            Err(status_of(&Error::new(ErrorKind::Timeout, "UPLOAD_STALLED", message)))
        })
    }
}

/// A message that is too large to be read is told as one that was announced so.
fn told_of_size(status: Status) -> Status {
    if status.code() != Code::OutOfRange {
        return status;
    }
    let message = format!(
        "message too large: max={BLOB_MESSAGE_SIZE_MAX}; send the value in messages of up to 1 MiB"
    );
    status_of(&Error::too_large("MESSAGE_TOO_LARGE", message))
}

async fn upload(
    service: &Service,
    mut stream: Incoming<v1::UploadRequest>,
) -> Result<v1::UploadResponse, Status> {
    let told = |error: Error| status_of(&error.inside("header"));
    let mut header = match stream.next().await?.and_then(|first| first.part) {
        Some(Part::Header(header)) => header,
        _ => return Err(out_of_order("the first message is no header")),
    };
    service
        .check_set_allowed()
        .map_err(|error| status_of(&error))?;
    let named = name_of(service, &mut header).map_err(told)?;
    let mut content = named.is_some().then(Content::default);
    let asked = Asked::of(service, header).map_err(told)?;
    let put = asked.put(service).map_err(told)?;
    let mut upload = service.upload(&put).map_err(told)?;
    while let Some(message) = stream.next().await? {
        let data = match message.part {
            Some(Part::Data(data)) => data,
            Some(Part::Header(_)) => return Err(out_of_order("a second header")),
            None => continue,
        };
        check_data(&data).map_err(|error| status_of(&error))?;
        if let Some(content) = &mut content {
            content.push(&data);
        }
        let pushed = upload.push(data).await;
        pushed.map_err(|error| status_of(&error))?;
    }
    let done = match named.zip(content) {
        None => finish(service, upload, asked).await,
        Some((named, content)) => {
            let own = service.clone();
            let work = async move { finish(&own, upload, asked).await };
            once(service, content.of(named), work).await
        }
    };
    done.map_err(told)
}

/// Stores what has come.
async fn finish(service: &Service, upload: Upload, asked: Asked) -> Result<v1::UploadResponse> {
    let put = asked.put(service)?;
    let done = upload.finish(put, asked.header.size).await?;
    Ok(v1::UploadResponse {
        put: Some(v1::PutResponse {
            run: service.run_id(),
            ..write::put_response(done.put)
        }),
        size: done.size,
        sum64: done.sum64,
        new_bytes: done.new_bytes,
    })
}

fn out_of_order(what: &str) -> Status {
    let message = format!("{what}: send one header, then data");
    status_of(&Error::invalid("UPLOAD_ORDER", message).at("part"))
}

/// The data of one message.
fn check_data(data: &Bytes) -> Result<()> {
    if data.len() <= DATA_SIZE_MAX {
        return Ok(());
    }
    let message = format!(
        "data too large: size={}, max={DATA_SIZE_MAX}; send it in more messages",
        data.len()
    );
    Err(Error::too_large("DATA_SIZE", message).at("data"))
}

/// A download, as the peer takes it. It has room for what it holds until its end, and ends by itself
/// when the peer takes nothing for `stall_timeout`.
async fn download(
    service: &Service,
    desk: Desk,
    request: v1::DownloadRequest,
    stall_timeout: Duration,
) -> Result<Response<Answered>> {
    let place = (&*request.namespace, &*request.key, &*request.snapshot);
    let located = locate(service, place).await?;
    let range = located.part(bytes_of(request.range))?;
    let held = MESSAGES_HELD * DATA_SIZE_MAX + located.held_by_download();
    let room = desk.room(held).await?;
    let service = service.clone();
    let begin = async move { service.download(located, range).await };
    let (download, room) = room.held_while(begin).await?;
    let entry = entry::entry(request.key, &download.head)?;
    let (outbox, messages) = Outbox::new(stall_timeout);
    tokio::spawn(async move {
        let ended = send_all(entry, download, &outbox).await;
        outbox.end(ended).await;
        drop(room);
    });
    Ok(parted::replies(messages))
}

async fn send_all(
    entry: v1::Entry,
    mut download: Download,
    outbox: &Outbox<Parted>,
) -> Result<(), End> {
    let first = v1::DownloadResponse {
        part: Some(Sent::Entry(entry)),
    };
    let first = Parted::new(&first, VecDeque::new());
    outbox.send(first, too_slow).await?;
    while let Some(data) = download.next(DATA_SIZE_MAX).await? {
        let message = Parted::new(&v1::DownloadResponse::default(), data);
        outbox.send(message, too_slow).await?;
    }
    Ok(())
}

/// Messages with data, which is their value.
impl Carrier for v1::DownloadResponse {
    const VALUE_TAG: usize = 2;

    fn with(self, value: Bytes) -> Self {
        let part = Some(Sent::Data(value));
        Self { part }
    }
}

fn too_slow(stall_timeout: Duration) -> Error {
    let message =
        format!("download cut: nothing of it was taken in {stall_timeout:?}; go on with a range");
    Error::new(ErrorKind::Conflict, "DOWNLOAD_TOO_SLOW", message)
}

#[tonic::async_trait]
impl BlobService for Native {
    async fn upload(
        &self,
        request: Request<Streaming<v1::UploadRequest>>,
    ) -> Result<Response<v1::UploadResponse>, Status> {
        let stream = self.incoming(request);
        Ok(Response::new(upload(self.service()?, stream).await?))
    }

    type DownloadStream = Answered;

    async fn download(
        &self,
        request: Request<v1::DownloadRequest>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        let desk = self.delivery.desk(&request);
        let service = self.service()?;
        respond(download(service, desk, request.into_inner(), self.timeouts.stall).await)
    }

    async fn find_missing(
        &self,
        request: Request<v1::FindMissingRequest>,
    ) -> Result<Response<v1::FindMissingResponse>, Status> {
        answer(content::find_missing(self.service()?, request.into_inner()).await)
    }

    async fn upload_chunks(
        &self,
        request: Request<Streaming<v1::UploadChunksRequest>>,
    ) -> Result<Response<v1::UploadChunksResponse>, Status> {
        let stream = self.incoming(request);
        let done = content::upload_chunks(self.service()?, stream).await?;
        Ok(Response::new(done))
    }

    async fn put_content(
        &self,
        request: Request<v1::PutContentRequest>,
    ) -> Result<Response<v1::PutContentResponse>, Status> {
        answer(content::put(self.service()?, request.into_inner()).await)
    }
}

impl Native {
    fn incoming<T>(&self, request: Request<Streaming<T>>) -> Incoming<T> {
        Incoming {
            stream: request.into_inner(),
            patience: self.timeouts.message,
        }
    }
}
