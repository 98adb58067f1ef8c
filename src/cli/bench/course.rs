//! When requests start and when they end: a closed loop, or an open one by a fixed rate.
//!
//! In a closed loop a worker sends its next request when it has the last answer. In an open loop the
//! schedule is fixed beforehand, and a latency counts from the moment that the schedule intended:
//! a server that stalls makes all requests late that should have been sent meanwhile, and is not
//! spared them (Gil Tene's "coordinated omission").

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// When a run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// After this time.
    After(Duration),
    /// After so many requests.
    Count(u64),
}

/// The shortest sleep of the pacer: what is due within it is sent together.
const PACE_MIN: Duration = Duration::from_micros(50);

/// One run's schedule, shared by all of its workers.
#[derive(Debug)]
pub struct Course {
    end: End,
    /// Requests a second; none for a closed loop.
    rate: Option<f64>,
    begun: OnceLock<Instant>,
    /// Requests handed out.
    tickets: AtomicU64,
    /// Requests of an open loop that are due.
    due: Semaphore,
    stopped: AtomicBool,
    /// Requests answered, for whoever watches.
    answered: AtomicU64,
}

impl Course {
    /// A run that has not begun.
    #[must_use]
    pub fn new(end: End, rate: Option<f64>) -> Self {
        Self {
            end,
            rate,
            begun: OnceLock::new(),
            tickets: AtomicU64::new(0),
            due: Semaphore::new(0),
            stopped: AtomicBool::new(false),
            answered: AtomicU64::new(0),
        }
    }

    /// Begins now, if it has not.
    pub fn begin(&self) -> Instant {
        *self.begun.get_or_init(Instant::now)
    }

    /// Ends it early.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.due.close();
    }

    /// One more answer.
    pub fn note_answer(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Requests that were due at the end and never sent: how far the server fell behind the rate.
    #[must_use]
    pub fn unsent(&self) -> u64 {
        self.due.available_permits() as u64
    }

    /// How much of it is done, 0 to 1.
    #[must_use]
    pub fn progress(&self) -> f64 {
        let Some(begun) = self.begun.get() else {
            return 0.0;
        };
        let done = match self.end {
            End::After(length) => begun.elapsed().as_secs_f64() / length.as_secs_f64(),
            End::Count(count) => self.answered() as f64 / count.max(1) as f64,
        };
        done.min(1.0)
    }

    /// Waits until a worker's next request may start; the moment from which its latency counts, or
    /// `None` when the run is over.
    pub async fn next(&self) -> Option<Instant> {
        let begun = self.begin();
        let Some(rate) = self.rate else {
            return self.next_at_once(begun);
        };
        self.due.acquire().await.ok()?.forget();
        let turn = self.tickets.fetch_add(1, Ordering::Relaxed);
        Some(begun + due_after(turn, rate))
    }

    fn next_at_once(&self, begun: Instant) -> Option<Instant> {
        if self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        let now = Instant::now();
        let goes_on = match self.end {
            End::After(length) => now < begun + length,
            End::Count(count) => self.tickets.fetch_add(1, Ordering::Relaxed) < count,
        };
        goes_on.then_some(now)
    }

    /// Lets the requests of an open loop go when they are due; returns when the run is over. It has
    /// a thread of its own, since a runtime's timer counts in whole milliseconds.
    pub fn pace(&self) {
        let Some(rate) = self.rate else {
            return;
        };
        let begun = self.begin();
        let last = match self.end {
            End::After(length) => (length.as_secs_f64() * rate) as u64,
            End::Count(count) => count,
        };
        let mut sent = 0;
        while sent < last && !self.stopped.load(Ordering::Relaxed) {
            let due = (begun.elapsed().as_secs_f64() * rate) as u64 + 1;
            let now_due = due.min(last).saturating_sub(sent);
            self.due
                .add_permits(usize::try_from(now_due).unwrap_or(Semaphore::MAX_PERMITS));
            sent += now_due;
            let until = begun + due_after(sent, rate);
            std::thread::sleep(
                until
                    .saturating_duration_since(Instant::now())
                    .max(PACE_MIN),
            );
        }
        self.let_the_last_go(last);
    }

    /// A run of a fixed number sends all of them; one of a fixed time ends in time. A permit that was
    /// given to a worker is lost if this closes before the worker has run, so the tickets are counted.
    fn let_the_last_go(&self, last: u64) {
        while matches!(self.end, End::Count(_))
            && self.tickets.load(Ordering::Relaxed) < last
            && !self.stopped.load(Ordering::Relaxed)
        {
            std::thread::sleep(PACE_MIN);
        }
        self.due.close();
    }
}

fn due_after(turn: u64, rate: f64) -> Duration {
    Duration::from_secs_f64(turn as f64 / rate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_closed_loop_of_a_number_ends_after_it() {
        let course = Course::new(End::Count(3), None);
        let mut sent = 0;
        while course.next().await.is_some() {
            sent += 1;
        }
        assert_eq!(sent, 3);
    }

    #[tokio::test]
    async fn a_stopped_run_starts_nothing_more() {
        for rate in [None, Some(1e9)] {
            let course = Course::new(End::Count(u64::MAX), rate);
            course.stop();
            assert_eq!(course.next().await, None);
        }
    }

    #[tokio::test]
    async fn an_open_loop_counts_from_the_schedule_however_late_it_is() {
        let course = Arc::new(Course::new(End::Count(5), Some(1000.0)));
        let begun = course.begin();
        let pacer = {
            let course = course.clone();
            std::thread::spawn(move || course.pace())
        };
        let mut intended = Vec::new();
        while let Some(start) = course.next().await {
            intended.push((start - begun).as_micros());
        }
        pacer.join().expect("the pacer ends");
        assert_eq!(intended, [0, 1000, 2000, 3000, 4000]);
    }

    #[test]
    fn the_last_goes_however_late_its_worker_is_run() {
        use std::future::Future as _;
        use std::task::{Context, Poll, Waker};
        let course = Arc::new(Course::new(End::Count(1), Some(1e9)));
        let mut next = std::pin::pin!(course.next());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(next.as_mut().poll(&mut cx).is_pending());
        let pacer = {
            let course = course.clone();
            std::thread::spawn(move || course.pace())
        };
        // The permit is this worker's, or will be: nothing but its next poll takes the ticket.
        let deadline = Instant::now() + Duration::from_secs(60);
        let taken = loop {
            std::thread::sleep(Duration::from_millis(2));
            match next.as_mut().poll(&mut cx) {
                Poll::Ready(taken) => break taken,
                Poll::Pending => assert!(Instant::now() < deadline),
            }
        };
        assert!(taken.is_some());
        pacer.join().expect("the pacer ends");
    }

    #[test]
    fn what_was_due_and_not_sent_is_told() {
        let course = Course::new(End::After(Duration::from_millis(5)), Some(10_000.0));
        course.pace();
        assert_eq!(course.unsent(), 50);
    }
}
