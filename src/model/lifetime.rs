//! How long a record stays.

use super::{Error, Result, Timestamp};

/// A time to live ends here: 100 years.
pub const TTL_MAX_MS: u64 = 100 * 366 * 24 * 60 * 60 * 1000;

/// How long a record stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lifetime {
    /// Until it is replaced or removed.
    Forever,
    /// Until this moment.
    Until(Timestamp),
    /// As long as the record that it replaces.
    Kept,
}

impl Lifetime {
    /// So many milliseconds from `now` on.
    ///
    /// # Errors
    /// `Invalid` (`TTL_RANGE`) for none of them, and for more than 100 years.
    pub fn lasting(ms: u64, now: Timestamp) -> Result<Self> {
        if (1..=TTL_MAX_MS).contains(&ms) {
            return Ok(Self::Until(Timestamp(now.0 + ms)));
        }
        let message = format!("ttl is {ms} ms: it needs 1 ms to 100 years");
        Err(Error::invalid("TTL_RANGE", message))
    }

    /// Until a moment that is to come.
    ///
    /// # Errors
    /// `Invalid` (`EXPIRE_TIME_RANGE`) for one that has passed, and for more than 100 years.
    pub fn until(at: Timestamp, now: Timestamp) -> Result<Self> {
        if (now.0 + 1..=now.0 + TTL_MAX_MS).contains(&at.0) {
            return Ok(Self::Until(at));
        }
        let message = format!(
            "expire_time is {} s since 1970: it must be later than now, {} s, and within 100 years",
            at.0 / 1000,
            now.0 / 1000
        );
        Err(Error::invalid("EXPIRE_TIME_RANGE", message))
    }

    /// When a record expires whose key's record so far expires at `before`.
    #[must_use]
    pub fn expiry(self, before: Option<Timestamp>) -> Option<Timestamp> {
        match self {
            Self::Forever => None,
            Self::Until(at) => Some(at),
            Self::Kept => before,
        }
    }
}
