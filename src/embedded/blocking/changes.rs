//! Changes as they come, for threads that wait.

use crate::client::Step;
use crate::embedded;
use crate::model::Result;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// Changes, a step after the other; it waits for the next one and ends with an error.
#[derive(Debug)]
pub struct Changes {
    changes: embedded::Changes,
    is_over: bool,
    runtime: Arc<Runtime>,
}

impl Changes {
    pub(super) fn new(changes: embedded::Changes, runtime: Arc<Runtime>) -> Self {
        Self {
            changes,
            is_over: false,
            runtime,
        }
    }
}

impl Iterator for Changes {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let step = self.runtime.block_on(self.changes.next());
        self.is_over = step.is_err();
        Some(step)
    }
}
