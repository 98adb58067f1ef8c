//! Case 6: no early answer.

use crate::bench::{Bench, key, put, put_with};
use crate::faults::{Hold, arm};
use crate::house::House;
use shardkeep::model::{Command, Existing, Reply, Result, Timestamp};
use shardkeep::shard::ShardHandle;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

type Asking<'a> = Pin<Box<dyn Future<Output = Result<Reply>> + 'a>>;

/// Sends a command and comes back when it is in the mailbox.
async fn send(handle: &Arc<ShardHandle>, command: Command) -> Asking<'_> {
    let mut asking: Asking<'_> = Box::pin(handle.write(command, Timestamp(1)));
    let first = std::future::poll_fn(|context| Poll::Ready(asking.as_mut().poll(context))).await;
    assert!(first.is_pending(), "the actor is held up");
    asking
}

/// Case 6: in one group a put, the same put again, which is answered "unchanged" by what is only
/// planned, a delete, and a miss that rests on it: the group fails, and all fail with it.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_rests_on_a_failed_group_fails_with_it() {
    for point in ["log::write", "log::sync", "shard::written", "shard::synced"] {
        let house = House::armed().await;
        house.set(b"there", b"from before").await;
        let handle = house.handle(house.router().shard_of_key(&key("there")));
        // Keys of one shard, so that they are of one group.
        let same = |name: &String| house.router().shard_of_key(&key(name)) == handle.id();
        let names: Vec<String> = (0..)
            .map(|it| format!("k{it}"))
            .filter(same)
            .take(2)
            .collect();
        let (new, first) = (names[0].as_str(), names[1].as_str());
        // The first command's group is held up, and the others gather behind it.
        let hold = Hold::at("shard::commit");
        arm(point, "1*off->1*return");
        let earlier = send(handle, put(first, b"another group")).await;
        hold.somebody().await;
        let group = [
            put(new, b"value"),
            put_with(new, b"value", Existing::Keep),
            Command::Delete {
                key: key("there"),
                condition: None,
            },
            Command::Delete {
                key: key("there"),
                condition: None,
            },
        ];
        let mut asking = Vec::new();
        for command in group {
            asking.push(send(handle, command).await);
        }
        hold.release();
        assert!(matches!(earlier.await, Ok(Reply::Put { .. })), "{point}");
        // What readers see until the shard is reopened is what was acknowledged.
        let reader = handle.reader();
        for answer in asking {
            let error = answer.await.unwrap_err();
            assert_eq!(error.reason(), "OUTCOME_UNKNOWN", "{point}: {error}");
        }
        if let Ok(reader) = reader {
            assert!(reader.key(&key(new), Timestamp(1)).unwrap().is_none());
            assert!(reader.key(&key("there"), Timestamp(1)).unwrap().is_some());
        }
        house.serving(handle.id()).await;
        // Whole or not at all, and the later commands had their answers from it.
        let both = (house.get(new.as_bytes()).await, house.get(b"there").await);
        let none = (None, Some(b"from before".to_vec()));
        let all = (Some(b"value".to_vec()), None);
        assert!(
            both == none || both == all && point != "log::write",
            "{point}"
        );
    }
}

/// Case 6: nothing of a group is visible before its sync has returned.
#[test]
fn a_group_is_invisible_until_it_is_durable() {
    for point in ["log::write", "shard::written", "log::sync", "shard::synced"] {
        let mut bench = Bench::armed();
        bench.put("a", b"old");
        arm(point, "1*return");
        let group = vec![put("a", b"new"), put("b", b"new")];
        assert!(bench.run_group(group).is_err());
        assert_eq!(bench.get("a").unwrap(), b"old", "{point}");
        assert_eq!(bench.get("b"), None, "{point}");
    }
}

/// Case 6: planning sees what is planned before it in the same group.
#[test]
fn a_command_sees_what_is_planned_before_it() {
    let mut bench = Bench::calm();
    let delete = || Command::Delete {
        key: key("k"),
        condition: None,
    };
    let group = vec![
        delete(),
        put_with("k", b"one", Existing::Keep),
        put_with("k", b"two", Existing::Keep),
        delete(),
        delete(),
        put_with("k", b"three", Existing::Keep),
    ];
    let replies = bench.run_group(group).unwrap();
    assert!(matches!(
        replies[..],
        [
            Reply::Missing,
            Reply::Put { .. },
            Reply::Unchanged { .. },
            Reply::Deleted { .. },
            Reply::Missing,
            Reply::Put { .. },
        ]
    ));
    assert_eq!(bench.get("k").unwrap(), b"three");
}
