//! Case 9: archives are self-contained.

use crate::faults::{arm, disarm};
use crate::house::{House, LARGE};
use crate::support::{PATIENCE, Server, command_of, key_of, noise, set_of};
use shardkeep::backup::{ArchiveReader, BackupFile, Entry};
use shardkeep::model::{Digest, Key, Version};
use shardkeep::service::{BackupDone, RestoreSource};
use shardkeep::start::manifest::Manifest;
use std::collections::BTreeSet;

async fn restore(house: &House, done: &BackupDone) -> shardkeep::model::Result<()> {
    let source = RestoreSource::Operator(done.target.clone());
    house.service().restore(source, |_, _| {}).await.map(drop)
}

/// Contents in an archive, and those that its records name; each must stand in it once.
fn contents_of(done: &BackupDone) -> (Vec<Digest>, BTreeSet<Digest>) {
    let reader = ArchiveReader::open(BackupFile::open(&done.target).unwrap()).unwrap();
    let (mut there, mut named) = (Vec::new(), BTreeSet::new());
    for entry in reader.entries() {
        match entry.unwrap() {
            Entry::Blob { digest, .. } => there.push(digest),
            Entry::Reference { digest, .. } => drop(named.insert(digest)),
            Entry::Value { .. } | Entry::Tombstone { .. } | Entry::Namespace(_) => {}
        }
    }
    (there, named)
}

/// Case 9: a full backup and increments, restored in their order into a fresh store, give what was
/// there: values, deletes, replaced values, contents that keys of several shards share, and those
/// that only a record from before an increment named.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_backup_and_its_increments_give_the_store_back() {
    let house = House::calm().await;
    let shared = noise(7, 3 * LARGE);
    let mut backups = Vec::new();
    let mut since = Version(0);
    for round in 0..4_u64 {
        for step in 0..20_u64 {
            let key = format!("key-{}", (step * 7 + round * 3) % 31);
            match (step + round) % 4 {
                0 => drop(house.delete(key.as_bytes()).await),
                1 => house.set(key.as_bytes(), &shared).await,
                2 => house.set(key.as_bytes(), &noise(step % 3, LARGE + 1)).await,
                _ => {
                    house
                        .set(key.as_bytes(), format!("{round}-{step}").as_bytes())
                        .await
                }
            }
        }
        // A content that no later increment has to carry.
        let own = format!("own-{round}");
        house
            .set(own.as_bytes(), &noise(100 + round, 2 * LARGE))
            .await;
        let done = house.service().backup("chain", since).await.unwrap();
        assert_eq!(done.since, since);
        since = done.max;
        let (there, named) = contents_of(&done);
        let once: BTreeSet<Digest> = there.iter().copied().collect();
        assert_eq!((there.len(), &once), (once.len(), &named), "each once");
        assert!(!named.is_empty());
        backups.push(done);
    }
    let mut copy = House::beside(&house).await;
    let gap = restore(&copy, &backups[1]).await.unwrap_err();
    assert_eq!(gap.reason(), "BACKUP_CHAIN_GAP");
    assert!(copy.contents().await.is_empty());
    for done in &backups {
        restore(&copy, done).await.unwrap();
    }
    assert_eq!(copy.contents().await, house.contents().await);
    assert_eq!(
        copy.references(),
        copy.named_references(),
        "references made anew"
    );
    let (ours, theirs) = (house.references(), copy.references());
    assert!(theirs.keys().all(|reference| !ours.contains_key(reference)));
    let versions = |of: &House| of.router().list(b"", 0, 1000).unwrap();
    assert_eq!(versions(&copy), versions(&house));
    copy.crash().await;
    assert_eq!(copy.contents().await, house.contents().await);
}

/// Case 9: a merge that fails half way is marked as unfinished, and can be gone on with from any
/// point; in the end it is as if nothing had happened.
#[tokio::test(flavor = "multi_thread")]
async fn a_merge_that_failed_half_way_is_marked_and_finished() {
    let house = House::armed().await;
    for step in 0..60_u64 {
        let value = noise(step % 20, if step % 3 == 0 { 100 } else { 2 * LARGE });
        house.set(format!("key-{step}").as_bytes(), &value).await;
    }
    house.delete(b"key-3").await;
    let done = house.service().backup("all", Version(0)).await.unwrap();
    for nth in [0, 1, 5, 20] {
        let mut copy = House::beside(&house).await;
        arm("log::sync", &format!("{nth}*off->1*return"));
        let failed = restore(&copy, &done).await;
        disarm("log::sync");
        if failed.is_err() && nth > 1 {
            let merging = copy.book().merging.expect("marked before the first record");
            assert_eq!(merging.archive, done.target);
        }
        copy.crash().await;
        let source = match copy.book().merging {
            Some(merging) => RestoreSource::Resumed(merging.archive),
            None => RestoreSource::Operator(done.target.clone()),
        };
        copy.service().restore(source, |_, _| {}).await.unwrap();
        assert_eq!(copy.book().merging, None);
        assert_eq!(copy.contents().await, house.contents().await);
        copy.service().sweep().await.unwrap();
        assert_eq!(copy.references(), copy.named_references());
    }
}

