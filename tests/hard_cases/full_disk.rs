//! Case 12: a full disk leaves room to get out of it. A real server on a small disk of its own.

use crate::support::SmallDisk;
use crate::support::{PATIENCE, Server, command_of, key_of, noise, set_of};
use shardkeep::proto::zstdb::ItemReply;
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::transport::Channel;

const SIZE: usize = 200 * 1024;

struct Tenant {
    server: Option<Server>,
    disk: SmallDisk,
    /// What was acknowledged and not deleted.
    held: BTreeSet<u64>,
    next: u64,
}

fn value(number: u64) -> Vec<u8> {
    noise(number, SIZE)
}

impl Tenant {
    async fn new() -> Option<Self> {
        let mut tenant = Self {
            server: None,
            disk: SmallDisk::mount(128)?,
            held: BTreeSet::new(),
            next: 0,
        };
        tenant.start().await;
        Some(tenant)
    }

    async fn start(&mut self) {
        let server = Server::builder()
            .flags(["--allow-user-key", "--shards", "2"])
            .env("SHARDKEEP__STORAGE__SEGMENT_SIZE", "16 MiB")
            .env("SHARDKEEP__INDEX__WRITE_BUFFER_SIZE", "2 MiB")
            .env("SHARDKEEP__DEDUP__GRACE", "1s")
            .data_dir(self.disk.path().join("data"));
        self.server = Some(server.start().await);
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    async fn client(&self) -> BadgerClient<Channel> {
        self.server().client().await
    }

    /// The next value; `None` when it was stored, else what was answered.
    async fn set(&mut self) -> Option<ItemReply> {
        let number = self.next;
        let item = set_of(format!("key-{number}"), value(number));
        let reply = self.client().await.set(item).await.unwrap().into_inner();
        if reply.errcode != 0 {
            return Some(reply);
        }
        self.held.insert(number);
        self.next += 1;
        None
    }

    /// Sets until one is refused, which must say why.
    async fn fill(&mut self) {
        while self.next < 1000 {
            if let Some(refused) = self.set().await {
                assert_full(&refused);
                return;
            }
        }
        panic!("the disk never gets full");
    }

    async fn assert_all_there(&self) {
        let mut client = self.client().await;
        for number in &self.held {
            let reply = client.get(key_of(format!("key-{number}"))).await;
            let reply = reply.unwrap().into_inner();
            assert_eq!(reply.errcode, 0, "key-{number}: {:?}", reply.status);
            assert!(reply.data == value(*number), "key-{number}");
        }
    }

    async fn delete(&mut self, count: usize) {
        let mut client = self.client().await;
        let numbers: Vec<u64> = self.held.iter().copied().take(count).collect();
        for number in numbers {
            let reply = client.delete(key_of(format!("key-{number}"))).await;
            let reply = reply.unwrap().into_inner();
            assert_eq!(reply.errcode, 0, "key-{number}: {:?}", reply.status);
            self.held.remove(&number);
        }
    }

    /// Sets until one is stored, collecting segments if that is asked for.
    async fn writes_come_back(&mut self, gc: bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while let Some(refused) = self.set().await {
            assert_full(&refused);
            assert!(
                tokio::time::Instant::now() < deadline,
                "writes never came back: {:?}",
                refused.status
            );
            if gc {
                let reply = self.client().await.admin(command_of("gc", "")).await;
                let errcode = reply.unwrap().into_inner().errcode;
                assert!(errcode == 0 || errcode == 500, "{errcode}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Somebody else takes every byte that is left.
    fn take_all(&self) -> PathBuf {
        let path = self.disk.path().join("somebody-elses");
        let mut file = File::create(&path).unwrap();
        for size in [1 << 20, 1 << 16, 1 << 12, 1] {
            let piece = vec![1; size];
            while file
                .write_all(&piece)
                .and_then(|()| file.sync_all())
                .is_ok()
            {}
        }
        assert!(free(&path) < 1 << 16, "{} bytes are free", free(&path));
        path
    }
}

fn free(path: &Path) -> u64 {
    shardkeep::log::free_space(path).unwrap()
}

fn assert_full(reply: &ItemReply) {
    let status = String::from_utf8_lossy(&reply.status);
    assert_eq!(reply.errcode, 501, "{status}");
    assert!(status.contains("disk full"), "{status}");
}

/// Case 12: filled by its own writes: Sets are refused with their own error, Gets and Deletes and
/// GC work, and writes come back by themselves when there is room again.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_filled_by_writes_takes_writes_again_after_deletes() {
    let Some(mut tenant) = Tenant::new().await else {
        return;
    };
    let pid = tenant.server().pid();
    for _ in 0..2 {
        tenant.fill().await;
        tenant.assert_all_there().await;
        tenant.delete(tenant.held.len() / 2).await;
        tenant.writes_come_back(true).await;
        tenant.assert_all_there().await;
    }
    tenant.server().assert_answers().await;
    assert_eq!(tenant.server().pid(), pid);
    tenant.server.take().unwrap().stop().await;
    tenant.start().await;
    tenant.assert_all_there().await;
}

/// Case 12: filled to the last byte by somebody else: Gets and Deletes work, a kill and a restart
/// on the full disk too, and writes come back when the other goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_filled_by_somebody_else_is_survived_and_restarted_on() {
    let Some(mut tenant) = Tenant::new().await else {
        return;
    };
    for _ in 0..30 {
        assert_eq!(tenant.set().await, None);
    }
    let other = tenant.take_all();
    assert_full(&tenant.set().await.expect("no room"));
    tenant.assert_all_there().await;
    tenant.delete(3).await;
    for _ in 0..2 {
        tenant.server.take().unwrap().kill();
        tenant.start().await;
        tenant.assert_all_there().await;
        assert_full(&tenant.set().await.expect("no room"));
        tenant.delete(3).await;
    }
    std::fs::remove_file(other).unwrap();
    tenant.writes_come_back(false).await;
    tenant.assert_all_there().await;
    tenant.server.take().unwrap().stop().await;
}
