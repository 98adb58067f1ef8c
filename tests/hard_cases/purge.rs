//! Case 4: purging a segment.

use crate::bench::{Bench, replace_dir};
use crate::faults::{arm, disarm};
use crate::support::files::copy_dir;
use crate::support::noise;
use shardkeep::log::LogError;
use shardkeep::model::SegmentId;
use shardkeep::shard::ShardError;
use std::time::Duration;

/// Three segments: live values, values that are replaced later, tombstones.
fn three_segments(bench: &mut Bench) {
    for step in 0..10 {
        bench.put(&format!("key-{step}"), &noise(step, 700));
    }
    bench.next_segment();
    for step in 0..10 {
        bench.put(&format!("more-{step}"), &noise(step, 700));
    }
    for step in 0..5 {
        bench.delete(&format!("key-{step}"));
    }
    bench.next_segment();
    for step in 0..5 {
        bench.put(&format!("more-{step}"), b"replaced");
    }
    bench.next_segment();
}

fn assert_all_there(bench: &Bench) {
    for step in 0..10 {
        let key = bench.get(&format!("key-{step}"));
        assert_eq!(key, (step >= 5).then(|| noise(step, 700)));
        let more = bench.get(&format!("more-{step}")).unwrap();
        match step < 5 {
            true => assert_eq!(more, b"replaced"),
            false => assert_eq!(more, noise(step, 700)),
        }
    }
}

/// Every step between the first copy and the unlink.
const STEPS: [&str; 5] = [
    "gc::moved",
    "gc::sealed",
    "gc::purged",
    "gc::persisted",
    "gc::unlinked",
];

/// Case 4: a crash at any step of a purge, at the first segment or a later one, loses nothing and
/// is made good at the next start.
#[test]
fn a_crash_at_any_step_of_a_purge_loses_nothing() {
    for retention in [Duration::from_secs(3600), Duration::ZERO] {
        for step in STEPS {
            for nth in 0..3 {
                let mut bench = Bench::armed();
                bench.retention = retention;
                three_segments(&mut bench);
                arm(step, &format!("{nth}*off->1*return"));
                let failed = bench.store().collect(2.0);
                assert!(failed.is_err(), "{step} was passed at {nth}");
                disarm(step);
                bench.crash();
                bench.open();
                assert_all_there(&bench);
                bench.assert_rebuild_is_equal();
                assert_all_there(&bench);
                let left = bench.segments();
                bench.store().collect(2.0).unwrap();
                assert!(
                    bench
                        .segments()
                        .iter()
                        .all(|id| !left[..left.len() - 1].contains(id))
                );
                assert_all_there(&bench);
                bench.assert_rebuild_is_equal();
            }
        }
    }
}

/// Case 4: the same crash when the index had not been made durable since long before: it is
/// replayed as far as the segment's file is there, and rebuilt when it is not.
#[test]
fn a_crash_at_any_step_of_a_purge_may_take_the_index_back_to_its_last_checkpoint() {
    for step in STEPS {
        let mut bench = Bench::armed();
        three_segments(&mut bench);
        bench.close();
        let old = tempfile::tempdir().unwrap();
        copy_dir(&bench.index_dir(), old.path());
        bench.open();
        arm(step, "1*return");
        assert!(bench.store().collect(2.0).is_err(), "{step}");
        disarm(step);
        bench.crash();
        replace_dir(old.path(), &bench.index_dir());
        let report = bench.open();
        assert_eq!(report.rebuilt.is_some(), step == "gc::unlinked", "{step}");
        assert_all_there(&bench);
        bench.assert_rebuild_is_equal();
        assert_all_there(&bench);
    }
}

/// Case 4: an index from before a purge names places that are gone; it is rebuilt, never replayed.
#[test]
fn an_index_older_than_a_purge_is_rebuilt() {
    let mut bench = Bench::calm();
    three_segments(&mut bench);
    bench.close();
    let old = tempfile::tempdir().unwrap();
    copy_dir(&bench.index_dir(), old.path());
    bench.open();
    let collected = bench.store().collect(2.0).unwrap();
    assert!(collected.removed.contains(&SegmentId(1)));
    bench.put("after", b"the purge");
    bench.close();
    replace_dir(old.path(), &bench.index_dir());
    let report = bench.open();
    let why = report.rebuilt.expect("the index is rebuilt");
    assert!(why.contains("older than a purge"), "{why}");
    assert_all_there(&bench);
    assert_eq!(bench.get("after").unwrap(), b"the purge");
    bench.assert_rebuild_is_equal();
}

/// Case 4: an index that is ahead of the log is rebuilt as well.
#[test]
fn an_index_ahead_of_the_log_is_not_believed() {
    let mut bench = Bench::calm();
    three_segments(&mut bench);
    let last = bench.last_segment();
    bench.close();
    let log = tempfile::tempdir().unwrap();
    let log_dir = bench.shard_dir().join("log");
    copy_dir(&log_dir, log.path());
    bench.open();
    bench.put("lost", b"with the newer log");
    bench.close();
    replace_dir(log.path(), &log_dir);
    let error = bench.try_open(None).unwrap_err();
    // The index says that more was synced than is there: acknowledged data is missing.
    let ShardError::Log(LogError::Damaged { path, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!(path, bench.segment_path(last));
}

/// Case 4: a segment that is missing without the record of its purge is damage, and the file is
/// named, with the index as without it.
#[test]
fn a_missing_segment_without_its_record_is_damage_that_names_the_file() {
    for id in [1, 2, 3] {
        for without_index in [false, true] {
            let mut bench = Bench::calm();
            three_segments(&mut bench);
            bench.close();
            let missing = bench.segment_path(SegmentId(id));
            std::fs::remove_file(&missing).unwrap();
            if without_index {
                std::fs::remove_dir_all(bench.index_dir()).unwrap();
            }
            let error = bench.try_open(None).unwrap_err();
            let ShardError::Log(LogError::Damaged { path, what, .. }) = error else {
                panic!("{error}");
            };
            assert_eq!(path, missing);
            assert!(what.contains("missing"), "{what}");
        }
    }
}

/// Case 4: and one that is missing with its record is not.
#[test]
fn a_segment_that_was_purged_is_not_missed() {
    let mut bench = Bench::calm();
    three_segments(&mut bench);
    let collected = bench.store().collect(2.0).unwrap();
    assert_eq!(collected.removed.len(), 3, "{collected:?}");
    for id in collected.removed {
        assert!(!bench.segment_path(id).exists());
    }
    bench.close();
    std::fs::remove_dir_all(bench.index_dir()).unwrap();
    bench.open();
    assert_all_there(&bench);
}
