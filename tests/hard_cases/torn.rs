//! Case 5: torn, damaged and recycled are told apart. Case 14: frames know transactions.

use crate::bench::{Bench, value_record};
use crate::faults::{arm, disarm};
use crate::forge::{self, FIRST, FRAME_HEADER};
use crate::support::noise;
use bytes::Bytes;
use shardkeep::codec::{self, FrameHeader, RECORD_HEADER_SIZE};
use shardkeep::log::LogError;
use shardkeep::model::{
    Codec, Command, Existing, PutBody, SealedValue, SegmentId, ShardId, StoreId, ValueInfo,
};
use shardkeep::shard::ShardError;
use std::path::PathBuf;

/// A shard with `a` acknowledged, and `b` written but not synced, as a crash leaves it: its
/// segment, where `b`'s frame starts, and where it ends.
fn unproven(bench: &mut Bench) -> (PathBuf, u64, u64) {
    bench.put("a", b"acknowledged");
    let start = written(bench);
    arm("log::sync", "1*return");
    let failed = bench.run(crate::bench::put("b", &noise(1, 3000)));
    assert!(failed.is_err());
    disarm("log::sync");
    assert_eq!(bench.get("b"), None, "nothing unsynced is visible");
    bench.crash();
    let path = bench.segment_path(*bench.segments().last().unwrap());
    let len = forge::frame_at(&path, start).len() as u64;
    (path, start, start + len)
}

/// Where the log ends.
fn written(bench: &Bench) -> u64 {
    let last = bench.last_segment();
    let path = bench.segment_path(last);
    let mut at = FIRST;
    let bytes = std::fs::read(&path).unwrap();
    let salt = forge::segment_header(&path).salt;
    while let Some(rest) = bytes.get(usize::try_from(at).unwrap()..)
        && let Ok((header, _)) = FrameHeader::decode(rest, salt)
    {
        at += header.frame_len();
    }
    at
}

fn damage(result: Result<shardkeep::shard::OpenReport, ShardError>) -> (PathBuf, u64, String) {
    match result.unwrap_err() {
        ShardError::Log(LogError::Damaged { path, offset, what }) => (path, offset, what),
        error => panic!("{error}"),
    }
}

/// Case 5: a group that no sync was proven for is cut where it is torn, wherever that is; what was
/// acknowledged before it stays, and the cut tail is never appended to.
#[test]
fn a_torn_tail_is_cut_and_never_appended_to() {
    for keep in [
        1,
        8,
        FRAME_HEADER - 1,
        FRAME_HEADER,
        FRAME_HEADER + 10,
        1000,
    ] {
        let mut bench = Bench::armed();
        let (path, start, _) = unproven(&mut bench);
        forge::cut(&path, start + keep);
        let report = bench.open();
        assert_eq!((report.torn_bytes, report.adopted_groups), (keep, 0));
        assert_eq!(report.rebuilt, None);
        assert_eq!(bench.get("a").unwrap(), b"acknowledged");
        assert_eq!(bench.get("b"), None);
        let next = forge::segment_header(&bench.segment_path(bench.last_segment()));
        assert_eq!((next.prev_segment, next.prev_end), (SegmentId(1), start));
        bench.put("c", b"after");
        assert!(bench.row("c").unwrap().place.record.segment > SegmentId(1));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), start);
        bench.assert_rebuild_is_equal();
    }
}

/// Case 5: a tail of zeros is preallocated space and not even torn.
#[test]
fn preallocated_space_behind_the_last_group_is_no_damage() {
    let mut bench = Bench::calm();
    bench.put("a", b"acknowledged");
    let end = written(&bench);
    bench.crash();
    let path = bench.segment_path(SegmentId(1));
    assert!(std::fs::metadata(&path).unwrap().len() > end);
    let report = bench.open();
    assert_eq!((report.torn_bytes, report.rebuilt), (0, None));
    assert_eq!(bench.get("a").unwrap(), b"acknowledged");
}

/// Case 5: the same damage before a proof is an error that names file and offset: whether the
/// proof is a later frame or the index.
#[test]
fn the_same_damage_before_a_proof_is_an_error() {
    for without_index in [false, true] {
        for at in [0, 20, FRAME_HEADER + 3] {
            let mut bench = Bench::armed();
            bench.put("z", b"first");
            let (path, start, _) = unproven(&mut bench);
            // The frame of "a", which the frame of "b" says was synced.
            let frame = forge::frame_at(&path, FIRST).len() as u64 + FIRST;
            assert!(frame < start);
            forge::flip(&path, frame + at);
            if without_index {
                std::fs::remove_dir_all(bench.index_dir()).unwrap();
            }
            let opened = if without_index {
                bench.try_open(None)
            } else {
                bench.try_open(Some("so that everything is read"))
            };
            let (file, offset, what) = damage(opened);
            assert_eq!(file, path);
            assert!((frame..frame + 300).contains(&offset), "{offset}");
            // With the index's own proof the tail begins behind it, and replay meets the damage.
            assert_eq!(what.contains("synced up to"), without_index, "{what}");
        }
    }
}

