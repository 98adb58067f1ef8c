//! The offline check and what it leans on: repair, references across shards, and recoveries that
//! are told apart from damage.

#[path = "support/files.rs"]
mod files;
#[allow(dead_code, reason = "each test file uses its own part")]
#[path = "damage/store.rs"]
mod store;

use files::copy_dir;
use shardkeep::codec::{self, Kind};
use shardkeep::log::LogError;
use shardkeep::model::*;
use shardkeep::shard::{
    Homes, ShardError, ShardOptions, ShardStore, StoreVerdict, verify_shard, verify_store,
};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::{options, seal};

fn key(name: &str) -> Key {
    Key::new(name.as_bytes()).unwrap()
}

fn run(store: &mut ShardStore, command: Command) -> Reply {
    store.reserve(command.log_size_max(), false).unwrap();
    let replies = store.execute(vec![command], Timestamp(1)).unwrap();
    replies.into_iter().next().unwrap()
}

fn put_small(name: &str) -> Command {
    Command::Put {
        key: key(name),
        body: PutBody::Small(seal(name.as_bytes())),
        existing: Existing::Replace,
        expiry: None,
        attributes: bytes::Bytes::new(),
    }
}

fn open(options: &ShardOptions) -> ShardStore {
    ShardStore::open(options.clone(), None).unwrap().0
}

