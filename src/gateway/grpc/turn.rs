//! Turns: what one connection may do before the others of its core come to it.
//!
//! The tasks of a core run one after the other, first come, first served, and each call of a
//! connection is one: two hundred calls at once are two hundred places in that row, and whoever comes
//! after them waits for all. So a connection has turns. In one, it reads so many bytes and so many of
//! its calls go on; the rest is done in its next, when everybody else has had one.
//!
//! A turn begins whenever the connection's own task is run, which puts itself at the end of the row
//! when something was put off. Calls whose connection has ended are put off no more.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

/// So many times calls go on in a turn. Fewer would put off calls that are answered together, which
/// costs more than it gains.
const CALLS_MAX: usize = 64;
/// Bytes that are read in a turn, give or take what one read brings.
const BYTES_MAX: usize = 256 * 1024;

/// The turns of one connection. All of it happens on one core.
#[derive(Debug, Default)]
pub(super) struct Turns {
    calls: AtomicUsize,
    bytes: AtomicUsize,
    connection: OnceLock<Waker>,
    is_any_later: AtomicBool,
    later: Mutex<Later>,
}

/// What was put off.
#[derive(Debug, Default)]
struct Later {
    has_ended: bool,
    calls: Vec<Waker>,
}

impl Turns {
    /// Runs the connection's own task to its end, a turn each time.
    pub(super) async fn run<F: Future>(&self, mut connection: Pin<&mut F>) -> F::Output {
        poll_fn(|cx| {
            self.begin(cx);
            connection.as_mut().poll(cx)
        })
        .await
    }

    /// Runs a call of the connection, each time only when there is room for it in the turn.
    pub(super) async fn call<F: Future>(&self, call: F) -> F::Output {
        let mut call = pin!(call);
        poll_fn(|cx| match self.admits(cx) {
            true => call.as_mut().poll(cx),
            false => Poll::Pending,
        })
        .await
    }

    /// Whether the connection may read on in this turn; if not, it is run again later.
    pub(super) fn may_read(&self, cx: &Context<'_>) -> bool {
        let may = self.bytes.load(Ordering::Relaxed) < BYTES_MAX;
        if !may {
            cx.waker().wake_by_ref();
        }
        may
    }

    /// So many bytes were read.
    pub(super) fn note_read(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// There are no more turns: what was put off goes on, and nothing is put off.
    pub(super) fn end(&self) {
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        later.has_ended = true;
        let calls = std::mem::take(&mut later.calls);
        drop(later);
        calls.into_iter().for_each(Waker::wake);
    }

    fn begin(&self, cx: &Context<'_>) {
        self.connection.get_or_init(|| cx.waker().clone());
        self.bytes.store(0, Ordering::Relaxed);
        self.calls.store(0, Ordering::Relaxed);
        if !self.is_any_later.load(Ordering::Relaxed) {
            return;
        }
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        let count = later.calls.len().min(CALLS_MAX);
        let calls: Vec<_> = later.calls.drain(..count).collect();
        let is_more = !later.calls.is_empty();
        self.is_any_later.store(is_more, Ordering::Relaxed);
        drop(later);
        calls.into_iter().for_each(Waker::wake);
        if is_more {
            // Behind those that were just woken, and behind everybody else.
            cx.waker().wake_by_ref();
        }
    }

    fn admits(&self, cx: &Context<'_>) -> bool {
        if self.calls.fetch_add(1, Ordering::Relaxed) < CALLS_MAX {
            return true;
        }
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        if later.has_ended {
            return true;
        }
        later.calls.push(cx.waker().clone());
        self.is_any_later.store(true, Ordering::Relaxed);
        drop(later);
        if let Some(connection) = self.connection.get() {
            connection.wake_by_ref();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use std::task::Wake;

    #[derive(Default)]
    struct Woken(AtomicU64);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A waker and how often it was woken.
    fn waker() -> (Waker, Arc<Woken>) {
        let woken = Arc::<Woken>::default();
        (woken.clone().into(), woken)
    }

    fn times(woken: &Woken) -> u64 {
        woken.0.load(Ordering::Relaxed)
    }

    fn admitted(turns: &Turns, calls: usize, cx: &Context<'_>) -> usize {
        (0..calls).filter(|_| turns.admits(cx)).count()
    }

    #[test]
    fn calls_too_many_for_a_turn_go_on_in_the_next_ones() {
        let turns = Turns::default();
        let ((own, connection), (waker, calls)) = (waker(), waker());
        let (own, call) = (Context::from_waker(&own), Context::from_waker(&waker));
        turns.begin(&own);
        assert_eq!(admitted(&turns, 2 * CALLS_MAX + 4, &call), CALLS_MAX);
        assert!(times(&connection) > 0);
        turns.begin(&own);
        assert_eq!(times(&calls), CALLS_MAX as u64);
        assert_eq!(admitted(&turns, CALLS_MAX, &call), CALLS_MAX);
        let before = times(&connection);
        turns.begin(&own);
        assert_eq!(times(&calls), CALLS_MAX as u64 + 4);
        assert_eq!(times(&connection), before);
    }

    #[test]
    fn what_was_put_off_goes_on_when_the_connection_has_ended() {
        let turns = Turns::default();
        let ((own, _), (waker, calls)) = (waker(), waker());
        let call = Context::from_waker(&waker);
        turns.begin(&Context::from_waker(&own));
        assert_eq!(admitted(&turns, CALLS_MAX + 40, &call), CALLS_MAX);
        turns.end();
        assert_eq!(times(&calls), 40);
        assert_eq!(admitted(&turns, 100, &call), 100);
    }

    #[test]
    fn a_connection_reads_so_much_in_a_turn() {
        let turns = Turns::default();
        let (own, connection) = waker();
        let own = Context::from_waker(&own);
        assert!(turns.may_read(&own));
        turns.note_read(BYTES_MAX);
        assert!(!turns.may_read(&own));
        assert_eq!(times(&connection), 1);
        turns.begin(&own);
        assert!(turns.may_read(&own));
    }
}
