//! The line of one core's connections that have more to do than fits a turn.
//!
//! Each has had its turn, and wants another. Were each run again as soon as its place in the core's
//! row comes, everybody else would wait for all of them, in every round. So they stand in a line, and
//! one of them is run in a round: the next is woken, at the end of the row, when it has had its turn.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The line. All of it happens on one core.
#[derive(Debug, Default)]
pub(super) struct Line(Mutex<Standing>);

#[derive(Debug, Default)]
struct Standing {
    last: u64,
    first: Option<u64>,
    others: VecDeque<(u64, Waker)>,
}

/// A place in the line. When it is dropped, wherever it was, and it was the first, the next is woken.
#[derive(Debug)]
pub(super) struct Place {
    line: Arc<Line>,
    number: u64,
}

impl Place {
    /// Whether it is this one's turn.
    pub(super) fn is_first(&self) -> bool {
        self.line.lock().first == Some(self.number)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.line.leave(self.number);
    }
}

impl Line {
    /// Takes a place at the end of the line; the waker is woken when it is the first.
    pub(super) fn join(self: &Arc<Self>, waker: &Waker) -> Place {
        let mut standing = self.lock();
        standing.last += 1;
        let number = standing.last;
        let place = Place {
            line: Arc::clone(self),
            number,
        };
        if standing.first.is_some() {
            standing.others.push_back((number, waker.clone()));
            return place;
        }
        standing.first = Some(number);
        drop(standing);
        waker.wake_by_ref();
        place
    }

    fn leave(&self, number: u64) {
        let mut standing = self.lock();
        if standing.first != Some(number) {
            standing.others.retain(|(other, _)| *other != number);
            return;
        }
        let next = standing.others.pop_front();
        standing.first = next.as_ref().map(|(number, _)| *number);
        drop(standing);
        if let Some((_, waker)) = next {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Wake;

    /// How often a waker was woken.
    #[derive(Default)]
    pub(in super::super) struct Woken(AtomicU64);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A waker and how often it was woken.
    pub(in super::super) fn waker() -> (Waker, Arc<Woken>) {
        let woken = Arc::<Woken>::default();
        (woken.clone().into(), woken)
    }

    pub(in super::super) fn times(woken: &Woken) -> u64 {
        woken.0.load(Ordering::Relaxed)
    }

    #[test]
    fn the_first_is_woken_at_once_and_the_others_when_it_has_left() {
        let line = Arc::<Line>::default();
        let wakers = [(); 3].map(|()| waker());
        let woken = || wakers.each_ref().map(|(_, woken)| times(woken));
        let [first, second, third] = wakers.each_ref().map(|(waker, _)| line.join(waker));
        assert_eq!(woken(), [1, 0, 0]);
        assert!(first.is_first() && !second.is_first());
        drop(first);
        assert_eq!(woken(), [1, 1, 0]);
        assert!(second.is_first() && !third.is_first());
        drop(second);
        drop(third);
        assert_eq!(woken(), [1, 1, 1]);
        let _again = line.join(&wakers[0].0);
        assert_eq!(woken(), [2, 1, 1]);
    }

    #[test]
    fn who_leaves_from_the_middle_is_never_woken() {
        let line = Arc::<Line>::default();
        let wakers = [(); 3].map(|()| waker());
        let [first, second, _third] = wakers.each_ref().map(|(waker, _)| line.join(waker));
        drop(second);
        drop(first);
        assert_eq!(wakers.each_ref().map(|(_, woken)| times(woken)), [1, 0, 1]);
    }
}
