//! A part of the key space in byte order.

use super::{Error, KEY_SIZE_MAX, Key, NamespaceId, Result};
use bytes::Bytes;

/// Which way keys are walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the smallest key up.
    Forward,
    /// From the largest key down.
    Backward,
}

/// The keys from `start` to before `end`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// The smallest key in it; empty for the first of all.
    pub start: Bytes,
    /// The smallest key behind it; `None` for no end.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// All keys.
    #[must_use]
    pub fn all() -> Self {
        Self {
            start: Bytes::new(),
            end: None,
        }
    }

    /// The keys that begin so.
    #[must_use]
    pub fn of_prefix(prefix: &[u8]) -> Self {
        Self {
            start: Bytes::copy_from_slice(prefix),
            end: successor(prefix),
        }
    }

    /// The keys from `start` to before `end`, which may be empty for no end, that begin with a prefix.
    ///
    /// # Errors
    /// `TooLarge` (`KEY_TOO_LARGE`) and `Invalid` (`RANGE_UPSIDE_DOWN`), with the bound named.
    pub fn select(start_key: Bytes, end_key: Bytes, prefix: &Bytes) -> Result<Self> {
        let bounds = [
            ("start_key", &start_key),
            ("end_key", &end_key),
            ("prefix", prefix),
        ];
        for (field, bound) in bounds {
            if bound.len() > KEY_SIZE_MAX {
                let message = format!(
                    "{field} too large: size={}, max={KEY_SIZE_MAX}",
                    bound.len()
                );
                return Err(Error::too_large("KEY_TOO_LARGE", message).at(field));
            }
        }
        if !end_key.is_empty() && end_key < start_key {
            let message = format!(
                "range is upside down: end_key \"{}\" comes before start_key \"{}\"; for the other direction set reverse",
                shown(&end_key),
                shown(&start_key)
            );
            return Err(Error::invalid("RANGE_UPSIDE_DOWN", message).at("end_key"));
        }
        let bounds = Self {
            start: start_key,
            end: Some(end_key).filter(|end| !end.is_empty()),
        };
        Ok(bounds.and(Self::of_prefix(prefix)))
    }

    /// The ids of its keys in a namespace.
    #[must_use]
    pub fn ids_in(&self, namespace: NamespaceId) -> Self {
        let Some(prefix) = namespace.prefix() else {
            return self.clone();
        };
        let id = |bytes: &Bytes| Bytes::from([&prefix, &bytes[..]].concat());
        let end = self.end.as_ref().map(id);
        Self {
            start: id(&self.start),
            end: end.or_else(|| successor(&prefix)),
        }
    }

    /// What lies in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            start: self.start.max(other.start),
            end: match (self.end, other.end) {
                (Some(one), Some(two)) => Some(one.min(two)),
                (one, two) => one.or(two),
            },
        }
    }

    /// What is left of it when a walk has come to a key and has done it.
    #[must_use]
    pub fn after(self, last: &[u8], direction: Direction) -> Self {
        // The smallest byte string above a key is the key and a zero.
        let walked = match direction {
            Direction::Forward => Self {
                start: [last, &[0]].concat().into(),
                end: None,
            },
            Direction::Backward => Self {
                start: Bytes::new(),
                end: Some(Bytes::copy_from_slice(last)),
            },
        };
        self.and(walked)
    }

    /// The range, if somebody has set a bound of it: what removes keys is not asked for all of them by
    /// what was left out.
    ///
    /// # Errors
    /// `Invalid` (`SELECTION_EMPTY`).
    pub fn bounded(self) -> Result<Self> {
        if self == Self::all() {
            let message =
                "selection is empty: set a bound or a prefix; start_key \"\\0\" is every key";
            return Err(Error::invalid("SELECTION_EMPTY", message).at("selection"));
        }
        Ok(self)
    }

    /// Whether no key can be in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// Whether a key is in it.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.start <= *key && self.end.as_ref().is_none_or(|end| *key < **end)
    }
}

fn shown(bytes: &Bytes) -> String {
    Key::new(bytes).map_or_else(|_| String::new(), |key| key.to_string())
}

/// The smallest byte string above all that begin with a prefix; `None` where there is no such.
fn successor(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Key;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0), Just(1), Just(254), Just(255), any::<u8>()];
        prop::collection::vec(byte, 0..4)
    }

    proptest! {
        #[test]
        fn a_prefix_is_the_range_of_what_begins_with_it(prefix in bytes(), key in bytes()) {
            let range = KeyRange::of_prefix(&prefix);
            prop_assert_eq!(range.contains(&key), key.starts_with(&prefix));
        }

        #[test]
        fn ids_are_in_a_namespaces_range_as_their_keys_are(start in bytes(), end in bytes(), open in any::<bool>(), key in bytes(), number in prop_oneof![Just(0u32), Just(1), Just(255), Just(u32::MAX)]) {
            let range = KeyRange { start: start.into(), end: (!open).then(|| end.into()) };
            let namespace = NamespaceId(number);
            if let Ok(one) = Key::in_namespace(namespace, &key) {
                let ids = range.ids_in(namespace);
                prop_assert_eq!(ids.contains(one.id()), range.contains(&key));
                let other = Key::in_namespace(NamespaceId(2), &key).unwrap();
                prop_assert!(number == 0 || !ids.contains(other.id()));
            }
        }

        #[test]
        fn what_lies_in_both_is_in_each(one in bytes(), two in bytes(), end in bytes(), key in bytes()) {
            let one = KeyRange { start: one.into(), end: Some(end.into()) };
            let two = KeyRange::of_prefix(&two);
            let both = one.clone().and(two.clone());
            prop_assert_eq!(both.contains(&key), one.contains(&key) && two.contains(&key));
            if both.is_empty() {
                prop_assert!(!both.contains(&key));
            }
        }

        #[test]
        fn a_walk_goes_on_behind_its_last_key(last in bytes(), key in bytes()) {
            let ahead = KeyRange::all().after(&last, Direction::Forward);
            prop_assert_eq!(ahead.contains(&key), key > last);
            let ahead = KeyRange::all().after(&last, Direction::Backward);
            prop_assert_eq!(ahead.contains(&key), key < last);
        }
    }
}
