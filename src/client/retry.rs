//! When a call is made again, and after how long.

use std::error::Error as _;
use std::future::Future;
use std::time::Duration;
use tonic::{Code, Status};

/// Pauses between attempts: 3.4 s in all, enough for a shard or a server that restarts.
const PAUSES_MS: [u64; 8] = [25, 50, 100, 200, 400, 800, 900, 900];

/// Whether a call may be made twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// The second time changes nothing.
    Always,
    /// Only when the server says that it turned the call away before starting it.
    IfNotStarted,
}

/// Makes a call until it succeeds, fails for good, or was tried often enough.
pub(super) async fn repeated<T, F, A>(repeat: Repeat, call: F) -> Result<T, Status>
where
    F: Fn() -> A,
    A: Future<Output = Result<T, Status>>,
{
    for pause_ms in PAUSES_MS {
        match call().await {
            Err(status) if may_repeat(repeat, &status) => {
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            }
            outcome => return outcome,
        }
    }
    call().await
}

fn may_repeat(repeat: Repeat, status: &Status) -> bool {
    match repeat {
        Repeat::Always => is_overload(status) || is_lost(status),
        Repeat::IfNotStarted => is_overload(status),
    }
}

/// The server turned the call away before it started.
pub(super) fn is_overload(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted
}

/// The server could not be reached, or the connection broke: tonic reports a break in the middle
/// of a call under several codes, all with the transport's error as their source.
pub(super) fn is_lost(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        Code::Unknown | Code::Internal | Code::Cancelled => status.source().is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    async fn attempts(repeat: Repeat, code: Code) -> usize {
        let made = Cell::new(0);
        let outcome: Result<(), Status> = repeated(repeat, || {
            made.set(made.get() + 1);
            async move { Err(Status::new(code, "no")) }
        })
        .await;
        assert_eq!(outcome.map_err(|status| status.code()), Err(code));
        made.get()
    }

    #[tokio::test]
    async fn a_call_that_may_be_repeated_is_tried_a_bounded_number_of_times() {
        let all = PAUSES_MS.len() + 1;
        assert_eq!(attempts(Repeat::Always, Code::Unavailable).await, all);
    }

    #[tokio::test]
    async fn a_change_whose_outcome_is_unknown_is_not_made_again() {
        assert_eq!(attempts(Repeat::IfNotStarted, Code::Unavailable).await, 1);
    }

    #[tokio::test]
    async fn an_answer_is_final() {
        for code in [Code::DataLoss, Code::PermissionDenied, Code::Internal] {
            assert_eq!(attempts(Repeat::Always, code).await, 1);
        }
    }
}
