//! Large values whose chunks are each sound, and which are not what they are named after: the check of
//! the running store and its scrubber find them.

#[allow(dead_code, reason = "the tests of damage use the rest")]
#[path = "../damage/store.rs"]
mod store;

use crate::blobs::{MIB, blobs, upload};
use crate::call::{admin, user_keys};
use crate::support::{PATIENCE, Server, noise};
use shardkeep::codec::{Space, seal_chunks};
use shardkeep::model::{BlobRef, ChunkList, Command, Digest, Key, ShardId, Timestamp};
use shardkeep::proto::v1;
use shardkeep::proto::v1::admin_service_client::AdminServiceClient;
use shardkeep::shard::{Homes, ShardOptions, ShardStore};
use shardkeep::start::manifest::Manifest;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::Channel;

type Admin = AdminServiceClient<Channel>;

/// The shards of a store that no server has open.
struct Closed {
    homes: Arc<Homes>,
    shards: Vec<ShardStore>,
}

impl Closed {
    fn open(data: &Path) -> Self {
        let manifest = Manifest::load(&data.join("MANIFEST")).unwrap();
        let homes = Arc::new(manifest.homes.clone());
        let base = store::options(data);
        let open = |id| {
            let options = ShardOptions {
                dir: data.join(format!("shards/{id:03}")),
                store: manifest.store,
                id: ShardId(id),
                homes: homes.clone(),
                must_exist: true,
                log: shardkeep::log::LogOptions {
                    segment_size: 64 << 20,
                },
                ..base.clone()
            };
            ShardStore::open(options, None).unwrap().0
        };
        let shards = (0..manifest.shards()).map(open).collect();
        Self { homes, shards }
    }

    fn run(&mut self, digest: Digest, command: Command) {
        let home = self.homes.shard_of(digest.slot());
        let store = &mut self.shards[usize::from(home.0)];
        store.reserve(command.log_size_max(), false).unwrap();
        store.execute(vec![command], Timestamp(1)).unwrap();
    }

    /// The list of the only large value, the reference to it, and whose that is.
    fn list(&self) -> (ChunkList, BlobRef, Key) {
        let mut lists = self.shards.iter().filter_map(|store| {
            let reader = store.reader();
            let rows = reader.snapshot().scan(Space::Blob, &[], None);
            let digests = rows.map(|row| Digest(row.unwrap().0[..].try_into().unwrap()));
            let mut found = digests.filter_map(|digest| reader.blob(digest).unwrap());
            let list = found.find(|found| found.is_in_chunks())?.chunks().unwrap();
            let mut owners = reader.references().map(Result::unwrap);
            let (blob, owner) = owners.find(|(_, owner)| owner.list().is_none())?;
            Some((list, blob, owner))
        });
        lists.next().unwrap()
    }

    fn close(self) {
        for store in self.shards {
            store.close().unwrap();
        }
    }
}

/// What the check of a running store finds.
async fn problems(client: &mut Admin) -> Vec<String> {
    let steps = client.verify(admin(v1::VerifyRequest {})).await.unwrap();
    let (mut steps, mut found) = (steps.into_inner(), Vec::new());
    while let Some(step) = steps.message().await.unwrap() {
        assert!(step.done_bytes <= step.total_bytes);
        found.extend(step.problems.into_iter().map(|it| it.what));
    }
    found
}

/// Waits until the scrubber tells of this problem.
async fn scrubbed(client: &mut Admin, what: &str) {
    let told = async {
        loop {
            let report = client.get_scrub_report(admin(v1::GetScrubReportRequest {}));
            let report = report.await.unwrap().into_inner();
            if report.problems.iter().any(|it| it.what == what) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let told = tokio::time::timeout(PATIENCE, told).await;
    told.unwrap_or_else(|_late| panic!("the scrubber does not tell of {what}"));
}

/// Starts a server over the store, with a scrubber that does not rest.
async fn serve(data: &Path) -> (Server, Admin) {
    let builder = user_keys().set("storage.shards", "2");
    let builder = builder
        .set("scrub.rate", "1 GiB")
        .set("scrub.interval", "1s");
    let server = builder.data_dir(data).start().await;
    let client = AdminServiceClient::new(server.channel().await);
    (server, client)
}

#[tokio::test]
async fn a_large_value_that_is_not_what_its_chunks_are_together_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (server, mut client) = serve(&data).await;
    let value = noise(1, 9 * MIB);
    upload(&mut blobs(&server).await, "film", &value).await;
    assert_eq!(problems(&mut client).await, [""; 0]);
    server.stop().await;

    let mut closed = Closed::open(&data);
    let (mut list, blob, owner) = closed.list();
    let digest = blob.digest;
    assert_eq!(
        (owner.as_bytes(), list.chunks.len() > 2),
        (&b"film"[..], true)
    );
    let info = store::seal(&value).info;
    list.chunks.swap(0, 1);
    closed.run(digest, Command::DropReference { blob });
    closed.run(digest, Command::ReclaimBlob { digest });
    let value = Some(seal_chunks(&list, info, digest));
    closed.run(digest, Command::StoreBlob { blob, owner, value });
    closed.close();
    let (server, mut client) = serve(&data).await;
    let found = problems(&mut client).await;
    let [found] = &found[..] else {
        panic!("{found:?}");
    };
    for part in [&digest.to_string(), "key \"film\"", "together"] {
        assert!(found.contains(part), "{found}");
    }
    scrubbed(&mut client, found).await;
    server.stop().await;

    let mut closed = Closed::open(&data);
    let lost = list.references()[0];
    closed.run(lost.digest, Command::DropReference { blob: lost });
    closed.close();
    let (server, mut client) = serve(&data).await;
    let found = problems(&mut client).await;
    assert!(found[0].contains("no reference of it"), "{found:?}");
    server.stop().await;

    let mut closed = Closed::open(&data);
    let digest = lost.digest;
    closed.run(digest, Command::ReclaimBlob { digest });
    closed.close();
    let (server, mut client) = serve(&data).await;
    let found = problems(&mut client).await;
    let missing = format!("is made of chunk {digest}, which is not in shard");
    assert!(found[0].contains(&missing), "{found:?}");
    scrubbed(&mut client, &found[0]).await;
    server.stop().await;
}
