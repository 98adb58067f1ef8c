//! Values that were compressed with a dictionary of the store: they open as long as they are there,
//! whatever happens to the process, the index or a segment.

use crate::bench::Bench;
use crate::faults::{arm, disarm};
use crate::house::{House, LARGE};
use crate::support::{PATIENCE, Server, command_of, key_of, set_of};
use shardkeep::codec::{DictionaryId, FORMAT_VERSION, Kind, SEGMENT_HEADER_SIZE};
use shardkeep::log::{FrameWalk, LogIdentity, Payloads, Step, inspect};
use shardkeep::model::{Codec, Error, ErrorKind, ShardId, Version};
use shardkeep::service::RestoreSource;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Enough values for a dictionary.
const ENOUGH: u64 = 1000;

fn key(number: u64) -> Vec<u8> {
    format!("order/{number:06}").into_bytes()
}

/// What programs store: alike in form, unlike in what it says.
fn order(number: u64) -> Vec<u8> {
    let odd = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let status = ["pending", "paid", "shipped", "returned"][(odd >> 40) as usize % 4];
    let text = format!(
        r#"{{"type":"order","id":"ORD-{number:08}","status":"{status}","currency":"EUR","customer":{},"tracking":"{:012}","address":{{"country":"DE","zip":"{:05}"}},"items":[{{"sku":"{:010}","quantity":{}}}]}}"#,
        odd >> 44,
        odd % 1_000_000_000_000,
        odd % 99_991,
        odd % 9_999_999_967,
        odd % 9 + 1
    );
    assert!(text.len() < LARGE);
    text.into_bytes()
}

async fn put(house: &House, numbers: std::ops::Range<u64>) {
    for number in numbers {
        house.set(&key(number), &order(number)).await;
    }
}

async fn assert_there(house: &House, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        let found = house.get(&key(number)).await;
        assert_eq!(found, Some(order(number)), "{number}");
    }
}

async fn dictionaries(house: &House) -> u64 {
    house.service().stats().await.unwrap().dictionaries
}

async fn trained(house: &House) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while dictionaries(house).await == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("a dictionary is trained");
}

/// A store with a dictionary, and values in every shard that need it: those from `ENOUGH` on.
async fn filled(house: House) -> House {
    put(&house, 0..ENOUGH).await;
    trained(&house).await;
    put(&house, ENOUGH..2 * ENOUGH).await;
    house
}

/// How many of the values need a dictionary, and how many of them are compressed at all.
fn kinds_of_values(house: &House) -> (usize, usize) {
    let (mut with_dictionary, mut compressed) = (0, 0);
    for number in 0..2 * ENOUGH {
        let key = shardkeep::model::Key::new(&key(number)).unwrap();
        let reader = house.handle(house.router().shard_of_key(&key)).reader();
        let found = reader.unwrap().key(&key, shardkeep::model::Timestamp(0));
        let found = found.unwrap().expect("it is there");
        let payload = found.payload().unwrap();
        let id = DictionaryId::of_payload(found.row.codec, &payload);
        with_dictionary += usize::from(id.is_some());
        compressed += usize::from(found.row.codec == Codec::Zstd);
    }
    (with_dictionary, compressed)
}

/// Where the payloads of a shard's dictionaries are: file and offset.
fn places(house: &House, shard: ShardId) -> Vec<(PathBuf, u64)> {
    let log = house.shard_dir(shard).join("log");
    let owner = LogIdentity {
        store: house.book().store,
        shard,
    };
    let found = inspect(&log, owner).unwrap();
    let mut places = Vec::new();
    for (id, segment) in &found.segments {
        let start = SEGMENT_HEADER_SIZE as u64;
        let end = found.ends[id];
        let mut walk = FrameWalk::new(segment.clone(), start, end, Payloads::Skip);
        while let Some(step) = walk.next_step().unwrap() {
            let Step::Frame(frame) = step else { continue };
            for scanned in &frame.records {
                if scanned.record.kind == Kind::Dictionary {
                    places.push((segment.path().to_owned(), scanned.payload_offset));
                }
            }
        }
    }
    places
}

