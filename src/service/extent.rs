//! How much of found keys is answered with: what is known of their values, the values, or a range of
//! each.
//!
//! Values are read together, all of them into what the answer keeps. Of ranges only the answer is
//! kept: values are read a few at a time, so that many small ranges do not hold many large values.

use super::Service;
use super::get::Head;
use super::large::needs_download;
use super::scan::ScanItem;
use crate::model::{Key, Result};
use crate::router::{FoundValue, Moment};
use crate::shard::Found as Record;
use bytes::Bytes;
use std::ops::Range;

/// Bytes of values that are read at once for ranges of them, unless one has more.
const READ_AT_ONCE: u64 = 4 << 20;

/// A key that was found, and its record.
pub(super) type Item = (Key, Record);

/// How much of a key is answered with. What is larger than `max` fits no answer; no value that is not
/// in chunks is.
#[derive(Debug, Clone)]
pub(super) enum Extent {
    /// What is known of its value.
    Head,
    /// The value too.
    Whole { max: u64 },
    /// As much of the value as lies in a range.
    Part { range: Range<u64>, max: u64 },
}

impl Service {
    pub(super) fn extent(&self, head_only: bool) -> Extent {
        let max = self.rules().value_size_max;
        match head_only {
            true => Extent::Head,
            false => Extent::Whole { max },
        }
    }

    pub(super) fn extent_of_part(&self, range: Range<u64>) -> Extent {
        let max = self.rules().value_size_max;
        Extent::Part { range, max }
    }
}

impl Extent {
    /// What is answered with of any value.
    pub fn range(&self) -> Range<u64> {
        match self {
            Self::Head => 0..0,
            Self::Whole { .. } => 0..u64::MAX,
            Self::Part { range, .. } => range.clone(),
        }
    }

    /// Bytes that a key takes in an answer.
    pub fn size_of(&self, (key, record): &Item) -> usize {
        /// The numbers beside key and value.
        const FRAMING: usize = 64;
        let part = record.row.info.part(&self.range());
        let len = usize::try_from(part.end - part.start).unwrap_or(usize::MAX);
        len.saturating_add(FRAMING + key.as_bytes().len() + record.row.attributes.len())
    }

    /// Bytes of values that are in memory at once beside the answer.
    pub fn held<'a>(&self, items: impl Iterator<Item = &'a Item>) -> usize {
        let held = items.map(|(_, record)| self.held_for(record));
        let (sum, largest) = held.fold((0_u64, 0), |(sum, largest), held| {
            (sum.saturating_add(held), held.max(largest))
        });
        usize::try_from(sum.min(largest.max(READ_AT_ONCE))).unwrap_or(usize::MAX)
    }

    /// What is read of a value beside the answer. Of one in chunks it is less.
    fn held_for(&self, record: &Record) -> u64 {
        match self {
            Self::Part { range, max } if !record.row.info.part(range).is_empty() => {
                record.row.info.raw_len.min(*max)
            }
            _ => 0,
        }
    }

    /// Keys as they are answered. May wait for the disk.
    ///
    /// # Errors
    /// `TooLarge` (`VALUE_NEEDS_DOWNLOAD`); what the shards answer.
    pub fn read(&self, moment: &Moment, items: Vec<Item>) -> Result<Vec<ScanItem>> {
        let known: Vec<(Key, Head)> = items
            .iter()
            .map(|(key, record)| (key.clone(), Head::of(key, record)))
            .collect();
        let values = match self {
            Self::Head => vec![None; known.len()],
            Self::Whole { .. } => self.read_values(moment, items)?,
            Self::Part { .. } => self.read_in_turns(moment, items)?,
        };
        let read = known.into_iter().zip(values);
        Ok(read
            .map(|((key, head), data)| ScanItem {
                key: key.to_bytes(),
                head,
                data,
            })
            .collect())
    }

    fn read_in_turns(&self, moment: &Moment, items: Vec<Item>) -> Result<Vec<Option<Bytes>>> {
        let mut values = Vec::with_capacity(items.len());
        let (mut turn, mut room) = (Vec::new(), READ_AT_ONCE);
        for item in items {
            let held = self.held_for(&item.1);
            if held > room && !turn.is_empty() {
                values.extend(self.read_values(moment, std::mem::take(&mut turn))?);
                room = READ_AT_ONCE;
            }
            room = room.saturating_sub(held);
            turn.push(item);
        }
        values.extend(self.read_values(moment, turn)?);
        Ok(values)
    }

    fn read_values(&self, moment: &Moment, items: Vec<Item>) -> Result<Vec<Option<Bytes>>> {
        let found = items.into_iter().map(|item| self.value_of(moment, item));
        let found: Vec<FoundValue> = found.collect::<Result<_>>()?;
        let values = match self {
            Self::Part { range, .. } => moment.read_parts(&found, range)?,
            _ => moment.read_all(&found)?,
        };
        Ok(values.into_iter().map(Some).collect())
    }

    /// The record that holds a value, of which nothing is asked for that is too large for an answer.
    fn value_of(&self, moment: &Moment, (key, record): Item) -> Result<FoundValue> {
        let (Self::Whole { max } | Self::Part { max, .. }) = self else {
            return moment.value_of(&key, record);
        };
        let info = record.row.info;
        let part = info.part(&self.range());
        let found = moment.value_of(&key, record)?;
        if found.body.is_in_chunks() && part.end - part.start > *max {
            return Err(needs_download(&key, info.raw_len, *max));
        }
        Ok(found)
    }
}
