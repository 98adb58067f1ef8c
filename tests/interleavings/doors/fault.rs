//! Faults that are planted in the doors, or in the question itself.

use real_std::sync::atomic::{AtomicU8, Ordering};

/// What is wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    None,
    /// A map lets go of an entry between the look and the insertion.
    EntryWithoutLock,
    /// A semaphore gives one permit that it does not have.
    PermitTooMany,
    /// A gate waits for one shard too few.
    GateOpensEarly,
    /// A segment is unlinked though somebody reads it.
    PinsNotCounted,
    /// A change is announced after the index shows it.
    AnnouncedTooLate,
    /// The health is looked at and changed in two steps.
    HealthOverwritten,
}

static PLANTED: AtomicU8 = AtomicU8::new(Fault::None as u8);

/// Whether this fault is planted now.
pub fn is(fault: Fault) -> bool {
    PLANTED.load(Ordering::SeqCst) == fault as u8
}

/// Runs with a fault planted.
pub fn planted<T>(fault: Fault, run: impl FnOnce() -> T) -> T {
    PLANTED.store(fault as u8, Ordering::SeqCst);
    let result = run();
    PLANTED.store(Fault::None as u8, Ordering::SeqCst);
    result
}
