//! Counters: a value that is a number in decimal digits, and grows by what is added to it.
//!
//! An increment reads, adds, and puts on the condition that nobody has written meanwhile. Increments
//! of one key take turns, so that they do not overtake each other; other writers they overtake or
//! are overtaken by, and then read again.

use super::checked::key_in;
use super::put::{ATTEMPTS_MAX, Put, PutRule, Requirement, overtaken};
use super::{Found, Head, Service};
use crate::model::{
    Attributes, Condition, Error, ErrorKind, Key, Lifetime, Namespace, Result, ValueType, Version,
};
use crate::shard::Found as Record;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::{Mutex, MutexGuard};
use xxhash_rust::xxh3::xxh3_64;

/// Keys that share a turn only wait for each other.
const TURNS: usize = 256;

/// Bytes of the longest number.
const NUMBER_SIZE_MAX: u64 = 20;

/// Whose turn it is, by key.
#[derive(Debug)]
pub(super) struct Turns(Box<[Mutex<()>]>);

impl Default for Turns {
    fn default() -> Self {
        Self((0..TURNS).map(|_| Mutex::default()).collect())
    }
}

impl Turns {
    async fn take(&self, key: &Key) -> MutexGuard<'_, ()> {
        self.0[turn_of(key)].lock().await
    }

    /// The turns of many keys. All who take several take them in one order, so that nobody waits for
    /// somebody who waits for him.
    pub(super) async fn take_all(
        &self,
        keys: impl Iterator<Item = &Key>,
    ) -> Vec<MutexGuard<'_, ()>> {
        let turns: BTreeSet<usize> = keys.map(turn_of).collect();
        let mut taken = Vec::with_capacity(turns.len());
        for turn in turns {
            taken.push(self.0[turn].lock().await);
        }
        taken
    }
}

fn turn_of(key: &Key) -> usize {
    xxh3_64(key.id()) as usize % TURNS
}

/// What is added to a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addition {
    /// How much; it may be below 0.
    pub delta: i64,
    /// Where a counter that is not there begins.
    pub initial: i64,
}

/// A counter after an increment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Increment {
    /// Its value.
    pub value: i64,
    /// Its version.
    pub version: Version,
}

