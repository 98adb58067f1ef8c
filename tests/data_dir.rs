//! The data directory as a start finds it: taken, foreign, damaged, of another format.

use shardkeep::model::ShardId;
use shardkeep::start::data_dir::{Contents, DataDir, DataDirError};
use shardkeep::start::manifest::{FORMAT, Manifest, ManifestError};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn temporary() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A new store with its manifest and one shard's folder, closed again.
fn store() -> TempDir {
    let dir = temporary();
    let data_dir = DataDir::open(dir.path()).unwrap();
    Manifest::open_or_create(&data_dir, 4).unwrap();
    fs::create_dir_all(data_dir.shard_dir(ShardId(0))).unwrap();
    dir
}

fn reopen(dir: &Path) -> Result<Manifest, ManifestError> {
    Manifest::open_or_create(&DataDir::open(dir).unwrap(), 4)
}

fn names(dir: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|it| name(it).into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_missing_directory_is_made_with_its_parents() {
    let dir = temporary();
    let path = dir.path().join("made/on/the/way");
    let data_dir = DataDir::open(&path).unwrap();
    assert_eq!(data_dir.contents(), Contents::Empty);
    assert!(data_dir.path().is_absolute());
    assert!(data_dir.shard_dir(ShardId(7)).ends_with("shards/007"));
}

#[test]
fn the_second_to_open_a_directory_is_told_who_has_it() {
    let dir = temporary();
    let first = DataDir::open(dir.path()).unwrap();
    for second in [DataDir::open(dir.path()), {
        Manifest::open_or_create(&first, 1).unwrap();
        DataDir::open_existing(dir.path())
    }] {
        let error = second.unwrap_err();
        let message = error.to_string();
        let pid = std::process::id();
        assert!(message.contains(&format!("process {pid};")), "{message}");
        assert!(message.contains(dir.path().to_str().unwrap()), "{message}");
        assert!(matches!(error, DataDirError::InUse { pid: Some(it), .. } if it == pid));
    }
    drop(first);
    DataDir::open(dir.path()).unwrap();
}

#[test]
fn the_number_of_an_earlier_holder_is_replaced() {
    let dir = temporary();
    fs::write(dir.path().join("LOCK"), "4294967295\n").unwrap();
    let _first = DataDir::open(dir.path()).unwrap();
    let text = fs::read_to_string(dir.path().join("LOCK")).unwrap();
    assert_eq!(text, format!("{}\n", std::process::id()));
}

#[test]
fn a_file_is_no_data_directory() {
    let dir = temporary();
    let path = dir.path().join("file");
    fs::write(&path, "mine").unwrap();
    for opened in [DataDir::open(&path), DataDir::open_existing(&path)] {
        assert!(matches!(
            opened.unwrap_err(),
            DataDirError::NotADirectory { .. }
        ));
    }
    let below = DataDir::open(&path.join("below")).unwrap_err();
    assert!(matches!(below, DataDirError::Create { .. }), "{below}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn a_foreign_directory_is_refused_and_left_as_it_was() {
    let dir = temporary();
    fs::write(dir.path().join("thesis.odt"), "mine").unwrap();
    for opened in [
        DataDir::open(dir.path()),
        DataDir::open_existing(dir.path()),
    ] {
        let message = opened.unwrap_err().to_string();
        assert!(message.contains("thesis.odt"), "{message}");
        assert!(message.contains("--data-dir"), "{message}");
    }
    assert_eq!(names(dir.path()), ["thesis.odt"]);
}

#[test]
fn what_a_new_store_may_find_in_its_directory() {
    let dir = temporary();
    for name in ["backups", "lost+found", "logs"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    fs::write(dir.path().join("MANIFEST.new"), "{").unwrap();
    let manifest = reopen(dir.path()).unwrap();
    assert_eq!(manifest.shards(), 4);
}

#[test]
fn offline_work_makes_nothing() {
    let dir = temporary();
    let missing = DataDir::open_existing(&dir.path().join("absent")).unwrap_err();
    assert!(matches!(missing, DataDirError::Missing { .. }), "{missing}");
    let empty = DataDir::open_existing(dir.path()).unwrap_err();
    assert!(matches!(empty, DataDirError::NoStore { .. }), "{empty}");
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_store_keeps_its_id_and_its_number_of_shards() {
    let dir = temporary();
    let open = |shards| {
        let data_dir = DataDir::open(dir.path()).unwrap();
        Manifest::open_or_create(&data_dir, shards).unwrap()
    };
    let made = open(3);
    let found = open(8);
    assert_eq!(made, found);
    assert_eq!(found.shards(), 3);
    assert_ne!(made.store, Manifest::create(3).unwrap().store);
}

#[test]
fn a_manifest_of_another_format_is_refused_with_both_numbers() {
    let dir = store();
    let path = dir.path().join("MANIFEST");
    let text = fs::read_to_string(&path).unwrap();
    let with_format = |format: u64| {
        let changed = text.replacen("\"format\": 1", &format!("\"format\": {format}"), 1);
        assert_ne!(changed, text);
        fs::write(&path, changed).unwrap();
        reopen(dir.path()).unwrap_err()
    };
    let newer = with_format(7);
    let message = newer.to_string();
    assert!(matches!(newer, ManifestError::Newer { found: 7, .. }));
    assert!(message.contains("of format 7"), "{message}");
    assert!(message.contains(&format!("up to {FORMAT}")), "{message}");
    let older = with_format(0);
    let message = older.to_string();
    assert!(matches!(older, ManifestError::Older { found: 0, .. }));
    assert!(message.contains("of format 0"), "{message}");
}

#[test]
fn a_damaged_manifest_is_refused_with_its_name_and_the_remedy() {
    let dir = store();
    let path = dir.path().join("MANIFEST");
    let text = fs::read_to_string(&path).unwrap();
    let spoiled = text.replacen("0 1 2 3", "0 1 3 2", 1);
    assert_ne!(spoiled, text);
    for bytes in [
        spoiled.as_bytes(),
        &text.as_bytes()[..text.len() / 2],
        b"",
        b"\xff\xfe",
        &[0; 4096],
    ] {
        fs::write(&path, bytes).unwrap();
        let error = reopen(dir.path()).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, ManifestError::Damaged { .. }), "{message}");
        assert!(message.contains(path.to_str().unwrap()), "{message}");
        assert!(message.contains("shardkeep restore"), "{message}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "nothing was changed");
    }
}

#[test]
fn shards_without_a_manifest_are_damage_and_no_new_store() {
    let dir = store();
    fs::remove_file(dir.path().join("MANIFEST")).unwrap();
    let error = reopen(dir.path()).unwrap_err();
    assert!(matches!(error, ManifestError::Missing { .. }), "{error}");
    assert!(!dir.path().join("MANIFEST").exists());
    let offline = DataDir::open_existing(dir.path()).unwrap();
    assert_eq!(offline.contents(), Contents::Headless);
}

#[test]
fn a_saved_change_is_found_by_the_next_start() {
    let dir = store();
    let data_dir = DataDir::open(dir.path()).unwrap();
    let mut manifest = Manifest::load(&data_dir.manifest()).unwrap();
    manifest.chain_floor.0 = 42;
    manifest.save(&data_dir.manifest()).unwrap();
    drop(data_dir);
    assert_eq!(reopen(dir.path()).unwrap(), manifest);
}
