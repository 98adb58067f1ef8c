//! Transactions of the Rust client against a real server.

mod support;

use shardkeep::client::{
    ClientError, Database, Expect, Keyspace, PutOptions, Query, Seen, Transaction, Typed,
};
use std::time::Duration;
use support::{PATIENCE, Server};
use tokio::time::Instant;
use tokio_stream::StreamExt as _;

struct Stage {
    server: Server,
    db: Database,
    keys: Keyspace,
}

impl Stage {
    async fn set() -> Self {
        let builder = Server::builder().flags(["--allow-user-key", "--allow-overwrite"]);
        let server = builder.start().await;
        let address = server.address().to_string();
        let db = Database::connect(&address).await.unwrap();
        let keys = db.keyspace("");
        Self { server, db, keys }
    }

    async fn now(&self, key: &'static str) -> Option<Vec<u8>> {
        let value = self.keys.get(key).await.unwrap();
        value.map(|it| it.data.to_vec())
    }

    /// Until the server holds no snapshot any more.
    async fn all_is_let_go(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.db.list_snapshots().await.unwrap().is_empty() {
            assert!(Instant::now() < deadline, "a snapshot is still held");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn data(seen: Option<Seen>) -> Option<Vec<u8>> {
    seen.map(|seen| seen.data.to_vec())
}

/// What a conflict says, and its reason.
fn conflict(error: ClientError) -> (String, String) {
    match error {
        ClientError::Conflict { reason, message } => (reason, message),
        other => panic!("not a conflict: {other}"),
    }
}

#[tokio::test]
async fn of_two_transactions_that_read_the_same_one_is_done() {
    let stage = Stage::set().await;
    stage.keys.put("seats", "1").await.unwrap();
    let book = async |transaction: &mut Transaction, who: &'static str| {
        let left = data(transaction.get("seats").await.unwrap());
        assert_eq!(left.as_deref(), Some(&b"1"[..]));
        transaction.put("seats", "0");
        transaction.put(format!("seat of {who}"), "1");
    };
    let mut first = stage.keys.begin().await.unwrap();
    let mut second = stage.keys.begin().await.unwrap();
    book(&mut first, "first").await;
    book(&mut second, "second").await;
    let done = first.commit().await.unwrap();
    assert_eq!(done.results.len(), 2);
    let (reason, message) = conflict(second.commit().await.unwrap_err());
    assert_eq!(reason, "CONDITION_FAILED");
    assert!(message.contains("seats"), "{message}");
    let version = done.version.unwrap().to_string();
    assert!(message.contains(&version), "{message}");
    assert_eq!(stage.now("seat of first").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(stage.now("seat of second").await, None);
    stage.all_is_let_go().await;
    stage.server.stop().await;
}

#[tokio::test]
async fn that_a_key_was_not_there_is_checked_too() {
    let stage = Stage::set().await;
    let mut late = stage.keys.begin().await.unwrap();
    assert_eq!(late.get("lock").await.unwrap(), None);
    late.put("lock", "late");
    stage.keys.put("lock", "early").await.unwrap();
    let (_, message) = conflict(late.commit().await.unwrap_err());
    assert!(message.contains("lock"), "{message}");
    assert_eq!(stage.now("lock").await.as_deref(), Some(&b"early"[..]));
}

#[tokio::test]
async fn what_was_peeked_at_may_change_before_the_commit() {
    let stage = Stage::set().await;
    stage.keys.put("rate", "2").await.unwrap();
    let mut transaction = stage.keys.begin().await.unwrap();
    stage.keys.put("rate", "3").await.unwrap();
    let rate = data(transaction.peek("rate").await.unwrap());
    assert_eq!(rate.as_deref(), Some(&b"2"[..]), "reads are of its begin");
    transaction.put("price", "20");
    transaction.commit().await.unwrap();
    assert_eq!(stage.now("price").await.as_deref(), Some(&b"20"[..]));
}

#[tokio::test]
async fn own_writes_are_seen_and_nobody_else_sees_them_before_the_commit() {
    let stage = Stage::set().await;
    stage.keys.put("old", "there").await.unwrap();
    let mut transaction = stage.keys.begin().await.unwrap();
    transaction.put_typed("new", 42).unwrap();
    transaction.delete("old");
    let new = transaction.peek("new").await.unwrap().unwrap();
    assert_eq!((new.version, new.typed().unwrap()), (None, Typed::Int(42)));
    assert_eq!(transaction.get("old").await.unwrap(), None);
    assert_eq!(stage.now("new").await, None);
    assert_eq!(stage.now("old").await.as_deref(), Some(&b"there"[..]));
    let done = transaction.commit().await.unwrap();
    let new = stage.keys.get("new").await.unwrap().unwrap();
    assert_eq!(Some(new.entry.version), done.version);
    assert_eq!(new.typed().unwrap(), Typed::Int(42));
    assert_eq!(stage.now("old").await, None);
}

#[tokio::test]
async fn many_keys_are_read_at_once_beside_own_writes() {
    let stage = Stage::set().await;
    stage.keys.put("a", "1").await.unwrap();
    stage.keys.put("b", "2").await.unwrap();
    let mut transaction = stage.keys.begin().await.unwrap();
    transaction.put("own", "3");
    transaction.delete("b");
    let read = async |transaction: &mut Transaction, keys: &[&'static str]| {
        let keys = keys.iter().copied();
        let seen = transaction.get_many(keys).await.unwrap();
        let seen = seen.into_iter().map(|it| data(it).map(|it| it[0]));
        seen.collect::<Vec<_>>()
    };
    let seen = read(&mut transaction, &["own", "none", "a", "b", "a"]).await;
    assert_eq!(seen, [Some(b'3'), None, Some(b'1'), None, Some(b'1')]);
    assert_eq!(
        read(&mut transaction, &["own", "b"]).await,
        [Some(b'3'), None]
    );
    // What it writes itself others may write, too; what it has read they may not.
    stage.keys.put("b", "4").await.unwrap();
    stage.keys.put("none", "5").await.unwrap();
    let before = transaction.begun().scan(Query::all()).await.unwrap();
    let pages: Vec<_> = before.map(|page| page.unwrap().len()).collect().await;
    assert_eq!(pages.iter().sum::<usize>(), 2);
    let (_, message) = conflict(transaction.commit().await.unwrap_err());
    assert!(message.contains("none was not to be there"), "{message}");
}

#[tokio::test]
async fn a_rollback_to_a_save_point_drops_what_came_after_it() {
    let stage = Stage::set().await;
    stage.keys.put("seen", "1").await.unwrap();
    let mut transaction = stage.keys.begin().await.unwrap();
    transaction.put("kept", "first");
    let before = transaction.savepoint();
    transaction.put("kept", "second");
    transaction.put_with(
        "dropped",
        "x",
        PutOptions {
            only_if: Some(Expect::Present),
            ..PutOptions::default()
        },
    );
    let after = transaction.savepoint();
    transaction.rollback_to(&before);
    let kept = data(transaction.peek("kept").await.unwrap());
    assert_eq!(kept.as_deref(), Some(&b"first"[..]));
    transaction.rollback_to(&after);
    assert!(transaction.peek("dropped").await.unwrap().is_some());
    transaction.rollback_to(&before);
    transaction.commit().await.unwrap();
    assert_eq!(stage.now("kept").await.as_deref(), Some(&b"first"[..]));
    assert_eq!(stage.now("dropped").await, None);

    // What was read since then is asked for all the same.
    let mut transaction = stage.keys.begin().await.unwrap();
    transaction.put("kept", "third");
    let before = transaction.savepoint();
    transaction.get("seen").await.unwrap();
    transaction.rollback_to(&before);
    stage.keys.put("seen", "2").await.unwrap();
    let (_, message) = conflict(transaction.commit().await.unwrap_err());
    assert!(message.contains("seen"), "{message}");
}

#[tokio::test]
async fn a_transaction_that_is_rolled_back_or_dropped_does_nothing_and_lets_its_snapshot_go() {
    let stage = Stage::set().await;
    let mut dropped = stage.keys.begin().await.unwrap();
    dropped.put("k", "dropped");
    let mut rolled_back = stage.keys.begin().await.unwrap();
    rolled_back.put("k", "rolled back");
    assert_eq!(stage.db.list_snapshots().await.unwrap().len(), 2);
    rolled_back.rollback().await.unwrap();
    assert_eq!(stage.db.list_snapshots().await.unwrap().len(), 1);
    drop(dropped);
    stage.all_is_let_go().await;
    assert_eq!(stage.now("k").await, None);
    // One that has only read is right as of its moment.
    let mut reader = stage.keys.begin().await.unwrap();
    assert_eq!(reader.get("k").await.unwrap(), None);
    stage.keys.put("k", "v").await.unwrap();
    assert_eq!(reader.commit().await.unwrap().version, None);
}

#[tokio::test]
async fn work_that_others_overtake_is_done_again_until_it_is_done() {
    let stage = Stage::set().await;
    let counting = |keys: Keyspace| async move {
        for _ in 0..5 {
            let step = keys.transact(async |transaction| {
                let found = transaction.get("n").await?;
                let Some(Typed::Int(n)) = found.map(|it| it.typed()).transpose()? else {
                    return transaction.put_typed("n", 1);
                };
                transaction.put_typed("n", n + 1)
            });
            step.await.unwrap();
        }
    };
    let others: Vec<_> = (0..4)
        .map(|_| tokio::spawn(counting(stage.keys.clone())))
        .collect();
    for other in others {
        other.await.unwrap();
    }
    assert_eq!(stage.now("n").await.as_deref(), Some(&b"20"[..]));
}

#[tokio::test]
async fn a_read_after_the_server_has_started_anew_is_a_conflict() {
    let place = tempfile::TempDir::new().unwrap();
    let builder = || {
        let flags = ["--allow-user-key", "--allow-overwrite"];
        let builder = Server::builder().flags(flags);
        builder.data_dir(place.path().join("data"))
    };
    let mut server = builder().start().await;
    let proxy = support::proxy::Proxy::to(server.address()).await;
    let db = Database::connect(&proxy.address().to_string()).await;
    let keys = db.unwrap().keyspace("");
    let mut transaction = keys.begin().await.unwrap();
    server.kill();
    server = builder().start().await;
    proxy.lead_to(server.address());
    let (reason, _) = conflict(transaction.get("k").await.unwrap_err());
    assert_eq!(reason, "SNAPSHOT_NOT_FOUND");
    server.stop().await;
}
