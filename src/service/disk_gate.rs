//! Whether the disk has room for writes: asked by every Set, answered from memory.
//!
//! The gate closes when free space falls below `disk.min_free` and opens again 10 % above, so that
//! a disk at its limit does not switch writes on and off with every file that comes and goes. It
//! knows nothing of the operator's own switch, and opening it lifts nothing but itself.
//!
//! The watchdog looks at the disk from time to time; a write that finds the gate closed looks too,
//! but not more often than every 100 ms, so that a crowd of refused writes costs nothing.

use crate::log::{LogError, free_space};
use crate::model::{Error, ErrorKind, Result};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Refused writes look at the disk at most this often.
const RECHECK_PAUSE: Duration = Duration::from_millis(100);

/// Two limits instead of one: closed below the lower, open from the upper on, and in between as it
/// was.
#[derive(Debug, Clone, Copy)]
struct Hysteresis {
    /// Closed below this many free bytes.
    min_free: u64,
    is_open: bool,
}

impl Hysteresis {
    fn return_at(self) -> u64 {
        self.min_free.saturating_add(self.min_free.div_ceil(10))
    }

    /// Takes in what is free now. Whether that changed the state.
    fn step(&mut self, free: u64) -> bool {
        let was_open = self.is_open;
        if free < self.min_free {
            self.is_open = false;
        } else if free >= self.return_at() {
            self.is_open = true;
        }
        self.is_open != was_open
    }
}

/// What reading the disk needs and leaves.
#[derive(Debug)]
struct Watch {
    limits: Hysteresis,
    last_read: Option<Instant>,
    is_unreadable: bool,
}

type Probe = Box<dyn Fn() -> std::result::Result<u64, LogError> + Send + Sync>;

/// See the module's text.
pub struct DiskGate {
    /// What `watch` decided last, for those who only ask.
    is_open: AtomicBool,
    free: AtomicU64,
    min_free: u64,
    return_at: u64,
    watch: Mutex<Watch>,
    probe: Probe,
}

impl DiskGate {
    /// A gate over the filesystem of `path`, which is read at once.
    #[must_use]
    pub fn new(path: PathBuf, min_free: u64) -> Self {
        Self::with_probe(min_free, move || free_space(&path))
    }

    /// A gate over free bytes that come from anywhere.
    pub fn with_probe(
        min_free: u64,
        probe: impl Fn() -> std::result::Result<u64, LogError> + Send + Sync + 'static,
    ) -> Self {
        let limits = Hysteresis {
            min_free,
            is_open: true,
        };
        let gate = Self {
            is_open: AtomicBool::new(true),
            free: AtomicU64::new(0),
            min_free,
            return_at: limits.return_at(),
            watch: Mutex::new(Watch {
                limits,
                last_read: None,
                is_unreadable: false,
            }),
            probe: Box::new(probe),
        };
        gate.refresh();
        gate
    }

    /// Whether writes may go on, as far as it was last seen. Costs one load.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Lets a write pass or says why not. A write that would be refused looks at the disk again
    /// first, unless that has just been done.
    ///
    /// # Errors
    /// `DiskFull`, `DISK_FULL`, with the numbers and the remedy.
    pub fn check(&self) -> Result<()> {
        if self.is_open() || self.recheck(Instant::now()) {
            return Ok(());
        }
        let Self {
            min_free,
            return_at,
            ..
        } = self;
        Err(Error::new(
            ErrorKind::DiskFull,
            "DISK_FULL",
            format!(
                "disk full: free={} bytes, min={min_free} (disk.min_free); reads and deletes work, \
                 writes return by themselves at {return_at} free bytes",
                self.free()
            ),
        ))
    }

    /// Looks at the disk now. Whether the gate is open then. May block as long as `statvfs` does.
    pub fn refresh(&self) -> bool {
        self.read(&mut self.lock(), Instant::now())
    }

    /// Free bytes when it was last looked.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// Whether so many bytes can be taken and the gate, were it closed, would still open.
    #[must_use]
    pub fn has_room_for(&self, bytes: u64) -> bool {
        self.free() >= self.return_at.saturating_add(bytes)
    }

    fn recheck(&self, now: Instant) -> bool {
        // One looks; the others need not wait for it.
        let Ok(mut watch) = self.watch.try_lock() else {
            return self.is_open();
        };
        let is_fresh = watch
            .last_read
            .is_some_and(|last| now.saturating_duration_since(last) < RECHECK_PAUSE);
        if is_fresh {
            return self.is_open();
        }
        self.read(&mut watch, now)
    }

