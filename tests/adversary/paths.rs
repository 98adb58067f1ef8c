//! Nothing leaves its folder: paths full of tricks in backup and restore orders to a live server,
//! and in the keys that a client fetches into a folder. Beside the folders stand a valid archive,
//! which must never be restored, and links that lead to it.

use crate::disk;
use crate::run::{cases, quick_dir, seed};
use crate::support::{Random, Server, admin, command_of, key_of, set_of};
use shardkeep::client::{Database, Query};
use shardkeep::proto::v1;
use shardkeep::proto::v1::backup_service_client::BackupServiceClient;
use shardkeep::proto::v1::namespace_service_client::NamespaceServiceClient;
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

type Client = BadgerClient<Channel>;
type Backups = BackupServiceClient<Channel>;
type Namespaces = NamespaceServiceClient<Channel>;

/// Pieces of paths; `ROOT`, `OUT` stand for the folders.
const PIECES: [&str; 45] = [
    "a",
    "b",
    "a",
    "..",
    "..",
    "..",
    ".",
    "",
    "...",
    ".. ",
    " ..",
    "out",
    "abs",
    "in",
    "loop",
    "dangling",
    "file",
    "device",
    "fifo",
    "A",
    "OUT_LINK",
    "..\\..",
    "\\",
    "%2e%2e",
    "%2f",
    "\u{ff0e}\u{ff0e}",
    "\u{2025}",
    "\u{202e}..",
    "e\u{301}",
    "\u{e9}",
    "~",
    "$HOME",
    "-rf",
    "secret_[0-1].zstdb.bak",
    "secret",
    "secret.zstdb.bak",
    "NUL\0",
    "line\n",
    "tab\t",
    "*",
    "?",
    "LONG",
    ".a.0123456789abcdef.partial",
    "a_[0-0].zstdb.bak",
    "a_[0-0].zstdb.bak",
];

struct Sandbox {
    dir: tempfile::TempDir,
}

