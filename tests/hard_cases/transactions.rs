//! Case 14: transactions that a crash left undecided, and slots that left a shard.
//!
//! Nothing writes such frames yet; they are forged as FORMAT.md draws them, in logs that the shards
//! themselves have written.

use crate::bench::{Bench, STORE, index_options, key, put, value_record};
use crate::faults::Faults;
use crate::forge::{self, FIRST};
use bytes::Bytes;
use shardkeep::codec::{FrameHeader, Kind, Membership, Record, Role, Space, slot_of};
use shardkeep::config::Durability;
use shardkeep::index::Row;
use shardkeep::log::{Ballast, LogOptions};
use shardkeep::model::{Clock, Seq, ShardId, Timestamp, Version, VersionCounter};
use shardkeep::shard::{
    GcOutcome, Homes, ShardError, ShardOptions, ShardStore, Transactions, verify_store,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The transaction's number; versions of before are lower, its own are higher.
const TRANSACTION: u64 = 1000;

const PREPARE: Membership = member(Role::Prepare, 2);
const COMMIT: Membership = member(Role::Decide, 2);
const ABORT: Membership = member(Role::Decide, 0);

const fn member(role: Role, participants: u8) -> Membership {
    Membership {
        role,
        participants,
        transaction: TRANSACTION,
    }
}

/// Two shards, each with a key `k` that holds "old".
struct Two {
    stores: [Option<ShardStore>; 2],
    transactions: Arc<Transactions>,
    dir: tempfile::TempDir,
    _faults: Faults,
}

impl Two {
    fn new() -> Self {
        Self::over(Faults::calm())
    }

    /// A second store, under the other's right to the process.
    fn beside(_other: &Self) -> Self {
        Self::over(Faults::Second)
    }

    fn over(faults: Faults) -> Self {
        let mut two = Self {
            stores: [None, None],
            transactions: Arc::new(Transactions::new(2)),
            dir: tempfile::tempdir().unwrap(),
            _faults: faults,
        };
        two.start();
        for shard in 0..2 {
            two.put(shard, "old");
        }
        two.stop();
        two.start();
        two.crash();
        two
    }

    fn options(&self, shard: u16) -> ShardOptions {
        ShardOptions {
            dir: self.dir.path().join(format!("shards/{shard:03}")),
            store: STORE,
            id: ShardId(shard),
            durability: Durability::Sync,
            log: LogOptions {
                segment_size: 64 * 1024,
            },
            index: index_options(),
            must_exist: false,
            inline_max: 128,
            tombstone_retention: Duration::from_secs(3600),
            checkpoint_bytes: 1 << 30,
            space_floor: 0,
            homes: Arc::new(Homes::even(2)),
            ballast: Arc::new(Ballast::new(self.dir.path().join("ballast"), 0, 0)),
            clock: Arc::new(Clock::default()),
            counter: Arc::new(VersionCounter::default()),
            dictionaries: Arc::default(),
            transactions: self.transactions.clone(),
        }
    }

    /// Opens both shards at the same time, as a new process does.
    fn try_start(&mut self, rebuild: Option<&str>) -> [Result<(), ShardError>; 2] {
        self.crash();
        self.transactions = Arc::new(Transactions::new(2));
        let options = [0, 1].map(|shard| self.options(shard));
        let opened = std::thread::scope(|scope| {
            let open = options.map(|options| scope.spawn(|| ShardStore::open(options, rebuild)));
            open.map(|opening| opening.join().unwrap())
        });
        let mut shard = 0;
        opened.map(|opened| {
            let kept = opened.map(|(store, _)| self.stores[shard] = Some(store));
            shard += 1;
            kept
        })
    }

    fn start(&mut self) {
        for opened in self.try_start(None) {
            opened.expect("the shard opens");
        }
    }

    /// As the supervisor does while the other shard serves.
    fn open_again(&mut self, shard: u16) -> Result<(), ShardError> {
        let opened = ShardStore::open(self.options(shard), None);
        opened.map(|(store, _)| self.stores[usize::from(shard)] = Some(store))
    }

    fn crash(&mut self) {
        self.stores = [None, None];
    }

    fn stop(&mut self) {
        for store in self.stores.iter_mut().filter_map(Option::take) {
            store.close().unwrap();
        }
    }

    fn store(&mut self, shard: usize) -> &mut ShardStore {
        self.stores[shard].as_mut().expect("the shard is open")
    }

    fn put(&mut self, shard: usize, value: &str) {
        let store = self.store(shard);
        let command = put("k", value.as_bytes());
        store.reserve(command.log_size_max(), false).unwrap();
        store.execute(vec![command], Timestamp(1)).unwrap();
    }

    fn row(&self, shard: usize) -> Row {
        let store = self.stores[shard].as_ref().expect("the shard is open");
        let found = store.reader().key(&key("k"), Timestamp(0)).unwrap();
        found.expect("the key is there").row
    }

    fn values(&self) -> [String; 2] {
        [0, 1].map(|shard| {
            let inline = self.row(shard).inline.expect("a small value");
            String::from_utf8(inline.to_vec()).unwrap()
        })
    }

    /// The file of the last segment, which no frame stands in yet.
    fn last_segment(&self, shard: u16) -> PathBuf {
        let log = self.dir.path().join(format!("shards/{shard:03}/log"));
        let files = std::fs::read_dir(log).unwrap();
        files.map(|file| file.unwrap().path()).max().unwrap()
    }

    /// Appends frames of the transaction behind each other; a prepare puts "new".
    fn forge(&self, shard: u16, frames: &[Membership]) {
        let path = self.last_segment(shard);
        let segment = forge::segment_header(&path);
        let (mut at, mut prev_sum) = (FIRST, segment.prev_sum);
        for (number, membership) in frames.iter().enumerate() {
            let seq = 100 + number as u64;
            let records = match membership {
                it if it.role == Role::Decide && it.participants > 0 => Vec::new(),
                it if it.role == Role::Decide => vec![aborted(seq)],
                _ => vec![value_record("k", b"new", seq, TRANSACTION + 1)],
            };
            let frame = forge::frame(&segment, at, &records, segment.salt, |header| {
                header.membership = *membership;
                header.prev_sum = prev_sum;
                header.counter = Version(TRANSACTION + 1);
                header.last_seq = Seq(seq);
            });
            prev_sum = FrameHeader::decode(&frame, segment.salt).unwrap().1;
            forge::append(&path, &frame);
            at += frame.len() as u64;
        }
    }

    /// Fails unless every later start, with or without an index, finds the same, and the offline
    /// check finds nothing.
    fn assert_stays(&mut self, values: [&str; 2]) {
        assert_eq!(self.values(), values);
        let rows = [0, 1].map(|shard| self.row(shard));
        for rebuild in [None, Some("the test wants it"), None] {
            for opened in self.try_start(rebuild) {
                opened.expect("the shard opens");
            }
            assert_eq!(self.values(), values, "rebuild: {rebuild:?}");
            let again = [0, 1].map(|shard| self.row(shard));
            assert_eq!(again, rows, "rebuild: {rebuild:?}");
        }
        self.stop();
        let options = [0, 1].map(|shard| self.options(shard));
        let verdict = verify_store(&options, false, &mut |_, _| {});
        assert_eq!(verdict.problems().collect::<Vec<_>>(), Vec::<&_>::new());
    }
}

fn aborted(seq: u64) -> Record {
    let id = Bytes::copy_from_slice(&TRANSACTION.to_be_bytes());
    Record {
        seq: Seq(seq),
        ..Record::bookkeeping(Kind::Aborted, id, Bytes::new())
    }
}

#[test]
fn a_transaction_that_every_shard_prepared_is_committed() {
    let mut two = Two::new();
    two.forge(0, &[PREPARE]);
    two.forge(1, &[PREPARE]);
    two.start();
    two.assert_stays(["new", "new"]);
}

#[test]
fn a_transaction_that_a_shard_did_not_prepare_is_given_up() {
    let mut two = Two::new();
    two.forge(0, &[PREPARE]);
    two.start();
    two.assert_stays(["old", "old"]);
    // What it wrote is garbage and no riddle to GC.
    two.start();
    two.put(0, "newer");
    two.stop();
    two.start();
    let outcome = two.store(0).collect(2.0).unwrap();
    assert!(!outcome.removed.is_empty(), "{outcome:?}");
    two.assert_stays(["newer", "old"]);
}

#[test]
fn a_decision_in_one_shard_decides_for_all() {
    for (decision, value) in [(COMMIT, "new"), (ABORT, "old")] {
        let mut two = Two::new();
        two.forge(0, &[PREPARE, decision]);
        two.forge(1, &[PREPARE]);
        two.start();
        two.assert_stays([value, value]);
    }
}

#[test]
fn a_crash_between_the_decisions_changes_nothing() {
    for (prepared, value) in [(&[PREPARE][..], "new"), (&[][..], "old")] {
        let mut two = Two::new();
        two.forge(0, &[PREPARE]);
        two.forge(1, prepared);
        two.start();
        // As if shard 1 had crashed before its decision and shard 0 gone on for long.
        two.crash();
        let other = Two::beside(&two);
        other.forge(1, prepared);
        let undecided = other.dir.path().join("shards/001");
        let here = two.dir.path().join("shards/001");
        std::fs::remove_dir_all(&here).unwrap();
        std::fs::rename(undecided, here).unwrap();
        two.start();
        two.assert_stays([value, value]);
    }
}

#[test]
fn an_undecided_prepare_waits_for_the_shard_that_may_know() {
    let mut two = Two::new();
    two.forge(0, &[PREPARE]);
    two.forge(1, &[PREPARE]);
    let hidden = two.dir.path().join("hidden");
    let segment = two.last_segment(1);
    let spoiled = std::fs::read(&segment).unwrap();
    std::fs::copy(&segment, &hidden).unwrap();
    std::fs::write(&segment, vec![7; spoiled.len()]).unwrap();
    for rebuild in [None, Some("the test wants it"), None] {
        let [waiting, damaged] = two.try_start(rebuild);
        let error = waiting.unwrap_err().to_string();
        assert!(
            error.contains("undecided until the log of shard 001"),
            "{error}"
        );
        damaged.unwrap_err();
    }
    std::fs::copy(&hidden, &segment).unwrap();
    two.start();
    two.assert_stays(["new", "new"]);
}

#[test]
fn gc_keeps_a_decision_while_a_shard_may_ask_for_it() {
    let mut two = Two::new();
    two.forge(0, &[PREPARE, COMMIT]);
    two.forge(1, &[PREPARE]);
    let segment = two.last_segment(1);
    let whole = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, vec![7; whole.len()]).unwrap();
    let [open, damaged] = two.try_start(None);
    open.expect("it has its decision");
    damaged.unwrap_err();
    // All that its segments hold is replaced, and they are closed.
    two.put(0, "newer");
    two.stores[0].take().unwrap().close().unwrap();
    two.open_again(0).unwrap();
    let asked: GcOutcome = two.store(0).collect(2.0).unwrap();
    assert!(!asked.pinned.is_empty(), "{asked:?}");
    two.crash();
    std::fs::write(&segment, whole).unwrap();
    two.start();
    assert_eq!(two.values(), ["newer", "new"]);
    two.stop();
    two.start();
    let collected = two.store(0).collect(2.0).unwrap();
    assert_eq!(collected.pinned, []);
    assert!(!collected.removed.is_empty());
    two.assert_stays(["newer", "new"]);
}

