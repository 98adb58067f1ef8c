//! The disk watchdog: looks at free space from time to time, so that writes stop before the disk is
//! full and return by themselves. What it sees stands in the [`DiskGate`], which the service asks.

use crate::log::Ballast;
use crate::service::DiskGate;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// See the module's text.
#[derive(Debug)]
pub struct DiskWatchdog {
    /// Where what it sees is written down.
    pub gate: Arc<DiskGate>,
    /// The reserve that is taken again when there is room.
    pub ballast: Arc<Ballast>,
}

impl DiskWatchdog {
    /// Looks at once and then every `interval`, until `shutdown` says true or its sender is gone.
    pub async fn run(self, interval: Duration, mut shutdown: watch::Receiver<bool>) {
        let watchdog = Arc::new(self);
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return,
                _ = ticks.tick() => {}
            }
            // Not on this thread: a filesystem that hangs would hold it.
            let looking = Arc::clone(&watchdog);
            let look = tokio::task::spawn_blocking(move || looking.look());
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return,
                looked = look => if let Err(error) = looked {
                    tracing::error!(%error, "the disk watchdog failed to look");
                },
            }
        }
    }

    /// The reserve comes last: taking it must not close the gate that has just been opened.
    fn look(&self) {
        if self.gate.refresh() && self.gate.has_room_for(self.ballast.missing()) {
            self.ballast.refill();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Purpose;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Setup {
        free: Arc<AtomicU64>,
        reads: watch::Receiver<u64>,
        watchdog: DiskWatchdog,
        ballast: Arc<Ballast>,
        _dir: tempfile::TempDir,
    }

    /// A disk with a limit of 1000 bytes and a ballast of 4096 that has been released.
    fn setup(free: u64) -> Setup {
        let dir = tempfile::tempdir().unwrap();
        let free = Arc::new(AtomicU64::new(free));
        let (count, reads) = watch::channel(0);
        let probed = Arc::clone(&free);
        let gate = DiskGate::with_probe(1000, move || {
            count.send_modify(|reads| *reads += 1);
            Ok(probed.load(Ordering::Relaxed))
        });
        let ballast = Arc::new(Ballast::new(dir.path().join("ballast"), 4096, 0));
        assert!(ballast.release(Purpose::Open, 4096));
        let watchdog = DiskWatchdog {
            gate: Arc::new(gate),
            ballast: Arc::clone(&ballast),
        };
        Setup {
            free,
            reads,
            watchdog,
            ballast,
            _dir: dir,
        }
    }

    #[test]
    fn the_ballast_is_taken_again_only_where_writes_keep_their_room() {
        let setup = setup(10);
        for (free, is_taken) in [(10, false), (1100, false), (5195, false), (5196, true)] {
            setup.free.store(free, Ordering::Relaxed);
            setup.watchdog.look();
            assert_eq!(
                setup.ballast.release(Purpose::Open, 4096),
                is_taken,
                "{free}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_looks_every_interval_until_the_shutdown() {
        let mut setup = setup(5000);
        let gate = Arc::clone(&setup.watchdog.gate);
        let (stop, shutdown) = watch::channel(false);
        let running = tokio::spawn(setup.watchdog.run(Duration::from_secs(10), shutdown));
        for (free, is_open) in [(10, false), (1050, false), (2000, true)] {
            setup.free.store(free, Ordering::Relaxed);
            let seen = *setup.reads.borrow_and_update();
            // When the second look from here has begun, the first has been written down.
            setup.reads.wait_for(|it| *it >= seen + 2).await.unwrap();
            assert_eq!(gate.is_open(), is_open, "{free}");
        }
        stop.send(true).unwrap();
        running.await.unwrap();
    }

    #[tokio::test]
    async fn the_watchdog_ends_when_nobody_is_left_to_stop_it() {
        let (stop, shutdown) = watch::channel(false);
        drop(stop);
        setup(5000)
            .watchdog
            .run(Duration::from_secs(10), shutdown)
            .await;
    }
}
