//! Transactions of a store inside a program, and values with their types.

use crate::small;
use shardkeep::client::{Expect, PutOptions, Query, Typed};
use shardkeep::model::{ErrorKind, ValueType};
use shardkeep::{Store, blocking};
use tempfile::TempDir;

async fn store() -> (TempDir, Store) {
    let place = TempDir::new().unwrap();
    let store = Store::open(place.path().join("store"), small()).await;
    (place, store.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_transactions_that_read_the_same_one_is_done() {
    let (_place, store) = store().await;
    let keys = store.keyspace("");
    keys.put("seats", "1").await.unwrap();
    let mut first = keys.begin().await.unwrap();
    let mut second = keys.begin().await.unwrap();
    for (transaction, who) in [(&mut first, "ada"), (&mut second, "bob")] {
        let seats = transaction.get("seats").await.unwrap().unwrap();
        assert_eq!(seats.data, "1");
        transaction.put("seats", "0");
        transaction.put(who, "seat 1");
    }
    // Own changes are seen, and nobody else sees them.
    assert_eq!(first.get("seats").await.unwrap().unwrap().data, "0");
    assert_eq!(keys.get("seats").await.unwrap().unwrap().data, "1");
    let done = first.commit().await.unwrap();
    let refused = second.commit().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert_eq!(refused.reason(), "CONDITION_FAILED");
    let version = done.version.unwrap().to_string();
    for word in ["seats", &version, "begin the transaction again"] {
        assert!(refused.message().contains(word), "{refused}");
    }
    assert!(keys.get("bob").await.unwrap().is_none());
    assert_eq!(keys.get("ada").await.unwrap().unwrap().data, "seat 1");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_save_points_and_what_was_only_peeked_at() {
    let (_place, store) = store().await;
    let keys = store.keyspace("");
    for key in ["a", "b", "c"] {
        keys.put(key, "old").await.unwrap();
    }
    let mut transaction = keys.begin().await.unwrap();
    transaction.put("a", "new");
    let before = transaction.savepoint();
    transaction.delete("b");
    transaction.require("d", Expect::Present);
    let seen = transaction.get_many(["a", "b", "c", "d"]).await.unwrap();
    let data = |seen: &[Option<shardkeep::client::Seen>]| -> Vec<Option<String>> {
        let text = |data: &[u8]| String::from_utf8(data.to_vec()).unwrap();
        seen.iter()
            .map(|it| it.as_ref().map(|it| text(&it.data)))
            .collect()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(data(&seen), [some("new"), None, some("old"), None]);
    transaction.rollback_to(&before);
    let peeked = transaction.peek_many(["b", "e"]).await.unwrap();
    assert_eq!(data(&peeked), [some("old"), None]);
    // Of what was peeked at, anything may become.
    keys.put("b", "newer").await.unwrap();
    keys.put("e", "newer").await.unwrap();
    let mut rows = transaction.begun().scan(Query::all()).await.unwrap();
    assert_eq!(rows.next_page().await.unwrap().unwrap().len(), 3);
    drop(rows);
    transaction.commit().await.unwrap();
    assert_eq!(keys.get("a").await.unwrap().unwrap().data, "new");
    assert_eq!(keys.get("b").await.unwrap().unwrap().data, "newer");

    // That a key was not there is checked as well.
    let mut late = keys.begin().await.unwrap();
    assert!(late.get("f").await.unwrap().is_none());
    late.put("g", "1");
    keys.put("f", "1").await.unwrap();
    let refused = late.commit().await.unwrap_err();
    assert!(
        refused.message().contains("key f was not to be there"),
        "{refused}"
    );
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_others_overtake_is_done_again_until_all_of_it_is_done() {
    const WORKERS: i64 = 8;
    const EACH: i64 = 5;
    let (_place, store) = store().await;
    let keys = store.keyspace("");
    keys.put_typed("n", 0, PutOptions::default()).await.unwrap();
    let mut working = tokio::task::JoinSet::new();
    for _ in 0..WORKERS {
        let keys = keys.clone();
        working.spawn(async move {
            let mut done = 0;
            while done < EACH {
                let one = keys.transact(async |transaction| {
                    let found = transaction.get("n").await?;
                    let Some(Typed::Int(n)) = found.map(|it| it.typed()).transpose()? else {
                        panic!("n is no number");
                    };
                    transaction.put_typed("n", n + 1)
                });
                match one.await {
                    Ok(()) => done += 1,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
                }
            }
        });
    }
    working.join_all().await;
    let counted = keys.get_typed("n").await.unwrap();
    assert_eq!(counted, Some(Typed::Int(WORKERS * EACH)));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_and_its_type_that_do_not_fit_are_told() {
    let (_place, store) = store().await;
    let keys = store.keyspace("");
    let refused = keys.put_typed("k", f64::NAN, PutOptions::default()).await;
    assert_eq!(refused.unwrap_err().reason(), "VALUE_TYPE");
    assert!(keys.get("k").await.unwrap().is_none());
    let options = PutOptions {
        value_type: ValueType::Int64,
        ..PutOptions::default()
    };
    keys.put_with("k", "many", options).await.unwrap();
    let unreadable = keys.get_typed("k").await.unwrap_err();
    assert_eq!(unreadable.reason(), "VALUE_TYPE");
    assert!(unreadable.message().contains("Int64"), "{unreadable}");
    store.close().await.unwrap();
}

#[test]
fn threads_that_wait_have_the_same_transactions() {
    let place = TempDir::new().unwrap();
    let store = blocking::Store::open(place.path().join("store"), small()).unwrap();
    let keys = store.keyspace("");
    let options = PutOptions::default();
    keys.put_typed("n", 1, options).unwrap();
    let done = keys.transact(|transaction| {
        let found = transaction.get("n")?;
        let Some(Typed::Int(n)) = found.map(|it| it.typed()).transpose()? else {
            panic!("n is no number");
        };
        transaction.put_typed("n", n + 1)?;
        Ok(n)
    });
    assert_eq!(done.unwrap(), 1);
    assert_eq!(keys.get_typed("n").unwrap(), Some(Typed::Int(2)));
    let mut late = keys.begin().unwrap();
    assert_eq!(late.get("n").unwrap().unwrap().data, "2");
    late.delete("n");
    assert_eq!(late.begun().get("n").unwrap().unwrap().data, "2");
    keys.put("n", "3").unwrap();
    assert_eq!(late.commit().unwrap_err().reason(), "CONDITION_FAILED");
    // One that is dropped has done nothing.
    keys.begin().unwrap().put("n", "4");
    assert_eq!(keys.get("n").unwrap().unwrap().data, "3");
    store.close().unwrap();
}
