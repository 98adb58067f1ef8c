//! Set, Get and Delete.

use super::Answer;
use super::errcode::{status_of, text};
use super::reply;
use crate::gateway::grpc::delivery::Desk;
use crate::gateway::grpc::parted::Carrier;
use crate::proto::zstdb::{Item, ItemReply};
use crate::service::Service;
use bytes::Bytes;

/// Stores a value. The operator's switch and a full disk come before every other check; an empty
/// value is accepted and stored nowhere.
pub(super) async fn set(service: &Service, item: Item) -> ItemReply {
    if let Err(error) = service.check_set_allowed() {
        return reply::of_set_error(&error, item.key);
    }
    if item.data.is_empty() {
        return reply::key(item.key);
    }
    match service.set(&item.key, item.data, item.sum64).await {
        Ok(key) => reply::key(key.to_bytes()),
        Err(error) => reply::of_set_error(&error, item.key),
    }
}

/// Reads a value, once there is room for it.
///
/// # Errors
/// `RESOURCE_EXHAUSTED` when there is none in time.
pub(super) async fn get(service: &Service, desk: Desk, item: Item) -> Answer {
    if item.key.is_empty() {
        return Ok(ItemReply::default().into());
    }
    let located = service.locate(service.default_namespace(), &item.key);
    let located = match located.await {
        Ok(Some(located)) => located,
        Ok(None) => return Ok(reply::failed(500, text::GET_MISS, item.key).into()),
        Err(error) => return Ok(reply::of_error(&error, item.key).into()),
    };
    let size = match service.size_to_read(&located, &(0..located.size())) {
        Ok(size) => size,
        Err(error) => return Ok(reply::of_error(&error, item.key).into()),
    };
    let room = desk.room(size).await;
    let room = room.map_err(|error| status_of(&error))?;
    let service = service.clone();
    let read = async move { service.read(located).await };
    let (found, room) = match room.held_while(read).await {
        Ok(found) => found,
        Err(error) => return Ok(reply::of_error(&error, item.key).into()),
    };
    let reply = ItemReply {
        ver64: found.head.version.0,
        sum64: found.head.sum64,
        ..reply::key(item.key)
    };
    Ok(desk.reply(reply, found.data, room))
}

impl Carrier for ItemReply {
    const VALUE_TAG: usize = 4;

    fn with(self, value: Bytes) -> Self {
        Self {
            data: value,
            ..self
        }
    }
}

/// Removes a key; the operator's switch comes before every other check, and a miss is a success.
pub(super) async fn delete(service: &Service, item: Item) -> ItemReply {
    if let Err(error) = service.check_delete_allowed() {
        return reply::of_error(&error, item.key);
    }
    if item.key.is_empty() {
        return ItemReply::default();
    }
    match service.delete(&item.key).await {
        Ok(_version) => reply::key(item.key),
        Err(error) => reply::of_error(&error, item.key),
    }
}
