//! Case 12, the reserve: who may take of it, down to where, and when it is made again. One shard on a
//! small disk of its own, without the server around it.

use crate::bench::{Bench, key, put};
use crate::support::{SmallDisk, noise};
use shardkeep::log::free_space;
use shardkeep::model::{Command, SegmentId};
use shardkeep::shard::ShardError;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

const DISK_MIB: u64 = 48;
const RESERVE: u64 = 320 * 1024;
const VALUE: usize = 100_000;

/// A shard with a reserve, and somebody else who takes space.
struct Scarce {
    bench: Bench,
    disk: SmallDisk,
}

impl Scarce {
    fn new(bench: impl FnOnce(&std::path::Path) -> Bench) -> Option<Self> {
        let disk = SmallDisk::mount(DISK_MIB)?;
        let mut bench = bench(&disk.path().join("store"));
        bench.close();
        bench.reserve = RESERVE;
        bench.open();
        let scarce = Self { bench, disk };
        assert_eq!(scarce.reserve(), RESERVE);
        Some(scarce)
    }

    fn other(&self) -> PathBuf {
        self.disk.path().join("somebody-elses")
    }

    fn free(&self) -> u64 {
        free_space(self.disk.path()).unwrap()
    }

    /// Bytes of the reserve that are held.
    fn reserve(&self) -> u64 {
        let held = std::fs::metadata(self.bench.reserve_path());
        held.unwrap().len()
    }

    /// Somebody else takes every byte that is free.
    fn take_all(&self) {
        let mut options = File::options();
        let mut file = options
            .create(true)
            .append(true)
            .open(self.other())
            .unwrap();
        for size in [1 << 20, 1 << 16, 1 << 12] {
            let piece = vec![1; size];
            while file
                .write_all(&piece)
                .and_then(|()| file.sync_all())
                .is_ok()
            {}
        }
        assert!(self.free() < 1 << 13, "{} bytes are free", self.free());
    }

    /// Values that nobody deletes: as many as make a segment.
    fn put_a_segment(&mut self) -> SegmentId {
        let segment = self.bench.last_segment();
        for number in 0..2 {
            let value = noise(number, VALUE);
            self.bench.put(&format!("key-{number}"), &value);
        }
        self.bench.next_segment();
        segment
    }

    /// Makes room for deletes without end, until there is none.
    fn use_up_what_deletes_may_have(&mut self) {
        let mut bytes = 16 * 1024;
        while self.bench.store().reserve(bytes, true).is_ok() {
            bytes += 16 * 1024;
            assert!(bytes < DISK_MIB << 20);
        }
    }
}

fn delete(name: &str) -> Command {
    Command::Delete {
        key: key(name),
        condition: None,
    }
}

fn is_full<T>(done: Result<T, ShardError>) -> bool {
    done.is_err_and(|error| error.is_disk_full())
}

/// Case 12: deletes may use most of the reserve, and leave what an opening needs.
#[test]
fn deletes_leave_the_share_of_an_opening() {
    let Some(mut scarce) = Scarce::new(Bench::calm_in) else {
        return;
    };
    scarce.take_all();
    scarce.use_up_what_deletes_may_have();
    assert_eq!(scarce.reserve(), RESERVE / 4);
}

/// Case 12: what is live in a segment is not copied half: where there is no room for all of it, GC
/// leaves the reserve to those who can do something with it. What it then collects goes to the
/// reserve first.
#[test]
fn gc_begins_only_what_it_has_room_to_finish() {
    let Some(mut scarce) = Scarce::new(Bench::calm_in) else {
        return;
    };
    let segment = scarce.put_a_segment();
    scarce.take_all();
    let outcome = scarce.bench.store().collect(2.0).unwrap();
    assert!(!outcome.removed.contains(&segment), "{outcome:?}");
    assert_eq!(scarce.reserve(), RESERVE);
    for number in 0..2 {
        scarce.bench.delete(&format!("key-{number}"));
    }
    scarce.use_up_what_deletes_may_have();
    assert_eq!(scarce.reserve(), RESERVE / 4);
    let outcome = scarce.bench.store().collect(0.5).unwrap();
    assert!(outcome.removed.contains(&segment), "{outcome:?}");
    assert!(scarce.reserve() >= RESERVE / 4 + VALUE as u64);
}

/// Case 12: the index finds the room that was seen to before the log was written, whoever came since.
#[test]
fn a_batch_of_the_index_finds_its_room() {
    let Some(mut scarce) = Scarce::new(Bench::calm_in) else {
        return;
    };
    // More than what is left of the journal's last block.
    let name = "k".repeat(60_000);
    scarce.bench.put(&name, b"value");
    let (command, now) = (delete(&name), scarce.bench.clock.now());
    let size = command.log_size_max();
    scarce.bench.store().reserve(size, true).unwrap();
    scarce.take_all();
    scarce.bench.store().execute(vec![command], now).unwrap();
    assert_eq!(scarce.bench.get(&name), None);
}

/// Case 12: nobody is let in before the reserve is whole again.
#[test]
fn writes_wait_until_the_reserve_is_whole() {
    let Some(mut scarce) = Scarce::new(Bench::calm_in) else {
        return;
    };
    scarce.put_a_segment();
    scarce.take_all();
    scarce.use_up_what_deletes_may_have();
    let missing = RESERVE - scarce.reserve();
    let other = File::options().write(true).open(scarce.other()).unwrap();
    let len = other.metadata().unwrap().len();
    other.set_len(len - missing / 2).unwrap();
    assert!(is_full(scarce.bench.run(put("late", b"value"))));
    other.set_len(len / 2).unwrap();
    scarce.bench.put("late", b"value");
    assert_eq!(scarce.reserve(), RESERVE);
}

/// Case 12: an opening that must copy groups has the room that the old segment took ahead.
#[test]
fn what_was_taken_ahead_makes_room_for_an_opening() {
    let Some(mut scarce) = Scarce::new(Bench::armed_in) else {
        return;
    };
    fail::cfg("shard::written", "return").unwrap();
    let lost = scarce.bench.run(put("key", &noise(1, VALUE)));
    assert!(lost.is_err());
    fail::remove("shard::written");
    scarce.bench.crash();
    scarce.take_all();
    let report = scarce.bench.open();
    assert_eq!(report.adopted_groups, 1);
    assert_eq!(scarce.bench.get("key"), Some(noise(1, VALUE)));
}
