//! Reads wait for a shard that is opened again, rather than send their callers away: that is soon
//! over, and a read that is tried once more does nothing twice. Writes do not wait; whether they may
//! be tried again is for their callers to say.

use crate::model::{Error, ErrorKind};
use std::time::Duration;
use tokio::time::Instant;

/// How long a read waits at most: more than an opening takes, less than making an index anew may.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is tried meanwhile.
const PAUSE: Duration = Duration::from_millis(10);

/// The patience of one read.
#[derive(Debug, Default)]
pub(super) struct Patience {
    ends: Option<Instant>,
}

impl Patience {
    /// Waits a moment after an error that is soon over. Whether the read is to be tried again.
    pub async fn outlasts(&mut self, error: &Error) -> bool {
        if error.kind() != ErrorKind::Unavailable || error.reason() != "SHARD_OPENING" {
            return false;
        }
        let now = Instant::now();
        if now >= *self.ends.get_or_insert(now + PATIENCE) {
            return false;
        }
        tokio::time::sleep(PAUSE).await;
        true
    }
}
