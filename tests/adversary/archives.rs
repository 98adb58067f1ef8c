//! Backups are whole: the server is killed at each call that a backup makes, and links of a chain
//! are left out or out of order. What stands under a final name is a whole archive; a restore gives
//! what was there or refuses. (Every flipped bit and every cut of an archive: `tests/backup_format.rs`.)

use crate::run::{cases, quick_dir, seed};
use crate::support::{
    Builder, Random, Server, SmallDisk, Trace, command_of, key_of, noise, set_of,
};
use shardkeep::backup::{ArchiveReader, BackupFile};
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use shardkeep::proto::zstdb::{ItemReply, ListFilter};
use shardkeep::start::offline;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tonic::transport::Channel;

type Client = BadgerClient<Channel>;
/// What stands under each key.
pub type Contents = BTreeMap<String, Vec<u8>>;

/// The calls at which a backup may be killed.
const CALLS: [&str; 14] = [
    "openat",
    "openat2",
    "mkdirat",
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "fdatasync",
    "fsync",
    "flock",
    "renameat",
    "renameat2",
    "unlinkat",
    "close",
];

fn builder(dir: &Path) -> Builder {
    Server::builder()
        .flags(["--allow-user-key", "--allow-overwrite", "--shards", "2"])
        .data_dir(dir)
}

async fn change(client: &mut Client, contents: &mut Contents, round: u64) {
    for number in 0..12 {
        let key = format!("key/{}", (number * 5 + round * 3) % 17);
        if (number + round).is_multiple_of(4) {
            client.delete(key_of(key.clone())).await.unwrap();
            contents.remove(&key);
            continue;
        }
        let size = [40, 700, 6_000, 30_000][number as usize % 4];
        let value = noise(number % 3 + round, size);
        let set = client
            .set(set_of(key.clone(), value.clone()))
            .await
            .unwrap();
        assert_eq!(set.into_inner().errcode, 0);
        contents.insert(key, value);
    }
}