impl Service {
    /// Adds to a counter and gives what it is then. One that is not there begins at `initial`, and
    /// then the addition counts too. Its expiry and metadata stay.
    ///
    /// # Errors
    /// As a put, and `Invalid`: `COUNTER_ON_CONTENT` where values stand under their digest,
    /// `NOT_A_COUNTER` for a value that is no 64-bit number in decimal digits, `COUNTER_OVERFLOW`.
    pub async fn increment(
        &self,
        namespace: &Namespace,
        key: &[u8],
        requirement: Option<Requirement>,
        addition: Addition,
    ) -> Result<Increment> {
        self.check_set_allowed()?;
        let key = counter_key(namespace, key)?;
        let _turn = self.0.counters.take(&key).await;
        for _ in 0..ATTEMPTS_MAX {
            let record = self.find_if(&key, requirement).await?;
            let counted = self.add_to(&key, record.as_ref(), addition).await?;
            let Some((value, before)) = counted else {
                continue;
            };
            let unset = namespace.default_lifetime(self.now());
            let put = next(namespace, &key, value, (before, unset))?;
            fail::fail_point!("increment::read");
            match self.put(put).await {
                Ok(done) => {
                    let version = done.version;
                    return Ok(Increment { value, version });
                }
                Err(error) if is_overtaken(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(overtaken(&key))
    }

    /// What a counter with this record is after an addition, and what is known of it so far; `None`
    /// when it was written, or expired, since the record was found.
    ///
    /// # Errors
    /// `NOT_A_COUNTER`, `COUNTER_OVERFLOW`; what the shards answer.
    pub(super) async fn add_to(
        &self,
        key: &Key,
        record: Option<&Record>,
        addition: Addition,
    ) -> Result<Option<(i64, Option<Head>)>> {
        let record = record.map(|record| &record.row);
        if let Some(long) = record.filter(|row| row.info.raw_len > NUMBER_SIZE_MAX) {
            return Err(no_counter(key, long.info.raw_len));
        }
        let found = self.get_key(key.clone()).await?;
        let version = found.as_ref().map(|found| found.head.version);
        if version != record.map(|row| row.version) {
            return Ok(None);
        }
        let value = addition.to(key, found.as_ref())?;
        Ok(Some((value, found.map(|found| found.head))))
    }
}

/// The key of a counter.
///
/// # Errors
/// `Invalid` (`COUNTER_ON_CONTENT`) where values stand under their digest; those of every key.
pub(super) fn counter_key(namespace: &Namespace, key: &[u8]) -> Result<Key> {
    if namespace.options.by_content {
        let message =
            "values stand under their digest here (keys.mode): a counter needs a key of its own";
        return Err(Error::invalid("COUNTER_ON_CONTENT", message).at("key"));
    }
    key_in(namespace, key)
}

/// The put that gives a counter its next value, unless another comes first.
pub(super) fn next<'a>(
    namespace: &'a Namespace,
    key: &'a Key,
    value: i64,
    (before, unset): (Option<Head>, Lifetime),
) -> Result<Put<'a>> {
    let (condition, lifetime, attributes) = match before {
        Some(head) => (
            Condition::Version(head.version),
            head.expiry.map_or(Lifetime::Forever, Lifetime::Until),
            head.attributes()?,
        ),
        None => {
            let attributes = Attributes::new(ValueType::Int64, BTreeMap::new())?;
            (Condition::Absent, unset, attributes)
        }
    };
    Ok(Put {
        namespace,
        key: key.as_bytes(),
        data: Bytes::from(value.to_string()),
        sum64: None,
        digest: None,
        rule: PutRule::If(Requirement::Record(condition)),
        lifetime,
        attributes,
    })
}

impl Addition {
    /// What a counter is after it.
    fn to(self, key: &Key, found: Option<&Found>) -> Result<i64> {
        let before = match found {
            Some(found) => number_of(key, &found.data)?,
            None => self.initial,
        };
        let Self { delta, .. } = self;
        before.checked_add(delta).ok_or_else(|| {
            let message = format!(
                "counter {key} is {before}: adding {delta} leaves {} to {}",
                i64::MIN,
                i64::MAX
            );
            Error::invalid("COUNTER_OVERFLOW", message).at("delta")
        })
    }
}

/// Whether the counter was written meanwhile.
fn is_overtaken(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::Conflict)
}

fn number_of(key: &Key, data: &[u8]) -> Result<i64> {
    let text = std::str::from_utf8(data).ok();
    let number = text.and_then(|text| text.parse().ok());
    number.ok_or_else(|| no_counter(key, data.len() as u64))
}

fn no_counter(key: &Key, size: u64) -> Error {
    let message = format!(
        "key {key} is no counter: its {size} bytes are not a 64-bit number in decimal digits"
    );
    Error::invalid("NOT_A_COUNTER", message).at("key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_what_fits_into_64_bits_in_decimal_digits() {
        let key = Key::new(b"k").unwrap();
        for number in [0, -7, i64::MIN, i64::MAX] {
            let text = number.to_string();
            assert!(text.len() as u64 <= NUMBER_SIZE_MAX);
            assert_eq!(number_of(&key, text.as_bytes()).unwrap(), number);
        }
        for other in ["", " 1", "1.0", "0x1", "9223372036854775808", "one"] {
            let refused = number_of(&key, other.as_bytes()).unwrap_err();
            assert_eq!(refused.reason(), "NOT_A_COUNTER", "{other:?}");
        }
        assert!(number_of(&key, &[0xff]).is_err());
    }

    #[test]
    fn an_addition_that_leaves_64_bits_is_refused() {
        let key = Key::new(b"k").unwrap();
        let to = |initial, delta| Addition { delta, initial }.to(&key, None);
        assert_eq!(to(i64::MAX, -1).unwrap(), i64::MAX - 1);
        assert_eq!(to(i64::MIN, i64::MAX).unwrap(), -1);
        for (initial, delta) in [(i64::MAX, 1), (i64::MIN, -1)] {
            let refused = to(initial, delta).unwrap_err();
            assert_eq!(refused.reason(), "COUNTER_OVERFLOW");
        }
    }
}