/// Case 5: an acknowledged tail that is cut off is damage, not a torn tail.
#[test]
fn an_acknowledged_group_that_is_cut_off_is_damage() {
    let mut bench = Bench::calm();
    bench.put("a", b"acknowledged");
    let end = written(&bench);
    bench.close();
    let path = bench.segment_path(SegmentId(1));
    forge::cut(&path, end - 1);
    for rebuild in [None, Some("the test wants it")] {
        let (file, _, what) = damage(bench.try_open(rebuild));
        assert_eq!(file, path);
        assert!(what.contains("synced up to"), "{what}");
    }
}

/// Case 5: a value whose bytes are damaged is an error that names file and offset, never a wrong
/// answer; the others are read.
#[test]
fn a_damaged_value_is_never_answered() {
    let mut bench = Bench::calm();
    bench.put("a", &noise(1, 500));
    bench.put("b", &noise(2, 500));
    let place = bench.row("a").unwrap().place;
    let path = bench.segment_path(place.record.segment);
    forge::flip(&path, place.payload_offset + 7);
    let read = bench.read(&crate::bench::key("a")).unwrap_err();
    let ShardError::Log(LogError::Damaged {
        path: file, offset, ..
    }) = read
    else {
        panic!("{read}");
    };
    assert_eq!((file, offset), (path, place.payload_offset));
    assert_eq!(bench.get("b"), Some(noise(2, 500)));
}

/// What a forger gets wrong.
type Spoil = fn(&mut FrameHeader);

/// Case 5: a frame that is right in everything passes (or this test would prove nothing); one of
/// another store, shard, segment or place, of another salt, or one that does not follow the frame
/// before it, does not.
#[test]
fn a_frame_of_another_place_does_not_pass() {
    let wrong: [(&str, Spoil); 7] = [
        ("right", |_| {}),
        ("store", |header| header.store = StoreId(1)),
        ("shard", |header| header.shard = ShardId(9)),
        ("segment", |header| header.segment = SegmentId(1)),
        ("position", |header| header.position += 8),
        ("records", |header| header.meta_sum ^= 1),
        ("length", |header| header.payload_len += 1),
    ];
    for (what, spoil) in wrong {
        for salt in [0, 1] {
            let mut bench = Bench::calm();
            bench.put("a", b"old");
            bench.next_segment();
            let path = bench.segment_path(bench.last_segment());
            bench.crash();
            let segment = forge::segment_header(&path);
            let record = value_record("a", b"forged", 2, 2);
            let salt_used = segment.salt ^ salt;
            let frame = forge::frame(&segment, FIRST, &[record], salt_used, spoil);
            forge::append(&path, &frame);
            let report = bench.open();
            if (what, salt) == ("right", 0) {
                assert_eq!(report.adopted_groups, 1);
                assert_eq!(bench.get("a").unwrap(), b"forged");
            } else {
                assert_eq!(report.torn_bytes, frame.len() as u64, "{what}");
                assert_eq!(bench.get("a").unwrap(), b"old", "{what}");
            }
        }
    }
}

/// Case 5: real old frames, copied behind the end as a recycled file holds them: from the same
/// segment, and from the same place of another.
#[test]
fn an_old_frame_of_a_recycled_file_does_not_pass() {
    let mut bench = Bench::calm();
    bench.put("a", b"old");
    let old = bench.segment_path(bench.last_segment());
    bench.next_segment();
    bench.delete("a");
    let new = bench.segment_path(bench.last_segment());
    let deleted = forge::frame_at(&new, FIRST);
    bench.close();
    let revived = forge::frame_at(&old, FIRST);
    // The same place of a segment that has just been begun.
    bench.open();
    let begun = bench.segment_path(bench.last_segment());
    bench.crash();
    forge::append(&begun, &revived);
    let report = bench.open();
    assert_eq!(report.torn_bytes, revived.len() as u64);
    assert_eq!(bench.get("a"), None);
    // Behind the end of its own segment.
    bench.put("a", b"newest");
    let own = bench.segment_path(bench.last_segment());
    let newest = forge::frame_at(&own, FIRST);
    bench.close();
    forge::append(&own, &newest);
    forge::append(&own, &deleted);
    let report = bench.open();
    assert_eq!(report.torn_bytes, (newest.len() + deleted.len()) as u64);
    assert_eq!(bench.get("a").unwrap(), b"newest");
    bench.assert_rebuild_is_equal();
}

