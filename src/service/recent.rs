//! Small values that were read lately, kept by each thread for itself, opened and checked: a Get of
//! one looks into no index, reads no log and waits for no other thread.
//!
//! A value is served only while nothing of its key was committed since it was looked up, which the
//! key's shard knows (see `shard::epoch`). What is kept pins nothing: neither segments nor a shard
//! that wants to be opened again.

use super::get::{Found, Head};
use crate::model::Key;
use crate::shard::{Epoch, Found as Record};
use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::unsync::Cache;
use std::cell::RefCell;

/// Larger values would push out many small ones, and cost less in proportion.
const VALUE_SIZE_MAX: u64 = 16 * 1024;
/// What an entry takes beside its key and its value: the entry, its place in the table, and what
/// the allocator adds to its two buffers.
const ENTRY_OVERHEAD: u64 = 160;
/// What the table is first made for; it grows.
const ENTRIES_EXPECTED: usize = 1024;

/// A kept value.
#[derive(Debug, Clone)]
pub(super) struct Recent {
    pub found: Found,
    /// When it was looked up.
    pub seen: Epoch,
}

#[derive(Debug, Clone)]
struct Weight;

impl Weighter<Key, Recent> for Weight {
    fn weight(&self, key: &Key, value: &Recent) -> u64 {
        ENTRY_OVERHEAD
            + (key.id().len() + value.found.data.len() + value.found.head.attributes.len()) as u64
    }
}

type Values = Cache<Key, Recent, Weight>;

thread_local! {
    static VALUES: RefCell<Option<Values>> = const { RefCell::new(None) };
}

/// What each thread may keep.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecentValues {
    bytes_per_thread: u64,
}

impl RecentValues {
    /// Divides `total` bytes among the threads that serve requests, one a core.
    pub fn new(total: u64) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            bytes_per_thread: total / threads as u64,
        }
    }

    /// The value that this thread keeps of a key. Whether it is the newest is for the caller to ask.
    pub fn get(self, key: &Key) -> Option<Recent> {
        if self.bytes_per_thread == 0 {
            return None;
        }
        VALUES.with_borrow(|values| values.as_ref()?.get(key).cloned())
    }

    /// Whether a record's value is small and stands under its key itself.
    pub fn takes(record: &Record) -> bool {
        record.row.info.raw_len <= VALUE_SIZE_MAX && record.link().is_none()
    }

    /// Keeps a value that was found and opened, if it is small and stands under its key itself.
    pub fn keep(self, key: &Key, record: &Record, found: &Found) {
        if self.bytes_per_thread == 0 || !Self::takes(record) {
            return;
        }
        // An inlined payload is part of a block of the index, which must not be kept whole.
        let data = match record.row.inline {
            Some(_) => Bytes::copy_from_slice(&found.data),
            None => found.data.clone(),
        };
        // So are attributes.
        let head = Head {
            attributes: Bytes::copy_from_slice(&found.head.attributes),
            ..found.head.clone()
        };
        let recent = Recent {
            found: Found { head, data },
            seen: record.seen,
        };
        VALUES.with_borrow_mut(|values| {
            let make = || Cache::with_weighter(ENTRIES_EXPECTED, self.bytes_per_thread, Weight);
            values.get_or_insert_with(make).insert(key.clone(), recent);
        });
    }
}