    fn read(&self, watch: &mut Watch, now: Instant) -> bool {
        watch.last_read = Some(now);
        let free = match (self.probe)() {
            Ok(free) => free,
            Err(error) => {
                // Not knowing is no reason to refuse writes, nor to let them in again.
                if !std::mem::replace(&mut watch.is_unreadable, true) {
                    tracing::warn!(%error, "free space cannot be read: writes stay as they are");
                }
                return watch.limits.is_open;
            }
        };
        watch.is_unreadable = false;
        self.free.store(free, Ordering::Relaxed);
        let has_changed = watch.limits.step(free);
        let is_open = watch.limits.is_open;
        self.is_open.store(is_open, Ordering::Relaxed);
        let (min_free, return_at) = (self.min_free, self.return_at);
        match (has_changed, is_open) {
            (true, true) => tracing::info!(free, return_at, "the disk has room: writes are back"),
            (true, false) => tracing::warn!(
                free,
                min_free,
                return_at,
                "disk full: writes are refused until there is room; reads and deletes work"
            ),
            (false, _) => {}
        }
        is_open
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        // What is in there is right at every moment, a panicking probe included.
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for DiskGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskGate")
            .field("is_open", &self.is_open)
            .field("free", &self.free)
            .field("min_free", &self.min_free)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// A disk whose free space the test sets and whose reads it counts; `u64::MAX` cannot be read.
    #[derive(Default)]
    struct Disk {
        free: AtomicU64,
        reads: AtomicU64,
    }

    impl Disk {
        fn set(&self, free: u64) {
            self.free.store(free, Ordering::Relaxed);
        }

        fn reads(&self) -> u64 {
            self.reads.load(Ordering::Relaxed)
        }
    }

    fn gate(min_free: u64, free: u64) -> (DiskGate, Arc<Disk>) {
        let disk = Arc::new(Disk::default());
        disk.set(free);
        let probed = Arc::clone(&disk);
        let gate = DiskGate::with_probe(min_free, move || {
            probed.reads.fetch_add(1, Ordering::Relaxed);
            match probed.free.load(Ordering::Relaxed) {
                u64::MAX => free_space("/nowhere/at/all".as_ref()),
                free => Ok(free),
            }
        });
        (gate, disk)
    }

    #[test]
    fn writes_stop_below_the_limit_and_return_ten_percent_above() {
        let (gate, disk) = gate(1000, 1000);
        assert!(gate.is_open());
        for (free, is_open) in [(999, false), (1000, false), (1099, false), (1100, true)] {
            disk.set(free);
            assert_eq!(gate.refresh(), is_open, "{free}");
            assert_eq!(gate.is_open(), is_open, "{free}");
        }
        disk.set(1000);
        assert!(gate.refresh());
    }

    #[test]
    fn a_start_on_a_full_disk_refuses_writes_with_the_numbers() {
        let (gate, _disk) = gate(1000, 10);
        let error = gate.check().unwrap_err();
        assert_eq!(
            (error.kind(), error.reason()),
            (ErrorKind::DiskFull, "DISK_FULL")
        );
        for part in ["free=10 ", "min=1000 ", "1100", "disk.min_free"] {
            assert!(error.message().contains(part), "{error}");
        }
    }

    #[test]
    fn refused_writes_look_again_but_not_all_of_them() {
        let (gate, disk) = gate(1000, 10);
        let start = Instant::now() + Duration::from_secs(1);
        assert!(!gate.recheck(start));
        disk.set(5000);
        let reads = disk.reads();
        for ms in 0..100 {
            assert!(!gate.recheck(start + Duration::from_millis(ms)));
        }
        assert_eq!(disk.reads(), reads);
        assert!(gate.recheck(start + RECHECK_PAUSE));
        assert_eq!(disk.reads(), reads + 1);
        assert!(gate.check().is_ok());
        assert_eq!(disk.reads(), reads + 1, "an open gate is not looked behind");
    }

    #[test]
    fn a_disk_that_cannot_be_read_changes_nothing() {
        for free in [10, 5000] {
            let (gate, disk) = gate(1000, free);
            let was_open = gate.is_open();
            disk.set(u64::MAX);
            assert_eq!(gate.refresh(), was_open);
            assert_eq!(gate.free(), free);
        }
    }

    #[test]
    fn without_a_limit_no_disk_is_full() {
        let (gate, _disk) = gate(0, 0);
        assert!(gate.is_open());
    }

    #[test]
    fn a_real_filesystem_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(DiskGate::new(dir.path().to_owned(), 1).is_open());
        assert!(!DiskGate::new(dir.path().to_owned(), u64::MAX).is_open());
    }

    proptest! {
        /// The model: the last reading outside the two limits decides.
        #[test]
        fn only_a_reading_outside_the_limits_changes_the_state(
            min_free in prop_oneof![0_u64..200, Just(u64::MAX)],
            readings in prop::collection::vec(0_u64..250, 1..60),
        ) {
            let mut state = Hysteresis { min_free, is_open: true };
            for (count, free) in readings.iter().enumerate() {
                let was_open = state.is_open;
                let changed = state.step(*free);
                prop_assert_eq!(changed, was_open != state.is_open);
                let below = |it: &u64| *it < min_free;
                let above = |it: &u64| u128::from(*it) * 10 >= u128::from(min_free) * 11;
                let seen = readings[..=count].iter().rev();
                let expected = seen.copied().find(|it| below(it) || above(it)).is_none_or(|it| above(&it));
                prop_assert_eq!(state.is_open, expected);
            }
        }
    }
}