/// Case 5: a frame that does not follow the one before it does not pass, even in its own place.
#[test]
fn a_frame_that_does_not_follow_the_one_before_does_not_pass() {
    for break_chain in [false, true] {
        let mut bench = Bench::calm();
        bench.next_segment();
        let path = bench.segment_path(bench.last_segment());
        bench.crash();
        let segment = forge::segment_header(&path);
        let salt = segment.salt;
        let first = [value_record("a", b"one", 1, 1)];
        let first = forge::frame(&segment, FIRST, &first, salt, |_| {});
        let (_, sum) = FrameHeader::decode(&first, salt).unwrap();
        let at = FIRST + first.len() as u64;
        let second = [value_record("a", b"two", 2, 2)];
        let second = forge::frame(&segment, at, &second, salt, |header| {
            header.prev_sum = sum ^ u64::from(break_chain);
        });
        forge::append(&path, &[first, second].concat());
        let report = bench.open();
        assert_eq!(report.adopted_groups, if break_chain { 1 } else { 2 });
        let expected: &[u8] = if break_chain { b"one" } else { b"two" };
        assert_eq!(bench.get("a").unwrap(), expected);
    }
}

/// A put of bytes as they are, under a key of one byte.
fn put_raw(payload: Vec<u8>) -> Command {
    let info = ValueInfo {
        raw_len: payload.len() as u64,
        sum64: codec::sum64_of(&payload),
    };
    let value = SealedValue {
        info,
        digest: None,
        codec: Codec::Raw,
        payload_sum: codec::payload_sum(&payload),
        payload: Bytes::from(payload),
    };
    Command::Put {
        key: crate::bench::key("v"),
        body: PutBody::Small(value),
        existing: Existing::Replace,
        expiry: None,
        attributes: Bytes::new(),
    }
}

/// Case 5: a value that contains a whole valid old frame of its very segment is a value: torn, it
/// proves nothing and brings nothing back.
#[test]
fn a_value_that_contains_an_old_frame_does_not_pass_for_one() {
    let mut bench = Bench::armed();
    bench.put("a", b"old");
    let path = bench.segment_path(bench.last_segment());
    let old = forge::frame_at(&path, FIRST);
    bench.put("a", b"new");
    let start = written(&bench);
    arm("log::sync", "1*return");
    assert!(bench.run(put_raw(old.repeat(3))).is_err());
    disarm("log::sync");
    bench.crash();
    forge::flip(&path, start + 10);
    let report = bench.open();
    assert!(report.torn_bytes > 3 * old.len() as u64);
    assert_eq!(bench.get("a").unwrap(), b"new");
    assert_eq!(bench.get("v"), None);
    bench.assert_rebuild_is_equal();
}

/// Case 5: a value that spells a frame for exactly the place where it will stand, and claims that
/// everything was synced, is no proof, since it cannot know the salt.
#[test]
fn a_value_cannot_forge_a_proof() {
    let mut bench = Bench::armed();
    bench.put("a", b"acknowledged");
    let path = bench.segment_path(bench.last_segment());
    let start = written(&bench);
    let at = start + FRAME_HEADER + (RECORD_HEADER_SIZE + 1) as u64;
    let segment = forge::segment_header(&path);
    let record = value_record("a", b"forged", 99, 99);
    let claim = |header: &mut FrameHeader| header.durable_offset = at;
    let frame = forge::frame(&segment, at, &[record], 0, claim);
    arm("log::sync", "1*return");
    assert!(bench.run(put_raw(frame.clone())).is_err());
    disarm("log::sync");
    bench.crash();
    let bytes = std::fs::read(&path).unwrap();
    let from = usize::try_from(at).unwrap();
    assert_eq!(
        bytes[from..from + frame.len()],
        frame,
        "it stands where it says"
    );
    forge::flip(&path, start + 10);
    let report = bench.open();
    assert!(report.torn_bytes > 0);
    assert_eq!(bench.get("a").unwrap(), b"acknowledged");
}

/// Case 5: after a failed sync the group is there only as the disk holds it: copied into a new
/// segment, and synced there before it is indexed.
#[test]
fn an_unproven_group_is_copied_into_a_new_segment() {
    let mut bench = Bench::armed();
    let (path, start, _) = unproven(&mut bench);
    let report = bench.open();
    assert_eq!((report.adopted_groups, report.torn_bytes), (1, 0));
    assert_eq!(bench.get("b"), Some(noise(1, 3000)));
    assert_eq!(bench.row("b").unwrap().place.record.segment, SegmentId(2));
    let next = forge::segment_header(&bench.segment_path(SegmentId(2)));
    assert_eq!((next.prev_segment, next.prev_end), (SegmentId(1), start));
    assert_eq!(std::fs::metadata(path).unwrap().len(), start);
    bench.assert_rebuild_is_equal();
}

/// Case 5: a sync that failed is never tried again: not by the next group, not by closing.
#[test]
fn a_recovery_whose_own_sync_fails_indexes_nothing() {
    let mut bench = Bench::armed();
    let _ = unproven(&mut bench);
    arm("log::sync", "1*return");
    assert!(bench.try_open(None).is_err(), "the copy was not synced");
    disarm("log::sync");
    bench.open();
    assert_eq!(bench.get("a").unwrap(), b"acknowledged");
    assert_eq!(bench.get("b"), Some(noise(1, 3000)));
    bench.assert_rebuild_is_equal();
}