impl Sandbox {
    fn new() -> Self {
        Self { dir: quick_dir() }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn root(&self) -> PathBuf {
        self.data().join("backups")
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    /// Links out of a folder, and other things that are no plain files.
    fn set_traps(&self, folder: &Path) {
        let outside = self.outside();
        std::fs::create_dir_all(folder.join("in/deep")).unwrap();
        symlink(Path::new("in"), folder.join("inside")).unwrap();
        symlink(&outside, folder.join("abs")).unwrap();
        let up = folder
            .strip_prefix(self.dir.path())
            .unwrap()
            .components()
            .count();
        let relative: PathBuf = (0..up).map(|_| "..").collect::<PathBuf>().join("outside");
        symlink(relative, folder.join("out")).unwrap();
        symlink(outside.join("secret_[0-1].zstdb.bak"), folder.join("file")).unwrap();
        symlink(outside.join("new"), folder.join("dangling")).unwrap();
        symlink("loop", folder.join("loop")).unwrap();
        symlink("/dev/null", folder.join("device")).unwrap();
        let fifo = Command::new("mkfifo").arg(folder.join("fifo")).status();
        assert!(fifo.unwrap().success());
    }

    /// Everything but the folders that may change.
    fn around(&self, mine: &[PathBuf]) -> disk::Image {
        let mut image = disk::read_in(self.dir.path());
        let base = self.dir.path();
        image.retain(|path, _| !mine.iter().any(|it| base.join(path).starts_with(it)));
        image
    }

    /// A backup that is there, under a name that is its own, or nearly: bare, decorated, or by a way that
    /// leads there and may not be gone.
    fn trick_on_a_backup(&self, random: &mut Random) -> Option<String> {
        let found = walkdir::WalkDir::new(self.root()).into_iter().flatten();
        let is_backup = |it: &walkdir::DirEntry| {
            it.file_type().is_file() && it.path().to_string_lossy().ends_with(".zstdb.bak")
        };
        let backups: Vec<_> = found.filter(is_backup).collect();
        let chosen = backups.get(random.within(0..backups.len().max(1) as u64) as usize)?;
        let name = chosen.path().strip_prefix(self.root()).ok()?.to_str()?;
        let root = self.root().display().to_string();
        Some(match random.within(0..12) {
            0..=2 => name.to_owned(),
            3 => format!("./{name}"),
            4 => format!("{root}/{name}"),
            5 => format!("in/../{name}"),
            6 => format!("inside/../{name}"),
            7 => format!("{root}/../backups/{name}"),
            8 => format!("{name}/"),
            9 => format!("{name}/."),
            10 => format!("out/../data/backups/{name}"),
            _ => format!("{root}//{name}"),
        })
    }

    /// A trick, now and then on a backup that is there.
    fn any_trick(&self, random: &mut Random) -> String {
        let known = random.percent(30).then(|| self.trick_on_a_backup(random));
        known
            .flatten()
            .unwrap_or_else(|| self.trick(random, &self.root()))
    }

    fn trick(&self, random: &mut Random, root: &Path) -> String {
        let mut path = match random.within(0..8) {
            0 => "/".to_owned(),
            1 => format!("{}/", root.display()),
            2 => format!("{}/", root.display().to_string().to_uppercase()),
            3 => format!("{}/", self.outside().display()),
            _ => String::new(),
        };
        for number in 0..random.within(1..7) {
            if number > 0 {
                path.push('/');
            }
            match PIECES[random.within(0..PIECES.len() as u64) as usize] {
                "LONG" => path.push_str(&"l".repeat(random.within(200..5_000) as usize)),
                "OUT_LINK" => path.push_str("out/secret"),
                piece => path.push_str(piece),
            }
        }
        if random.percent(10) {
            path.push('/');
        }
        path
    }
}

async fn order(client: &mut Client, command: &str, path: &str) -> bool {
    let order = serde_json::json!({ "path": path, "since": "0" }).to_string();
    let call = client.admin(command_of(command, &order));
    let reply = tokio::time::timeout(crate::support::PATIENCE, call).await;
    let reply = reply.unwrap_or_else(|_| panic!("no answer to {command} {path:?}"));
    reply.unwrap().into_inner().errcode == 0
}

/// A valid archive of another store stands outside, under several names.
async fn put_the_secret_outside(sandbox: &Sandbox) {
    let server = Server::builder().flag("--allow-user-key").start().await;
    let mut client = server.client().await;
    client.set(set_of("secret", "secret")).await.unwrap();
    assert!(order(&mut client, "backup", "secret").await);
    let outside = sandbox.outside();
    std::fs::create_dir(&outside).unwrap();
    let found = std::fs::read_dir(server.data_dir().join("backups")).unwrap();
    let archive = found.map(|entry| entry.unwrap().path()).next().unwrap();
    for name in ["secret_[0-1].zstdb.bak", "secret", "secret.zstdb.bak"] {
        std::fs::copy(&archive, outside.join(name)).unwrap();
    }
}

/// A server in the sandbox, traps in the folder of its backups, and the places that are its own.
async fn serve_among_traps(sandbox: &Sandbox) -> (Server, [PathBuf; 3]) {
    let builder = Server::builder().flag("--allow-user-key");
    let server = builder.data_dir(sandbox.data()).start().await;
    sandbox.set_traps(&sandbox.root());
    let mine = [
        sandbox.root(),
        sandbox.data().join("shards"),
        sandbox.data().join("MANIFEST"),
    ];
    (server, mine)
}

async fn assert_the_secret_is_outside(client: &mut Client) {
    let secret = client.get(key_of("secret")).await.unwrap().into_inner();
    assert_ne!(secret.errcode, 0, "an archive from outside was restored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_of_backup_and_restore_stay_in_their_folder() {
    let mut random = Random::seeded(seed("paths"));
    let sandbox = Sandbox::new();
    put_the_secret_outside(&sandbox).await;
    let (mut server, mine) = serve_among_traps(&sandbox).await;
    let before = sandbox.around(&mine);
    let mut client = server.client().await;
    let cases = cases(300);
    let (mut made, mut restored) = (0, 0);
    for number in 0..cases {
        let trick = sandbox.any_trick(&mut random);
        if random.percent(50) {
            made += u64::from(order(&mut client, "backup", &trick).await);
        } else {
            restored += u64::from(order(&mut client, "restore", &trick).await);
        }
        // What was made would fill the folder, and be restored.
        if number % 100 == 99 || number + 1 == cases {
            assert_same(&before, &sandbox.around(&mine), &trick);
        }
    }
    assert_the_secret_is_outside(&mut client).await;
    assert!(made > 0 && restored > 0 && server.is_running());
    eprintln!("{cases} orders, {made} backups made, {restored} restored, 0 files outside");
    server.stop().await;
}

/// One call of the native protocol that names a place; which, and whether it was done.
async fn native_order(
    (backups, namespaces): &mut (Backups, Namespaces),
    number: u64,
    trick: &str,
) -> (&'static str, bool) {
    let path = trick.to_owned();
    match number {
        0..=29 => {
            let request = v1::CreateBackupRequest {
                path,
                since_version: 0,
            };
            let events = backups.create_backup(admin(request)).await;
            ("created", is_done(events).await)
        }
        30..=49 => {
            let request = v1::VerifyBackupRequest { path };
            let events = backups.verify_backup(admin(request)).await;
            ("verified", is_done(events).await)
        }
        50..=69 => {
            let request = v1::RestoreBackupRequest { path };
            let events = backups.restore_backup(admin(request)).await;
            ("restored", is_done(events).await)
        }
        70..=84 => {
            let request = v1::DeleteBackupRequest { path };
            let deleted = backups.delete_backup(admin(request)).await;
            ("deleted", deleted.is_ok())
        }
        85..=92 => {
            let request = v1::PurgeBackupsRequest {
                keep: 1,
                folder: path,
            };
            let purged = backups.purge_backups(admin(request)).await;
            ("purged", purged.is_ok())
        }
        _ => {
            let request = v1::CreateNamespaceRequest {
                name: path,
                options: None,
            };
            let made = namespaces.create_namespace(admin(request)).await;
            ("made as a namespace", made.is_ok())
        }
    }
}

/// Whether a stream of progress comes to its end without an error.
async fn is_done<T>(events: Result<tonic::Response<Streaming<T>>, Status>) -> bool {
    let Ok(events) = events else { return false };
    let mut events = events.into_inner();
    loop {
        match events.message().await {
            Ok(Some(_progress)) => {}
            end => return end.is_ok(),
        }
    }
}

/// As for zstdb's orders; here backups are checked, deleted and purged too, and names are given to
/// namespaces.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_the_native_protocol_stay_in_their_folder() {
    let mut random = Random::seeded(seed("native paths"));
    let sandbox = Sandbox::new();
    put_the_secret_outside(&sandbox).await;
    let (mut server, mine) = serve_among_traps(&sandbox).await;
    let before = sandbox.around(&mine);
    let channel = server.channel().await;
    let mut native = (Backups::new(channel.clone()), Namespaces::new(channel));
    let cases = cases(400);
    let mut done = BTreeMap::new();
    for number in 0..cases {
        let trick = sandbox.any_trick(&mut random);
        let call = native_order(&mut native, random.within(0..100), &trick);
        let called = tokio::time::timeout(crate::support::PATIENCE, call).await;
        let (what, is_done) = called.unwrap_or_else(|_| panic!("no answer to {trick:?}"));
        *done.entry(what).or_insert(0) += u64::from(is_done);
        if number % 100 == 99 || number + 1 == cases {
            assert_same(&before, &sandbox.around(&mine), &trick);
        }
    }
    let mut client = server.client().await;
    assert_the_secret_is_outside(&mut client).await;
    for what in ["created", "verified", "restored", "deleted"] {
        assert!(done[what] > 0, "nothing was {what}: {done:?}");
    }
    assert!(server.is_running());
    eprintln!("{cases} calls, of which {done:?}, 0 files outside");
    server.stop().await;
}

fn assert_same(before: &disk::Image, after: &disk::Image, last: &str) {
    let names = |image: &disk::Image| image.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(before), names(after), "not long before {last:?}");
    assert!(
        before == after,
        "a file outside was changed before {last:?}"
    );
}

/// A server that holds keys full of tricks behind `p/`, and how many of them.
async fn serve_tricks(sandbox: &Sandbox, folder: &Path) -> (Server, u64) {
    let mut random = Random::seeded(seed("paths"));
    let builder = Server::builder().flags(["--allow-user-key", "--allow-overwrite"]);
    let server = builder.start().await;
    let mut client = server.client().await;
    let mut stored = 0;
    for _ in 0..cases(600) {
        let trick = sandbox.trick(&mut random, folder);
        let set = client.set(set_of(format!("p/{trick}"), "fetched")).await;
        stored += u64::from(set.unwrap().into_inner().errcode == 0);
    }
    (server, stored)
}

/// What the command line says when it works in a folder.
async fn work_in(folder: &Path, server: &Server, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardkeep"));
    command.args(["--server", &server.address().to_string()]);
    command.args(words).current_dir(folder);
    let ran = tokio::task::spawn_blocking(move || command.output().unwrap()).await;
    String::from_utf8_lossy(&ran.unwrap().stderr).into_owned()
}

/// Keys are the client's paths when it fetches many: none leads out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_fetched_stay_in_their_folder() {
    let sandbox = Sandbox::new();
    put_the_secret_outside(&sandbox).await;
    let folder = sandbox.dir.path().join("fetched");
    sandbox.set_traps(&folder);
    let mine = std::slice::from_ref(&folder);
    let before = sandbox.around(mine);
    let (server, stored) = serve_tricks(&sandbox, &folder).await;
    let said = work_in(&folder, &server, &["get", "-r", "--prefix", "p/", "."]).await;
    assert_same(&before, &sandbox.around(mine), &said);
    let fetched = walkdir::WalkDir::new(&folder).into_iter().flatten();
    let fetched = fetched.filter(|entry| entry.file_type().is_file()).count();
    assert!(fetched > 0, "nothing was fetched: {said}");
    eprintln!("{stored} keys stored, {fetched} fetched, 0 files outside");
}

