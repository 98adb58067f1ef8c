//! The time of this machine.

use crate::model::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// This moment.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.map_or(0, |time| time.as_millis());
    Timestamp(u64::try_from(ms).unwrap_or(u64::MAX))
}
