//! Get, Head and `BatchGet`.

use super::{door, entry, snapshot};
use crate::gateway::grpc::delivery::Desk;
use crate::model::{Error, Key, Result};
use crate::proto::v1;
use crate::service::{Service, missing};
use bytes::Bytes;
use tonic::Response;

/// Keys of one `BatchGet`.
const KEYS_MAX: usize = 10_000;

/// Reads a value or a part of it, once there is room for it.
pub(super) async fn get(
    service: &Service,
    desk: Desk,
    request: v1::GetRequest,
) -> Result<Response<v1::GetResponse>> {
    let namespace = door::namespace(service, &request.namespace)?;
    let located = match snapshot::named(service, &request.snapshot)? {
        Some(moment) => {
            let located = service.locate_at(moment, &namespace, &request.key);
            located.await?
        }
        None => service.locate(&namespace, &request.key).await?,
    };
    let located = match located {
        Some(located) => located,
        None => return Err(missing(&Key::new(&request.key)?)),
    };
    let room = desk.room(located.raw_len()).await?;
    let found = service.read(located).await?.with_digest();
    let mut response = Response::new(v1::GetResponse {
        entry: Some(entry::entry(request.key, &found.head)?),
        value: part(found.data, request.range)?,
    });
    room.attach(&mut response);
    Ok(response)
}

fn part(value: Bytes, range: Option<v1::ByteRange>) -> Result<Bytes> {
    let Some(v1::ByteRange { offset, length }) = range else {
        return Ok(value);
    };
    let size = value.len();
    let start = usize::try_from(offset).ok().filter(|start| *start <= size);
    let start = start.ok_or_else(|| {
        let message = format!("range begins behind the value's end: offset={offset}, size={size}");
        Error::invalid("RANGE_BEYOND_VALUE", message).at("range.offset")
    })?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let end = match length {
        0 => size,
        length => start.saturating_add(length).min(size),
    };
    Ok(value.slice(start..end))
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

/// Reads many keys as of one moment, once there is room for their values.
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
    let moment = snapshot::moment(service, &request.snapshot).await?;
    let located = service.locate_many(moment, keys, request.entries_only);
    let located = located.await?;
    let room = desk.room(located.size()).await?;
    let found = service.read_many(located).await?;
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
    fn a_part_ends_with_the_value() {
        let value = Bytes::from_static(b"0123456789");
        let of = |offset, length| part(value.clone(), Some(v1::ByteRange { offset, length }));
        assert_eq!(part(value.clone(), None).unwrap(), value);
        assert_eq!(of(2, 3).unwrap(), "234");
        assert_eq!(of(8, 0).unwrap(), "89");
        assert_eq!(of(8, u64::MAX).unwrap(), "89");
        assert_eq!(of(10, 5).unwrap(), "");
        let error = of(11, 1).unwrap_err();
        assert_eq!(error.field(), Some("range.offset"));
    }
}
