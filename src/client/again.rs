//! How a write under its name is sent again: a server does one request id once, as long as it runs.
//!
//! A write that leaves the same the second time may go to any run of the server. One on a condition,
//! or a count, goes only to the run that it went to first, which remembers it: another one would judge it
//! by what it has changed itself. Which run that is, an earlier answer told, or the server is asked.

use super::Result;
use super::connect::Pool;
use super::retry::Repeat;
use crate::proto::v1;
use crate::proto::v1::transaction_service_client::TransactionServiceClient;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use tonic::Status;

/// What a second write of the same leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Twice {
    /// What the first one has left.
    Same,
    /// Something else, or an error.
    Differs,
}

impl Twice {
    /// Of a write that is done on a condition, or without one.
    pub(super) fn on_condition(is_on_condition: bool) -> Self {
        match is_on_condition {
            true => Self::Differs,
            false => Self::Same,
        }
    }
}

/// The tries of one write.
#[derive(Debug)]
pub(super) struct Tries {
    /// When it is sent again.
    pub(super) repeat: Repeat,
    /// The only run that it is sent to again; 0 for any.
    run: u64,
    was_sent: AtomicBool,
}

impl Tries {
    /// Those of a write with this name. Which run answers is asked before the first write that has to
    /// know it.
    ///
    /// # Errors
    /// That the server does not say; nothing was written then.
    pub(super) async fn of(
        pool: &Pool,
        call: &'static str,
        request_id: &str,
        twice: Twice,
    ) -> Result<Self> {
        let (repeat, run) = match twice {
            _ if request_id.is_empty() => (Repeat::IfNotStarted, 0),
            Twice::Same => (Repeat::Always, 0),
            Twice::Differs => {
                let run = run_of(pool).await;
                match run.map_err(|status| pool.failed(call, &status))? {
                    Some(run) => (Repeat::Named, run.get()),
                    None => (Repeat::IfNotStarted, 0),
                }
            }
        };
        Ok(Self {
            repeat,
            run,
            was_sent: AtomicBool::new(false),
        })
    }

    /// The only run that may do the next try; 0 for any, as the first one's.
    pub(super) fn only_run(&self) -> u64 {
        match self.was_sent.swap(true, Ordering::Relaxed) {
            true => self.run,
            false => 0,
        }
    }
}

/// Which run of the server answers, unless it keeps that to itself.
async fn run_of(pool: &Pool) -> Result<Option<NonZeroU64>, Status> {
    if let Some(run) = pool.run() {
        return Ok(Some(run));
    }
    // A commit of nothing tells, and does nothing.
    let told = pool.call(Repeat::Always, |channel| async move {
        let nothing = v1::CommitRequest::default();
        TransactionServiceClient::new(channel).commit(nothing).await
    });
    pool.heard_of(told.await?.run);
    Ok(pool.run())
}
