//! Changes as they come.

use super::convert;
use crate::client::{Change, Step};
use crate::model::{Error, Result};
use crate::service::{WatchPage, Watching};
use tokio::task::JoinHandle;

/// What reads a page; it has the watch meanwhile.
type Reading = JoinHandle<Result<(Watching, WatchPage)>>;

/// A watch in progress.
#[derive(Debug)]
pub struct Changes {
    watch: Watch,
    /// Where it began.
    first: Option<Step>,
    /// Changes of a commit that was not read as a whole.
    pending: Vec<Change>,
}

#[derive(Debug)]
enum Watch {
    Waiting(Box<Watching>),
    Reading(Reading),
    /// It has ended with an error.
    Over,
}

impl Changes {
    pub(super) fn new(watching: Watching) -> Self {
        let first = Step {
            changes: Vec::new(),
            version: watching.version(),
        };
        Self {
            first: Some(first),
            watch: Watch::Reading(tokio::spawn(watching.next_page())),
            pending: Vec::new(),
        }
    }

    /// Waits for changes; commits come as a whole. The first step comes at once, without changes, and
    /// says where the watch begins. May be dropped and called again.
    ///
    /// # Errors
    /// `Conflict` (`WATCH_COMPACTED`, `WATCH_RESTORED`) where the log does not hold the changes any
    /// more; `NotFound` (`NAMESPACE_NOT_FOUND`); `Unavailable` when the store is closed or a shard is
    /// opened anew. The watch is over then, and another one goes on after the version of the last
    /// step.
    pub async fn next(&mut self) -> Result<Step> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        loop {
            match self.go_on().await {
                Ok(Some(step)) => return Ok(step),
                Ok(None) => {}
                Err(error) => {
                    self.watch = Watch::Over;
                    return Err(error);
                }
            }
        }
    }

    async fn go_on(&mut self) -> Result<Option<Step>> {
        match &mut self.watch {
            Watch::Over => {
                let message =
                    "the watch has ended; begin another after the version of its last step";
                Err(Error::unavailable("WATCH_OVER", message))
            }
            Watch::Waiting(watching) => {
                watching.changed().await?;
                self.read();
                Ok(None)
            }
            Watch::Reading(reading) => {
                let lost =
                    |error| Error::internal("TASK_FAILED", format!("a task failed: {error}"));
                let (watching, page) = reading.await.map_err(lost)??;
                self.watch = Watch::Waiting(Box::new(watching));
                if page.more {
                    self.read();
                }
                self.take(page)
            }
        }
    }

    fn read(&mut self) {
        if let Watch::Waiting(watching) = std::mem::replace(&mut self.watch, Watch::Over) {
            self.watch = Watch::Reading(tokio::spawn(watching.next_page()));
        }
    }

    fn take(&mut self, page: WatchPage) -> Result<Option<Step>> {
        for event in page.events {
            self.pending.push(convert::change(event)?);
        }
        let version = page.version;
        let complete = self.pending.partition_point(|it| it.version <= version);
        let changes: Vec<Change> = self.pending.drain(..complete).collect();
        Ok((!changes.is_empty()).then_some(Step { changes, version }))
    }
}
