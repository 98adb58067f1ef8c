//! Reads wait for a shard that is opened again, rather than send their callers away: that is soon
//! over, and a read that is tried once more does nothing twice. Writes do not wait; whether they may
//! be tried again is for their callers to say.

use crate::model::{Error, ErrorKind, Result};
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// How long a read waits at most: more than an opening takes, less than making an index anew may.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is tried meanwhile.
const PAUSE: Duration = Duration::from_millis(10);

/// What a read gives, tried again while a shard that it needs is being opened.
///
/// # Errors
/// Those of the read; that of a shard that is opened for longer.
pub(super) async fn patiently<T, Reading: Future<Output = Result<T>>>(
    mut read: impl FnMut() -> Reading,
) -> Result<T> {
    let mut ends = None;
    loop {
        let error = match read().await {
            Err(error) if is_soon_over(&error) => error,
            done => return done,
        };
        let now = Instant::now();
        if now >= *ends.get_or_insert(now + PATIENCE) {
            return Err(error);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn is_soon_over(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable && error.reason() == "SHARD_OPENING"
}
