//! Turns: what one connection may do before the others of its core come to it.
//!
//! The tasks of a core run one after the other, first come, first served, and each call of a
//! connection is one: two hundred calls at once are two hundred places in that row, and whoever comes
//! after them waits for all. So a connection has turns. In one, it reads so many bytes and so many of
//! its calls go on; the rest is done in its next.
//!
//! Who has little to do begins a turn whenever its own task is run. Who wants more than one stands in
//! the core's [`Line`] for the next, so that it does not matter to the others how many such there are.
//! Calls whose connection has ended are put off no more.

use super::line::{Line, Place};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

/// So many times calls go on in a turn. Fewer would put off calls that are answered together, which
/// costs more than it gains.
const CALLS_MAX: usize = 64;
/// Bytes that are read in a turn, give or take what one read brings. Lists of headers of so many take
/// a third of a millisecond to decode.
const BYTES_MAX: usize = 64 * 1024;

/// The turns of one connection. All of it happens on one core.
#[derive(Debug)]
pub(super) struct Turns {
    line: Arc<Line>,
    calls: AtomicUsize,
    bytes: AtomicUsize,
    connection: OnceLock<Waker>,
    later: Mutex<Later>,
}

/// What was put off.
#[derive(Debug, Default)]
struct Later {
    has_ended: bool,
    /// Where this connection stands in the line when it has more to do.
    place: Option<Place>,
    calls: Vec<Waker>,
}

impl Turns {
    /// Turns of a connection that has its turns in this line.
    pub(super) fn new(line: Arc<Line>) -> Self {
        Self {
            line,
            calls: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            connection: OnceLock::new(),
            later: Mutex::default(),
        }
    }

