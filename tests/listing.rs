//! List: pages are keys n to m in byte order, whether they are walked or picked, and whatever
//! changes between two of them.

mod support;

use shardkeep::proto::zstdb::ListFilter;
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use std::collections::BTreeSet;
use support::{Server, key_of, set_of};
use tokio::task::JoinSet;
use tonic::transport::Channel;

const PAGE_SIZE: usize = 1000;

async fn page(client: &mut BadgerClient<Channel>, prefix: &str, pagenum: i32) -> Vec<String> {
    let filter = ListFilter {
        prefix: prefix.to_owned(),
        pagenum,
    };
    let found = client.list(filter).await.unwrap().into_inner().keys;
    let key = |found: &String| found.rsplit_once(':').unwrap().0.to_owned();
    found.iter().map(key).collect()
}

fn expected(keys: &BTreeSet<String>, prefix: &str, pagenum: i32) -> Vec<String> {
    let skip = usize::try_from(pagenum - 1).unwrap() * PAGE_SIZE;
    let all = keys.iter().filter(|key| key.starts_with(prefix));
    all.skip(skip).take(PAGE_SIZE).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_the_same_whether_walked_picked_or_changed_between() {
    let flags = ["--allow-user-key", "--shards", "3"];
    let server = Server::builder().flags(flags).start().await;
    let mut client = server.client().await;
    let mut keys: BTreeSet<String> = (0..3400).map(|n| format!("{}-{n}", n % 3)).collect();
    let mut sets = JoinSet::new();
    for key in keys.clone() {
        let mut client = client.clone();
        sets.spawn(async move {
            let reply = client.set(set_of(key, "value")).await.unwrap();
            assert_eq!(reply.into_inner().errcode, 0);
        });
    }
    sets.join_all().await;
    for _walk in 0..2 {
        for (prefix, pages) in [("", 5), ("1-", 3)] {
            for pagenum in 1..=pages {
                let found = page(&mut client, prefix, pagenum).await;
                assert!(
                    found == expected(&keys, prefix, pagenum),
                    "{prefix:?} {pagenum}"
                );
            }
        }
    }
    assert_eq!(page(&mut client, "", 3).await, expected(&keys, "", 3));
    // Page 2 begins elsewhere when something of page 1 is gone.
    assert_eq!(page(&mut client, "", 1).await, expected(&keys, "", 1));
    let gone = keys.pop_first().unwrap();
    client.delete(key_of(gone)).await.unwrap();
    assert_eq!(page(&mut client, "", 2).await, expected(&keys, "", 2));
    server.stop().await;
}