async fn back_up(client: &mut Client, since: u64) -> Result<(PathBuf, u64), String> {
    let order = format!(r#"{{"path":"chain","since":"{since}"}}"#);
    let reply = client.admin(command_of("backup", &order)).await;
    let reply: ItemReply = reply.map_err(|status| status.to_string())?.into_inner();
    if reply.errcode != 0 {
        return Err(reply.status.escape_ascii().to_string());
    }
    let answer: BTreeMap<String, String> = serde_json::from_slice(&reply.data).unwrap();
    let target = &answer["target"];
    let range = target.rsplit_once("_[").unwrap().1;
    let max = range.split_once('-').unwrap().1.split_once(']').unwrap().0;
    Ok((target.into(), max.parse().unwrap()))
}

/// Everything that a store holds.
async fn contents_of(builder: Builder) -> Result<Contents, String> {
    contents_and_log(builder)
        .await
        .map(|(contents, _)| contents)
}

/// Everything that a store holds, and what its server said.
pub async fn contents_and_log(builder: Builder) -> Result<(Contents, String), String> {
    let started = builder.launch().ready_or_ended().await;
    let mut server = started.map_err(|log| format!("does not start:\n{log}"))?;
    let mut client = server.client().await;
    let mut contents = Contents::new();
    for pagenum in 1.. {
        let prefix = String::new();
        let page = client.list(ListFilter { prefix, pagenum }).await;
        let page = page.map_err(|status| status.to_string())?.into_inner().keys;
        if page.is_empty() {
            break;
        }
        for line in page {
            let (key, _) = line.rsplit_once(':').unwrap();
            let reply = client
                .get(key_of(key.to_owned()))
                .await
                .unwrap()
                .into_inner();
            if reply.errcode != 0 {
                return Err(format!("{key}: {}", reply.status.escape_ascii()));
            }
            contents.insert(key.to_owned(), reply.data.to_vec());
        }
    }
    server.kill();
    Ok((contents, server.log()))
}

/// Restores archives in this order into a new directory.
async fn restored(files: Vec<PathBuf>) -> Result<Contents, String> {
    let dir = quick_dir();
    let data = dir.path().join("data");
    let target = data.clone();
    let restore = move || offline::restore(&target, &files, &mut |_, _| {}).map(drop);
    let restored = tokio::task::spawn_blocking(restore).await.unwrap();
    restored.map_err(|error| error.to_string())?;
    contents_of(builder(&data)).await
}

/// A store, its full backup, and the changes since.
struct Base {
    dir: tempfile::TempDir,
    contents: Contents,
    full: PathBuf,
    since: u64,
}

impl Base {
    async fn make() -> Self {
        let dir = quick_dir();
        let data = dir.path().join("data");
        let mut contents = Contents::new();
        let mut server = builder(&data).start().await;
        let mut client = server.client().await;
        change(&mut client, &mut contents, 0).await;
        let (full, since) = back_up(&mut client, 0).await.unwrap();
        change(&mut client, &mut contents, 1).await;
        server.kill();
        Self {
            dir,
            contents,
            full,
            since,
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The archives, other than the full one, and what is left of unfinished ones.
    fn found(&self) -> (Vec<PathBuf>, usize) {
        let entries = std::fs::read_dir(self.data().join("backups")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let (named, others): (Vec<_>, Vec<_>) = paths
            .filter(|path| *path != self.full)
            .partition(|path| path.to_string_lossy().ends_with(".zstdb.bak"));
        (named, others.len())
    }

    /// Kills the server at the `when`th call of a backup; `Ok(false)` when it made no so many.
    async fn kill_at(&self, call: &str, when: usize) -> Option<bool> {
        let mut server = builder(&self.data()).start().await;
        let mut client = server.client().await;
        let fault = format!("{call}:signal=KILL:when={when}");
        let trace = Trace::inject_everywhere(server.pid(), &fault).await?;
        let outcome = back_up(&mut client, self.since).await;
        let killed = !server.is_running() || outcome.is_err();
        trace.stop();
        server.kill();
        Some(killed)
    }

    /// What is wrong with what is there now.
    async fn check(&self) -> Result<(), String> {
        for path in self.found().0 {
            let opened = BackupFile::open(&path).and_then(ArchiveReader::open);
            let verified = opened.and_then(|mut archive| archive.verify(&mut |_, _| {}));
            verified.map_err(|error| format!("{}: {error}", path.display()))?;
            let restored = restored(vec![self.full.clone(), path]).await?;
            if restored != self.contents {
                return Err("the archive restores something else".to_owned());
            }
        }
        let mut server = builder(&self.data()).start().await;
        let mut client = server.client().await;
        let (target, _) = back_up(&mut client, self.since).await?;
        server.kill();
        let (named, leftovers) = self.found();
        if !named.contains(&target) || leftovers > 0 {
            return Err(format!("{named:?} and {leftovers} leftovers"));
        }
        if contents_of(builder(&self.data())).await? != self.contents {
            return Err("the store holds something else".to_owned());
        }
        for path in named {
            std::fs::remove_file(path).unwrap();
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_killed_at_any_call_leaves_no_half_archive() {
    let mut random = Random::seeded(seed("archives"));
    let base = Base::make().await;
    let budget = cases(10);
    // A short run stays where a backup has more calls than the server's other threads.
    let deepest = if budget < 200 { 9 } else { 40 };
    let (mut kills, mut survived) = (0, BTreeMap::new());
    for _ in 0..budget.saturating_mul(20) {
        let open: Vec<&str> = CALLS
            .into_iter()
            .filter(|it| !survived.contains_key(it))
            .collect();
        if open.is_empty() || kills == budget {
            break;
        }
        let call = open[random.within(0..open.len() as u64) as usize];
        let when = random.within(1..deepest) as usize;
        let Some(killed) = base.kill_at(call, when).await else {
            return;
        };
        if killed {
            kills += 1;
        } else if when == 1 {
            survived.insert(call, when);
        }
        base.check()
            .await
            .unwrap_or_else(|error| panic!("{call} {when}: {error}"));
    }
    eprintln!(
        "{kills} backups killed; calls that none makes: {:?}",
        survived.keys()
    );
}

/// Planted: a half archive under a final name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_archive_under_a_final_name_is_found() {
    let base = Base::make().await;
    let whole = std::fs::read(&base.full).unwrap();
    let half = base.data().join("backups/chain_[1-9].zstdb.bak");
    std::fs::write(half, &whole[..whole.len() / 2]).unwrap();
    base.check().await.unwrap_err();
}

/// The names in a folder.
fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_fills_its_disk_is_refused_and_leaves_nothing() {
    const LARGE: u64 = 24;
    let Some(disk) = SmallDisk::mount(16) else {
        return;
    };
    let dir = quick_dir();
    let builder = builder(dir.path()).set("backup.dir", disk.path().to_str().unwrap());
    let server = builder.start().await;
    let mut client = server.client().await;
    let mut contents = Contents::new();
    change(&mut client, &mut contents, 0).await;
    let (full, since) = back_up(&mut client, 0).await.unwrap();
    let before = names_in(disk.path());
    for number in 0..LARGE {
        let large = set_of(format!("large/{number}"), noise(100 + number, 1 << 20));
        assert_eq!(client.set(large).await.unwrap().into_inner().errcode, 0);
    }
    // What a try leaves would be in the way of the next.
    for _ in 0..3 {
        let refused = back_up(&mut client, since).await.unwrap_err();
        assert!(refused.contains("make room there"), "{refused}");
        assert_eq!(names_in(disk.path()), before);
    }
    for number in 0..LARGE {
        let gone = client.delete(key_of(format!("large/{number}"))).await;
        assert_eq!(gone.unwrap().into_inner().errcode, 0);
    }
    let (next, _) = back_up(&mut client, since).await.unwrap();
    assert_eq!(names_in(disk.path()).len(), before.len() + 1);
    assert!(restored(vec![full, next]).await.unwrap() == contents);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_with_missing_links_is_refused_or_whole() {
    const LINKS: usize = 4;
    let dir = quick_dir();
    let data = dir.path().join("data");
    let mut contents = Contents::new();
    let mut server = builder(&data).start().await;
    let mut client = server.client().await;
    let (mut files, mut models, mut since) = (Vec::new(), Vec::new(), 0);
    for round in 0..LINKS as u64 {
        change(&mut client, &mut contents, round).await;
        let (file, max) = back_up(&mut client, since).await.unwrap();
        since = max;
        files.push(file);
        models.push(contents.clone());
    }
    server.kill();
    let mut random = Random::seeded(seed("archives"));
    let mut orders = orders(LINKS);
    let (mut whole, mut refused) = (0, 0);
    for _ in 0..cases(12) {
        if orders.is_empty() {
            break;
        }
        let picked = random.within(0..orders.len() as u64) as usize;
        let order = orders.swap_remove(picked);
        let chain = order.iter().map(|link| files[*link].clone()).collect();
        match restored(chain).await {
            Ok(restored) => {
                whole += 1;
                assert!(restored == models[order[order.len() - 1]], "{order:?}");
            }
            Err(error) => {
                refused += 1;
                let is_whole = order.iter().enumerate().all(|(place, link)| place == *link);
                assert!(!is_whole, "{order:?}: {error}");
            }
        }
    }
    eprintln!("chains: {whole} whole, {refused} refused");
    // Planted: the same chain is not taken for another state.
    assert!(restored(files).await.unwrap() != models[LINKS - 2]);
}

/// Every order of every choice of links.
fn orders(links: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    let mut from = 0;
    while from < orders.len() {
        for link in 0..links {
            if !orders[from].contains(&link) {
                let mut longer = orders[from].clone();
                longer.push(link);
                orders.push(longer);
            }
        }
        from += 1;
    }
    orders.remove(0);
    orders
}