#[test]
fn a_shard_that_is_opened_again_needs_no_neighbour() {
    let mut two = Two::new();
    two.forge(0, &[PREPARE]);
    two.forge(1, &[PREPARE]);
    two.start();
    two.stores[0] = None;
    two.open_again(0).unwrap();
    two.assert_stays(["new", "new"]);
}

#[test]
fn a_prepare_that_is_followed_by_something_else_is_damage() {
    let mut two = Two::new();
    two.forge(0, &[PREPARE, Membership::NONE]);
    two.forge(1, &[PREPARE]);
    let path = two.last_segment(0);
    for rebuild in [None, Some("the test wants it")] {
        let [broken, _] = two.try_start(rebuild);
        let error = broken.unwrap_err().to_string();
        assert!(error.contains("decision"), "{error}");
        assert!(error.contains("log/"), "{error}");
    }
    assert!(path.exists());
}

#[test]
fn the_check_says_that_a_transaction_is_undecided() {
    let mut two = Two::new();
    two.forge(0, &[PREPARE]);
    two.transactions = Arc::new(Transactions::one_by_one(2));
    let options = [0, 1].map(|shard| two.options(shard));
    let verdict = verify_store(&options, false, &mut |_, _| {});
    assert_eq!(verdict.problem_count(), 0, "{:?}", verdict.shards);
    let notes = verdict.shards[0].notes.join("\n");
    assert!(notes.contains("transaction 1000 is undecided"), "{notes}");
}