    /// Runs the connection's own task to its end, a turn each time.
    pub(super) async fn run<F: Future>(&self, mut connection: Pin<&mut F>) -> F::Output {
        poll_fn(|cx| {
            // Held to the end of the turn, a panic's too.
            let place = self.begin(cx);
            if place.is_some() {
                // The core has had much to do for a while: first whoever else waits for it, such as
                // a shard, or clients on this machine.
                std::thread::yield_now();
            }
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
            self.want_another(&mut self.lock(), cx.waker());
        }
        may
    }

    /// So many bytes were read.
    pub(super) fn note_read(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// There are no more turns: what was put off goes on, and nothing is put off.
    pub(super) fn end(&self) {
        let mut later = self.lock();
        later.has_ended = true;
        let calls = std::mem::take(&mut later.calls);
        let place = later.place.take();
        drop(later);
        drop(place);
        calls.into_iter().for_each(Waker::wake);
    }

    /// Begins a turn, unless the connection stands in the line for it. Its place, if that has come.
    fn begin(&self, cx: &Context<'_>) -> Option<Place> {
        self.connection.get_or_init(|| cx.waker().clone());
        let mut later = self.lock();
        if later.place.as_ref().is_some_and(|place| !place.is_first()) {
            return None;
        }
        let place = later.place.take();
        self.bytes.store(0, Ordering::Relaxed);
        self.calls.store(0, Ordering::Relaxed);
        let count = later.calls.len().min(CALLS_MAX);
        let calls: Vec<_> = later.calls.drain(..count).collect();
        let is_more = !later.calls.is_empty();
        if is_more {
            self.want_another(&mut later, cx.waker());
        }
        drop(later);
        calls.into_iter().for_each(Waker::wake);
        place
    }

    fn admits(&self, cx: &Context<'_>) -> bool {
        if self.calls.fetch_add(1, Ordering::Relaxed) < CALLS_MAX {
            return true;
        }
        let mut later = self.lock();
        if later.has_ended {
            return true;
        }
        later.calls.push(cx.waker().clone());
        if let Some(connection) = self.connection.get() {
            self.want_another(&mut later, connection);
        }
        false
    }

    fn want_another(&self, later: &mut Later, connection: &Waker) {
        if later.place.is_none() && !later.has_ended {
            later.place = Some(self.line.join(connection));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Later> {
        self.later.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::tests::{times, waker};
    use super::*;

    fn admitted(turns: &Turns, calls: usize, cx: &Context<'_>) -> usize {
        (0..calls).filter(|_| turns.admits(cx)).count()
    }

    /// One poll of the connection's own task, which does nothing itself.
    fn run(turns: &Turns, cx: &mut Context<'_>) {
        let mut never = pin!(std::future::pending::<()>());
        let mut run = pin!(turns.run(never.as_mut()));
        assert!(run.as_mut().poll(cx).is_pending());
    }

    #[test]
    fn calls_too_many_for_a_turn_go_on_in_the_next_ones() {
        let turns = Turns::new(Arc::default());
        let ((own, connection), (waker, calls)) = (waker(), waker());
        let (mut own, call) = (Context::from_waker(&own), Context::from_waker(&waker));
        run(&turns, &mut own);
        assert_eq!(admitted(&turns, 2 * CALLS_MAX + 4, &call), CALLS_MAX);
        assert_eq!(times(&connection), 1);
        run(&turns, &mut own);
        assert_eq!(times(&calls), CALLS_MAX as u64);
        assert_eq!(admitted(&turns, CALLS_MAX, &call), CALLS_MAX);
        assert_eq!(times(&connection), 2);
        run(&turns, &mut own);
        assert_eq!(times(&calls), CALLS_MAX as u64 + 4);
        assert_eq!(times(&connection), 2);
    }

    #[test]
    fn what_was_put_off_goes_on_when_the_connection_has_ended() {
        let turns = Turns::new(Arc::default());
        let ((own, _), (waker, calls)) = (waker(), waker());
        let call = Context::from_waker(&waker);
        run(&turns, &mut Context::from_waker(&own));
        assert_eq!(admitted(&turns, CALLS_MAX + 40, &call), CALLS_MAX);
        turns.end();
        assert_eq!(times(&calls), 40);
        assert_eq!(admitted(&turns, 100, &call), 100);
    }

    #[test]
    fn a_connection_reads_so_much_in_a_turn() {
        let turns = Turns::new(Arc::default());
        let (own, connection) = waker();
        let mut own = Context::from_waker(&own);
        assert!(turns.may_read(&own));
        turns.note_read(BYTES_MAX);
        assert!(!turns.may_read(&own));
        assert_eq!(times(&connection), 1);
        run(&turns, &mut own);
        assert!(turns.may_read(&own));
    }

    #[test]
    fn of_those_who_want_more_one_has_a_turn_in_a_round() {
        let line = Arc::<Line>::default();
        let [(first, first_woken), (second, second_woken)] = [waker(), waker()];
        let [a, b] = [(); 2].map(|()| Turns::new(line.clone()));
        let (mut at_a, mut at_b) = (Context::from_waker(&first), Context::from_waker(&second));
        for (turns, cx) in [(&a, &at_a), (&b, &at_b)] {
            turns.note_read(BYTES_MAX);
            assert!(!turns.may_read(cx));
        }
        assert_eq!((times(&first_woken), times(&second_woken)), (1, 0));
        // It is run for another reason, and is still not the first.
        run(&b, &mut at_b);
        assert!(!b.may_read(&at_b));
        run(&a, &mut at_a);
        assert_eq!((times(&first_woken), times(&second_woken)), (1, 1));
        assert!(a.may_read(&at_a));
        run(&b, &mut at_b);
        assert!(b.may_read(&at_b));
    }

    #[test]
    fn who_ends_in_the_line_keeps_nobody_waiting() {
        let line = Arc::<Line>::default();
        let all = [(); 3].map(|()| (Turns::new(line.clone()), waker()));
        for (turns, (waker, _)) in &all {
            turns.note_read(BYTES_MAX);
            assert!(!turns.may_read(&Context::from_waker(waker)));
        }
        let [(first, _), (second, _), (_, (_, third_woken))] = &all;
        second.end();
        assert_eq!(times(third_woken), 0);
        first.end();
        assert_eq!(times(third_woken), 1);
    }
}
