//! Values that are stored in chunks, and the calls that carry them in streams.

use crate::call::Answer;
use crate::model::sums_of;
use crate::support::{PATIENCE, noise};
use bytes::Bytes;
use shardkeep::codec::Cutter;
use shardkeep::proto::v1;
use shardkeep::proto::v1::blob_service_client::BlobServiceClient;
use shardkeep::proto::v1::download_response::Part as Sent;
use shardkeep::proto::v1::upload_request::Part;
use std::sync::LazyLock;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

const MIB: usize = 1 << 20;

/// The largest value that an answer holds (`server.max_upload_size`): some of the large ones are larger.
pub const ANSWER_MAX: usize = 10 * MIB;

/// Bytes of data in a message.
const MESSAGE_SIZE: usize = 777_777;

type Blobs = BlobServiceClient<Channel>;

/// A value with what a client knows of it that cuts for itself.
#[derive(Debug)]
pub struct Large {
    pub value: Bytes,
    pub chunks: Vec<Bytes>,
}

/// All that are drawn. Most have chunks in common with others, one has many times the same.
pub static LARGE: LazyLock<Vec<Large>> = LazyLock::new(|| {
    let plain = noise(900, 9 * MIB + 12_345);
    let inserted = [&plain[..4 * MIB], &noise(901, 70_000), &plain[4 * MIB..]].concat();
    let longer = [&plain[..], &noise(902, 3 * MIB)].concat();
    let other = noise(903, 11 * MIB + 1);
    let zeros = vec![0; 9 * MIB];
    let all = [plain, inserted, longer, other, zeros].into_iter();
    all.map(Large::of).collect()
});

impl Large {
    fn of(value: Vec<u8>) -> Self {
        let mut cutter = Cutter::default();
        cutter.push(&value);
        let chunks = std::iter::from_fn(|| cutter.last_chunk()).collect();
        let value = Bytes::from(value);
        Self { value, chunks }
    }
}

/// The put that an upload is.
pub fn put_of_upload(header: &v1::UploadHeader, value: &Bytes) -> v1::PutRequest {
    v1::PutRequest {
        namespace: header.namespace.clone(),
        key: header.key.clone(),
        condition: header.condition.clone(),
        expiry: header.expiry,
        value_type: header.value_type,
        metadata: header.metadata.clone(),
        value: value.clone(),
        ..v1::PutRequest::default()
    }
}

/// An upload that says what `put` does.
pub fn upload_of_put(put: v1::PutRequest) -> (v1::UploadHeader, Bytes) {
    let (digest, sum64) = sums_of(&put.value);
    let header = v1::UploadHeader {
        namespace: put.namespace,
        key: put.key,
        condition: put.condition,
        expiry: put.expiry,
        size: Some(put.value.len() as u64),
        sum64: Some(sum64),
        digest,
        value_type: put.value_type,
        metadata: put.metadata,
        request_id: put.request_id,
        only_run: 0,
    };
    (header, put.value)
}

/// The put that a put of what is there is.
pub fn put_of_content(request: &v1::PutContentRequest, which: usize) -> v1::PutRequest {
    v1::PutRequest {
        namespace: request.namespace.clone(),
        key: request.key.clone(),
        condition: request.condition.clone(),
        expiry: request.expiry,
        value_type: request.value_type,
        metadata: request.metadata.clone(),
        value: LARGE[which].value.clone(),
        ..v1::PutRequest::default()
    }
}

/// A put of a value whose bytes are there, or are sent chunk by chunk.
pub fn content_of_put(put: &v1::PutRequest) -> v1::PutContentRequest {
    let (digest, sum64) = sums_of(&put.value);
    v1::PutContentRequest {
        namespace: put.namespace.clone(),
        key: put.key.clone(),
        condition: put.condition.clone(),
        expiry: put.expiry,
        digest,
        chunks: Vec::new(),
        size: Some(put.value.len() as u64),
        sum64: Some(sum64),
        value_type: put.value_type,
        metadata: put.metadata.clone(),
        request_id: put.request_id.clone(),
        only_run: 0,
    }
}

