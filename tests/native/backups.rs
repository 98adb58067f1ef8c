//! Backups: made, listed, checked, restored, deleted, and purged but for what is needed.

use crate::call::{Client, admin, assert_error, client, get, put, user_keys};
use crate::support::{Builder, Server, noise};
use shardkeep::proto::v1;
use shardkeep::proto::v1::backup_service_client::BackupServiceClient;
use shardkeep::proto::v1::{
    create_backup_response as create, restore_backup_response as restore,
    verify_backup_response as verify,
};
use std::path::PathBuf;
use tonic::transport::Channel;
use tonic::{Code, Status};

type Backups = BackupServiceClient<Channel>;

/// A server that does nothing by itself: one chore refuses another while it runs.
fn quiet() -> Builder {
    user_keys().set("gc.check_interval", "24h")
}

async fn connected(server: &Server) -> Backups {
    BackupServiceClient::new(server.channel().await)
}

fn root(server: &Server) -> PathBuf {
    server.data_dir().join("backups")
}

/// Makes a backup; what is told on the way must go forward.
async fn make(backups: &mut Backups, path: &str, since: u64) -> Result<v1::Backup, Status> {
    let request = v1::CreateBackupRequest {
        path: path.to_owned(),
        since_version: since,
    };
    let mut events = backups.create_backup(admin(request)).await?.into_inner();
    let (mut last, mut backup) = (v1::BackupProgress::default(), None);
    while let Some(event) = events.message().await? {
        assert!(backup.is_none(), "the backup is the last message");
        match event.event.expect("an event") {
            create::Event::Progress(now) => {
                assert!(now.written_bytes >= last.written_bytes, "{now:?} {last:?}");
                assert!(now.checked_bytes >= last.checked_bytes, "{now:?} {last:?}");
                last = now;
            }
            create::Event::Backup(made) => backup = Some(made),
        }
    }
    Ok(backup.expect("the backup"))
}

async fn check(backups: &mut Backups, path: &str) -> Result<v1::Backup, Status> {
    let path = path.to_owned();
    let request = admin(v1::VerifyBackupRequest { path });
    let mut events = backups.verify_backup(request).await?.into_inner();
    while let Some(event) = events.message().await? {
        if let Some(verify::Event::Backup(backup)) = event.event {
            return Ok(backup);
        }
    }
    panic!("the stream ended without a backup");
}

async fn merge(backups: &mut Backups, path: &str) -> Result<v1::RestoredBackup, Status> {
    let path = path.to_owned();
    let request = admin(v1::RestoreBackupRequest { path });
    let mut events = backups.restore_backup(request).await?.into_inner();
    while let Some(event) = events.message().await? {
        if let Some(restore::Event::Restored(restored)) = event.event {
            return Ok(restored);
        }
    }
    panic!("the stream ended without a restore");
}

async fn delete(backups: &mut Backups, path: &str) -> Result<(), Status> {
    let path = path.to_owned();
    let request = admin(v1::DeleteBackupRequest { path });
    backups.delete_backup(request).await.map(drop)
}

async fn page(backups: &mut Backups, size: i32, token: &str) -> v1::ListBackupsResponse {
    let request = v1::ListBackupsRequest {
        page_size: size,
        page_token: token.to_owned(),
    };
    let page = backups.list_backups(admin(request)).await;
    page.unwrap().into_inner()
}

async fn all(backups: &mut Backups) -> Vec<v1::Backup> {
    page(backups, 0, "").await.backups
}

async fn paths(backups: &mut Backups) -> Vec<String> {
    let all = all(backups).await.into_iter();
    all.map(|backup| backup.path).collect()
}

async fn purge(backups: &mut Backups, keep: u32, folder: &str) -> Result<Vec<String>, Status> {
    let folder = folder.to_owned();
    let purged = backups.purge_backups(admin(v1::PurgeBackupsRequest { keep, folder }));
    Ok(purged.await?.into_inner().paths)
}

async fn fill(values: &mut Client, numbers: std::ops::Range<u64>) {
    for number in numbers {
        put(values, format!("key-{number}"), noise(number, 20_000)).await;
    }
}

