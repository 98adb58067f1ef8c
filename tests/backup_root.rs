//! The backup root: archives appear complete or not at all, and nothing that a path says leads out.

use proptest::prelude::*;
use shardkeep::backup::{
    ArchiveHeader, ArchiveReader, ArchiveWriter, BackupFile, BackupRoot, ChainId, Entry, Kind,
};
use shardkeep::model::{Error, ErrorKind, Key, StoreId, Timestamp, Version};
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

type Result<T> = std::result::Result<T, Error>;

fn header() -> ArchiveHeader {
    ArchiveHeader {
        store: StoreId(1),
        chain: ChainId(2),
        since: Version(10),
        max: Version(20),
        horizon: Version(5),
        created_at: Timestamp(1_700_000_000_123),
    }
}

fn some_entries() -> Vec<Entry> {
    let entry = |key: &[u8], version| Entry::Tombstone {
        key: Key::new(key).unwrap(),
        version: Version(version),
    };
    vec![entry(b"gone", 11), entry(b"too", 20)]
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn write_all(root: &BackupRoot, path: &str, entries: &[Entry]) -> Result<PathBuf> {
    let mut writer = ArchiveWriter::create(root, path, header())?;
    for entry in entries {
        writer.write(entry)?;
    }
    Ok(writer.finish()?.target)
}

#[test]
fn a_finished_archive_stands_under_its_final_name_alone() {
    let scratch = TempDir::new().unwrap();
    let root = BackupRoot::open(scratch.path()).unwrap();
    let target = write_all(&root, "deep/er/day", &some_entries()).unwrap();
    assert_eq!(target, scratch.path().join("deep/er/day_[10-20].zstdb.bak"));
    assert_eq!(
        names(&scratch.path().join("deep/er")),
        ["day_[10-20].zstdb.bak"]
    );
    for path in ["deep/er/day_[10-20].zstdb.bak", target.to_str().unwrap()] {
        let file = root.open_file(path).unwrap();
        assert_eq!(file.recognise().unwrap(), Kind::Own);
        let mut reader = ArchiveReader::open(file).unwrap();
        assert_eq!(*reader.header(), header());
        assert_eq!(reader.verify(&mut |_, _| {}).unwrap().counts.records(), 2);
    }
}

#[test]
fn the_same_backup_twice_replaces_the_first() {
    let scratch = TempDir::new().unwrap();
    let root = BackupRoot::open(scratch.path()).unwrap();
    write_all(&root, "day", &[]).unwrap();
    let target = write_all(&root, "day", &some_entries()).unwrap();
    assert_eq!(names(scratch.path()), ["day_[10-20].zstdb.bak"]);
    let reader = ArchiveReader::open(BackupFile::open(&target).unwrap()).unwrap();
    let entries: Vec<Entry> = reader.entries().map(Result::unwrap).collect();
    assert_eq!(entries, some_entries());
}

#[test]
fn an_archive_that_is_dropped_leaves_nothing() {
    let scratch = TempDir::new().unwrap();
    let root = BackupRoot::open(scratch.path()).unwrap();
    let mut writer = ArchiveWriter::create(&root, "day", header()).unwrap();
    writer.write(&some_entries()[0]).unwrap();
    assert_eq!(names(scratch.path()).len(), 1);
    assert!(names(scratch.path())[0].ends_with(".partial"));
    drop(writer);
    assert!(names(scratch.path()).is_empty());
}

#[test]
fn leftovers_of_a_crash_go_and_living_writers_stay() {
    let scratch = TempDir::new().unwrap();
    let sub = scratch.path().join("sub");
    fs::create_dir(&sub).unwrap();
    let leftover = ".day.0123456789abcdef.partial";
    fs::write(scratch.path().join(leftover), b"half").unwrap();
    fs::write(sub.join(leftover), b"half").unwrap();
    for kept in [
        "notes.partial",
        ".x.partial",
        ".day.0123456789abcdeg.partial",
    ] {
        fs::write(scratch.path().join(kept), b"not ours").unwrap();
    }
    let first = BackupRoot::open(scratch.path()).unwrap();
    assert!(!names(scratch.path()).contains(&leftover.to_owned()));
    assert_eq!(names(scratch.path()).len(), 4);

    let writer = ArchiveWriter::create(&first, "sub/day", header()).unwrap();
    assert_eq!(names(&sub).len(), 1);
    let second = BackupRoot::open(&sub).unwrap();
    assert_eq!(names(&sub).len(), 1);
    drop(second);
    writer.finish().unwrap();
    assert_eq!(names(&sub), ["day_[10-20].zstdb.bak"]);
}

#[test]
fn what_is_no_file_below_the_root_is_not_opened() {
    let scratch = TempDir::new().unwrap();
    let root_path = scratch.path().join("root");
    let root = BackupRoot::open(&root_path).unwrap();
    fs::write(scratch.path().join("secret"), b"out of bounds").unwrap();
    fs::create_dir(root_path.join("folder")).unwrap();
    symlink("../secret", root_path.join("link")).unwrap();
    symlink(scratch.path(), root_path.join("out")).unwrap();
    symlink("/dev/zero", root_path.join("device")).unwrap();
    symlink("loop", root_path.join("loop")).unwrap();
    let fifo = Command::new("mkfifo").arg(root_path.join("fifo")).status();
    assert!(fifo.unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(root_path.join("socket")).unwrap();
    let secret = scratch.path().join("secret");
    for path in [
        "folder",
        "link",
        "out/secret",
        "device",
        "socket",
        "fifo",
        "loop",
        "../secret",
        "folder/../../secret",
        "/dev/zero",
        secret.to_str().unwrap(),
        "",
        ".",
        "a\0b",
    ] {
        let error = root.open_file(path).unwrap_err();
        assert_ne!(error.kind(), ErrorKind::NotFound, "{path:?}: {error}");
    }
    let error = root.open_file("out/secret").unwrap_err();
    assert_eq!(error.reason(), "BACKUP_PATH");
    assert!(
        error.message().contains(root_path.to_str().unwrap()),
        "{error}"
    );
}

#[test]
fn a_missing_backup_is_reported_with_the_names_near_it() {
    let scratch = TempDir::new().unwrap();
    let root = BackupRoot::open(scratch.path()).unwrap();
    write_all(&root, "monday", &[]).unwrap();
    let error = root.open_file("monday").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error.message().contains("monday_[10-20].zstdb.bak"),
        "{error}"
    );
    let error = root.open_file("none/monday").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

fn trick() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => Just("..".to_owned()),
        2 => Just(".".to_owned()),
        1 => Just(String::new()),
        3 => Just("a".to_owned()),
        3 => Just("out".to_owned()),
        3 => Just("out_relative".to_owned()),
        2 => Just("in".to_owned()),
        1 => Just("outside".to_owned()),
        1 => Just("root".to_owned()),
        1 => Just("\0".to_owned()),
        1 => Just("\\..".to_owned()),
        1 => Just("%2e%2e".to_owned()),
        1 => Just("\u{2025}".to_owned()),
        1 => "\\PC{0,3}",
        1 => Just("x".repeat(300)),
    ];
    let start = prop_oneof![
        4 => Just(""),
        1 => Just("/"),
        2 => Just("ROOT/"),
        1 => Just("ROOT"),
        1 => Just("OUTSIDE/"),
        1 => Just("//"),
    ];
    (start, prop::collection::vec(part, 0..6))
        .prop_map(|(start, parts)| start.to_owned() + &parts.join("/"))
}

