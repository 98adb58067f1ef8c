//! `FindMissing`, `UploadChunks` and `PutContent`: values whose bytes are there, or come in chunks.

use super::blob::Incoming;
use super::error::status_of;
use super::once::{name_of, once};
use super::{door, entry, write};
use crate::model::{Chunk, Error, Result};
use crate::proto::v1;
use crate::service::{Put, Service};
use bytes::Bytes;
use tonic::Status;

/// Digests of one `FindMissing`.
const DIGESTS_MAX: usize = 10_000;

/// Tells what is not there.
pub(super) async fn find_missing(
    service: &Service,
    request: v1::FindMissingRequest,
) -> Result<v1::FindMissingResponse> {
    let count = request.digests.len();
    if count > DIGESTS_MAX {
        let message =
            format!("too many digests: count={count}, max={DIGESTS_MAX}; ask in several calls");
        return Err(Error::too_large("TOO_MANY_DIGESTS", message).at("digests"));
    }
    let numbered = request.digests.iter().enumerate();
    let digests: Result<Vec<_>> = numbered
        .map(|(number, digest)| {
            let digest = door::digest(digest, "digest");
            digest.map_err(|error| {
                Error::invalid("DIGEST_SIZE", error.message().to_owned())
                    .at(format!("digests[{number}]"))
            })
        })
        .collect();
    let missing = service.find_missing(digests?).await?;
    Ok(v1::FindMissingResponse {
        missing_digests: missing.into_iter().map(entry::digest).collect(),
    })
}

/// Stores chunks as they come.
pub(super) async fn upload_chunks(
    service: &Service,
    mut stream: Incoming<v1::UploadChunksRequest>,
) -> Result<v1::UploadChunksResponse, Status> {
    let told = |error: Error| status_of(&error);
    let mut intake = service.intake().map_err(told)?;
    while let Some(v1::UploadChunksRequest { data, digest }) = stream.next().await? {
        let digest = door::optional_digest(&digest, "digest").map_err(told)?;
        intake.push(data, digest).await.map_err(told)?;
    }
    let taken = intake.finish().await.map_err(told)?;
    Ok(v1::UploadChunksResponse {
        chunk_count: u32::try_from(taken.chunks).unwrap_or(u32::MAX),
        new_bytes: taken.new_bytes,
    })
}

/// Stores a value without its bytes.
pub(super) async fn put(
    service: &Service,
    mut request: v1::PutContentRequest,
) -> Result<v1::PutContentResponse> {
    let Some(named) = name_of(service, &mut request)? else {
        return put_now(service, request).await;
    };
    let own = service.clone();
    once(service, named, async move { put_now(&own, request).await }).await
}

async fn put_now(
    service: &Service,
    request: v1::PutContentRequest,
) -> Result<v1::PutContentResponse> {
    service.check_set_allowed()?;
    let namespace = &*door::namespace(service, &request.namespace)?;
    let digest = door::digest(&request.digest, "digest")?;
    let numbered = request.chunks.iter().enumerate();
    let chunks: Result<Vec<Chunk>> = numbered
        .map(|(number, chunk)| {
            let digest = door::digest(&chunk.digest, "digest");
            let digest = digest.map_err(|error| error.inside(&format!("chunks[{number}]")))?;
            let raw_len = chunk.size;
            Ok(Chunk { digest, raw_len })
        })
        .collect();
    let put = Put {
        namespace,
        key: &request.key,
        data: Bytes::new(),
        sum64: request.sum64,
        digest: Some(digest),
        rule: door::put_rule(request.condition)?,
        lifetime: door::put_lifetime(request.expiry, namespace, service.now())?,
        attributes: door::attributes(request.value_type, request.metadata)?,
    };
    let done = service.put_by_digest(put, (digest, request.size), chunks?);
    let done = done.await?;
    Ok(v1::PutContentResponse {
        put: Some(v1::PutResponse {
            run: service.run_id(),
            ..write::put_response(done.put)
        }),
        size: done.info.raw_len,
        sum64: done.info.sum64,
    })
}
