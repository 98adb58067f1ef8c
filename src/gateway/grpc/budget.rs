//! A process-wide budget of bytes in flight, with a bounded queue in front of it.
//!
//! Small takes have a lane of their own, so that a Get never waits behind uploads. Who must wait is
//! counted by the bytes it holds already; above half the budget a newcomer is refused at once, so
//! the queue itself is bounded too. The order within a lane is first come, first served.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Takes up to this many bytes use the small lane. It holds the longest key with its framing.
pub(super) const SMALL_MAX: usize = 64 * 1024;

/// What a parked request counts at least: its headers, its task and its stream.
const PARKED_MIN: usize = 4096;

/// The most permits one acquisition can name.
const TAKE_MAX: usize = u32::MAX as usize;

/// The budget; share it by `Arc`.
#[derive(Debug)]
pub(super) struct ByteBudget {
    small: Lane,
    bulk: Lane,
    waiting: Lane,
    wait_max: Duration,
}

/// Bytes taken from the budget; they return when this is dropped.
#[derive(Debug)]
pub(super) struct BytesInFlight {
    _permit: OwnedSemaphorePermit,
}

/// Why no bytes were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shed {
    /// Too much waits already.
    QueueFull {
        /// Bytes asked for.
        bytes: usize,
        /// Bytes of the lane.
        capacity: usize,
    },
    /// The bytes did not become free in time.
    WaitedTooLong {
        /// Bytes asked for.
        bytes: usize,
        /// Bytes of the lane.
        capacity: usize,
        /// How long it waited.
        waited: Duration,
    },
}

/// So many bytes, first come, first served.
#[derive(Debug)]
pub(super) struct Lane {
    free: Arc<Semaphore>,
    capacity: usize,
}

impl Lane {
    /// A lane of `capacity` bytes, at least one.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(capacity)),
            capacity,
        }
    }

    /// The permits to ask for: a take larger than the lane waits for all of it and runs alone.
    fn permits(&self, bytes: usize) -> u32 {
        let permits = bytes.clamp(1, self.capacity).min(TAKE_MAX);
        u32::try_from(permits).unwrap_or(u32::MAX)
    }

    /// Takes bytes that are free now.
    pub(super) fn try_take(&self, bytes: usize) -> Option<BytesInFlight> {
        let permit = Arc::clone(&self.free).try_acquire_many_owned(self.permits(bytes));
        permit.ok().map(|permit| BytesInFlight { _permit: permit })
    }

    /// Takes bytes, for as long as that needs.
    pub(super) async fn take(&self, bytes: usize) -> BytesInFlight {
        let permit = Arc::clone(&self.free).acquire_many_owned(self.permits(bytes));
        BytesInFlight {
            _permit: permit.await.expect("no lane is ever closed"),
        }
    }
}

impl ByteBudget {
    /// A budget of `capacity` bytes, an eighth of it for small takes; nobody waits longer than
    /// `wait_max`.
    pub(super) fn new(capacity: u64, wait_max: Duration) -> Arc<Self> {
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        let small = (capacity / 8).max(SMALL_MAX);
        Arc::new(Self {
            small: Lane::new(small),
            bulk: Lane::new(capacity.saturating_sub(small)),
            waiting: Lane::new(capacity / 2),
            wait_max,
        })
    }

    /// Takes `bytes`, waiting for them if need be. `held` is what the caller holds in memory
    /// meanwhile.
    pub(super) async fn take(&self, bytes: usize, held: usize) -> Result<BytesInFlight, Shed> {
        let lane = self.lane(bytes);
        if let Some(taken) = lane.try_take(bytes) {
            return Ok(taken);
        }
        let Some(_parked) = self.waiting.try_take(held.max(PARKED_MIN)) else {
            return Err(Shed::QueueFull {
                bytes,
                capacity: lane.capacity,
            });
        };
        let taken = tokio::time::timeout(self.wait_max, lane.take(bytes)).await;
        taken.map_err(|_elapsed| Shed::WaitedTooLong {
            bytes,
            capacity: lane.capacity,
            waited: self.wait_max,
        })
    }

    fn lane(&self, bytes: usize) -> &Lane {
        if bytes <= SMALL_MAX {
            &self.small
        } else {
            &self.bulk
        }
    }
}

impl fmt::Display for Shed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const REMEDY: &str = "retry with backoff, or raise admission.bytes_in_flight";
        match self {
            Self::QueueFull { bytes, capacity } => write!(
                f,
                "too much in flight: message={bytes} bytes, budget={capacity} bytes, and the queue for it is full; {REMEDY}"
            ),
            Self::WaitedTooLong {
                bytes,
                capacity,
                waited,
            } => write!(
                f,
                "too much in flight: message={bytes} bytes, budget={capacity} bytes, none free in {waited:?}; {REMEDY}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn budget(capacity: usize) -> Arc<ByteBudget> {
        ByteBudget::new(capacity as u64, Duration::from_millis(20))
    }

    #[tokio::test]
    async fn bytes_come_back_when_they_are_dropped() {
        let budget = budget(16 * MIB);
        let all = budget.take(14 * MIB, 0).await.unwrap();
        assert!(budget.take(MIB, 0).await.is_err());
        drop(all);
        assert!(budget.take(14 * MIB, 0).await.is_ok());
    }

    #[tokio::test]
    async fn a_small_take_does_not_wait_behind_large_ones() {
        let budget = budget(16 * MIB);
        let _all = budget.take(14 * MIB, 0).await.unwrap();
        assert!(budget.take(100, 100).await.is_ok());
    }

    #[tokio::test]
    async fn a_take_larger_than_the_budget_runs_alone() {
        let budget = budget(16 * MIB);
        let alone = budget.take(400 * MIB, 0).await.unwrap();
        assert!(budget.take(SMALL_MAX + 1, 0).await.is_err());
        drop(alone);
        assert!(budget.take(SMALL_MAX + 1, 0).await.is_ok());
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_the_size_the_budget_and_the_setting() {
        let budget = budget(16 * MIB);
        let _all = budget.take(14 * MIB, 0).await.unwrap();
        let shed = budget.take(MIB, 0).await.unwrap_err();
        let message = shed.to_string();
        for part in [
            "message=1048576",
            "budget=14680064",
            "admission.bytes_in_flight",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[tokio::test]
    async fn the_queue_is_bounded_by_what_its_members_hold() {
        let budget = ByteBudget::new(16 * MIB as u64, Duration::from_secs(600));
        let all = budget.take(14 * MIB, 0).await.unwrap();
        let first = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.take(MIB, 8 * MIB).await }
        });
        while budget.waiting.free.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = budget.take(MIB, 1).await.unwrap_err();
        assert!(matches!(refused, Shed::QueueFull { .. }));
        drop(all);
        assert!(first.await.unwrap().is_ok());
        assert_eq!(budget.waiting.free.available_permits(), 8 * MIB);
    }
}