/// The segment file with the highest number that holds a frame.
fn last_with_frames(dir: &Path) -> PathBuf {
    let entries = std::fs::read_dir(dir.join("log")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.retain(|file| file.metadata().unwrap().len() > 4096);
    files.pop().unwrap()
}

fn problems(options: &ShardOptions) -> Vec<String> {
    let verdict = verify_shard(options, false, &mut |_, _| {});
    verdict
        .problems
        .listed
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn repair_makes_a_lost_index_anew_and_finds_nothing_wrong_afterwards() {
    let base = store::bases().swap_remove(2);
    let dir = tempfile::tempdir().unwrap();
    store::write(&base.now.files, dir.path());
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let verdict = verify_shard(&options(dir.path()), true, &mut |_, _| {});
    assert!(
        verdict.problems.listed.is_empty(),
        "{:?}",
        verdict.problems.listed
    );
    assert!(
        verdict.notes.iter().any(|note| note.contains("rebuilt")),
        "{:?}",
        verdict.notes
    );
    drop(verdict);
    let store = open(&options(dir.path()));
    for (key, value) in &base.model {
        assert_eq!(store::read(&store.reader(), key).unwrap(), *value, "{key}");
    }
}

#[test]
fn repair_leaves_a_shard_alone_whose_damaged_log_would_stop_it() {
    let base = store::bases().swap_remove(0);
    let dir = tempfile::tempdir().unwrap();
    store::write(&base.now.files, dir.path());
    let segment = dir.path().join("log/00000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[4096 + 40] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let verdict = verify_shard(&options(dir.path()), true, &mut |_, _| {});
    let text = format!("{:?}", verdict.problems.listed);
    assert!(text.contains("was not rebuilt"), "{text}");
    assert!(!dir.path().join("index.set-aside").exists());
}

#[test]
fn progress_ends_at_the_bytes_there_are() {
    let base = store::bases().swap_remove(0);
    let dir = tempfile::tempdir().unwrap();
    store::write(&base.now.files, dir.path());
    let mut seen = Vec::new();
    verify_store(&[options(dir.path())], false, &mut |done, total| {
        seen.push((done, total))
    });
    assert!(seen.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    let (done, total) = seen.pop().unwrap();
    assert!(done == total && total > 0);
}

#[test]
fn a_log_cut_below_what_its_index_holds_is_damage_and_is_not_made_longer() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let mut store = open(&options);
    run(&mut store, put_small("a"));
    run(&mut store, put_small("b"));
    store.close().unwrap();
    let segment = last_with_frames(dir.path());
    let len = segment.metadata().unwrap().len() - 10;
    OpenOptions::new()
        .write(true)
        .open(&segment)
        .unwrap()
        .set_len(len)
        .unwrap();
    let found = problems(&options).join("\n");
    assert!(
        found.contains("the log ends here, but it was synced up to"),
        "{found}"
    );
    match ShardStore::open(options, None) {
        Err(ShardError::Log(LogError::Damaged { path, .. })) => assert_eq!(path, segment),
        other => panic!("{:?}", other.map(|_| ())),
    }
    assert_eq!(segment.metadata().unwrap().len(), len);
}

#[test]
fn a_purged_segment_that_is_still_there_goes_even_with_unwritten_space_behind_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let mut store = open(&options);
    run(&mut store, put_small("a"));
    store.close().unwrap();
    let first = dir.path().join("log/00000001.seg");
    let mut bytes = std::fs::read(&first).unwrap();
    let mut store = open(&options);
    run(&mut store, put_small("a"));
    assert_eq!(store.collect(1.1).unwrap().removed, [SegmentId(1)]);
    drop(store);
    bytes.resize(bytes.len() + 8192, 0);
    std::fs::write(&first, bytes).unwrap();
    assert_eq!(problems(&options), Vec::<String>::new());
    let (store, _) = ShardStore::open(options.clone(), Some("the test wants it")).unwrap();
    assert!(!first.exists());
    let read = store::read(&store.reader(), &key("a")).unwrap();
    assert_eq!(read.as_deref(), Some(&b"a"[..]));
    drop(store);
    assert_eq!(problems(&options), Vec::<String>::new());
}

#[test]
fn a_users_key_that_is_called_horizon_makes_no_tombstone_go() {
    let dir = tempfile::tempdir().unwrap();
    let options = ShardOptions {
        tombstone_retention: Duration::from_secs(1 << 40),
        ..options(dir.path())
    };
    let mut store = open(&options);
    run(&mut store, put_small("a"));
    run(
        &mut store,
        Command::Delete {
            key: key("a"),
            condition: None,
        },
    );
    run(&mut store, put_small("horizon"));
    store.close().unwrap();
    let mut store = open(&options);
    run(&mut store, put_small("horizon"));
    store.collect(1.1).unwrap();
    let known = store.known(&key("a")).unwrap();
    assert_eq!(known.map(|known| known.kind), Some(Kind::Tombstone));
}

/// Two shards, and a value whose key and blob live in different ones.
struct Pair {
    _dir: tempfile::TempDir,
    options: [ShardOptions; 2],
    blob: BlobRef,
    owner: Key,
    raw: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let homes = Arc::new(Homes::even(2));
        let options = [0, 1].map(|id| ShardOptions {
            dir: dir.path().join(format!("{id:03}")),
            id: ShardId(id),
            homes: homes.clone(),
            ..options(dir.path())
        });
        let raw = vec![5; 5000];
        let digest = codec::digest_of(&raw);
        let home = homes.shard_of(digest.slot());
        let owner = (0..)
            .map(|number| key(&format!("owner {number}")))
            .find(|key| homes.shard_of(codec::slot_of(key.as_bytes())) != home)
            .unwrap();
        let ref_id = RefId(9);
        let blob = BlobRef { digest, ref_id };
        let mut pair = Self {
            _dir: dir,
            options,
            blob,
            owner,
            raw,
        };
        let value = Some(seal(&pair.raw));
        let (blob, owner) = (pair.blob, pair.owner.clone());
        pair.at_home(Command::StoreBlob { blob, owner, value });
        pair
    }

    fn home(&self) -> usize {
        let homes = &self.options[0].homes;
        usize::from(homes.shard_of(self.blob.digest.slot()).0)
    }

    fn at_home(&mut self, command: Command) {
        let mut store = open(&self.options[self.home()]);
        run(&mut store, command);
        store.close().unwrap();
    }

    fn link(&mut self) {
        let info = seal(&self.raw).info;
        let mut store = open(&self.options[1 - self.home()]);
        let command = Command::Put {
            key: self.owner.clone(),
            body: PutBody::Away {
                blob: self.blob,
                info,
            },
            existing: Existing::Replace,
            expiry: None,
            attributes: bytes::Bytes::new(),
        };
        run(&mut store, command);
        store.close().unwrap();
    }

    fn verify(&self) -> StoreVerdict {
        for options in &self.options {
            open(options).close().unwrap();
        }
        let verdict = verify_store(&self.options, false, &mut |_, _| {});
        assert!(verdict.references_checked);
        verdict
    }
}

#[test]
fn a_reference_without_its_link_is_stale_and_no_damage() {
    let mut pair = Pair::new();
    let verdict = pair.verify();
    assert_eq!((verdict.problem_count(), verdict.stale_references), (0, 1));
    drop(verdict);
    pair.link();
    let verdict = pair.verify();
    assert_eq!((verdict.problem_count(), verdict.stale_references), (0, 0));
}

#[test]
fn a_link_without_its_reference_or_its_blob_is_a_problem_that_names_the_key() {
    let mut pair = Pair::new();
    pair.link();
    pair.at_home(Command::DropReference { blob: pair.blob });
    for (lost, named) in [("reference", "no reference"), ("blob", "is not in shard")] {
        if lost == "blob" {
            let digest = pair.blob.digest;
            pair.at_home(Command::ReclaimBlob { digest });
        }
        let verdict = pair.verify();
        let found: Vec<String> = verdict.problems().map(ToString::to_string).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("owner ") && found[0].contains(named),
            "{found:?}"
        );
    }
}

