//! Rows that say when a key goes: in order of time, so that what is due is found without a look at
//! what is not. They follow from the rows of the records, and go with them.

use super::database::{Index, STATE_ROW};
use super::{IndexBatch, IndexError, IndexState, Row};
use crate::codec::{FormatError, Space};
use crate::model::{Key, NamespaceId, Seq, Timestamp};
use bytes::Bytes;
use fjall::Readable as _;

/// Rows of expiries; time and sequence number follow, 8 bytes each, big-endian, and, where it is not
/// the default one, the namespace, 4 bytes, big-endian.
const PREFIX: u8 = b'e';
/// Bytes of such a row's key in the default namespace.
const ROW_KEY_SIZE: usize = 17;
/// Rows are completed in batches of about this many.
const BATCH_ROWS: usize = 4096;

/// Which record ends its key, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry {
    /// When.
    pub at: Timestamp,
    /// The record.
    pub seq: Seq,
    /// The namespace of its key.
    pub namespace: NamespaceId,
}

impl IndexBatch<'_> {
    /// Puts the id of the key that a record ends; `None` when it does not any more.
    pub fn put_expiry(&mut self, expiry: Expiry, key: Option<&[u8]>) {
        let rows = &self.index.rows;
        match key {
            Some(key) => self.batch.insert(rows, row_key(expiry), key),
            None => self.batch.remove(rows, row_key(expiry)),
        }
    }
}

impl Index {
    /// The keys that are due at `now`, the longest due first; at most so many.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn due(&self, now: Timestamp, count_max: usize) -> Result<Vec<Key>, IndexError> {
        let end = Expiry {
            at: Timestamp(now.0.saturating_add(1)),
            seq: Seq(0),
            namespace: NamespaceId::DEFAULT,
        };
        let snapshot = self.database.snapshot();
        let due = snapshot.range(&self.rows, vec![PREFIX]..row_key(end));
        let key = |guard: fjall::Guard| {
            let (row, id) = guard.into_inner()?;
            let namespace = namespace_of(&row)?;
            let foreign = |_| FormatError::Field {
                field: "namespace",
                value: u64::from(namespace.0),
            };
            Ok(Key::of_id(namespace, &id).map_err(foreign)?)
        };
        due.take(count_max).map(key).collect()
    }

    /// The id of the key that a record ends, as its row says.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn expiry(&self, expiry: Expiry) -> Result<Option<Bytes>, IndexError> {
        Ok(self.rows.get(row_key(expiry))?.map(Bytes::from))
    }

    /// How many records end their keys, as the rows say.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn expiry_count(&self) -> Result<u64, IndexError> {
        let mut count = 0;
        for guard in self.database.snapshot().prefix(&self.rows, [PREFIX]) {
            guard.into_inner()?;
            count += 1;
        }
        Ok(count)
    }

    /// Whether every record that ends its key has its row: not so in an index that was written by a
    /// program which knew of no such rows.
    ///
    /// # Errors
    /// When the index is damaged.
    pub fn has_expiries(&self) -> Result<bool, IndexError> {
        let state = self.rows.get(STATE_ROW)?;
        Ok(state.is_none_or(|row| IndexState::is_of_this_layout(&row)))
    }

    /// Makes the rows that such an index lacks, and removes those that it let grow old. It may stop
    /// at any point: until the last row stands, the next call begins anew.
    ///
    /// # Errors
    /// When the index is damaged or the disk fails.
    pub fn complete_expiries(&self) -> Result<(), IndexError> {
        let Some(state) = self.state()? else {
            return Ok(());
        };
        if self.has_expiries()? {
            return Ok(());
        }
        let old = self.database.snapshot().prefix(&self.rows, [PREFIX]);
        self.change(old.map(|guard| Ok((guard.into_inner()?.0.into(), None))))?;
        let records = self.snapshot().scan(Space::Key, &[], None);
        self.change(records.filter_map(|found| match found {
            Ok((id, row)) => row.expiry().map(|it| Ok((row_key(it).into(), Some(id)))),
            Err(error) => Some(Err(error)),
        }))?;
        self.batch().commit(&state)
    }

    /// Puts and removes rows, in as many batches as it takes.
    fn change(
        &self,
        changes: impl Iterator<Item = Result<(Bytes, Option<Bytes>), IndexError>>,
    ) -> Result<(), IndexError> {
        let mut batch = self.database.batch();
        for change in changes {
            match change? {
                (row, Some(key)) => batch.insert(&self.rows, row, key),
                (row, None) => batch.remove(&self.rows, row),
            }
            if batch.len() >= BATCH_ROWS {
                std::mem::replace(&mut batch, self.database.batch()).commit()?;
            }
        }
        Ok(batch.commit()?)
    }
}

impl Row {
    /// When the record ends its key, if it does.
    #[must_use]
    pub fn expiry(&self) -> Option<Expiry> {
        let at = self.expiry.filter(|_| self.kind.is_of_key())?;
        Some(Expiry {
            at,
            seq: self.seq,
            namespace: self.namespace,
        })
    }
}

