//! Fail points belong to the whole process: a test that arms one has the process to itself.

use crate::support::eventually;
use fail::FailScenario;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static PROCESS: RwLock<()> = RwLock::new(());

/// Held as long as a test has anything open.
pub enum Faults {
    /// Others may run, but none that arms fail points.
    Calm {
        _shared: RwLockReadGuard<'static, ()>,
    },
    /// Beside something that holds one of the others.
    Second,
    /// Nobody else runs.
    Armed {
        _scenario: FailScenario<'static>,
        _alone: RwLockWriteGuard<'static, ()>,
    },
}

impl Faults {
    /// For a test that arms no fail point.
    pub fn calm() -> Self {
        let shared = PROCESS.read().unwrap_or_else(PoisonError::into_inner);
        Self::Calm { _shared: shared }
    }

    /// For a test that does; what it armed is disarmed when this is dropped.
    pub fn armed() -> Self {
        let alone = PROCESS.write().unwrap_or_else(PoisonError::into_inner);
        Self::Armed {
            _scenario: FailScenario::setup(),
            _alone: alone,
        }
    }
}

/// Arms a fail point.
pub fn arm(point: &str, actions: &str) {
    fail::cfg(point, actions).unwrap();
}

/// Disarms it.
pub fn disarm(point: &str) {
    fail::remove(point);
}

/// A place in the code where the first who comes is held until the test lets go.
pub struct Hold(Arc<(Mutex<Held>, Condvar)>);

#[derive(Default)]
struct Held {
    came: usize,
    released: bool,
}

impl Hold {
    /// Holds the first, and whoever comes while it is held.
    pub fn at(point: &str) -> Self {
        let hold = Self(Arc::default());
        let state = hold.0.clone();
        let stay = move || {
            let mut held = state.0.lock().unwrap();
            held.came += 1;
            while !held.released {
                held = state.1.wait(held).unwrap();
            }
        };
        fail::cfg_callback(point, stay).unwrap();
        hold
    }

    /// Waits until somebody is there.
    pub async fn somebody(&self) {
        self.so_many(1).await;
    }

    /// Waits until so many are there.
    pub async fn so_many(&self, wanted: usize) {
        let came = || (self.0.0.lock().unwrap().came >= wanted).then_some(());
        eventually("somebody at the fail point", came).await;
    }

    /// Lets everybody go.
    pub fn release(&self) {
        self.0.0.lock().unwrap().released = true;
        self.0.1.notify_all();
    }
}

/// A test that fails leaves nobody behind.
impl Drop for Hold {
    fn drop(&mut self) {
        self.release();
    }
}
