//! Case 15: time and versions are drawn in one place each.

use crate::bench::{Bench, key, put};
use crate::faults::{arm, disarm};
use shardkeep::model::{Clock, Command, Existing, PutBody, Reply, Timestamp, Version};

/// Later than any clock of a machine that runs this.
const FAR: Timestamp = Timestamp(1 << 45);

/// Case 15: the clock of a new process never goes below what an earlier one has logged, with the
/// index as without it, though the machine's own was set back.
#[test]
fn now_is_never_below_what_was_logged() {
    assert!(Clock::default().now() < FAR);
    for rebuild in [None, Some("the test wants it")] {
        let mut bench = Bench::calm();
        // As if the machine's clock had been far ahead, until it was set right.
        bench.clock.raise(FAR);
        bench.put("k", b"value");
        bench.crash();
        bench.try_open(rebuild).unwrap();
        assert!(bench.clock.now() >= FAR);
        bench.delete("k");
        let rows = bench.rows();
        let (_, _, row) = rows.iter().find(|(_, id, _)| id == "k").unwrap();
        let note = row.inline.as_deref().unwrap();
        let note = shardkeep::codec::TombstoneNote::decode(note).unwrap();
        assert!(note.at >= FAR, "the delete is not before the put");
    }
}

/// Case 15: a command that comes with an older time is planned with the last logged one: what has
/// expired does not come back.
#[test]
fn a_command_is_never_planned_before_the_last_logged_time() {
    let mut bench = Bench::calm();
    let now = bench.clock.now();
    let expiring = Command::Put {
        key: key("k"),
        body: PutBody::Small(crate::bench::seal(b"value")),
        existing: Existing::Replace,
        expiry: Some(Timestamp(now.0 + 1000)),
        attributes: bytes::Bytes::new(),
    };
    bench.run(expiring).unwrap();
    let mut at = |time: u64, command| {
        let store = bench.store();
        store.reserve(4096, false).unwrap();
        let replies = store.execute(vec![command], Timestamp(time)).unwrap();
        replies.into_iter().next().unwrap()
    };
    let delete = || Command::Delete {
        key: key("k"),
        condition: None,
    };
    at(now.0 + 2000, put("other", b"value"));
    assert_eq!(at(now.0, delete()), Reply::Missing, "it has expired");
}

/// Case 15: applying reads no clock: a rebuild at another time gives the same rows, byte by byte.
#[test]
fn a_rebuild_at_another_time_gives_the_same_rows() {
    let mut bench = Bench::calm();
    bench.put("a", b"value");
    bench.delete("a");
    let expiring = Command::Put {
        key: key("e"),
        body: PutBody::Small(crate::bench::seal(b"value")),
        existing: Existing::Replace,
        expiry: Some(Timestamp(1)),
        attributes: bytes::Bytes::new(),
    };
    bench.run(expiring).unwrap();
    let rows = bench.rows();
    let spins = bench.clock.now();
    while bench.clock.now() == spins {
        std::hint::spin_loop();
    }
    bench.rebuild();
    assert_eq!(bench.rows(), rows);
}

/// Case 15: versions go on after the highest in the log, also when the index has not seen it, and
/// one that a failed group took is not given to anybody else if its group turns out to be there.
#[test]
fn no_version_is_issued_twice() {
    for point in ["log::write", "log::sync", "shard::synced", "index::commit"] {
        for rebuild in [None, Some("the test wants it")] {
            let mut bench = Bench::armed();
            let first = bench.put("a", b"value");
            arm(point, "1*return");
            assert!(bench.run(put("b", b"value")).is_err());
            disarm(point);
            bench.crash();
            bench.try_open(rebuild).unwrap();
            let seen = bench.row("b").map_or(first, |row| row.version);
            let next = bench.put("c", b"value");
            assert!(next > seen, "{point}: {next} after {seen}");
            assert_eq!(bench.counter.current(), next);
        }
    }
}

/// Case 15: a write that changes nothing takes no version, a change takes exactly one.
#[test]
fn only_changes_take_versions() {
    let mut bench = Bench::calm();
    let one = bench.put("a", b"value");
    let keep = crate::bench::put_with("a", b"other", Existing::Keep);
    assert_eq!(bench.run(keep).unwrap(), Reply::Unchanged { version: one });
    let delete = Command::Delete {
        key: key("missing"),
        condition: None,
    };
    assert_eq!(bench.run(delete).unwrap(), Reply::Missing);
    assert_eq!(bench.put("b", b"value"), Version(one.0 + 1));
    assert_eq!(bench.delete("a"), Version(one.0 + 2));
}
