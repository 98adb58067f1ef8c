//! The cut: one moment across all shards.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Where the actors of all shards park between two groups, each with its snapshot taken, until
/// the last has arrived.
#[derive(Debug)]
pub struct CutGate {
    expected: usize,
    deadline: Instant,
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    arrived: usize,
    open: bool,
    given_up: bool,
}

impl CutGate {
    /// A gate for this many shards that nobody waits at longer than `patience`.
    #[must_use]
    pub fn new(expected: usize, patience: Duration) -> Arc<Self> {
        let deadline = Instant::now() + patience;
        Arc::new(Self {
            expected,
            deadline,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Parks the calling actor until the gate opens. `false` when it did not in time: the cut has
    /// failed, and the shard goes on.
    pub(super) fn park(&self) -> bool {
        let mut state = self.lock();
        state.arrived += 1;
        self.changed.notify_all();
        self.wait(state, |state| state.open || state.given_up) && !self.lock().given_up
    }

    /// Sends everybody on because a shard will not come: the cut has failed.
    pub fn give_up(&self) {
        self.lock().given_up = true;
        self.changed.notify_all();
    }

    /// Waits until every shard has parked, runs `at_the_cut` at that moment, and lets all go on.
    pub fn hold<T>(&self, at_the_cut: impl FnOnce() -> T) -> Option<T> {
        let decided = |state: &GateState| state.arrived >= self.expected || state.given_up;
        let all_here = self.wait(self.lock(), decided) && !self.lock().given_up;
        let result = all_here.then(at_the_cut);
        self.lock().open = true;
        self.changed.notify_all();
        result
    }

    fn wait(
        &self,
        mut state: MutexGuard<'_, GateState>,
        done: impl Fn(&GateState) -> bool,
    ) -> bool {
        while !done(&state) {
            let Some(left) = self.deadline.checked_duration_since(Instant::now()) else {
                return false;
            };
            let waited = self.changed.wait_timeout(state, left);
            state = waited.expect("no code panics while it holds this lock").0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state
            .lock()
            .expect("no code panics while it holds this lock")
    }
}
