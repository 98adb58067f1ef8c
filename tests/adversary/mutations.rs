//! Malformed input: real files and messages, damaged again and again, at every place where bytes
//! come in that nobody vouches for (`entries`). The targets of `fuzz/` feed the same entries with
//! what a fuzzer that sees coverage makes up.

use crate::entries;
use crate::entries::front::METHODS;
use crate::run::{cases, seed};
use crate::support::{Random, Server};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use shardkeep::backup::{ArchiveReader, BackupFile};
use shardkeep::model::Result;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Longer inputs only take longer.
const SIZE_MAX: usize = 64 * 1024;
/// Numbers at which code likes to break.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 40,
    u64::MAX >> 1,
    u64::MAX,
];

/// The inputs that an entry starts from.
fn corpus(entry: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/adversary/corpus");
    let files = std::fs::read_dir(dir.join(entry)).unwrap();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no inputs for {entry}");
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

/// One of the inputs, with some damage.
fn mutated(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let pick = |random: &mut Random| &corpus[random.within(0..corpus.len() as u64) as usize];
    let mut bytes = pick(random).clone();
    for _ in 0..random.within(1..9) {
        let len = bytes.len() as u64;
        let at = random.within(0..len + 1) as usize;
        let span = random.within(1..33) as usize;
        let rest = bytes.len() - at;
        match random.within(0..9) {
            0 if random.percent(25) => bytes.truncate(at),
            1 => drop(bytes.drain(at..at + span.min(rest))),
            2 => {
                let copy = bytes[at..at + span.min(rest)].to_vec();
                let to = random.within(0..len + 1) as usize;
                drop(bytes.splice(to..to, copy));
            }
            3 => {
                let other = pick(random);
                let from = random.within(0..other.len() as u64 + 1) as usize;
                let part = other[from..].iter().take(span * 8).copied();
                drop(bytes.splice(at..at + span.min(rest), part));
            }
            4 => {
                let noise: Vec<u8> = (0..span).map(|_| random.next() as u8).collect();
                drop(bytes.splice(at..at, noise));
            }
            5 | 6 => {
                let edge = EDGES[random.within(0..EDGES.len() as u64) as usize];
                let near = edge.wrapping_add(random.within(0..3)).wrapping_sub(1);
                let width = 1 << random.within(0..4);
                let number = &near.to_le_bytes()[..width];
                let end = (at + width).min(bytes.len());
                bytes[at..end].copy_from_slice(&number[..end - at]);
            }
            _ if rest > 0 => bytes[at] ^= 1 << random.within(0..8),
            _ => {}
        }
    }
    bytes.truncate(SIZE_MAX);
    bytes
}

/// Feeds so many damaged inputs; the first that an entry panics at, with what it said.
fn feed(
    entry: fn(&[u8]),
    corpus: &[Vec<u8>],
    seed: u64,
    cases: u64,
) -> std::result::Result<(), String> {
    for case in 0..cases {
        let input = mutated(&mut Random::seeded(seed.wrapping_add(case)), corpus);
        let outcome = catch_unwind(AssertUnwindSafe(|| entry(&input)));
        outcome.map_err(|panic| said(seed.wrapping_add(case), &input, &*panic))?;
    }
    Ok(())
}

fn said(seed: u64, input: &[u8], panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!(
        "SHARDKEEP_ADVERSARY_SEED={seed} SHARDKEEP_ADVERSARY_CASES=1: {} at {}",
        text.unwrap_or_default(),
        input.escape_ascii()
    )
}

/// The inputs as they are, and damaged.
fn survives(name: &str, entry: fn(&[u8]), quick: u64) {
    let corpus = corpus(name);
    corpus.iter().for_each(|input| entry(input));
    let cases = cases(quick);
    feed(entry, &corpus, seed(name), cases).unwrap();
    eprintln!(
        "{name}: {cases} damaged inputs of {} whole ones",
        corpus.len()
    );
}

#[test]
fn a_damaged_segment_harms_nobody() {
    survives("segment", entries::segment, 1_000);
}

#[test]
fn a_damaged_archive_harms_nobody() {
    survives("archive", entries::archive, 2_000);
}

#[test]
fn a_damaged_backup_of_zstdb_harms_nobody() {
    survives("zstdb", entries::zstdb, 2_000);
}

#[test]
fn a_damaged_configuration_harms_nobody() {
    survives("config", entries::config, 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_message_harms_nobody() {
    let builder = Server::builder().flags(["--allow-user-key", "--allow-overwrite"]);
    let builder = builder.set("storage.durability", "os");
    // A chore that is asked for would be told to wait for one of its own.
    let builder = builder.set("gc.check_interval", "24h");
    let mut server = builder.start().await;
    let channel = server.channel().await;
    let corpus = corpus("front");
    for input in &corpus {
        entries::front::front(&channel, input).await;
    }
    let (seed, cases) = (seed("front"), cases(3_000));
    for case in 0..cases {
        let input = mutated(&mut Random::seeded(seed.wrapping_add(case)), &corpus);
        entries::front::front(&channel, &input).await;
    }
    assert!(server.is_running() && !server.log().contains("panicked"));
    eprintln!(
        "front: {cases} damaged messages of {} whole ones",
        corpus.len()
    );
    server.stop().await;
}

/// A method that is new has its message among the inputs, or a reason not to.
#[test]
fn every_method_is_among_the_messages() {
    let described = FileDescriptorSet::decode(shardkeep::proto::DESCRIPTORS).unwrap();
    let mut methods = Vec::new();
    for file in &described.file {
        for service in &file.service {
            let package = match file.package() {
                "" => String::new(),
                package => format!("{package}."),
            };
            let of = format!("/{package}{}/", service.name());
            methods.extend(service.method.iter().map(|it| of.clone() + it.name()));
        }
    }
    let inputs = corpus("front");
    for (number, method) in METHODS.iter().enumerate() {
        assert!(
            inputs.iter().any(|it| it[0] == number as u8),
            "no message for {method}"
        );
    }
    methods.retain(|it| !METHODS.contains(&it.as_str()));
    // It ends the server.
    assert_eq!(methods, ["/shardkeep.v1.AdminService/Stop"]);
}

/// Planted: an entry that panics at a certain byte.
#[test]
fn an_entry_that_panics_at_a_byte_is_found() {
    fn planted(data: &[u8]) {
        assert_ne!(data.get(90), Some(&0xff), "planted");
        entries::archive(data);
    }
    let found = feed(planted, &corpus("archive"), 1, 5_000).unwrap_err();
    assert!(found.contains("planted"), "{found}");
}

/// Planted: a reader that breaks only behind its checksums.
#[test]
fn a_panic_behind_the_checksums_is_found() {
    /// The longest value that a sound archive says it holds.
    fn longest(bytes: &[u8]) -> Result<u64> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mended");
        std::fs::write(&path, bytes).unwrap();
        let mut reader = ArchiveReader::open(BackupFile::open(&path)?)?;
        Ok(reader.verify(&mut |_, _| {})?.raw_len_max)
    }
    fn planted(data: &[u8]) {
        let longest = entries::mended_archive(data).map(|mended| longest(&mended));
        assert!(!matches!(longest, Some(Ok(0x1_0000..))), "planted");
    }
    let found = feed(planted, &corpus("archive"), 1, 5_000).unwrap_err();
    assert!(found.contains("planted"), "{found}");
}

/// Planted: a server in which a handler panics.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[should_panic(expected = "/Badger/Set")]
async fn a_front_that_fails_is_found() {
    let builder = Server::builder().flag("--allow-user-key");
    let mut server = builder.start().await;
    let channel = server.channel().await;
    server.kill();
    entries::front::front(&channel, b"\0").await;
}
