//! Which connections of one core must leave because they are idle and too many are open.
//!
//! An idle connection costs some 17 KiB, nearly all of it HTTP/2's buffers, which it keeps for as long
//! as its peer likes. So above a number of open connections, those without an open call are asked to
//! leave (GOAWAY), about the one first that is idle longest: they stand in a row, and one that was
//! used since it was last looked at goes to the end of it instead, which is the CLOCK of page caches
//! and costs a call nothing but its count.
//!
//! A connection that was just opened stands in a row of its own for a while: its peer has come for a
//! call that is not here yet, and is not sent away while the others are busy. So nobody makes that row
//! long enough to matter: in a crowd, the first of it are taken for idle earlier.
//!
//! A client that is asked takes its next call to a new connection, and loses none. One that does not
//! go is cut after a while; when too many are on their way out, those that have never called are cut
//! at once.

use super::calls::Use;
use super::connection::{Absent, Peer};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long a new connection may take for its first call: a peer far away sends it behind the
/// handshake, and once more after a second when it was lost.
const GRACE: Duration = Duration::from_secs(2);
/// So many of the connections that may stay may be new, one in this many, ...
const NEW_SHARE: usize = 8;
/// ... and so many in any case: these take 1 MiB.
const NEW_MIN: usize = 64;
/// So many of the connections that may stay may be on their way out beside them: one in this many.
const LEAVING_SHARE: usize = 8;

/// The connections of one core.
#[derive(Debug)]
pub(super) struct Row {
    /// Connections above which idle ones leave.
    max: usize,
    /// How many are open, whether they are here or not.
    open: Arc<AtomicUsize>,
    /// Those that were just opened, and when, first to last.
    new: VecDeque<(Absent, Instant)>,
    /// Those that may stay, with the calls that each had begun when it came to the end of the row.
    staying: VecDeque<(Absent, u64)>,
    /// Those that were asked to leave, first to last.
    leaving: VecDeque<Absent>,
}

impl Row {
    /// A row from which idle connections leave while more than `max` are `open`.
    pub(super) fn new(max: usize, open: Arc<AtomicUsize>) -> Self {
        Self {
            max,
            open,
            new: VecDeque::new(),
            staying: VecDeque::new(),
            leaving: VecDeque::new(),
        }
    }

    /// A connection that was just opened.
    pub(super) fn add(&mut self, peer: &Peer) {
        self.new.push_back((peer.downgrade(), Instant::now()));
        self.trim();
    }

    /// Asks idle connections to leave while there are too many.
    pub(super) fn trim(&mut self) {
        self.settle();
        // Those that have ended are forgotten when they are half of the row.
        if self.staying.len() > 2 * self.open().max(1) {
            self.staying.retain(|(absent, _)| !absent.has_ended());
        }
        if !self.is_over() {
            return;
        }
        self.leaving.retain(|absent| !absent.has_ended());
        let stay = self.max + self.leaving.len();
        for _ in 0..self.open().saturating_sub(stay) {
            let Some(peer) = self.next_idle() else { break };
            peer.leave();
            self.leaving.push_back(peer.downgrade());
        }
        let excess = self.leaving.len().saturating_sub(self.leaving_max());
        let leaving = self.leaving.iter().filter_map(Absent::upgrade);
        let silent = leaving.filter(|peer| peer.calls() == Use::default());
        silent.take(excess).for_each(|peer| peer.cut());
    }

