//! A table of an index is spoiled where nobody reads but fjall, when it merges tables in the
//! background. All that is seen of it is that the index takes no more writes, and opening it again
//! changes nothing: the next merge meets the same block. The shard must come to serve again by
//! itself, with everything that was acknowledged.

use crate::run::{cases, quick_dir, seed};
use crate::support::{Builder, PATIENCE, Random, Server, noise};
use bytes::Bytes;
use shardkeep::proto::v1;
use shardkeep::proto::v1::key_value_service_client::KeyValueServiceClient;
use shardkeep::start::offline;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tonic::Status;
use tonic::transport::Channel;

type Keys = KeyValueServiceClient<Channel>;

/// What the log says before an index is put aside ...
const REBUILDING: &str = "rebuilding the index from the log";
/// ... when it was made anew ...
const REBUILT: &str = "the index was rebuilt from the log";
/// ... because it failed by itself.
const BY_ITSELF: &str = "the index failed by itself";
/// What it says of a shard that is given up.
const GIVEN_UP: &str = "supervise.restart_budget";
/// Bytes of a value: it stands in the index.
const VALUE_SIZE: usize = 1_000;

fn builder(dir: &Path) -> Builder {
    Server::builder()
        .flags(["--allow-user-key", "--shards", "1"])
        .set("index.write_buffer_size", "64 KiB")
        .set("index.inline_max", "16 KiB")
        .data_dir(dir)
}

/// Keys that are new, in no order, so that every table overlaps every other.
struct Writer {
    keys: Keys,
    random: Random,
    acknowledged: Vec<Bytes>,
}

impl Writer {
    async fn put(&mut self) -> Result<(), Status> {
        let key = Bytes::from(format!("{:016x}", self.random.next()));
        let request = v1::PutRequest {
            key: key.clone(),
            value: value_of(&key),
            ..v1::PutRequest::default()
        };
        self.keys.put(request).await?;
        self.acknowledged.push(key);
        Ok(())
    }

    /// Every acknowledged key is there.
    async fn check(&mut self) {
        for key in &self.acknowledged {
            let request = v1::GetRequest {
                key: key.clone(),
                ..v1::GetRequest::default()
            };
            let found = self.keys.get(request).await.unwrap().into_inner();
            assert!(found.value == value_of(key), "{key:?}");
        }
    }
}

fn value_of(key: &Bytes) -> Bytes {
    let seed = key
        .iter()
        .fold(0, |sum, byte| sum * 31 % 1_000_003 + u64::from(*byte));
    noise(seed, VALUE_SIZE).into()
}

/// The largest table of the rows, if there is one.
fn table(data: &Path) -> Option<PathBuf> {
    let trees = data.join("shards/000/index/keyspaces");
    let entries = walkdir::WalkDir::new(trees)
        .into_iter()
        .filter_map(Result::ok);
    let tables = entries.filter(|it| {
        it.path()
            .parent()
            .is_some_and(|dir| dir.ends_with("tables"))
    });
    let large = tables.filter_map(|it| Some((it.metadata().ok()?.len(), it.into_path())));
    let (len, path) = large.max()?;
    (len > 16 * 1024).then_some(path)
}

/// Flips a bit in a block of rows; an error where a merge has removed the table meanwhile.
fn spoil(table: &Path) -> io::Result<()> {
    let file = fs::OpenOptions::new().read(true).write(true).open(table)?;
    let at = file.metadata()?.len() / 3;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 16], at)
}

/// Writes beside a table that is spoiled until the index has been made anew; whether that was because
/// it failed by itself. A read may meet the block first, by a false positive of its filter.
async fn spoiled_while_it_runs(seed: u64) -> bool {
    let dir = quick_dir();
    let data = dir.path().join("data");
    let server = builder(&data).start().await;
    let mut writer = Writer {
        keys: Keys::new(server.channel().await),
        random: Random::seeded(seed),
        acknowledged: Vec::new(),
    };
    let mut spoiled: Option<PathBuf> = None;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let is_stored = writer.put().await.is_ok();
        let is_there = spoiled.as_ref().is_some_and(|table| table.exists());
        let log = server.log();
        // A merge that had read the block before it was spoiled removes the table: another one then.
        if !is_there && !log.contains(REBUILDING) {
            spoiled = table(&data).filter(|table| spoil(table).is_ok());
        }
        assert!(!log.contains(GIVEN_UP), "the shard is given up");
        if is_stored && log.contains(REBUILT) {
            break;
        }
        assert!(Instant::now() < deadline, "it is not made anew and served");
        if !is_stored {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    writer.check().await;
    let log = server.log();
    server.stop().await;
    let verify = move || offline::verify(&data, false, &mut |_, _| {});
    let report = tokio::task::spawn_blocking(verify).await.unwrap().unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    log.contains(BY_ITSELF)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_only_merges_read_does_not_keep_its_shard_down() {
    let mut random = Random::seeded(seed("index_merge"));
    let count = cases(3);
    let mut by_itself = 0;
    for _ in 0..count {
        by_itself += u64::from(spoiled_while_it_runs(random.next()).await);
    }
    eprintln!("{count} cases, {by_itself} rebuilt because the index failed by itself");
    assert!(by_itself > 0, "no merge met the block");
}