/// Case 9: while a merge is unfinished, no other archive is let in: the mark would be gone, and with
/// it all that says that a part is missing.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_is_restored_over_a_merge_that_is_not_finished() {
    let house = House::armed().await;
    for step in 0..60_u64 {
        house
            .set(format!("key-{step}").as_bytes(), &noise(step, 2 * LARGE))
            .await;
    }
    let done = house.service().backup("all", Version(0)).await.unwrap();
    let other = House::beside(&house).await;
    other.set(b"other", b"value").await;
    let foreign = other.service().backup("other", Version(0)).await.unwrap();
    let copy = House::beside(&house).await;
    arm("log::sync", "5*off->1*return");
    restore(&copy, &done).await.unwrap_err();
    disarm("log::sync");
    for shard in 0..4 {
        copy.serving(shardkeep::model::ShardId(shard)).await;
    }
    let refused = restore(&copy, &foreign).await.unwrap_err();
    assert_eq!(refused.reason(), "RESTORE_UNFINISHED", "{refused}");
    assert!(copy.book().merging.is_some());
    restore(&copy, &done).await.unwrap();
    assert_eq!(copy.book().merging, None);
    assert_eq!(copy.contents().await, house.contents().await);
}

/// Case 9: a real server that is killed in the middle of a restore has finished it when it answers
/// again, and has forgotten that there was one.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_kill_9_interrupted_is_finished_at_the_next_start() {
    const KEYS: u64 = 3000;
    let value = |step: u64| noise(step, 6000);
    let root = tempfile::tempdir().unwrap();
    let start = |name: &'static str| {
        Server::builder()
            .flags(["--allow-user-key", "--shards", "2", "--backup-dir"])
            .flag(root.path().join("backups"))
            .data_dir(root.path().join(name))
    };
    let source = start("source").start().await;
    let client = source.client().await;
    let mut sets = tokio::task::JoinSet::new();
    for step in 0..KEYS {
        let mut client = client.clone();
        sets.spawn(async move {
            let item = set_of(format!("key-{step}"), value(step));
            assert_eq!(client.set(item).await.unwrap().into_inner().errcode, 0);
        });
        if sets.len() >= 64 {
            sets.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(set) = sets.join_next().await {
        set.unwrap();
    }
    let request = serde_json::json!({ "path": "all", "since": "0" }).to_string();
    let mut client = source.client().await;
    let reply = client
        .admin(command_of("backup", &request))
        .await
        .unwrap()
        .into_inner();
    let reply: serde_json::Value = serde_json::from_slice(&reply.data).unwrap();
    let target = reply["target"].as_str().unwrap().to_owned();
    source.stop().await;

    let mut killed = start("copy").start().await;
    let manifest = killed.data_dir().join("MANIFEST");
    let mut client = killed.client().await;
    let request = serde_json::json!({ "path": target }).to_string();
    let restoring =
        tokio::spawn(async move { client.admin(command_of("restore", &request)).await });
    let deadline = std::time::Instant::now() + PATIENCE;
    while Manifest::load(&manifest).unwrap().merging.is_none() {
        assert!(!restoring.is_finished(), "too quick to be interrupted");
        assert!(std::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    killed.kill();
    assert!(
        restoring.await.unwrap().is_err(),
        "nobody was told that it is done"
    );
    assert!(Manifest::load(&manifest).unwrap().merging.is_some());

    let copy = start("copy").start().await;
    assert!(copy.log().contains("interrupted restore is finished"));
    assert_eq!(Manifest::load(&manifest).unwrap().merging, None);
    let mut client = copy.client().await;
    for step in 0..KEYS {
        let key = format!("key-{step}");
        let reply = client.get(key_of(key)).await.unwrap().into_inner();
        assert!(reply.data == value(step), "key-{step}");
    }
    copy.stop().await;
}

/// Case 9: what a restore checks is what it merges: a file that is damaged anywhere changes
/// nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_archive_changes_nothing() {
    let house = House::calm().await;
    for step in 0..20_u64 {
        house
            .set(format!("key-{step}").as_bytes(), &noise(step, 2 * LARGE))
            .await;
    }
    let done = house.service().backup("all", Version(0)).await.unwrap();
    let copy = House::beside(&house).await;
    let size = std::fs::metadata(&done.target).unwrap().len();
    for at in [10, size / 3, size / 2, size - 30] {
        crate::forge::flip(&done.target, at);
        let error = restore(&copy, &done).await.unwrap_err();
        assert!(error.message().contains("all_["), "{error}");
        crate::forge::flip(&done.target, at);
        assert_eq!(copy.router().counter().current(), Version(0));
        assert_eq!(copy.book().merging, None);
    }
    restore(&copy, &done).await.unwrap();
    assert_eq!(copy.contents().await, house.contents().await);
    assert!(
        copy.router()
            .find(&Key::new(b"key-1").unwrap())
            .unwrap()
            .is_some()
    );
}