#[tokio::test]
async fn a_backup_and_its_increment_are_listed_checked_and_restored() {
    let server = quiet().start().await;
    let (mut values, mut backups) = (client(&server).await, connected(&server).await);
    fill(&mut values, 0..40).await;
    let full = make(&mut backups, "days/mon", 0).await.unwrap();
    let max = full.max_version.unwrap();
    assert_eq!(full.path, format!("days/mon_[0-{max}].zstdb.bak"));
    assert_eq!((full.since_version, full.record_count), (Some(0), 40));
    assert_eq!((full.chain.len(), full.problem.as_str()), (32, ""));
    let on_disk = std::fs::metadata(root(&server).join(&full.path)).unwrap();
    assert_eq!(full.size_bytes, on_disk.len());
    fill(&mut values, 40..50).await;
    let increment = make(&mut backups, "days/tue", max).await.unwrap();
    assert_eq!(increment.since_version, Some(max));
    assert_eq!(increment.record_count, 10);
    assert_eq!(increment.chain, full.chain);
    assert_eq!(all(&mut backups).await, [full.clone(), increment.clone()]);
    assert_eq!(check(&mut backups, &full.path).await.unwrap(), full);

    let fresh = quiet().start().await;
    let mut there = connected(&fresh).await;
    std::fs::create_dir(root(&fresh).join("days")).unwrap();
    for backup in [&full, &increment] {
        std::fs::copy(
            root(&server).join(&backup.path),
            root(&fresh).join(&backup.path),
        )
        .unwrap();
    }
    let gap = merge(&mut there, &increment.path).await.unwrap_err();
    assert_error(&gap, Code::Aborted, "BACKUP_CHAIN_GAP", None);
    for backup in [&full, &increment] {
        let restored = merge(&mut there, &backup.path).await.unwrap();
        assert_eq!(restored.record_count, backup.record_count);
        assert_eq!(restored.size_bytes, backup.size_bytes);
        assert!(Some(restored.max_version) >= backup.max_version);
    }
    let mut values = client(&fresh).await;
    for number in 0..50 {
        let value = get(&mut values, format!("key-{number}")).await;
        assert_eq!(value.unwrap(), noise(number, 20_000));
    }
}

