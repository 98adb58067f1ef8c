//! The one place where wall-clock time enters: drawn at the door, never below what was logged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This long after it.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(ms))
    }
}

/// The clock of one process. It never runs backwards, not even below what an earlier process
/// logged, so that what follows from `now` (expiry, tombstone age) is the same in every replay.
#[derive(Debug, Default)]
pub struct Clock {
    floor_ms: AtomicU64,
}

impl Clock {
    /// The current time, at least every time returned or raised to before.
    pub fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let wall_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        let floor_ms = self.floor_ms.fetch_max(wall_ms, Ordering::Relaxed);
        Timestamp(wall_ms.max(floor_ms))
    }

    /// Raises the floor to a time found in a log.
    pub fn raise(&self, logged: Timestamp) {
        self.floor_ms.fetch_max(logged.0, Ordering::Relaxed);
    }
}
