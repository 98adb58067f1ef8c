//! How a reader never sees half a batch, although the index takes over row after row.
//!
//! A number for each shard: odd while a batch comes into its index, even else. A reader notes it
//! before it looks; when it is odd, the reader waits, and when it is another afterwards, it looks
//! again (a sequence lock). That costs two loads a look-up. A batch over several shards makes all
//! their numbers odd before the first row is there, and even after the last: so whoever has seen one
//! row of it, which needs an even number, finds every other row of it in its index too.
//!
//! Snapshots of one index have a batch or have it not, as the index itself promises; who puts the
//! snapshots of several shards together compares the numbers of all of them.

use super::error::ShardError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The number of an index that shows a part of a batch until it is opened again.
const BROKEN: u64 = u64::MAX;

/// That no batch was in the index in part, and how many had been shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Still(u64);

/// Whether a batch is in the index in part.
#[derive(Debug, Default)]
pub(super) struct Showing(AtomicU64);

impl Showing {
    /// Waits until no batch is in the index in part, which takes as long as its rows do.
    pub fn still(&self) -> Result<Still, ShardError> {
        let mut turns = 0;
        loop {
            match self.0.load(Ordering::Acquire) {
                BROKEN => return Err(ShardError::HalfShown),
                even if even % 2 == 0 => return Ok(Still(even)),
                _ => pause(&mut turns),
            }
        }
    }

    /// Whether no batch has come into the index since.
    pub fn is_still(&self, then: Still) -> bool {
        self.0.load(Ordering::Acquire) == then.0
    }

    /// The first row of a batch is about to come.
    pub fn begin(&self) {
        self.change(|now| now | 1);
    }

    /// The last one is there.
    pub fn end(&self) {
        self.change(|now| (now | 1) + 1);
    }

    /// The last one will not come before the shard is opened again, with another number.
    pub fn give_up(&self) {
        self.change(|_| BROKEN);
    }

    fn change(&self, next: impl Fn(u64) -> u64) {
        let next = |now| (now != BROKEN).then(|| next(now));
        // What cannot be changed is broken already, and stays so.
        let _ = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
    }
}

/// Waits a little, and longer the more often it has.
fn pause(turns: &mut u32) {
    *turns += 1;
    match *turns {
        0..64 => std::hint::spin_loop(),
        64..256 => std::thread::yield_now(),
        _ => std::thread::sleep(Duration::from_micros(100)),
    }
}

/// A batch on its way into the index of one shard alone. Dropped before [`Window::close`], by a
/// panic or an error, it leaves the index broken.
#[derive(Debug)]
pub(super) struct Window<'a>(Option<&'a Showing>);

impl<'a> Window<'a> {
    /// Opens one where a group holds a batch.
    pub fn open(showing: &'a Showing, holds_batch: bool) -> Self {
        let showing = Some(showing).filter(|_| holds_batch);
        showing.inspect(|it| it.begin());
        Self(showing)
    }

    /// Every row is there.
    pub fn close(mut self) {
        if let Some(showing) = self.0.take() {
            showing.end();
        }
    }
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        if let Some(showing) = self.0 {
            showing.give_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn what_was_read_while_a_batch_came_is_not_believed() {
        let showing = Showing::default();
        let before = showing.still().unwrap();
        assert!(showing.is_still(before));
        showing.begin();
        assert!(!showing.is_still(before));
        showing.end();
        assert!(!showing.is_still(before));
        assert_ne!(showing.still().unwrap(), before);
    }

    #[test]
    fn a_reader_waits_for_the_last_row() {
        let (showing, shown) = (Showing::default(), AtomicBool::new(false));
        showing.begin();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                showing.still().unwrap();
                shown.load(Ordering::Acquire)
            });
            std::thread::sleep(Duration::from_millis(20));
            shown.store(true, Ordering::Release);
            showing.end();
            assert!(reader.join().unwrap());
        });
    }

    #[test]
    fn a_batch_that_stays_half_shown_is_told_of() {
        let showing = Showing::default();
        drop(Window::open(&showing, false));
        Window::open(&showing, true).close();
        showing.still().unwrap();
        drop(Window::open(&showing, true));
        assert!(matches!(showing.still(), Err(ShardError::HalfShown)));
        showing.begin();
        showing.end();
        assert!(matches!(showing.still(), Err(ShardError::HalfShown)));
    }
}