fn row_key(expiry: Expiry) -> Vec<u8> {
    let mut key = vec![PREFIX];
    key.extend_from_slice(&expiry.at.0.to_be_bytes());
    key.extend_from_slice(&expiry.seq.0.to_be_bytes());
    key.extend(expiry.namespace.prefix().into_iter().flatten());
    key
}

/// The namespace that such a row's key names.
fn namespace_of(row_key: &[u8]) -> Result<NamespaceId, FormatError> {
    match row_key.get(ROW_KEY_SIZE..) {
        Some([]) => Ok(NamespaceId::DEFAULT),
        Some(&[a, b, c, d]) => Ok(NamespaceId(u32::from_be_bytes([a, b, c, d]))),
        _ => Err(FormatError::Short {
            needed: ROW_KEY_SIZE,
            got: row_key.len(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Kind;
    use crate::index::{IndexOptions, Place};
    use crate::model::{Codec, ValueInfo, Version};

    const OPTIONS: IndexOptions = IndexOptions {
        cache_size: 1 << 20,
        write_buffer_size: 1 << 20,
    };

    fn row(seq: u64, expiry: Option<u64>) -> Row {
        Row {
            kind: Kind::Value,
            content: false,
            namespace: NamespaceId::DEFAULT,
            codec: Codec::Raw,
            seq: Seq(seq),
            version: Version(seq),
            attributes: Bytes::new(),
            expiry: expiry.map(Timestamp),
            info: ValueInfo {
                raw_len: 0,
                sum64: 0,
            },
            payload_sum: 0,
            place: Place {
                record: crate::log::Position::default(),
                payload_offset: 0,
                payload_len: 0,
            },
            inline: None,
        }
    }

    fn expiry(at: u64, seq: u64) -> Expiry {
        Expiry {
            at: Timestamp(at),
            seq: Seq(seq),
            namespace: NamespaceId::DEFAULT,
        }
    }

    #[test]
    fn what_is_due_comes_first_and_what_is_not_does_not_come() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::make(&dir.path().join("index"), OPTIONS).unwrap();
        let mut batch = index.batch();
        for (at, seq, key) in [(300, 1, "c"), (256, 2, "b"), (255, 9, "a"), (301, 3, "d")] {
            batch.put_expiry(expiry(at, seq), Some(key.as_bytes()));
        }
        batch.commit(&IndexState::default()).unwrap();
        let due = |now, count_max| {
            let due = index.due(Timestamp(now), count_max).unwrap();
            let bytes = due.iter().map(Key::to_bytes);
            bytes.collect::<Vec<Bytes>>()
        };
        assert_eq!(due(254, 9), Vec::<Bytes>::new());
        assert_eq!(due(255, 9), ["a"]);
        assert_eq!(due(300, 9), ["a", "b", "c"]);
        assert_eq!(due(u64::MAX, 2), ["a", "b"]);
        let mut batch = index.batch();
        batch.put_expiry(expiry(256, 2), None);
        batch.commit(&IndexState::default()).unwrap();
        assert_eq!(due(300, 9), ["a", "c"]);
        assert_eq!(index.expiry_count().unwrap(), 3);
        assert_eq!(index.expiry(expiry(300, 1)).unwrap().unwrap(), "c");
    }

    #[test]
    fn what_is_due_is_of_its_namespace() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::make(&dir.path().join("index"), OPTIONS).unwrap();
        let mut batch = index.batch();
        let mut keys = Vec::new();
        for number in [0, 1, u32::MAX] {
            let key = Key::in_namespace(NamespaceId(number), b"key").unwrap();
            let own = Expiry {
                namespace: key.namespace(),
                ..expiry(300, 7)
            };
            batch.put_expiry(own, Some(key.id()));
            keys.push(key);
        }
        batch.commit(&IndexState::default()).unwrap();
        assert_eq!(index.due(Timestamp(300), 9).unwrap(), keys);
        assert_eq!(index.due(Timestamp(299), 9).unwrap(), []);
    }

    #[test]
    fn an_index_from_before_these_rows_is_given_them() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::make(&dir.path().join("index"), OPTIONS).unwrap();
        assert!(index.has_expiries().unwrap(), "a new one lacks nothing");
        let state = IndexState {
            last_seq: Seq(7),
            ..IndexState::default()
        };
        let mut batch = index.batch();
        batch.put(Space::Key, b"goes", &row(5, Some(500)));
        batch.put(Space::Key, b"stays", &row(6, None));
        // Of a time when a newer program wrote here.
        batch.put_expiry(expiry(100, 1), Some(b"long gone"));
        batch.commit(&state).unwrap();
        let old = &state.encode(1)[..13 * 8];
        index.rows.insert(STATE_ROW, old).unwrap();
        assert!(!index.has_expiries().unwrap());
        index.complete_expiries().unwrap();
        assert!(index.has_expiries().unwrap());
        let goes = Key::new(b"goes").unwrap();
        assert_eq!(index.due(Timestamp(u64::MAX), 9).unwrap(), [goes]);
        assert_eq!(index.expiry(expiry(500, 5)).unwrap().unwrap(), "goes");
        assert_eq!(index.state().unwrap(), Some(state));
    }
}
