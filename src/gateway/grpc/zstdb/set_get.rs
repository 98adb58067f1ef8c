//! Set, Get and Delete.

use super::errcode::text;
use super::reply;
use crate::proto::zstdb::{Item, ItemReply};
use crate::service::Service;

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

/// Reads a value.
pub(super) async fn get(service: &Service, item: Item) -> ItemReply {
    if item.key.is_empty() {
        return ItemReply::default();
    }
    match service.get(&item.key).await {
        Ok(Some(found)) => ItemReply {
            data: found.data,
            ver64: found.head.version.0,
            sum64: found.head.sum64,
            ..reply::key(item.key)
        },
        Ok(None) => reply::failed(500, text::GET_MISS, item.key),
        Err(error) => reply::of_error(&error, item.key),
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
