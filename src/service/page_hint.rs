//! Where the pages of recent lists ended, so that the next page is found without counting to it.
//!
//! A page is "keys n to m in byte order", and a hint says which key comes before n. It holds while
//! the store's version counter stands where it stood: any change may shift keys between pages, and
//! then they are counted from the start again.

use crate::model::{Key, Version};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Lists that are walked at the same time, at most; the oldest is forgotten first.
const HINTS_MAX: usize = 64;

/// The last key before a page.
#[derive(Debug)]
struct Hint {
    prefix: Vec<u8>,
    page: u64,
    counter: Version,
    before: Key,
}

/// Recent hints.
#[derive(Debug, Default)]
pub(super) struct PageHints(Mutex<VecDeque<Hint>>);

impl PageHints {
    /// The key before a page, if it is known and nothing has changed since.
    pub fn take(&self, prefix: &[u8], page: u64, counter: Version) -> Option<Key> {
        let mut hints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hints.retain(|hint| hint.counter == counter);
        let at = hints
            .iter()
            .position(|hint| hint.page == page && hint.prefix == prefix)?;
        hints.remove(at).map(|hint| hint.before)
    }

    /// Notes that `before` is the last key before a page; `counter` was read before the page was.
    pub fn note(&self, prefix: &[u8], page: u64, counter: Version, before: Key) {
        let mut hints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hints.len() >= HINTS_MAX {
            hints.pop_front();
        }
        hints.push_back(Hint {
            prefix: prefix.to_vec(),
            page,
            counter,
            before,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_holds_for_its_page_until_something_changes() {
        let hints = PageHints::default();
        let last = Key::new(b"last").unwrap();
        let (then, later) = (Version(7), Version(8));
        hints.note(b"p", 1, then, last.clone());
        assert_eq!(hints.take(b"p", 2, then), None);
        assert_eq!(hints.take(b"q", 1, then), None);
        assert_eq!(hints.take(b"p", 1, then), Some(last.clone()));
        hints.note(b"p", 1, then, last.clone());
        assert_eq!(hints.take(b"p", 1, later), None);
        for page in 0..1000 {
            hints.note(b"p", page, then, last.clone());
        }
        assert!(hints.take(b"p", 0, then).is_none(), "bounded");
        assert!(hints.take(b"p", 999, then).is_some());
    }
}