fn flip_byte(path: &Path, offset: u64) {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path);
    let file = file.unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn values_open_after_a_crash_and_new_ones_use_the_same_dictionary() {
    let mut house = filled(House::calm().await).await;
    let (with_dictionary, compressed) = kinds_of_values(&house);
    assert!(with_dictionary as u64 >= ENOUGH && compressed >= with_dictionary);
    let stored = house.service().stats().await.unwrap();
    assert!(stored.stored_bytes * 3 < stored.logical_bytes * 2);
    house.crash().await;
    assert_eq!(dictionaries(&house).await, 1);
    assert_there(&house, 0..2 * ENOUGH).await;
    put(&house, 0..ENOUGH).await;
    assert_eq!(dictionaries(&house).await, 1);
    let (with_dictionary, _) = kinds_of_values(&house);
    assert_eq!(with_dictionary as u64, 2 * ENOUGH);
    house.crash().await;
    assert_there(&house, 0..2 * ENOUGH).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gc_keeps_a_dictionary_as_long_as_the_log() {
    let mut house = filled(House::calm().await).await;
    let stays = |number: &u64| number.is_multiple_of(50);
    for number in (0..2 * ENOUGH).filter(|number| !stays(number)) {
        house.delete(&key(number)).await;
    }
    for _ in 0..2 {
        house.close().await; // What is written so far stands in closed segments from here on.
        house.open().await;
        let removed: usize = house
            .collect()
            .await
            .iter()
            .map(|(_, it)| it.removed.len())
            .sum();
        assert!(removed > 0);
        assert_there(&house, (0..2 * ENOUGH).filter(stays)).await;
        house.crash().await;
        assert_eq!(dictionaries(&house).await, 1);
        assert_there(&house, (0..2 * ENOUGH).filter(stays)).await;
    }
    for shard in 0..4 {
        assert_eq!(places(&house, ShardId(shard)).len(), 1, "shard {shard}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_made_anew_knows_the_dictionaries() {
    let mut house = filled(House::calm().await).await;
    house.close().await;
    for shard in 0..4 {
        std::fs::remove_dir_all(house.shard_dir(ShardId(shard)).join("index")).unwrap();
    }
    house.open().await;
    assert_eq!(dictionaries(&house).await, 1);
    assert_there(&house, 0..2 * ENOUGH).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dictionary_that_is_lost_with_its_group_comes_with_the_next() {
    let house = House::armed().await;
    put(&house, 0..ENOUGH).await;
    trained(&house).await;
    // Every shard's first group that needs the dictionary fails.
    let mut shards = std::collections::HashSet::new();
    for number in ENOUGH.. {
        let at = house
            .router()
            .shard_of_key(&shardkeep::model::Key::new(&key(number)).unwrap());
        if shards.insert(at) {
            arm("log::write", "1*return");
            house
                .try_set(&key(number), &order(number))
                .await
                .unwrap_err();
            disarm("log::write");
            house.serving(at).await;
        }
        if shards.len() == 4 {
            break;
        }
    }
    let mut house = house;
    put(&house, ENOUGH..2 * ENOUGH).await;
    house.crash().await;
    assert_there(&house, 0..2 * ENOUGH).await;
    let (with_dictionary, _) = kinds_of_values(&house);
    assert!(with_dictionary as u64 >= ENOUGH);
}

fn is_damage(error: &Error) -> bool {
    error.kind() == ErrorKind::Corrupt && error.to_string().contains("zstd dictionary")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_dictionary_is_taken_from_another_shard_and_written_again() {
    let mut house = filled(House::calm().await).await;
    house.close().await;
    let (path, offset) = places(&house, ShardId(0)).remove(0);
    flip_byte(&path, offset + 100);
    house.open().await;
    assert_there(&house, 0..2 * ENOUGH).await;
    put(&house, 2 * ENOUGH..2 * ENOUGH + 50).await;
    house.close().await;
    assert_eq!(places(&house, ShardId(0)).len(), 2);
    for shard in 1..4 {
        std::fs::remove_dir_all(house.shard_dir(ShardId(shard))).unwrap();
    }
    house.open().await;
    for number in 0..2 * ENOUGH {
        let at = house
            .router()
            .shard_of_key(&shardkeep::model::Key::new(&key(number)).unwrap());
        if at == ShardId(0) {
            assert_eq!(
                house.get(&key(number)).await,
                Some(order(number)),
                "{number}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_copy_of_the_dictionary_values_are_refused_and_the_others_served() {
    let mut house = filled(House::calm().await).await;
    let alone: Vec<u64> = (0..ENOUGH / 2).collect();
    house.close().await;
    for shard in 0..4 {
        for (path, offset) in places(&house, ShardId(shard)) {
            flip_byte(&path, offset + 100);
        }
    }
    house.open().await;
    assert_there(&house, alone).await;
    let mut refused = 0;
    for number in ENOUGH..2 * ENOUGH {
        match house.service().get(&key(number)).await {
            Ok(found) => assert_eq!(found.unwrap().data, order(number)),
            Err(error) => {
                assert!(is_damage(&error), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > ENOUGH / 2, "{refused}");
    // The store goes on: what comes now is compressed with a dictionary of its own.
    put(&house, 0..2 * ENOUGH).await;
    assert_there(&house, 0..2 * ENOUGH).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_needs_no_dictionary_and_a_restore_makes_its_own() {
    let house = filled(House::calm().await).await;
    let done = house.service().backup("all", Version(0)).await.unwrap();
    let mut other = House::beside(&house).await;
    let source = RestoreSource::Operator(done.target.clone());
    other.service().restore(source, |_, _| {}).await.unwrap();
    assert_there(&other, 0..2 * ENOUGH).await;
    trained(&other).await;
    other.crash().await;
    assert_there(&other, 0..2 * ENOUGH).await;
}

/// A segment that an earlier program began has records of its format only, so that it never meets
/// a kind of record that it does not know.
#[test]
fn a_segment_of_an_earlier_format_is_not_gone_on_with() {
    let mut bench = Bench::calm();
    bench.put("before", b"one");
    bench.next_segment();
    bench.close();
    let last = bench.segment_path(*bench.segments().last().unwrap());
    let mut header = crate::forge::segment_header(&last);
    assert_eq!(header.format, FORMAT_VERSION);
    header.format = 1;
    let file = std::fs::OpenOptions::new().write(true).open(&last).unwrap();
    file.write_all_at(&header.encode(), 0).unwrap();
    bench.open();
    bench.put("after", b"two");
    let now = bench.segment_path(bench.last_segment());
    assert_ne!(now, last);
    assert_eq!(crate::forge::segment_header(&now).format, FORMAT_VERSION);
    bench.crash();
    bench.open();
    assert_eq!(bench.get("before").unwrap(), b"one");
    assert_eq!(bench.get("after").unwrap(), b"two");
    bench.assert_rebuild_is_equal();
}

/// The real server: dictionaries are told of by `status`, and `verify` opens what they compressed.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_keeps_its_dictionaries_through_kills_and_tells_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let flags = ["--allow-user-key", "--allow-overwrite", "--shards", "3"];
        Server::builder().flags(flags).data_dir(dir.path())
    };
    let mut server = start().start().await;
    let mut client = server.client().await;
    let details = async |client: &mut shardkeep::proto::zstdb::badger_client::BadgerClient<_>| {
        let asked = command_of("stats", r#"{"with":"details"}"#);
        let reply: shardkeep::proto::zstdb::ItemReply =
            client.status(asked).await.unwrap().into_inner();
        let value: serde_json::Value = serde_json::from_slice(&reply.data).unwrap();
        value["details"]["store"].clone()
    };
    let mut number = 0;
    while details(&mut client).await["dictionaries"] == 0 {
        for _ in 0..100 {
            let item = set_of(key(number), order(number));
            assert_eq!(client.set(item).await.unwrap().into_inner().errcode, 0);
            number += 1;
        }
        assert!(number < 50 * ENOUGH, "no dictionary");
    }
    let end = number + ENOUGH;
    for number in number..end {
        let item = set_of(key(number), order(number));
        assert_eq!(client.set(item).await.unwrap().into_inner().errcode, 0);
    }
    let told = details(&mut client).await;
    assert!(told["dictionary_bytes"].as_u64().unwrap() > 1000, "{told}");
    server.kill();
    let verified = Command::new(env!("CARGO_BIN_EXE_shardkeep"))
        .arg("verify")
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
    let server = start().start().await;
    let mut client = server.client().await;
    for number in 0..end {
        let reply = client.get(key_of(key(number))).await.unwrap().into_inner();
        assert!(reply.data == order(number), "{number}");
    }
    assert_eq!(
        details(&mut client).await["dictionaries"],
        told["dictionaries"]
    );
    server.stop().await;
}