#[tokio::test]
async fn pages_of_backups_join_without_a_gap_and_keep_their_query() {
    let server = quiet().start().await;
    let (mut values, mut backups) = (client(&server).await, connected(&server).await);
    assert_eq!(all(&mut backups).await, []);
    put(&mut values, "key", "value").await;
    for path in ["b", "a/z", "c", "a"] {
        make(&mut backups, path, 0).await.unwrap();
    }
    std::fs::write(root(&server).join("notes.txt"), "no backup").unwrap();
    let all = paths(&mut backups).await;
    assert_eq!(all.len(), 4);
    assert!(all.is_sorted(), "{all:?}");
    let (mut joined, mut token) = (Vec::new(), String::new());
    loop {
        let page = page(&mut backups, 3, &token).await;
        joined.extend(page.backups.into_iter().map(|it| it.path));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(joined, all);
    for (size, token, reason, field) in [
        (0, "00", "PAGE_TOKEN_INVALID", "page_token"),
        (1001, "", "COUNT_RANGE", "page_size"),
        (-1, "", "COUNT_RANGE", "page_size"),
    ] {
        let request = v1::ListBackupsRequest {
            page_size: size,
            page_token: token.to_owned(),
        };
        let refused = backups.list_backups(admin(request)).await.unwrap_err();
        assert_error(&refused, Code::InvalidArgument, reason, Some(field));
    }
}

#[tokio::test]
async fn a_damaged_backup_is_told_by_its_check_and_a_cut_one_by_the_list() {
    let server = quiet().start().await;
    let (mut values, mut backups) = (client(&server).await, connected(&server).await);
    fill(&mut values, 0..10).await;
    let damaged = make(&mut backups, "damaged", 0).await.unwrap();
    let cut = make(&mut backups, "cut", 0).await.unwrap();
    let open = |backup: &v1::Backup| {
        let path = root(&server).join(&backup.path);
        std::fs::File::options().write(true).open(path).unwrap()
    };
    std::os::unix::fs::FileExt::write_all_at(&open(&damaged), b"damage", 50_000).unwrap();
    open(&cut).set_len(cut.size_bytes - 1).unwrap();
    for backup in [&damaged, &cut] {
        let refused = check(&mut backups, &backup.path).await.unwrap_err();
        assert_error(&refused, Code::DataLoss, "BACKUP_DAMAGED", None);
        let refused = merge(&mut backups, &backup.path).await.unwrap_err();
        assert_error(&refused, Code::DataLoss, "BACKUP_DAMAGED", None);
    }
    let listed = all(&mut backups).await;
    assert!(listed[0].problem.contains("cut_["), "{listed:?}");
    assert_eq!(
        (listed[0].since_version, listed[0].chain.as_str()),
        (None, "")
    );
    assert_eq!(listed[1], damaged);
}

#[tokio::test]
async fn the_newest_stay_with_what_they_continue() {
    let server = quiet().start().await;
    let (mut values, mut backups) = (client(&server).await, connected(&server).await);
    let mut made = Vec::new();
    let mut since = 0;
    for (number, is_full) in [(0, true), (1, false), (2, true), (3, false), (4, false)] {
        fill(&mut values, number * 10..number * 10 + 5).await;
        let after = if is_full { 0 } else { since };
        let backup = make(&mut backups, &format!("n{number}"), after)
            .await
            .unwrap();
        since = backup.max_version.unwrap();
        made.push(backup.path);
    }
    let elsewhere = make(&mut backups, "other/full", 0).await.unwrap().path;
    let notes = root(&server).join("notes_[0-3].zstdb.bak");
    std::fs::write(&notes, "somebody's notes").unwrap();
    let refused = purge(&mut backups, 0, "").await.unwrap_err();
    assert_error(
        &refused,
        Code::InvalidArgument,
        "KEEP_NOTHING",
        Some("keep"),
    );
    assert_eq!(purge(&mut backups, 1, "other").await.unwrap(), [""; 0]);
    // The two newest are the one elsewhere and the last increment, which needs two more.
    assert_eq!(purge(&mut backups, 2, "").await.unwrap(), made[..2]);
    assert_eq!(purge(&mut backups, 2, "").await.unwrap(), [""; 0]);
    assert_eq!(purge(&mut backups, 1, "").await.unwrap(), made[2..]);
    assert_eq!(
        paths(&mut backups).await,
        ["notes_[0-3].zstdb.bak", &elsewhere]
    );
    assert!(notes.exists());
}

#[tokio::test]
async fn one_backup_is_deleted_and_nothing_else_can_be() {
    let server = quiet().start().await;
    let (mut values, mut backups) = (client(&server).await, connected(&server).await);
    put(&mut values, "key", "value").await;
    let kept = make(&mut backups, "kept", 0).await.unwrap().path;
    let gone = make(&mut backups, "sub/gone", 0).await.unwrap().path;
    std::fs::write(root(&server).join("notes.txt"), "no backup").unwrap();
    let outside = server.data_dir().join("outside_[0-1].zstdb.bak");
    std::fs::write(&outside, "outside").unwrap();
    for path in [
        "",
        "notes.txt",
        "../outside_[0-1].zstdb.bak",
        "/etc/passwd",
        "sub",
        "sub/../kept_[0-1].zstdb.bak",
    ] {
        let refused = delete(&mut backups, path).await.unwrap_err();
        assert_error(&refused, Code::InvalidArgument, "BACKUP_PATH", Some("path"));
    }
    for path in ["../out", "/tmp/out", ""] {
        let refused = make(&mut backups, path, 0).await.unwrap_err();
        assert_error(&refused, Code::InvalidArgument, "BACKUP_PATH", Some("path"));
        let refused = check(&mut backups, path).await.unwrap_err();
        assert_error(&refused, Code::InvalidArgument, "BACKUP_PATH", Some("path"));
    }
    assert!(outside.exists());
    delete(&mut backups, &gone).await.unwrap();
    let again = delete(&mut backups, &gone).await.unwrap_err();
    assert_error(&again, Code::NotFound, "BACKUP_MISSING", None);
    assert_eq!(paths(&mut backups).await, [kept]);
}

#[tokio::test]
async fn backups_are_for_administrators() {
    let server = quiet().start().await;
    let mut backups = connected(&server).await;
    let path = || "daily".to_owned();
    let create = v1::CreateBackupRequest {
        path: path(),
        since_version: 0,
    };
    let purge = v1::PurgeBackupsRequest {
        keep: 1,
        folder: String::new(),
    };
    let (verify, delete) = (
        v1::VerifyBackupRequest { path: path() },
        v1::DeleteBackupRequest { path: path() },
    );
    let refused = [
        backups.create_backup(create).await.map(drop),
        backups
            .list_backups(v1::ListBackupsRequest::default())
            .await
            .map(drop),
        backups.verify_backup(verify).await.map(drop),
        backups.delete_backup(delete).await.map(drop),
        backups.purge_backups(purge).await.map(drop),
        backups
            .restore_backup(v1::RestoreBackupRequest { path: path() })
            .await
            .map(drop),
    ];
    for refused in refused {
        let status = refused.unwrap_err();
        assert_error(&status, Code::PermissionDenied, "PASSWORD_MISMATCH", None);
    }
    assert_eq!(all(&mut backups).await, []);
}
