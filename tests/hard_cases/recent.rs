//! Values that threads keep (case 10's look-up, without the look): no read goes back in time.

use crate::faults::arm;
use crate::house::House;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const KEY: &[u8] = b"counter";
const ROUNDS: u64 = 400;

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

/// Readers on threads of their own, each of which keeps what it reads, beside one writer: whatever
/// was answered or acknowledged before a read began, the read finds it or something newer.
async fn reads_never_go_back(house: House) {
    let newest = Arc::new(AtomicU64::new(0));
    house.set(KEY, b"0").await;
    let runtime = tokio::runtime::Handle::current();
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (newest, runtime) = (newest.clone(), runtime.clone());
            let service = house.service().clone();
            std::thread::spawn(move || {
                runtime.block_on(async {
                    while newest.load(Ordering::SeqCst) < ROUNDS {
                        let floor = newest.load(Ordering::SeqCst);
                        let found = service.get(KEY).await.unwrap().expect("it is there");
                        let found = number(&found.data);
                        assert!(found >= floor, "{found} was read after {floor}");
                        newest.fetch_max(found, Ordering::SeqCst);
                    }
                });
            })
        })
        .collect();
    for round in 1..=ROUNDS {
        house.set(KEY, round.to_string().as_bytes()).await;
        newest.fetch_max(round, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
    for reader in readers {
        tokio::task::spawn_blocking(|| reader.join().unwrap())
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_goes_back_in_time() {
    reads_never_go_back(House::calm().await).await;
}

/// The same while each group lingers between the index and the answer: some readers have seen it,
/// others keep what was before.
#[tokio::test(flavor = "multi_thread")]
async fn no_read_goes_back_behind_a_group_that_is_not_answered_yet() {
    let house = House::armed().await;
    arm("shard::indexed", "sleep(1)");
    reads_never_go_back(house).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_or_put_anew_is_not_remembered() {
    let house = House::calm().await;
    house.set(KEY, b"one").await;
    for _ in 0..2 {
        assert_eq!(house.get(KEY).await.unwrap(), b"one");
    }
    house.delete(KEY).await;
    assert_eq!(house.get(KEY).await, None);
    house.set(KEY, b"two").await;
    assert_eq!(house.get(KEY).await.unwrap(), b"two");
}

/// Another store in the same process, whose shards count their groups alike.
#[tokio::test]
async fn a_value_of_another_store_is_not_remembered() {
    let here = House::calm().await;
    let there = House::beside(&here).await;
    here.set(KEY, b"here").await;
    there.set(KEY, b"there").await;
    for _ in 0..2 {
        assert_eq!(here.get(KEY).await.unwrap(), b"here");
        assert_eq!(there.get(KEY).await.unwrap(), b"there");
    }
}