/// A process that was killed while it wrote a group leaves frames without their payloads: no damage,
/// unless the index has seen the group synced.
#[test]
fn a_payload_that_was_half_written_is_a_torn_tail_and_a_synced_one_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let (index, saved) = (dir.path().join("index"), dir.path().join("saved"));
    let mut store = open(&options);
    run(&mut store, put_small("first"));
    store.close().unwrap();
    copy_dir(&index, &saved);
    let mut store = open(&options);
    let payload: Vec<u8> = (0..50_000u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let command = Command::Put {
        key: key("second"),
        body: PutBody::Small(SealedValue {
            codec: Codec::Raw,
            payload: payload.clone().into(),
            payload_sum: codec::payload_sum(&payload),
            ..seal(&payload)
        }),
        existing: Existing::Replace,
        expiry: None,
        attributes: bytes::Bytes::new(),
    };
    run(&mut store, command);
    drop(store); // Killed: nothing is closed.
    let file = last_with_frames(dir.path());
    let bytes = std::fs::read(&file).unwrap();
    let tail = &payload[payload.len() - 64..];
    let at = bytes.windows(64).position(|window| window == tail).unwrap();
    let file = OpenOptions::new().write(true).open(file).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 64], at as u64).unwrap();

    let found = problems(&options);
    assert!(found.iter().any(|it| it.contains("synced")), "{found:?}");

    std::fs::remove_dir_all(&index).unwrap();
    copy_dir(&saved, &index);
    let verdict = verify_shard(&options, false, &mut |_, _| {});
    assert_eq!(verdict.problems.listed, []);
    let notes = &verdict.notes;
    assert!(
        notes.iter().any(|it| it.contains("never acknowledged")),
        "{notes:?}"
    );
    drop(verdict); // It holds the index.
    let store = open(&options);
    assert!(store.known(&key("first")).unwrap().is_some());
    assert!(store.known(&key("second")).unwrap().is_none());
}

/// A shard with a large value whose list says this of the chunks `1` and `2`.
fn with_list(options: &ShardOptions, order: [usize; 2]) -> (Digest, ChunkList) {
    let raws = [vec![1; 3000], vec![2; 4000]];
    let whole = raws.concat();
    let digest = codec::digest_of(&whole);
    let list = ChunkList {
        ref_id: RefId(77),
        chunks: order.iter().map(|at| chunk_of(&raws[*at])).collect(),
    };
    let mut store = open(options);
    for raw in &raws {
        let (digest, value) = (chunk_of(raw).digest, seal(raw));
        run(&mut store, Command::KeepBlob { digest, value });
    }
    for blob in list.references() {
        let owner = Key::of_list(digest);
        let value = None;
        run(&mut store, Command::StoreBlob { blob, owner, value });
    }
    let info = seal(&whole).info;
    let ref_id = RefId(1);
    let put = Command::Put {
        key: key("large"),
        body: PutBody::Home {
            blob: BlobRef { digest, ref_id },
            info,
            value: Some(codec::seal_chunks(&list, info, digest)),
        },
        existing: Existing::Replace,
        expiry: None,
        attributes: bytes::Bytes::new(),
    };
    run(&mut store, put);
    store.close().unwrap();
    (digest, list)
}

/// What is wrong with a store of one shard, and how many references are stale.
fn found(options: &ShardOptions) -> (Vec<String>, u64) {
    let verdict = verify_store(std::slice::from_ref(options), false, &mut |_, _| {});
    assert!(verdict.references_checked);
    let found = verdict.problems().map(ToString::to_string).collect();
    (found, verdict.stale_references)
}

#[test]
fn a_list_of_sound_chunks_that_are_another_value_together_is_a_problem() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let (digest, _) = with_list(&options, [1, 0]);
    let (found, stale) = found(&options);
    assert_eq!((found.len(), stale), (1, 0), "{found:?}");
    assert!(
        found[0].contains(&digest.to_string()) && found[0].contains("together"),
        "{found:?}"
    );
}

#[test]
fn a_list_without_one_of_its_chunks_is_a_problem_and_its_references_are_not_stale() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let (digest, list) = with_list(&options, [0, 1]);
    assert_eq!(found(&options), (Vec::new(), 0));
    let [lost, _] = list.references()[..] else {
        panic!("two chunks");
    };
    for (command, named) in [
        (Command::DropReference { blob: lost }, "no reference"),
        (
            Command::ReclaimBlob {
                digest: lost.digest,
            },
            "is not in shard",
        ),
    ] {
        let mut store = open(&options);
        run(&mut store, command);
        store.close().unwrap();
        let (found, stale) = found(&options);
        assert_eq!((found.len(), stale), (1, 0), "{found:?}");
        assert!(
            found[0].contains(&digest.to_string()) && found[0].contains(named),
            "{found:?}"
        );
    }
}

fn chunk_of(raw: &[u8]) -> Chunk {
    Chunk {
        digest: codec::digest_of(raw),
        raw_len: raw.len() as u32,
    }
}