/// Nothing in a file of an export is a place: neither its keys nor the name of its namespace make a
/// file, and the export itself is the only one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_exported_and_imported_make_no_file() {
    let sandbox = Sandbox::new();
    put_the_secret_outside(&sandbox).await;
    let folder = sandbox.dir.path().join("work");
    sandbox.set_traps(&folder);
    let export = folder.join("keys.export");
    let mine = std::slice::from_ref(&export);
    let before = sandbox.around(mine);
    let (source, stored) = serve_tricks(&sandbox, &folder).await;
    let said = work_in(&folder, &source, &["export", "--out", "keys.export"]).await;
    assert!(export.is_file(), "{said}");
    let target = Server::builder().flags(["--allow-user-key", "--allow-overwrite"]);
    let target = target.start().await;
    let said = work_in(&folder, &target, &["import", "keys.export"]).await;
    assert_same(&before, &sandbox.around(mine), &said);
    let (exported, imported) = (keys_of(&source).await, keys_of(&target).await);
    assert!(!exported.is_empty() && exported == imported, "{said}");
    eprintln!(
        "{stored} keys stored, {} imported, 0 files outside",
        imported.len()
    );
}

async fn keys_of(server: &Server) -> Vec<Vec<u8>> {
    let database = Database::connect(&server.address().to_string()).await;
    let mut rows = database
        .unwrap()
        .keyspace("")
        .scan(Query::all())
        .await
        .unwrap();
    let mut keys = Vec::new();
    while let Some(page) = rows.next_page().await.unwrap() {
        keys.extend(page.into_iter().map(|row| row.entry.key.to_vec()));
    }
    keys
}

/// Planted: one who joins paths as they come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_is_joined_as_it_comes_is_found() {
    let mut random = Random::seeded(1);
    let sandbox = Sandbox::new();
    put_the_secret_outside(&sandbox).await;
    let folder = sandbox.dir.path().join("data/backups");
    sandbox.set_traps(&folder);
    let mine = [folder.clone()];
    let before = sandbox.around(&mine);
    for _ in 0..300 {
        let trick = sandbox.trick(&mut random, &folder);
        let path = folder.join(trick.trim_start_matches('/'));
        // Nothing that this test could not take back.
        let is_here = std::path::absolute(&path).is_ok_and(|it| it.starts_with(sandbox.dir.path()));
        let climbs = trick.matches("..").count() > 1;
        let is_special = ["device", "fifo"].iter().any(|it| trick.contains(it));
        if is_here && !climbs && !is_special {
            let _any = std::fs::write(path, "planted");
        }
    }
    let after = sandbox.around(&mine);
    assert!(before != after);
}
