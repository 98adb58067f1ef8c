//! What is asked about admission and about equal uploads.

use crate::budget::ByteBudget;
use crate::model::Digest;
use crate::single_flight::{Turn, Uploads};
use crate::sync::Arc;
use crate::time::{Duration, timeout};
use real_std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::future::{block_on, spawn, yield_now};

/// Somebody stores; no more, when this is dropped.
struct Storing(Arc<AtomicUsize>);

impl Storing {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        let others = count.fetch_add(1, Ordering::SeqCst);
        assert_eq!(others, 0, "two store at once");
        Self(count.clone())
    }
}

impl Drop for Storing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Three uploads of one content, one of which may be given up: one at a time stores it, nobody is
/// forgotten, and afterwards the place is free.
pub fn one_upload_has_the_turn() {
    let uploads = Uploads::default();
    let digest = Digest([7; 32]);
    let storing = Arc::new(AtomicUsize::new(0));
    let is_stored = Arc::new(AtomicBool::new(false));
    let upload = |gives_up: bool| {
        let (uploads, storing, is_stored) = (uploads.clone(), storing.clone(), is_stored.clone());
        async move {
            while !is_stored.load(Ordering::SeqCst) {
                let Turn::Mine(flight) = uploads.take_turn(digest).await else {
                    continue;
                };
                let alone = Storing::begin(&storing);
                yield_now().await;
                drop(alone);
                is_stored.fetch_or(!gives_up, Ordering::SeqCst);
                drop(flight);
                if gives_up {
                    return;
                }
            }
        }
    };
    let cancelled = upload(true);
    let tasks = [
        spawn(upload(false)),
        spawn(async move {
            // Its request may end at any moment.
            let _ended = timeout(Duration::ZERO, cancelled).await;
        }),
        spawn(upload(false)),
    ];
    block_on(async {
        for task in tasks {
            task.await.unwrap();
        }
        assert!(matches!(uploads.take_turn(digest).await, Turn::Mine(_)));
    });
}

/// The bulk lane of the budget below is this long: an odd number, so that one byte decides.
const BULK: usize = 139_999;
const SMALL: usize = 65_536;
const HALF: usize = 70_000;

/// Takes of all sizes, any of which may wait too long: never more in flight than there is, and all
/// of it back at the end.
pub fn the_budget_holds() {
    let budget = ByteBudget::new((SMALL + BULK) as u64, Duration::from_secs(1));
    let in_flight = Arc::new(AtomicUsize::new(0));
    let take = |bytes: usize| {
        let (budget, in_flight) = (budget.clone(), in_flight.clone());
        spawn(async move {
            let Ok(taken) = budget.take(bytes, bytes / 8).await else {
                return;
            };
            let bulk = if bytes > SMALL { bytes } else { 0 };
            let now = in_flight.fetch_add(bulk, Ordering::SeqCst) + bulk;
            assert!(now <= BULK, "{now} of {BULK} bytes");
            yield_now().await;
            in_flight.fetch_sub(bulk, Ordering::SeqCst);
            drop(taken);
        })
    };
    let tasks = [HALF, HALF, 100, BULK - HALF, HALF].map(take);
    block_on(async {
        for task in tasks {
            task.await.unwrap();
        }
        assert!(budget.take(BULK, 0).await.is_ok(), "bytes are missing");
        assert!(
            budget.take(SMALL, 0).await.is_ok(),
            "small bytes are missing"
        );
    });
}