#[test]
fn ten_thousand_tricks_leave_no_file_outside() {
    let scratch = TempDir::new().unwrap();
    let base = scratch.path().canonicalize().unwrap();
    let (root_path, outside) = (base.join("root"), base.join("outside"));
    fs::create_dir(&outside).unwrap();
    let root = BackupRoot::open(&root_path).unwrap();
    fs::create_dir(root_path.join("a")).unwrap();
    symlink(&outside, root_path.join("out")).unwrap();
    symlink("../../outside", root_path.join("a/out_relative")).unwrap();
    symlink("../outside", root_path.join("out_relative")).unwrap();
    symlink("a", root_path.join("in")).unwrap();

    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 10_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let taken = Cell::new(0);
    let result = runner.run(&trick(), |path| {
        let path = path
            .replace("ROOT", root_path.to_str().unwrap())
            .replace("OUTSIDE", outside.to_str().unwrap());
        let writer = ArchiveWriter::create(&root, &path, header());
        prop_assert!(names(&outside).is_empty(), "{path:?}");
        prop_assert_eq!(names(&base), ["outside", "root"], "{:?}", path);
        if let Err(error) = &writer {
            let kinds = [ErrorKind::Invalid, ErrorKind::TooLarge];
            prop_assert!(kinds.contains(&error.kind()), "{path:?}: {error}");
        }
        taken.set(taken.get() + u32::from(writer.is_ok()));
        Ok(())
    });
    result.unwrap();
    assert!(taken.get() > 500, "only {} were taken", taken.get());
    for path in ["a/x", "in/x", "./a/./x"] {
        write_all(&root, path, &[]).unwrap();
    }
    assert_eq!(names(&outside), [""; 0]);
}
