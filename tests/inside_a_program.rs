//! The README's example of a store inside a program, compiled as it stands there and run.

use std::error::Error;

const README: &str = include_str!("../README.md");

#[rustfmt::skip]
#[allow(unused, reason = "an example ends before it uses what it has")]
async fn example() -> Result<(), Box<dyn Error>> {
    // Begin of the example.
    use shardkeep::client::{Batch, Expect, Query};
    use shardkeep::{Options, Store};

    let store = Store::open("data", Options::new()).await?;
    let orders = store.keyspace("");
    let first = orders.put("1001", "open").await?;
    orders.put_if("1001", "paid", Expect::Version(first.version)).await?;
    orders.commit(Batch::new().delete("1001").put("archive/1001", "paid")).await?;
    let snapshot = store.snapshot().await?;
    let mut rows = orders.at(&snapshot).scan(Query::prefix("archive/").values()).await?;
    let mut changes = orders.watch(Query::all(), Some(snapshot.version())).await?;
    store.close().await?;
    // End of the example.
    Ok(())
}

#[tokio::test]
async fn the_example_is_the_readmes_and_leaves_what_it_says() {
    let here = include_str!("inside_a_program.rs");
    let (_, here) = here.split_once("// Begin of the example.\n").unwrap();
    let (here, _) = here.split_once("    // End of the example.\n").unwrap();
    let lines = here
        .lines()
        .map(|line| line.strip_prefix("    ").unwrap_or(line));
    let here: Vec<&str> = lines.collect();
    let blocks: Vec<&str> = README.split("```rust\n").skip(1).collect();
    let [block] = blocks[..] else {
        panic!("{} examples in Rust", blocks.len());
    };
    let (block, _) = block.split_once("\n```").unwrap();
    assert_eq!(here, block.lines().collect::<Vec<_>>());

    // The only test of this process, so nobody else's folder changes.
    let folder = tempfile::tempdir().unwrap();
    std::env::set_current_dir(folder.path()).unwrap();
    example().await.unwrap();
    let store = shardkeep::Store::open("data", shardkeep::Options::new());
    let store = store.await.unwrap();
    let keys = store.keyspace("");
    assert!(keys.get("1001").await.unwrap().is_none());
    let archived = keys.get("archive/1001").await.unwrap().unwrap();
    assert_eq!(archived.data, "paid");
    store.close().await.unwrap();
}