/// Sends a value in a stream.
pub async fn upload(
    blobs: &mut Blobs,
    header: v1::UploadHeader,
    value: &Bytes,
) -> Result<Answer, Status> {
    let done = blobs.upload(tokio_stream::iter(messages(header, value)));
    Ok(Answer::Upload(done.await?.into_inner()))
}

/// Sends the beginning of a value, and goes away.
pub async fn upload_in_part(
    blobs: &mut Blobs,
    header: v1::UploadHeader,
    part: Bytes,
) -> Result<Answer, Status> {
    let (sender, sent) = mpsc::channel(1);
    let sending = async move {
        for message in messages(header, &part) {
            if sender.send(message).await.is_err() {
                break;
            }
        }
        sender
    };
    let sender = tokio::select! {
        answered = blobs.upload(ReceiverStream::new(sent)) => {
            return Ok(Answer::Upload(answered?.into_inner()));
        }
        sender = sending => sender,
    };
    // The end of the messages would be the end of the value: they end with the call.
    sender.closed().await;
    Ok(Answer::WentAway)
}

fn messages(header: v1::UploadHeader, value: &Bytes) -> Vec<v1::UploadRequest> {
    let data = value
        .chunks(MESSAGE_SIZE)
        .map(|piece| Part::Data(value.slice_ref(piece)));
    let parts = std::iter::once(Part::Header(header)).chain(data);
    parts
        .map(|part| v1::UploadRequest { part: Some(part) })
        .collect()
}

/// Puts a value of which only that is sent which is not there.
pub async fn put_content(
    blobs: &mut Blobs,
    request: v1::PutContentRequest,
    chunks: &[Bytes],
) -> Result<Answer, Status> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let whole = vec![request.digest.clone()];
        let mut request = request.clone();
        if !missing(blobs, whole).await?.is_empty() {
            send_missing(blobs, chunks).await?;
            request.chunks = chunks.iter().map(listed).collect();
        }
        match blobs.put_content(request).await {
            // What was found stays for the grace time, which may be over.
            Err(status) if is_gone_again(&status) && Instant::now() < deadline => {}
            done => return Ok(Answer::PutContent(done?.into_inner())),
        }
    }
}

fn is_gone_again(status: &Status) -> bool {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.as_str());
    matches!(reason, Some("CHUNKS_MISSING" | "CONTENT_NOT_FOUND"))
}

async fn send_missing(blobs: &mut Blobs, chunks: &[Bytes]) -> Result<(), Status> {
    let digests = chunks.iter().map(|chunk| sums_of(chunk).0).collect();
    let missing = missing(blobs, digests).await?;
    let lacks = chunks
        .iter()
        .filter(|chunk| missing.contains(&sums_of(chunk).0));
    let sent: Vec<_> = lacks
        .map(|chunk| v1::UploadChunksRequest {
            digest: sums_of(chunk).0,
            data: chunk.clone(),
        })
        .collect();
    blobs.upload_chunks(tokio_stream::iter(sent)).await?;
    Ok(())
}

async fn missing(blobs: &mut Blobs, digests: Vec<Bytes>) -> Result<Vec<Bytes>, Status> {
    let request = v1::FindMissingRequest { digests };
    let found = blobs.find_missing(request).await?.into_inner();
    Ok(found.missing_digests)
}

fn listed(chunk: &Bytes) -> v1::Chunk {
    v1::Chunk {
        digest: sums_of(chunk).0,
        size: chunk.len() as u32,
    }
}

/// Reads a value in a stream.
pub async fn download(blobs: &mut Blobs, request: v1::DownloadRequest) -> Result<Answer, Status> {
    let mut stream = blobs.download(request).await?.into_inner();
    let (mut entry, mut value) = (None, Vec::new());
    while let Some(message) = stream.message().await? {
        match message.part {
            Some(Sent::Entry(it)) if entry.is_none() => entry = Some(it),
            Some(Sent::Data(data)) if entry.is_some() => value.extend_from_slice(&data),
            part => return Err(Status::internal(format!("out of order: {part:?}"))),
        }
    }
    Ok(Answer::Download(entry, value.into()))
}