#[test]
fn a_slot_that_left_takes_its_keys_with_it() {
    let mut bench = Bench::calm();
    bench.put("leaves", b"of before");
    bench.put("stays", b"here");
    bench.next_segment();
    let path = bench.segment_path(bench.last_segment());
    bench.crash();
    let segment = forge::segment_header(&path);
    let slot = slot_of(b"leaves");
    assert_ne!(slot, slot_of(b"stays"));
    let left = Record {
        seq: Seq(50),
        ..Record::bookkeeping(
            Kind::SlotLeft,
            Bytes::copy_from_slice(&slot.0.to_be_bytes()),
            Bytes::new(),
        )
    };
    let frame = forge::frame(&segment, FIRST, &[left], segment.salt, |_| {});
    forge::append(&path, &frame);
    bench.open();
    assert_eq!(bench.get("leaves"), None);
    assert_eq!(bench.get("stays").unwrap(), b"here");
    bench.assert_rebuild_is_equal();
    // What it left behind is garbage; the word that it left stays.
    bench.store().collect(2.0).unwrap();
    bench.assert_rebuild_is_equal();
    assert_eq!(bench.get("leaves"), None);
    assert!(bench.rows().iter().any(|(space, ..)| *space == Space::Slot));
    // It comes back.
    bench.put("leaves", b"again");
    bench.assert_rebuild_is_equal();
    assert_eq!(bench.get("leaves").unwrap(), b"again");
}
