//! When a call is made again, and after how long.
//!
//! A call is made again when the server says that it changed nothing and when to come back, and when
//! the connection broke under one that may happen twice. Pauses grow and are never the same, so that
//! those who lost a server do not come back at once, and all calls of a connection share a budget, so
//! that a server in trouble does not get more load from those who wait for it.

use super::error::reason_of;
use std::error::Error as _;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Pauses between attempts: at most 3.4 s in all, enough for a shard or a server that restarts.
const PAUSES_MS: [u64; 8] = [25, 50, 100, 200, 400, 800, 900, 900];
/// Who is told to come back later than this gets the error instead.
const TOLD_MAX: Duration = Duration::from_secs(1);

/// What one retry costs; a call that succeeds gives back a tenth.
const RETRY_COST: u32 = 10;
/// A thousand retries at once.
const BUDGET_MAX: u32 = 1000 * RETRY_COST;

/// Whether a call may be made twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// The second time changes nothing.
    Always,
    /// The server knows it by its name, or says that it cannot know what became of it.
    Named,
    /// Only when the server says that it turned the call away before starting it.
    IfNotStarted,
}

/// What the calls of a connection may spend on second tries together: a thousand, and one for
/// every ten calls that succeed.
#[derive(Debug)]
pub(super) struct RetryBudget(AtomicU32);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(AtomicU32::new(BUDGET_MAX))
    }
}

impl RetryBudget {
    /// Takes what one retry costs, if that is left.
    pub(super) fn spend(&self) -> bool {
        let spent = |left: u32| left.checked_sub(RETRY_COST);
        let order = Ordering::Relaxed;
        self.0.fetch_update(order, order, spent).is_ok()
    }

    fn give_back(&self) {
        let given = |left: u32| (left < BUDGET_MAX).then_some(left + 1);
        let order = Ordering::Relaxed;
        // An error means that it is full.
        let _ = self.0.fetch_update(order, order, given);
    }
}

/// Makes a call until it succeeds, fails for good, was tried often enough, or the budget is spent.
pub(super) async fn repeated<T, F, A>(
    budget: &RetryBudget,
    repeat: Repeat,
    call: F,
) -> Result<T, Status>
where
    F: Fn() -> A,
    A: Future<Output = Result<T, Status>>,
{
    for tries in 0.. {
        match call().await {
            Ok(answer) => {
                budget.give_back();
                return Ok(answer);
            }
            Err(status) => match pause_after(repeat, &status, tries) {
                Some(pause) if budget.spend() => tokio::time::sleep(pause).await,
                _ => return Err(status),
            },
        }
    }
    unreachable!("the pauses end")
}

/// How long to wait before a call is made again that failed so after so many other tries.
pub(super) fn pause_after(repeat: Repeat, status: &Status, tries: usize) -> Option<Duration> {
    let told = status.get_details_retry_info();
    let told = told.and_then(|info| info.retry_delay);
    let may_repeat = match (told, repeat) {
        (Some(told), _) => told <= TOLD_MAX,
        (None, Repeat::Always) => is_overload(status) || is_lost(status),
        (None, Repeat::Named) => {
            is_overload(status) || (is_lost(status) && reason_of(status) != "OUTCOME_UNKNOWN")
        }
        (None, Repeat::IfNotStarted) => is_overload(status),
    };
    let pause = *PAUSES_MS.get(tries).filter(|_| may_repeat)?;
    Some(jittered(pause).max(told.unwrap_or_default()))
}

/// Between a half and the whole of it.
fn jittered(pause_ms: u64) -> Duration {
    let half_us = pause_ms * 500;
    // Without a random number the pause is as good as any.
    let random = getrandom::u64().unwrap_or_default();
    Duration::from_micros(half_us + random % (half_us + 1))
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

    async fn attempts(budget: &RetryBudget, repeat: Repeat, code: Code) -> usize {
        let made = Cell::new(0);
        let outcome: Result<(), Status> = repeated(budget, repeat, || {
            made.set(made.get() + 1);
            async move { Err(Status::new(code, "no")) }
        })
        .await;
        assert_eq!(outcome.map_err(|status| status.code()), Err(code));
        made.get()
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_may_be_repeated_is_tried_a_bounded_number_of_times() {
        let (budget, all) = (RetryBudget::default(), PAUSES_MS.len() + 1);
        assert_eq!(
            attempts(&budget, Repeat::Always, Code::Unavailable).await,
            all
        );
    }

    #[tokio::test]
    async fn a_change_whose_outcome_is_unknown_is_not_made_again() {
        let (budget, once) = (RetryBudget::default(), Repeat::IfNotStarted);
        assert_eq!(attempts(&budget, once, Code::Unavailable).await, 1);
    }

    #[tokio::test]
    async fn an_answer_is_final() {
        let budget = RetryBudget::default();
        for code in [Code::DataLoss, Code::PermissionDenied, Code::Internal] {
            assert_eq!(attempts(&budget, Repeat::Always, code).await, 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_calls_share_a_budget_that_successes_fill() {
        let budget = RetryBudget::default();
        let mut made = 0;
        for _ in 0..200 {
            made += attempts(&budget, Repeat::Always, Code::Unavailable).await;
        }
        assert_eq!(made, 200 + 1000, "two hundred calls and a thousand retries");
        for _ in 0..RETRY_COST {
            let answer = repeated(&budget, Repeat::Always, || async { Ok(()) }).await;
            answer.unwrap();
        }
        assert_eq!(
            attempts(&budget, Repeat::Always, Code::Unavailable).await,
            2
        );
    }

    #[test]
    fn a_server_that_says_when_to_come_back_is_asked_again_then() {
        let told = |delay| {
            let details = tonic_types::ErrorDetails::with_retry_info(Some(delay));
            Status::with_error_details(Code::Unavailable, "no", details)
        };
        let soon = told(Duration::from_millis(700));
        let pause = pause_after(Repeat::IfNotStarted, &soon, 0);
        assert_eq!(pause, Some(Duration::from_millis(700)));
        let late = told(Duration::from_secs(5));
        assert_eq!(pause_after(Repeat::Always, &late, 0), None);
    }
}
