//! List and Count.

use super::reply;
use crate::model::Result;
use crate::proto::zstdb::{Item, ItemReply, ListFilter, ListFilterReply};
use crate::service::Service;

/// Keys on a page.
const PAGE_SIZE: usize = 1000;

/// A page of `key:version` in byte order. Keys that are not UTF-8 cannot be said in this protocol
/// and are left out; they count for the page all the same, so that pages do not shift.
pub(super) async fn list(service: &Service, filter: ListFilter) -> Result<ListFilterReply> {
    let page = page_index(filter.pagenum);
    let found = service
        .list(filter.prefix.as_bytes(), page, PAGE_SIZE)
        .await?;
    let keys = found.iter().filter_map(|(key, version)| {
        let key = std::str::from_utf8(key.as_bytes()).ok()?;
        Some(format!("{key}:{version}"))
    });
    Ok(ListFilterReply {
        keys: keys.collect(),
    })
}

/// Pages are numbered from 1, and what is below is the first.
fn page_index(pagenum: i32) -> u64 {
    u64::try_from(pagenum.saturating_sub(1)).unwrap_or(0)
}

/// How many keys start with the request's key, in decimal. An empty one is not "all": it has no
/// answer in this protocol.
pub(super) async fn count(service: &Service, item: Item) -> ItemReply {
    if item.key.is_empty() {
        return ItemReply::default();
    }
    match service.count(&item.key).await {
        Ok(count) => reply::key_data(item.key, count.to_string()),
        Err(error) => reply::of_error(&error, item.key),
    }
}

#[cfg(test)]
mod tests {
    use super::page_index;

    #[test]
    fn pages_start_at_one_and_below_is_the_first() {
        let pages = [i32::MIN, -1, 0, 1, 2, i32::MAX].map(page_index);
        assert_eq!(pages, [0, 0, 0, 0, 1, 2_147_483_646]);
    }
}