    /// Whether more are open than may be while some are idle.
    pub(super) fn is_over(&self) -> bool {
        self.open() > self.max
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Puts those that are not new any more, or too many, at the end of the row.
    fn settle(&mut self) {
        let new_max = (self.max / NEW_SHARE).max(NEW_MIN);
        if self.new.len() > new_max {
            self.new.retain(|(absent, _)| !absent.has_ended());
        }
        while let Some((absent, since)) = self.new.pop_front() {
            if self.new.len() < new_max && since.elapsed() < GRACE {
                self.new.push_front((absent, since));
                break;
            }
            self.staying.push_back((absent, 0));
        }
    }

    fn leaving_max(&self) -> usize {
        (self.max / LEAVING_SHARE).max(1)
    }

    /// Takes the first out of the row that has not been used since it came there.
    fn next_idle(&mut self) -> Option<Peer> {
        for _ in 0..self.staying.len() {
            let (absent, seen) = self.staying.pop_front()?;
            let Some(peer) = absent.upgrade() else {
                continue;
            };
            let begun = peer.calls().begun;
            if peer.is_idle() && begun == seen {
                return Some(peer);
            }
            self.staying.push_back((absent, begun));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// A row of so many, the peers, which are not new any more, and the count of those that are open.
    async fn row(max: usize, peers: usize) -> (Row, Vec<Peer>, Arc<AtomicUsize>) {
        let open = Arc::new(AtomicUsize::new(0));
        let mut row = Row::new(max, Arc::clone(&open));
        let peers = (0..peers).map(|_| add(&mut row, &open)).collect();
        tokio::time::advance(GRACE).await;
        row.trim();
        (row, peers, open)
    }

    fn add(row: &mut Row, open: &AtomicUsize) -> Peer {
        let peer = Peer::at(([127, 0, 0, 1], 1).into());
        open.fetch_add(1, Ordering::Relaxed);
        row.add(&peer);
        peer
    }

    fn is_ready(future: impl Future<Output = ()>) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        pin!(future).poll(&mut cx) == Poll::Ready(())
    }

    fn leaving(peers: &[Peer]) -> Vec<usize> {
        let numbers = 0..peers.len();
        numbers
            .filter(|it| is_ready(peers[*it].is_leaving()))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_leaves_while_there_is_room() {
        let (_, peers, _) = row(4, 4).await;
        assert_eq!(leaving(&peers), [0_usize; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_that_was_not_used_leaves() {
        let (mut row, peers, open) = row(4, 4).await;
        drop(peers[0].begin_call());
        let _open_call = peers[1].begin_call();
        let _newest = add(&mut row, &open);
        assert_eq!(leaving(&peers), [2]);
        let _newest = add(&mut row, &open);
        assert_eq!(leaving(&peers), [3]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_an_open_call_never_leaves() {
        let (mut row, peers, open) = row(2, 2).await;
        let _calls: Vec<_> = peers.iter().map(Peer::begin_call).collect();
        let newest = add(&mut row, &open);
        let call = newest.begin_call();
        tokio::time::advance(GRACE).await;
        row.trim();
        assert_eq!(leaving(&peers), [0_usize; 0]);
        drop(call);
        row.trim();
        row.trim();
        assert!(is_ready(newest.is_leaving()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_has_time_for_its_first_call_while_the_others_are_busy() {
        let (mut row, peers, open) = row(2, 2).await;
        let _calls: Vec<_> = peers.iter().map(Peer::begin_call).collect();
        let newest = add(&mut row, &open);
        tokio::time::advance(GRACE - Duration::from_millis(1)).await;
        row.trim();
        assert!(!is_ready(newest.is_leaving()));
        tokio::time::advance(Duration::from_millis(1)).await;
        row.trim();
        assert!(is_ready(newest.is_leaving()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_of_new_connections_has_no_time() {
        let (mut row, peers, open) = row(2, 2).await;
        let _calls: Vec<_> = peers.iter().map(Peer::begin_call).collect();
        let crowd: Vec<_> = (0..NEW_MIN + 3).map(|_| add(&mut row, &open)).collect();
        assert_eq!(leaving(&crowd), [0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn when_too_many_are_leaving_those_that_never_called_are_cut() {
        let (mut row, peers, open) = row(8, 8).await;
        drop(peers[0].begin_call());
        let newer: Vec<_> = (0..9).map(|_| add(&mut row, &open)).collect();
        assert_eq!(leaving(&peers), [0, 1, 2, 3, 4, 5, 6, 7]);
        let cut = peers.iter().filter(|peer| is_ready(peer.is_cut()));
        assert_eq!(cut.count(), 7);
        assert!(!is_ready(peers[0].is_cut()));
        drop(newer);
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_have_ended_take_no_place() {
        let (mut row, mut peers, open) = row(4, 4).await;
        for _ in 0..1_000 {
            peers.remove(0);
            open.fetch_sub(1, Ordering::Relaxed);
            peers.push(add(&mut row, &open));
        }
        tokio::time::advance(GRACE).await;
        row.trim();
        assert_eq!(leaving(&peers), [0_usize; 0]);
        assert!(row.new.is_empty());
        assert!(row.staying.len() <= 2 * 4 + 1, "{}", row.staying.len());
    }
}
