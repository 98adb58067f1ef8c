//! Get, Head and `BatchGet`.

use super::{door, entry, snapshot};
use crate::gateway::grpc::delivery::Desk;
use crate::gateway::grpc::parted::Carrier;
use crate::model::{Error, Key, Result};
use crate::proto::v1;
use crate::service::{Located, Service, missing};
use bytes::Bytes;
use std::ops::Range;
use tonic::Response;

/// Keys of one `BatchGet`.
const KEYS_MAX: usize = 10_000;

/// Reads a value or a part of it, once there is room for it.
pub(super) async fn get(
    service: &Service,
    desk: Desk,
    request: v1::GetRequest,
) -> Result<Response<v1::GetResponse>> {
    let place = (&*request.namespace, &*request.key, &*request.snapshot);
    let located = locate(service, place).await?;
    let range = located.part(bytes_of(request.range))?;
    let room = desk.room(service.size_to_read(&located, &range)?).await?;
    let service = service.clone();
    let read = async move { service.read_part(located, range).await };
    let (found, room) = room.held_while(read).await?;
    let message = v1::GetResponse {
        entry: Some(entry::entry(request.key, &found.head)?),
        value: Bytes::new(),
    };
    Ok(desk.reply(message, found.data, room))
}

impl Carrier for v1::GetResponse {
    const VALUE_TAG: usize = 2;

    fn with(self, value: Bytes) -> Self {
        Self { value, ..self }
    }
}

/// A value of a namespace that is under a key, now or in a snapshot.
pub(super) async fn locate(
    service: &Service,
    (namespace, key, snapshot): (&str, &[u8], &str),
) -> Result<Located> {
    let namespace = door::namespace(service, namespace)?;
    let located = match snapshot::named(service, snapshot)? {
        Some(moment) => service.locate_at(moment, &namespace, key).await?,
        None => service.locate(&namespace, key).await?,
    };
    match located {
        Some(located) => Ok(located),
        None => Err(missing(&Key::new(key)?)),
    }
}

/// The bytes that a range names, which may end behind the value.
pub(super) fn bytes_of(range: Option<v1::ByteRange>) -> Range<u64> {
    let v1::ByteRange { offset, length } = range.unwrap_or_default();
    let end = match length {
        0 => u64::MAX,
        length => offset.saturating_add(length),
    };
    offset..end
}

/// Tells what is known of a value.
pub(super) async fn head(service: &Service, request: v1::HeadRequest) -> Result<v1::HeadResponse> {
    let namespace = door::namespace(service, &request.namespace)?;
    let head = match snapshot::named(service, &request.snapshot)? {
        Some(moment) => service.head_at(moment, &namespace, &request.key).await?,
        None => service.head_with_digest(&namespace, &request.key).await?,
    };
    let head = match head {
        Some(head) => head,
        None => return Err(missing(&Key::new(&request.key)?)),
    };
    Ok(v1::HeadResponse {
        entry: Some(entry::entry(request.key, &head)?),
    })
}

/// Reads many keys, or a part of each, as of one moment, once there is room for what is read.
pub(super) async fn batch_get(
    service: &Service,
    desk: Desk,
    request: v1::BatchGetRequest,
) -> Result<Response<v1::BatchGetResponse>> {
    let namespace = door::namespace(service, &request.namespace)?;
    let count = request.keys.len();
    if count > KEYS_MAX {
        let message = format!("too many keys: count={count}, max={KEYS_MAX}; ask in several calls");
        return Err(Error::too_large("TOO_MANY_KEYS", message).at("keys"));
    }
    let numbered = request.keys.iter().enumerate();
    let keys: Result<Vec<Key>> = numbered
        .map(|(number, key)| {
            let key = Key::in_namespace(namespace.id, key);
            key.map_err(|error| error.at(format!("keys[{number}]")))
        })
        .collect();
    let keys = keys?;
    let moment = snapshot::named(service, &request.snapshot)?;
    let located = match request.range.filter(|_| !request.entries_only) {
        Some(range) => {
            service
                .locate_parts(moment, keys, bytes_of(Some(range)))
                .await?
        }
        None => {
            let located = service.locate_many(moment, keys, request.entries_only);
            located.await?
        }
    };
    let room = desk.room(located.size()).await?;
    let service = service.clone();
    let read = async move { service.read_many(located).await };
    let (found, room) = room.held_while(read).await?;
    let results = found.into_iter().map(|item| match item {
        Some(item) => {
            let (entry, value) = entry::entry_and_value(item)?;
            let entry = Some(entry);
            Ok(v1::BatchGetResult { entry, value })
        }
        None => Ok(v1::BatchGetResult::default()),
    });
    let mut response = Response::new(v1::BatchGetResponse {
        results: results.collect::<Result<_>>()?,
    });
    room.attach(&mut response);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_without_a_length_goes_to_the_end() {
        let of = |offset, length| bytes_of(Some(v1::ByteRange { offset, length }));
        assert_eq!(bytes_of(None), 0..u64::MAX);
        assert_eq!(of(2, 3), 2..5);
        assert_eq!(of(8, 0), 8..u64::MAX);
        assert_eq!(of(8, u64::MAX), 8..u64::MAX);
    }
}
